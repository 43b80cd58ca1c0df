/**
 * When a certificate is ordered, and what becomes of it: at once where there is none, at two thirds of its life, or when the
 * authority says so (ARI); after failures, at growing intervals. Promises one order at a time, in this process and all others
 * that share the cache folder; that only a matching pair replaces the kept one; and that failures leave this file only through
 * the observer.
 */
import type { AcmeCache, Failures, KeptCertificate } from './acme-cache.ts'
import { type Authority, orderCertificate } from './acme-order.ts'
import { AcmeError } from './acme-words.ts'
import { coversName, type KeyType, makeKey, type Pair, readPair } from './certificate.ts'
import { type RenewalTime, renewalTime } from './renewal-info.ts'
import type { OrderOutcome, OrderStatus } from './status.ts'

export interface RenewerOptions {
  readonly authority: Authority
  readonly names: readonly string[]
  readonly keyType: KeyType
  /** The delay after the first failure; it triples after each further one. */
  readonly retryFirstMs: number
  readonly retryMsMax: number
  /** Keeps other processes from ordering into this folder in the meantime. Undefined: one of them is ordering. */
  readonly lock: (directory: string) => Promise<FolderLock | undefined>
}

export interface FolderLock {
  release(): Promise<void>
}

export interface RenewerObserver {
  /** Also at each retry. */
  orderBegins(names: readonly string[], directoryUrl: string): void
  orderFailed(words: string, nextAtMs: number): void
}

const lifeShare = 2 / 3
/** As a share of its life, so that certificates made at the same time are renewed at different times. */
const jitterShare = 0.03
const retryFactor = 3
/** An existing certificate is retried at least ten times before it expires. */
const triesWhileValid = 10
/** A restart counts as a retry: an operator who has fixed something does not want to wait. But not every second. */
const startPauseMsMax = 2 * 60_000
const lockPauseMs = 30_000
const renewalInfoMsMin = 60_000
const renewalInfoMs = 6 * 3_600_000

/** When another one should be ordered, judging by the certificate itself. 0: at once. */
export function dueAtMs(kept: KeptCertificate | undefined, { authority, names }: RenewerOptions): number {
  if (kept === undefined || kept.directoryUrl !== authority.directoryUrl) return 0
  if (!names.every((name) => coversName(kept, name))) return 0
  const lifeMs = kept.notAfterMs - kept.notBeforeMs
  return kept.notBeforeMs + lifeMs * (lifeShare - jitterShare * chanceOf(kept))
}

export class Renewer {
  readonly #cache: AcmeCache
  readonly #options: RenewerOptions
  readonly #observer: RenewerObserver
  readonly #startedAtMs = Date.now()
  readonly #stopping = new AbortController()
  #running: Promise<OrderOutcome | undefined> | undefined
  #pausedUntilMs = 0
  /** About the folder; nothing can be kept there in the meantime. */
  #trouble: { readonly words: string; readonly atMs: number } | undefined
  /** What the authority said about a certificate, and when to ask again. */
  #info:
    | { readonly fingerprint: string; readonly told: RenewalTime | undefined; readonly askAgainMs: number }
    | undefined

  constructor(cache: AcmeCache, options: RenewerOptions, observer: RenewerObserver) {
    this.#cache = cache
    this.#options = options
    this.#observer = observer
  }

