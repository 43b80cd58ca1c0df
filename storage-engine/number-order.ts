/**
 * What the index of a segment in stream order keeps for each record in addition, so that records and marks can be
 * listed in number order. Flat columns, 20 bytes per record, sorted on first use.
 */

import { setImmediate as nextTurn } from 'node:timers/promises'
import type { IndexMark } from './segment-index.ts'
import { type EndSlice, sortInSlices } from './sort-in-slices.ts'

const CAPACITY_AT_FIRST = 256
/** How many marks are made before other work gets its turn. */
const MARKS_PER_SLICE = 64

export class NumberOrder {
  #streamIds: Float64Array
  #timesMs: Float64Array
  #batchPositions: Uint32Array
  #count = 0
  #sorted: Promise<Uint32Array> | undefined

  constructor(expectedRows: number) {
    const rows = Math.max(expectedRows, CAPACITY_AT_FIRST)
    this.#streamIds = new Float64Array(rows)
    this.#timesMs = new Float64Array(rows)
    this.#batchPositions = new Uint32Array(rows)
  }

  /** Takes the next row. */
  add(streamId: number, timeMs: number, batchPosition: number): void {
    const row = this.#count
    if (row === this.#streamIds.length) this.#grow()
    this.#streamIds[row] = streamId
    this.#timesMs[row] = timeMs
    this.#batchPositions[row] = batchPosition
    this.#count = row + 1
    this.#sorted = undefined
  }

  streamIdOf(row: number): number {
    return this.#streamIds[row] as number
  }

  /** All rows in the order of `numbers`, which are theirs. */
  async sorted(numbers: Float64Array, endSlice?: EndSlice): Promise<Uint32Array> {
    this.#sorted ??= sortInSlices(numbers, endSlice)
    return await this.#sorted
  }

  /** Every so many records, beginning with the first. */
  async marks(
    numbers: Float64Array,
    recordsPerMark: number,
    endSlice: EndSlice = nextTurn,
  ): Promise<readonly IndexMark[]> {
    const sorted = await this.sorted(numbers, endSlice)
    const marks: IndexMark[] = []
    let timeMsBefore = 0
    for (let begin = 0; begin < sorted.length; begin += recordsPerMark) {
      const rows = sorted.subarray(begin, begin + recordsPerMark)
      const first = rows[0] as number
      const batchPosition = this.#batchPositions[first] as number
      marks.push({ timeMsBefore, offset: numbers[first] as number, batchPosition })
      for (const row of rows) timeMsBefore = Math.max(timeMsBefore, this.#timesMs[row] as number)
      if (marks.length % MARKS_PER_SLICE === 0) await endSlice()
    }
    return marks
  }

  #grow(): void {
    const streamIds = new Float64Array(this.#streamIds.length * 2)
    streamIds.set(this.#streamIds)
    this.#streamIds = streamIds
    const timesMs = new Float64Array(this.#timesMs.length * 2)
    timesMs.set(this.#timesMs)
    this.#timesMs = timesMs
    const batchPositions = new Uint32Array(this.#batchPositions.length * 2)
    batchPositions.set(this.#batchPositions)
    this.#batchPositions = batchPositions
  }
}
