// What the HTTP layer knows of the life of the process that it serves: one word out of four, the hub once there is one,
// and how many changes are being answered. The composition root moves it along; the plugins only read it. It promises that
// an illegal move fails with a sentence, and may not know what recovery or a stop consist of.
import assert from 'node:assert/strict'
import type { Hub } from '../domain/hub.ts'
import { httpError } from './errors.ts'

/** How far recovery has come, as /readyz tells it: names in snake_case, numbers without units unless the name says so. */
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

  /** A new remark on how far recovery has come. Ignored once it has ended: a late remark is no reason to fail. */
  progress(recovery: RecoveryProgress): void {
    if (this.#health.status === 'recovering') this.#health = { status: 'recovering', recovery }
  }

  ready(hub: Hub): void {
    assert(this.#health.status === 'recovering', `a service that is ${this.#health.status} cannot become ready`)
    this.#hub = hub
    this.#health = { status: 'ready' }
  }

  /** The durable log takes no more writes. Final until the process is started anew. While recovering or stopping it is
   * not told: then nothing is served anyway. */
  fail(reason: string): void {
    if (this.#health.status !== 'ready') return
    this.#health = { status: 'failed', reason }
  }

  stop(): void {
    this.#health = { status: 'stopping' }
    for (const listener of [...this.#stopListeners]) listener()
  }

  /** Calls `listener` when the stop begins, unless what is returned was called before. */
  onStop(listener: () => void): () => void {
    this.#stopListeners.add(listener)
    return () => this.#stopListeners.delete(listener)
  }

  /** Changes that are not done yet. */
  get inFlight(): number {
    return this.#inFlight
  }

  /**
   * A change (a publish, a topic made or deleted), from its beginning until it is done, which a stop waits for; what is
   * thrown is handed on.
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

  /** Resolves when no change waits for its answer. */
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
