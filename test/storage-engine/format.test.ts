import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  aligned,
  BATCH_BYTES_LIMIT,
  BATCH_HEADER_BYTES,
  batchLengthAt,
  decodeFooter,
  decodeHeader,
  encodeFooter,
  encodeHeader,
  encodeRecord,
  FOOTER_BYTES,
  HEADER_BYTES,
  headerBytes,
  KEY_BYTES_LIMIT,
  type NewRecord,
  OFFSET_LIMIT,
  ORDER_BY_OFFSET,
  ORDER_BY_STREAM,
  placedCrc,
  RECORD_HEADER_BYTES,
  RecordView,
  readU64,
  recordBytes,
  rolledHeader,
  type SegmentHeader,
  sealBatch,
  sealRecord,
  segmentSeed,
  verifyBatch,
  verifyRecord,
  writeU64,
} from '../../storage-engine/format.ts'

const PLAIN = { noNullPrototype: true }
const number = fc.maxSafeNat()
const generation = fc.maxSafeNat().map((n) => Math.max(1, n))
const u32 = fc.nat(0xffff_ffff)
const bytes = (lengthMax: number) => fc.uint8Array({ maxLength: lengthMax })
const identity = fc.uint8Array({ minLength: 16, maxLength: 16 })
/** Positions in a segment of at most 4 GiB. */
const position = u32.map((n) => (n - (n % 8)) >>> 0)

const header: fc.Arbitrary<SegmentHeader> = fc.record(
  {
    identity,
    generation,
    placeFrom: generation,
    placeThrough: generation,
    coveredLast: number,
    ceiling: number,
    order: fc.constantFrom(ORDER_BY_OFFSET, ORDER_BY_STREAM),
    predecessor: number,
    predecessorEnd: number,
    contentEnd: number,
    createdMs: number,
    inputs: fc.array(number),
    outputs: fc.array(number),
  },
  PLAIN,
)

const record: fc.Arbitrary<NewRecord<Uint8Array>> = fc.record(
  {
    streamId: number,
    kind: fc.nat(255),
    key: fc.option(bytes(40), { nil: undefined }),
    payload: bytes(200),
  },
  PLAIN,
)

function recordAt(record: NewRecord, at: number, seed: number, place: number, offset = 7, timeMs = 8): Buffer {
  const target = Buffer.alloc(at + recordBytes(record), 0xee)
  encodeRecord(target, at, record, offset, timeMs)
  sealRecord(target, at, seed, place)
  return target
}

test('numbers of 64 bits come back, around 2^32 and up to 2^53 - 1', () => {
  const buffer = Buffer.alloc(8)
  const edges = [0, 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 52, OFFSET_LIMIT - 1, OFFSET_LIMIT]
  for (const value of edges) {
    writeU64(buffer, value, 0)
    assert.equal(readU64(buffer, 0), value)
    assert.equal(buffer.readBigUInt64LE(0), BigInt(value))
  }
  fc.assert(
    fc.property(number, (value) => {
      writeU64(buffer, value, 0)
      return readU64(buffer, 0) === value && buffer.readBigUInt64LE(0) === BigInt(value)
    }),
  )
})

test('a length is rounded up to a multiple of 8', () => {
  assert.deepEqual([0, 1, 7, 8, 9, BATCH_BYTES_LIMIT].map(aligned), [0, 8, 8, 8, 16, BATCH_BYTES_LIMIT])
})

test('any header comes back as it was, with its lists, also out of a longer file', () => {
  fc.assert(
    fc.property(header, bytes(50), (wanted, rest) => {
      const encoded = encodeHeader(wanted)
      assert.equal(encoded.length, headerBytes(wanted))
      assert.equal(encoded.length % 8, 0)
      const decoded = decodeHeader(Buffer.concat([encoded, rest]))
      assert.deepEqual(decoded, { kind: 'header', header: wanted, bytes: encoded.length })
      assert(decoded.kind === 'header')
      assert.deepEqual(encodeHeader(decoded.header), encoded)
    }),
  )
})

test('a segment that is rolled stands for itself: its place is zeros on the disk', () => {
  const fields = { identity: new Uint8Array(16), predecessor: 6, predecessorEnd: 0, contentEnd: 128, createdMs: 5 }
  const rolled = rolledHeader({ ...fields, generation: 7 })
  const encoded = encodeHeader(rolled)
  assert.deepEqual(encoded.subarray(88), Buffer.alloc(HEADER_BYTES - 88))
  assert.deepEqual(decodeHeader(encoded), { kind: 'header', header: rolled, bytes: HEADER_BYTES })
  assert.deepEqual([rolled.placeFrom, rolled.placeThrough, rolled.order], [7, 7, ORDER_BY_OFFSET])
})

test('a header that is cut anywhere is damaged', () => {
  const encoded = encodeHeader({ ...fc.sample(header, 1)[0]!, inputs: [1, 2], outputs: [3] })
  for (let length = 0; length < encoded.length; length += 1) {
    assert.deepEqual(decodeHeader(encoded.subarray(0, length)), { kind: 'damaged' })
  }
})

