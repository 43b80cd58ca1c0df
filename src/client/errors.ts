/** What a call to the server failed with. The message is the server's own sentence where it gave one. */

import { retryAfterMs } from './retry-after.ts'

export type SserErrorCode =
  | 'SSER_REFUSED' // the server answered with a status that says no; `status` says which
  | 'SSER_UNREACHABLE' // no answer: the network, or no server there
  | 'SSER_PROTOCOL' // an answer that no sser server gives

export class SserError extends Error {
  readonly code: SserErrorCode
  /** The HTTP status; undefined where there was no answer. */
  readonly status: number | undefined
  /** What the server says beside its message, such as the `path` of the member that is wrong. */
  readonly details: Readonly<Record<string, unknown>> | undefined

  /** So long the server asks to be left alone; 0 where it says nothing of that. */
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

/** The error that an answer other than a success means. Reads its body. */
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
