// The address of a data folder's control socket. The address of a Unix socket has little room: a longer path is replaced by a
// file descriptor of the folder, for as long as the address is in use.
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { CONTROL_SOCKET_NAME } from './protocol.ts'

/** `sun_path` holds 108 bytes on Linux and 104 on macOS, including a NUL. */
const PATH_BYTES_MAX = 103

export class SocketPathTooLong extends Error {
  constructor(path: string) {
    super(`${path} is longer than the ${PATH_BYTES_MAX} bytes that the path of a Unix socket may have here`)
    this.name = 'SocketPathTooLong'
  }
}

export class SocketFolder {
  readonly #directory: string
  readonly #handle: FileHandle | undefined

  private constructor(directory: string, handle: FileHandle | undefined) {
    this.#directory = directory
    this.#handle = handle
  }

  /** Throws SocketPathTooLong where the system offers no way around it, and the system's errors for the folder. */
  static async open(directory: string): Promise<SocketFolder> {
    const path = join(directory, CONTROL_SOCKET_NAME)
    if (Buffer.byteLength(path) <= PATH_BYTES_MAX - '.new'.length) return new SocketFolder(directory, undefined)
    if (process.platform !== 'linux') throw new SocketPathTooLong(path)
    return new SocketFolder(directory, await open(directory, 'r'))
  }

  address(name: string): string {
    return this.#handle === undefined ? join(this.#directory, name) : `/proc/self/fd/${this.#handle.fd}/${name}`
  }

  /** Idempotent; existing connections are unaffected. */
  async close(): Promise<void> {
    await this.#handle?.close()
  }
}
