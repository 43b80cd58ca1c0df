/** The targets of the storage engine: what reads bytes that a disk, or whoever wrote to it, may have changed. */

import assert from 'node:assert/strict'
import { BatchBuilder } from '../storage-engine/batch-builder.ts'
import { BlockCache } from '../storage-engine/block-cache.ts'
import { indexName } from '../storage-engine/data-directory.ts'
import {
  BATCH_BYTES_LIMIT,
  BATCH_MAGIC,
  batchLengthAt,
  decodeFooter,
  decodeHeader,
  encodeFooter,
  encodeHeader,
  FOOTER_MAGIC,
  HEADER_BYTES,
  type NewRecord,
  ORDER_BY_OFFSET,
  RecordView,
  segmentSeed,
  verifyBatch,
  verifyRecord,
} from '../storage-engine/format.ts'
import { IndexDoubt, IndexFile, PAGE_BYTES, writeIndexFile } from '../storage-engine/index-file.ts'
import { MemoryFiles } from '../storage-engine/memory-files.ts'
import { hashKey, MemoryIndex, type SegmentIndex } from '../storage-engine/memory-index.ts'
import { scanSegment } from '../storage-engine/scan.ts'
import { nextCacheId, recordsOf } from '../storage-engine/segment.ts'
import type { Random } from './random.ts'

const IDENTITY = Uint8Array.from({ length: 16 }, (_, i) => 17 * i)
const GENERATION = 5
const SEED = segmentSeed(IDENTITY, GENERATION)
/** What a scanner reads at once, where no batch is larger. */
const READ_BYTES_MAX = 1024 * 1024

interface Written {
  readonly bytes: Buffer
  /** By position. */
  readonly batches: ReadonlyMap<number, Buffer>
}

/** A segment of a few batches, some of them with messages that look like parts of a segment. */
function writtenSegment(random: Random, index?: MemoryIndex): Written {
  const header = { identity: IDENTITY, generation: GENERATION, order: ORDER_BY_OFFSET, predecessor: 4 } as const
  const lists = { inputs: [], outputs: [] }
  const parts = [encodeHeader({ ...header, ...lists, predecessorEnd: 0, contentEnd: HEADER_BYTES, createdMs: 0 })]
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

/** Looks like the begin of a batch or footer, with any length. */
function forgery(random: Random): Buffer {
  const bytes = Buffer.from(random.bytes(64 + 8 * random.below(10)))
  bytes.writeUInt32LE(random.pick([BATCH_MAGIC, FOOTER_MAGIC]), 0)
  bytes.writeUInt32LE(
    random.pick([0, 8, 64, 96, bytes.length, BATCH_BYTES_LIMIT, BATCH_BYTES_LIMIT + 8, 0xffff_fff8]),
    4,
  )
  return bytes
}

/** Damage of the kinds that happen: bits, holes, stretches of other bytes, bytes of another place, a cut, more. */
function damaged(random: Random, whole: Buffer, begin: number): Buffer {
  let bytes = Buffer.from(whole)
  for (let rest = random.below(4); rest > 0 && bytes.length > begin; rest--) {
    const at = begin + random.below(bytes.length - begin)
    const length = Math.min(bytes.length - at, random.pick([1, 4, 8, 64, 512]))
    const kind = random.below(6)
    if (kind === 0) bytes[at]! ^= 1 << random.below(8)
    else if (kind === 1) bytes.fill(random.pick([0, 0xff]), at, at + length)
    else if (kind === 2) bytes.set(random.bytes(length), at)
    else if (kind === 3) bytes.copyWithin(at & ~7, random.below(bytes.length) & ~7, bytes.length)
    else if (kind === 4) bytes = bytes.subarray(0, at)
    else bytes = Buffer.concat([bytes, random.oneIn(2) ? forgery(random) : random.bytes(random.below(100))])
  }
  return bytes
}

export async function logScan(random: Random): Promise<void> {
  const { bytes: whole, batches } = writtenSegment(random)
  const isForeign = random.oneIn(5)
  const bytes = isForeign
    ? Buffer.concat([whole.subarray(0, HEADER_BYTES), forgery(random)])
    : damaged(random, whole, HEADER_BYTES)
  const source = {
    seed: SEED,
    sizeBytes: bytes.length,
    async read(target: Uint8Array, position: number): Promise<number> {
      assert(target.length <= READ_BYTES_MAX, `${target.length} bytes are wanted at once`)
      const part = bytes.subarray(position, position + target.length)
      target.set(part)
      return part.length
    },
  }
  let told = HEADER_BYTES
  for await (const item of scanSegment(source, HEADER_BYTES, { crc: 0, last: 0 })) {
    assert.equal(item.position, told, 'every byte is told once')
    if (item.kind === 'batch') {
      const written = batches.get(item.position)
      assert(!isForeign && written !== undefined && written.equals(item.bytes), 'a batch that was not written')
    }
    if (item.kind === 'unverified') told = item.end
    else told += item.kind === 'batch' ? item.header.length : 96
  }
  assert.equal(told, Math.max(HEADER_BYTES, bytes.length), 'every byte is told')
}

export function recordDecode(random: Random): void {
  const { bytes: whole, batches } = writtenSegment(random)
  const bytes = random.oneIn(4) ? Buffer.from(random.bytes(random.below(300))) : damaged(random, whole, 0)
  const header = decodeHeader(bytes)
  if (header.kind === 'header') assert.deepEqual(encodeHeader(header.header), bytes.subarray(0, header.bytes))
  for (let at = 0; at < bytes.length; at += random.oneIn(3) ? 1 : 8) {
    const place = random.oneIn(10) ? random.below(2 ** 32) : at
    const length = batchLengthAt(bytes, at, SEED, place)
    assert(length <= BATCH_BYTES_LIMIT)
    if (length > 0 && at + length <= bytes.length) {
      const batch = bytes.subarray(at, at + length)
      if (verifyBatch(batch, SEED, place) !== undefined) assert(batches.get(place)?.equals(batch), 'not written there')
    }
    decodeFooter(bytes, at, SEED, place)
    if (!verifyRecord(bytes, at, SEED, place)) continue
    const record = new RecordView(bytes, at)
    const original = new RecordView(whole, place)
    assert(verifyRecord(whole, place, SEED, place), 'a record that was not written there')
    assert.deepEqual([record.offset, record.streamId, record.kind], [original.offset, original.streamId, original.kind])
    assert.deepEqual([record.key, record.payload], [original.key, original.payload])
  }
}

export async function indexFile(random: Random): Promise<void> {
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
    const opened = await IndexFile.load(path, IDENTITY, GENERATION, source, cache)
    assert.deepEqual(await answers(opened), await answers(index))
  } catch (error) {
    if (!(error instanceof IndexDoubt)) throw error
    assert(!bytes.equals(whole), 'a whole sidecar is not doubtful')
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
