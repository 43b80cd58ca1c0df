/**
 * A file full of zeros whose room is given back when the disk is full, so that whatever makes room (above all,
 * deletions) can still be written. While it is not whole, no other entries are accepted.
 */

import { RESERVE_NAME } from './data-directory.ts'
import { SyncFailure, systemCode } from './errors.ts'
import type { Files } from './files.ts'

const PIECE_BYTES = 1024 * 1024

export function isDiskFull(error: unknown): boolean {
  const code = systemCode(error)
  return code === 'ENOSPC' || code === 'EDQUOT'
}

export class Reserve {
  readonly #files: Files
  readonly #path: string
  readonly #directory: string
  readonly #sizeBytes: number
  #isWhole = false
  #restoring: Promise<boolean> | undefined

  /** A size of 0 means no reserve: always whole, with nothing to give. */
  constructor(files: Files, directory: string, sizeBytes: number) {
    this.#files = files
    this.#directory = directory
    this.#path = `${directory}/${RESERVE_NAME}`
    this.#sizeBytes = sizeBytes
  }

  get isWhole(): boolean {
    return this.#isWhole || this.#sizeBytes === 0
  }

  /** Gives the room back to the disk. False if there is none to give. */
  async release(): Promise<boolean> {
    await this.#restoring
    if (!this.#isWhole) return false
    this.#isWhole = false
    try {
      await this.#files.remove(this.#path)
    } catch (error) {
      // Somebody removed it by hand to make room: it has been given already.
      if (systemCode(error) === 'ENOENT') return false
      throw error
    }
    await this.#syncDirectory()
    return true
  }

  /** Like `release`, for a reserve that an earlier process wrote. */
  async giveUp(): Promise<boolean> {
    this.#isWhole = (await this.#files.list(this.#directory)).includes(RESERVE_NAME)
    return await this.release()
  }

  /** Takes the room again if there is enough. Resolves with whether the reserve is whole; throws only SyncFailure. */
  async restore(): Promise<boolean> {
    if (this.isWhole) return true
    this.#restoring ??= this.#write().finally(() => {
      this.#restoring = undefined
    })
    return await this.#restoring
  }

  async #write(): Promise<boolean> {
    try {
      const names = await this.#files.list(this.#directory)
      const file = await this.#files.open(this.#path, names.includes(RESERVE_NAME) ? 'update' : 'create')
      try {
        // Written, not merely extended: a file with holes reserves nothing.
        const zeros = Buffer.alloc(Math.min(PIECE_BYTES, this.#sizeBytes))
        for (let position = file.sizeBytes; position < this.#sizeBytes; position += zeros.length) {
          await file.write(zeros.subarray(0, Math.min(zeros.length, this.#sizeBytes - position)), position)
        }
        if (file.sizeBytes > this.#sizeBytes) await file.truncate(this.#sizeBytes)
        await file.sync()
      } finally {
        await file.close()
      }
      await this.#syncDirectory()
      this.#isWhole = true
    } catch (error) {
      if (systemCode(error) === undefined) throw error
      // Half a reserve helps nobody, and others may be waiting for its room.
      await this.#files.remove(this.#path).catch(() => undefined)
    }
    return this.#isWhole
  }

  /** A failure is final for the log: it may have been the only sign that a segment's name is not durable. */
  async #syncDirectory(): Promise<void> {
    await this.#files.syncDirectory(this.#directory).catch((error: unknown) => {
      throw new SyncFailure(this.#directory, error)
    })
  }
}
