/**
 * What the tests of the log's recovery share: a history of everything that was appended and what came of it, and the
 * comparison of a log with it. After whatever happened, a log must hold all that was acknowledged or served, nothing
 * that was refused, and of the rest a prefix; every reader must see the same; no number may be given twice.
 */

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { type FaultyFiles, SimulatedCrash } from '../../storage-engine/faulty-files.ts'
import type { DataFile, Files } from '../../storage-engine/files.ts'
import {
  type Damage,
  Log,
  type LogGap,
  type LogOptions,
  type LogRecord,
  type NewRecord,
  type Offset,
  Sequencer,
  StorageError,
  type StorageObserver,
  silentObserver,
} from '../../storage-engine/index.ts'

export const DIRECTORY = '/log'
/** A day some time after the numbers' epoch. */
export const NOON_MS = 1_790_000_000_000
/** So long that no timer of the engine comes into play. */
const NEVER_MS = 2 ** 30

/** Segments of a few batches, so that a short run rolls several times. */
export const smallLog: LogOptions = {
  sync: 'commit',
  syncIntervalMs: NEVER_MS,
  segmentBytesMax: 900,
  batchBytesMax: 64 * 1024,
  pendingBytesMax: 1024 * 1024,
  blockCacheBytesMax: 64 * 1024,
  pageCacheBytesMax: 256 * 1024,
  reserveBytes: 0,
  isDurable: true,
  now: () => NOON_MS,
}

/** What was told to the observer. */
export class Watch implements StorageObserver {
  readonly damages: Damage[] = []
  readonly tailCuts: { readonly file: string; readonly position: number; readonly bytes: number }[] = []
  readonly failures: StorageError[] = []
  readonly fullness: boolean[] = []
  readonly unknownFiles: string[] = []
  readonly rebuilt: string[] = []
  readonly rolls: string[] = []
  commits = 0

  readonly committed = (): void => {
    this.commits += 1
  }
  readonly rolled = (file: string): void => {
    this.rolls.push(file)
  }
  readonly damaged = (damage: Damage): void => {
    this.damages.push(damage)
  }
  readonly tailCut = (file: string, position: number, bytes: number): void => {
    this.tailCuts.push({ file, position, bytes })
  }
  readonly indexRebuilt = (file: string): void => {
    this.rebuilt.push(file)
  }
  readonly unknownFile = (name: string): void => {
    this.unknownFiles.push(name)
  }
  readonly full = (isFull: boolean): void => {
    this.fullness.push(isFull)
  }
  readonly failed = (error: StorageError): void => {
    this.failures.push(error)
  }
  readonly checkpointDoubtful = silentObserver.checkpointDoubtful
  readonly compacted = silentObserver.compacted
  readonly recovering = silentObserver.recovering
  readonly recovered = silentObserver.recovered
}

export interface Opened {
  readonly log: Log
  readonly sequencer: Sequencer
  readonly watch: Watch
}

export async function openLog(files: Files, options: Partial<LogOptions> = {}, watch = new Watch()): Promise<Opened> {
  const sequencer = new Sequencer()
  const log = await Log.open(files, sequencer, watch, DIRECTORY, { ...smallLog, ...options })
  return { log, sequencer, watch }
}

export type Fate = 'pending' | 'acknowledged' | 'refused'

export interface Issued {
  /** Unique; the payload begins with it. */
  readonly tag: string
  readonly streamId: number
  readonly key: string
  readonly payload: string
  /** Records of one `appendAll` share it. */
  readonly group: number
  fate: Fate
  offset: Offset | undefined
}

export class History {
  readonly issued: Issued[] = []
  /** No number up to this may be given again. */
  givenThrough: Offset = 0
  #groups = 0
  #tags = 0

  copy(): History {
    const copy = new History()
    copy.issued.push(...this.issued.map((one) => ({ ...one })))
    copy.givenThrough = this.givenThrough
    copy.#groups = this.#groups
    copy.#tags = this.#tags
    return copy
  }

