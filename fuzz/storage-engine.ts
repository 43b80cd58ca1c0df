/** The targets of the storage engine: what reads bytes that a disk, or whoever wrote to it, may have changed. */

import assert from 'node:assert/strict'
import { BatchBuilder } from '../storage-engine/batch-builder.ts'
import { BlockCache } from '../storage-engine/block-cache.ts'
import { indexName } from '../storage-engine/data-directory.ts'
import {
  BATCH_BYTES_LIMIT,
  batchLengthAt,
  decodeFooter,
  decodeHeader,
  encodeFooter,
  encodeHeader,
  HEADER_BYTES,
  type NewRecord,
  RECORD_HEADER_BYTES,
  RecordView,
  rolledHeader,
  segmentSeed,
  verifyBatch,
  verifyRecord,
} from '../storage-engine/format.ts'
import { IndexDoubt, IndexFile, PAGE_BYTES, writeIndexFile } from '../storage-engine/index-file.ts'
import { hashKey } from '../storage-engine/key-hash.ts'
import { MemoryFiles } from '../storage-engine/memory-files.ts'
import { MemoryIndex } from '../storage-engine/memory-index.ts'
import { type ScanSource, scanSegment } from '../storage-engine/scan.ts'
import { nextCacheId, recordsOf } from '../storage-engine/segment.ts'
import type { SegmentIndex } from '../storage-engine/segment-index.ts'
import { damaged, forgery } from './damage.ts'
import type { Random } from './random.ts'
import type { RoundTarget } from './target.ts'

const IDENTITY = Uint8Array.from({ length: 16 }, (_, i) => 17 * i)
const GENERATION = 5
const SEED = segmentSeed(IDENTITY, GENERATION)
/** What a scanner reads at once, where no batch is larger. */
const READ_BYTES_MAX = 1024 * 1024

export const logScan: RoundTarget = {
  name: 'log-scan',
  about: 'Any bytes, and any damage to a segment, are scanned without a crash, and nothing comes that was not written.',
  round: (random) => scanRound(random, scanSegment),
  planted: [{ bug: "a batch's CRC is not checked", round: (random) => scanRound(random, scanWithoutCrc) }],
}

export const recordDecode: RoundTarget = {
  name: 'record-decode',
  about: 'Any bytes in the place of a header, batch, record or footer are refused, or are what was written.',
  round: (random) => decodeRound(random, verifyRecord),
  planted: [
    {
      bug: "a record's CRC is not checked",
      round: (random) => decodeRound(random, verifyWithoutCrc),
    },
  ],
}

export const indexFile: RoundTarget = {
  name: 'index-file',
  about: 'Any damage to a sidecar is a doubt, or changes no answer. A round takes a few milliseconds.',
  round: (random) => indexRound(random, (index) => index),
  planted: [{ bug: 'an index forgets a stream', round: (random) => indexRound(random, withoutOneStream) }],
}

const KEY_LENGTH_AT = 34

interface Written {
  readonly bytes: Buffer
  /** By position. */
  readonly batches: ReadonlyMap<number, Buffer>
}

/** A segment of a few batches, some of them with messages that look like parts of a segment. */
function writtenSegment(random: Random, index?: MemoryIndex): Written {
  const header = { identity: IDENTITY, generation: GENERATION, predecessor: 4, predecessorEnd: 0, createdMs: 0 }
  const parts: Buffer[] = [encodeHeader(rolledHeader({ ...header, contentEnd: HEADER_BYTES }))]
  const batches = new Map<number, Buffer>()
  let position = HEADER_BYTES
  let offset = 1000
  let previousCrc = 0
  for (let rest = random.below(6); rest > 0; rest--) {
    const builder = new BatchBuilder()
    for (let records = 1 + random.below(4); records > 0; records--) {
      offset += 1 + random.below(3)
      builder.add(someRecord(random, parts), offset, random.below(1000))
    }
    const fields = { previousCrc, ceiling: 0, syncedGeneration: GENERATION, syncedPosition: position }
    const { bytes, header } = builder.seal(SEED, position, fields)
    const batch = Buffer.from(bytes)
    if (index !== undefined) {
      for (const [at, record] of recordsOf(batch, header.count)) index.add(record, position + at, position)
    }
    batches.set(position, batch)
    parts.push(batch)
    position += batch.length
    previousCrc = header.crc
  }
  if (random.oneIn(2)) {
    const counts = { recordCount: 1, batchCount: batches.size, first: 1, last: offset, timeMsMin: 0, timeMsMax: 0 }
    parts.push(encodeFooter({ ...counts, lastCrc: previousCrc, successor: 6 }, SEED, position))
  }
  return { bytes: Buffer.concat(parts), batches }
}

