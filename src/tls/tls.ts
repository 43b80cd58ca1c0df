/**
 * Which certificate the server shows: that of two files, watched, or one that it has made for itself and keeps. Promises
 * that there is one from the moment of `open` on, that one which cannot be used never takes the place of one that can, and that
 * no failure after the start ends anything. Knows nothing of sockets: whoever has them asks for `current`, and is told
 * when it changes.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Certificate, coversName, makeSelfSigned, readPair, TlsError } from './certificate.ts'
import { preparePrivateDirectory, readPrivateFile, writePrivateFile } from './private-file.ts'

export type { Certificate } from './certificate.ts'
export type CertificateSource = 'files' | 'self-signed'

export interface TlsOptions {
  /** What the certificate is to be for; the first one is the main name. May be empty. */
  readonly domainNames: readonly string[]
  /** Both or none. */
  readonly certFile: string | undefined
  readonly keyFile: string | undefined
  /** Where the server keeps what it makes. Made where it is missing. */
  readonly cacheDir: string
  /** How often is looked whether the files have changed, and whether the self-signed certificate ends soon. */
  readonly checkIntervalMs: number
}

/** What is told to the operator. Called in the middle of the work: to be quick, and never to throw. */
export interface TlsObserver {
  /** A certificate is shown from now on: at the start, and at every swap. */
  certificateUsed(source: CertificateSource, certificate: Certificate): void
  /** The certificate that is shown, or that is to be shown, is expired, not valid yet, or not for a name. Once for each. */
  certificateDoubtful(words: string): void
  /** What lies in the files now cannot be used; the certificate before it stays. Once for each failure. */
  certificateRefused(words: string): void
}

export interface Tls {
  readonly source: CertificateSource
  /** Where the certificate lies that the server has made for itself; undefined where it shows another. */
  readonly selfSignedFile: string | undefined
  readonly current: Certificate
  /** One listener, called after `current` has changed. */
  onChange(listener: () => void): void
  /** Looks at once whether there is something new; also done by itself. */
  check(): Promise<void>
  close(): Promise<void>
}

/** Beside the configured names, so that whoever sits at this machine can ask as well. */
const LOCAL_NAMES = ['localhost', '127.0.0.1', '::1']
const SELF_SIGNED_FILE = 'self-signed.pem'
const KEY_BLOCK = /-----BEGIN PRIVATE KEY-----[\s\S]+?-----END PRIVATE KEY-----\n?/

/** Rejects with a TlsError, in words for the operator, where the start should not go on. */
export async function openTls(options: TlsOptions, observer: TlsObserver): Promise<Tls> {
  const keeper = keeperOf(options)
  let current = await keeper.load()
  let onChange: (() => void) | undefined
  let refusedWords: string | undefined
  const toldDoubts = new Set<string>()
  let running: Promise<void> | undefined
  use(current)

  function use(certificate: Certificate): void {
    current = certificate
    observer.certificateUsed(keeper.source, certificate)
    toldDoubts.clear()
    tellDoubts()
    onChange?.()
  }

  /** Again at every look: a certificate expires while nobody does anything. */
  function tellDoubts(): void {
    for (const words of doubtsOf(current, options.domainNames)) {
      if (!toldDoubts.has(words)) observer.certificateDoubtful(words)
      toldDoubts.add(words)
    }
  }

  async function look(): Promise<void> {
    try {
      const next = await keeper.load()
      if (next.certificate !== current.certificate || next.key !== current.key) use(next)
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

  const timer = setInterval(check, options.checkIntervalMs).unref()
  return {
    source: keeper.source,
    selfSignedFile: keeper.source === 'self-signed' ? join(options.cacheDir, SELF_SIGNED_FILE) : undefined,
    get current() {
      return current
    },
    onChange(listener) {
      onChange = listener
    },
    check,
    async close() {
      clearInterval(timer)
      await running
    },
  }
}

/** Where certificates come from. `load` gives the one that should be shown now, or rejects with a TlsError. */
interface Keeper {
  readonly source: CertificateSource
  load(): Promise<Certificate>
}

function keeperOf({ certFile, keyFile, domainNames, cacheDir }: TlsOptions): Keeper {
  if (certFile !== undefined && keyFile !== undefined) {
    return { source: 'files', load: () => loadFiles(certFile, keyFile) }
  }
  const names = [...new Set([...domainNames, ...LOCAL_NAMES])]
  return { source: 'self-signed', load: () => loadSelfSigned(cacheDir, names) }
}

/** Read whole at each look, since what renews a certificate may rename, link or write in place. */
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
      `${path} cannot be read (${code}). It is named by server.ssl.certFile or server.ssl.keyFile: put it there, readable for the user that runs the server.`,
      error,
    )
  }
}

/** The kept one while it lasts and fits; so that whoever has told a browser to trust it need not do so at each start. */
async function loadSelfSigned(directory: string, names: readonly string[]): Promise<Certificate> {
  const path = join(directory, SELF_SIGNED_FILE)
  try {
    await preparePrivateDirectory(directory)
    const kept = await keptPair(path)
    if (kept !== undefined && isWorthKeeping(kept, names)) return kept
    const made = await makeSelfSigned(names, Date.now())
    await writePrivateFile(path, made.key + made.certificate)
    return readPair(made, path)
  } catch (error) {
    const words = error instanceof Error ? error.message : String(error)
    throw new TlsError(
      `The self-signed certificate cannot be kept in ${directory}: ${words}. Give the folder to the user that runs the server, or name another one by server.ssl.cacheDir.`,
      error,
    )
  }
}

/** What cannot be read as a pair is made anew: nobody but this machine has ever vouched for it. */
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

/** A third of its life is left, and it is for all names. */
function isWorthKeeping(kept: Certificate, names: readonly string[]): boolean {
  const { notBeforeMs, notAfterMs } = kept
  const nowMs = Date.now()
  const isFresh = nowMs >= notBeforeMs && notAfterMs - nowMs > (notAfterMs - notBeforeMs) / 3
  return isFresh && names.every((name) => coversName(kept, name))
}

function doubtsOf(certificate: Certificate, domainNames: readonly string[]): string[] {
  const { notBeforeMs, notAfterMs } = certificate
  const nowMs = Date.now()
  const doubts: string[] = []
  if (nowMs > notAfterMs)
    doubts.push(`The certificate has expired at ${timeText(notAfterMs)}; browsers refuse it. Renew it.`)
  if (nowMs < notBeforeMs) {
    doubts.push(`The certificate is valid from ${timeText(notBeforeMs)} on only; see whether the clock is right.`)
  }
  const missing = domainNames.filter((name) => !coversName(certificate, name))
  if (missing.length > 0) {
    doubts.push(
      `The certificate is not for ${missing.join(', ')}; browsers that ask for that refuse it. Give one that names it, or correct server.ssl.domainName.`,
    )
  }
  return doubts
}

function timeText(timeMs: number): string {
  return new Date(timeMs).toISOString()
}
