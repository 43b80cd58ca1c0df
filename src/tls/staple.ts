/**
 * The OCSP response that is stapled to a certificate that requires one (must-staple, RFC 7633): fetched from the responder named
 * in the certificate, fetched again halfway through its life, and kept in the cache folder for the next start. Promises that what
 * it provides is fresh and good, and that failures leave this file only through the observer and `doubt`.
 */
import { X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import type { Certificate } from './certificate.ts'
import { exchange } from './exchange.ts'
import { type Assurance, encodeRequest, OcspError, readResponse, type Subject, subjectOf } from './ocsp.ts'
import { preparePrivateDirectory, readPrivateFile, writePrivateFile } from './private-file.ts'

/** Called in the middle of the work: must be quick, and never throw. */
export interface StapleObserver {
  /** A response is stapled from now on: the first one, or a replacement. */
  stapled(untilMs: number): void
  /** None could be obtained. `untilMs`: how long the present one remains valid; undefined: there is none. */
  stapleFailed(words: string, nextAtMs: number, untilMs: number | undefined): void
}

const KEPT_FILE = 'ocsp-response.base64'
/** Clients refuse such a certificate without a response: how long its use waits for the first one. */
const FIRST_WAIT_MS = 5000
const RETRY_MS_MIN = 60_000
const RETRY_MS_MAX = 3_600_000

/** Asks the responder once. Rejects with an OcspError, or with the signal's reason. */
export async function askResponder(subject: Subject, signal: AbortSignal): Promise<Assurance> {
  const { responderUrl } = subject
  const headers = { 'content-type': 'application/ocsp-request', accept: 'application/ocsp-response' }
  const asking = { url: responderUrl, method: 'POST', headers, body: encodeRequest(subject) }
  const { status, body } = await exchange(asking, undefined, signal).catch((error: unknown) => {
    signal.throwIfAborted()
    const { code, name, message } = error as Error & { readonly code?: string }
    const reason = name === 'TimeoutError' ? 'no answer in time' : (code ?? message)
    throw new OcspError(
      `The responder ${responderUrl} could not be asked (${reason}): let this machine ask there.`,
      error,
    )
  })
  if (status !== 200) throw new OcspError(`The responder ${responderUrl} answered with status ${status}.`)
  return readResponse(body, subject, Date.now())
}

export class Staple {
  readonly #certificate: Certificate
  readonly #leaf: Buffer
  readonly #keptPath: string
  readonly #cacheDir: string
  readonly #observer: StapleObserver
  readonly #stopping = new AbortController()
  #assurance: Assurance | undefined
  #failure: { readonly words: string; readonly count: number } | undefined
  /** No request before this. */
  #nextAtMs = 0
  #running: Promise<void> | undefined

  constructor(certificate: Certificate, cacheDir: string, observer: StapleObserver) {
    this.#certificate = certificate
    this.#leaf = new X509Certificate(certificate.certificate).raw
    this.#cacheDir = cacheDir
    this.#keptPath = join(cacheDir, KEPT_FILE)
    this.#observer = observer
  }

  /** In DER; undefined while there is no valid one. `leaf`, in DER: the certificate in the handshake, possibly the previous one. */
  responseFor(leaf: Buffer): Buffer | undefined {
    return this.#leaf.equals(leaf) ? this.#fresh?.response : undefined
  }

  /** Until when the response is valid. */
  get untilMs(): number | undefined {
    return this.#fresh?.untilMs
  }

  /** Why clients will refuse the certificate, in words. */
  get doubt(): string | undefined {
    if (this.#fresh !== undefined) return undefined
    const reason = this.#failure === undefined ? '' : ` ${this.#failure.words}`
    return `The certificate asks for OCSP stapling (must-staple), and there is no response to staple: browsers that insist on it refuse it.${reason}`
  }

  /** Resolves as soon as there is a response; without one, after a few seconds, or once none is to be expected soon. */
  async ready(): Promise<void> {
    await this.#readKept()
    if (this.#fresh !== undefined) return
    const waited = new AbortController()
    await Promise.race([this.look(), setTimeout(FIRST_WAIT_MS, undefined, { signal: waited.signal })])
    waited.abort()
  }

  /** Asks the responder if it is time. */
  look(): Promise<void> {
    if (Date.now() < this.#nextAtMs || this.#stopping.signal.aborted) return Promise.resolve()
    this.#running ??= this.#ask().finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  /** Aborts what is in progress. */
  async close(): Promise<void> {
    this.#stopping.abort()
    await this.#running
  }

  get #fresh(): Assurance | undefined {
    return this.#assurance !== undefined && Date.now() < this.#assurance.untilMs ? this.#assurance : undefined
  }

  async #ask(): Promise<void> {
    try {
      const subject = subjectOf(this.#certificate.certificate)
      this.#take(await askResponder(subject, this.#stopping.signal))
      await this.#keep()
    } catch (error) {
      if (!this.#stopping.signal.aborted) this.#failed(error)
    }
  }

  #take(assurance: Assurance): void {
    const { fromMs, untilMs } = assurance
    this.#assurance = assurance
    this.#failure = undefined
    this.#nextAtMs = Math.max(Date.now() + RETRY_MS_MIN, fromMs + (untilMs - fromMs) / 2)
    this.#observer.stapled(untilMs)
  }

  #failed(error: unknown): void {
    const words = error instanceof Error ? error.message : String(error)
    const count = (this.#failure?.count ?? 0) + 1
    this.#failure = { words, count }
    this.#nextAtMs = Date.now() + Math.min(RETRY_MS_MIN * 2 ** (count - 1), RETRY_MS_MAX)
    this.#observer.stapleFailed(words, this.#nextAtMs, this.#fresh?.untilMs)
  }

  /** Takes over what an earlier start, or another server that shares the folder, has left. */
  async #readKept(): Promise<void> {
    try {
      const text = await readPrivateFile(this.#keptPath)
      if (text === undefined) return
      this.#take(readResponse(Buffer.from(text, 'base64'), subjectOf(this.#certificate.certificate), Date.now()))
    } catch {
      // For another certificate, too old, or damaged: the responder is asked next, and whatever is wrong shows then.
    }
  }

  async #keep(): Promise<void> {
    try {
      await preparePrivateDirectory(this.#cacheDir)
      await writePrivateFile(this.#keptPath, this.#assurance!.response.toString('base64'))
    } catch {
      // It costs the next start only one request; problems with the folder are reported by whatever depends on it.
    }
  }
}
