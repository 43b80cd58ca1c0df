/**
 * Decides when the next batch leaves if handing on the last one took long. Publishers that wait for their answers come
 * back right after it. If what others sent meanwhile left at once, it would leave without them, and the two groups
 * would alternate from then on: twice as many commits for the same records, each handed on to every subscriber. So the
 * batch waits until as many appends have come as were answered, but no longer than half the time that the last commit
 * took to hand on. If commits are handed on quickly, nothing waits: then the disk alone sets the pace.
 */

/** This share of the time it took to hand on a commit is worth waiting to save another one. */
const WAIT_SHARE = 0.5
/** If the machine was suspended in the middle of a commit, the wait must not be in proportion. */
const WAIT_MS_MAX = 10
/** Timers have no shorter delay. */
const WAIT_MS_MIN = 1

export class Gathering {
  #endsAtMs = 0
  /** Appends that are still expected. */
  #missing = 0
  #complete: (() => void) | undefined

  /** A commit that answers so many appends was handed on; this took `durationMs`. */
  committed(appends: number, durationMs: number): void {
    const waitMs = Math.min(durationMs * WAIT_SHARE, WAIT_MS_MAX)
    this.#missing = waitMs < WAIT_MS_MIN ? 0 : appends
    this.#endsAtMs = performance.now() + waitMs
  }

  /** An append waits for the next batch. */
  appended(): void {
    if (this.#missing === 0) return
    this.#missing -= 1
    if (this.#missing === 0) this.#complete?.()
  }

  /** Resolves when the next batch is to leave; undefined: at once. */
  wait(): Promise<void> | undefined {
    const leftMs = this.#endsAtMs - performance.now()
    if (this.#missing === 0 || leftMs < WAIT_MS_MIN) return undefined
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer)
        this.#complete = undefined
        resolve()
      }
      const timer = setTimeout(end, leftMs)
      this.#complete = end
    })
  }
}
