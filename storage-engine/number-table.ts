/**
 * A set of numbers, each with an index: how many were added before it. Two flat columns with open addressing. In a
 * `Map`, every number above 2^31 is an object of its own: half a million of them take 40 MB, here 7 to 13. Nothing is
 * ever removed.
 */

import { type EndSlice, sortInSlices } from './sort-in-slices.ts'

/** Stands in the place of an index or a row for "nothing"; none is so high. */
export const NO_ROW = 0xffff_ffff

const CAPACITY_AT_FIRST = 256
/** At three quarters a search takes a few steps; fuller it takes many. */
const FILLED_SHARE_MAX = 3 / 4

export class NumberTable {
  #bits: number
  /** In the order in which they came. */
  #numbers: Float64Array
  #slots: Uint32Array
  #count = 0

  /** With room for so many, and for any number of them in the end. */
  constructor(expectedCount = 0) {
    const numbers = Math.max(expectedCount, CAPACITY_AT_FIRST)
    this.#numbers = new Float64Array(numbers)
    this.#bits = Math.ceil(Math.log2(numbers / FILLED_SHARE_MAX))
    this.#slots = new Uint32Array(2 ** this.#bits).fill(NO_ROW)
  }

  get count(): number {
    return this.#count
  }

  /** The number's index, which is `count` as it was where the number is new. */
  add(number: number): number {
    if (this.#count >= this.#slots.length * FILLED_SHARE_MAX) this.#growSlots()
    const slot = this.#slot(number)
    const known = this.#slots[slot] as number
    if (known !== NO_ROW) return known
    if (this.#count === this.#numbers.length) this.#growNumbers()
    this.#numbers[this.#count] = number
    this.#slots[slot] = this.#count
    this.#count += 1
    return this.#count - 1
  }

  /** The number's index; `NO_ROW` where it is not known. */
  get(number: number): number {
    return this.#slots[this.#slot(number)] as number
  }

  /** The number of that index. */
  at(index: number): number {
    return this.#numbers[index] as number
  }

  /** The indexes of all numbers as of now, in the order of the numbers. */
  async sorted(endSlice?: EndSlice): Promise<Uint32Array> {
    return await sortInSlices(this.#numbers.subarray(0, this.#count), endSlice)
  }

  /** Where the number is, or would go. */
  #slot(number: number): number {
    // Numbers often follow each other, or differ in their upper bits only: both halves count, and all bits are mixed.
    const mixed = Math.imul((number >>> 0) ^ ((number / 0x1_0000_0000) | 0), 0x9e37_79b1)
    const mask = this.#slots.length - 1
    let slot = mixed >>> (32 - this.#bits)
    for (;;) {
      const index = this.#slots[slot] as number
      if (index === NO_ROW || this.#numbers[index] === number) return slot
      slot = (slot + 1) & mask
    }
  }

  #growSlots(): void {
    this.#bits += 1
    this.#slots = new Uint32Array(2 ** this.#bits).fill(NO_ROW)
    for (let index = 0; index < this.#count; index += 1) this.#slots[this.#slot(this.#numbers[index] as number)] = index
  }

  #growNumbers(): void {
    const larger = new Float64Array(this.#numbers.length * 2)
    larger.set(this.#numbers)
    this.#numbers = larger
  }
}
