/**
 * The file in which a subscriber keeps its place. Promises that it always holds a complete place, old or new, whatever happens,
 * and that after `settled` the latest place is on the disk. Of places that arrive while one is being written, only the latest is
 * kept, so that a subscriber does not wait for the disk on each event. Two processes sharing a file corrupt nothing; the last
 * one wins.
 */

import { randomBytes } from 'node:crypto'
import { access, constants, open, readFile, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { systemCodeOf } from '../host.ts'

export class StateFile {
  readonly #path: string
  /** A unique name, used by no other process on the same file, and by none that was killed. */
  readonly #unfinished: string
  #wanted: string | undefined
  #writing: Promise<void> | undefined
  #failure: unknown

  constructor(path: string) {
    this.#path = path
    const own = `${process.pid}-${randomBytes(6).toString('hex')}`
    this.#unfinished = join(dirname(path), `.${basename(path)}.${own}.tmp`)
  }

  /** Undefined where there is no file yet, or an empty one. Rejects where it could not be created either. */
  async read(): Promise<string | undefined> {
    await access(dirname(this.#path), constants.W_OK)
    try {
      const place = (await readFile(this.#path, 'utf8')).trim()
      return place === '' ? undefined : place
    } catch (error) {
      if (systemCodeOf(error) === 'ENOENT') return undefined
      throw error
    }
  }

  /** Starts writing the place, or queues it. Throws the failure of an earlier write. */
  keep(place: string): void {
    if (this.#failure !== undefined) throw this.#failure
    this.#wanted = place
    this.#writing ??= this.#writeAll()
  }

  /** Resolves when the latest place is on the disk; rejects where it could not be written. */
  async settled(): Promise<void> {
    await this.#writing
    if (this.#failure !== undefined) throw this.#failure
  }

  async #writeAll(): Promise<void> {
    try {
      for (let place = this.#wanted; place !== undefined; place = this.#wanted) {
        this.#wanted = undefined
        await this.#replace(place)
      }
    } catch (error) {
      this.#failure = error
    } finally {
      this.#writing = undefined
    }
  }

  async #replace(place: string): Promise<void> {
    try {
      const file = await open(this.#unfinished, 'w', 0o666)
      try {
        await file.writeFile(`${place}\n`)
        await file.datasync()
      } finally {
        await file.close()
      }
      await rename(this.#unfinished, this.#path)
    } catch (error) {
      await rm(this.#unfinished, { force: true })
      throw error
    }
    await syncFolder(dirname(this.#path))
  }
}

/** Makes the new name durable as well. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
