/**
 * Keeps background work out of the way of foreground work. It runs in slices of a millisecond, each followed by a rest,
 * which is longer while there are commits; its bytes per second are bounded; and before every read or write it lets the
 * commit in flight go first. It can be stopped at each of these points.
 */

import { setImmediate as nextTurn } from 'node:timers/promises'

/** Where work gives way, or waits: each is to be awaited. */
export interface Pace {
  /** Before a little more work. */
  slice(): Promise<void> | undefined
  /** Before so many bytes are read or written. */
  transfer(bytes: number): Promise<void>
}

/** A turn of the event loop before each transfer, and no rest. */
export const turnByTurn: Pace = {
  slice: () => undefined,
  transfer: () => nextTurn(),
}

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
/**
 * Slices take at most this share of the time, since nobody knows when the next publish comes, or whom else the one thread
 * is to serve.
 */
const IDLE_SHARE = 1 / 4
/** The same while publishers keep the log busy. */
const BUSY_SHARE = 1 / 20
/** So far ahead of its pace work may be before it waits: timers are no finer. */
const AHEAD_MS_MAX = 5

/** What the pace depends on, as it is at the moment. */
export interface PaceSetting {
  /** The commit that goes first, if there is one. */
  commitInFlight(): Promise<unknown> | undefined
  /** 0 to 1: how much what is in front needs this work to be done. At 1 it neither rests nor keeps to its bytes a second. */
  pressure(): number
  /** Whether somebody waits for this work to be done: then it rests only while there are commits. */
  isAwaited(): boolean
}

export class Pacer implements Pace {
  readonly #bytesPerSecondMax: number
  readonly #setting: PaceSetting
  readonly #clock: PaceClock
  readonly #stopping = new AbortController()
  #sliceBeganMs: number
  /** When what was read and written so far is paid for. */
  #paidMs = 0

  constructor(bytesPerSecondMax: number, setting: PaceSetting, clock: PaceClock = systemPaceClock) {
    this.#bytesPerSecondMax = bytesPerSecondMax
    this.#setting = setting
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

  /** Rejects with PaceStopped, as `transfer` does. */
  slice(): Promise<void> | undefined {
    const isOver = this.#clock.nowMs() - this.#sliceBeganMs >= SLICE_MS
    return isOver || this.#stopping.signal.aborted ? this.#nextSlice() : undefined
  }

  transfer(bytes: number): Promise<void> {
    return this.apart(this.#transfer(bytes))
  }

  /** What is waited for meanwhile is no work, and not rested from. For what leaves the disk to others, too: not for syncs. */
  async apart<T>(others: Promise<T>): Promise<T> {
    const workedMs = this.#clock.nowMs() - this.#sliceBeganMs
    try {
      return await others
    } finally {
      this.#sliceBeganMs = this.#clock.nowMs() - workedMs
    }
  }

  /** Whoever waits, or asks from now on, is told to leave off. */
  stop(): void {
    this.#stopping.abort()
  }

  async #transfer(bytes: number): Promise<void> {
    // One commit and no more: with publishers that never rest there would always be another one.
    await this.#setting.commitInFlight()
    this.#throwIfStopped()
    const nowMs = this.#clock.nowMs()
    const aheadMs = this.#paidMs - nowMs
    if (aheadMs > AHEAD_MS_MAX) await this.#clock.sleep(aheadMs, this.#stopping.signal)
    const costMs = (bytes / this.#bytesPerSecondMax) * 1000 * (1 - this.#setting.pressure())
    this.#paidMs = Math.max(this.#paidMs, nowMs) + costMs
    this.#throwIfStopped()
  }

  async #nextSlice(): Promise<void> {
    this.#throwIfStopped()
    const workedMs = this.#clock.nowMs() - this.#sliceBeganMs
    const wasBusy = this.#isBusy
    await nextTurn()
    // What came in meanwhile may have begun a commit: its way through the event loop shall be free.
    const restMs = workedMs * (1 / this.#share(wasBusy || this.#isBusy) - 1) * (1 - this.#setting.pressure())
    if (restMs > 0) await this.#clock.sleep(restMs, this.#stopping.signal)
    this.#throwIfStopped()
    this.#sliceBeganMs = this.#clock.nowMs()
  }

  get #isBusy(): boolean {
    return this.#setting.commitInFlight() !== undefined
  }

  /** Of the time, that slices may take. */
  #share(isBusy: boolean): number {
    if (isBusy) return BUSY_SHARE
    return this.#setting.isAwaited() ? 1 : IDLE_SHARE
  }

  #throwIfStopped(): void {
    if (this.#stopping.signal.aborted) throw new PaceStopped()
  }
}
