/**
 * The index of a segment that is being written or scanned, in memory: where each stream's records lie, which record
 * bears a key, where to begin for a time or a number. Flat columns, 24 bytes a record and 16 to 32 more for a key; no
 * object per record.
 *
 * When the segment is sealed its content goes into a sidecar file (index-file.ts), which answers the same questions.
 */

import { hash } from 'node:crypto'
import type { Offset, RecordView } from './format.ts'
import { NO_ROW, NumberTable } from './number-table.ts'

/** Where one record of a stream lies. */
export interface Posting {
  readonly offset: Offset
  readonly position: number
  /** Without padding. */
  readonly length: number
}

/** A record every so often, by which readers of everything, and readers from a time, find where to begin. */
export interface IndexMark {
  /** The latest time of all records of the segment before this one; 0 for the first. */
  readonly timeMsBefore: number
  readonly offset: Offset
  /** Where the batch begins that holds the record. */
  readonly batchPosition: number
}

/** A stream's records in a segment, forward. An array where the answer is known at once, for decisions in one turn. */
export interface PostingCursor {
  next(countMax: number): readonly Posting[] | Promise<readonly Posting[]>
}

/** What is asked of a segment's index, whether in memory or in a file. */
export interface SegmentIndex {
  readonly recordCount: number
  /** The stream's records with numbers above `after`. */
  seek(streamId: number, after: Offset): PostingCursor | Promise<PostingCursor>
  /** The earliest record whose key has this hash; the reader compares the key itself. */
  findKey(keyHash: number): Posting | undefined | Promise<Posting | undefined>
  /** The last mark at or before the record that follows `after`; undefined: begin at the segment's begin. */
  markBefore(after: Offset): IndexMark | undefined | Promise<IndexMark | undefined>
  /** A number such that every record up to it is older than `timeMs`, close below the first that is not. */
  olderThan(timeMs: number): Offset | Promise<Offset>
}

export const RECORDS_PER_MARK = 256

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

const CAPACITY_AT_FIRST = 256

export class MemoryIndex implements SegmentIndex {
  readonly #keyHash: KeyHash
  // One row a record
  #offsets = new Float64Array(CAPACITY_AT_FIRST)
  #positions = new Uint32Array(CAPACITY_AT_FIRST)
  #lengths = new Uint32Array(CAPACITY_AT_FIRST)
  #next = new Uint32Array(CAPACITY_AT_FIRST)
  #previous = new Uint32Array(CAPACITY_AT_FIRST)
  #count = 0
  // One row a stream
  readonly #slots = new NumberTable()
  #heads = new Uint32Array(CAPACITY_AT_FIRST)
  #tails = new Uint32Array(CAPACITY_AT_FIRST)
  #counts = new Uint32Array(CAPACITY_AT_FIRST)

  readonly #keys = new NumberTable()
  readonly #marks: IndexMark[] = []
  #timeMsMin = Number.POSITIVE_INFINITY
  #timeMsMax = 0

  constructor(keyHash: KeyHash) {
    this.#keyHash = keyHash
  }

  get recordCount(): number {
    return this.#count
  }

  get streamCount(): number {
    return this.#slots.count
  }

  get keyCount(): number {
    return this.#keys.count
  }

  get marks(): readonly IndexMark[] {
    return this.#marks
  }

  /** 0 without a record. */
  get timeMsMin(): number {
    return this.#count === 0 ? 0 : this.#timeMsMin
  }

  get timeMsMax(): number {
    return this.#timeMsMax
  }

  /** 0 without a record. */
  get first(): Offset {
    return this.#count === 0 ? 0 : (this.#offsets[0] as number)
  }

  get last(): Offset {
    return this.#count === 0 ? 0 : (this.#offsets[this.#count - 1] as number)
  }

