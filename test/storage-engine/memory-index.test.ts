import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeRecord, RecordView } from '../../storage-engine/format.ts'
import { hashKey } from '../../storage-engine/key-hash.ts'
import { MemoryIndex } from '../../storage-engine/memory-index.ts'
import { NO_ROW, NumberTable } from '../../storage-engine/number-table.ts'
import type { Posting } from '../../storage-engine/segment-index.ts'
import { Random } from '../support/random.ts'
import { segmentIndexSuite } from './segment-index-suite.ts'

segmentIndexSuite('the index in memory', async (records) => records.index)

test('a cursor that has come to the end goes on when more was added', () => {
  const index = new MemoryIndex(hashKey)
  const add = (offset: number, streamId: number) => {
    const bytes = Buffer.alloc(48)
    encodeRecord(bytes, 0, { streamId, kind: 1, payload: Buffer.from('x') }, offset, 1)
    index.add(new RecordView(bytes, 0), 8 * offset, 128)
  }
  const early = index.seek(7, 0)
  assert.deepEqual(early.next(10), [])
  for (const offset of [10, 11, 12]) add(offset, 7)
  add(13, 8)
  const late = index.seek(7, 12)
  assert.deepEqual(late.next(10), [])
  assert.deepEqual(offsets(early.next(2)), [10, 11])
  add(14, 7)
  assert.deepEqual(offsets(early.next(10)), [12, 14])
  assert.deepEqual(offsets(late.next(10)), [14])
  assert.deepEqual(early.next(10), [])
})

function offsets(postings: readonly Posting[]): number[] {
  return postings.map(({ offset }) => offset)
}

test('the same key in two streams has two hashes, all below 2^52', () => {
  const key = Buffer.from('order-1')
  assert.notEqual(hashKey(1, key), hashKey(2, key))
  assert.equal(hashKey(1, key), hashKey(1, Buffer.from('order-1')))
  for (let i = 0; i < 1000; i += 1) {
    const hash = hashKey(i, key)
    assert(Number.isInteger(hash) && hash >= 0 && hash < 2 ** 52)
  }
})

test('a table of numbers answers as a Map from each to how many came before it', async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  const table = new NumberTable()
  const map = new Map<number, number>()
  const numbers = [0, 1, 2 ** 32, 2 ** 53 - 1, ...Array.from({ length: 2000 }, () => random.int(2 ** 53))]
  // Numbers that differ in their upper bits only, and numbers that follow each other.
  for (let i = 0; i < 2000; i += 1) numbers.push(i * 2 ** 32 + 5, 2 ** 40 + i, i * 2 ** 20)
  for (let i = 0; i < 20_000; i += 1) {
    const number = random.pick(numbers)
    if (!map.has(number)) map.set(number, map.size)
    assert.equal(table.add(number), map.get(number))
  }
  assert.equal(table.count, map.size)
  for (const number of numbers) assert.equal(table.get(number), map.get(number) ?? NO_ROW)
  for (const [number, index] of map) assert.equal(table.at(index), number)
  const sorted = await table.sorted()
  const wanted = [...map].sort(([a], [b]) => a - b)
  assert.deepEqual(
    [...sorted],
    wanted.map(([, index]) => index),
  )
})
