// A log that does not change while a command reads it: by the folder's lock where no server runs, by a pin held by the server
// where one does.
import {
  type DirectoryLock,
  DiskFiles,
  type Files,
  ListedFiles,
  type LogListing,
  listPinned,
  listStopped,
  StorageError,
} from '../../../storage-engine/index.ts'
import { askInfo, askPin, ControlError, type HeldPin } from '../../control/control-client.ts'
import type { LiveFigures } from '../../control/protocol.ts'
import { type CliHost, CommandFailure, exitIoError, exitNoInput } from '../host.ts'
import { dataFolderOf, lockToRead } from './log-folder.ts'

export interface LogAccess {
  /** Shows the log's files as they are kept. */
  readonly files: Files
  /** The figures of the running server, if there is one. */
  readonly live: LiveFigures | undefined
  list(): Promise<LogListing>
  /** Throws CommandFailure where the log may have changed in the meantime. */
  confirm(): void
  close(): Promise<void>
}

/** Throws STORAGE_LOCKED where a process uses the folder but does not answer. */
export async function accessLog(directory: string, host: CliHost): Promise<LogAccess> {
  let locks: readonly DirectoryLock[]
  try {
    locks = await lockToRead(directory, host)
  } catch (error) {
    return await accessRunning(directory, error)
  }
  const files = new DiskFiles()
  return {
    files,
    live: undefined,
    async list() {
      const listing = await listStopped(files, directory)
      if (listing !== undefined) return listing
      throw new CommandFailure(exitNoInput, `no segment in ${directory} has a header that verifies.`)
    },
    confirm: () => undefined,
    async close() {
      for (const lock of locks) await lock.release()
    },
  }
}

async function accessRunning(directory: string, locked: unknown): Promise<LogAccess> {
  const folder = dataFolderOf(directory)
  const pin = await whereLocked(locked, () => askPin(folder))
  try {
    const disk = new DiskFiles()
    const live = await askInfo(folder)
    const listing = await listPinned(disk, directory, pin.pinned)
    return {
      files: new ListedFiles(disk, directory, listing.files),
      live,
      list: async () => listing,
      confirm: () => assertHeld(pin),
      close: async () => pin.release(),
    }
  } catch (error) {
    pin.release()
    throw error
  }
}

function assertHeld({ isHeld }: HeldPin): void {
  if (isHeld) return
  throw new CommandFailure(exitIoError, 'the server has stopped meanwhile, so that files may have changed. Try again.')
}

/** Asks the server that holds the lock. Where none answers, throws the reason why the lock could not be taken. */
export async function whereLocked<T>(locked: unknown, ask: () => Promise<T>): Promise<T> {
  if (!(locked instanceof StorageError) || locked.code !== 'STORAGE_LOCKED') throw locked
  try {
    return await ask()
  } catch (error) {
    if (!(error instanceof ControlError) || error.code !== 'ABSENT') throw error
    throw new StorageError('STORAGE_LOCKED', `${locked.message} ${error.message}`, error)
  }
}
