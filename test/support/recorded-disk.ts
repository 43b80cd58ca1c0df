/**
 * What a disk could hold after a loss of power, made of what a process has asked of the system (`recorded-calls.mjs`). It
 * shares nothing with the engine's own simulated disk, and takes the system at its word only: a file's bytes are there when a
 * sync of it that came after them is done, a name when a sync of its folder is. Of all else anything may be there: each write
 * whole, in some of its sectors, or not at all; each name before or behind its change.
 *
 * Folders themselves are there at once.
 */

import assert from 'node:assert/strict'
import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import type { Random } from './random.ts'

const SECTOR_BYTES = 512
const NOTHING = Buffer.alloc(0)

interface Note {
  readonly call: string
  readonly number: number
  readonly fd: number
  readonly path: string
  readonly to: string
  readonly position: number
  readonly size: number
  readonly bytes: number
}

export interface RecordedCall {
  readonly note: Note
  readonly content: Buffer
  /** Where the recording ends with it. */
  readonly end: number
}

/** Without the last one where that is not whole: its process was killed. */
export function readRecording(path: string): RecordedCall[] {
  const all = readFileSync(path)
  const calls: RecordedCall[] = []
  for (let at = 0; at + 4 <= all.length; ) {
    const jsonEnd = at + 4 + all.readUInt32LE(at)
    if (jsonEnd > all.length) break
    const note = JSON.parse(all.toString('utf8', at + 4, jsonEnd)) as Note
    at = jsonEnd + note.bytes
    if (at <= all.length) calls.push({ note, content: all.subarray(jsonEnd, at), end: at })
  }
  return calls
}

interface Change {
  readonly number: number
  isDone: boolean
}

/** A write; with `size`, a cut. */
interface FileChange extends Change {
  readonly position: number
  readonly content: Buffer
  readonly size?: number
}

/** A name that goes, and one that means this file from then on. */
interface NameChange extends Change {
  readonly from?: string
  readonly to?: string
  readonly file: RecordedFile
}

/** What is certain of a file, and what is not. */
class RecordedFile {
  durable: Buffer
  pending: FileChange[] = []

  constructor(durable: Buffer) {
    this.durable = durable
  }

  settle(covered: (change: Change) => boolean): void {
    for (const change of this.pending) if (covered(change)) this.durable = changed(this.durable, change)
    this.pending = this.pending.filter((change) => !covered(change))
  }

  left(random: Random, keeps: number): Buffer {
    return this.pending.reduce((content, change) => torn(content, change, random, keeps), this.durable)
  }
}

class RecordedFolder {
  /** As the process sees it. */
  readonly names = new Map<string, RecordedFile>()
  readonly durable = new Map<string, RecordedFile>()
  pending: NameChange[] = []

  settle(covered: (change: Change) => boolean): void {
    for (const change of this.pending) if (covered(change)) rename(this.durable, change)
    this.pending = this.pending.filter((change) => !covered(change))
  }

  /** File systems keep the order of changes to names or not. */
  left(random: Random, keeps: number): Map<string, RecordedFile> {
    const names = new Map(this.durable)
    const end = random.chance(0.5) ? random.int(this.pending.length + 1) : undefined
    for (const [i, change] of this.pending.entries()) {
      if (end === undefined ? random.chance(keeps) : i < end) rename(names, change)
    }
    return names
  }
}

interface Sync {
  readonly of: RecordedFile | RecordedFolder
  /** What was done by then it covers. */
  readonly covered: ReadonlySet<Change>
}

export class RecordedDisk {
  readonly #root: string
  readonly #folders = new Map<string, RecordedFolder>()
  readonly #open = new Map<number, RecordedFile | RecordedFolder>()
  readonly #changes = new Map<number, Change>()
  readonly #syncs = new Map<number, Sync>()

  /** `root` as the calls name it; `before` holds what was there before the first one, all of it durable. */
  constructor(root: string, before: string) {
    this.#root = root
    this.#load(before, root)
  }

