/** Inputs that are nearly right: bytes of the corpus, changed in the ways in which bytes go wrong. */

import type { Random } from './random.ts'

const CHANGES_MAX = 4
const STRETCH_BYTES = [1, 2, 4, 8, 64]
/** Where lengths and numbers overflow, and what ends a line or a text. */
const SPECIAL_BYTES = [0, 1, 0x0a, 0x0d, 0x22, 0x24, 0x3a, 0x5c, 0x7b, 0x7f, 0x80, 0xbf, 0xc0, 0xff]

export function mutated(random: Random, corpus: readonly Buffer[]): Buffer {
  let bytes = random.pick(corpus)
  for (let rest = 1 + random.below(CHANGES_MAX); rest > 0; rest--) bytes = changed(random, bytes, corpus)
  return bytes
}

function changed(random: Random, bytes: Buffer, corpus: readonly Buffer[]): Buffer {
  const at = random.below(bytes.length + 1)
  const end = Math.min(bytes.length, at + random.pick(STRETCH_BYTES))
  const [before, stretch, behind] = [bytes.subarray(0, at), bytes.subarray(at, end), bytes.subarray(end)]
  switch (random.below(7)) {
    case 0:
      return Buffer.concat([before, stretch.map((byte) => byte ^ (1 << random.below(8))), behind])
    case 1:
      return Buffer.concat([before, stretch.map(() => random.pick(SPECIAL_BYTES)), behind])
    case 2:
      return Buffer.concat([before, random.bytes(stretch.length), behind])
    case 3:
      return Buffer.concat([before, behind])
    case 4:
      return Buffer.concat([before, stretch, stretch, behind])
    case 5:
      return before
    default: {
      const other = random.pick(corpus)
      return Buffer.concat([before, other.subarray(random.below(other.length + 1))])
    }
  }
}
