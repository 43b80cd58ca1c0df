/**
 * Every failure that the domain reports on purpose, with a code for callers to switch on; the HTTP status is chosen in one
 * table at the edge. The message is written for the client that made the call: what is wrong, and what to do. It contains
 * no token, no message and no path of this machine; `cause` holds what the operator should see.
 */

import { StorageError, type StorageErrorCode } from '../../storage-engine/index.ts'

export type DomainErrorCode =
  | 'INVALID' // what was sent is wrong; `path` says where
  | 'TOPIC_UNKNOWN' // no such topic, or no longer
  | 'CONFLICT' // what was expected to be the newest event of a topic is not; `details` says which is
  | 'KEY_REUSED' // the idempotency key was used before, with a different request
  | 'UNAUTHORIZED' // no token, or an unknown one
  | 'FORBIDDEN' // the token is known, but lacks the right
  | 'STATIC_TOPIC' // a configured topic cannot be deleted
  | 'STORE_OFF' // a persistent topic was requested, but the store is switched off
  | 'STORE_FAILED' // the store cannot be written or read: the operator has to act
  | 'STORE_FULL' // no room in the store; it takes events again when there is
  | 'BUSY' // not now; the same call may succeed soon
  | 'TOO_LARGE' // over a limit in bytes
  | 'LIMIT' // over a limit in number
  | 'CLOSED' // the service is starting or stopping

export interface DomainErrorOptions {
  /** Where in the request the mistake is, such as `event.message`. */
  readonly path?: string
  /** More detail for programs, under wire names. */
  readonly details?: Readonly<Record<string, unknown>>
  readonly cause?: unknown
}

export class DomainError extends Error {
  readonly code: DomainErrorCode
  readonly path: string | undefined
  readonly details: Readonly<Record<string, unknown>> | undefined

  constructor(code: DomainErrorCode, message: string, { path, details, cause }: DomainErrorOptions = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'DomainError'
    this.code = code
    this.path = path
    this.details = details
  }
}

/** `limit` is the setting that the operator may raise. */
export function limitReached(limit: string, message: string): DomainError {
  return new DomainError('LIMIT', message, { details: { limit } })
}

export function unknownTopic(): DomainError {
  return new DomainError('TOPIC_UNKNOWN', 'There is no such topic, or no longer.')
}

/**
 * What a failure of the storage engine means to a client. Anything other than a StorageError is returned as it is: an error
 * of the domain, or a bug of ours, which must not look like a disk failure.
 */
export function fromStorageError(error: unknown): unknown {
  if (!(error instanceof StorageError)) return error
  const code = codeOfStorage[error.code]
  const sentence = error.code === 'STORAGE_QUOTA' ? quotaSentence : sentences[code]
  return new DomainError(code, sentence, { cause: error })
}

type StorageMeaning = 'CLOSED' | 'STORE_FAILED' | 'STORE_FULL' | 'BUSY' | 'TOO_LARGE'

const codeOfStorage: Readonly<Record<StorageErrorCode, StorageMeaning>> = {
  STORAGE_CLOSED: 'CLOSED',
  STORAGE_FAILED: 'STORE_FAILED',
  STORAGE_FULL: 'STORE_FULL',
  STORAGE_QUOTA: 'STORE_FULL',
  // The failed batch was truncated away again, and the log carries on.
  STORAGE_WRITE: 'BUSY',
  STORAGE_BUSY: 'BUSY',
  STORAGE_TOO_LARGE: 'TOO_LARGE',
  STORAGE_LOCKED: 'STORE_FAILED',
  STORAGE_PERMISSION: 'STORE_FAILED',
  STORAGE_FOREIGN: 'STORE_FAILED',
  STORAGE_NEWER_FORMAT: 'STORE_FAILED',
  STORAGE_DAMAGED: 'STORE_FAILED',
  STORAGE_MISSING: 'STORE_FAILED',
  STORAGE_EXHAUSTED: 'STORE_FAILED',
  STORAGE_READ: 'STORE_FAILED',
}

const quotaSentence =
  'The store has reached its limit. Nothing was published. Delete or empty topics, or give them limits; or have the operator raise log.maxBytes.'

const sentences: Readonly<Record<StorageMeaning, string>> = {
  CLOSED: 'The service is starting or stopping. Try again shortly.',
  STORE_FAILED:
    'The store has failed and accepts nothing until the operator has looked at it. What was just sent may or may not have been stored.',
  STORE_FULL: 'The store has no room left. Nothing was published; try again when the operator has made room.',
  BUSY: 'The store could not take this now. Nothing was published; try again shortly.',
  TOO_LARGE: 'This is more than the store accepts at once. Send less.',
}
