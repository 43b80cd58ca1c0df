/**
 * `Files` in memory: for logs that are not kept, and for tests that need no disk. Behaves as the disk does, errors
 * included, except for durability: `sync` does nothing, and everything ends with the object. The bytes of a removed
 * file are freed with the last handle to it, as on a disk.
 *
 * The simulated disk (faulty-files.ts) is built from `MemoryContent` and `Folders` too.
 */

import assert from 'node:assert'
import { basename, dirname, resolve as resolvePath } from 'node:path'
import type { DataFile, Files } from './files.ts'
import { systemError } from './system-error.ts'

const CHUNK_BYTES = 2 ** 20
const FIRST_CHUNK_BYTES_MIN = 2 ** 12

export class MemoryFiles implements Files {
  readonly #folders = new Folders<MemoryContent>()

  async open(path: string, mode: 'create' | 'read' | 'update'): Promise<DataFile> {
    if (mode === 'create') {
      const content = new MemoryContent()
      this.#folders.create(path, content)
      return new MemoryFile(path, content, true)
    }
    return new MemoryFile(path, this.#folders.get(path, 'open'), mode === 'update')
  }

  async list(directory: string): Promise<readonly string[]> {
    return this.#folders.list(directory)
  }

  async makeDirectory(directory: string): Promise<void> {
    this.#folders.make(directory)
  }

  async rename(from: string, to: string): Promise<void> {
    this.#folders.rename(from, to)
  }

  async remove(path: string): Promise<void> {
    this.#folders.remove(path)
  }

  async syncDirectory(directory: string): Promise<void> {
    this.#folders.list(directory)
  }
}

class MemoryFile implements DataFile {
  readonly path: string
  readonly #writable: boolean
  #content: MemoryContent | undefined
  #sizeBytes: number

