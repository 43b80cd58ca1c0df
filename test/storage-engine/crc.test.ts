import assert from 'node:assert/strict'
import { test } from 'node:test'
import { crc32 } from 'node:zlib'
import { crcOf } from '../../storage-engine/crc.ts'
import { Random } from '../support/random.ts'

test('a part of a buffer has the checksum that zlib says, whatever its length, its place and the start', (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  const source = random.bytes(1024)
  for (let length = 0; length <= 600; length += 1) {
    const begin = random.int(source.length - length)
    const end = begin + length
    for (const start of [0, 1, 0x8000_0000, 0xffff_ffff, -1, random.int(2 ** 32)]) {
      assert.equal(crcOf(source, begin, end, start), crc32(source.subarray(begin, end), start >>> 0))
    }
  }
})
