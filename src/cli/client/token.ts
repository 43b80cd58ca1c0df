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

  subcommand('create <topic>', 'issue a token; print its id, and the secret, which is shown only this once')
    .option('--subscribe', 'it may subscribe; the default')
    .option('--publish', 'it may publish')
    .option('--label <TEXT>', 'for people')
    .option('--expires <TIME>', 'when it ends, such as 2027-01-31T12:00:00Z')
    .example('sser token create $TOPIC --publish --label press')
    .action(async (topic: string, options: CreateOptions) => {
      const client = await clientOf(options, host)
      const issued = await client.tokens.create(topic, wantedToken(options), call())
      await print(host, options.json === true ? line(issued) : `id     ${issued.id}\ntoken  ${issued.token}\n`)
    })

  subcommand('list <topic>', 'list its tokens, one a line: id, end, rights, label')
    .example('sser token list $TOPIC')
    .action(async (topic: string, options: ServerOptions) => {
      const client = await clientOf(options, host)
      for (const details of await client.tokens.list(topic, call())) {
        await print(host, options.json === true ? line(details) : row(details))
      }
    })

  subcommand('revoke <topic> <token>', 'revoke a token by its id; the streams that it opened end')
    .example('sser token revoke $TOPIC $TOKEN_ID')
    .action(async (topic: string, id: string, options: ServerOptions) => {
      const client = await clientOf(options, host)
      await client.tokens.revoke(topic, id, call())
    })

  token
    .command('hash')
    .description('read a token from standard input, and print what a configuration may hold in its place')
    .example('openssl rand -hex 32 | tee token.txt | sser token hash')
    .exits([
      [0, 'done'],
      [exitUsage, 'what standard input says can be no token'],
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