  /** Appends one record for each stream, as one publish, and notes what comes of it. Never rejects. */
  async append(
    { log, sequencer }: Opened,
    streamIds: readonly number[],
    { payloadBytes = 20, isUrgent = false }: { readonly payloadBytes?: number; readonly isUrgent?: boolean } = {},
  ): Promise<StorageError | undefined> {
    this.#groups += 1
    const group = this.#groups
    const batch = streamIds.map((streamId): Issued => {
      this.#tags += 1
      const tag = `#${this.#tags}#`
      const key = this.#tags % 3 === 0 ? '' : `k${this.#tags % 7}`
      return { tag, streamId, key, payload: tag.padEnd(payloadBytes, '.'), group, fate: 'pending', offset: undefined }
    })
    this.issued.push(...batch)
    try {
      const [first] = batch
      const offsets =
        batch.length === 1 && first !== undefined
          ? [await log.append(recordOf(first), { urgent: isUrgent })]
          : await log.appendAll(batch.map(recordOf))
      for (const [i, one] of batch.entries()) this.#acknowledge(one, offsets[i] as Offset)
      return undefined
    } catch (error) {
      assert(error instanceof StorageError, String(error))
      // After a failed sync nobody knows; any other refusal says that it is not there and will never be.
      if (error.code !== 'STORAGE_FAILED') for (const one of batch) one.fate = 'refused'
      return error
    } finally {
      this.#noteGiven(sequencer)
    }
  }

  /** A number for something that is kept in memory only. */
  take({ sequencer }: Opened): Offset {
    const offset = sequencer.take()
    assert(offset > this.givenThrough, `the number ${offset} was given before, up to ${this.givenThrough}`)
    this.givenThrough = offset
    return offset
  }

  /** Compares a log that was opened with what must be in it. From then on all that it holds must stay. */
  async compare(opened: Opened, { damages = 0 }: { readonly damages?: number } = {}): Promise<readonly LogRecord[]> {
    const { log, watch } = opened
    assert.equal(log.damages.length, damages, `damage is told: ${JSON.stringify(log.damages)}`)
    assert.equal(watch.damages.length, damages)
    const everything = await readAll(log)
    const records = everything.filter((record) => record.streamId > 1)
    ascends(everything)
    this.#compareContent(records)
    this.#noteGiven(opened.sequencer)
    await compareReaders(log, records)
    return records
  }

  /** None at or above the ceiling was given, though one may have been skipped. */
  #noteGiven({ next, ceiling }: Sequencer): void {
    this.givenThrough = Math.max(this.givenThrough, Math.min(next, ceiling) - 1)
  }

  #acknowledge(one: Issued, offset: Offset): void {
    assert(offset > this.givenThrough - 2 ** 22)
    one.fate = 'acknowledged'
    one.offset = offset
  }

  #compareContent(records: readonly LogRecord[]): void {
    const byTag = new Map(this.issued.map((one) => [one.tag, one]))
    const found = new Set<string>()
    const order = new Map(this.issued.map((one, i) => [one.tag, i]))
    let before = -1
    for (const record of records) {
      const payload = Buffer.from(record.payload).toString()
      const tag = /^#\d+#/.exec(payload)?.[0] ?? ''
      const one = byTag.get(tag)
      assert(one !== undefined, `what was never written is there: ${payload}`)
      assert.notEqual(one.fate, 'refused', `what was refused is there: ${tag}`)
      assert.equal(payload, one.payload)
      assert.equal(Buffer.from(record.key).toString(), one.key)
      assert.equal(record.streamId, one.streamId)
      if (one.offset !== undefined) assert.equal(record.offset, one.offset, `${tag} has another number`)
      assert(!found.has(tag), `${tag} is there twice`)
      found.add(tag)
      const at = order.get(tag) as number
      assert(at > before, `${tag} is out of order`)
      before = at
      one.offset = record.offset
    }
    const expected = this.issued.filter((one) => one.fate !== 'refused')
    const missingAt = expected.findIndex((one) => !found.has(one.tag))
    const end = missingAt === -1 ? expected.length : missingAt
    for (const [i, one] of expected.entries()) {
      if (one.fate === 'acknowledged') assert(i < end, `${one.tag} was acknowledged or served, and is gone`)
      if (i >= end) assert(!found.has(one.tag), `${one.tag} is there, though ${expected[end]?.tag} before it is not`)
    }
    assert(end === 0 || end === expected.length || expected[end - 1]?.group !== expected[end]?.group, 'half a batch')
    // What is served now must stay; what is gone now must stay away.
    for (const [i, one] of expected.entries()) one.fate = i < end ? 'acknowledged' : 'refused'
  }
}

