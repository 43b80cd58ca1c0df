/** What disks, and those who write to them, do to the bytes of a log. */

import { BATCH_BYTES_LIMIT, BATCH_MAGIC, FOOTER_MAGIC } from '../storage-engine/format.ts'
import type { Random } from './random.ts'

/** Looks like the begin of a batch or footer, with any length. */
export function forgery(random: Random): Buffer {
  const bytes = Buffer.from(random.bytes(64 + 8 * random.below(10)))
  bytes.writeUInt32LE(random.pick([BATCH_MAGIC, FOOTER_MAGIC]), 0)
  bytes.writeUInt32LE(
    random.pick([0, 8, 64, 96, bytes.length, BATCH_BYTES_LIMIT, BATCH_BYTES_LIMIT + 8, 0xffff_fff8]),
    4,
  )
  return bytes
}

/** Damage of the kinds that happen: bits, holes, stretches of other bytes, bytes of another place, a cut, more. */
export function damaged(random: Random, whole: Buffer, begin: number): Buffer {
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
