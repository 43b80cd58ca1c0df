// What the HTTP layer knows of the life of its process: one of four states, the hub once there is one, and how many changes
// are in flight. The composition root changes the state; the plugins only read it. It promises that illegal transitions fail
// with a sentence, and must not know what recovery or a stop consist of.
import assert from 'node:assert/strict'
import type { Hub } from '../domain/hub.ts'
import { httpError } from './errors.ts'

/** Progress of the recovery as shown by /readyz: names in snake_case, numbers without units unless the name says so. */
export type RecoveryProgress = Readonly<Record<string, number | string | null>>

export type Health =
  | { readonly status: 'recovering'; readonly recovery: RecoveryProgress }
  | { readonly status: 'ready' }
  | { readonly status: 'failed'; readonly reason: string }
  | { readonly status: 'stopping' }

export class Service {
  #health: Health = { status: 'recovering', recovery: {} }
  #hub: Hub | undefined
  #inFlight = 0
  #whenIdle: (() => void) | undefined
  readonly #stopListeners = new Set<() => void>()

  get health(): Health {
    return this.#health
  }

  /** True while API calls are worth routing: ready, or ready with a durable log that has failed. */
  get isOpen(): boolean {
    return this.#health.status === 'ready' || this.#health.status === 'failed'
  }

  /** The hub; while there is none, or while stopping, a 503 that says so. */
  get hub(): Hub {
    if (this.#hub === undefined || !this.isOpen) throw unavailable(this.#health)
    return this.#hub
  }

  /** Updates the progress of the recovery. Ignored once it has ended: a late update is no reason to fail. */
  progress(recovery: RecoveryProgress): void {
    if (this.#health.status === 'recovering') this.#health = { status: 'recovering', recovery }
  }

  ready(hub: Hub): void {
    assert(this.#health.status === 'recovering', `a service that is ${this.#health.status} cannot become ready`)
    this.#hub = hub
    this.#health = { status: 'ready' }
  }

  /**
   * The durable log accepts no more writes. Final until the process is restarted. Ignored while recovering or stopping: nothing
   * is served then anyway.
   */
  fail(reason: string): void {
    if (this.#health.status !== 'ready') return
    this.#health = { status: 'failed', reason }
  }

  stop(): void {
    this.#health = { status: 'stopping' }
    for (const listener of [...this.#stopListeners]) listener()
  }

  /** Calls `listener` when the stop begins, unless the returned function was called before. */
  onStop(listener: () => void): () => void {
    this.#stopListeners.add(listener)
    return () => this.#stopListeners.delete(listener)
  }

  /** Changes in progress. */
  get inFlight(): number {
    return this.#inFlight
  }

  /**
   * Runs a change (a publish, the creation or deletion of a topic), which a stop waits for. Rejects as `work` does.
   */
  async changing<Result>(work: () => Promise<Result>): Promise<Result> {
    this.#inFlight += 1
    try {
      return await work()
    } finally {
      this.#inFlight -= 1
      if (this.#inFlight === 0) this.#whenIdle?.()
    }
  }

  /** Resolves when no change is in progress. */
  idle(): Promise<void> {
    if (this.#inFlight === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#whenIdle = resolve
    })
  }
}

export function unavailable(health: Health): Error {
  const why = health.status === 'stopping' ? 'The server is stopping.' : 'The server is still recovering its log.'
  const ending = health.status === 'stopping' ? { connection: 'close' } : {}
  return httpError(503, why, { status: health.status }, { 'retry-after': '1', ...ending })
}
