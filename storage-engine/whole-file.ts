/**
 * Files that appear under their names only when they are complete and durable: write under a temporary name, sync,
 * rename, sync the folder. Whoever finds such a file knows that all of it was on the disk once.
 */

import { temporaryName } from './data-directory.ts'
import { SyncFailure } from './errors.ts'
import type { DataFile, Files } from './files.ts'

/**
 * Background work hands the disk at most this much at once, for the publishers' sake: their syncs wait behind the one that
 * is under way.
 */
export const BACKGROUND_SYNC_BYTES = 1024 * 1024

/**
 * Resolves when the file is durable under its name. Throws whatever `write` and the disk throw, and leaves nothing behind;
 * throws SyncFailure if a sync fails, in which case nobody knows what is there.
 */
export async function createWholeFile(
  files: Files,
  directory: string,
  name: string,
  write: (file: DataFile) => Promise<void>,
): Promise<void> {
  const temporaryPath = `${directory}/${temporaryName(name)}`
  await files.remove(temporaryPath).catch(() => undefined)
  const temporary = await files.open(temporaryPath, 'create')
  try {
    try {
      await write(temporary)
      await syncOrFail(temporary)
    } finally {
      await temporary.close()
    }
    await files.rename(temporaryPath, `${directory}/${name}`)
  } catch (error) {
    await files.remove(temporaryPath).catch(() => undefined)
    throw error
  }
  await syncDirectoryOrFail(files, directory)
}

/** Makes a file durable, or throws SyncFailure. */
export async function syncOrFail(file: DataFile): Promise<void> {
  try {
    await file.sync()
  } catch (error) {
    throw new SyncFailure(file.path, error)
  }
}

/** Makes the names in a folder durable, or throws SyncFailure. */
export async function syncDirectoryOrFail(files: Files, directory: string): Promise<void> {
  try {
    await files.syncDirectory(directory)
  } catch (error) {
    throw new SyncFailure(directory, error)
  }
}
