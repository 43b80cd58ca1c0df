// What stands behind `sser` on the command line: which command is meant, help and version. Promises an exit code for
// everything. Knows nothing of what a command does.
import { createInterface } from 'node:readline/promises'
import { CLIENT_COMMANDS, runClientCommand } from './client/run.ts'
import { runLogCommand } from './log.ts'
import { packageVersion } from './package-version.ts'
import { serve } from './serve.ts'

const usage = `sser: publish and subscribe over Server-Sent Events, on a durable log.

  sser [serve]           serve until SIGTERM or SIGINT; a second signal ends it at once
  sser topic COMMAND     make, see, change, empty and delete topics of a running server
  sser token COMMAND     issue, see and revoke further tokens of a topic
  sser publish TOPIC     publish events, from the command line or from standard input
  sser subscribe TOPIC   print events as they come
  sser log COMMAND       look into a log, verify, compact, copy, restore or repair it; sser log --help tells more
  sser --help            show this; sser COMMAND --help tells more of a command
  sser --version         show the version

The configuration is read from ./_config, or the folder that SSER_CONFIG_DIR names; without one the defaults hold.
Data lies in ./_storage, or the folder that SSER_STORAGE_DIR names. docs/configuration.md tells every setting.
`

/** As in sysexits.h. */
const exitUsage = 64

/** Runs a command to its end; resolves with the exit code. */
export async function runCli(args: readonly string[]): Promise<number> {
  const [command = 'serve', ...rest] = args
  if (command === 'log') {
    const { env, stdout, stderr } = process
    return runLogCommand(rest, { cwd: process.cwd(), env, stdout, stderr, ask: terminalQuestion() })
  }
  if (CLIENT_COMMANDS.includes(command)) return runClient(args)
  const isAsking = rest.includes('--help') || rest.includes('-h')
  if (isAsking || command === '--help' || command === '-h' || command === 'help') {
    process.stdout.write(usage)
    return 0
  }
  if (command === '--version' || command === '-V') {
    process.stdout.write(`${packageVersion()}\n`)
    return 0
  }
  if (command === 'serve' && rest.length === 0) return serve()
  const unknown = command === 'serve' ? rest[0] : command
  process.stderr.write(`sser: there is no command or option ${JSON.stringify(unknown)}.\n\n${usage}`)
  return exitUsage
}

/** Undefined where no person sits at both ends. */
function terminalQuestion(): ((question: string) => Promise<string>) | undefined {
  const { stdin, stderr } = process
  if (!stdin.isTTY || !stderr.isTTY) return undefined
  return async (question) => {
    const lines = createInterface({ input: stdin, output: stderr })
    return await lines.question(question).finally(() => lines.close())
  }
}

/** The first signal ends the command in an orderly way, the second at once. */
async function runClient(args: readonly string[]): Promise<number> {
  const stopping = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stopping.abort())
  // A reader that went away is told by the write that fails.
  process.stdout.on('error', () => undefined)
  const { env, stdin, stdout, stderr } = process
  return runClientCommand(args, { env, stdin, stdout, signal: stopping.signal }, stderr)
}
