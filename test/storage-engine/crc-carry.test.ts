import assert from 'node:assert/strict'
import { test } from 'node:test'
import { crc32 } from 'node:zlib'
import { carried } from '../../storage-engine/crc-carry.ts'
import { Random } from '../support/random.ts'

test('a checksum for another start value follows from the one that is known, whatever the bytes are', (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  const lengths = [
    0,
    1,
    2,
    7,
    8,
    255,
    4095,
    4096,
    4097,
    100_000,
    ...Array.from({ length: 200 }, () => random.int(9000)),
  ]
  for (const length of lengths) {
    const bytes = random.bytes(length)
    const [one, other] = [random.int(2 ** 32), random.int(2 ** 32)]
    const moved = crc32(bytes, one) ^ carried(one ^ other, length)
    assert.equal(moved >>> 0, crc32(bytes, other), `${length} bytes, ${one} and ${other}`)
  }
})

test('it is known for lengths that no memory could hold', () => {
  // In two steps it comes to the same.
  for (const [one, other] of [
    [2 ** 31, 2 ** 31 - 1],
    [2 ** 20, 5],
  ] as const) {
    assert.equal(carried(carried(0x1234_5678, one), other), carried(0x1234_5678, one + other))
  }
  assert.equal(carried(0, 1000), 0)
})