  constructor(path: string, content: MemoryContent, writable: boolean) {
    this.path = path
    this.#content = content
    this.#writable = writable
    this.#sizeBytes = content.sizeBytes
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    const content = this.#opened('write')
    if (!this.#writable) throw systemError('EBADF', 'write', this.path)
    content.write(bytes, position)
    if (bytes.length > 0) this.#sizeBytes = Math.max(this.#sizeBytes, position + bytes.length)
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    return this.#opened('read').read(target, position)
  }

  async truncate(sizeBytes: number): Promise<void> {
    const content = this.#opened('ftruncate')
    if (!this.#writable) throw systemError('EINVAL', 'ftruncate', this.path)
    content.truncate(sizeBytes)
    this.#sizeBytes = sizeBytes
  }

  async sync(): Promise<void> {
    this.#opened('fdatasync')
  }

  async close(): Promise<void> {
    this.#content = undefined
  }

  #opened(syscall: string): MemoryContent {
    if (this.#content === undefined) throw systemError('EBADF', syscall, this.path)
    return this.#content
  }
}

/**
 * Growing bytes in chunks of 1 MiB: appending copies nothing that is already there, but for a last chunk that is still
 * small, which doubles. What was never written reads as zeros and takes no memory, chunk by chunk.
 */
export class MemoryContent {
  #sizeBytes = 0
  /** Each of at most CHUNK_BYTES; what a shorter or missing one does not reach is zeros. */
  #chunks: (Uint8Array | undefined)[] = []
  /** A clone has the same chunks, so they are copied before they change. */
  #areChunksShared = false

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  write(bytes: Uint8Array, position: number): void {
    assert(Number.isSafeInteger(position) && position >= 0, 'a position is a whole number, not negative')
    this.#own()
    let done = 0
    while (done < bytes.length) {
      const index = Math.floor((position + done) / CHUNK_BYTES)
      const start = (position + done) % CHUNK_BYTES
      const length = Math.min(bytes.length - done, CHUNK_BYTES - start)
      this.#chunk(index, start + length).set(bytes.subarray(done, done + length), start)
      done += length
    }
    if (done > 0) this.#sizeBytes = Math.max(this.#sizeBytes, position + done)
  }

  /** Returns how many bytes there were. */
  read(target: Uint8Array, position: number): number {
    assert(Number.isSafeInteger(position) && position >= 0, 'a position is a whole number, not negative')
    const total = Math.max(0, Math.min(target.length, this.#sizeBytes - position))
    let done = 0
    while (done < total) {
      const start = (position + done) % CHUNK_BYTES
      const length = Math.min(total - done, CHUNK_BYTES - start)
      const held = this.#chunks[Math.floor((position + done) / CHUNK_BYTES)]?.subarray(start, start + length)
      if (held !== undefined) target.set(held, done)
      target.fill(0, done + (held?.length ?? 0), done + length)
      done += length
    }
    return total
  }

  truncate(sizeBytes: number): void {
    assert(Number.isSafeInteger(sizeBytes) && sizeBytes >= 0, 'a size is a whole number, not negative')
    if (sizeBytes < this.#sizeBytes) {
      this.#own()
      this.#chunks.length = Math.min(this.#chunks.length, Math.ceil(sizeBytes / CHUNK_BYTES))
      // What is cut off must not be seen again when the file grows.
      if (sizeBytes % CHUNK_BYTES > 0) {
        this.#chunks[Math.floor(sizeBytes / CHUNK_BYTES)]?.fill(0, sizeBytes % CHUNK_BYTES)
      }
    }
    this.#sizeBytes = sizeBytes
  }

  /** A copy of the bytes from `start` to before `end`, or to the end of the content where that comes first. */
  slice(start = 0, end = this.#sizeBytes): Uint8Array {
    const target = new Uint8Array(Math.max(0, Math.min(end, this.#sizeBytes) - start))
    this.read(target, start)
    return target
  }

  /** Costs nothing until one of the two changes. */
  clone(): MemoryContent {
    const copy = new MemoryContent()
    copy.#sizeBytes = this.#sizeBytes
    copy.#chunks = this.#chunks
    this.#areChunksShared = true
    copy.#areChunksShared = true
    return copy
  }

  #own(): void {
    if (!this.#areChunksShared) return
    this.#chunks = this.#chunks.map((chunk) => chunk?.slice())
    this.#areChunksShared = false
  }

  #chunk(index: number, lengthMin: number): Uint8Array {
    const chunk = this.#chunks[index]
    if (chunk !== undefined && chunk.length >= lengthMin) return chunk
    // Only a first chunk starts small: where there are others before it, a whole one more does not matter.
    const doubled = Math.max(FIRST_CHUNK_BYTES_MIN, 2 ** Math.ceil(Math.log2(lengthMin)))
    const grown = new Uint8Array(index === 0 ? Math.min(CHUNK_BYTES, doubled) : CHUNK_BYTES)
    if (chunk !== undefined) grown.set(chunk)
    while (this.#chunks.length < index) this.#chunks.push(undefined)
    this.#chunks[index] = grown
    return grown
  }
}

/** Names in folders, with the refusals of the operating system. `T` is what stands for a file. */
export class Folders<T extends object> {
  readonly #folders = new Map<string, Map<string, T | 'folder'>>([[resolvePath('/'), new Map()]])

  /** The file under a path, or an error that names `syscall`. */
  get(path: string, syscall: string): T {
    const found = this.#folder(dirname(resolvePath(path)), syscall, path).get(basename(resolvePath(path)))
    if (found === undefined && !this.#folders.has(resolvePath(path))) throw systemError('ENOENT', syscall, path)
    if (found === undefined || found === 'folder') throw systemError('EISDIR', syscall, path)
    return found
  }

  /** The file under a path, or undefined where there is none. */
  find(path: string): T | undefined {
    const found = this.#folders.get(dirname(resolvePath(path)))?.get(basename(resolvePath(path)))
    return found === 'folder' ? undefined : found
  }

  create(path: string, file: T): void {
    const folder = this.#folder(dirname(resolvePath(path)), 'open', path)
    if (folder.has(basename(resolvePath(path)))) throw systemError('EEXIST', 'open', path)
    folder.set(basename(resolvePath(path)), file)
  }

  /** Puts the file under the name, whatever stood there. */
  set(path: string, file: T): void {
    this.#folder(dirname(resolvePath(path)), 'open', path).set(basename(resolvePath(path)), file)
  }

  delete(path: string): void {
    this.#folder(dirname(resolvePath(path)), 'unlink', path).delete(basename(resolvePath(path)))
  }

  rename(from: string, to: string): void {
    const file = this.get(from, 'rename')
    const target = this.#folder(dirname(resolvePath(to)), 'rename', to)
    if (target.get(basename(resolvePath(to))) === 'folder') throw systemError('EISDIR', 'rename', to)
    this.delete(from)
    target.set(basename(resolvePath(to)), file)
  }

  remove(path: string): void {
    this.get(path, 'unlink')
    this.delete(path)
  }

  list(directory: string): readonly string[] {
    return [...this.#folder(resolvePath(directory), 'scandir', directory).keys()].sort()
  }

  make(directory: string): void {
    const path = resolvePath(directory)
    if (this.#folders.has(path)) return
    const parent = dirname(path)
    if (this.find(parent) !== undefined) throw systemError('ENOTDIR', 'mkdir', directory)
    this.make(parent)
    const folder = this.#folder(parent, 'mkdir', directory)
    if (folder.has(basename(path))) throw systemError('EEXIST', 'mkdir', directory)
    folder.set(basename(path), 'folder')
    this.#folders.set(path, new Map())
  }

  /** Every file with its full path, in no order. */
  *entries(): Generator<readonly [path: string, file: T]> {
    for (const [directory, folder] of this.#folders) {
      for (const [name, file] of folder) {
        if (file !== 'folder') yield [resolvePath(directory, name), file]
      }
    }
  }

  /** The same folders and names, each file put through `copy`. */
  map(copy: (file: T) => T): Folders<T> {
    const folders = new Folders<T>()
    for (const [directory, folder] of this.#folders) {
      const entries = [...folder].map(([name, file]) => [name, file === 'folder' ? file : copy(file)] as const)
      folders.#folders.set(directory, new Map(entries))
    }
    return folders
  }

  #folder(path: string, syscall: string, asked: string): Map<string, T | 'folder'> {
    const folder = this.#folders.get(path)
    if (folder !== undefined) return folder
    for (let above = path; dirname(above) !== above; above = dirname(above)) {
      if (this.find(above) !== undefined) throw systemError('ENOTDIR', syscall, asked)
    }
    throw systemError('ENOENT', syscall, asked)
  }
}
