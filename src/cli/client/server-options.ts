/** The options of every command that talks to a server: its URL, the token, and how the answer is printed. */

import { Option } from 'commander'
import { SserClient } from '../../client/index.ts'
import type { CliCommand } from '../cli-command.ts'
import { type CliHost, UsageError } from '../host.ts'
import { CLIENT_EXIT_CODES } from './failure.ts'
import { STDIN, type TokenOptions, tokenOf } from './token-source.ts'

export interface ServerOptions extends TokenOptions {
  readonly url?: string
  readonly json?: boolean
}

const LOCAL_URL = 'http://localhost:8889'

/** Their heading in help texts, after the command's own options. */
export const SERVER_GROUP = 'The server:'

const SERVER_OPTIONS = [
  ['--url <URL>', `the server's address; else SSER_URL, else ${LOCAL_URL}`],
  ['--token-file <FILE>', 'a file with nothing but the token, or the tokens.json of the server; else SSER_TOKEN_FILE'],
  [
    '--token <TOKEN>',
    `the token, visible to everybody on this machine; ${STDIN} reads it from a line of standard input; else SSER_TOKEN`,
  ],
] as const

export function withServerOptions(command: CliCommand): CliCommand {
  for (const [flags, description] of SERVER_OPTIONS) {
    command.addOption(new Option(flags, description).helpGroup(SERVER_GROUP))
  }
  return command.option('--json', 'print JSON').exits(CLIENT_EXIT_CODES)
}

/** Rejects with UsageError, or a CommandFailure for a file that cannot be read. */
export async function clientOf(options: ServerOptions, host: CliHost): Promise<SserClient> {
  const address = options.url ?? (host.env['SSER_URL'] || LOCAL_URL)
  if (!/^https?:/.test(address) || !URL.canParse(address)) {
    throw new UsageError(`${JSON.stringify(address)} is not the URL of a server, such as ${LOCAL_URL}.`)
  }
  const token = await tokenOf(options, host)
  return new SserClient({ url: address, ...(token === undefined ? {} : { token }) })
}
