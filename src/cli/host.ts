// What every command meets of the process around it, how it prints, and how it ends.
import type { Readable } from 'node:stream'
import type { DirectoryLock } from '../../storage-engine/index.ts'
import type { Terminal } from './progress-bar.ts'

export interface CliHost {
  readonly cwd: string
  readonly env: Readonly<Record<string, string | undefined>>
  readonly stdin: Readable & { readonly isTTY?: boolean | undefined }
  readonly stdout: NodeJS.WritableStream & {
    readonly columns?: number | undefined
    readonly isTTY?: boolean | undefined
  }
  readonly stderr: Terminal
  /**
   * Aborted, with an Interruption, by the first SIGINT or SIGTERM. Whoever asks for it has to end by it: from then on that
   * signal does not end the process by itself, only the second one does.
   */
  stopSignal(): AbortSignal
  /** A person's answer to a question; undefined where nobody can be asked. */
  readonly ask?: ((question: string) => Promise<string>) | undefined
  /** For tests of folders that may not be written. */
  readonly acquireLock?: ((directory: string) => Promise<DirectoryLock>) | undefined
  /** What the process ends with, unless something is thrown. */
  exitCode: number
}

export const exitWhole = 0
/** The server said no. */
export const exitFailed = 1
export const exitDamaged = 1
/** A start would be refused. */
export const exitRefused = 2
// As in sysexits.h.
export const exitUsage = 64
export const exitNoInput = 66
export const exitUnavailable = 69
export const exitCannotCreate = 73
export const exitIoError = 74
export const exitLocked = 75
export const exitNoPermission = 77
export const exitConfig = 78

export const STOP_SIGNALS = ['SIGINT', 'SIGTERM'] as const
export type StopSignalName = (typeof STOP_SIGNALS)[number]
const SIGNAL_NUMBERS: Readonly<Record<StopSignalName, number>> = { SIGINT: 2, SIGTERM: 15 }

/** A mistake in how the command was called. */
export class UsageError extends Error {}

/** What ends a command with words for whoever called it, and an exit code of its own. */
export class CommandFailure extends Error {
  readonly exitCode: number

  constructor(exitCode: number, message: string) {
    super(message)
    this.exitCode = exitCode
  }
}

/** Why a command ended before it was done; the exit code is the one of shells for a process that a signal ended. */
export class Interruption extends Error {
  readonly exitCode: number

  constructor(signal: StopSignalName) {
    super(`${signal} came.`)
    this.exitCode = 128 + SIGNAL_NUMBERS[signal]
  }
}

/** Waits for whoever reads it, so that a slow reader slows down what is read for it. Rejects where nobody reads any more. */
export function print({ stdout }: CliHost, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    // A stream tells of its failure twice: to whoever wrote, and as an event, which must not end the process.
    stdout.once('error', reject)
    stdout.write(text, (error) => {
      if (error !== null && error !== undefined) return reject(error)
      stdout.off('error', reject)
      resolve()
    })
  })
}

/** As print. False where nobody reads any more. */
export async function written(host: CliHost, text: string): Promise<boolean> {
  try {
    await print(host, text)
    return true
  } catch (error) {
    if (systemCodeOf(error) === 'EPIPE') return false
    throw error
  }
}

export function systemCodeOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}