function someRecord(random: Random, parts: readonly Buffer[]): NewRecord {
  const streamId = 100 + random.below(4)
  const key = random.oneIn(3) ? Buffer.from(`key ${random.below(20)}`) : undefined
  const payload = random.oneIn(4)
    ? random.pick(parts)
    : random.oneIn(4)
      ? forgery(random)
      : random.bytes(random.below(40))
  return { streamId, kind: 1 + random.below(255), key, payload }
}

async function scanRound(random: Random, scan: typeof scanSegment): Promise<void> {
  const { bytes: whole, batches } = writtenSegment(random)
  const isForeign = random.oneIn(5)
  const bytes = isForeign
    ? Buffer.concat([whole.subarray(0, HEADER_BYTES), forgery(random)])
    : damaged(random, whole, HEADER_BYTES)
  const source = {
    seed: SEED,
    sizeBytes: bytes.length,
    async read(target: Uint8Array, position: number): Promise<number> {
      assert.ok(target.length <= READ_BYTES_MAX, `${target.length} bytes are wanted at once`)
      const part = bytes.subarray(position, position + target.length)
      target.set(part)
      return part.length
    },
  }
  let told = HEADER_BYTES
  for await (const item of scan(source, HEADER_BYTES, { crc: 0, last: 0 })) {
    assert.equal(item.position, told, 'every byte is told once')
    if (item.kind === 'batch') {
      const written = batches.get(item.position)
      assert.ok(!isForeign && written !== undefined && written.equals(item.bytes), 'a batch that was not written')
    }
    if (item.kind === 'unverified') told = item.end
    else told += item.kind === 'batch' ? item.header.length : 96
  }
  assert.equal(told, Math.max(HEADER_BYTES, bytes.length), 'every byte is told')
}

function decodeRound(random: Random, verify: typeof verifyRecord): void {
  const { bytes: whole, batches } = writtenSegment(random)
  const bytes = random.oneIn(4) ? Buffer.from(random.bytes(random.below(300))) : damaged(random, whole, 0)
  const header = decodeHeader(bytes)
  if (header.kind === 'header') assert.deepEqual(encodeHeader(header.header), bytes.subarray(0, header.bytes))
  for (let at = 0; at < bytes.length; at += random.oneIn(3) ? 1 : 8) {
    const place = random.oneIn(10) ? random.below(2 ** 32) : at
    const length = batchLengthAt(bytes, at, SEED, place)
    assert.ok(length <= BATCH_BYTES_LIMIT, 'no batch is longer')
    if (length > 0 && at + length <= bytes.length) {
      const batch = bytes.subarray(at, at + length)
      if (verifyBatch(batch, SEED, place) !== undefined)
        assert.ok(batches.get(place)?.equals(batch), 'not written there')
    }
    decodeFooter(bytes, at, SEED, place)
    if (!verify(bytes, at, SEED, place)) continue
    const record = new RecordView(bytes, at)
    const original = new RecordView(whole, place)
    assert.ok(verifyRecord(whole, place, SEED, place), 'a record that was not written there')
    assert.deepEqual([record.offset, record.streamId, record.kind], [original.offset, original.streamId, original.kind])
    assert.deepEqual([record.key, record.payload], [original.key, original.payload])
  }
}

