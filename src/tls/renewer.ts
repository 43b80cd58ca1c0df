/**
 * When a certificate is ordered, and what becomes of it: at once where there is none, at two thirds of its life, or when the
 * authority says so (ARI); after a failure later and later. Promises one order at a time, in this process and in all that
 * share the cache folder, that nothing but a pair which fits takes the place of the kept one, and that no failure leaves
 * this file other than by the observer.
 */
import type { AcmeCache, Failures, KeptCertificate } from './acme-cache.ts'
import { type Authority, orderCertificate } from './acme-order.ts'
import { AcmeError } from './acme-words.ts'
import { coversName, type KeyType, makeKey, type Pair, readPair } from './certificate.ts'
import { renewalTime } from './renewal-info.ts'

export interface RenewerOptions {
  readonly authority: Authority
  readonly names: readonly string[]
  readonly keyType: KeyType
  /** Behind the first failure; behind each further one three times as long. */
  readonly retryFirstMs: number
  readonly retryMsMax: number
  /** Keeps other processes from ordering into this folder meanwhile. Rejects where one of them does. */
  readonly lock: (directory: string) => Promise<{ release(): Promise<void> }>
}

export interface RenewerObserver {
  /** Also at each further try. */
  orderBegins(names: readonly string[], directoryUrl: string): void
  orderFailed(words: string, nextAtMs: number): void
}

const lifeShare = 2 / 3
/** Of its life, by which certificates that were made at once are renewed at different times. */
const jitterShare = 0.03
const retryFactor = 3
/** A certificate that is there is tried for again ten times at least before it ends. */
const triesWhileValid = 10
/** A start is a try: an operator who has mended something does not want to wait. But not one a second. */
const startPauseMsMax = 2 * 60_000
const lockPauseMs = 30_000
const renewalInfoMsMin = 60_000
const renewalInfoMs = 6 * 3_600_000

/** From which moment on another one should be ordered, going by what it says itself. 0: at once. */
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
  #running: Promise<void> | undefined
  #pausedUntilMs = 0
  /** What the authority said of a certificate, and when it is to be asked again. */
  #info: { readonly fingerprint: string; readonly atMs: number | undefined; readonly askAgainMs: number } | undefined

  constructor(cache: AcmeCache, options: RenewerOptions, observer: RenewerObserver) {
    this.#cache = cache
    this.#options = options
    this.#observer = observer
  }

  /** Looks whether an order is due. Resolves when nothing is under way any more; true: there may be a new certificate. */
  async look(): Promise<boolean> {
    if (this.#running !== undefined || this.#stopping.signal.aborted) return false
    let hasOrdered = false
    this.#running = this.#work().then(
      (ordered) => {
        hasOrdered = ordered
      },
      // Of the folder: it is told, and tried again.
      (error: unknown) => this.#paused(error),
    )
    await this.#running
    this.#running = undefined
    return hasOrdered
  }

  /** Breaks off what is under way. */
  async close(): Promise<void> {
    this.#stopping.abort()
    await this.#running
  }

  async #work(): Promise<boolean> {
    const nowMs = Date.now()
    if (nowMs < this.#pausedUntilMs) return false
    if (nowMs < (await this.#nextAtMs())) return false
    let lock: { release(): Promise<void> }
    try {
      lock = await this.#options.lock(this.#cache.directory)
    } catch {
      // Whoever holds it orders, and its certificate is found in the folder.
      this.#pausedUntilMs = nowMs + Math.min(lockPauseMs, this.#options.retryFirstMs)
      return false
    }
    try {
      // The one before may have ordered already, or failed.
      if (Date.now() < (await this.#nextAtMs())) return true
      await this.#order()
      return true
    } finally {
      await lock.release()
    }
  }

  #paused(error: unknown): void {
    if (this.#stopping.signal.aborted) return
    this.#pausedUntilMs = Date.now() + this.#options.retryFirstMs
    const reason = error instanceof Error ? error.message : String(error)
    this.#observer.orderFailed(
      `The folder ${this.#cache.directory} cannot be used (${reason}). Give it to the user that runs the server, or name another one by server.ssl.cacheDir.`,
      this.#pausedUntilMs,
    )
  }

  /** When the next order is due. */
  async #nextAtMs(): Promise<number> {
    const kept = await this.#cache.certificate()
    const own = dueAtMs(kept, this.#options)
    const due = own === 0 || kept === undefined ? own : Math.min(own, (await this.#toldAtMs(kept)) ?? own)
    const failures = await this.#countingFailures()
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

  /** When the authority wants it renewed, if it says so. */
  async #toldAtMs(kept: KeptCertificate): Promise<number | undefined> {
    const { fingerprint } = kept
    const nowMs = Date.now()
    if (this.#info?.fingerprint !== fingerprint || nowMs >= this.#info.askAgainMs) {
      const { authority } = this.#options
      // That it cannot be asked is no failure: there is time, and the certificate's own life counts.
      const info = await renewalTime(authority, kept, chanceOf(kept), this.#stopping.signal).catch(() => undefined)
      const waitMs = Math.max(renewalInfoMsMin, Math.min(info?.retryAfterMs ?? renewalInfoMs, renewalInfoMs))
      this.#info = { fingerprint, atMs: info?.atMs, askAgainMs: nowMs + waitMs }
    }
    return this.#info.atMs
  }

  async #order(): Promise<void> {
    const { authority, names, keyType } = this.#options
    const { directoryUrl } = authority
    const cache = this.#cache
    await cache.prepare()
    await cache.tidy()
    const accountKey = await cache.accountKey(directoryUrl, () => makeKey('P-256'))
    this.#observer.orderBegins(names, directoryUrl)
    try {
      const wanted = { names, keyType }
      const pair = await orderCertificate(authority, wanted, accountKey, cache, this.#stopping.signal)
      requireFitting(pair, names)
      await cache.keepCertificate(directoryUrl, pair)
    } catch (error) {
      if (this.#stopping.signal.aborted) return
      if (!(error instanceof AcmeError)) throw error
      await this.#failed(error)
    }
  }

  async #failed({ message, retryAfterMs = 0 }: AcmeError): Promise<void> {
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
  }
}

/** An authority is believed no more than a file. */
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

/** From 0 to 1, the same for one certificate wherever it is asked. */
function chanceOf({ fingerprint }: KeptCertificate): number {
  return Number.parseInt(fingerprint.replaceAll(':', '').slice(0, 8), 16) / 0xffffffff
}
