/** Where a command gets its token from, so that it need not be on the command line, which everyone on the machine can read. */

import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'
import { type CliHost, CommandFailure, exitNoInput, systemCodeOf, UsageError } from '../host.ts'

export interface TokenOptions {
  readonly token?: string
  readonly tokenFile?: string
}

/** Instead of a token: read a line of standard input. */
export const STDIN = '-'

/** Options win over the environment, and there SSER_TOKEN over SSER_TOKEN_FILE. Undefined: none is given. */
export async function tokenOf({ token, tokenFile }: TokenOptions, host: CliHost): Promise<string | undefined> {
  if (token !== undefined && tokenFile !== undefined) throw new UsageError('Give --token or --token-file, not both.')
  if (token === STDIN) return checked(await lineOfStdin(host), 'What standard input says')
  if (token !== undefined) return checked(token, 'What --token says')
  if (tokenFile !== undefined) return tokenIn(tokenFile, host)
  const { SSER_TOKEN: given, SSER_TOKEN_FILE: givenFile } = host.env
  if (given) return checked(given, 'What SSER_TOKEN says')
  return givenFile ? tokenIn(givenFile, host) : undefined
}

async function tokenIn(name: string, { cwd }: CliHost): Promise<string> {
  const path = resolve(cwd, name)
  let text: string
  try {
    text = (await readFile(path, 'utf8')).trim()
  } catch (error) {
    throw new CommandFailure(exitNoInput, `The token cannot be read from ${path} (${systemCodeOf(error)}).`)
  }
  return checked(text.startsWith('{') ? madeToken(text) : text, `What ${path} holds`)
}

/** The format in which the server stores the tokens that it made for itself. */
function madeToken(text: string): string {
  try {
    const { apiAccessToken } = JSON.parse(text) as { readonly apiAccessToken?: unknown }
    return typeof apiAccessToken === 'string' ? apiAccessToken : ''
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    return ''
  }
}

/** Anything else is not valid in a header. It may still be a secret, so it is not shown. */
function checked(token: string, what: string): string {
  if (/^[\x21-\x7e]+$/.test(token)) return token
  throw new UsageError(`${what} is no token: a token is one word of visible ASCII characters.`)
}

/** The first line, without its end. On a terminal there is a prompt, and the input is not echoed. */
function lineOfStdin({ stdin, stderr, stopSignal }: CliHost): Promise<string> {
  const signal = stopSignal()
  const terminal = stdin.isTTY === true
  const lines = createInterface({ input: stdin, output: new Writable({ write: (_, __, done) => done() }), terminal })
  if (terminal) stderr.write('Token: ')
  return new Promise<string>((resolve, reject) => {
    const stop = () => {
      reject(signal.reason)
      lines.close()
    }
    if (signal.aborted) return stop()
    signal.addEventListener('abort', stop, { once: true })
    // In raw mode, key presses arrive here before the system turns them into signals.
    lines.once('SIGINT', () => process.kill(process.pid, 'SIGINT'))
    lines.once('line', (line) => {
      resolve(line.trim())
      lines.close()
    })
    lines.once('close', () => {
      signal.removeEventListener('abort', stop)
      if (terminal) stderr.write('\n')
      resolve('')
    })
  })
}
