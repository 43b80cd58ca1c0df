/** What a call to a server failed with, in words for people and as an exit code. */

import type { SserError } from '../../client/index.ts'
import type { ExitCodes } from '../cli-command.ts'
import { exitFailed, exitNoPermission, exitUnavailable } from '../host.ts'

/** Of the commands that talk to a server. */
export const CLIENT_EXIT_CODES: ExitCodes = [
  [0, 'done'],
  [1, 'the server refused it; its reason is told'],
  [64, 'wrong use: nothing was done'],
  [66, 'a file cannot be read'],
  [69, 'no answer: the server, or the way to it'],
  [74, 'what was to be written could not be'],
  [77, 'the token is missing, or not the right one'],
  [130, 'ended by SIGINT (Ctrl-C) before it was done; 143 by SIGTERM'],
]

export function exitCodeOf({ code, status }: SserError): number {
  if (code === 'SSER_UNREACHABLE') return exitUnavailable
  return status === 401 || status === 403 ? exitNoPermission : exitFailed
}

/** The sentence of the server, and where it says more, that. */
export function wordsOf(error: SserError): string {
  const path = error.details?.['path']
  const where = typeof path === 'string' ? ` (${path})` : ''
  const cause = error.cause instanceof Error ? ` ${causeOf(error.cause)}` : ''
  const advice = error.status === 401 ? ' Give a token by SSER_TOKEN or --token-file.' : ''
  return `${error.message}${where}${cause}${advice}`
}

/** fetch says "fetch failed", and what failed as its cause. */
function causeOf(error: Error): string {
  const cause = error.cause instanceof Error ? error.cause : error
  return cause.message === '' && 'code' in cause ? `(${String(cause.code)})` : `(${cause.message})`
}
