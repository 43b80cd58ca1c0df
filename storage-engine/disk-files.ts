/**
 * `Files` over the real disk. Adds to node:fs what a log needs and nothing more: no symbolic links, regular files only,
 * short writes continued, folders synced. It knows nothing of what the bytes mean, retries nothing that failed, and
 * passes on the operating system's errors unchanged.
 *
 * It uses node:fs's callback functions, each wrapped in one promise: a commit is one `write` and one `sync`, and each
 * of these is one trip to the thread pool.
 */

import assert from 'node:assert'
import fs from 'node:fs'
import { dirname } from 'node:path'
import { systemCode } from './errors.ts'
import type { DataFile, Files } from './files.ts'
import { systemError } from './system-error.ts'

const FILE_MODE = 0o600
const DIRECTORY_MODE = 0o700
/** Linux takes at most 2 GiB - 4 KiB in one call; more is carried on by the loop. */
const WRITE_BYTES_MAX = 2 ** 30
/** A FIFO under the name must not hold a thread of the pool until someone opens its other end; files do not care. */
const OPEN_FLAGS = fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK

export class DiskFiles implements Files {
  async open(path: string, mode: 'create' | 'read' | 'update'): Promise<DataFile> {
    const fd = await openDescriptor(path, OPEN_FLAGS | accessFlags(mode)).catch((error: unknown) => {
      if (systemCode(error) !== 'ELOOP') throw error
      throw systemError('ELOOP', 'open', path, 'a symbolic link, or too many on the way')
    })
    try {
      const status = await statDescriptor(fd)
      if (status.isDirectory()) throw systemError('EISDIR', 'open', path)
      if (!status.isFile()) throw systemError('EINVAL', 'open', path, 'not a regular file')
      return new DiskFile(path, fd, status.size)
    } catch (error) {
      await closeDescriptor(fd)
      throw error
    }
  }

  async list(directory: string): Promise<readonly string[]> {
    const names = await new Promise<string[]>((resolve, reject) => {
      fs.readdir(directory, (error, found) => (error === null ? resolve(found) : reject(error)))
    })
    return names.sort()
  }

  async makeDirectory(directory: string): Promise<void> {
    try {
      await mkdir(directory)
    } catch (error) {
      const parent = dirname(directory)
      if (systemCode(error) === 'EEXIST') {
        if (!(await isDirectory(directory))) throw error
        await this.#syncIfAllowed(parent)
        return
      }
      if (systemCode(error) !== 'ENOENT' || parent === directory) throw error
      await this.makeDirectory(parent)
      await mkdir(directory)
    }
    // Each level is synced before the next is made: after a crash at most the last one found may still be unsynced.
    await this.syncDirectory(dirname(directory))
  }

  rename(from: string, to: string): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.rename(from, to, (error) => (error === null ? resolve() : reject(error)))
    })
  }

  remove(path: string): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.unlink(path, (error) => (error === null ? resolve() : reject(error)))
    })
  }

  async syncDirectory(directory: string): Promise<void> {
    const fd = await openDescriptor(directory, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY)
    try {
      await new Promise<void>((resolve, reject) => {
        fs.fsync(fd, (error) => (error === null ? resolve() : reject(placed(error, directory))))
      })
    } finally {
      await closeDescriptor(fd)
    }
  }

  /**
   * A folder that is already there may have been made by a process that was killed before it could sync the name, so
   * it is synced again. Where its parent may not be opened, it is an administrator's folder and older than this log.
   */
  async #syncIfAllowed(directory: string): Promise<void> {
    try {
      await this.syncDirectory(directory)
    } catch (error) {
      const code = systemCode(error)
      if (code !== 'EACCES' && code !== 'EPERM' && code !== 'EROFS' && code !== 'EINVAL') throw error
    }
  }
}

class DiskFile implements DataFile {
  readonly path: string
  readonly #fd: number
  #sizeBytes: number
  /** Calls in the thread pool. The descriptor is closed after the last: its number could be another file's by then. */
  #pending = 0
  #closing: Promise<void> | undefined
  #idle: (() => void) | undefined

