/**
 * Sorts the rows of a large column of numbers without holding the event loop: by merging, in slices between which other
 * work gets its turn. Knows nothing of what the numbers are. Takes 8 bytes a row while it works.
 */

import { setImmediate as nextTurn } from 'node:timers/promises'

/** Two runs of rows that lie side by side, each sorted in itself, and how far they are merged. */
interface Runs {
  left: number
  readonly middle: number
  right: number
  readonly end: number
  at: number
}

/** What ends a slice: awaited where it is not undefined. */
export type EndSlice = () => Promise<void> | undefined

/** They take well under a millisecond. */
const ROWS_PER_SLICE = 16 * 1024

/**
 * All rows of the column in the order of their numbers; equal ones in the order of rows. The column must stay as it is
 * until this resolves. Rejects with what `endSlice` rejects with.
 */
export async function sortInSlices(column: Float64Array, endSlice: EndSlice = nextTurn): Promise<Uint32Array> {
  const count = column.length
  let from = new Uint32Array(count)
  let to = new Uint32Array(count)
  for (let row = 0; row < count; row += 1) from[row] = row
  let rowsInSlice = 0
  for (let width = 1; width < count; width *= 2) {
    for (let begin = 0; begin < count; begin += 2 * width) {
      const middle = Math.min(begin + width, count)
      const runs: Runs = { left: begin, middle, right: middle, end: Math.min(middle + width, count), at: begin }
      while (runs.at < runs.end) {
        rowsInSlice += merge(column, from, to, runs, ROWS_PER_SLICE - rowsInSlice)
        if (rowsInSlice < ROWS_PER_SLICE) continue
        await endSlice()
        rowsInSlice = 0
      }
    }
    const merged = to
    to = from
    from = merged
  }
  return from
}

/** Merges up to `rowsMax` rows; returns how many. */
function merge(column: Float64Array, from: Uint32Array, to: Uint32Array, runs: Runs, rowsMax: number): number {
  const { middle, end } = runs
  let { left, right } = runs
  const begin = runs.at
  const sliceEnd = Math.min(end, begin + rowsMax)
  for (let at = begin; at < sliceEnd; at += 1) {
    const leftRow = from[left] as number
    const rightRow = from[right] as number
    if (left < middle && (right === end || (column[leftRow] as number) <= (column[rightRow] as number))) {
      to[at] = leftRow
      left += 1
    } else {
      to[at] = rightRow
      right += 1
    }
  }
  runs.left = left
  runs.right = right
  runs.at = sliceEnd
  return sliceEnd - begin
}
