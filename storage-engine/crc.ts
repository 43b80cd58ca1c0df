/**
 * CRC-32 of part of a buffer, with the same result as zlib's. For long parts zlib is fastest. Most records are short,
 * and for those the call, and the view it needs, cost more than the checksum; they are summed here instead, by tables,
 * eight bytes per step.
 */

import { crc32 } from 'node:zlib'

/** Measured: up to here the tables are faster; both take the same time somewhere between 300 and 400 bytes. */
const SHORT_BYTES = 256

const tables = makeTables()

/** Of the bytes from `begin` up to, not including, `end`; `start` is what crc32 takes as its second argument. */
export function crcOf(source: Uint8Array, begin: number, end: number, start: number): number {
  if (end - begin > SHORT_BYTES) return crc32(source.subarray(begin, end), start >>> 0)
  return shortCrc(source, begin, end, start)
}

/** Eight tables in one: the `k`th says what a byte comes to that has `k` others behind it. */
function makeTables(): Int32Array {
  const made = new Int32Array(8 * 256)
  for (let byte = 0; byte < 256; byte += 1) {
    let crc = byte
    for (let bit = 0; bit < 8; bit += 1) crc = (crc & 1) === 0 ? crc >>> 1 : (crc >>> 1) ^ 0xedb8_8320
    made[byte] = crc
  }
  for (let at = 256; at < made.length; at += 1) {
    const before = made[at - 256]!
    made[at] = (before >>> 8) ^ made[before & 0xff]!
  }
  return made
}

function shortCrc(source: Uint8Array, begin: number, end: number, start: number): number {
  let crc = ~start
  let at = begin
  for (const stepsEnd = end - 7; at < stepsEnd; at += 8) {
    crc =
      tables[0x700 | ((source[at]! ^ crc) & 0xff)]! ^
      tables[0x600 | ((source[at + 1]! ^ (crc >>> 8)) & 0xff)]! ^
      tables[0x500 | ((source[at + 2]! ^ (crc >>> 16)) & 0xff)]! ^
      tables[0x400 | (source[at + 3]! ^ (crc >>> 24))]! ^
      tables[0x300 | source[at + 4]!]! ^
      tables[0x200 | source[at + 5]!]! ^
      tables[0x100 | source[at + 6]!]! ^
      tables[source[at + 7]!]!
  }
  for (; at < end; at += 1) crc = (crc >>> 8) ^ tables[(crc ^ source[at]!) & 0xff]!
  return ~crc >>> 0
}
