/**
 * Quantiles of a histogram's recent observations, for the dashboard. The owner calls `tick` once a second. A quantile is exact
 * only to its bucket; within the bucket the values are assumed to be evenly distributed.
 */

import type { Histogram } from './histogram.ts'

export class RecentQuantiles {
  readonly #histogram: Histogram
  readonly #ticksMax: number
  /** The counts at the latest ticks, oldest first. */
  readonly #noted: Float64Array[]

  /** Looks back over `ticksMax` ticks. */
  constructor(histogram: Histogram, ticksMax: number) {
    this.#histogram = histogram
    this.#ticksMax = ticksMax
    this.#noted = [histogram.counts.slice()]
  }

  tick(): void {
    this.#noted.push(this.#histogram.counts.slice())
    if (this.#noted.length > this.#ticksMax + 1) this.#noted.shift()
  }

  /** For each share, from 0 to 1, the value that this share is at or below; undefined where nothing was observed. */
  of(shares: readonly number[]): readonly number[] | undefined {
    const oldest = this.#noted[0]!
    const counts = this.#noted.at(-1)!.map((count, index) => count - oldest[index]!)
    const total = counts.reduce((sum, count) => sum + count, 0)
    return total === 0 ? undefined : shares.map((share) => this.#at(counts, share * total))
  }

  #at(counts: Float64Array, rank: number): number {
    const { bounds } = this.#histogram
    let below = 0
    for (const [index, upper] of bounds.entries()) {
      const count = counts[index]!
      const lower = bounds[index - 1] ?? 0
      if (count > 0 && below + count >= rank) return lower + ((upper - lower) * (rank - below)) / count
      below += count
    }
    // Nothing is known beyond the highest bound.
    return bounds.at(-1)!
  }
}
