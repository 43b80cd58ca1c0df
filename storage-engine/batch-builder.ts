/**
 * Collects records into the bytes of one batch, in place, in a buffer that is used again. Where the batch will lie is
 * known for certain only when it is its turn: `seal` sets the checksums that were not set for the right place before.
 */

import assert from 'node:assert'
import {
  BATCH_HEADER_BYTES,
  type BatchHeader,
  encodeRecord,
  type NewRecord,
  type Offset,
  recordBytes,
  sealBatch,
  sealRecord,
} from './format.ts'

const BYTES_AT_FIRST = 64 * 1024
/** A buffer that grew above this for one large batch is given back. */
const BYTES_KEPT_MAX = 4 * 1024 * 1024

/** Where bytes will lie: the seed of a segment, and a position in it. */
export interface Place {
  readonly seed: number
  readonly position: number
}

export class BatchBuilder {
  #buffer = Buffer.allocUnsafeSlow(BYTES_AT_FIRST)
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
    const isFirst = this.#count === 0
    // Not always the number of the first and the last record: compaction lays them out by stream.
    if (isFirst || offset < this.#first) this.#first = offset
    if (isFirst || offset > this.#last) this.#last = offset
    this.#count += 1
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
    if (this.#buffer.length > BYTES_KEPT_MAX) this.#buffer = Buffer.allocUnsafeSlow(BYTES_AT_FIRST)
  }

  #ensure(moreBytes: number): void {
    const needed = this.#end + moreBytes
    if (needed <= this.#buffer.length) return
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 2))
    larger.set(this.#buffer.subarray(0, this.#end))
    this.#buffer = larger
  }
}
