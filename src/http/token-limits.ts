// What one token may do at a time: how many streams it has open, and how many events it publishes per second. Both are off
// unless configured, since all subscribers of a topic may share one token. Promises to use memory only for tokens that have a
// stream open or have published recently. Knows tokens by their SHA-256.
import { hashKey } from '../domain/token.ts'
import { httpError } from './errors.ts'

export interface TokenLimitOptions {
  readonly streamsPerTokenMax: number | undefined
  readonly eventsPerSecondPerTokenMax: number | undefined
}

/** How fast one token may publish. */
export interface PublishRate {
  /** 0: it may publish now, lists of any length included, whose time has to be waited for afterwards. */
  waitMs(): number
  /** Throws a 429 where it has to wait. */
  assertMayPublish(): void
  /** This many events are being published. */
  publishing(events: number): void
}

const unlimited: PublishRate = { waitMs: () => 0, assertMayPublish() {}, publishing() {} }
const secondMs = 1000
/** How many entries accumulate before stale ones are swept out. */
const sweepAtLeast = 1000

export class TokenLimits {
  readonly #monotonicMs: () => number
  readonly #streamsMax: number
  readonly #eventsPerSecondMax: number
  readonly #streams = new Map<string, number>()
  /** When everything that a token has published would have been published at its maximum rate. */
  readonly #paidAtMs = new Map<string, number>()
  #sweepAt = sweepAtLeast

  constructor(monotonicMs: () => number, options: TokenLimitOptions) {
    this.#monotonicMs = monotonicMs
    this.#streamsMax = options.streamsPerTokenMax ?? Number.POSITIVE_INFINITY
    this.#eventsPerSecondMax = options.eventsPerSecondPerTokenMax ?? Number.POSITIVE_INFINITY
  }

  /** How many tokens something is remembered about. */
  get size(): number {
    return this.#streams.size + this.#paidAtMs.size
  }

  /** A stream opened by these tokens begins; call the result at its end; only the first call counts. Throws a 429. */
  enterStream(tokens: readonly Uint8Array[]): () => void {
    if (this.#streamsMax === Number.POSITIVE_INFINITY) return nothing
    const keys = [...new Set(tokens.map(hashKey))]
    if (keys.some((key) => (this.#streams.get(key) ?? 0) >= this.#streamsMax)) {
      const words = `This token has ${this.#streamsMax} streams open already. Close one, or try again later.`
      throw httpError(429, words, { limit: 'limits.streamsPerTokenMax' }, { 'retry-after': '1' })
    }
    for (const key of keys) this.#streams.set(key, (this.#streams.get(key) ?? 0) + 1)
    let hasLeft = false
    return () => {
      if (!hasLeft) for (const key of keys) this.#leaveStream(key)
      hasLeft = true
    }
  }

  /** The rate at which this token may publish. */
  rateOf(token: Uint8Array): PublishRate {
    if (this.#eventsPerSecondMax === Number.POSITIVE_INFINITY) return unlimited
    const key = hashKey(token)
    const waitMs = () => this.#publishWaitMs(key)
    return {
      waitMs,
      assertMayPublish: () => this.#assertMayPublish(waitMs()),
      publishing: (events) => this.#publishing(key, events),
    }
  }

  #publishWaitMs(key: string): number {
    const aheadMs = (this.#paidAtMs.get(key) ?? 0) - this.#monotonicMs()
    // A burst of a second's worth is allowed.
    return aheadMs < secondMs ? 0 : Math.max(1, aheadMs - secondMs)
  }

  #assertMayPublish(waitMs: number): void {
    if (waitMs === 0) return
    const words = `This token may publish ${this.#eventsPerSecondMax} events a second. Publish more slowly.`
    const headers = { 'retry-after': String(Math.ceil(waitMs / secondMs)) }
    throw httpError(429, words, { limit: 'limits.eventsPerSecondPerTokenMax' }, headers)
  }

  #publishing(key: string, events: number): void {
    const nowMs = this.#monotonicMs()
    const paidAtMs = Math.max(this.#paidAtMs.get(key) ?? 0, nowMs)
    this.#paidAtMs.set(key, paidAtMs + (events * secondMs) / this.#eventsPerSecondMax)
    if (this.#paidAtMs.size >= this.#sweepAt) this.#sweep(nowMs)
  }

  #leaveStream(key: string): void {
    const left = (this.#streams.get(key) ?? 1) - 1
    if (left === 0) this.#streams.delete(key)
    else this.#streams.set(key, left)
  }

  #sweep(nowMs: number): void {
    for (const [key, paidAtMs] of this.#paidAtMs) if (paidAtMs <= nowMs) this.#paidAtMs.delete(key)
    this.#sweepAt = Math.max(sweepAtLeast, 2 * this.#paidAtMs.size)
  }
}

function nothing(): void {}
