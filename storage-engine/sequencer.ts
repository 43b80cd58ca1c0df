/**
 * Hands out the numbers of all logs of one process: ascending, never twice, not even across a crash or with a clock
 * that runs backwards. A number is handed out only below the ceiling that a durable batch has reserved; a start begins
 * at the last ceiling or at the clock, whichever is higher. Without a durable log the clock alone decides.
 */

import { StorageError } from './errors.ts'
import type { Offset } from './format.ts'

/** How many numbers ahead a durable batch reserves. */
export const RESERVATION = 2 ** 20
/** 2025-10-21T05:13:13Z: numbers begin with the seconds since then, times 2^20. */
const EPOCH_MS = 1_761_023_593_000
/** No number above it is given, so that everything fits into 53 bits with a margin. */
const LIMIT = 2 ** 53 - 2 ** 22

export class Sequencer {
  #first: Offset = 0
  #next: Offset = 0
  #ceiling: Offset = 0
  #asked = false
  #onLow: (() => void) | undefined

  /** The number that this process began with; it gives none below it. */
  get firstOfThisStart(): Offset {
    return this.#first
  }

  /** The number that will be given next. */
  get next(): Offset {
    return this.#next
  }

  get ceiling(): Offset {
    return this.#ceiling
  }

  /** The ceiling for the next durable batch to reserve: the present one, while enough numbers are left below it. */
  get wantedCeiling(): Offset {
    return this.#isLow ? Math.min(this.#next + RESERVATION, LIMIT) : this.#ceiling
  }

  get #isLow(): boolean {
    return this.#next + RESERVATION / 2 > this.#ceiling
  }

  /**
   * Begins at the larger of the clock and `ceiling`, the highest that is known to have been reserved. Returns the first
   * number: the start's own entry bears it. Nothing else is given before `raise`.
   */
  begin(ceiling: Offset, nowMs: number): Offset {
    this.#first = Math.max(ceiling, firstNumberAt(nowMs))
    this.#next = this.#first + 1
    this.#ceiling = this.#first + 1
    if (this.#first >= LIMIT) throw exhausted()
    return this.#first
  }

  /** For a process without a durable log: nothing is reserved, and only the clock keeps numbers from being given twice. */
  beginUnreserved(nowMs: number): void {
    this.begin(0, nowMs)
    this.#ceiling = LIMIT
  }

  /** A durable batch has reserved all numbers below `ceiling`. */
  raise(ceiling: Offset): void {
    if (ceiling > this.#ceiling) this.#ceiling = ceiling
    this.#asked = false
  }

  /** `listener` is to have a batch made durable that raises the ceiling; called again if that did not happen. */
  onLow(listener: () => void): void {
    this.#onLow = listener
  }

  /**
   * Gives so many numbers in a row, all or none, and returns the first; at most half a reservation, since with less left
   * the next one is asked for. Throws STORAGE_EXHAUSTED where not enough are reserved any more (the durable log fails, or
   * lags far behind).
   */
  take(count = 1): Offset {
    if (!this.#asked && this.wantedCeiling > this.#ceiling && this.#onLow !== undefined) {
      this.#asked = true
      this.#onLow()
    }
    const first = this.#next
    if (first + count > this.#ceiling) throw exhausted()
    this.#next = first + count
    return first
  }

  /**
   * Skips the next number, and returns it, for a batch without records to bear. Nobody is given it, so it may stand at the
   * ceiling: where all that was reserved is given, more can be reserved all the same.
   */
  skip(): Offset {
    const skipped = this.#next
    this.#next += 1
    return skipped
  }
}

/** The number with which a process begins at that time by its clock, unless a higher one was reserved. */
export function firstNumberAt(nowMs: number): Offset {
  return Math.max(1, Math.floor((nowMs - EPOCH_MS) / 1000)) * RESERVATION
}

function exhausted(): StorageError {
  return new StorageError(
    'STORAGE_EXHAUSTED',
    'No more numbers are reserved for new entries: the durable log cannot reserve any, or the clock is far in the future.',
  )
}
