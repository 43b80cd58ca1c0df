/**
 * A simulated disk that forgets, for tests. It behaves as the real one does while nothing goes wrong, and remembers of
 * each file what was synced and every write and truncate that was not, and of each folder every name that was made,
 * renamed or removed and not synced. It fails, holds or crashes where it is told to; after a crash `afterCrash` gives
 * the disk as the next process may find it, which is any mixture that `Files` does not exclude.
 *
 * It promises to be at least as bad as a real disk, with these few kindnesses: a rename is never half done; of several
 * changes to one name the later is never kept without the earlier; `makeDirectory` is durable at once, as it is in
 * `DiskFiles`; what a sync covered is never lost, but where a test edits the bytes itself.
 *
 * It knows nothing of what the bytes mean, and takes its random numbers from whoever asks for them.
 */

import { dirname, resolve as resolvePath } from 'node:path'
import type { DataFile, Files } from './files.ts'
import { Folders, MemoryContent } from './memory-files.ts'
import { systemError } from './system-error.ts'

const SECTOR_BYTES = 512

/** Those that change something are numbered; `open` (of a file that is there), `read` and `list` are not. */
export type OperationName =
  | 'create'
  | 'write'
  | 'truncate'
  | 'sync'
  | 'rename'
  | 'remove'
  | 'syncDirectory'
  | 'makeDirectory'
  | 'open'
  | 'read'
  | 'list'

export interface Operation {
  readonly operation: OperationName
  /** The name that the file bears now, which is not `DataFile.path` where it was renamed; of a rename, the old one. */
  readonly path: string
  /** Of a rename, the new name. */
  readonly to: string | undefined
  /** Of a read or a write. */
  readonly position: number | undefined
  /** Bytes to be read or written; of a truncate, the new size. */
  readonly length: number | undefined
  /** The number of this operation, from 1; of one that is not numbered, that of the latest that was. */
  readonly count: number
}

export type OperationMatch = OperationName | ((operation: Operation) => boolean)

export interface Failure {
  /** ENOSPC, EIO, EMFILE, … */
  readonly code: string
  /** How many matching operations fail; 1 unless told, `Infinity` for all. */
  readonly times?: number
  /** Of a write: so many of its bytes arrive before it fails; 0 unless told. */
  readonly writtenBytes?: number
  /**
   * Of a sync: what becomes of what it should have covered. `dirty` (unless told): a later sync writes it. `cleanNew`:
   * it is read back as long as this process lives, and no sync will ever write it (ext4, XFS). `cleanOld`: it is
   * gone at once, and reads give what is on the disk (Btrfs).
   */
  readonly pages?: 'dirty' | 'cleanNew' | 'cleanOld'
  /** The operation is done all the same, and only its answer is an error. */
  readonly done?: boolean
}

/** Lets what is held go on; idempotent. `arrived` resolves when the first operation is held. */
export interface Release {
  (): void
  readonly arrived: Promise<Operation>
}

/** What the crash left of one write that no sync covered. */
export type WriteFate =
  | 'lost'
  | 'kept'
  /** Zeros in its place. */
  | 'zeroed'
  /** The size has grown, the content is what was there before: zeros behind the old end. */
  | 'grown'
  /** The content is there, up to the old end of the file. */
  | 'notGrown'
  /** The size has grown; behind the old end stands what the disk's blocks held before: bytes of this file's beginning. */
  | 'old'
  /** The first so many bytes. */
  | { readonly tornAtByte: number }
  /** Of the 512-byte sectors that it touches, by position in the file, those whose bit is set; in the others 'grown'. */
  | { readonly sectors: number | bigint | ((sector: number) => boolean) }

export interface UnsyncedWrite {
  readonly path: string
  readonly position: number
  readonly length: number
}

export interface UnsyncedTruncate {
  readonly path: string
  readonly sizeBytes: number
}