test('row 19: each bit of a header flipped is damage', () => {
  const encoded = encodeHeader({ ...fc.sample(header, 1)[0]!, inputs: [1, 2], outputs: [3] })
  for (let bit = 0; bit < encoded.length * 8; bit += 1) {
    const flipped = Buffer.from(encoded)
    flipped[bit >> 3]! ^= 1 << (bit & 7)
    assert.deepEqual(decodeHeader(flipped), { kind: 'damaged' }, `bit ${bit}`)
  }
})

test('any record comes back as it was, and fills its place', () => {
  fc.assert(
    fc.property(record, u32, position, number, number, (wanted, seed, place, offset, timeMs) => {
      const target = recordAt(wanted, 16, seed, place, offset, timeMs)
      assert(verifyRecord(target, 16, seed, place))
      const view = new RecordView(target, 16)
      assert.equal(aligned(view.length), recordBytes(wanted))
      assert.deepEqual(Buffer.from(view.key), Buffer.from(wanted.key ?? []))
      assert.deepEqual(Buffer.from(view.payload), Buffer.from(wanted.payload))
      const { streamId, kind } = wanted
      const got = [view.offset, view.streamId, view.kind, view.timeMs, view.keyLength]
      assert.deepEqual(got, [offset, streamId, kind, timeMs, wanted.key?.length ?? 0])
      // What is left behind the record is padding: zeros, whatever was there before.
      assert(target.subarray(16 + view.length).every((byte) => byte === 0))
    }),
  )
})

test('57, 58: an empty payload and the longest key come back', () => {
  const longest = { streamId: 1, kind: 255, key: Buffer.alloc(KEY_BYTES_LIMIT, 0xff), payload: Buffer.alloc(0) }
  const target = recordAt(longest, 0, 1, 0)
  assert(verifyRecord(target, 0, 1, 0))
  assert.deepEqual(new RecordView(target, 0).key, longest.key)
  assert.equal(new RecordView(target, 0).payload.length, 0)
  const empty = recordAt({ streamId: 1, kind: 1, payload: Buffer.alloc(0) }, 0, 1, 0)
  assert.equal(empty.length, RECORD_HEADER_BYTES)
  assert(verifyRecord(empty, 0, 1, 0))
})

test('row 18: each bit of a record flipped is noticed, but for its padding, which holds nothing', () => {
  const target = recordAt(
    { streamId: 5, kind: 1, key: Buffer.from('key'), payload: Buffer.from('payload') },
    0,
    99,
    640,
  )
  const { length } = new RecordView(target, 0)
  for (let bit = 0; bit < target.length * 8; bit += 1) {
    const flipped = Buffer.from(target)
    flipped[bit >> 3]! ^= 1 << (bit & 7)
    assert.equal(verifyRecord(flipped, 0, 99, 640), bit >> 3 >= length, `bit ${bit}`)
  }
})

test('row 23: any length that a record claims is refused without reading over the end', () => {
  const target = recordAt({ streamId: 5, kind: 1, payload: Buffer.alloc(100, 1) }, 0, 99, 640)
  const right = new RecordView(target, 0).length
  for (const length of [
    0,
    1,
    7,
    39,
    40,
    right - 1,
    right + 1,
    target.length,
    target.length + 1,
    2 ** 31,
    0xffff_ffff,
  ]) {
    const changed = Buffer.from(target)
    changed.writeUInt32LE(length, 0)
    assert.equal(verifyRecord(changed, 0, 99, 640), false, `${length}`)
  }
  const changed = Buffer.from(target)
  // A key that reaches over the end, with a checksum that fits.
  changed.writeUInt16LE(101, 34)
  sealRecord(changed, 0, 99, 640)
  assert.equal(verifyRecord(changed, 0, 99, 640), false)
  for (let end = 0; end < right; end += 1) assert.equal(verifyRecord(target.subarray(0, end), 0, 99, 640), false)
})

test('bytes that are whole do not verify in another place, another segment or another log', () => {
  fc.assert(
    fc.property(record, identity, identity, position, position, (wanted, one, other, place, elsewhere) => {
      fc.pre(place !== elsewhere && Buffer.compare(one, other) !== 0)
      const seed = segmentSeed(one, 1)
      const target = recordAt(wanted, 0, seed, place)
      assert(verifyRecord(target, 0, seed, place))
      assert(!verifyRecord(target, 0, seed, elsewhere))
      assert(!verifyRecord(target, 0, segmentSeed(one, 2), place))
      assert(!verifyRecord(target, 0, segmentSeed(other, 1), place))
    }),
  )
})

function batchOf(records: readonly NewRecord[], seed: number, place: number, fields = {}) {
  const batch = Buffer.alloc(BATCH_HEADER_BYTES + records.reduce((sum, one) => sum + recordBytes(one), 0))
  let at = BATCH_HEADER_BYTES
  for (const [i, one] of records.entries()) {
    encodeRecord(batch, at, one, 10 + i, 1)
    at = sealRecord(batch, at, seed, place + at)
  }
  const all = {
    previousCrc: 1,
    first: 10,
    last: 9 + records.length,
    ceiling: 100,
    syncedGeneration: 1,
    syncedPosition: 128,
    count: records.length,
    ...fields,
  }
  return { batch, fields: all, crc: sealBatch(batch, all, seed, place) }
}

