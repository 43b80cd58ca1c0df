/**
 * The tokens that the server makes for itself where none are configured: made once, kept in the data folder, and read at every
 * later start. Promises that the file is complete or absent, survives a crash once it has been used, and can be read only by
 * its owner. Does not decide when tokens may be made: in production the configuration does not allow it.
 *
 * The caller holds the lock of the data folder; otherwise two processes starting at once would both make tokens.
 */
import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { makeToken } from '../domain/token.ts'

export const TOKEN_FILE_NAME = 'tokens.json'

const FORMAT_VERSION = 1
const DIRECTORY_MODE = 0o700
const FILE_MODE = 0o600
/** Permissions of the group and of others. */
const WIDER_MODE = 0o077
const FILE_BYTES_MAX = 64 * 1024

export interface GivenTokens {
  readonly apiAccessToken?: string | undefined
  readonly metricsAccessToken?: string | undefined
}

export interface AccessTokens {
  readonly apiAccessToken: string
  readonly metricsAccessToken: string
}

export interface EnsuredTokens extends AccessTokens {
  /** Where tokens that were not configured are kept; undefined where both were. */
  readonly path: string | undefined
  /** Whether this start made one. */
  readonly made: boolean
}

/** The tokens cannot be kept safely, or cannot be read. The message says where and what to do, and contains no token. */
export class TokenFileError extends Error {
  readonly code = 'TOKEN_FILE'

  constructor(message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'TokenFileError'
  }
}

/**
 * The configured tokens; for missing ones those in the file, which are made now if there are none yet. A configured token is
 * never written to disk. Rejects with a TokenFileError.
 */
export async function ensureTokens(directory: string, given: GivenTokens): Promise<EnsuredTokens> {
  const { apiAccessToken, metricsAccessToken } = given
  if (apiAccessToken !== undefined && metricsAccessToken !== undefined) {
    return { apiAccessToken, metricsAccessToken, path: undefined, made: false }
  }
  const path = join(directory, TOKEN_FILE_NAME)
  try {
    await prepareDirectory(directory)
    const kept = await readTokens(path)
    const tokens = {
      apiAccessToken: apiAccessToken ?? kept.apiAccessToken ?? makeToken(),
      metricsAccessToken: metricsAccessToken ?? kept.metricsAccessToken ?? makeToken(),
    }
    const toKeep = {
      ...kept,
      ...(apiAccessToken === undefined && { apiAccessToken: tokens.apiAccessToken }),
      ...(metricsAccessToken === undefined && { metricsAccessToken: tokens.metricsAccessToken }),
    }
    const made = toKeep.apiAccessToken !== kept.apiAccessToken || toKeep.metricsAccessToken !== kept.metricsAccessToken
    if (made) await writeTokens(directory, path, toKeep)
    return { ...tokens, path, made }
  } catch (error) {
    if (error instanceof TokenFileError) throw error
    const words = error instanceof Error ? error.message : String(error)
    throw new TokenFileError(`The access tokens cannot be kept in ${path}: ${words}.`, error)
  }
}

async function prepareDirectory(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: DIRECTORY_MODE })
  const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await narrow(handle, directory, DIRECTORY_MODE)
  } finally {
    await handle.close()
  }
}

/** Removes the permissions of everyone but the owner, or says that this is impossible. */
async function narrow(handle: FileHandle, path: string, mode: number): Promise<void> {
  if (process.platform === 'win32' || ((await handle.stat()).mode & WIDER_MODE) === 0) return
  const advice = `Others could read the access tokens in ${path}, and its permissions cannot be narrowed to ${mode.toString(8)}`
  const remedy = 'give the folder to the user that runs the server, or set both access tokens in the environment'
  try {
    await handle.chmod(mode)
  } catch (error) {
    throw new TokenFileError(`${advice}: ${remedy}.`, error)
  }
  // Some mounted file systems accept the change and ignore it.
  if (((await handle.stat()).mode & WIDER_MODE) !== 0) throw new TokenFileError(`${advice} there: ${remedy}.`)
}

async function readTokens(path: string): Promise<GivenTokens> {
  const handle = await openKept(path)
  if (handle === undefined) return {}
  try {
    const stat = await handle.stat()
    if (!stat.isFile() || stat.size > FILE_BYTES_MAX) throw unusable(path, 'is not a file of tokens')
    await narrow(handle, path, FILE_MODE)
    return parseTokens(path, await handle.readFile('utf8'))
  } finally {
    await handle.close()
  }
}

/** Undefined where the file does not exist. A symbolic link is refused: it could lead out of the protected folder. */
async function openKept(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'ENOENT') return undefined
    if (code === 'ELOOP') throw unusable(path, 'is a symbolic link')
    throw error
  }
}

/** New tokens would lock out every client that knows the old ones, so a damaged file is an error. */
function parseTokens(path: string, text: string): GivenTokens {
  let content: unknown
  try {
    content = JSON.parse(text)
  } catch (error) {
    // The parser's message quotes the text, so it must not leave this place.
    throw unusable(path, `is not JSON (${error instanceof Error ? error.name : 'unreadable'})`)
  }
  if (typeof content !== 'object' || content === null) throw unusable(path, 'holds no tokens')
  const { version, apiAccessToken, metricsAccessToken } = content as Readonly<Record<string, unknown>>
  if (version !== FORMAT_VERSION) throw unusable(path, 'has a version that this program does not know')
  if (!isKeptToken(apiAccessToken) || !isKeptToken(metricsAccessToken)) throw unusable(path, 'holds something else')
  return { apiAccessToken, metricsAccessToken }
}

function isKeptToken(value: unknown): value is string | undefined {
  return value === undefined || (typeof value === 'string' && /^[\x21-\x7e]{16,512}$/.test(value))
}

function unusable(path: string, why: string): TokenFileError {
  return new TokenFileError(`${path} ${why}. Put it right, or move it away: the next start then makes new tokens.`)
}

/** Temporary name, sync, rename, sync of the folder: the file is never there half-written. */
async function writeTokens(directory: string, path: string, tokens: GivenTokens): Promise<void> {
  const temporary = `${path}.tmp`
  await rm(temporary, { force: true })
  const handle = await open(temporary, 'wx', FILE_MODE)
  try {
    await handle.writeFile(`${JSON.stringify({ version: FORMAT_VERSION, ...tokens }, undefined, 2)}\n`)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(temporary, path)
  const folder = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
