/**
 * Read handles on many files, of which only a bounded number are open at a time: a log of a thousand segments must not
 * need a thousand descriptors. The least recently used one is closed first, but never while it is being read from.
 */

import { systemCode } from './errors.ts'
import type { DataFile, Files } from './files.ts'
import { systemError } from './system-error.ts'

interface Handle {
  readonly opening: Promise<DataFile>
  users: number
  isForgotten: boolean
}

export class OpenFiles {
  readonly #files: Files
  readonly #countMax: number
  readonly #handles = new Map<string, Handle>()
  #isClosed = false

  constructor(files: Files, countMax: number) {
    this.#files = files
    this.#countMax = countMax
  }

  /** Reads as `DataFile.read` does, opening the file where it is not open. */
  async read(path: string, target: Uint8Array, position: number): Promise<number> {
    const handle = this.#handle(path)
    handle.users += 1
    try {
      const file = await handle.opening
      return await file.read(target, position)
    } catch (error) {
      // A failed open must not be remembered: the next reader tries again.
      if (this.#handles.get(path) === handle) this.forget(path)
      throw error
    } finally {
      handle.users -= 1
      if (handle.isForgotten && handle.users === 0) void closeQuietly(handle)
      void this.#closeDownTo(this.#countMax)
    }
  }

  /** Closes the file as soon as nobody reads from it. */
  forget(path: string): void {
    void this.#forget(path)
  }

  /** From now on nothing is opened any more. */
  async close(): Promise<void> {
    this.#isClosed = true
    const handles = [...this.#handles.values()]
    this.#handles.clear()
    await Promise.all(handles.map(closeQuietly))
  }

  #handle(path: string): Handle {
    const known = this.#handles.get(path)
    if (known !== undefined) {
      this.#handles.delete(path)
      this.#handles.set(path, known)
      return known
    }
    const handle: Handle = { opening: this.#open(path), users: 0, isForgotten: false }
    this.#handles.set(path, handle)
    return handle
  }

  async #open(path: string): Promise<DataFile> {
    if (this.#isClosed) throw systemError('EBADF', 'open', path)
    try {
      return await this.#files.open(path, 'read')
    } catch (error) {
      if (!isShortage(error)) throw error
      // Too many descriptors are open in this process: those of ours that nobody reads from can be spared.
      await this.#closeDownTo(0)
      return await this.#files.open(path, 'read')
    }
  }

  /** Resolves when everything that could be closed is closed. */
  async #closeDownTo(count: number): Promise<void> {
    const closing: Promise<void>[] = []
    for (const [path, handle] of this.#handles) {
      if (this.#handles.size <= count) break
      if (handle.users === 0) closing.push(this.#forget(path))
    }
    await Promise.all(closing)
  }

  async #forget(path: string): Promise<void> {
    const handle = this.#handles.get(path)
    if (handle === undefined) return
    this.#handles.delete(path)
    handle.isForgotten = true
    if (handle.users === 0) await closeQuietly(handle)
  }
}

/** A read handle has nothing to lose: an error while closing it means nothing to anybody. */
async function closeQuietly(handle: Handle): Promise<void> {
  await handle.opening.then((file) => file.close()).catch(() => undefined)
}

/** Whether reading failed for lack of descriptors or memory, which is temporary and says nothing about the bytes. */
export function isShortage(error: unknown): boolean {
  const code = systemCode(error)
  return code === 'EMFILE' || code === 'ENFILE' || code === 'ENOMEM'
}
