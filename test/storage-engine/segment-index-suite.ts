/**
 * What every index of a segment has to answer, run over the one in memory and the one in a file: for any set of records
 * the same as a list of them would.
 */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { BatchBuilder } from '../../storage-engine/batch-builder.ts'
import {
  type NewRecord,
  type Offset,
  ORDER_BY_OFFSET,
  ORDER_BY_STREAM,
  type RecordOrder,
} from '../../storage-engine/format.ts'
import { hashKey, type KeyHash } from '../../storage-engine/key-hash.ts'
import { MemoryIndex, RECORDS_PER_MARK } from '../../storage-engine/memory-index.ts'
import { recordsOf } from '../../storage-engine/segment.ts'
import type {
  IndexMark,
  Posting,
  SegmentIndex,
  StreamPosting,
  StreamTotals,
} from '../../storage-engine/segment-index.ts'
import { Random } from '../support/random.ts'

interface Listed extends Posting {
  readonly streamId: number
  readonly timeMs: number
  readonly keyHash: number | undefined
}

/** Records in a list, by number, and in an index in memory. */
export interface IndexedRecords {
  readonly list: readonly Listed[]
  readonly index: MemoryIndex
  readonly batchCount: number
  readonly contentEnd: number
}

/** A record, its number and its time. */
type Numbered = readonly [NewRecord, Offset, number]

/** Any records: few or many streams, with keys that repeat, holes between the numbers, clocks that jump. */
export function randomRecords(
  random: Random,
  count: number,
  order: RecordOrder = ORDER_BY_OFFSET,
  keyHash: KeyHash = hashKey,
): IndexedRecords {
  const streams = Array.from({ length: random.pick([1, 3, 500]) }, () => random.int(2 ** 53))
  const keys = Array.from({ length: random.pick([1, 50, 1000]) }, (_, i) => Buffer.from(`key ${i}`))
  const keyShare = random.pick([0, 0.1, 1])
  let offset = 1 + random.int(2 ** 52)
  let timeMs = 1_700_000_000_000
  const records = Array.from({ length: count }, (): Numbered => {
    offset += random.chance(0.1) ? 1 + random.int(1000) : 1
    timeMs += random.chance(0.01) ? random.int(10_000) - 5_000 : random.int(3)
    const key = random.chance(keyShare) ? random.pick(keys) : undefined
    return [{ streamId: random.pick(streams), kind: 1, key, payload: Buffer.alloc(random.int(30)) }, offset, timeMs]
  })
  if (order === ORDER_BY_STREAM) records.sort(([a, x], [b, y]) => a.streamId - b.streamId || x - y)
  return indexed(records, () => 1 + random.int(20), order, keyHash)
}

/** Lays records out in batches, in the order in which they are given. */
function indexed(
  records: readonly Numbered[],
  countOfBatch: () => number,
  order: RecordOrder,
  keyHash: KeyHash,
): IndexedRecords {
  const index = new MemoryIndex(keyHash, order)
  const list: Listed[] = []
  let position = 128
  let batchCount = 0
  while (list.length < records.length) {
    const builder = new BatchBuilder()
    for (const record of records.slice(list.length, list.length + countOfBatch())) builder.add(...record)
    const fields = { previousCrc: 0, ceiling: 0, syncedGeneration: 0, syncedPosition: 0 }
    const { bytes, header } = builder.seal(1, position, fields)
    for (const [at, record] of recordsOf(bytes, header.count)) {
      index.add(record, position + at, position)
      list.push({
        offset: record.offset,
        position: position + at,
        length: record.length,
        streamId: record.streamId,
        timeMs: record.timeMs,
        keyHash: record.keyLength > 0 ? keyHash(record.streamId, record.key) : undefined,
      })
    }
    position += bytes.length
    batchCount += 1
  }
  list.sort((a, b) => a.offset - b.offset)
  return { list, index, batchCount, contentEnd: position }
}

export async function postingsOf(index: SegmentIndex, streamId: number, after: Offset, step = 7): Promise<Posting[]> {
  const postings: Posting[] = []
  const cursor = await index.seek(streamId, after)
  for (;;) {
    const found = await cursor.next(step)
    if (found.length === 0) return postings
    assert(found.length <= step)
    postings.push(...found)
  }
}