function recordOf(one: Issued): NewRecord {
  const key = one.key === '' ? undefined : Buffer.from(one.key)
  return { streamId: one.streamId, kind: 7, key, payload: Buffer.from(one.payload) }
}

function ascends(records: readonly LogRecord[]): void {
  let before = 0
  for (const { offset } of records) {
    assert(offset > before, `${offset} stands behind ${before}`)
    before = offset
  }
}

/** Every cursor of a stream, from its beginning and from its middle, and every key, against what the log holds. */
async function compareReaders(log: Log, records: readonly LogRecord[]): Promise<void> {
  const byStream = groupBy(records, (record) => record.streamId)
  for (const [streamId, expected] of byStream) {
    const offsets = expected.map((record) => record.offset)
    assert.deepEqual(
      (await readAll(log, 0, streamId)).map((record) => record.offset),
      offsets,
    )
    const middle = offsets[offsets.length >> 1] as Offset
    const rest = offsets.filter((offset) => offset > middle)
    assert.deepEqual(
      (await readAll(log, middle, streamId)).map((record) => record.offset),
      rest,
    )
    assert.deepEqual(
      (await readAll(log, middle)).filter((record) => record.streamId === streamId).map((record) => record.offset),
      rest,
    )
    const byKey = groupBy(expected, (record) => Buffer.from(record.key).toString())
    for (const [key, [first]] of byKey) {
      if (key !== '') assert.equal(await log.findKey(streamId, Buffer.from(key)), first?.offset, `key ${key}`)
    }
  }
  const unknown = await log.findKey(10, Buffer.from('nobody'))
  assert.equal(unknown, undefined)
}

function groupBy<T, K>(items: readonly T[], keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>()
  for (const item of items) {
    const group = groups.get(keyOf(item))
    if (group === undefined) groups.set(keyOf(item), [item])
    else group.push(item)
  }
  return groups
}

/** All records above `after`; a gap fails. */
export async function readAll(log: Log, after: Offset = 0, streamId?: number): Promise<LogRecord[]> {
  const { records, gaps } = await readWithGaps(log, after, streamId)
  assert.deepEqual(
    gaps,
    [],
    `a gap is told above ${after} to a reader of ${streamId}; known: ${JSON.stringify(log.damages)}`,
  )
  return records
}

export async function readWithGaps(
  log: Log,
  after: Offset = 0,
  streamId?: number,
): Promise<{ readonly records: LogRecord[]; readonly gaps: LogGap[] }> {
  const cursor = log.cursor(after, streamId)
  const records: LogRecord[] = []
  const gaps: LogGap[] = []
  try {
    for (let step = await cursor.next(); step !== undefined; step = await cursor.next()) {
      if ('gap' in step) gaps.push(step.gap)
      else records.push(...step.records)
    }
    assert(cursor.position >= log.lastOffset, 'a cursor at the end stands at the last number')
  } finally {
    cursor.close()
  }
  return { records, gaps }
}

/** Whoever uses a disk that has lost its power is gone with it: nothing is answered any more. */
export class MortalFiles implements Files {
  readonly #files: FaultyFiles
  /** Resolves when the power was found to be gone. */
  readonly death: Promise<void>
  #die: () => void = () => undefined

  constructor(files: FaultyFiles) {
    this.#files = files
    this.death = new Promise((resolve) => {
      this.#die = resolve
    })
  }

