/**
 * A map from numbers to rows in two flat columns, by open addressing. In a `Map`, a number above 2^31 is an object of
 * its own: half a million of them take 40 MB, here 16. Nothing is ever removed.
 */

/** Stands in a row's place for "nothing"; no row is so high. */
export const NO_ROW = 0xffff_ffff

const CAPACITY_BITS_AT_FIRST = 8

export class NumberTable {
  #bits = CAPACITY_BITS_AT_FIRST
  #numbers = new Float64Array(2 ** CAPACITY_BITS_AT_FIRST)
  #rows = new Uint32Array(2 ** CAPACITY_BITS_AT_FIRST).fill(NO_ROW)
  #count = 0

  get count(): number {
    return this.#count
  }

  /** Does nothing where the number is known: its first row stays. */
  add(number: number, row: number): void {
    // At three quarters a search takes a few steps; fuller it takes many.
    if (this.#count * 4 >= this.#rows.length * 3) this.#grow()
    const slot = this.#slot(number)
    if (this.#rows[slot] !== NO_ROW) return
    this.#numbers[slot] = number
    this.#rows[slot] = row
    this.#count += 1
  }

  /** `NO_ROW` where the number is not known. */
  get(number: number): number {
    return this.#rows[this.#slot(number)] as number
  }

  /** All numbers, ascending. */
  sorted(): Float64Array {
    const numbers = new Float64Array(this.#count)
    let at = 0
    for (let slot = 0; slot < this.#rows.length; slot += 1) {
      if (this.#rows[slot] === NO_ROW) continue
      numbers[at] = this.#numbers[slot] as number
      at += 1
    }
    return numbers.sort()
  }

  /** Where the number is, or would go. */
  #slot(number: number): number {
    // Numbers often follow each other, or differ in their upper bits only: both halves count, and all bits are mixed.
    const mixed = Math.imul((number >>> 0) ^ ((number / 0x1_0000_0000) | 0), 0x9e37_79b1)
    const mask = this.#rows.length - 1
    let slot = mixed >>> (32 - this.#bits)
    while (this.#rows[slot] !== NO_ROW && this.#numbers[slot] !== number) slot = (slot + 1) & mask
    return slot
  }

  #grow(): void {
    const numbers = this.#numbers
    const rows = this.#rows
    this.#bits += 1
    this.#numbers = new Float64Array(2 ** this.#bits)
    this.#rows = new Uint32Array(2 ** this.#bits).fill(NO_ROW)
    for (let old = 0; old < rows.length; old += 1) {
      const row = rows[old] as number
      if (row === NO_ROW) continue
      const slot = this.#slot(numbers[old] as number)
      this.#numbers[slot] = numbers[old] as number
      this.#rows[slot] = row
    }
  }
}
