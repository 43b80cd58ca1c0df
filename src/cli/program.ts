// The program `sser` as a tree of commands, and how each of them ends. Promises an exit code for everything, mistakes in words on
// standard error, and nothing but the requested output on standard output. Each command's code is loaded when it is called, so
// that a help text does not wait for a server's packages.
import { CommanderError, Help } from 'commander'
import { SserError } from '../client/errors.ts'
import { addBenchCommand } from './bench/command.ts'
import { CliCommand } from './cli-command.ts'
import { exitCodeOf, wordsOf } from './client/failure.ts'
import { addPublishCommand } from './client/publish.ts'
import { SERVER_GROUP } from './client/server-options.ts'
import { addSubscribeCommand } from './client/subscribe.ts'
import { addTokenCommand } from './client/token.ts'
import { addTopicCommand } from './client/topic.ts'
import { addCompletionCommand } from './completion/command.ts'
import { addConfigCommand } from './config/commands.ts'
import { type CliHost, CommandFailure, exitIoError, exitUsage, Interruption, systemCodeOf, UsageError } from './host.ts'
import { addLogCommand } from './log/commands.ts'
import { packageVersion } from './package-version.ts'
import { addServeCommand } from './serve-command.ts'
import { addTlsCommand } from './tls/commands.ts'

/** Runs a command to its end; resolves with the exit code. The default is to serve. */
export async function runProgram(args: readonly string[], host: CliHost): Promise<number> {
  const program = programOf(host)
  const [first = 'serve', ...rest] = args
  // `sser help log dump` is `sser log dump --help`.
  const asked = first === 'help' ? [...rest, '--help'] : [first, ...rest]
  try {
    await program.parseAsync(asked, { from: 'user' })
    return host.exitCode
  } catch (error) {
    return ended(error, asked, host)
  }
}

export function programOf(host: CliHost): CliCommand {
  const program = new CliCommand('sser')
    .description('publish and subscribe over Server-Sent Events, on a durable log')
    .version(packageVersion(), '-V, --version', 'show the version')
    .helpCommand('help [command...]', 'show the help of a command')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => host.stdout.write(text),
      writeErr: (text) => host.stderr.write(text),
      outputError: (text, write) => write(text.replace(/^error: /, 'sser: ')),
      getOutHelpWidth: () => host.stdout.columns ?? HELP_COLUMNS,
      getErrHelpWidth: () => HELP_COLUMNS,
    })
    .configureHelp({ groupItems: ownOptionsFirst })
    .showHelpAfterError('(--help says more)')
    .usage('[command] [options]')
    .note(
      'Without a command, sser starts the server. docs/cli.md has all commands on one page, docs/configuration.md every setting.',
    )
    .example('sser --version')
  addServeCommand(program, host)
  addTopicCommand(program, host)
  addTokenCommand(program, host)
  addPublishCommand(program, host)
  addSubscribeCommand(program, host)
  addBenchCommand(program, host)
  addLogCommand(program, host)
  addConfigCommand(program, host)
  addTlsCommand(program, host)
  addCompletionCommand(program, host)
  return program
}

const HELP_COLUMNS = 100

const ownOptionsFirst: Help['groupItems'] = (_all, visible, groupOf) => {
  const isShared = (item: (typeof visible)[number]) => Number(groupOf(item) === SERVER_GROUP)
  const ordered = visible.toSorted((one, other) => isShared(one) - isShared(other))
  return Help.prototype.groupItems(ordered, visible, groupOf)
}

/** Reports what went wrong; the exit code says what kind of failure it was. */
function ended(error: unknown, [command = '']: readonly string[], { stderr }: CliHost): number {
  const tell = (words: string) => stderr.write(`sser ${command}: ${words}\n`)
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : exitUsage
  if (error instanceof UsageError) {
    tell(`${error.message}\n(--help says more)`)
    return exitUsage
  }
  if (error instanceof Interruption) return error.exitCode
  if (error instanceof CommandFailure) {
    tell(error.message)
    return error.exitCode
  }
  if (error instanceof SserError) {
    tell(wordsOf(error))
    return exitCodeOf(error)
  }
  const code = systemCodeOf(error)
  // The reader, such as `head`, has seen enough.
  if (code === 'EPIPE') return 0
  if (code === undefined) throw error
  tell((error as Error).message)
  return exitIoError
}
