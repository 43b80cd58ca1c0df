/**
 * Files that hold keys: complete or absent, and readable only by their owner. Decides nothing about their content.
 */
import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

const DIRECTORY_MODE = 0o700
const FILE_MODE = 0o600
/** Permissions of the group and of others. */
const WIDER_MODE = 0o077
/** Unfinished files, including those of a killed process. */
export const TEMPORARY_ENDING = '.tmp'
const FILE_BYTES_MAX = 1024 * 1024

/** Creates the folder where it is missing, and removes everyone else's permissions from it. */
export async function preparePrivateDirectory(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: DIRECTORY_MODE })
  const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    if (((await handle.stat()).mode & WIDER_MODE) !== 0) await handle.chmod(DIRECTORY_MODE)
  } finally {
    await handle.close()
  }
}

/** Undefined where the file does not exist. Others' permissions are removed before it is read. */
export async function readPrivateFile(path: string): Promise<string | undefined> {
  try {
    const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    try {
      const stat = await handle.stat()
      if (!stat.isFile() || stat.size > FILE_BYTES_MAX) throw new Error(`${path} is not a file of keys`)
      if ((stat.mode & WIDER_MODE) !== 0) await handle.chmod(FILE_MODE)
      return await handle.readFile('utf8')
    } finally {
      await handle.close()
    }
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

/** Temporary name, sync, rename, sync of the folder: the file is never there half-written, even with concurrent writers. */
export async function writePrivateFile(path: string, text: string): Promise<void> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}${TEMPORARY_ENDING}`
  try {
    const handle = await open(temporary, 'wx', FILE_MODE)
    try {
      await handle.writeFile(text)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
  const folder = await open(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
