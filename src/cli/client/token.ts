/** `sser token`: issue, see and revoke further tokens of a topic; and the hash of a token, for a configuration. */

import { text } from 'node:stream/consumers'
import type { Command } from 'commander'
import type { TokenDetails } from '../../client/index.ts'
import { configuredSha256, HASHED_PREFIX } from '../../domain/token.ts'
import { type ClientHost, clientOf, print, type ServerOptions, UsageError, withServerOptions } from './host.ts'

interface CreateOptions extends ServerOptions {
  readonly publish?: boolean
  readonly subscribe?: boolean
  readonly label?: string
  readonly expires?: string
}

export function addTokenCommand(program: Command, host: ClientHost): void {
  const token = program.command('token').description('issue, see and revoke further tokens of a topic')
  const subcommand = (nameAndArguments: string, description: string) =>
    withServerOptions(token.command(nameAndArguments).description(description))

  subcommand('create <topic>', 'issue a token; prints its id and the secret, which is shown this once')
    .option('--subscribe', 'it may subscribe; the default, if nothing is named')
    .option('--publish', 'it may publish')
    .option('--label <TEXT>', 'for people')
    .option('--expires <TIME>', 'when it ends, such as 2027-01-31T12:00:00Z')
    .addHelpText('after', '\nExample:\n  sser token create $TOPIC --publish --label press')
    .action(async (topic: string, options: CreateOptions) => {
      const { publish = false, subscribe = !publish, label, expires } = options
      const rights = [...(subscribe ? (['subscribe'] as const) : []), ...(publish ? (['publish'] as const) : [])]
      const wanted = {
        rights,
        ...(label === undefined ? {} : { label }),
        ...(expires === undefined ? {} : { expires_at: expires }),
      }
      const issued = await clientOf(options, host).tokens.create(topic, wanted, host)
      await print(host, options.json === true ? line(issued) : `id     ${issued.id}\ntoken  ${issued.token}\n`)
    })

  subcommand('list <topic>', 'its further tokens, one a line: id, end, rights, label')
    .addHelpText('after', '\nExample:\n  sser token list $TOPIC')
    .action(async (topic: string, options: ServerOptions) => {
      for (const details of await clientOf(options, host).tokens.list(topic, host)) {
        await print(host, options.json === true ? line(details) : row(details))
      }
    })

  subcommand('revoke <topic> <token>', 'by its id; the streams that it opened end')
    .addHelpText('after', '\nExample:\n  sser token revoke $TOPIC 000AGMvTTRQ')
    .action(async (topic: string, id: string, options: ServerOptions) => {
      await clientOf(options, host).tokens.revoke(topic, id, host)
    })

  token
    .command('hash')
    .description('read a token from standard input, and print what a configuration may hold in its place')
    .addHelpText('after', '\nExample:\n  openssl rand -hex 32 | tee token.txt | sser token hash')
    .action(async () => {
      const secret = (await text(host.stdin)).replace(/\r?\n$/, '')
      if (!/^[\x21-\x7e]{16,512}$/.test(secret)) {
        throw new UsageError(
          'A token has 16 to 512 visible ASCII characters without a space. Give one on standard input.',
        )
      }
      await print(host, `${HASHED_PREFIX}${Buffer.from(configuredSha256(secret)).toString('hex')}\n`)
    })
}

function line(value: unknown): string {
  return `${JSON.stringify(value)}\n`
}

function row({ id, expires_at, rights, label }: TokenDetails): string {
  return `${id}  ${expires_at ?? 'no end'.padEnd(24)}  ${rights.join(',').padEnd(17)}  ${label ?? ''}`
    .trimEnd()
    .concat('\n')
}
