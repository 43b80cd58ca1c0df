/** How a call to the server failed. The message is the server's own sentence where it sent one. */

import { retryAfterMs } from './retry-after.ts'

export type SserErrorCode =
  | 'SSER_REFUSED' // the server refused; `status` is its HTTP status
  | 'SSER_UNREACHABLE' // no answer: a network problem, or no server there
  | 'SSER_PROTOCOL' // an answer that no sser server would give

export class SserError extends Error {
  readonly code: SserErrorCode
  /** The HTTP status; undefined where there was no answer. */
  readonly status: number | undefined
  /** Further information from the server, such as the `path` of the member that is wrong. */
  readonly details: Readonly<Record<string, unknown>> | undefined

  /** How long the server asks clients to wait; 0 where it does not. */
  readonly retryAfterMs: number

  constructor(
    code: SserErrorCode,
    message: string,
    options: {
      status?: number
      details?: Readonly<Record<string, unknown>>
      retryAfterMs?: number
      cause?: unknown
    } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'SserError'
    this.code = code
    this.status = options.status
    this.details = options.details
    this.retryAfterMs = options.retryAfterMs ?? 0
  }
}

/** The error for an unsuccessful response. Reads its body. */
export async function refusal(response: Response): Promise<SserError> {
  const { status } = response
  const body: unknown = await response.json().catch(() => undefined)
  const error = isRecord(body) && isRecord(body['error']) ? body['error'] : {}
  const message = typeof error['message'] === 'string' ? error['message'] : `The server answered ${status}.`
  const details = isRecord(error['details']) ? { details: error['details'] } : {}
  const waitMs = retryAfterMs(response.headers.get('retry-after'), Date.now())
  return new SserError('SSER_REFUSED', message, { status, retryAfterMs: waitMs, ...details })
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
