// Where a command's log is, and its lock.
import { lchown, lstat, readdir } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { acquireDirectoryLock, type DirectoryLock, StorageError } from '../../../storage-engine/index.ts'
import { loadConfig } from '../../config/config.ts'
import { type CliHost, CommandFailure, exitNoInput, systemCodeOf } from '../host.ts'

/** The folder named on the command line, or the configured data folder. */
export function askedFolder(directory: string | undefined, host: CliHost): string {
  if (directory !== undefined) return resolve(host.cwd, directory)
  return loadConfig({ env: host.env, cwd: host.cwd }).config.storage.directory
}

/** The folder of the log. Throws CommandFailure where there is none. */
export async function findLog(directory: string | undefined, host: CliHost): Promise<string> {
  const asked = askedFolder(directory, host)
  for (const folder of [asked, join(asked, 'log')]) {
    const names = await namesIn(folder)
    if (names.some((name) => /^segment-\d{16}\./.test(name))) return folder
  }
  throw new CommandFailure(exitNoInput, `there is no log in ${asked}. Name its folder by --directory.`)
}

/** The data folder that contains the log; or the log's own folder, where it stands alone. */
export function dataFolderOf(directory: string): string {
  return basename(directory) === 'log' ? dirname(directory) : directory
}

export async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    const code = systemCodeOf(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') return []
    throw error
  }
}

/**
 * The server locks the data folder, which contains the log's; a log that stands alone may have its own lock. Throws
 * STORAGE_LOCKED. Where there is no lock file, as in a copy, or the folder is read-only, the operator is warned.
 */
export async function lockToRead(directory: string, host: CliHost): Promise<readonly DirectoryLock[]> {
  const locks: DirectoryLock[] = []
  let isTold = false
  try {
    for (const folder of new Set([dataFolderOf(directory), directory])) {
      if (!(await namesIn(folder)).includes('LOCK')) continue
      try {
        locks.push(await (host.acquireLock ?? acquireDirectoryLock)(folder))
        await leaveToOwner(folder, (name) => name.startsWith('LOCK'))
      } catch (error) {
        if (!isReadOnly(error)) throw error
        isTold = true
        host.stderr.write(
          `sser log: the lock in ${folder} cannot be taken, since the folder may not be written. ` +
            'If a server writes this log now, what follows may be wrong.\n',
        )
      }
    }
  } catch (error) {
    for (const lock of locks) await lock.release()
    throw error
  }
  if (locks.length === 0 && !isTold) {
    host.stderr.write(
      `sser log: ${directory} has no lock file, as a copy has none. If a server writes it now, what follows may be wrong.\n`,
    )
  }
  return locks
}

/** The lock that is required for any change. Throws STORAGE_LOCKED. */
export async function lockToWrite(folder: string, host: CliHost): Promise<DirectoryLock> {
  const lock = await (host.acquireLock ?? acquireDirectoryLock)(folder)
  await leaveToOwner(folder, (name) => name.startsWith('LOCK'))
  return lock
}

/**
 * Files created by root would keep a server that runs as another user out of its own folder: it could neither read them, nor
 * connect to root's socket to find out whether anybody listens.
 */
export async function leaveToOwner(folder: string, isMeant: (name: string) => boolean = () => true): Promise<void> {
  if (process.getuid?.() !== 0) return
  const { uid, gid } = await lstat(folder)
  if (uid === 0) return
  for (const name of await readdir(folder)) {
    if (!isMeant(name)) continue
    const path = join(folder, name)
    if ((await lstat(path)).uid === 0) await lchown(path, uid, gid)
  }
}

function isReadOnly(error: unknown): boolean {
  if (!(error instanceof StorageError) || error.code !== 'STORAGE_PERMISSION') return false
  const code = systemCodeOf(error.cause)
  return code === 'EROFS' || code === 'EACCES' || code === 'EPERM'
}