async function indexRound(random: Random, opened: (index: SegmentIndex) => SegmentIndex): Promise<void> {
  const index = new MemoryIndex(hashKey)
  const { bytes: segment } = writtenSegment(random, index)
  const files = new MemoryFiles()
  await files.makeDirectory('/f')
  const { recordCount, first, last, timeMsMin, timeMsMax } = index
  const tie = { identity: IDENTITY, generation: GENERATION, lastCrc: 1, contentEnd: segment.length, batchCount: 1 }
  await writeIndexFile(files, '/f', index, { ...tie, recordCount, first, last, timeMsMin, timeMsMax })
  const path = `/f/${indexName(GENERATION)}`
  const file = await files.open(path, 'read')
  const whole = Buffer.alloc(file.sizeBytes)
  await file.read(whole, 0)
  const bytes = random.oneIn(8) ? Buffer.from(random.bytes(random.below(5000))) : damaged(random, whole, 0)
  const source = {
    cacheId: nextCacheId(),
    readableBytes: Number.MAX_SAFE_INTEGER,
    async read(target: Uint8Array, position: number): Promise<number> {
      assert.equal(target.length, PAGE_BYTES)
      const part = bytes.subarray(position, position + target.length)
      target.set(part)
      return part.length
    },
  }
  try {
    const cache = new BlockCache(PAGE_BYTES, random.pick([0, 2, 100]) * PAGE_BYTES)
    const loaded = await IndexFile.load(path, IDENTITY, GENERATION, source, cache)
    assert.deepEqual(await answers(opened(loaded)), await answers(index))
  } catch (error) {
    if (!(error instanceof IndexDoubt)) throw error
    assert.ok(!bytes.equals(whole), 'a whole sidecar is not doubtful')
  }
}

async function answers(index: SegmentIndex): Promise<unknown[]> {
  const given: unknown[] = [index.recordCount]
  for (let streamId = 99; streamId < 105; streamId++) {
    given.push(await (await index.seek(streamId, 1005)).next(100))
    for (let i = 0; i < 3; i++) given.push(await index.findKey(hashKey(streamId, Buffer.from(`key ${i}`))))
  }
  for (const number of [0, 999, 1001, 1010]) given.push(await index.markBefore(number), await index.olderThan(number))
  return given
}

async function* scanWithoutCrc(source: ScanSource, begin: number): ReturnType<typeof scanSegment> {
  const bytes = Buffer.alloc(source.sizeBytes)
  await source.read(bytes, 0)
  let position = begin
  for (;;) {
    const length = batchLengthAt(bytes, position, source.seed, position)
    if (length === 0 || position + length > bytes.length) break
    const batch = bytes.subarray(position, position + length)
    const count = batch.readUInt32LE(52)
    const unread = { crc: 0, previousCrc: 0, first: 0, last: 0, ceiling: 0, syncedGeneration: 0, syncedPosition: 0 }
    yield { kind: 'batch', position, header: { ...unread, length, count }, bytes: batch }
    position += length
  }
  if (position < bytes.length) yield { kind: 'unverified', position, end: bytes.length, reason: 'not looked at' }
}

function verifyWithoutCrc(source: Buffer, at: number): boolean {
  if (at + RECORD_HEADER_BYTES > source.length) return false
  const length = source.readUInt32LE(at)
  const needed = RECORD_HEADER_BYTES + source.readUInt16LE(at + KEY_LENGTH_AT)
  return length >= needed && at + length <= source.length
}

function withoutOneStream(index: SegmentIndex): SegmentIndex {
  const forgotten = 102
  return {
    recordCount: index.recordCount,
    keyCount: index.keyCount,
    sizeBytes: index.sizeBytes,
    seek: (streamId, after) => index.seek(streamId === forgotten ? 0 : streamId, after),
    seekBack: (streamId, before, countMax) =>
      streamId === forgotten ? [] : index.seekBack(streamId, before, countMax),
    findKey: (hash) => index.findKey(hash),
    markBefore: (after) => index.markBefore(after),
    olderThan: (timeMs) => index.olderThan(timeMs),
    totals: () => index.totals(),
    totalsOf: (streamId) => index.totalsOf(streamId),
    byNumber: (after) => index.byNumber(after),
  }
}
