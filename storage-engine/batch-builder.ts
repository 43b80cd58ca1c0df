/**
 * Collects records into the bytes of one batch, in place, in a buffer that is used again. Where the batch will lie is
 * known only when it is its turn, so checksums are set by `seal`.
 */

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

export class BatchBuilder {
  #buffer = Buffer.allocUnsafeSlow(BYTES_AT_FIRST)
  #end = BATCH_HEADER_BYTES
  #count = 0
  #first: Offset = 0
  #last: Offset = 0

  get count(): number {
    return this.#count
  }

  get bytes(): number {
    return this.#end
  }

  get first(): Offset {
    return this.#first
  }

  add(record: NewRecord, offset: Offset, timeMs: number): void {
    this.#ensure(recordBytes(record))
    this.#end = encodeRecord(this.#buffer, this.#end, record, offset, timeMs)
    if (this.#count === 0) this.#first = offset
    this.#last = offset
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
    let at = BATCH_HEADER_BYTES
    while (at < this.#end) at = sealRecord(bytes, at, seed, position + at)
    const header = { ...fields, first: this.#first, last: this.#last, count: this.#count }
    const crc = sealBatch(bytes, header, seed, position)
    return { bytes, header: { ...header, crc } }
  }

  reset(): void {
    this.#end = BATCH_HEADER_BYTES
    this.#count = 0
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
