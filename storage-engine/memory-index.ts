/**
 * The index, in memory, of a segment that is being written or scanned: where each stream's records lie and how many
 * bytes they take, which record has a given key, and where to begin for a time or a number. Flat columns, 24 bytes per
 * record plus 17 to 35 per key; no object per record.
 *
 * When the segment is sealed, the content goes into a sidecar file (index-file.ts), which answers the same questions.
 */

import assert from 'node:assert'
import { type Offset, ORDER_BY_OFFSET, type RecordOrder, type RecordView } from './format.ts'
import type { KeyHash } from './key-hash.ts'
import { lowerBound } from './lower-bound.ts'
import { NumberOrder } from './number-order.ts'
import { NO_ROW, NumberTable } from './number-table.ts'
import type {
  IndexMark,
  NumberCursor,
  Posting,
  PostingCursor,
  SegmentIndex,
  StreamPosting,
  StreamTotals,
} from './segment-index.ts'
import type { EndSlice } from './sort-in-slices.ts'

export const RECORDS_PER_MARK = 256

/** How much an index will probably hold: that room is made up front, because growing takes long within one turn. */
export interface ExpectedSize {
  readonly records: number
  readonly streams: number
  readonly keys: number
}

const UNKNOWN_SIZE: ExpectedSize = { records: 0, streams: 0, keys: 0 }

const CAPACITY_AT_FIRST = 256
const STREAMS_AT_ONCE = 256

export class MemoryIndex implements SegmentIndex {
  readonly order: RecordOrder
  readonly sizeBytes = 0
  readonly #keyHash: KeyHash
  // One row per record
  #offsets: Float64Array
  #positions: Uint32Array
  #lengths: Uint32Array
  #next: Uint32Array
  #previous: Uint32Array
  #count = 0
  // One row per stream
  readonly #streams: NumberTable
  #heads: Uint32Array
  #tails: Uint32Array
  #counts: Uint32Array
  #bytes: Uint32Array
  // One row per hash
  readonly #keys: NumberTable
  #keyRows: Uint32Array

  readonly #marks: IndexMark[] = []
  /** Present if records do not come in number order; then it makes the marks as well. */
  readonly #numberOrder: NumberOrder | undefined
  #first = Number.POSITIVE_INFINITY
  #last: Offset = 0
  #timeMsMin = Number.POSITIVE_INFINITY
  #timeMsMax = 0

  constructor(keyHash: KeyHash, order: RecordOrder = ORDER_BY_OFFSET, expected: ExpectedSize = UNKNOWN_SIZE) {
    this.#keyHash = keyHash
    this.order = order
    const rows = Math.max(expected.records, CAPACITY_AT_FIRST)
    this.#offsets = new Float64Array(rows)
    this.#positions = new Uint32Array(rows)
    this.#lengths = new Uint32Array(rows)
    this.#next = new Uint32Array(rows)
    this.#previous = new Uint32Array(rows)
    const streamRows = Math.max(expected.streams, CAPACITY_AT_FIRST)
    this.#streams = new NumberTable(expected.streams)
    this.#heads = new Uint32Array(streamRows)
    this.#tails = new Uint32Array(streamRows)
    this.#counts = new Uint32Array(streamRows)
    this.#bytes = new Uint32Array(streamRows)
    this.#keys = new NumberTable(expected.keys)
    this.#keyRows = new Uint32Array(Math.max(expected.keys, CAPACITY_AT_FIRST))
    this.#numberOrder = order === ORDER_BY_OFFSET ? undefined : new NumberOrder(expected.records)
  }

  get recordCount(): number {
    return this.#count
  }

  get streamCount(): number {
    return this.#streams.count
  }

  get keyCount(): number {
    return this.#keys.count
  }

  /** 0 without a record. */
  get timeMsMin(): number {
    return this.#count === 0 ? 0 : this.#timeMsMin
  }

  get timeMsMax(): number {
    return this.#timeMsMax
  }

  /** The lowest number; 0 without a record. */
  get first(): Offset {
    return this.#count === 0 ? 0 : this.#first
  }

  /** The highest number. */
  get last(): Offset {
    return this.#last
  }

