/**
 * Durations and sizes in buckets, for hot paths: an observation is a short search and two additions, and allocates nothing.
 * Read when scraped.
 */

/** 1, 2 and 5 of each power of ten: from 10 µs to 10 s. */
export const DURATION_BOUNDS_SECONDS: readonly number[] = [-5, -4, -3, -2, -1, 0]
  .flatMap((power) => [1, 2, 5].map((digit) => Number(`${digit}e${power}`)))
  .concat(10)

export class Histogram {
  readonly bounds: readonly number[]
  /** Not cumulative; the last one counts everything above all bounds. */
  readonly counts: Float64Array
  #sum = 0

  constructor(bounds: readonly number[]) {
    this.bounds = bounds
    this.counts = new Float64Array(bounds.length + 1)
  }

  get sum(): number {
    return this.#sum
  }

  /** `times`: counts as that many observations. */
  observe(value: number, times = 1): void {
    const { bounds } = this
    let index = 0
    while (index < bounds.length && value > bounds[index]!) index += 1
    this.counts[index]! += times
    this.#sum += value * times
  }
}
