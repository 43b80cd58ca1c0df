/**
 * Sorts the rows of a large column of whole numbers without holding up the event loop: digit by digit from the lowest,
 * in slices between which other work gets its turn. Knows nothing of what the numbers mean. Needs 8 bytes per row while
 * it works.
 */

import { setImmediate as nextTurn } from 'node:timers/promises'

/** What ends a slice: awaited where it is not undefined. */
export type EndSlice = () => Promise<void> | undefined

/** They take well under a millisecond. */
const ROWS_PER_SLICE = 16 * 1024
/** Values of a digit. With 2,048 the counters stay in the fastest cache; a number of 53 bits has five digits. */
const RADIX = 2048

/**
 * All rows of the column in the order of their numbers, which are 0 to 2^53 - 1; equal ones in the order of rows. The
 * column must stay as it is until this resolves. Rejects with what `endSlice` rejects with.
 */
export async function sortInSlices(column: Float64Array, endSlice: EndSlice = nextTurn): Promise<Uint32Array> {
  const count = column.length
  let rows = new Uint32Array(count)
  let lowest = Number.POSITIVE_INFINITY
  let highest = 0
  let isSorted = true
  for (let begin = 0; begin < count; begin += ROWS_PER_SLICE) {
    if (begin > 0) await endSlice()
    let previous = column[Math.max(0, begin - 1)] as number
    for (let row = begin; row < Math.min(begin + ROWS_PER_SLICE, count); row += 1) {
      const number = column[row] as number
      if (number < lowest) lowest = number
      if (number > highest) highest = number
      if (number < previous) isSorted = false
      previous = number
      rows[row] = row
    }
  }
  if (isSorted) return rows
  let other = new Uint32Array(count)
  for (let unit = 1; unit <= highest - lowest; unit *= RADIX) {
    await sortByDigit(column, rows, other, { lowest, unit }, endSlice)
    const sorted = other
    other = rows
    rows = sorted
  }
  return rows
}

/** A digit of what a number exceeds the lowest one by: of how much the digit counts. */
interface Digit {
  readonly lowest: number
  readonly unit: number
}

/** Puts the rows into `to` by that digit; those with the same one in the order that they have in `from`. */
async function sortByDigit(
  column: Float64Array,
  from: Uint32Array,
  to: Uint32Array,
  { lowest, unit }: Digit,
  endSlice: EndSlice,
): Promise<void> {
  const count = column.length
  const places = new Uint32Array(RADIX)
  for (let begin = 0; begin < count; begin += ROWS_PER_SLICE) {
    await endSlice()
    for (let row = begin; row < Math.min(begin + ROWS_PER_SLICE, count); row += 1) {
      const digit = (((column[row] as number) - lowest) / unit) & (RADIX - 1)
      places[digit] = (places[digit] as number) + 1
    }
  }
  let place = 0
  for (let digit = 0; digit < RADIX; digit += 1) {
    const here = places[digit] as number
    places[digit] = place
    place += here
  }
  for (let begin = 0; begin < count; begin += ROWS_PER_SLICE) {
    await endSlice()
    for (let at = begin; at < Math.min(begin + ROWS_PER_SLICE, count); at += 1) {
      const row = from[at] as number
      const digit = (((column[row] as number) - lowest) / unit) & (RADIX - 1)
      to[places[digit] as number] = row
      places[digit] = (places[digit] as number) + 1
    }
  }
}
