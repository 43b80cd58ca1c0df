/**
 * The certificate that the server uses: from two files, which are watched; ordered from an authority and renewed; or made and kept
 * by the server itself, also as an interim until the first order succeeds. Promises that there is one from `open` on, that an
 * unusable one never replaces a usable one, and that no failure after the start ends anything. Knows nothing of sockets: their
 * owner reads `current`, and is told when it changes.
 */
import { constants } from 'node:fs'
import { access, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { AcmeCache } from './acme-cache.ts'
import { type Certificate, coversName, makeSelfSigned, readPair, TlsError } from './certificate.ts'
import { doubtsOf } from './doubts.ts'
import { asksForStapling } from './extensions.ts'
import { preparePrivateDirectory, readPrivateFile, writePrivateFile } from './private-file.ts'
import { Renewer, type RenewerObserver, type RenewerOptions } from './renewer.ts'
import { Staple, type StapleObserver } from './staple.ts'
import type { CertificateSource, CertificateStatus, OrderOutcome, TlsStatus } from './status.ts'

export type { Authority } from './acme-order.ts'
export type { Certificate } from './certificate.ts'

export interface TlsOptions {
  /** The names to be valid for; the first one is the main name. May be empty. */
  readonly domainNames: readonly string[]
  /** Both or neither. */
  readonly certFile: string | undefined
  readonly keyFile: string | undefined
  /** Where the server keeps the certificates that it makes or orders. Created where it is missing. */
  readonly cacheDir: string
  /** How often to check whether the files have changed, and whether a certificate is about to expire. */
  readonly checkIntervalMs: number
  /** If given, certificates for `domainNames` are ordered, unless there are files. */
  readonly acme: Omit<RenewerOptions, 'names'> | undefined
}

/** Reports to the operator. Called in the middle of the work: must be quick, and never throw. */
export interface TlsObserver extends RenewerObserver, StapleObserver {
  /** A certificate is in use from now on: at the start, and after every change. */
  certificateUsed(source: CertificateSource, certificate: Certificate, isInterim: boolean): void
  /** The certificate in use, or about to be, is expired, not valid yet, or not for a name. Reported once each. */
  certificateDoubtful(words: string): void
  /** The content of the files is unusable; the previous certificate stays. Reported once per failure. */
  certificateRefused(words: string): void
}

export interface Tls {
  /** Of `current`. */
  readonly source: CertificateSource
  /** Another one is being ordered, and this one is used until then. */
  readonly isInterim: boolean
  /** The file of the certificate that the server made for itself; undefined where it uses another. */
  readonly selfSignedFile: string | undefined
  readonly current: Certificate
  /** For `current`; undefined: it does not require a response. */
  readonly staple: Staple | undefined
  /** Why clients will refuse `current`, and what is wrong with its intended replacement, in sentences. */
  readonly doubts: readonly string[]
  /** The answer to an authority that looks for a proof of this token, on the port without TLS. */
  proofFor(token: string): Promise<string | undefined>
  /** One listener, called after `current` has changed. */
  onChange(listener: () => void): void
  /** Checks at once for something new; also done periodically. */
  check(): Promise<void>
  status(): Promise<TlsStatus>
  /** Orders now, and uses the result; undefined where certificates are not ordered. */
  renew(): Promise<OrderOutcome | undefined>
  /** Aborts an order that is in progress. */
  close(): Promise<void>
}

/** In addition to the configured names, so that clients on this machine can connect as well. */
const LOCAL_NAMES = ['localhost', '127.0.0.1', '::1']
const SELF_SIGNED_FILE = 'self-signed.pem'
const KEY_BLOCK = /-----BEGIN PRIVATE KEY-----[\s\S]+?-----END PRIVATE KEY-----\n?/

function selfSignedIn(directory: string): string {
  return join(directory, SELF_SIGNED_FILE)
}

/** Rejects with a TlsError, in words for the operator, where the start should fail: there is nothing to use. */
export async function openTls(options: TlsOptions, observer: TlsObserver): Promise<Tls> {
  const { load, cache, renewer } = keeperOf(options, observer)
  let staple: Staple | undefined
  let shown = await stapled(await load())
  let onChange: (() => void) | undefined
  let refusedWords: string | undefined
  const toldDoubts = new Set<string>()
  let running: Promise<void> | undefined
  let isClosed = false
  use(shown)

  /** Clients refuse one that requires a response without it: it is used together with its response, if that arrives soon. */
  async function stapled(next: Shown): Promise<Shown> {
    if (!asksForStapling(next.certificate)) return next
    staple = new Staple(next.certificate, options.cacheDir, observer)
    await staple.ready()
    return { ...next, staple }
  }

  function use(next: Shown): void {
    if (shown !== next) void shown.staple?.close()
    shown = next
    observer.certificateUsed(next.source, next.certificate, next.isInterim)
    toldDoubts.clear()
    tellDoubts()
    onChange?.()
  }

  /** On every check: a certificate expires without anybody doing anything. */
  function tellDoubts(): void {
    for (const words of shownDoubts(shown, options)) {
      if (!toldDoubts.has(words)) observer.certificateDoubtful(words)
      toldDoubts.add(words)
    }
  }

  async function look(): Promise<void> {
    try {
      const next = await load()
      const { certificate, key } = shown.certificate
      if (next.certificate.certificate !== certificate || next.certificate.key !== key) use(await stapled(next))
      else shown = { ...shown, doubt: next.doubt }
      refusedWords = undefined
    } catch (error) {
      const words = error instanceof Error ? error.message : String(error)
      if (words !== refusedWords) observer.certificateRefused(words)
      refusedWords = words
    }
    tellDoubts()
  }

  function check(): Promise<void> {
    running ??= look().finally(() => {
      running = undefined
    })
    return running
  }

  /** An order takes time; the content of the folder is checked in the meantime. */
  async function renew(): Promise<void> {
    if ((await renewer?.look()) && !isClosed) await check()
  }

  /** In parallel: a responder takes time, too. */
  async function refreshStaple(): Promise<void> {
    await shown.staple?.look()
    if (!isClosed) tellDoubts()
  }

  function tick(): void {
    void check()
    void renew()
    void refreshStaple()
  }

  const timer = setInterval(tick, options.checkIntervalMs).unref()
  void renew()
  return {
    get source() {
      return shown.source
    },
    get isInterim() {
      return shown.isInterim
    },
    get selfSignedFile() {
      return shown.source === 'self-signed' ? selfSignedIn(options.cacheDir) : undefined
    },
    get current() {
      return shown.certificate
    },
    get staple() {
      return shown.staple
    },
    get doubts() {
      const doubts = shownDoubts(shown, options)
      return refusedWords === undefined ? doubts : [...doubts, refusedWords]
    },
    async proofFor(token) {
      return await cache?.proofFor(token)
    },
    onChange(listener) {
      onChange = listener
    },
    check,
    async status() {
      return { certificate: statusOf(shown, options), order: await renewer?.status() }
    },
    async renew() {
      const outcome = await renewer?.renew()
      if (outcome?.kind === 'ordered' && !isClosed) await check()
      return outcome
    },
    async close() {
      isClosed = true
      clearInterval(timer)
      await Promise.all([renewer?.close(), staple?.close(), shown.staple?.close()])
      await running
    },
  }
}

/** What a start would find. Makes nothing, and contacts nobody. Rejects with a TlsError. */
export async function readTlsStatus(options: TlsOptions): Promise<TlsStatus> {
  const { find, renewer } = keeperOf(options, { orderBegins: () => undefined, orderFailed: () => undefined })
  const found = await find()
  return { certificate: found && statusOf(found, options), order: await renewer?.status() }
}

/** The file of `server.ssl.acme.trustedFile`. */
export async function readTrusted(path: string): Promise<string> {
  const text = await readGiven(path)
  if (text.includes('-----BEGIN CERTIFICATE-----')) return text
  throw new TlsError(
    `There is no certificate in ${path}, which server.ssl.acme.trustedFile names. It has to be text in PEM.`,
  )
}

interface Shown {
  readonly source: CertificateSource
  readonly certificate: Certificate
  readonly isInterim: boolean
  readonly files: readonly string[]
  readonly staple?: Staple
  /** Why no better one could be made, in words. */
  readonly doubt?: string | undefined
}

function shownDoubts({ certificate, staple, doubt }: Shown, { domainNames }: TlsOptions): string[] {
  const others = [staple?.doubt, doubt].filter((words) => words !== undefined)
  return [...doubtsOf(certificate, domainNames, Date.now()), ...others]
}

function statusOf(shown: Shown, options: TlsOptions): CertificateStatus {
  const { source, isInterim, files, certificate, staple } = shown
  const { names, issuer, notBeforeMs, notAfterMs, fingerprint } = certificate
  const doubts = shownDoubts(shown, options)
  const stapling = { mustStaple: asksForStapling(certificate), stapledUntilMs: staple?.untilMs }
  return { source, isInterim, files, names, issuer, notBeforeMs, notAfterMs, fingerprint, ...stapling, doubts }
}

/** The sources of certificates. Both methods reject with a TlsError. */
interface Keeper {
  /** The one to use now. */
  readonly load: () => Promise<Shown>
  /** The existing one, for callers that must not change anything. */
  readonly find: () => Promise<Shown | undefined>
  readonly cache?: AcmeCache
  readonly renewer?: Renewer
}

function keeperOf({ certFile, keyFile, domainNames, cacheDir, acme }: TlsOptions, observer: RenewerObserver): Keeper {
  if (certFile !== undefined && keyFile !== undefined) {
    const load = async (): Promise<Shown> => ({
      source: 'files',
      certificate: await loadFiles(certFile, keyFile),
      isInterim: false,
      files: [certFile, keyFile],
    })
    return { load, find: load }
  }
  const names = [...new Set([...domainNames, ...LOCAL_NAMES])]
  const cache = acme && new AcmeCache(cacheDir)
  const ordered = async (): Promise<Shown | undefined> => {
    const kept = await readKept(cache)
    if (cache === undefined || kept === undefined || !domainNames.some((name) => coversName(kept, name)))
      return undefined
    return { source: 'acme', certificate: kept, isInterim: false, files: [cache.certificatePath] }
  }
  const selfSigned = { source: 'self-signed', isInterim: acme !== undefined, files: [selfSignedIn(cacheDir)] } as const
  const load = async () => (await ordered()) ?? { ...selfSigned, ...(await loadSelfSigned(cacheDir, names)) }
  const find = async () => {
    const found = await ordered()
    if (found !== undefined) return found
    const certificate = await keptPair(selfSignedIn(cacheDir)).catch((error: unknown) => {
      throw cannotBeKept(cacheDir, error)
    })
    return certificate && { ...selfSigned, certificate }
  }
  if (acme === undefined || cache === undefined) return { load, find }
  return { load, find, cache, renewer: new Renewer(cache, { ...acme, names: domainNames }, observer) }
}

async function readKept(cache: AcmeCache | undefined): Promise<Certificate | undefined> {
  try {
    return await cache?.certificate()
  } catch (error) {
    const words = error instanceof Error ? error.message : String(error)
    throw new TlsError(
      `The certificate that was ordered cannot be read: ${words}. Give the folder to the user that runs the server, or name another one by server.ssl.cacheDir.`,
      error,
    )
  }
}

/** Read in full on each check, since whatever renews a certificate may rename, link or write in place. */
async function loadFiles(certFile: string, keyFile: string): Promise<Certificate> {
  const [certificate, key] = await Promise.all([readGiven(certFile), readGiven(keyFile)])
  return readPair({ certificate, key }, `${certFile} and ${keyFile}`)
}

async function readGiven(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
    throw new TlsError(
      `${path} cannot be read (${code}). It is named by server.ssl.certFile, server.ssl.keyFile or server.ssl.acme.trustedFile: put it there, readable for the user that runs the server.`,
      error,
    )
  }
}

