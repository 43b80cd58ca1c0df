/**
 * Random numbers that a seed repeats (sfc32): the same seed gives the same run on every machine. For tests only; it
 * keeps no secret. A test that uses it prints `seed`, and a seed that failed becomes a test with a name.
 */

import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'

export class Random {
  /** From 0 to 2^32 - 1. */
  readonly seed: number
  #a = 0
  #b = 0
  #c: number
  #counter = 1

  /** Without a seed, one that was not seen before. */
  constructor(seed: number = randomInt(2 ** 32)) {
    assert(Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32, 'a seed is a whole number of 32 bits')
    this.seed = seed
    this.#c = seed
    for (let i = 0; i < 15; i++) this.#next()
  }

  /** A whole number from 0 to `bound - 1`; `bound` is at least 1 and at most 2^53. */
  int(bound: number): number {
    assert(Number.isInteger(bound) && bound >= 1 && bound <= 2 ** 53, 'a bound is a whole number, at least 1')
    return Math.floor(this.#fraction() * bound)
  }

  /** True with this probability, from 0 to 1. */
  chance(probability: number): boolean {
    return this.#fraction() < probability
  }

  pick<T>(items: readonly T[]): T {
    assert(items.length > 0, 'there is something to pick from')
    return items[this.int(items.length)] as T
  }

  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length)
    for (let i = 0; i < length; i += 4) {
      const word = this.#next()
      for (let j = 0; j < 4 && i + j < length; j++) bytes[i + j] = word >>> (8 * j)
    }
    return bytes
  }

  /** From 0 to below 1, with 53 bits. */
  #fraction(): number {
    const high = this.#next() >>> 5
    const low = this.#next() >>> 6
    return (high * 2 ** 26 + low) / 2 ** 53
  }

  #next(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0
    return sum >>> 0
  }
}