  constructor(path: string, fd: number, sizeBytes: number) {
    this.path = path
    this.#fd = fd
    this.#sizeBytes = sizeBytes
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  write(bytes: Uint8Array, position: number): Promise<void> {
    assert(Number.isSafeInteger(position) && position >= 0, 'a position is a whole number, not negative')
    if (this.#closing !== undefined) return Promise.reject(systemError('EBADF', 'write', this.path))
    if (bytes.length === 0) return Promise.resolve()
    this.#pending++
    return new Promise((resolve, reject) => this.#writeFrom(bytes, 0, position, resolve, reject))
  }

  read(target: Uint8Array, position: number): Promise<number> {
    assert(Number.isSafeInteger(position) && position >= 0, 'a position is a whole number, not negative')
    if (this.#closing !== undefined) return Promise.reject(systemError('EBADF', 'read', this.path))
    if (target.length === 0) return Promise.resolve(0)
    this.#pending++
    return new Promise((resolve, reject) => this.#readFrom(target, 0, position, resolve, reject))
  }

  truncate(sizeBytes: number): Promise<void> {
    assert(Number.isSafeInteger(sizeBytes) && sizeBytes >= 0, 'a size is a whole number, not negative')
    if (this.#closing !== undefined) return Promise.reject(systemError('EBADF', 'ftruncate', this.path))
    this.#pending++
    return new Promise((resolve, reject) => {
      fs.ftruncate(this.#fd, sizeBytes, (error) => {
        this.#settled()
        if (error !== null) return reject(placed(error, this.path))
        this.#sizeBytes = sizeBytes
        resolve()
      })
    })
  }

  sync(): Promise<void> {
    if (this.#closing !== undefined) return Promise.reject(systemError('EBADF', 'fdatasync', this.path))
    this.#pending++
    return new Promise((resolve, reject) => {
      fs.fdatasync(this.#fd, (error) => {
        this.#settled()
        if (error !== null) return reject(placed(error, this.path))
        resolve()
      })
    })
  }

  /** Waits for what is under way on this handle. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#closeWhenIdle()
    return this.#closing
  }

  async #closeWhenIdle(): Promise<void> {
    if (this.#pending > 0) await new Promise<void>((resolve) => (this.#idle = resolve))
    await closeDescriptor(this.#fd)
  }

  #writeFrom(
    bytes: Uint8Array,
    from: number,
    position: number,
    resolve: () => void,
    reject: (error: unknown) => void,
  ): void {
    const length = Math.min(bytes.length - from, WRITE_BYTES_MAX)
    fs.write(this.#fd, bytes, from, length, position + from, (error, written) => {
      if (error !== null || written === 0) {
        this.#settled()
        // A write of nothing that is no error would be tried for ever.
        return reject(error === null ? systemError('EIO', 'write', this.path) : placed(error, this.path))
      }
      const next = from + written
      if (position + next > this.#sizeBytes) this.#sizeBytes = position + next
      if (next < bytes.length) return this.#writeFrom(bytes, next, position, resolve, reject)
      this.#settled()
      resolve()
    })
  }

  #readFrom(
    target: Uint8Array,
    from: number,
    position: number,
    resolve: (bytesRead: number) => void,
    reject: (error: unknown) => void,
  ): void {
    fs.read(this.#fd, target, from, target.length - from, position + from, (error, bytesRead) => {
      if (error !== null) {
        this.#settled()
        return reject(placed(error, this.path))
      }
      const next = from + bytesRead
      // Short of the known end is a short read, to be carried on; at or behind it, it is the end of the file.
      if (bytesRead > 0 && next < target.length && position + next < this.#sizeBytes) {
        return this.#readFrom(target, next, position, resolve, reject)
      }
      this.#settled()
      resolve(next)
    })
  }

  #settled(): void {
    this.#pending--
    if (this.#pending === 0) this.#idle?.()
  }
}

function accessFlags(mode: 'create' | 'read' | 'update'): number {
  if (mode === 'read') return fs.constants.O_RDONLY
  if (mode === 'update') return fs.constants.O_RDWR
  return fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_EXCL
}

function openDescriptor(path: string, flags: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.open(path, flags, FILE_MODE, (error, fd) => (error === null ? resolve(fd) : reject(error)))
  })
}

function statDescriptor(fd: number): Promise<fs.Stats> {
  return new Promise((resolve, reject) => {
    fs.fstat(fd, (error, status) => (error === null ? resolve(status) : reject(error)))
  })
}

function closeDescriptor(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fs.close(fd, (error) => (error === null || error === undefined ? resolve() : reject(error)))
  })
}

function mkdir(directory: string): Promise<void> {
  return new Promise((resolve, reject) => {
    fs.mkdir(directory, DIRECTORY_MODE, (error) => (error === null ? resolve() : reject(error)))
  })
}

function isDirectory(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    fs.stat(path, (error, status) => (error === null ? resolve(status.isDirectory()) : reject(error)))
  })
}

/** Calls by descriptor do not say which file they failed on. */
function placed(error: NodeJS.ErrnoException, path: string): NodeJS.ErrnoException {
  error.path ??= path
  return error
}
