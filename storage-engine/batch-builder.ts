/**
 * Collects records into the bytes of one batch, in place, in a buffer that is reused. Where the batch will lie is
 * certain only when its turn comes: `seal` redoes the checksums if they were made for another place.
 */

import assert from 'node:assert'
import {
  aligned,
  BATCH_HEADER_BYTES,
  type BatchHeader,
  encodeRecord,
  moveRecordCrc,
  type NewRecord,
  type Offset,
  offsetAt,
  recordBytes,
  sealBatch,
  sealRecord,
} from './format.ts'
import type { RecordRows } from './record-rows.ts'

const BYTES_AT_FIRST = 64 * 1024
/** A buffer that grew beyond this for one large batch is not kept. */
const BYTES_KEPT_MAX = 4 * 1024 * 1024
/** Up to here copying word by word takes less than a view of the bytes, which would be garbage besides. */
const COPIED_BY_WORDS_MAX = 512

/** Where bytes will lie: the seed of a segment, and a position in it. */
export interface Place {
  readonly seed: number
  readonly position: number
}

export class BatchBuilder {
  #buffer = Buffer.allocUnsafeSlow(BYTES_AT_FIRST)
  /** The same memory. */
  #words = wordsOf(this.#buffer)
  #end = BATCH_HEADER_BYTES
  #count = 0
  #first: Offset = 0
  #last: Offset = 0
  /** The place that the checksums of the records are made for; undefined: they are not made yet. */
  #sealedFor: Place | undefined

  get count(): number {
    return this.#count
  }

  get bytes(): number {
    return this.#end
  }

  get first(): Offset {
    return this.#first
  }

  /** The batch will probably lie there: its records are sealed for that place as they come. Before the first one. */
  expect(place: Place | undefined): void {
    assert(this.#count === 0)
    this.#sealedFor = place
  }

  add(record: NewRecord, offset: Offset, timeMs: number): void {
    this.#ensure(recordBytes(record))
    const at = this.#end
    this.#end = encodeRecord(this.#buffer, at, record, offset, timeMs)
    const place = this.#sealedFor
    if (place !== undefined) sealRecord(this.#buffer, at, place.seed, place.position + at)
    this.#note(offset)
  }

  /** A record as it lies elsewhere, its checksum carried over from there. Only where a place is expected. */
  addMoved(rows: RecordRows, row: number): void {
    const place = this.#sealedFor
    assert(place !== undefined)
    const bytes = aligned(rows.lengthOf(row))
    this.#ensure(bytes)
    const at = this.#end
    const from = rows.placeOf(row)
    if (bytes <= COPIED_BY_WORDS_MAX) copyWords(rows.words, from / 4, this.#words, at / 4, bytes / 4)
    else this.#buffer.set(rows.bytes.subarray(from, from + bytes), at)
    moveRecordCrc(this.#buffer, at, rows.crcStartOf(row), place.seed ^ (place.position + at))
    this.#end = at + bytes
    this.#note(offsetAt(this.#buffer, at))
  }

  /** A batch without records, which only reserves numbers, bears one itself. */
  addNothing(offset: Offset): void {
    this.#first = offset
    this.#last = offset
  }

  /** The batch, ready to be written to `position`; valid until `reset`. */
  seal(
    seed: number,
    position: number,
    fields: Pick<BatchHeader, 'previousCrc' | 'ceiling' | 'syncedGeneration' | 'syncedPosition'>,
  ): { readonly bytes: Buffer; readonly header: Omit<BatchHeader, 'length'> } {
    const bytes = this.#buffer.subarray(0, this.#end)
    if (this.#sealedFor?.seed !== seed || this.#sealedFor.position !== position) {
      let at = BATCH_HEADER_BYTES
      while (at < this.#end) at = sealRecord(bytes, at, seed, position + at)
      this.#sealedFor = { seed, position }
    }
    const header = { ...fields, first: this.#first, last: this.#last, count: this.#count }
    const crc = sealBatch(bytes, header, seed, position)
    return { bytes, header: { ...header, crc } }
  }

  reset(): void {
    this.#end = BATCH_HEADER_BYTES
    this.#count = 0
    this.#sealedFor = undefined
    if (this.#buffer.length > BYTES_KEPT_MAX) this.#use(Buffer.allocUnsafeSlow(BYTES_AT_FIRST))
  }

  #note(offset: Offset): void {
    const isFirst = this.#count === 0
    // Not always the number of the first and the last record: compaction lays them out by stream.
    if (isFirst || offset < this.#first) this.#first = offset
    if (isFirst || offset > this.#last) this.#last = offset
    this.#count += 1
  }

  #ensure(moreBytes: number): void {
    const needed = this.#end + moreBytes
    if (needed <= this.#buffer.length) return
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 2))
    larger.set(this.#buffer.subarray(0, this.#end))
    this.#use(larger)
  }

  #use(buffer: Buffer<ArrayBuffer>): void {
    this.#buffer = buffer
    this.#words = wordsOf(buffer)
  }
}

function wordsOf(buffer: Buffer<ArrayBuffer>): Uint32Array {
  return new Uint32Array(buffer.buffer, buffer.byteOffset, buffer.length >>> 2)
}

function copyWords(source: Uint32Array, from: number, target: Uint32Array, to: number, count: number): void {
  for (let i = 0; i < count; i += 1) target[to + i] = source[from + i] as number
}