export interface UnsyncedName {
  readonly change: 'create' | 'rename' | 'remove'
  readonly path: string
  readonly to: string | undefined
}

/** Whatever is not said is lost. A function is asked for each, in order of their happening, file by file. */
export interface CrashOutcome {
  /** `index` counts the unsynced writes of this one file, `total` is how many there are. */
  readonly writes?: WriteFate | ((write: UnsyncedWrite, index: number, total: number) => WriteFate)
  readonly truncates?: 'lost' | 'kept' | ((truncate: UnsyncedTruncate) => 'lost' | 'kept')
  /**
   * `prefix`: the first so many changes of names. `subset`: those whose bit is set, and of one name none after one that
   * was lost.
   */
  readonly names?:
    | 'lost'
    | 'kept'
    | { readonly prefix: number }
    | { readonly subset: number | bigint }
    | ((change: UnsyncedName, index: number) => 'lost' | 'kept')
}

export interface RandomSource {
  /** A whole number from 0 to `bound - 1`. */
  int(bound: number): number
  chance(probability: number): boolean
}

export interface FaultyFilesOptions {
  /** The size of the disk; a write that goes over it leaves what fits and fails with ENOSPC. */
  readonly capacityBytes?: number
  /** Awaited before each operation takes effect: to let others run in between, as they do with a real disk. */
  readonly pause?: () => Promise<void>
}

/** The power is gone. Every later operation on this disk throws it too; only closing a file does not. */
export class SimulatedCrash extends Error {
  constructor(operation: Operation | undefined, when: string, cause?: unknown) {
    const where = operation === undefined ? when : `${when} ${describe(operation)}`
    super(`The simulated disk lost its power ${where}.`, cause === undefined ? undefined : { cause })
    this.name = 'SimulatedCrash'
  }
}

export class FaultyFiles implements Files {
  /** May be changed at any time: room that returns, or goes. */
  capacityBytes: number
  readonly #pause: (() => Promise<void>) | undefined

  /** As processes see it, and as the disk would have it if the power went now and everything unsynced were lost. */
  #names = new Folders<Inode>()
  #durableNames = new Folders<Inode>()
  #nameChanges: NameChange[] = []
  readonly #handles = new Map<Inode, number>()

  #count = 0
  /** Numbers effects, as #count numbers calls: a sync covers what had taken effect when it was called. */
  #effects = 0
  #crashAt: { readonly count: number; readonly when: 'before' | 'after' } | undefined
  #crash: SimulatedCrash | undefined
  #crashedAt: Operation | undefined
  #faults: { readonly match: OperationMatch; readonly failure: Failure; left: number }[] = []
  #holds: Hold[] = []

  constructor(options: FaultyFilesOptions = {}) {
    this.capacityBytes = options.capacityBytes ?? Number.POSITIVE_INFINITY
    this.#pause = options.pause
  }

  // As any Files.

