/** All of standard input as text, unless a signal arrives first. */

import { addAbortSignal } from 'node:stream'
import { text } from 'node:stream/consumers'
import type { CliHost } from '../host.ts'

/** Rejects with the signal's reason. */
export async function textOfStdin({ stdin, stopSignal }: CliHost): Promise<string> {
  const signal = stopSignal()
  try {
    return await text(addAbortSignal(signal, stdin))
  } catch (error) {
    signal.throwIfAborted()
    throw error
  }
}
