/**
 * The port: the engine's only contact with a disk. Three implementations: the real disk, memory, and for tests a faulty
 * disk that loses, tears and reorders what was not synced. Errors are the operating system's own (`code` ENOENT,
 * ENOSPC, EIO, …).
 *
 * After a crash you may rely on the following and nothing else:
 * - the bytes of a file that a later `sync()` of that file covered;
 * - names (created, renamed, removed) that a later `syncDirectory()` of their folder covered.
 */

export interface Files {
  /**
   * `create` fails with EEXIST if the name is taken; `read` gives a file that refuses writes; `update` reads and writes an
   * existing one. A folder or a symbolic link under that name is an error. Files are created with mode 0600.
   */
  open(path: string, mode: 'create' | 'read' | 'update'): Promise<DataFile>
  /** The names in a folder, sorted; not their paths. */
  list(directory: string): Promise<readonly string[]>
  /** Creates the folder, and those above it, with mode 0700 if they are missing. */
  makeDirectory(directory: string): Promise<void>
  /** Replaces `to` if it exists. */
  rename(from: string, to: string): Promise<void>
  remove(path: string): Promise<void>
  /** Makes the names in the folder durable. */
  syncDirectory(directory: string): Promise<void>
}

export interface DataFile {
  readonly path: string
  /** As known to this handle: the size when it was opened, and what was written and truncated through it since. */
  readonly sizeBytes: number
  /** Writes all of the bytes or throws, after which any part of them may be in the file. */
  write(bytes: Uint8Array, position: number): Promise<void>
  /** Reads up to `target.length` bytes; fewer only at the end of the file. Returns how many. */
  read(target: Uint8Array, position: number): Promise<number>
  truncate(sizeBytes: number): Promise<void>
  /** fdatasync: content and size are durable when it resolves. */
  sync(): Promise<void>
  close(): Promise<void>
}
