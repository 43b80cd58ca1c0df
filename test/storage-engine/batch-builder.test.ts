import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BatchBuilder } from '../../storage-engine/batch-builder.ts'
import { BATCH_HEADER_BYTES, RecordView, verifyBatch, verifyRecord } from '../../storage-engine/format.ts'
import { recordsOf } from '../../storage-engine/segment.ts'

const FIELDS = { previousCrc: 3, ceiling: 4, syncedGeneration: 5, syncedPosition: 6 }

test('what is added comes out in order, each record verified in its place', () => {
  const builder = new BatchBuilder()
  for (let i = 0; i < 100; i += 1) builder.add({ streamId: i, kind: 1, payload: Buffer.alloc(i, i) }, 1000 + 2 * i, 50)
  assert.equal(builder.count, 100)
  assert.equal(builder.first, 1000)
  const { bytes, header } = builder.seal(9, 4096, FIELDS)
  assert.equal(bytes.length, builder.bytes)
  assert.deepEqual(verifyBatch(bytes, 9, 4096), { ...header, length: bytes.length })
  assert.deepEqual(header, { ...FIELDS, first: 1000, last: 1198, count: 100, crc: header.crc })
  let i = 0
  for (const [at, record] of recordsOf(bytes, header.count)) {
    assert(verifyRecord(bytes, at, 9, 4096 + at))
    assert.deepEqual([record.offset, record.streamId, record.payload.length], [1000 + 2 * i, i, i])
    i += 1
  }
  assert.equal(i, 100)
})

test('a payload that writes itself lies in its place, as one of bytes does', () => {
  const builder = new BatchBuilder()
  const written = { length: 5, writeTo: (target: Buffer, at: number) => void target.write('hello', at) }
  builder.add({ streamId: 1, kind: 1, key: Buffer.from('k'), payload: Buffer.from('before') }, 10, 1)
  builder.add({ streamId: 1, kind: 1, key: Buffer.from('k'), payload: written }, 11, 1)
  builder.add({ streamId: 1, kind: 1, key: Buffer.from('k'), payload: Buffer.from('behind') }, 12, 1)
  const { bytes, header } = builder.seal(9, 4096, FIELDS)
  const payloads = [...recordsOf(bytes, header.count)].map(([at, record]) => {
    assert(verifyRecord(bytes, at, 9, 4096 + at))
    return record.payload.toString()
  })
  assert.deepEqual(payloads, ['before', 'hello', 'behind'])
})

test('a batch can be sealed a second time for another place, as after a full disk', () => {
  const builder = new BatchBuilder()
  builder.add({ streamId: 1, kind: 1, payload: Buffer.from('x') }, 10, 1)
  builder.seal(9, 4096, FIELDS)
  const { bytes } = builder.seal(8, 128, FIELDS)
  assert(verifyBatch(bytes, 8, 128) !== undefined)
  assert.equal(verifyBatch(bytes, 9, 4096), undefined)
  assert(verifyRecord(bytes, BATCH_HEADER_BYTES, 8, 128 + BATCH_HEADER_BYTES))
})

test('an expected place that turns out right, wrong, or right again makes no difference to the bytes', () => {
  const records = [1, 2, 3].map((i) => ({ streamId: i, kind: 1, payload: Buffer.alloc(40 * i, i) }))
  const plain = new BatchBuilder()
  for (const [i, record] of records.entries()) plain.add(record, 10 + i, 1)
  const expecting = new BatchBuilder()
  expecting.expect({ seed: 9, position: 4096 })
  for (const [i, record] of records.entries()) expecting.add(record, 10 + i, 1)
  for (const [seed, position] of [
    [9, 4096],
    [8, 128],
    [9, 4096],
    [9, 4104],
  ] as const) {
    const { bytes } = expecting.seal(seed, position, FIELDS)
    assert(bytes.equals(plain.seal(seed, position, FIELDS).bytes), `${seed} ${position}`)
    for (const [at] of recordsOf(bytes, 3)) assert(verifyRecord(bytes, at, seed, position + at))
  }
})

test('a used builder leaves nothing of the batch before in the next one', () => {
  const builder = new BatchBuilder()
  builder.add({ streamId: 1, kind: 1, key: Buffer.alloc(20, 0xaa), payload: Buffer.alloc(300, 0xaa) }, 10, 1)
  builder.reset()
  assert.deepEqual([builder.count, builder.bytes], [0, BATCH_HEADER_BYTES])
  builder.add({ streamId: 2, kind: 2, payload: Buffer.from('y') }, 11, 2)
  const { bytes } = builder.seal(9, 0, FIELDS)
  assert.equal(bytes.includes(0xaa), false)
  assert.equal(bytes.length, BATCH_HEADER_BYTES + 48)
})

test('row 60: a batch grows as large as it must, and what was in it stays', () => {
  const builder = new BatchBuilder()
  builder.add({ streamId: 1, kind: 1, payload: Buffer.from('first') }, 1, 1)
  builder.add({ streamId: 1, kind: 1, payload: Buffer.alloc(9 * 2 ** 20, 7) }, 2, 1)
  for (let i = 0; i < 10_000; i += 1) builder.add({ streamId: 1, kind: 1, payload: Buffer.from('last') }, 3 + i, 1)
  const { bytes, header } = builder.seal(9, 0, FIELDS)
  assert(verifyBatch(bytes, 9, 0) !== undefined)
  assert.equal(header.count, 10_002)
  assert.equal(new RecordView(bytes, BATCH_HEADER_BYTES).payload.toString(), 'first')
  const [, last] = [...recordsOf(bytes, header.count)].at(-1)!
  assert.equal(last.payload.toString(), 'last')
})

test('a batch of records in any order names the lowest and the highest number', () => {
  const builder = new BatchBuilder()
  for (const offset of [20, 31, 7, 30]) builder.add({ streamId: 1, kind: 1, payload: Buffer.alloc(0) }, offset, 1)
  const { header } = builder.seal(9, 0, FIELDS)
  assert.deepEqual([header.first, header.last], [7, 31])
  builder.reset()
  builder.add({ streamId: 1, kind: 1, payload: Buffer.alloc(0) }, 12, 1)
  const { header: next } = builder.seal(9, 0, FIELDS)
  assert.deepEqual([next.first, next.last], [12, 12])
})

test('a batch without records bears its own number', () => {
  const builder = new BatchBuilder()
  builder.addNothing(77)
  assert.equal(builder.first, 77)
  const { bytes, header } = builder.seal(9, 0, FIELDS)
  assert.equal(bytes.length, BATCH_HEADER_BYTES)
  assert.deepEqual([header.first, header.last, header.count], [77, 77, 0])
})
