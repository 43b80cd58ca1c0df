/**
 * When the next batch leaves, where handing on the last one took long. Publishers that wait for their answers come back
 * right behind it. If what others sent meanwhile left at once, it would leave without them, and they without it from then on:
 * twice as many commits for the same records, each handed on to every subscriber. So it waits until as many
 * records came as were answered, and no longer than half the time that the last commit cost. Where
 * commits are handed on quickly nothing waits: there the disk alone sets the pace.
 */

/** Of the time in which a commit was handed on, so much is worth waiting to save another one. */
const WAIT_SHARE = 0.5
/** A machine that was stopped in the middle of a commit is not to be waited for as long again. */
const WAIT_MS_MAX = 10
/** A timer knows no less. */
const WAIT_MS_MIN = 1

export class Gathering {
  #endsAtMs = 0
  /** Appends that are still expected. */
  #missing = 0
  #complete: (() => void) | undefined

  /** A commit was handed on within so many milliseconds, and answers so many appends. */
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

  /** Resolves when the next batch shall leave; undefined: at once. */
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