  /** Takes the record that lies at `position`, in a batch at `batchPosition`. Numbers must ascend. */
  add(record: RecordView, position: number, batchPosition: number): void {
    const row = this.#count
    if (row === this.#offsets.length) this.#growRows()
    const offset = record.offset
    const timeMs = record.timeMs
    this.#offsets[row] = offset
    this.#positions[row] = position
    this.#lengths[row] = record.length
    this.#next[row] = NO_ROW
    this.#link(record.streamId, row)
    if (row % RECORDS_PER_MARK === 0) this.#marks.push({ timeMsBefore: this.#timeMsMax, offset, batchPosition })
    if (timeMs > this.#timeMsMax) this.#timeMsMax = timeMs
    if (timeMs < this.#timeMsMin) this.#timeMsMin = timeMs
    if (record.keyLength > 0) this.#keys.add(this.#keyHash(record.streamId, record.key), row)
    this.#count = row + 1
  }

  seek(streamId: number, after: Offset): MemoryPostingCursor {
    return new MemoryPostingCursor(this, streamId, after)
  }

  findKey(keyHash: number): Posting | undefined {
    const row = this.#keys.get(keyHash)
    return row === NO_ROW ? undefined : this.posting(row)
  }

  markBefore(after: Offset): IndexMark | undefined {
    return this.#marks[lowerBound(this.#marks.length, (i) => (this.#marks[i] as IndexMark).offset > after + 1) - 1]
  }

  olderThan(timeMs: number): Offset {
    const found = lowerBound(this.#marks.length, (i) => (this.#marks[i] as IndexMark).timeMsBefore >= timeMs)
    const mark = this.#marks[found - 1]
    return mark === undefined ? 0 : mark.offset - 1
  }

  /** Streams in ascending order; for writing the sidecar. */
  sortedStreams(): Float64Array {
    return this.#slots.sorted()
  }

  streamTotals(streamId: number): { readonly count: number; readonly last: Offset } {
    const slot = this.#slots.get(streamId)
    return { count: this.#counts[slot] as number, last: this.#offsets[this.#tails[slot] as number] as number }
  }

  /** Hashes of all keys in ascending order; for writing the sidecar. */
  sortedKeys(): Float64Array {
    return this.#keys.sorted()
  }

  posting(row: number): Posting {
    return {
      offset: this.#offsets[row] as number,
      position: this.#positions[row] as number,
      length: this.#lengths[row] as number,
    }
  }

  /** The stream's first row with a number above `after`, or undefined while there is none. */
  rowAfter(streamId: number, after: Offset): number | undefined {
    const slot = this.#slots.get(streamId)
    if (slot === NO_ROW) return undefined
    if ((this.#offsets[this.#heads[slot] as number] as number) > after) return this.#heads[slot]
    // Backward from the newest: as many steps as there will be records to read.
    let row = this.#tails[slot] as number
    let found: number | undefined
    while (row !== NO_ROW && (this.#offsets[row] as number) > after) {
      found = row
      row = this.#previous[row] as number
    }
    return found
  }

  /** The stream's row behind `row`, or undefined while there is none. */
  rowBehind(row: number): number | undefined {
    const next = this.#next[row] as number
    return next === NO_ROW ? undefined : next
  }

  #link(streamId: number, row: number): void {
    const slot = this.#slots.get(streamId)
    if (slot === NO_ROW) {
      const fresh = this.#slots.count
      if (fresh === this.#heads.length) this.#growStreams()
      this.#slots.add(streamId, fresh)
      this.#heads[fresh] = row
      this.#tails[fresh] = row
      this.#counts[fresh] = 1
      this.#previous[row] = NO_ROW
      return
    }
    const tail = this.#tails[slot] as number
    this.#next[tail] = row
    this.#previous[row] = tail
    this.#tails[slot] = row
    this.#counts[slot] = (this.#counts[slot] as number) + 1
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

/** The first of 0 to `count` for which `isPast` holds; it must hold for all that follow one for which it does. */
export function lowerBound(count: number, isPast: (i: number) => boolean): number {
  let low = 0
  let high = count
  while (low < high) {
    const middle = (low + high) >>> 1
    if (isPast(middle)) high = middle
    else low = middle + 1
  }
  return low
}

function grown(column: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(column.length * 2)
  larger.set(column)
  return larger
}
