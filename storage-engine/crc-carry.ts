/**
 * CRC-32 is linear: the difference between two checksums at one place determines their difference any number of bytes
 * further on, whatever those bytes are. So a record that moves gets the checksum for its new place from the one for its
 * old place, without its bytes being looked at, and a record that was corrupted on the way never gets one that matches.
 */

/** CRC-32 as zlib has it: the polynomial with its bits reversed, the highest power in the lowest bit. */
const POLYNOMIAL = 0xedb8_8320
/** x^0 and x^8, their bits reversed as well. */
const ONE = 0x8000_0000 | 0
const ONE_BYTE = 0x0080_0000

/** Powers for so many bytes are kept once they were needed. */
const KEPT_BYTES_MAX = 4096
/** 0: not needed yet. No power is 0. */
const kept = new Int32Array(KEPT_BYTES_MAX)
/** For 1, 2, 4 … bytes: enough for any length below 2^32. */
const doublings = Int32Array.from({ length: 32 })
for (let i = 0, power = ONE_BYTE; i < doublings.length; i += 1, power = product(power, power)) doublings[i] = power

/**
 * How the checksums of the same bytes differ that start from values which differ by `difference`. Differences are by
 * exclusive or. The result may be negative, as of any operation on bits.
 */
export function carried(difference: number, bytes: number): number {
  return product(powerOf(bytes), difference)
}

/** x to the power of so many bytes' bits. */
function powerOf(bytes: number): number {
  if (bytes >= KEPT_BYTES_MAX) return computedPower(bytes)
  const known = kept[bytes] as number
  if (known !== 0) return known
  const power = computedPower(bytes)
  kept[bytes] = power
  return power
}

function computedPower(bytes: number): number {
  let power = ONE
  for (let i = 0, rest = bytes; rest > 0; i += 1, rest >>>= 1) {
    if ((rest & 1) === 1) power = product(power, doublings[i] as number)
  }
  return power
}

/** Of two polynomials, modulo that of the CRC. */
function product(one: number, other: number): number {
  let sum = 0
  let left = one
  let shifted = other
  for (let bit = 0; bit < 32; bit += 1) {
    sum ^= shifted & (left >> 31)
    left <<= 1
    shifted = (shifted >>> 1) ^ (POLYNOMIAL & -(shifted & 1))
  }
  return sum
}