  async open(path: string, mode: 'create' | 'read' | 'update'): Promise<DataFile> {
    const file = await this.#orNever(this.#files.open(path, mode))
    return {
      path,
      get sizeBytes() {
        return file.sizeBytes
      },
      write: (bytes, position) => this.#orNever(file.write(bytes, position)),
      read: (target, position) => this.#orNever(file.read(target, position)),
      truncate: (sizeBytes) => this.#orNever(file.truncate(sizeBytes)),
      sync: () => this.#orNever(file.sync()),
      close: () => file.close(),
    }
  }

  list(directory: string): Promise<readonly string[]> {
    return this.#orNever(this.#files.list(directory))
  }

  makeDirectory(directory: string): Promise<void> {
    return this.#orNever(this.#files.makeDirectory(directory))
  }

  rename(from: string, to: string): Promise<void> {
    return this.#orNever(this.#files.rename(from, to))
  }

  remove(path: string): Promise<void> {
    return this.#orNever(this.#files.remove(path))
  }

  syncDirectory(directory: string): Promise<void> {
    return this.#orNever(this.#files.syncDirectory(directory))
  }

  async #orNever<T>(answer: Promise<T>): Promise<T> {
    try {
      return await answer
    } catch (error) {
      if (!(error instanceof SimulatedCrash)) throw error
      this.#die()
      return await new Promise<never>(() => undefined)
    }
  }
}

/** Opens what is on a disk that may lose its power meanwhile, and uses it; false where that happened before the log was open. */
export async function openUnlessDead(
  files: FaultyFiles,
  options: Partial<LogOptions> = {},
  use: (opened: Opened) => Promise<unknown> = async () => undefined,
): Promise<boolean> {
  const mortal = new MortalFiles(files)
  let isOpen = false
  const life = openLog(mortal, options).then((opened) => {
    isOpen = true
    return use(opened)
  })
  await Promise.race([life, mortal.death])
  return isOpen
}

/** A disk as it is before and after every operation that changes something; nothing on it is lost yet. */
export class WatchedFiles implements Files {
  readonly #files: FaultyFiles
  readonly #moment: () => void

  /** `moment` is called before and after each operation that changes something. */
  constructor(files: FaultyFiles, moment: () => void) {
    this.#files = files
    this.#moment = moment
  }

  async open(path: string, mode: 'create' | 'read' | 'update'): Promise<DataFile> {
    const file =
      mode === 'create' ? await this.#around(() => this.#files.open(path, mode)) : await this.#files.open(path, mode)
    return {
      path,
      get sizeBytes() {
        return file.sizeBytes
      },
      write: (bytes, position) => this.#around(() => file.write(bytes, position)),
      read: (target, position) => file.read(target, position),
      truncate: (sizeBytes) => this.#around(() => file.truncate(sizeBytes)),
      sync: () => this.#around(() => file.sync()),
      close: () => file.close(),
    }
  }

  list(directory: string): Promise<readonly string[]> {
    return this.#files.list(directory)
  }

  makeDirectory(directory: string): Promise<void> {
    return this.#around(() => this.#files.makeDirectory(directory))
  }

  rename(from: string, to: string): Promise<void> {
    return this.#around(() => this.#files.rename(from, to))
  }

  remove(path: string): Promise<void> {
    return this.#around(() => this.#files.remove(path))
  }

  syncDirectory(directory: string): Promise<void> {
    return this.#around(() => this.#files.syncDirectory(directory))
  }

  async #around<T>(operate: () => Promise<T>): Promise<T> {
    this.#moment()
    try {
      return await operate()
    } finally {
      this.#moment()
    }
  }
}

/** The same for two disks that hold the same names with the same bytes, apart from what is random in them. */
export async function fingerprint(disk: FaultyFiles): Promise<string> {
  const hash = createHash('sha1')
  const names = await disk.list(DIRECTORY).catch(() => [])
  for (const name of names)
    hash
      .update(name)
      .update('\0')
      .update(disk.readFile(`${DIRECTORY}/${name}`))
      .update('\0')
  return hash.digest('hex')
}
