import assert from 'node:assert/strict'
import { test } from 'node:test'
import { crc32 } from 'node:zlib'
import { BlockCache } from '../../storage-engine/block-cache.ts'
import { indexName } from '../../storage-engine/data-directory.ts'
import { ORDER_BY_OFFSET, ORDER_BY_STREAM, segmentSeed } from '../../storage-engine/format.ts'
import {
  IndexDoubt,
  IndexFile,
  PAGE_BYTES,
  type SegmentSummary,
  writeIndexFile,
} from '../../storage-engine/index-file.ts'
import { MemoryFiles } from '../../storage-engine/memory-files.ts'
import { nextCacheId } from '../../storage-engine/segment.ts'
import type { SegmentIndex } from '../../storage-engine/segment-index.ts'
import { Random } from '../support/random.ts'
import {
  compareByNumber,
  compareWithList,
  type IndexedRecords,
  randomRecords,
  segmentIndexSuite,
} from './segment-index-suite.ts'
import { IDENTITY } from './written-segment.ts'

const GENERATION = 3
const PATH = `/d/${indexName(GENERATION)}`

function summaryOf({ index, batchCount, contentEnd }: IndexedRecords): SegmentSummary {
  const { recordCount, first, last, timeMsMin, timeMsMax } = index
  const tie = { identity: IDENTITY, generation: GENERATION, lastCrc: 0xfedc_ba98 }
  return { ...tie, contentEnd, recordCount, batchCount, first, last, timeMsMin, timeMsMax }
}

async function written(records: IndexedRecords): Promise<Buffer> {
  const files = new MemoryFiles()
  await files.makeDirectory('/d')
  await writeIndexFile(files, '/d', records.index, summaryOf(records))
  assert.deepEqual(await files.list('/d'), [indexName(GENERATION)])
  const file = await files.open(PATH, 'read')
  const bytes = Buffer.alloc(file.sizeBytes)
  await file.read(bytes, 0)
  return bytes
}

async function load(bytes: Buffer, generation = GENERATION, identity = IDENTITY): Promise<IndexFile> {
  const source = {
    cacheId: nextCacheId(),
    readableBytes: Number.MAX_SAFE_INTEGER,
    read: async (target: Uint8Array, position: number) => {
      const part = bytes.subarray(position, position + target.length)
      target.set(part)
      return part.length
    },
  }
  return await IndexFile.load(PATH, identity, generation, source, new BlockCache(PAGE_BYTES, 8 * PAGE_BYTES))
}

segmentIndexSuite('the index in a file', async (records) => await load(await written(records)))

test('the sidecar says of its segment what the segment said of itself', async () => {
  for (const order of [ORDER_BY_OFFSET, ORDER_BY_STREAM] as const) {
    const records = randomRecords(new Random(3), 700, order)
    const bytes = await written(records)
    const index = await load(bytes)
    assert.deepEqual(index.summary, summaryOf(records))
    assert.equal(index.order, order)
    assert.equal(index.sizeBytes, bytes.length)
  }
})

test('a sidecar of an older or a newer version is doubtful', async () => {
  const bytes = await written(randomRecords(new Random(3), 10))
  for (const version of [0, 1, 3]) {
    const other = Buffer.from(bytes)
    other.writeUInt32LE(version, 8)
    const seed = segmentSeed(IDENTITY, GENERATION)
    other.writeUInt32LE(crc32(other.subarray(0, PAGE_BYTES - 8), seed), PAGE_BYTES - 8)
    await assert.rejects(load(other), /not an index of a version/)
  }
})

test('a sidecar of another generation or another log is doubtful', async () => {
  const bytes = await written(randomRecords(new Random(3), 10))
  await assert.rejects(load(bytes, GENERATION + 1), IndexDoubt)
  await assert.rejects(
    load(
      bytes,
      GENERATION,
      IDENTITY.map((byte) => byte + 1),
    ),
    IndexDoubt,
  )
})

test('a sidecar that is missing, empty or cut at any page is doubtful', async () => {
  const random = new Random(4)
  const records = randomRecords(random, 700)
  const bytes = await written(records)
  assert.equal(bytes.length % PAGE_BYTES, 0)
  for (let end = 0; end < bytes.length; end += PAGE_BYTES / 2) {
    await assert.rejects(askAll(await loadOrDoubt(bytes.subarray(0, end)), records, random), IndexDoubt, `${end} bytes`)
  }
})

test('row 21: each byte of the index changed is doubt, or the same answers', async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  const records = randomRecords(random, 300, ORDER_BY_STREAM)
  const bytes = await written(records)
  for (let at = 0; at < bytes.length; at += 1) {
    // Most of the pages is empty: of that, every 37th byte will do.
    if (bytes[at] === 0 && at % 37 !== 0) continue
    const changed = Buffer.from(bytes)
    changed[at]! ^= 1 << random.int(8)
    let doubt: unknown
    try {
      await askAll(await load(changed), records, random)
    } catch (error) {
      if (!(error instanceof IndexDoubt)) throw new Error(`byte ${at}`, { cause: error })
      doubt = error
    }
    // Only the last four bytes of a page are nobody's.
    assert.equal(doubt === undefined, at % PAGE_BYTES >= PAGE_BYTES - 4, `byte ${at}`)
  }
})

test('row 21: two pages of the index swapped are noticed', async () => {
  const random = new Random(6)
  const records = randomRecords(random, 1000, ORDER_BY_STREAM)
  const bytes = await written(records)
  const pages = bytes.length / PAGE_BYTES
  assert(pages >= 6)
  for (let page = 1; page < pages; page += 1) {
    const changed = Buffer.from(bytes)
    bytes.copy(changed, (page - 1) * PAGE_BYTES, page * PAGE_BYTES, (page + 1) * PAGE_BYTES)
    bytes.copy(changed, page * PAGE_BYTES, (page - 1) * PAGE_BYTES, page * PAGE_BYTES)
    await assert.rejects(askAll(await loadOrDoubt(changed), records, random), IndexDoubt, `page ${page}`)
  }
})

async function loadOrDoubt(bytes: Buffer): Promise<SegmentIndex | IndexDoubt> {
  return await load(bytes).catch((error: unknown) => {
    if (error instanceof IndexDoubt) return error
    throw error
  })
}

/** Reads every page. */
async function askAll(index: SegmentIndex | IndexDoubt, records: IndexedRecords, random: Random): Promise<void> {
  if (index instanceof IndexDoubt) throw index
  const { list } = records
  for (const streamId of new Set(list.map((one) => one.streamId))) {
    const cursor = await index.seek(streamId, 0)
    while ((await cursor.next(512)).length > 0);
  }
  for (const { keyHash } of list) if (keyHash !== undefined) await index.findKey(keyHash)
  for (const { offset } of list.filter((_, i) => i % 100 === 0)) await index.markBefore(offset)
  if (records.index.order === ORDER_BY_STREAM) await compareByNumber(index, list, random)
  await compareWithList(index, records, random, 3)
}
