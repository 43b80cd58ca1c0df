// What the commands of this folder meet of the process around them, how they end, and how they print.
import type { DirectoryLock } from '../../../storage-engine/index.ts'
import type { Terminal } from '../progress-bar.ts'

export interface LogCommandHost {
  readonly cwd: string
  readonly env: Readonly<Record<string, string | undefined>>
  readonly stdout: NodeJS.WritableStream
  readonly stderr: Terminal
  /** A person's answer to a question; undefined where nobody can be asked. */
  readonly ask?: ((question: string) => Promise<string>) | undefined
  /** For tests of folders that may not be written. */
  readonly acquireLock?: ((directory: string) => Promise<DirectoryLock>) | undefined
}

export const exitWhole = 0
export const exitDamaged = 1
/** A start would be refused. */
export const exitRefused = 2
// As in sysexits.h.
export const exitUsage = 64
export const exitNoInput = 66
export const exitCannotCreate = 73
export const exitIoError = 74
export const exitLocked = 75
export const exitNoPermission = 77
export const exitConfig = 78

/** What ends a command with words for the operator and an exit code of its own. */
export class CommandFailure extends Error {
  readonly exitCode: number

  constructor(exitCode: number, message: string) {
    super(message)
    this.exitCode = exitCode
  }
}

/** Waits for whoever reads it. False where nobody reads any more. */
export function written(stream: NodeJS.WritableStream, text: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const onError = (error: Error) => {
      if (systemCodeOf(error) === 'EPIPE') resolve(false)
      else reject(error)
    }
    stream.once('error', onError)
    stream.write(text, (error) => {
      if (error !== null && error !== undefined) return onError(error)
      stream.off('error', onError)
      resolve(true)
    })
  })
}

export function systemCodeOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}
