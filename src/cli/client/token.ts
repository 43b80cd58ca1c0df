/** `sser token`: issue, list and revoke further tokens of a topic; and hash a token for a configuration. */

import type { NewToken, TokenDetails } from '../../client/index.ts'
import { configuredSha256, HASHED_PREFIX } from '../../domain/token.ts'
import type { CliCommand } from '../cli-command.ts'
import { type CliHost, exitUsage, print, UsageError } from '../host.ts'
import { clientOf, type ServerOptions, withServerOptions } from './server-options.ts'
import { textOfStdin } from './stdin.ts'

interface CreateOptions extends ServerOptions {
  readonly publish?: boolean
  readonly subscribe?: boolean
  readonly label?: string
  readonly expires?: string
}

export function addTokenCommand(program: CliCommand, host: CliHost): void {
  const token = program.command('token').description('issue, list and revoke tokens of a topic')
  const subcommand = (nameAndArguments: string, description: string) =>
    withServerOptions(token.command(nameAndArguments).description(description))
  const call = () => ({ signal: host.stopSignal() })

  subcommand('create <topic>', 'issue a token; print its id and its secret, which is shown only this once')
    .option('--subscribe', 'allow subscribing; the default')
    .option('--publish', 'allow publishing')
    .option('--label <TEXT>', 'a label for people to read')
    .option('--expires <TIME>', 'when it expires, such as 2027-01-31T12:00:00Z')
    .example('sser token create $TOPIC --publish --label press')
    .action(async (topic: string, options: CreateOptions) => {
      const client = await clientOf(options, host)
      const issued = await client.tokens.create(topic, wantedToken(options), call())
      await print(host, options.json === true ? line(issued) : `id     ${issued.id}\ntoken  ${issued.token}\n`)
    })

  subcommand('list <topic>', 'list the tokens of a topic, one per line: id, expiry, rights, label')
    .example('sser token list $TOPIC')
    .action(async (topic: string, options: ServerOptions) => {
      const client = await clientOf(options, host)
      for (const details of await client.tokens.list(topic, call())) {
        await print(host, options.json === true ? line(details) : row(details))
      }
    })

  subcommand('revoke <topic> <token>', 'revoke a token by its id; the streams opened with it end')
    .example('sser token revoke $TOPIC $TOKEN_ID')
    .action(async (topic: string, id: string, options: ServerOptions) => {
      const client = await clientOf(options, host)
      await client.tokens.revoke(topic, id, call())
    })

  token
    .command('hash')
    .description('read a token from standard input, and print the hash that can replace it in a configuration')
    .example('openssl rand -hex 32 | tee token.txt | sser token hash')
    .exits([
      [0, 'done'],
      [exitUsage, 'standard input holds no valid token'],
    ])
    .action(async () => {
      const secret = (await textOfStdin(host)).replace(/\r?\n$/, '')
      if (!/^[\x21-\x7e]{16,512}$/.test(secret)) {
        throw new UsageError(
          'A token has 16 to 512 visible ASCII characters without a space. Give one on standard input.',
        )
      }
      await print(host, `${HASHED_PREFIX}${Buffer.from(configuredSha256(secret)).toString('hex')}\n`)
    })
}

function wantedToken({ publish = false, subscribe = !publish, label, expires }: CreateOptions): NewToken {
  return {
    rights: [...(subscribe ? (['subscribe'] as const) : []), ...(publish ? (['publish'] as const) : [])],
    ...(label === undefined ? {} : { label }),
    ...(expires === undefined ? {} : { expires_at: expires }),
  }
}

function line(value: unknown): string {
  return `${JSON.stringify(value)}\n`
}

function row({ id, expires_at, rights, label }: TokenDetails): string {
  return `${id}  ${expires_at ?? 'no end'.padEnd(24)}  ${rights.join(',').padEnd(17)}  ${label ?? ''}`
    .trimEnd()
    .concat('\n')
}