  /** Adds the record that lies at `position`, in a batch at `batchPosition`. Numbers must ascend within a stream. */
  add(record: RecordView, position: number, batchPosition: number): void {
    const row = this.#count
    if (row === this.#offsets.length) this.#growRows()
    const { offset, timeMs, length, streamId } = record
    this.#offsets[row] = offset
    this.#positions[row] = position
    this.#lengths[row] = length
    this.#next[row] = NO_ROW
    this.#link(streamId, row, length)
    if (this.#numberOrder !== undefined) this.#numberOrder.add(streamId, timeMs, batchPosition)
    else if (row % RECORDS_PER_MARK === 0) this.#marks.push({ timeMsBefore: this.#timeMsMax, offset, batchPosition })
    if (offset < this.#first) this.#first = offset
    if (offset > this.#last) this.#last = offset
    if (timeMs > this.#timeMsMax) this.#timeMsMax = timeMs
    if (timeMs < this.#timeMsMin) this.#timeMsMin = timeMs
    if (record.keyLength > 0) this.#noteKey(this.#keyHash(streamId, record.key), row)
    this.#count = row + 1
  }

  seek(streamId: number, after: Offset): MemoryPostingCursor {
    return new MemoryPostingCursor(this, streamId, after)
  }

  seekBack(streamId: number, before: Offset, countMax: number): readonly Posting[] {
    const index = this.#streams.get(streamId)
    const postings: Posting[] = []
    if (index === NO_ROW) return postings
    let row = this.#tails[index] as number
    while (row !== NO_ROW && postings.length < countMax) {
      if ((this.#offsets[row] as number) < before) postings.push(this.posting(row))
      row = this.#previous[row] as number
    }
    return postings
  }

  findKey(keyHash: number): Posting | undefined {
    const index = this.#keys.get(keyHash)
    return index === NO_ROW ? undefined : this.keyPosting(index)
  }

  markBefore(after: Offset): IndexMark | undefined | Promise<IndexMark | undefined> {
    if (this.#numberOrder === undefined) return lastMark(this.#marks, (mark) => mark.offset > after + 1)
    return this.marks().then((marks) => lastMark(marks, (mark) => mark.offset > after + 1))
  }

  olderThan(timeMs: number): Offset | Promise<Offset> {
    if (this.#numberOrder === undefined) return offsetBefore(this.#marks, timeMs)
    return this.marks().then((marks) => offsetBefore(marks, timeMs))
  }

  /** Yields each total as it is in that turn, for the streams that existed at the beginning. */
  async *totals(): AsyncGenerator<readonly StreamTotals[]> {
    const rows = await this.#streams.sorted()
    for (let begin = 0; begin < rows.length; begin += STREAMS_AT_ONCE) {
      yield Array.from(rows.subarray(begin, begin + STREAMS_AT_ONCE), (index) => this.totalsAt(index))
    }
  }

  totalsOf(streamId: number): StreamTotals | undefined {
    const index = this.#streams.get(streamId)
    return index === NO_ROW ? undefined : this.totalsAt(index)
  }

  /** The totals of the stream that came as the `index`th. */
  totalsAt(index: number): StreamTotals {
    return {
      streamId: this.#streams.at(index),
      count: this.#counts[index] as number,
      bytes: this.#bytes[index] as number,
      first: this.#offsets[this.#heads[index] as number] as number,
      last: this.#offsets[this.#tails[index] as number] as number,
    }
  }

  async byNumber(after: Offset): Promise<NumberCursor> {
    const rows = await this.sortedNumbers()
    const begin = lowerBound(rows.length, (i) => (this.#offsets[rows[i] as number] as number) > after)
    return new MemoryNumberCursor(this, rows, begin)
  }

  // For writing the sidecar

  /** Streams in ascending order, as the indexes that `totalsAt` takes. */
  async sortedStreams(endSlice?: EndSlice): Promise<Uint32Array> {
    return await this.#streams.sorted(endSlice)
  }

  /** Hashes of all keys in ascending order, as the indexes that `keyHashAt` takes. */
  async sortedKeys(endSlice?: EndSlice): Promise<Uint32Array> {
    return await this.#keys.sorted(endSlice)
  }

  streamAt(index: number): number {
    return this.#streams.at(index)
  }

  keyHashAt(index: number): number {
    return this.#keys.at(index)
  }

  keyPosting(index: number): Posting {
    return this.posting(this.#keyRows[index] as number)
  }

  /** All rows in number order. Only for a segment in stream order. */
  async sortedNumbers(endSlice?: EndSlice): Promise<Uint32Array> {
    assert(this.#numberOrder !== undefined)
    return await this.#numberOrder.sorted(this.#offsets.subarray(0, this.#count), endSlice)
  }

  async marks(endSlice?: EndSlice): Promise<readonly IndexMark[]> {
    if (this.#numberOrder === undefined) return this.#marks
    return await this.#numberOrder.marks(this.#offsets.subarray(0, this.#count), RECORDS_PER_MARK, endSlice)
  }

  posting(row: number): Posting {
    return {
      offset: this.#offsets[row] as number,
      position: this.#positions[row] as number,
      length: this.#lengths[row] as number,
    }
  }

  /** Like `posting`; only for a segment in stream order. */
  streamPosting(row: number): StreamPosting {
    assert(this.#numberOrder !== undefined)
    const { offset, position, length } = this.posting(row)
    return { offset, position, length, streamId: this.#numberOrder.streamIdOf(row) }
  }

  /** The first row at or after `position`; if there is none, the number of rows. */
  rowAt(position: number): number {
    return lowerBound(this.#count, (i) => (this.#positions[i] as number) >= position)
  }

  /** The first row of the stream that came as the `index`th. */
  headRow(index: number): number {
    return this.#heads[index] as number
  }

  /** The stream's first row with a number above `after`, or undefined while there is none. */
  rowAfter(streamId: number, after: Offset): number | undefined {
    const index = this.#streams.get(streamId)
    if (index === NO_ROW) return undefined
    if ((this.#offsets[this.#heads[index] as number] as number) > after) return this.#heads[index]
    // Backward from the newest: this takes as many steps as there will be records to read.
    let row = this.#tails[index] as number
    let found: number | undefined
    while (row !== NO_ROW && (this.#offsets[row] as number) > after) {
      found = row
      row = this.#previous[row] as number
    }
    return found
  }

  /** The stream's next row after `row`, or undefined while there is none. */
  rowBehind(row: number): number | undefined {
    const next = this.#next[row] as number
    return next === NO_ROW ? undefined : next
  }

  #link(streamId: number, row: number, length: number): void {
    const fresh = this.#streams.count
    const index = this.#streams.add(streamId)
    if (index === fresh) {
      if (index === this.#heads.length) this.#growStreams()
      this.#heads[index] = row
      this.#tails[index] = row
      this.#counts[index] = 1
      this.#bytes[index] = length
      this.#previous[row] = NO_ROW
      return
    }
    const tail = this.#tails[index] as number
    this.#next[tail] = row
    this.#previous[row] = tail
    this.#tails[index] = row
    this.#counts[index] = (this.#counts[index] as number) + 1
    this.#bytes[index] = (this.#bytes[index] as number) + length
  }

  /** If several rows have the same hash, the first one stays. */
  #noteKey(keyHash: number, row: number): void {
    const fresh = this.#keys.count
    if (this.#keys.add(keyHash) !== fresh) return
    if (fresh === this.#keyRows.length) this.#keyRows = grown(this.#keyRows)
    this.#keyRows[fresh] = row
  }

  #growRows(): void {
    const offsets = new Float64Array(this.#offsets.length * 2)
    offsets.set(this.#offsets)
    this.#offsets = offsets
    this.#positions = grown(this.#positions)
    this.#lengths = grown(this.#lengths)
    this.#next = grown(this.#next)
    this.#previous = grown(this.#previous)
  }

  #growStreams(): void {
    this.#heads = grown(this.#heads)
    this.#tails = grown(this.#tails)
    this.#counts = grown(this.#counts)
    this.#bytes = grown(this.#bytes)
  }
}

class MemoryPostingCursor implements PostingCursor {
  readonly #index: MemoryIndex
  readonly #streamId: number
  readonly #after: Offset
  #row: number | undefined

  constructor(index: MemoryIndex, streamId: number, after: Offset) {
    this.#index = index
    this.#streamId = streamId
    this.#after = after
  }

  next(countMax: number): readonly Posting[] {
    const postings: Posting[] = []
    while (postings.length < countMax) {
      const row =
        this.#row === undefined ? this.#index.rowAfter(this.#streamId, this.#after) : this.#index.rowBehind(this.#row)
      if (row === undefined) break
      postings.push(this.#index.posting(row))
      this.#row = row
    }
    return postings
  }
}

class MemoryNumberCursor implements NumberCursor {
  readonly #index: MemoryIndex
  readonly #rows: Uint32Array
  #at: number

  constructor(index: MemoryIndex, rows: Uint32Array, begin: number) {
    this.#index = index
    this.#rows = rows
    this.#at = begin
  }

  async next(countMax: number): Promise<readonly StreamPosting[]> {
    const rows = this.#rows.subarray(this.#at, this.#at + countMax)
    this.#at += rows.length
    return Array.from(rows, (row) => this.#index.streamPosting(row))
  }
}

/** The last mark before the first one for which `isPast` holds. */
function lastMark(marks: readonly IndexMark[], isPast: (mark: IndexMark) => boolean): IndexMark | undefined {
  return marks[lowerBound(marks.length, (i) => isPast(marks[i] as IndexMark)) - 1]
}

function offsetBefore(marks: readonly IndexMark[], timeMs: number): Offset {
  const mark = lastMark(marks, ({ timeMsBefore }) => timeMsBefore >= timeMs)
  return mark === undefined ? 0 : mark.offset - 1
}

function grown(column: Uint32Array): Uint32Array {
  const larger = new Uint32Array(column.length * 2)
  larger.set(column)
  return larger
}
