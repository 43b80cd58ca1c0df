// What commands see of the process around them, how they print, and how they end.
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
   * Aborted, with an Interruption, by the first SIGINT or SIGTERM. A caller must stop when that happens: from the call on, the
   * first signal no longer ends the process, only the second one does.
   */
  stopSignal(): AbortSignal
  /** Asks a person a question; undefined where nobody can answer. */
  readonly ask?: ((question: string) => Promise<string>) | undefined
  /** For tests of read-only folders. */
  readonly acquireLock?: ((directory: string) => Promise<DirectoryLock>) | undefined
  /** The process's exit code, unless something is thrown. */
  exitCode: number
}

export const exitWhole = 0
/** The server refused. */
export const exitFailed = 1
export const exitDamaged = 1
/** A server would refuse to start. */
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

/** A mistake in how the command was invoked. */
export class UsageError extends Error {}

/** Ends a command with a message for its caller, and a specific exit code. */
export class CommandFailure extends Error {
  readonly exitCode: number

  constructor(exitCode: number, message: string) {
    super(message)
    this.exitCode = exitCode
  }
}

/** Why a command ended early; the exit code is the one that shells use for a process ended by a signal. */
export class Interruption extends Error {
  readonly exitCode: number

  constructor(signal: StopSignalName) {
    super(`${signal} came.`)
    this.exitCode = 128 + SIGNAL_NUMBERS[signal]
  }
}

/** Waits until the text is taken, so that a slow reader slows down its producer. Rejects where nobody is reading any more. */
export function print({ stdout }: CliHost, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    // A stream reports a failure twice: to the caller, and as an event, which must not end the process.
    stdout.once('error', reject)
    stdout.write(text, (error) => {
      if (error !== null && error !== undefined) return reject(error)
      stdout.off('error', reject)
      resolve()
    })
  })
}

/** As `print`. False where nobody is reading any more. */
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
