/**
 * Durations and sizes in buckets, for the busiest places: an observation is a short search and two additions, and makes
 * nothing for the garbage collector. Read at a scrape.
 */

/** 1, 2 and 5 of each power of ten: from 10 µs to 10 s. */
export const DURATION_BOUNDS_SECONDS: readonly number[] = [-5, -4, -3, -2, -1, 0]
  .flatMap((power) => [1, 2, 5].map((digit) => Number(`${digit}e${power}`)))
  .concat(10)

export class Histogram {
  readonly bounds: readonly number[]
  /** Of each bucket alone; the last one holds what is above all bounds. */
  readonly counts: Float64Array
  #sum = 0

  constructor(bounds: readonly number[]) {
    this.bounds = bounds
    this.counts = new Float64Array(bounds.length + 1)
  }

  get sum(): number {
    return this.#sum
  }

  /** `times`: as if it had been called so often. */
  observe(value: number, times = 1): void {
    const { bounds } = this
    let index = 0
    while (index < bounds.length && value > bounds[index]!) index += 1
    this.counts[index]! += times
    this.#sum += value * times
  }
}