  take({ note, content }: RecordedCall): void {
    const { number, fd } = note
    switch (note.call) {
      case 'open':
        this.#open.set(fd, this.#folders.get(note.path) ?? this.#file(note))
        return
      case 'write':
        this.#change(fd, { number, isDone: false, position: note.position, content })
        return
      case 'ftruncate':
        this.#change(fd, { number, isDone: false, position: 0, content: NOTHING, size: note.size })
        return
      case 'fdatasync':
      case 'fsync': {
        const of = this.#open.get(fd)
        assert(of !== undefined, 'what is synced was opened')
        const covered = new Set<Change>([...of.pending].filter(({ isDone }) => isDone))
        this.#syncs.set(number, { of, covered })
        return
      }
      case 'rename':
        this.#rename(note)
        return
      case 'unlink': {
        const folder = this.#folderOf(note.path)
        const from = basename(note.path)
        const file = folder.names.get(from)
        if (file !== undefined) this.#name(folder, { number, isDone: false, from, file })
        return
      }
      case 'mkdir':
        if (!this.#folders.has(note.path)) this.#folders.set(note.path, new RecordedFolder())
        return
      case 'done':
        this.#done(number)
        return
      default:
        assert.fail(`a call that nobody knows: ${note.call}`)
    }
  }

  /** Writes into `target`, an empty folder, what is left when the power goes now. */
  leave(target: string, random: Random): void {
    const keeps = random.pick([0, 0.3, 0.7, 1])
    const left = new Map<RecordedFile, Buffer>()
    for (const [path, folder] of this.#folders) {
      const into = join(target, path.slice(this.#root.length))
      mkdirSync(into, { recursive: true, mode: 0o700 })
      for (const [name, file] of folder.left(random, keeps)) {
        const content = left.get(file) ?? file.left(random, keeps)
        left.set(file, content)
        writeFileSync(join(into, name), content, { mode: 0o600 })
      }
    }
  }

  #load(before: string, path: string): void {
    const folder = new RecordedFolder()
    this.#folders.set(path, folder)
    for (const name of readdirSync(before)) {
      const from = join(before, name)
      if (lstatSync(from).isDirectory()) this.#load(from, `${path}/${name}`)
      if (!lstatSync(from).isFile()) continue
      const file = new RecordedFile(readFileSync(from))
      folder.names.set(name, file)
      folder.durable.set(name, file)
    }
  }

  #folderOf(path: string): RecordedFolder {
    const folder = this.#folders.get(dirname(path))
    assert(folder !== undefined, `a folder that nobody has made: ${dirname(path)}`)
    return folder
  }

  #file({ path, number }: Note): RecordedFile {
    const folder = this.#folderOf(path)
    const name = basename(path)
    const known = folder.names.get(name)
    if (known !== undefined) return known
    const file = new RecordedFile(NOTHING)
    this.#name(folder, { number, isDone: true, to: name, file })
    return file
  }

  #rename({ path, to, number }: Note): void {
    const folder = this.#folderOf(path)
    assert.equal(folder, this.#folderOf(to), 'files stay in their folders')
    const file = folder.names.get(basename(path))
    // Sockets have names as well, and are no files.
    if (file !== undefined) {
      this.#name(folder, { number, isDone: false, from: basename(path), to: basename(to), file })
    }
  }

  #name(folder: RecordedFolder, change: NameChange): void {
    rename(folder.names, change)
    folder.pending.push(change)
    if (!change.isDone) this.#changes.set(change.number, change)
  }

  #change(fd: number, change: FileChange): void {
    const file = this.#open.get(fd)
    assert(file instanceof RecordedFile, 'what is written was opened')
    file.pending.push(change)
    this.#changes.set(change.number, change)
  }

  #done(number: number): void {
    const change = this.#changes.get(number)
    if (change !== undefined) change.isDone = true
    this.#changes.delete(number)
    const sync = this.#syncs.get(number)
    this.#syncs.delete(number)
    sync?.of.settle((one) => sync.covered.has(one))
  }
}

function rename(names: Map<string, RecordedFile>, { from, to, file }: NameChange): void {
  if (from !== undefined) names.delete(from)
  if (to !== undefined) names.set(to, file)
}

function changed(content: Buffer, change: FileChange): Buffer {
  const end = change.size ?? Math.max(content.length, change.position + change.content.length)
  const result = Buffer.alloc(end)
  content.copy(result)
  change.content.copy(result, change.position)
  return result
}

function torn(content: Buffer, change: FileChange, random: Random, keeps: number): Buffer {
  if (change.size !== undefined || random.chance(0.5)) return random.chance(keeps) ? changed(content, change) : content
  let result = content
  for (let at = 0; at < change.content.length; ) {
    const position = change.position + at
    const length = Math.min(change.content.length - at, SECTOR_BYTES - (position % SECTOR_BYTES))
    if (random.chance(keeps)) {
      const sector = change.content.subarray(at, at + length)
      result = changed(result, { ...change, position, content: sector })
    }
    at += length
  }
  return result
}
