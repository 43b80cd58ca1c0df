/** Files that may only be read: a bug in the inspection of a log must not be able to change anything. */

import type { DataFile, Files } from './files.ts'
import { systemError } from './system-error.ts'

export class ReadOnlyFiles implements Files {
  readonly #files: Files

  constructor(files: Files) {
    this.#files = files
  }

  async open(path: string, mode: 'create' | 'read' | 'update'): Promise<DataFile> {
    if (mode !== 'read') throw systemError('EROFS', 'open', path)
    return await this.#files.open(path, mode)
  }

  async list(directory: string): Promise<readonly string[]> {
    return await this.#files.list(directory)
  }

  async makeDirectory(directory: string): Promise<void> {
    throw systemError('EROFS', 'mkdir', directory)
  }

  async rename(from: string): Promise<void> {
    throw systemError('EROFS', 'rename', from)
  }

  async remove(path: string): Promise<void> {
    throw systemError('EROFS', 'unlink', path)
  }

  async syncDirectory(directory: string): Promise<void> {
    throw systemError('EROFS', 'fsync', directory)
  }
}