/**
 * The kept one while it is valid and matches, so that a browser that was told to trust it need not be told again after each
 * start. Beyond that, too, with words, where it cannot be replaced: an unwritable folder must not end a server.
 */
async function loadSelfSigned(
  directory: string,
  names: readonly string[],
): Promise<Pick<Shown, 'certificate' | 'doubt'>> {
  const path = selfSignedIn(directory)
  let kept: Certificate | undefined
  try {
    kept = await keptPair(path)
    await preparePrivateDirectory(directory)
    if (kept !== undefined && isWorthKeeping(kept, names)) return { certificate: kept }
    // Checked before a new one is made, which would be repeated on each check.
    await access(directory, constants.W_OK)
    const made = await makeSelfSigned(names, Date.now())
    await writePrivateFile(path, made.key + made.certificate)
    return { certificate: readPair(made, path) }
  } catch (error) {
    const failure = cannotBeKept(directory, error)
    if (kept === undefined) throw failure
    return { certificate: kept, doubt: failure.message }
  }
}

function cannotBeKept(directory: string, error: unknown): TlsError {
  const words = error instanceof Error ? error.message : String(error)
  return new TlsError(
    `The self-signed certificate cannot be kept in ${directory}: ${words}. Give the folder to the user that runs the server, or name another one by server.ssl.cacheDir.`,
    error,
  )
}

/** An unparsable pair is replaced: nobody but this machine ever vouched for it. */
async function keptPair(path: string): Promise<Certificate | undefined> {
  const text = await readPrivateFile(path)
  if (text === undefined) return undefined
  const [key = ''] = KEY_BLOCK.exec(text) ?? []
  try {
    return readPair({ key, certificate: text.replace(KEY_BLOCK, '') }, path)
  } catch (error) {
    if (error instanceof TlsError) return undefined
    throw error
  }
}

/** More than a third of its life is left, and it is for all names. */
function isWorthKeeping(kept: Certificate, names: readonly string[]): boolean {
  const { notBeforeMs, notAfterMs } = kept
  const nowMs = Date.now()
  const isFresh = nowMs >= notBeforeMs && notAfterMs - nowMs > (notAfterMs - notBeforeMs) / 3
  return isFresh && names.every((name) => coversName(kept, name))
}
