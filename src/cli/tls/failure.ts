// The failures of `sser tls` commands, in words and as exit codes.
import { StorageError } from '../../../storage-engine/index.ts'
import { ConfigError } from '../../config/config.ts'
import { ControlError } from '../../control/control-client.ts'
import { TlsError } from '../../tls/certificate.ts'
import { type CliHost, exitConfig, exitFailed, exitIoError, exitNoPermission, systemCodeOf } from '../host.ts'

/** Rethrows unexpected errors, and those that already say how the command ends. */
export function failedWith(error: unknown, { stderr }: CliHost): number {
  if (error instanceof ConfigError) {
    stderr.write(`${error.message}\n`)
    return exitConfig
  }
  if (error instanceof ControlError) {
    stderr.write(`sser tls: ${error.message}\n`)
    return error.code === 'OFF' ? exitConfig : exitIoError
  }
  if (error instanceof TlsError) {
    stderr.write(`sser tls: ${error.message}\n`)
    return isDenied(error.cause) ? exitNoPermission : exitFailed
  }
  if (error instanceof StorageError || systemCodeOf(error) !== undefined) {
    stderr.write(`sser tls: ${error instanceof Error ? error.message : String(error)}\n`)
    return isDenied(error) ? exitNoPermission : exitIoError
  }
  throw error
}

function isDenied(error: unknown): boolean {
  return ['EACCES', 'EPERM', 'STORAGE_PERMISSION'].includes(systemCodeOf(error) ?? '')
}