test('any batch comes back as it was', () => {
  const fieldsOf = fc.record(
    {
      previousCrc: u32,
      first: number,
      last: number,
      ceiling: number,
      syncedGeneration: number,
      syncedPosition: u32,
      count: u32,
    },
    PLAIN,
  )
  fc.assert(
    fc.property(fc.array(record, { maxLength: 5 }), fieldsOf, u32, position, (records, fields, seed, place) => {
      const { batch, crc } = batchOf(records, seed, place, fields)
      assert.equal(batchLengthAt(batch, 0, seed, place), batch.length)
      assert.deepEqual(verifyBatch(batch, seed, place), { ...fields, length: batch.length, crc })
    }),
  )
})

test('row 18: each bit of a batch flipped is noticed, and each of its header without its records', () => {
  const records = [{ streamId: 5, kind: 1, payload: Buffer.from('payload') }]
  const { batch } = batchOf(records, 77, 1024)
  for (let bit = 0; bit < batch.length * 8; bit += 1) {
    const flipped = Buffer.from(batch)
    flipped[bit >> 3]! ^= 1 << (bit & 7)
    const byte = bit >> 3
    const length = batchLengthAt(flipped, 0, 77, 1024)
    // The batch's CRC and the reserved bytes are of the whole batch's concern.
    const isHeader = byte < BATCH_HEADER_BYTES - 4 && (byte < 8 || byte >= 12)
    assert.equal(length, isHeader ? 0 : batch.length, `bit ${bit}`)
    const isNoticed = length === 0 || verifyBatch(flipped, 77, 1024) === undefined
    assert(isNoticed, `bit ${bit}`)
  }
})

test('a batch of a length that no batch has is not one, however well it verifies', () => {
  const { batch } = batchOf([], 1, 0)
  for (const length of [0, BATCH_HEADER_BYTES - 8, BATCH_HEADER_BYTES + 1, BATCH_BYTES_LIMIT + 8, 0xffff_fff8]) {
    const changed = Buffer.from(batch)
    changed.writeUInt32LE(length, 4)
    const front = placedCrc(changed.subarray(0, 8), 1, 0)
    // The header's own CRC, set right by hand: the bound holds by itself.
    changed.writeUInt32LE(placedCrc(changed.subarray(12, 56), front, 0), 56)
    assert.equal(batchLengthAt(changed, 0, 1, 0), 0, `${length}`)
  }
  assert.equal(batchLengthAt(batch, 8, 1, 0), 0)
  assert.equal(batchLengthAt(batch.subarray(0, 63), 0, 1, 0), 0)
})

test('any footer comes back as it was, and each bit flipped is noticed', () => {
  const footer = fc.record(
    {
      lastCrc: u32,
      recordCount: number,
      batchCount: number,
      first: number,
      last: number,
      timeMsMin: number,
      timeMsMax: number,
      successor: number,
    },
    PLAIN,
  )
  fc.assert(
    fc.property(footer, u32, position, (wanted, seed, place) => {
      const encoded = encodeFooter(wanted, seed, place)
      assert.equal(encoded.length, FOOTER_BYTES)
      const shifted = Buffer.concat([Buffer.alloc(8), encoded])
      assert.deepEqual(decodeFooter(shifted, 8, seed, place), wanted)
      assert.equal(decodeFooter(shifted, 8, seed, place + 8), undefined)
      assert.equal(decodeFooter(shifted, 16, seed, place), undefined)
    }),
  )
  const encoded = encodeFooter(fc.sample(footer, 1)[0]!, 5, 800)
  for (let bit = 0; bit < encoded.length * 8; bit += 1) {
    const flipped = Buffer.from(encoded)
    flipped[bit >> 3]! ^= 1 << (bit & 7)
    assert.equal(decodeFooter(flipped, 0, 5, 800), undefined, `bit ${bit}`)
  }
})

test('row 32: a header of a later version is known as such, and its version told', () => {
  const encoded = encodeHeader(fc.sample(header, 1)[0]!)
  const later = withVersion(encoded, 2)
  assert.deepEqual(decodeHeader(later), { kind: 'unknown-version', version: 2 })
  assert.deepEqual(decodeHeader(withVersion(encoded, 1)).kind, 'header')
  assert.equal(HEADER_BYTES, 128)
})

function withVersion(encoded: Buffer, version: number): Buffer {
  const changed = Buffer.from(encoded)
  changed.writeUInt32LE(version, 8)
  // As docs/log-format.md says it: over the bytes before the CRC, and behind it.
  const front = placedCrc(changed.subarray(0, 12), 0, 0)
  changed.writeUInt32LE(placedCrc(changed.subarray(16), front, 0), 12)
  return changed
}
