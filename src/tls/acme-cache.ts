/**
 * What ACME keeps in the cache folder: the account key, the certificate with its key, the proofs currently shown, and how the
 * last order went. Several servers may share the folder: proofs are files, so that whichever of them is asked can answer.
 * Decides nothing; whatever cannot be understood counts as missing.
 */
import { createHash } from 'node:crypto'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Challenges } from './acme-order.ts'
import { type Certificate, type Pair, readPair, TlsError } from './certificate.ts'
import { preparePrivateDirectory, readPrivateFile, TEMPORARY_ENDING, writePrivateFile } from './private-file.ts'

export interface KeptCertificate extends Certificate {
  /** The directory of the authority that issued it. */
  readonly directoryUrl: string
}

/** About the orders since the last successful one. */
export interface Failures {
  /** What they were for: other names or directories do not count. */
  readonly directoryUrl: string
  readonly names: readonly string[]
  readonly count: number
  readonly lastAtMs: number
  /** No order before this. */
  readonly nextAtMs: number
  /** Requested by the authority, so that a restart does not override it. */
  readonly isAsked: boolean
  readonly words: string
}

const certificateFile = 'acme-certificate.pem'
const failuresFile = 'acme-failures.json'
const challengePrefix = 'acme-challenge-'
/** RFC 8555, section 8.3: base64url, of at least 128 bits. */
const tokenForm = /^[A-Za-z0-9_-]{16,256}$/
const directoryLine = /^directory: (\S+)$/m
const keyBlock = /-----BEGIN PRIVATE KEY-----[\s\S]+?-----END PRIVATE KEY-----\n?/

export class AcmeCache implements Challenges {
  readonly directory: string

  constructor(directory: string) {
    this.directory = directory
  }

  async prepare(): Promise<void> {
    await preparePrivateDirectory(this.directory)
  }

  get certificatePath(): string {
    return join(this.directory, certificateFile)
  }

  async certificate(): Promise<KeptCertificate | undefined> {
    const path = this.certificatePath
    const text = await readPrivateFile(path)
    const [, directoryUrl] = directoryLine.exec(text ?? '') ?? []
    const [key] = keyBlock.exec(text ?? '') ?? []
    if (text === undefined || directoryUrl === undefined || key === undefined) return undefined
    try {
      return { ...readPair({ key, certificate: text.slice(text.indexOf(key) + key.length) }, path), directoryUrl }
    } catch (error) {
      if (error instanceof TlsError) return undefined
      throw error
    }
  }

  async keepCertificate(directoryUrl: string, { key, certificate }: Pair): Promise<void> {
    await writePrivateFile(this.certificatePath, `directory: ${directoryUrl}\n${key}${certificate}`)
    await rm(join(this.directory, failuresFile), { force: true })
  }

  /** The existing one, or a new one from `make`. */
  async accountKey(directoryUrl: string, make: () => Promise<string>): Promise<string> {
    const path = join(this.directory, `acme-account-${hashOf(directoryUrl)}.pem`)
    const kept = await readPrivateFile(path)
    if (kept !== undefined && keyBlock.test(kept)) return kept
    const made = await make()
    await writePrivateFile(path, made)
    return made
  }

  async failures(): Promise<Failures | undefined> {
    const text = await readPrivateFile(join(this.directory, failuresFile))
    try {
      return text === undefined ? undefined : failuresIn(JSON.parse(text))
    } catch (error) {
      if (error instanceof SyntaxError) return undefined
      throw error
    }
  }

  async keepFailures(failures: Failures): Promise<void> {
    await writePrivateFile(join(this.directory, failuresFile), `${JSON.stringify(failures, undefined, 2)}\n`)
  }

  /** The answer for an authority that asks for this token. */
  async proofFor(token: string): Promise<string | undefined> {
    return tokenForm.test(token) ? await readPrivateFile(this.#challengePath(token)) : undefined
  }

  async show(token: string, keyAuthorization: string): Promise<void> {
    if (!tokenForm.test(token)) throw new Error('the authority has sent a token that is none')
    await writePrivateFile(this.#challengePath(token), keyAuthorization)
  }

  async hide(token: string): Promise<void> {
    await rm(this.#challengePath(token), { force: true })
  }

  /** Removes what an interrupted order has left. */
  async tidy(): Promise<void> {
    const names = await readdir(this.directory)
    const left = names.filter((name) => name.startsWith('acme-') && name.endsWith(TEMPORARY_ENDING))
    left.push(...names.filter((name) => name.startsWith(challengePrefix)))
    for (const name of left) await rm(join(this.directory, name), { force: true })
  }

  #challengePath(token: string): string {
    return join(this.directory, challengePrefix + token)
  }
}

function failuresIn(value: unknown): Failures | undefined {
  const { directoryUrl, names, count, lastAtMs, nextAtMs, isAsked, words } = (value ?? {}) as Partial<Failures>
  const areNumbers = [count, lastAtMs, nextAtMs].every((number) => Number.isFinite(number))
  if (!areNumbers || typeof directoryUrl !== 'string' || !Array.isArray(names) || typeof words !== 'string')
    return undefined
  return {
    directoryUrl,
    names,
    count: count!,
    lastAtMs: lastAtMs!,
    nextAtMs: nextAtMs!,
    isAsked: isAsked === true,
    words,
  }
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 12)
}
