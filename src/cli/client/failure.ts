/** How a call to a server failed, in words for people and as an exit code. */

import type { SserError } from '../../client/index.ts'
import type { ExitCodes } from '../cli-command.ts'
import { exitFailed, exitNoPermission, exitUnavailable, systemCodeOf } from '../host.ts'

/** For the commands that talk to a server. */
export const CLIENT_EXIT_CODES: ExitCodes = [
  [0, 'done'],
  [1, 'the server refused it; the reason is printed'],
  [64, 'wrong usage: nothing was done'],
  [66, 'a file could not be read'],
  [69, 'the server could not be reached, or did not answer'],
  [74, 'output could not be written'],
  [77, 'the token is missing or wrong'],
  [130, 'ended early by SIGINT (Ctrl-C); 143 by SIGTERM'],
]

export function exitCodeOf({ code, status }: SserError): number {
  if (code === 'SSER_UNREACHABLE') return exitUnavailable
  return status === 401 || status === 403 ? exitNoPermission : exitFailed
}

/** The server's sentence, followed by further details. */
export function wordsOf(error: SserError): string {
  const path = error.details?.['path']
  const where = typeof path === 'string' ? ` (${path})` : ''
  const cause = error.cause instanceof Error ? ` ${causeOf(error.cause)}` : ''
  return `${error.message}${where}${cause}${adviceOf(error)}`
}

function adviceOf({ code, status, cause }: SserError): string {
  if (status === 401) return ' Give the right one by SSER_TOKEN, or by --token-file, such as _storage/tokens.json.'
  if (code !== 'SSER_UNREACHABLE') return ''
  const reason = cause instanceof Error ? (systemCodeOf(cause.cause) ?? '') : ''
  if (NO_SERVER.has(reason)) return ' Start the server, or name another one by --url or SSER_URL.'
  if (!UNKNOWN_AUTHORITY.has(reason)) return ''
  return ' If the certificate is one of your own, name it, or its authority, by NODE_EXTRA_CA_CERTS=FILE.'
}

/** Codes for a server that is not there, or whose name is unknown. */
const NO_SERVER: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
])

/** Codes for certificates without a known issuer. */
const UNKNOWN_AUTHORITY: ReadonlySet<string> = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
])

/** fetch reports "fetch failed", with the actual failure as its cause. */
function causeOf(error: Error): string {
  const cause = error.cause instanceof Error ? error.cause : error
  return cause.message === '' && 'code' in cause ? `(${String(cause.code)})` : `(${cause.message})`
}