/** Asks everything that a list can answer, about `questions` numbers, streams and keys. */
export async function compareWithList(index: SegmentIndex, records: IndexedRecords, random: Random, questions: number) {
  const { list } = records
  assert.equal(index.recordCount, list.length)
  const numbers = [0, list.at(-1)?.offset ?? 0, Number.MAX_SAFE_INTEGER]
  for (let i = 0; i < questions && list.length > 0; i += 1) numbers.push(random.pick(list).offset + random.int(3) - 1)
  for (const after of numbers) {
    const streamId = random.chance(0.1) || list.length === 0 ? random.int(2 ** 53) : random.pick(list).streamId
    const wanted = list.filter((one) => one.streamId === streamId && one.offset > after).map(posting)
    assert.deepEqual(await postingsOf(index, streamId, after, random.pick([1, 7, 512])), wanted)
    const back = list.filter((one) => one.streamId === streamId && one.offset < after).map(posting)
    const countMax = random.pick([1, 7, 512])
    assert.deepEqual(await index.seekBack(streamId, after, countMax), back.reverse().slice(0, countMax))
    assertMark(await index.markBefore(after), list, after)
    assertOlder(index, list, await index.olderThan(timeNear(random, list)))
  }
  const hashes = list.flatMap((one) => (one.keyHash === undefined ? [] : [one.keyHash]))
  for (let i = 0; i < questions; i += 1) {
    const keyHash = hashes.length > 0 && random.chance(0.8) ? random.pick(hashes) : random.int(2 ** 52)
    const bearers = list.filter((one) => one.keyHash === keyHash).sort((a, b) => a.position - b.position)
    assert.deepEqual((await index.findKey(keyHash)) ?? [], bearers.map(posting)[0] ?? [])
  }
  for (let i = 0; i < questions; i += 1) {
    const timeMs = timeNear(random, list)
    const after = await index.olderThan(timeMs)
    assert(
      list.every((one) => one.offset > after || one.timeMs < timeMs),
      `a record up to ${after} is not older`,
    )
    const firstAt = list.findIndex((one) => one.timeMs >= timeMs)
    const begin = list.findIndex((one) => one.offset > after)
    if (firstAt >= 0) assert(firstAt - begin <= RECORDS_PER_MARK, `${firstAt - begin} records to read`)
  }
  await compareTotals(index, list)
}

async function compareTotals(index: SegmentIndex, list: readonly Listed[]): Promise<void> {
  const wanted = [...new Set(list.map(({ streamId }) => streamId))]
    .sort((a, b) => a - b)
    .map((streamId) => totalsInList(list, streamId))
  const found: StreamTotals[] = []
  for await (const some of index.totals()) found.push(...some)
  assert.deepEqual(found, wanted)
  for (const totals of wanted.slice(0, 20)) assert.deepEqual(await index.totalsOf(totals.streamId), totals)
  assert.equal(await index.totalsOf(Number.MAX_SAFE_INTEGER), undefined)
}

function totalsInList(list: readonly Listed[], streamId: number): StreamTotals {
  const own = list.filter((one) => one.streamId === streamId)
  const bytes = own.reduce((sum, { length }) => sum + length, 0)
  return { streamId, count: own.length, bytes, first: own[0]!.offset, last: own.at(-1)!.offset }
}

/** All from any number on. */
export async function compareByNumber(index: SegmentIndex, list: readonly Listed[], random: Random): Promise<void> {
  const places = [0, list[0]?.offset ?? 0, list.at(-1)?.offset ?? 0, Number.MAX_SAFE_INTEGER]
  for (let i = 0; i < 10 && list.length > 0; i += 1) places.push(random.pick(list).offset + random.int(3) - 1)
  for (const after of places) {
    const cursor = await index.byNumber(after)
    const step = random.pick([7, 300])
    const found: StreamPosting[] = []
    for (let some = await cursor.next(step); some.length > 0; some = await cursor.next(step)) {
      assert(some.length <= step)
      found.push(...some)
    }
    const wanted = list.filter(({ offset }) => offset > after)
    assert.deepEqual(
      found,
      wanted.map((one) => ({ ...posting(one), streamId: one.streamId })),
    )
  }
}

