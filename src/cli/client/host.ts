/** What the commands that talk to a server share: how it is reached, what is printed, and how a failure ends. */

import type { Readable, Writable } from 'node:stream'
import type { Command } from 'commander'
import { SserClient, type SserError } from '../../client/index.ts'

/** The process around a command. */
export interface ClientHost {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly stdin: Readable
  readonly stdout: Writable
  /** Aborted by the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal
}

/** Where notices go that are no output. */
export interface ErrorOutput {
  write(text: string): unknown
}

export interface ServerOptions {
  readonly url?: string
  readonly token?: string
  readonly json?: boolean
}

const LOCAL_URL = 'http://localhost:8889'

// As in sysexits.h.
const exitUnavailable = 69
const exitNoPermission = 77
const exitRefused = 1

/** A mistake in how the command was called; told with the command's own usage. */
export class UsageError extends Error {}

export function withServerOptions(command: Command): Command {
  return command
    .option('--url <URL>', `where the server is; else SSER_URL, else ${LOCAL_URL}`)
    .option('--token <TOKEN>', 'else SSER_TOKEN, which other users of the machine do not see in the list of processes')
    .option('--json', 'print JSON, for a program to read')
}

export function clientOf({ url, token }: ServerOptions, { env }: ClientHost): SserClient {
  const address = url ?? nonEmpty(env['SSER_URL']) ?? LOCAL_URL
  const secret = token ?? nonEmpty(env['SSER_TOKEN'])
  try {
    return new SserClient({ url: address, ...(secret === undefined ? {} : { token: secret }) })
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    throw new UsageError(`${JSON.stringify(address)} is not the URL of a server, such as ${LOCAL_URL}.`)
  }
}

export function exitCodeOf(error: SserError): number {
  if (error.code === 'SSER_UNREACHABLE') return exitUnavailable
  return error.status === 401 || error.status === 403 ? exitNoPermission : exitRefused
}

/** For people: the sentence of the server, and where it says more, that. */
export function wordsOf(error: SserError): string {
  const path = error.details?.['path']
  const where = typeof path === 'string' ? ` (${path})` : ''
  const cause = error.cause instanceof Error ? ` ${causeOf(error.cause)}` : ''
  const advice = error.status === 401 ? ' Give a token by SSER_TOKEN or --token.' : ''
  return `${error.message}${where}${cause}${advice}`
}

/** Resolves when the reader has taken it, so that a slow reader of a pipe slows down what is read for it. */
export async function print(host: ClientHost, text: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    host.stdout.write(text, (error) => (error == null ? resolve() : reject(error)))
  })
}

/** fetch says "fetch failed", and what failed as its cause. */
function causeOf(error: Error): string {
  const cause = error.cause instanceof Error ? error.cause : error
  return cause.message === '' && 'code' in cause ? `(${String(cause.code)})` : `(${cause.message})`
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === undefined || text === '' ? undefined : text
}
