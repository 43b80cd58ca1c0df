// Slows down clients that guess tokens. After a few wrong ones an address has to wait, longer after each further one; in the
// meantime tokens not known from it are not even checked. Tokens that were right from there before keep working: one
// misconfigured machine does not lock out its neighbours. Promises bounded memory, whatever is sent. Knows tokens only by
// their SHA-256, and nothing of HTTP.
import { hashKey } from '../domain/token.ts'

export interface ThrottleOptions {
  /** How many wrong tokens of one client are answered without a wait. */
  readonly wrongTokensMax: number
  /** The wait doubles up to this. */
  readonly wrongTokenWaitMsMax: number
  /** How many clients with wrong tokens are remembered, and how many pairs of a client and a token that was right. */
  readonly throttledClientsMax: number
}

interface Guesses {
  wrong: number
  lastMs: number
  blockedUntilMs: number
}

const firstWaitMs = 1000
/** A client without wrong tokens for this long, on top of its wait, starts afresh. */
const forgetMs = 15 * 60 * 1000

export class TokenThrottle {
  readonly #monotonicMs: () => number
  readonly #options: ThrottleOptions
  readonly #onThrottled: (client: string, wrong: number) => void
  /** By client, in the order of their latest wrong tokens. */
  readonly #guesses = new Map<string, Guesses>()
  /** Client and SHA-256, in the order of their latest use. */
  readonly #known = new Set<string>()

  /** `onThrottled` is called when a client has to wait for the first time, or for the first time since it was forgotten. */
  constructor(
    monotonicMs: () => number,
    options: ThrottleOptions,
    onThrottled: (client: string, wrong: number) => void,
  ) {
    this.#monotonicMs = monotonicMs
    this.#options = options
    this.#onThrottled = onThrottled
  }

  /** 0: the token may be checked now. */
  waitMs(client: string, sha256: Uint8Array): number {
    const guesses = this.#guesses.get(client)
    if (guesses === undefined) return 0
    const waitMs = guesses.blockedUntilMs - this.#monotonicMs()
    return waitMs <= 0 || this.#known.has(pairOf(client, sha256)) ? 0 : waitMs
  }

  right(client: string, sha256: Uint8Array): void {
    const pair = pairOf(client, sha256)
    this.#known.delete(pair)
    this.#known.add(pair)
    this.#bound(this.#known)
  }

  /** A token that was right from there before, such as one since revoked, is not a guess and does not count. */
  wrong(client: string, sha256: Uint8Array): void {
    if (this.#known.has(pairOf(client, sha256))) return
    const nowMs = this.#monotonicMs()
    const guesses = this.#guessesOf(client, nowMs)
    guesses.wrong += 1
    guesses.lastMs = nowMs
    const excess = guesses.wrong - this.#options.wrongTokensMax
    if (excess >= 0) guesses.blockedUntilMs = nowMs + this.#nextWaitMs(excess)
    if (excess === 0) this.#onThrottled(client, guesses.wrong)
    this.#guesses.delete(client)
    this.#guesses.set(client, guesses)
    this.#bound(this.#guesses)
  }

  #guessesOf(client: string, nowMs: number): Guesses {
    const known = this.#guesses.get(client)
    const isFresh = known !== undefined && nowMs - Math.max(known.lastMs, known.blockedUntilMs) < forgetMs
    return isFresh ? known : { wrong: 0, lastMs: nowMs, blockedUntilMs: 0 }
  }

  #nextWaitMs(excess: number): number {
    return Math.min(firstWaitMs * 2 ** excess, this.#options.wrongTokenWaitMsMax)
  }

  /** Drops the least recently used entry. */
  #bound(entries: Map<string, Guesses> | Set<string>): void {
    if (entries.size <= this.#options.throttledClientsMax) return
    for (const key of entries.keys()) {
      entries.delete(key)
      return
    }
  }
}

function pairOf(client: string, sha256: Uint8Array): string {
  return client + hashKey(sha256)
}