  async open(path: string, mode: 'create' | 'read' | 'update'): Promise<DataFile> {
    return this.#run(mode === 'create' ? 'create' : 'open', { path }, () => {
      const inode = mode === 'create' ? this.#create(path) : this.#names.get(path, 'open')
      this.#handles.set(inode, (this.#handles.get(inode) ?? 0) + 1)
      return new FaultyFile(path, inode, mode !== 'read', this.#run, this.#disk)
    })
  }

  async list(directory: string): Promise<readonly string[]> {
    return this.#run('list', { path: directory }, () => this.#names.list(directory))
  }

  async makeDirectory(directory: string): Promise<void> {
    return this.#run('makeDirectory', { path: directory }, () => {
      this.#names.make(directory)
      this.#durableNames.make(directory)
    })
  }

  async rename(from: string, to: string): Promise<void> {
    return this.#run('rename', { path: from, to }, () => {
      const inode = this.#names.get(from, 'rename')
      this.#names.rename(from, to)
      inode.path = to
      if (resolvePath(from) !== resolvePath(to)) this.#changed('rename', inode, from, to)
    })
  }

  async remove(path: string): Promise<void> {
    return this.#run('remove', { path }, () => {
      const inode = this.#names.get(path, 'unlink')
      this.#names.remove(path)
      this.#changed('remove', inode, path)
    })
  }

  async syncDirectory(directory: string): Promise<void> {
    const covered = this.#effects
    return this.#run('syncDirectory', { path: directory }, () => {
      this.#names.list(directory)
      this.#settleNames(resolvePath(directory), covered)
    })
  }

  // What goes wrong, and when.

  /** How many numbered operations there were: writes, syncs and the like, failed ones included. */
  get operations(): number {
    return this.#count
  }

  get crashed(): boolean {
    return this.#crash !== undefined
  }

  /** The operation at which `crashAt` took the power away. */
  get crashedAt(): Operation | undefined {
    return this.#crashedAt
  }

  /** Bytes in files that have a name or are open: what `capacityBytes` bounds. */
  get usedBytes(): number {
    const inodes = new Set(this.#handles.keys())
    for (const [, inode] of this.#names.entries()) inodes.add(inode)
    let used = 0
    for (const inode of inodes) used += inode.content.sizeBytes
    return used
  }

  /** Takes the power away at the operation of that number (the first is 1), before or after it took effect. */
  crashAt(count: number, when: 'before' | 'after' = 'before'): void {
    this.#crashAt = { count, when }
  }

  /** Takes the power away now. What is held fails. */
  crash(): void {
    this.#crash ??= new SimulatedCrash(undefined, 'when it was told to')
    for (const hold of this.#holds.splice(0)) hold.release()
  }

  /** Lets the next matching operations fail. Returns what calls it off. */
  fail(match: OperationMatch, failure: Failure): () => void {
    const fault = { match, failure, left: failure.times ?? 1 }
    this.#faults.push(fault)
    return () => {
      fault.left = 0
    }
  }

  /** Lets every read fail that touches the bytes from `from` to before `to` of this file. Returns what calls it off. */
  failReads(path: string, from = 0, to: number = Number.POSITIVE_INFINITY, code = 'EIO'): () => void {
    const inode = this.#names.get(path, 'open')
    const range = { from, to, code }
    inode.unreadable.push(range)
    return () => {
      inode.unreadable = inode.unreadable.filter((other) => other !== range)
    }
  }

  /** Holds every matching operation, before it takes effect, until the returned function is called. */
  hold(match: OperationMatch): Release {
    const hold = makeHold(match)
    this.#holds.push(hold)
    const release = () => {
      this.#holds = this.#holds.filter((other) => other !== hold)
      hold.release()
    }
    return Object.assign(release, { arrived: hold.arrived })
  }

  // What is left.

  /** What a crash could take now, in order of its happening, file by file. */
  unsynced(): {
    readonly writes: readonly UnsyncedWrite[]
    readonly truncates: readonly UnsyncedTruncate[]
    readonly names: readonly UnsyncedName[]
  } {
    const pending = [...this.#inodes()].flatMap((inode) => inode.pending.map((change) => ({ inode, change })))
    return {
      writes: pending.flatMap(({ inode, change }) => (change.bytes === undefined ? [] : [writeOf(inode, change)])),
      truncates: pending.flatMap(({ inode, change }) =>
        change.bytes === undefined ? [truncateOf(inode, change)] : [],
      ),
      names: this.#nameChanges.map(nameOf),
    }
  }

  /** The disk after the power went and came back; this one may go on, or have crashed. It has no faults set. */
  afterCrash(outcome: CrashOutcome | RandomSource): FaultyFiles {
    const chosen = 'int' in outcome ? randomOutcome(outcome) : outcome
    const kept = keptNames(this.#nameChanges, chosen.names ?? 'lost')
    const names = this.#durableNames.map((inode) => inode)
    for (const change of kept) applyName(names, change)
    const survivor = (inode: Inode) => {
      const content = contentAfterCrash(inode, chosen)
      return new Inode(inode.path, content, content.clone())
    }
    const disk = new FaultyFiles({ capacityBytes: this.capacityBytes })
    const copies = new Map<Inode, Inode>()
    disk.#names = names.map((inode) => copyOnce(copies, inode, survivor))
    for (const [path, inode] of disk.#names.entries()) inode.path = path
    disk.#durableNames = disk.#names.map((inode) => inode)
    return disk
  }

  /** Everything that was not synced is lost: the least that may be left. */
  powerLoss(): FaultyFiles {
    return this.afterCrash({})
  }

  /**
   * The disk after the process was killed and the machine goes on: all that was written is there, none of it is more
   * durable than before, and the power may still go. It has no faults set.
   */
  snapshot(): FaultyFiles {
    const disk = new FaultyFiles({ capacityBytes: this.capacityBytes })
    const copies = new Map<Inode, Inode>()
    const copy = (inode: Inode) => copyOnce(copies, inode, copyWhole)
    disk.#names = this.#names.map(copy)
    disk.#durableNames = this.#durableNames.map(copy)
    disk.#nameChanges = this.#nameChanges.map((change) => ({ ...change, inode: copy(change.inode) }))
    disk.#effects = this.#effects
    return disk
  }

  // The test's own hands: not operations, never failing, durable at once.

  /** A copy of the file's bytes as they are now. */
  readFile(path: string): Uint8Array {
    return this.#names.get(path, 'open').content.slice()
  }

  /** Writes over stored bytes, and behind them: rot, garbage. What is unsynced of the file stays so. */
  patch(path: string, position: number, bytes: Uint8Array): void {
    const inode = this.#names.get(path, 'open')
    inode.content.write(bytes, position)
    inode.durable.write(bytes, position)
  }

  /** Puts a durable file under the name, in place of what stood there. The folder must be there. */
  putFile(path: string, bytes: Uint8Array): void {
    const content = new MemoryContent()
    content.write(bytes, 0)
    const inode = new Inode(path, content, content.clone())
    this.#forgetName(path)
    this.#names.set(path, inode)
    this.#durableNames.set(path, inode)
  }

  /** Takes the file away for good. */
  deleteFile(path: string): void {
    this.#names.remove(path)
    this.#forgetName(path)
    this.#durableNames.delete(path)
  }

  /** Makes everything durable, as if each file and folder had been synced. */
  settle(): void {
    for (const inode of this.#inodes()) inode.settle(this.#effects)
    for (const change of this.#nameChanges.splice(0)) applyName(this.#durableNames, change)
  }

  /** Every operation passes through here. An effect is done in one go, at the call unless something holds it. */
  readonly #run: RunOperation = async (name, details, effect, partly) => {
    if (this.#crash !== undefined) throw this.#crash
    const numbered = name !== 'open' && name !== 'read' && name !== 'list'
    if (numbered) this.#count++
    const operation: Operation = {
      operation: name,
      path: details.path,
      to: details.to,
      position: details.position,
      length: details.length,
      count: this.#count,
    }
    for (let hold = this.#heldBy(operation); hold !== undefined; hold = this.#heldBy(operation)) {
      await hold.pass(operation)
    }
    if (this.#pause !== undefined) await this.#pause()
    if (this.#crash !== undefined) throw this.#crash
    if (numbered && this.#crashAt?.count === operation.count) this.#losePower(operation, this.#crashAt.when, effect)
    const failure = this.#failureOf(operation)
    if (failure !== undefined) {
      if (failure.done === true) effect()
      else partly?.(failure)
      throw systemError(failure.code, name, details.path)
    }
    return effect()
  }

  readonly #disk: Disk = {
    effect: () => ++this.#effects,
    effects: () => this.#effects,
    room: () => this.capacityBytes - (this.capacityBytes === Number.POSITIVE_INFINITY ? 0 : this.usedBytes),
    closed: (inode) => {
      const left = (this.#handles.get(inode) ?? 1) - 1
      if (left === 0) this.#handles.delete(inode)
      else this.#handles.set(inode, left)
    },
  }

  #losePower(operation: Operation, when: 'before' | 'after', effect: () => unknown): never {
    let refusal: unknown
    try {
      if (when === 'after') effect()
    } catch (error) {
      // ENOENT, ENOSPC: it has taken place as far as it goes, and nobody is left to be told.
      refusal = error
    }
    this.#crashedAt = operation
    this.#crash = new SimulatedCrash(operation, when, refusal)
    this.crash()
    throw this.#crash
  }

  #heldBy(operation: Operation): Hold | undefined {
    return this.#holds.find((hold) => matches(hold.match, operation))
  }

  #failureOf(operation: Operation): Failure | undefined {
    this.#faults = this.#faults.filter((fault) => fault.left > 0)
    const fault = this.#faults.find(({ match }) => matches(match, operation))
    if (fault === undefined) return undefined
    fault.left--
    return fault.failure
  }

  #create(path: string): Inode {
    const inode = new Inode(path, new MemoryContent(), new MemoryContent())
    this.#names.create(path, inode)
    this.#changed('create', inode, path)
    return inode
  }

  #changed(change: 'create' | 'rename' | 'remove', inode: Inode, path: string, to?: string): void {
    const names = [resolvePath(path), ...(to === undefined ? [] : [resolvePath(to)])]
    this.#nameChanges.push({ change, effect: ++this.#effects, inode, path, to, names })
  }

  /** A rename between two folders is durable with either, whole. With a change go those before it to the same names. */
  #settleNames(folder: string, covered: number): void {
    const names = new Set<string>()
    const settled = new Set<NameChange>()
    for (const change of this.#nameChanges.toReversed()) {
      const named = change.names.some((name) => names.has(name))
      const here = change.effect <= covered && change.names.some((name) => dirname(name) === folder)
      if (!named && !here) continue
      settled.add(change)
      for (const name of change.names) names.add(name)
    }
    for (const change of this.#nameChanges) if (settled.has(change)) applyName(this.#durableNames, change)
    this.#nameChanges = this.#nameChanges.filter((change) => !settled.has(change))
  }

  #forgetName(path: string): void {
    this.#nameChanges = this.#nameChanges.filter(({ names }) => !names.includes(resolvePath(path)))
  }

  #inodes(): Set<Inode> {
    const inodes = new Set(this.#handles.keys())
    for (const [, inode] of this.#names.entries()) inodes.add(inode)
    for (const [, inode] of this.#durableNames.entries()) inodes.add(inode)
    return inodes
  }
}

/** A file, whatever it is called. */
class Inode {
  /** Its latest name. */
  path: string
  /** With everything that was written. */
  content: MemoryContent
  /** With what was synced only. */
  durable: MemoryContent
  pending: PendingChange[] = []
  unreadable: { readonly from: number; readonly to: number; readonly code: string }[] = []

  constructor(path: string, content: MemoryContent, durable: MemoryContent) {
    this.path = path
    this.content = content
    this.durable = durable
  }

  change(change: PendingChange): void {
    applyChange(this.content, change)
    this.pending.push(change)
  }

  /** Brings what took effect up to that number to the disk. */
  settle(covered: number): void {
    for (const change of this.pending) if (change.effect <= covered) applyChange(this.durable, change)
    this.pending = this.pending.filter(({ effect }) => effect > covered)
  }

  /** Takes it for written although it is not. */
  forget(covered: number, pages: 'cleanNew' | 'cleanOld'): void {
    this.pending = this.pending.filter(({ effect }) => effect > covered)
    if (pages === 'cleanNew') return
    this.content = this.durable.clone()
    for (const change of this.pending) applyChange(this.content, change)
  }
}

class FaultyFile implements DataFile {
  readonly path: string
  readonly #inode: Inode
  readonly #writable: boolean
  readonly #run: RunOperation
  readonly #disk: Disk
  #sizeBytes: number
  #pending = 0
  #closing: Promise<void> | undefined
  #idle: (() => void) | undefined

  constructor(path: string, inode: Inode, writable: boolean, run: RunOperation, disk: Disk) {
    this.path = path
    this.#inode = inode
    this.#writable = writable
    this.#run = run
    this.#disk = disk
    this.#sizeBytes = inode.content.sizeBytes
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  write(bytes: Uint8Array, position: number): Promise<void> {
    const details = { path: this.#inode.path, position, length: bytes.length }
    return this.#track(
      'write',
      details,
      () => {
        if (!this.#writable) throw systemError('EBADF', 'write', this.path)
        const fitting = this.#inode.content.sizeBytes + Math.max(0, this.#disk.room()) - position
        this.#writeSome(bytes, position, fitting)
        if (fitting < bytes.length) throw systemError('ENOSPC', 'write', this.path)
      },
      (failure) => this.#writeSome(bytes, position, failure.writtenBytes ?? 0),
    )
  }

  read(target: Uint8Array, position: number): Promise<number> {
    return this.#track('read', { path: this.#inode.path, position, length: target.length }, () => {
      const end = position + target.length
      const bad = this.#inode.unreadable.find(({ from, to }) => position < to && from < end)
      if (bad !== undefined) throw systemError(bad.code, 'read', this.path)
      return this.#inode.content.read(target, position)
    })
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#track('truncate', { path: this.#inode.path, length: sizeBytes }, () => {
      if (!this.#writable) throw systemError('EINVAL', 'ftruncate', this.path)
      this.#inode.change({ effect: this.#disk.effect(), position: sizeBytes, bytes: undefined })
      this.#sizeBytes = sizeBytes
    })
  }

  sync(): Promise<void> {
    const covered = this.#disk.effects()
    return this.#track(
      'sync',
      { path: this.#inode.path },
      () => this.#inode.settle(covered),
      ({ pages }) => {
        if (pages === 'cleanNew' || pages === 'cleanOld') this.#inode.forget(covered, pages)
      },
    )
  }

  /** Waits for what is under way on this handle, as the real one does. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#closeWhenIdle()
    return this.#closing
  }

  async #closeWhenIdle(): Promise<void> {
    if (this.#pending > 0) await new Promise<void>((resolve) => (this.#idle = resolve))
    this.#disk.closed(this.#inode)
  }

  readonly #track: RunOperation = async (name, details, effect, partly) => {
    if (this.#closing !== undefined) throw systemError('EBADF', name, this.path)
    this.#pending++
    try {
      return await this.#run(name, details, effect, partly)
    } finally {
      this.#pending--
      if (this.#pending === 0) this.#idle?.()
    }
  }

  #writeSome(bytes: Uint8Array, position: number, lengthMax: number): void {
    const length = Math.min(bytes.length, Math.max(0, lengthMax))
    if (length === 0) return
    // A copy, because the writer may use its buffer again as soon as the write has resolved. (A Buffer's slice is none.)
    const copy = new Uint8Array(bytes.subarray(0, length))
    this.#inode.change({ effect: this.#disk.effect(), position, bytes: copy })
    this.#sizeBytes = Math.max(this.#sizeBytes, position + length)
  }
}

/** A write; without bytes, a truncate to `position`. */
interface PendingChange {
  readonly effect: number
  readonly position: number
  readonly bytes: Uint8Array | undefined
}

interface NameChange {
  readonly change: 'create' | 'rename' | 'remove'
  readonly effect: number
  readonly inode: Inode
  /** As they were given, for those who look; `names` holds the same in full. */
  readonly path: string
  readonly to: string | undefined
  readonly names: readonly string[]
}

interface OperationDetails {
  readonly path: string
  readonly to?: string
  readonly position?: number
  readonly length?: number
}

type RunOperation = <T>(
  name: OperationName,
  details: OperationDetails,
  effect: () => T,
  partly?: (failure: Failure) => void,
) => Promise<T>

/** What a file needs of its disk. */
interface Disk {
  readonly effect: () => number
  readonly effects: () => number
  readonly room: () => number
  readonly closed: (inode: Inode) => void
}

interface Hold {
  readonly match: OperationMatch
  readonly arrived: Promise<Operation>
  readonly pass: (operation: Operation) => Promise<void>
  readonly release: () => void
}

function makeHold(match: OperationMatch): Hold {
  let arrive: (operation: Operation) => void = () => {}
  let release: () => void = () => {}
  const arrived = new Promise<Operation>((resolve) => {
    arrive = resolve
  })
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  const pass = (operation: Operation) => {
    arrive(operation)
    return released
  }
  return { match, arrived, pass, release }
}

function matches(match: OperationMatch, operation: Operation): boolean {
  return typeof match === 'string' ? match === operation.operation : match(operation)
}

function describe(operation: Operation): string {
  const to = operation.to === undefined ? '' : ` to ${operation.to}`
  const at = operation.position === undefined ? '' : ` at ${operation.position}`
  const length = operation.length === undefined ? '' : `, ${operation.length} bytes`
  return `operation ${operation.count} (${operation.operation} ${operation.path}${to}${at}${length})`
}

function copyOnce(copies: Map<Inode, Inode>, inode: Inode, make: (inode: Inode) => Inode): Inode {
  const copy = copies.get(inode) ?? make(inode)
  copies.set(inode, copy)
  return copy
}

function copyWhole(inode: Inode): Inode {
  const copy = new Inode(inode.path, inode.content.clone(), inode.durable.clone())
  // The changes themselves are never written to, so both may hold them.
  copy.pending = [...inode.pending]
  return copy
}

function applyChange(content: MemoryContent, change: PendingChange): void {
  if (change.bytes === undefined) content.truncate(change.position)
  else content.write(change.bytes, change.position)
}

function applyName(names: Folders<Inode>, change: NameChange): void {
  if (change.change !== 'create') names.delete(change.path)
  if (change.change !== 'remove') names.set(change.to ?? change.path, change.inode)
}

function keptNames(changes: readonly NameChange[], fate: NonNullable<CrashOutcome['names']>): readonly NameChange[] {
  if (fate === 'kept') return changes
  if (fate === 'lost') return []
  if (typeof fate === 'object' && 'prefix' in fate) return changes.slice(0, fate.prefix)
  const lost = new Set<string>()
  return changes.filter((change, index) => {
    const wanted = typeof fate === 'function' ? fate(nameOf(change), index) === 'kept' : hasBit(fate.subset, index)
    if (wanted && !change.names.some((name) => lost.has(name))) return true
    for (const name of change.names) lost.add(name)
    return false
  })
}

function contentAfterCrash(inode: Inode, outcome: CrashOutcome): MemoryContent {
  const content = inode.durable.clone()
  const { writes = 'lost', truncates = 'lost' } = outcome
  const total = inode.pending.filter(({ bytes }) => bytes !== undefined).length
  let index = 0
  for (const change of inode.pending) {
    if (change.bytes === undefined) {
      const fate = typeof truncates === 'function' ? truncates(truncateOf(inode, change)) : truncates
      if (fate === 'kept') content.truncate(change.position)
    } else {
      const fate = typeof writes === 'function' ? writes(writeOf(inode, change), index, total) : writes
      applyFate(content, change.position, change.bytes, fate)
      index++
    }
  }
  return content
}

function applyFate(content: MemoryContent, position: number, bytes: Uint8Array, fate: WriteFate): void {
  if (fate === 'kept') {
    content.write(bytes, position)
  } else if (fate === 'zeroed') {
    content.write(new Uint8Array(bytes.length), position)
  } else if (fate === 'grown') {
    growTo(content, position + bytes.length)
  } else if (fate === 'notGrown') {
    content.write(bytes.subarray(0, Math.max(0, content.sizeBytes - position)), position)
  } else if (fate === 'old') {
    fillWithOld(content, position, position + bytes.length)
  } else if (fate !== 'lost' && 'tornAtByte' in fate) {
    content.write(bytes.subarray(0, fate.tornAtByte), position)
  } else if (fate !== 'lost') {
    growTo(content, position + bytes.length)
    writeSectors(content, position, bytes, fate.sectors)
  }
}

function growTo(content: MemoryContent, sizeBytes: number): void {
  if (content.sizeBytes < sizeBytes) content.truncate(sizeBytes)
}

/** Behind the old end, the file's beginning, repeated as often as it takes; a hole before the write stays zeros. */
function fillWithOld(content: MemoryContent, position: number, end: number): void {
  const beginning = content.slice()
  growTo(content, end)
  for (let at = Math.max(position, beginning.length); at < end && beginning.length > 0; at += beginning.length) {
    content.write(beginning.subarray(0, end - at), at)
  }
}

function writeSectors(
  content: MemoryContent,
  position: number,
  bytes: Uint8Array,
  sectors: number | bigint | ((sector: number) => boolean),
): void {
  const end = position + bytes.length
  const first = Math.floor(position / SECTOR_BYTES)
  for (let sector = first; sector * SECTOR_BYTES < end; sector++) {
    const kept = typeof sectors === 'function' ? sectors(sector - first) : hasBit(sectors, sector - first)
    if (!kept) continue
    const from = Math.max(position, sector * SECTOR_BYTES)
    const to = Math.min(end, (sector + 1) * SECTOR_BYTES)
    content.write(bytes.subarray(from - position, to - position), from)
  }
}

function hasBit(mask: number | bigint, index: number): boolean {
  return ((BigInt(mask) >> BigInt(index)) & 1n) === 1n
}

function writeOf(inode: Inode, change: PendingChange): UnsyncedWrite {
  return { path: inode.path, position: change.position, length: change.bytes?.length ?? 0 }
}

function truncateOf(inode: Inode, change: PendingChange): UnsyncedTruncate {
  return { path: inode.path, sizeBytes: change.position }
}

function nameOf({ change, path, to }: NameChange): UnsyncedName {
  return { change, path, to }
}

/** Often everything or nothing, as most crashes are; else each by itself. */
function randomOutcome(random: RandomSource): CrashOutcome {
  const each = random.int(4)
  const fates: readonly ((length: number) => WriteFate)[] = [
    () => 'lost',
    () => 'kept',
    () => 'zeroed',
    () => 'grown',
    () => 'notGrown',
    () => 'old',
    (length) => ({ tornAtByte: random.int(length + 1) }),
    () => ({ sectors: () => random.chance(0.5) }),
  ]
  const half = (): 'lost' | 'kept' => (random.chance(0.5) ? 'kept' : 'lost')
  // A prefix is a run of changes that ends somewhere; no bound on their number needs to be known for it.
  let going = true
  const prefix = (): 'lost' | 'kept' => {
    going &&= random.chance(0.75)
    return going ? 'kept' : 'lost'
  }
  const names = [half, prefix, () => 'kept' as const, () => 'lost' as const][random.int(4)] ?? half
  return {
    writes: ({ length }) =>
      each === 0 ? 'lost' : each === 1 ? 'kept' : (fates[random.int(fates.length)]?.(length) ?? 'lost'),
    truncates: () => (each === 0 ? 'lost' : each === 1 ? 'kept' : half()),
    names: () => names(),
  }
}
