/** The number by which an index finds a key within a stream, and which keys count as the same. */

import { hash } from 'node:crypto'

/** 52 bits of SHA-256: collisions cannot be met by chance, and one that is made on purpose is noticed by the reader. */
export type KeyHash = (streamId: number, key: Uint8Array) => number

export function hashKey(streamId: number, key: Uint8Array): number {
  const core = withoutOuterBlanks(key)
  const bytes = Buffer.allocUnsafe(8 + core.length)
  bytes.writeDoubleLE(streamId, 0)
  bytes.set(core, 8)
  const digest = hash('sha256', bytes, 'buffer')
  return digest.readUInt32LE(0) * 0x10_0000 + (digest.readUInt32LE(4) & 0xf_ffff)
}

/** Keys that differ in outer spaces and tabs only count as one: transports take those off (RFC 9110, section 5.5). */
export function withoutOuterBlanks(key: Uint8Array): Uint8Array {
  let begin = 0
  let end = key.length
  while (begin < end && isBlank(key[begin])) begin += 1
  while (end > begin && isBlank(key[end - 1])) end -= 1
  return key.subarray(begin, end)
}

function isBlank(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x09
}
