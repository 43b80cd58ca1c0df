/**
 * Keeps replay from starving everything else. An in-memory log answers without ever leaving the turn, so that a long replay,
 * or a thousand short ones, would block the event loop until done. All of them draw on one budget of bytes per turn; those
 * that find it spent wait, first come, first served. Knows nothing of what the bytes are.
 */

const TURN_BYTES_MAX = 256 * 1024
/** A write costs a system call whatever its size, so each write is charged this much on top. */
const WRITE_COST_BYTES = 2 * 1024
/** About as many replay steps as the budget covers. */
const RELEASED_PER_TURN = 4

export class Pace {
  #leftBytes = TURN_BYTES_MAX
  #isScheduled = false
  #waiting: (() => void)[] = []

  /** To be checked before each step; if true, wait for a turn. */
  get isSpent(): boolean {
    return this.#leftBytes <= 0
  }

  spend(bytes: number): void {
    this.#leftBytes -= bytes + WRITE_COST_BYTES
    this.#schedule()
  }

  /** Resolves in a later turn of the event loop, after those that called earlier. */
  turn(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
      this.#schedule()
    })
  }

  #schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(this.#nextTurn)
  }

  readonly #nextTurn = (): void => {
    this.#isScheduled = false
    this.#leftBytes = TURN_BYTES_MAX
    for (const resolve of this.#waiting.splice(0, RELEASED_PER_TURN)) resolve()
    if (this.#waiting.length > 0) this.#schedule()
  }
}
