// `sser log …`: the commands on a log itself, each of which is in a file of its own under log/. Promises an exit code that
// says what was found or done, and words for whatever goes wrong.
import { StorageError } from '../../storage-engine/index.ts'
import { ConfigError } from '../config.ts'
import { ControlError } from '../control/control-client.ts'
import { backup } from './log/backup.ts'
import { compact } from './log/compact.ts'
import { dump } from './log/dump.ts'
import {
  CommandFailure,
  exitCannotCreate,
  exitConfig,
  exitIoError,
  exitLocked,
  exitNoInput,
  exitNoPermission,
  exitUsage,
  exitWhole,
  type LogCommandHost,
  systemCodeOf,
} from './log/host.ts'
import { inspect } from './log/inspect.ts'
import { type LogCommand, parseWanted, UsageError, type Wanted } from './log/options.ts'
import { repair } from './log/repair.ts'
import { restore } from './log/restore.ts'
import { usage } from './log/usage.ts'

const COMMANDS: Readonly<Record<LogCommand, (wanted: Wanted, host: LogCommandHost) => Promise<number>>> = {
  info: inspect,
  verify: inspect,
  dump,
  repair,
  compact,
  backup,
  restore,
}

/** Runs a command to its end; resolves with the exit code. */
export async function runLogCommand(args: readonly string[], host: LogCommandHost): Promise<number> {
  let wanted: Wanted | undefined
  try {
    wanted = parseWanted(args)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    host.stderr.write(`sser log: ${error.message}\n\n${usage}`)
    return exitUsage
  }
  if (wanted === undefined) {
    host.stdout.write(usage)
    return exitWhole
  }
  try {
    return await COMMANDS[wanted.command](wanted, host)
  } catch (error) {
    return failed(error, wanted, host)
  }
}

function failed(error: unknown, { directory }: Wanted, host: LogCommandHost): number {
  if (error instanceof ConfigError) {
    const elsewhere = directory === undefined ? 'Or name the folder of the log by --directory.\n' : ''
    host.stderr.write(`${error.message}\n${elsewhere}`)
    return exitConfig
  }
  if (error instanceof StorageError || error instanceof ControlError || error instanceof CommandFailure) {
    host.stderr.write(`sser log: ${error.message}\n`)
    return error instanceof CommandFailure ? error.exitCode : codeOf(error)
  }
  const code = systemCodeOf(error)
  if (code === undefined) throw error
  host.stderr.write(`sser log: the disk failed (${error instanceof Error ? error.message : String(error)}).\n`)
  return code === 'EACCES' || code === 'EPERM' ? exitNoPermission : exitIoError
}

function codeOf({ code }: StorageError | ControlError): number {
  switch (code) {
    case 'STORAGE_LOCKED':
    case 'BUSY':
      return exitLocked
    case 'STORAGE_PERMISSION':
      return exitNoPermission
    case 'STORAGE_FOREIGN':
      return exitCannotCreate
    case 'STORAGE_DAMAGED':
      return exitNoInput
    case 'OFF':
      return exitConfig
    default:
      return exitIoError
  }
}