function timeNear(random: Random, list: readonly Listed[]): number {
  return list.length === 0 ? random.int(2 ** 40) : random.pick(list).timeMs + random.int(3) - 1
}

function assertOlder(index: SegmentIndex, list: readonly Listed[], after: Offset): void {
  assert(after >= 0 && after <= (list.at(-1)?.offset ?? 0), `${index.recordCount} records, ${after}`)
}

function assertMark(mark: IndexMark | undefined, list: readonly Listed[], after: Offset): void {
  if (mark === undefined) {
    assert(list.length === 0 || list[0]!.offset > after + 1)
    return
  }
  const at = list.findIndex((one) => one.offset === mark.offset)
  assert(at >= 0 && at % RECORDS_PER_MARK === 0)
  const next = list.findIndex((one) => one.offset > after)
  assert(mark.offset <= after + 1)
  assert((next === -1 ? list.length : next) - at <= RECORDS_PER_MARK, 'it is the last one before')
  assert(mark.batchPosition < list[at]!.position)
  assert.equal(mark.timeMsBefore, Math.max(0, ...list.slice(0, at).map((one) => one.timeMs)))
}

function posting({ offset, position, length }: Posting): Posting {
  return { offset, position, length }
}

export function segmentIndexSuite(name: string, open: (records: IndexedRecords) => Promise<SegmentIndex>): void {
  describe(name, () => {
    for (const [inWords, order] of [
      ['by number', ORDER_BY_OFFSET],
      ['by stream', ORDER_BY_STREAM],
    ] as const) {
      test(`any set of records that lie ${inWords} is found by stream, number, key and time as in a list`, async (t) => {
        const random = new Random()
        t.diagnostic(`seed ${random.seed}`)
        for (const count of [0, 1, 2, 255, 256, 257, 600, 3000]) {
          const records = randomRecords(random, count, order)
          const { list, index } = records
          assert.deepEqual([index.first, index.last], [list[0]?.offset ?? 0, list.at(-1)?.offset ?? 0])
          const timesMs = list.map(({ timeMs }) => timeMs)
          const bounds = count === 0 ? [0, 0] : [Math.min(...timesMs), Math.max(...timesMs)]
          assert.deepEqual([index.timeMsMin, index.timeMsMax], bounds)
          await compareWithList(await open(records), records, random, 40)
        }
      })

      test(`row 61: keys of records ${inWords} whose hashes collide lead to the one that lies first`, async (t) => {
        const random = new Random()
        t.diagnostic(`seed ${random.seed}`)
        const colliding: KeyHash = (streamId, key) => hashKey(streamId, key) % 5
        const records = randomRecords(random, 1000, order, colliding)
        await compareWithList(await open(records), records, random, 40)
      })
    }

    test('records that lie by stream are told by number, from any number on', async (t) => {
      const random = new Random()
      t.diagnostic(`seed ${random.seed}`)
      for (const count of [0, 1, 255, 600, 3000]) {
        const records = randomRecords(random, count, ORDER_BY_STREAM)
        await compareByNumber(await open(records), records.list, random)
      }
    })

    test('row 59: one stream with all records, and as many streams as records', async () => {
      const numbered = Array.from({ length: 5000 }, (_, i): Numbered => {
        return [{ streamId: i % 2 === 0 ? 7 : 1000 + i, kind: 1, payload: Buffer.alloc(0) }, 10 + i, 1]
      })
      const opened = await open(indexed(numbered, () => 5000, ORDER_BY_OFFSET, hashKey))
      assert.equal((await postingsOf(opened, 7, 0, 512)).length, 2500)
      assert.equal((await postingsOf(opened, 7, 10 + 4000, 512))[0]?.offset, 10 + 4002)
      for (let i = 1; i < 5000; i += 98) {
        assert.deepEqual(
          (await postingsOf(opened, 1000 + i, 0)).map(({ offset }) => offset),
          [10 + i],
        )
      }
    })
  })
}
