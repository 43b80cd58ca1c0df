/**
 * The keys of recent publishes, and their outcomes. Bounded in time and in number: the oldest are forgotten first. Knows
 * nothing of logs.
 */

import type { Offset } from './ports.ts'

/** Consecutive numbers. */
export interface NumberRun {
  readonly first: Offset
  readonly count: number
}

export interface RequestOutcome {
  /** The body's hash. */
  readonly body: string
  readonly numbers: readonly NumberRun[]
}

/** The number of one event, or the answer to a whole request. */
export type Outcome = Offset | RequestOutcome

interface Entry {
  readonly outcome: Outcome
  readonly endsAtMs: number
}

export class PublishWindow {
  readonly #monotonicMs: () => number
  readonly #windowMs: number
  readonly #keysMax: number
  /** In the order of publication. */
  readonly #entries = new Map<string, Entry>()
  /** A request answered with several runs of numbers counts once for each. */
  #weight = 0

  constructor(monotonicMs: () => number, windowMs: number, keysMax: number) {
    this.#monotonicMs = monotonicMs
    this.#windowMs = windowMs
    this.#keysMax = keysMax
  }

  get size(): number {
    return this.#entries.size
  }

  find(key: string): Outcome | undefined {
    const entry = this.#entries.get(key)
    return entry !== undefined && entry.endsAtMs > this.#monotonicMs() ? entry.outcome : undefined
  }

  /** `restMs`: how much of the window is left; all of it by default. */
  remember(key: string, outcome: Outcome, restMs = this.#windowMs): void {
    const nowMs = this.#monotonicMs()
    this.#forget(key)
    this.#entries.set(key, { outcome, endsAtMs: nowMs + restMs })
    this.#weight += weightOf(outcome)
    for (const [oldest, { endsAtMs }] of this.#entries) {
      if (endsAtMs > nowMs && this.#weight <= this.#keysMax) break
      this.#forget(oldest)
    }
  }

  #forget(key: string): void {
    const entry = this.#entries.get(key)
    if (entry === undefined) return
    this.#weight -= weightOf(entry.outcome)
    this.#entries.delete(key)
  }
}

function weightOf(outcome: Outcome): number {
  return typeof outcome === 'number' ? 1 : Math.max(1, outcome.numbers.length)
}

export function runsOf(numbers: readonly Offset[]): readonly NumberRun[] {
  const runs: { first: Offset; count: number }[] = []
  for (const number of numbers) {
    const last = runs.at(-1)
    if (last !== undefined && number === last.first + last.count) last.count += 1
    else runs.push({ first: number, count: 1 })
  }
  return runs
}

export function numbersOf(runs: readonly NumberRun[]): readonly Offset[] {
  return runs.flatMap(({ first, count }) => Array.from({ length: count }, (_, i) => first + i))
}
