/**
 * Decides when a checkpoint is written: at intervals, soon after the log has rolled to a new file, and at the end. A failed
 * checkpoint costs nothing but more reading at the next start; it is reported, and retried the next time.
 */

import type { Clock } from './ports.ts'

/** After a roll a checkpoint is written at once if the last one is older than this share of the interval. */
const ROLL_SHARE = 1 / 10

export class Checkpointer {
  readonly #clock: Clock
  readonly #intervalMs: number
  readonly #write: () => Promise<void>
  readonly #onFailure: (error: unknown) => void
  readonly #timer: { close(): void }
  #beganAtMs: number
  #running: Promise<void> | undefined

  /** `write` writes a checkpoint if anything has changed. */
  constructor(clock: Clock, intervalMs: number, write: () => Promise<void>, onFailure: (error: unknown) => void) {
    this.#clock = clock
    this.#intervalMs = intervalMs
    this.#write = write
    this.#onFailure = onFailure
    this.#beganAtMs = clock.monotonicMs()
    this.#timer = clock.every(intervalMs, () => this.#run())
  }

  /** The log has rolled to a new file: without a checkpoint the next start would read more than that file. */
  rolled(): void {
    if (this.#clock.monotonicMs() - this.#beganAtMs >= this.#intervalMs * ROLL_SHARE) this.#run()
  }

  /** Writes the last checkpoint. Nothing may be appended any more. */
  async close(): Promise<void> {
    this.#timer.close()
    await this.#running
    await this.#attempt()
  }

  #run(): void {
    if (this.#running !== undefined) return
    this.#beganAtMs = this.#clock.monotonicMs()
    this.#running = this.#attempt().finally(() => {
      this.#running = undefined
    })
  }

  async #attempt(): Promise<void> {
    await this.#write().catch(this.#onFailure)
  }
}
