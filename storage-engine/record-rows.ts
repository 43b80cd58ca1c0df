/**
 * Some records of one segment in memory, as compaction handles them: the place and the stream of each, in columns.
 * Millions pass through in a run; an object or a view for each would keep the garbage collector, and so the event loop,
 * busy.
 */

import { lengthAt, RecordView } from './format.ts'

export class RecordRows {
  readonly #seed: number
  readonly #streamIds: Float64Array
  readonly #places: Uint32Array
  readonly #positions: Uint32Array
  #bytes: Buffer = Buffer.alloc(0)
  #words: Uint32Array = new Uint32Array(0)
  #count = 0

  /** `seed` is that of their segment. */
  constructor(seed: number, countMax: number) {
    this.#seed = seed
    this.#streamIds = new Float64Array(countMax)
    this.#places = new Uint32Array(countMax)
    this.#positions = new Uint32Array(countMax)
  }

  get count(): number {
    return this.#count
  }

  /** Where they lie now. */
  get bytes(): Buffer {
    return this.#bytes
  }

  /** The same memory, which begins at a multiple of 4 bytes. */
  get words(): Uint32Array {
    return this.#words
  }

  /** Empty, for records that lie in `bytes`. */
  reset(bytes: Buffer): void {
    this.#count = 0
    if (this.#bytes === bytes) return
    this.#bytes = bytes
    this.#words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2)
  }

  /** A record at `place`, a multiple of 8; in its segment it lies at `position`. */
  add(streamId: number, place: number, position: number): void {
    const row = this.#count
    this.#streamIds[row] = streamId
    this.#places[row] = place
    this.#positions[row] = position
    this.#count = row + 1
  }

  streamIdOf(row: number): number {
    return this.#streamIds[row] as number
  }

  placeOf(row: number): number {
    return this.#places[row] as number
  }

  positionOf(row: number): number {
    return this.#positions[row] as number
  }

  /** What the record's CRC starts from. */
  crcStartOf(row: number): number {
    return this.#seed ^ (this.#positions[row] as number)
  }

  /** Without padding. */
  lengthOf(row: number): number {
    return lengthAt(this.#bytes, this.#places[row] as number)
  }

  /** Valid as long as the row. */
  viewOf(row: number): RecordView {
    return new RecordView(this.#bytes, this.#places[row] as number)
  }
}