  /** Checks whether an order is due. Resolves when nothing is in progress any more; true: there may be a new certificate. */
  async look(): Promise<boolean> {
    if (this.#running !== undefined || this.#stopping.signal.aborted) return false
    return (await this.#alone(() => this.#orderIfDue())) !== undefined
  }

  /** Orders now, due or not, unless the authority has asked to wait. Joins an order that is already in progress. */
  async renew(): Promise<OrderOutcome> {
    while (!this.#stopping.signal.aborted) {
      const outcome = await (this.#running ?? this.#alone(() => this.#orderNow()))
      if (outcome !== undefined) return outcome
    }
    return { kind: 'failed', words: 'The order was broken off.', nextAtMs: Date.now() }
  }

  /** The current state, from what is known: the authority is not asked. */
  async status(): Promise<OrderStatus> {
    const { authority, names } = this.#options
    const { directoryUrl } = authority
    try {
      const kept = await this.#cache.certificate()
      const failures = await this.#countingFailures()
      const dueAtMs = this.#dueAtMs(kept, this.#info?.fingerprint === kept?.fingerprint ? this.#info?.told : undefined)
      const nextAtMs = Math.max(this.#pausedUntilMs, this.#notBefore(failures, dueAtMs))
      const failure = failures && { words: failures.words, atMs: failures.lastAtMs, count: failures.count }
      const trouble = this.#trouble && { ...this.#trouble, count: (failure?.count ?? 0) + 1 }
      return { directoryUrl, names, dueAtMs, nextAtMs, failure: trouble ?? failure }
    } catch (error) {
      const failure = { words: this.#folderWords(error), atMs: Date.now(), count: 1 }
      return { directoryUrl, names, dueAtMs: 0, nextAtMs: Math.max(this.#pausedUntilMs, Date.now()), failure }
    }
  }

  /** Aborts what is in progress. */
  async close(): Promise<void> {
    this.#stopping.abort()
    await this.#running
  }

  /** Undefined: there was nothing to do, or it was aborted. */
  async #alone(work: () => Promise<OrderOutcome | undefined>): Promise<OrderOutcome | undefined> {
    this.#running = work()
      // About the folder: reported, and retried.
      .catch((error: unknown) => this.#paused(error))
      .finally(() => {
        this.#running = undefined
      })
    return await this.#running
  }

  async #orderIfDue(): Promise<OrderOutcome | undefined> {
    const nowMs = Date.now()
    if (nowMs < this.#pausedUntilMs) return undefined
    if (nowMs < (await this.#nextAtMs())) return undefined
    const outcome = await this.#locked(async () => {
      // The previous holder may have ordered already, or failed.
      if (Date.now() < (await this.#nextAtMs())) return { kind: 'ordered' }
      return await this.#order()
    })
    if (outcome?.kind !== 'elsewhere') return outcome
    // Its certificate is found in the folder.
    this.#pausedUntilMs = nowMs + Math.min(lockPauseMs, this.#options.retryFirstMs)
    return undefined
  }

  async #orderNow(): Promise<OrderOutcome | undefined> {
    const failures = await this.#countingFailures()
    if (failures?.isAsked && Date.now() < failures.nextAtMs)
      return { kind: 'asked-to-wait', words: failures.words, untilMs: failures.nextAtMs }
    return await this.#locked(() => this.#order())
  }

  async #locked(work: () => Promise<OrderOutcome | undefined>): Promise<OrderOutcome | undefined> {
    await this.#cache.prepare()
    const lock = await this.#options.lock(this.#cache.directory)
    if (lock === undefined) return { kind: 'elsewhere' }
    this.#trouble = undefined
    try {
      return await work()
    } finally {
      await lock.release()
    }
  }

  #paused(error: unknown): OrderOutcome | undefined {
    if (this.#stopping.signal.aborted) return undefined
    const words = this.#folderWords(error)
    const nowMs = Date.now()
    this.#pausedUntilMs = nowMs + this.#options.retryFirstMs
    this.#trouble = { words, atMs: nowMs }
    this.#observer.orderFailed(words, this.#pausedUntilMs)
    return { kind: 'failed', words, nextAtMs: this.#pausedUntilMs }
  }

  #folderWords(error: unknown): string {
    const reason = error instanceof Error ? error.message : String(error)
    return `The folder ${this.#cache.directory} cannot be used (${reason}). Give it to the user that runs the server, or name another one by server.ssl.cacheDir.`
  }

  /** When the next order is due. */
  async #nextAtMs(): Promise<number> {
    const kept = await this.#cache.certificate()
    return this.#notBefore(await this.#countingFailures(), this.#dueAtMs(kept, kept && (await this.#told(kept))))
  }

  #dueAtMs(kept: KeptCertificate | undefined, told: RenewalTime | undefined): number {
    const own = dueAtMs(kept, this.#options)
    return own === 0 ? own : Math.min(own, told?.atMs ?? own)
  }

  #notBefore(failures: Failures | undefined, due: number): number {
    if (failures === undefined) return due
    const { lastAtMs, nextAtMs, isAsked } = failures
    const isOfThisStart = lastAtMs >= this.#startedAtMs
    const sooner = isAsked || isOfThisStart ? nextAtMs : Math.min(nextAtMs, lastAtMs + startPauseMsMax)
    // A clock that was set back must not make it wait for years.
    return Math.max(due, Math.min(sooner, Date.now() + this.#options.retryMsMax))
  }

  async #countingFailures(): Promise<Failures | undefined> {
    const failures = await this.#cache.failures()
    const { authority, names } = this.#options
    const isSame = failures?.directoryUrl === authority.directoryUrl && String(failures.names) === String(names)
    return isSame ? failures : undefined
  }

  /** What the authority says about the renewal, if anything. */
  async #told(kept: KeptCertificate): Promise<RenewalTime | undefined> {
    const { fingerprint, directoryUrl } = kept
    const { authority } = this.#options
    if (directoryUrl !== authority.directoryUrl) return undefined
    const nowMs = Date.now()
    if (this.#info?.fingerprint !== fingerprint || nowMs >= this.#info.askAgainMs) {
      // Failing to ask is not a failure: there is time, and the certificate's own life decides.
      const told = await renewalTime(authority, kept, chanceOf(kept), this.#stopping.signal).catch(() => undefined)
      const waitMs = Math.max(renewalInfoMsMin, Math.min(told?.retryAfterMs ?? renewalInfoMs, renewalInfoMs))
      this.#info = { fingerprint, told, askAgainMs: nowMs + waitMs }
    }
    return this.#info.told
  }

  /** Undefined where it was aborted. */
  async #order(): Promise<OrderOutcome | undefined> {
    const { authority, names, keyType } = this.#options
    const { directoryUrl } = authority
    const cache = this.#cache
    await cache.tidy()
    const accountKey = await cache.accountKey(directoryUrl, () => makeKey('P-256'))
    const replaces = await this.#replaced()
    this.#observer.orderBegins(names, directoryUrl)
    try {
      const wanted = { names, keyType, replaces }
      const pair = await orderCertificate(authority, wanted, accountKey, cache, this.#stopping.signal)
      requireFitting(pair, names)
      await cache.keepCertificate(directoryUrl, pair)
      return { kind: 'ordered' }
    } catch (error) {
      if (this.#stopping.signal.aborted) return undefined
      if (!(error instanceof AcmeError)) throw error
      return await this.#failed(error)
    }
  }

  /** The id of the kept certificate, if the authority tracks replacements and the new one shares a name with it. */
  async #replaced(): Promise<string | undefined> {
    const kept = await this.#cache.certificate()
    if (kept === undefined || !this.#options.names.some((name) => coversName(kept, name))) return undefined
    return (await this.#told(kept))?.id
  }

  async #failed({ message, retryAfterMs = 0 }: AcmeError): Promise<OrderOutcome> {
    const { authority, names, retryFirstMs, retryMsMax } = this.#options
    const count = ((await this.#countingFailures())?.count ?? 0) + 1
    const nowMs = Date.now()
    const kept = await this.#cache.certificate()
    const leftMs = (kept?.notAfterMs ?? 0) - nowMs
    const longestMs = leftMs > 0 ? Math.max(retryFirstMs, Math.min(retryMsMax, leftMs / triesWhileValid)) : retryMsMax
    const backoffMs = Math.min(retryFirstMs * retryFactor ** (count - 1), longestMs) * (1 - 0.2 * Math.random())
    const nextAtMs = nowMs + Math.max(backoffMs, Math.min(retryAfterMs, retryMsMax))
    await this.#cache.keepFailures({
      directoryUrl: authority.directoryUrl,
      names,
      count,
      lastAtMs: nowMs,
      nextAtMs,
      isAsked: retryAfterMs > backoffMs,
      words: message,
    })
    this.#observer.orderFailed(message, nextAtMs)
    return { kind: 'failed', words: message, nextAtMs }
  }
}

/** The authority's response is trusted no more than a file. */
function requireFitting(pair: Pair, names: readonly string[]): void {
  try {
    const certificate = readPair(pair, 'the answer')
    const missing = names.filter((name) => !coversName(certificate, name))
    const nowMs = Date.now()
    if (missing.length === 0 && nowMs < certificate.notAfterMs) return
    if (missing.length === 0)
      throw new AcmeError(
        `The authority has sent a certificate that ended at ${new Date(certificate.notAfterMs).toISOString()}. See whether the clock of this machine is right.`,
      )
  } catch (error) {
    if (error instanceof AcmeError) throw error
  }
  throw new AcmeError(
    'The authority has sent a certificate that does not fit what was ordered. Tell it, or take another one.',
  )
}

/** From 0 to 1, always the same for the same certificate. */
function chanceOf({ fingerprint }: KeptCertificate): number {
  return Number.parseInt(fingerprint.replaceAll(':', '').slice(0, 8), 16) / 0xffffffff
}
