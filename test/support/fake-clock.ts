/** A clock that stands still until the test moves it, and calls its timers on the way. */

import type { Clock } from '../../src/domain/ports.ts'

interface Timer {
  readonly intervalMs: number
  readonly task: () => void
  nextMs: number
}

export class FakeClock implements Clock {
  #nowMs = 1_800_000_000_000
  #wallOffsetMs = 0
  readonly #timers = new Set<Timer>()

  get timerCount(): number {
    return this.#timers.size
  }

  wallMs(): number {
    return this.#nowMs + this.#wallOffsetMs
  }

  monotonicMs(): number {
    return this.#nowMs
  }

  every(intervalMs: number, task: () => void): { close(): void } {
    const timer = { intervalMs, task, nextMs: this.#nowMs + intervalMs }
    this.#timers.add(timer)
    return { close: () => this.#timers.delete(timer) }
  }

  /** As an operator who corrects it; timers are not concerned. */
  setBack(byMs: number): void {
    this.#wallOffsetMs -= byMs
  }

  advance(byMs: number): void {
    const endMs = this.#nowMs + byMs
    for (;;) {
      let due: Timer | undefined
      for (const timer of this.#timers) {
        if (timer.nextMs <= endMs && (due === undefined || timer.nextMs < due.nextMs)) due = timer
      }
      if (due === undefined) break
      this.#nowMs = due.nextMs
      due.nextMs += due.intervalMs
      due.task()
    }
    this.#nowMs = endMs
  }
}
