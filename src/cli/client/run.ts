/**
 * `sser topic`, `sser token`, `sser publish`, `sser subscribe`: a server as seen from outside, through the client library. Promises an
 * exit code that says how it went, messages on standard error, and on standard output nothing but what was asked for.
 */

import { Command, CommanderError } from 'commander'
import { SserError } from '../../client/index.ts'
import { type ClientHost, type ErrorOutput, exitCodeOf, UsageError, wordsOf } from './host.ts'
import { addPublishCommand } from './publish.ts'
import { addSubscribeCommand } from './subscribe.ts'
import { addTokenCommand } from './token.ts'
import { addTopicCommand } from './topic.ts'

export const CLIENT_COMMANDS: readonly string[] = ['topic', 'token', 'publish', 'subscribe']

// As in sysexits.h.
const exitUsage = 64
const exitIoError = 74

/** Resolves with the exit code. `args` begins with the command's name. */
export async function runClientCommand(
  args: readonly string[],
  host: ClientHost,
  stderr: ErrorOutput,
): Promise<number> {
  try {
    await programOf(host, stderr).parseAsync([...args], { from: 'user' })
    return 0
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : exitUsage
    if (error instanceof UsageError) {
      stderr.write(`sser ${args[0]}: ${error.message}\n`)
      return exitUsage
    }
    if (error instanceof SserError) {
      stderr.write(`sser ${args[0]}: ${wordsOf(error)}\n`)
      return exitCodeOf(error)
    }
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    // Whoever read this, `head` say, has seen enough.
    if (code === 'EPIPE' || (host.signal.aborted && error === host.signal.reason)) return 0
    if (typeof code !== 'string') throw error
    stderr.write(`sser ${args[0]}: ${(error as Error).message}\n`)
    return exitIoError
  }
}

function programOf(host: ClientHost, stderr: ErrorOutput): Command {
  const program = new Command('sser')
    .exitOverride()
    .configureOutput({ writeOut: (text) => host.stdout.write(text), writeErr: (text) => stderr.write(text) })
    .showHelpAfterError('(--help tells more)')
  addTopicCommand(program, host)
  addTokenCommand(program, host)
  addPublishCommand(program, host)
  addSubscribeCommand(program, host, stderr)
  return program
}
