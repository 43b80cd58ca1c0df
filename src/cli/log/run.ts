// Dispatches the commands of `sser log`, each of which is in a file of its own, and puts their failures into words.
import { StorageError } from '../../../storage-engine/index.ts'
import { ConfigError } from '../../config/config.ts'
import { ControlError } from '../../control/control-client.ts'
import {
  type CliHost,
  exitCannotCreate,
  exitConfig,
  exitIoError,
  exitLocked,
  exitNoInput,
  exitNoPermission,
  systemCodeOf,
} from '../host.ts'
import { backup } from './backup.ts'
import type { LogCommandName, LogOptions } from './commands.ts'
import { compact } from './compact.ts'
import { dump } from './dump.ts'
import { inspect } from './inspect.ts'
import { type Wanted, wantedOf } from './options.ts'
import { repair } from './repair.ts'
import { restore } from './restore.ts'

const COMMANDS: Readonly<Record<LogCommandName, (wanted: Wanted, host: CliHost) => Promise<number>>> = {
  info: inspect,
  verify: inspect,
  dump,
  repair,
  compact,
  backup,
  restore,
}

/** Runs a command to its end; resolves with the exit code. Rejects with UsageError or CommandFailure. */
export async function runLogCommand(
  name: LogCommandName,
  folder: string | undefined,
  options: LogOptions,
  host: CliHost,
): Promise<number> {
  const wanted = wantedOf(name, folder, options)
  try {
    return await COMMANDS[name](wanted, host)
  } catch (error) {
    return failed(error, wanted, host)
  }
}

function failed(error: unknown, { directory }: Wanted, host: CliHost): number {
  if (error instanceof ConfigError) {
    const elsewhere = directory === undefined ? 'Or name the folder of the log by --directory.\n' : ''
    host.stderr.write(`${error.message}\n${elsewhere}`)
    return exitConfig
  }
  if (error instanceof StorageError || error instanceof ControlError) {
    host.stderr.write(`sser log: ${error.message}\n`)
    return codeOf(error)
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
