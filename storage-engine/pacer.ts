/**
 * Keeps work in the background from holding up what is in front: it is done in slices of a few milliseconds, with a
 * turn of the event loop between them, and a longer rest while there are commits; at no more than so many bytes a
 * second; and each read or write lets the commit go first that is on its way to the disk. It can be stopped at every one
 * of these places.
 */

import { setImmediate as nextTurn } from 'node:timers/promises'

/** Whoever works at this pace is to leave off. */
export class PaceStopped extends Error {
  constructor() {
    super('the work was stopped')
    this.name = 'PaceStopped'
  }
}

export interface PaceClock {
  /** Milliseconds that never run backwards. */
  nowMs(): number
  /** Resolves after so long, or when the signal says so. */
  sleep(durationMs: number, signal: AbortSignal): Promise<void>
}

export const systemPaceClock: PaceClock = {
  nowMs: () => performance.now(),
  sleep: (durationMs, signal) =>
    new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', end)
        resolve()
      }
      const timer = setTimeout(end, durationMs)
      signal.addEventListener('abort', end)
    }),
}

const SLICE_MS = 1
/** While publishers keep the log busy, slices take at most this share of the time: theirs is the same thread. */
const BUSY_SHARE = 1 / 10
/** So far ahead of its pace work may be before it waits: timers are no finer. */
const AHEAD_MS_MAX = 5

export class Pacer {
  readonly #bytesPerSecondMax: number
  readonly #commitInFlight: () => Promise<unknown> | undefined
  readonly #pressure: () => number
  readonly #clock: PaceClock
  readonly #stopping = new AbortController()
  #sliceBeganMs: number
  /** When what was read and written so far is paid for. */
  #paidMs = 0

  /**
   * `commitInFlight` is the commit that goes first, if there is one at the moment. `pressure`, 0 to 1, is how much what is
   * in front needs this work to be done: at 1 it neither rests nor keeps to its bytes a second.
   */
  constructor(
    bytesPerSecondMax: number,
    commitInFlight: () => Promise<unknown> | undefined,
    pressure: () => number = () => 0,
    clock: PaceClock = systemPaceClock,
  ) {
    this.#bytesPerSecondMax = bytesPerSecondMax
    this.#commitInFlight = commitInFlight
    this.#pressure = pressure
    this.#clock = clock
    this.#sliceBeganMs = clock.nowMs()
  }

  get signal(): AbortSignal {
    return this.#stopping.signal
  }

  /** Work begins, behind a time in which there was none. */
  begin(): void {
    this.#sliceBeganMs = this.#clock.nowMs()
  }

  /** To be awaited, where it is not undefined, before a little more work. Rejects with PaceStopped. */
  slice(): Promise<void> | undefined {
    const isOver = this.#clock.nowMs() - this.#sliceBeganMs >= SLICE_MS
    return isOver || this.#stopping.signal.aborted ? this.#nextSlice() : undefined
  }

  /** To be awaited before so many bytes are read or written. Rejects with PaceStopped. */
  async transfer(bytes: number): Promise<void> {
    const workedMs = this.#clock.nowMs() - this.#sliceBeganMs
    // One commit and no more: with publishers that never rest there would always be another one.
    await this.#commitInFlight()
    this.#throwIfStopped()
    const nowMs = this.#clock.nowMs()
    const aheadMs = this.#paidMs - nowMs
    if (aheadMs > AHEAD_MS_MAX) await this.#clock.sleep(aheadMs, this.#stopping.signal)
    const costMs = (bytes / this.#bytesPerSecondMax) * 1000 * (1 - this.#pressure())
    this.#paidMs = Math.max(this.#paidMs, nowMs) + costMs
    this.#throwIfStopped()
    // To wait is no work.
    this.#sliceBeganMs = this.#clock.nowMs() - workedMs
  }

  /** Whoever waits, or asks from now on, is told to leave off. */
  stop(): void {
    this.#stopping.abort()
  }

  async #nextSlice(): Promise<void> {
    this.#throwIfStopped()
    const workedMs = this.#clock.nowMs() - this.#sliceBeganMs
    const wasBusy = this.#commitInFlight() !== undefined
    await nextTurn()
    // What came in meanwhile may have begun a commit: its way through the event loop shall be free.
    const isBusy = wasBusy || this.#commitInFlight() !== undefined
    const restMs = workedMs * (1 / BUSY_SHARE - 1) * (1 - this.#pressure())
    if (isBusy && restMs > 0) await this.#clock.sleep(restMs, this.#stopping.signal)
    this.#throwIfStopped()
    this.#sliceBeganMs = this.#clock.nowMs()
  }

  #throwIfStopped(): void {
    if (this.#stopping.signal.aborted) throw new PaceStopped()
  }
}
