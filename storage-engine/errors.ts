/**
 * Every failure that the storage engine reports deliberately, with a code that callers may switch on. The message is
 * for an operator: what happened, where, and what to do. `cause` is the operating system's error, if there is one.
 */

export type StorageErrorCode =
  | 'STORAGE_CLOSED' // the log was closed, or is closing
  | 'STORAGE_FAILED' // a sync failed earlier: final for this process (see docs/log-format.md)
  | 'STORAGE_FULL' // no room on the disk; nothing was written; try again when there is room
  | 'STORAGE_QUOTA' // the log has reached the size it may have; nothing was written; try again when there is room
  | 'STORAGE_WRITE' // this batch could not be written; it was cut away; later ones may succeed
  | 'STORAGE_BUSY' // too many bytes wait for the disk already
  | 'STORAGE_TOO_LARGE' // a record or a batch over its bound
  | 'STORAGE_LOCKED' // another process holds the folder
  | 'STORAGE_PERMISSION' // the folder or a file in it may not be read or written
  | 'STORAGE_FOREIGN' // a file that belongs to another log
  | 'STORAGE_NEWER_FORMAT' // written by a later version of the format
  | 'STORAGE_DAMAGED' // bytes that do not verify, where no crash can have left them
  | 'STORAGE_MISSING' // a file that others name is not there
  | 'STORAGE_EXHAUSTED' // no more numbers may be given (reservation refused, or near 2^53)
  | 'STORAGE_READ' // the operating system could not read a range

export class StorageError extends Error {
  readonly code: StorageErrorCode

  constructor(code: StorageErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'StorageError'
    this.code = code
  }
}

/**
 * A sync of a file or a folder failed. What it should have covered may or may not be on the disk, and a second try proves
 * nothing, since the system may have marked the pages clean (see docs/log-format.md): nothing more is written to this log.
 */
export class SyncFailure extends Error {
  constructor(path: string, cause: unknown) {
    super(`${path} could not be made durable (${systemCode(cause) ?? String(cause)})`, { cause })
    this.name = 'SyncFailure'
  }
}

/** The `code` of an operating system's error (`ENOSPC`, `EIO`, …), or undefined for anything else. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}
