/**
 * All segments of a log in order; the last one is being written. Rolls to the next one, has sidecars written in the
 * background, swaps the output of a compaction in for its inputs, drops the oldest segments of a bounded log, and finds
 * the segment for a number.
 */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { indexName } from './data-directory.ts'
import { SyncFailure, systemCode } from './errors.ts'
import type { DataFile } from './files.ts'
import { HEADER_BYTES, type Offset, rolledHeader, type SegmentHeader } from './format.ts'
import { IndexDoubt, writeIndexFile } from './index-file.ts'
import { UNKNOWN_THROUGH } from './loaded-log.ts'
import { lowerBound } from './lower-bound.ts'
import { type CompactedEntry, type Manifest, removeReplaced, writeManifest } from './manifest.ts'
import type { MemoryIndex } from './memory-index.ts'
import type { Damage } from './observer.ts'
import type { RecoveredLog } from './recovery.ts'
import { Segment, type SegmentContext } from './segment.ts'
import { createSegmentFile } from './segment-files.ts'
import type { SegmentIndex, StreamTotals } from './segment-index.ts'
import { openIndexFile, rebuildIndex } from './sidecar.ts'
import { syncOrFail } from './whole-file.ts'

export interface SegmentLimits {
  /** A batch that would take a segment over it goes into the next one; at least one batch fits in any case. */
  readonly segmentBytesMax: number
  readonly segmentRecordsMax: number
  /** Of all segments together; the oldest are dropped. Undefined: no bound. */
  readonly logBytesMax: number | undefined
}

/** Sealed segments whose index may still be in memory; beyond that, a roll waits for the oldest. */
const INDEXES_PENDING_MAX = 1
/** How full the active segment is when the next one is prepared. */
const SPARE_AT_SHARE = 0.5

interface Spare {
  readonly header: SegmentHeader
  readonly file: DataFile
}

export class SegmentSet {
  readonly context: SegmentContext
  readonly #limits: SegmentLimits
  readonly #segments: Segment[]
  readonly #damages: Damage[]
  /** The segments with damage that no index can assign to streams, in order. */
  #damaged: readonly Segment[] = []
  #spare: Promise<Spare | undefined> | undefined
  #newestGeneration: number
  #manifest: Manifest
  /** Replaced before this process began, and kept by its recovery for the next start to decide about. */
  readonly #keptReplaced: ReadonlySet<number>
  /** Dropped, but not removed yet. */
  #evicted: Segment[] = []
  #pins = 0
  /** Sidecars are written, and files removed, one at a time. */
  #background: Promise<void> = Promise.resolve()
  #indexesPending = 0
  readonly #mending = new Map<Segment, Promise<void>>()
  /** A sync of the folder that failed in the background: no later one proves anything, so there are no more rolls. */
  #failure: SyncFailure | undefined
  #isClosed = false
  #evictedThrough: Offset = 0

  constructor(context: SegmentContext, recovered: RecoveredLog, limits: SegmentLimits) {
    this.context = context
    this.#limits = limits
    this.#segments = [...recovered.segments]
    this.#damages = [...recovered.damages]
    this.#newestGeneration = recovered.newestGeneration
    this.#manifest = recovered.manifest
    this.#keptReplaced = new Set(recovered.manifest.replaced.map(({ generation }) => generation))
    this.#noteDamaged()
  }

  get active(): Segment {
    return this.#segments.at(-1) as Segment
  }

  get all(): readonly Segment[] {
    return this.#segments
  }

  get damages(): readonly Damage[] {
    return this.#damages
  }

  /** The highest number that was dropped with an evicted segment. */
  get evictedThrough(): Offset {
    return this.#evictedThrough
  }

  get bytes(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.contentEnd, 0)
  }

  /** Of all segments, as if sealed, and their sidecars. Replaced and dropped files do not count, though they may still exist. */
  get bytesOnDisk(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.sizeBytes, 0)
  }

  /** The newest, as it is on the disk; its number is 0 while there is none. */
  get manifest(): Manifest {
    return this.#manifest
  }

  /** A generation that was never used, and that nobody else will use. */
  newGeneration(): number {
    this.#newestGeneration += 1
    return this.#newestGeneration
  }

  /** Damage of unknown extent ends where the numbers of this start begin. */
  boundDamages(through: Offset): void {
    for (const list of [this.#damages, ...this.#segments.map((segment) => segment.unindexedDamages)]) {
      for (const [i, damage] of list.entries()) if (damage.through === UNKNOWN_THROUGH) list[i] = { ...damage, through }
    }
  }

  /** A checkpoint below it does not know of records that were dropped since. */
  get checkpointFloor(): Offset {
    return this.#manifest.checkpointFloor
  }

  /** The first segment that may hold or have held a number above `after`; the active one if no other does. */
  segmentAfter(after: Offset): Segment {
    const found = this.recordsAfter(after)
    // If the end of a segment is damaged, it may have held numbers above the last one that it holds.
    const damaged = this.#damaged.find(({ unindexedDamages }) =>
      unindexedDamages.some(({ through }) => through > after),
    )
    return damaged !== undefined && damaged.placeFrom < found.placeFrom ? damaged : found
  }

  /** The same for callers that report no gaps: damage in front of the segment is passed over. */
  recordsAfter(after: Offset): Segment {
    const at = lowerBound(this.#segments.length - 1, (i) => (this.#segments[i] as Segment).chain.last > after)
    return this.#segments[at] as Segment
  }

  /** The segment behind a sealed one; undefined if that one has been dropped meanwhile. */
  successorOf(segment: Segment): Segment | undefined {
    const at = this.#segments.indexOf(segment)
    return at === -1 ? undefined : this.#segments[at + 1]
  }

  has(segment: Segment): boolean {
    return this.#segments.includes(segment)
  }

  /** Whether a batch of that size belongs in the next segment. */
  needsRoll(batchBytes: number): boolean {
    const { active } = this
    if (active.batchCount === 0) return false
    const isFull = active.sealedBytes + batchBytes > this.#limits.segmentBytesMax
    return isFull || active.recordCount >= this.#limits.segmentRecordsMax
  }

  /** Prepares the next segment's file while the active one still has room, so that a roll costs one sync. */
  prepareSpare(): void {
    const { active } = this
    const isHalfFull =
      active.contentEnd > this.#limits.segmentBytesMax * SPARE_AT_SHARE ||
      active.recordCount > this.#limits.segmentRecordsMax * SPARE_AT_SHARE
    if (!isHalfFull || this.#spare !== undefined) return
    this.#spare = this.#createSpare().catch((error: unknown) => {
      // Nothing waits for it yet: the roll tries again and reports what it meets. But a failed sync must not be retried.
      if (error instanceof SyncFailure) throw error
      return undefined
    })
    this.#spare.catch(() => undefined)
  }

  /**
   * Seals the active segment and goes on in the next one. Throws what the disk throws; then nothing has changed.
   * `isSynced`: all batches of the active segment are durable already.
   */
  async roll(isSynced: boolean): Promise<void> {
    const sealed = this.active
    const spare = (await this.#spare) ?? (await this.#createSpare())
    this.#spare = Promise.resolve(spare)
    if (this.#failure !== undefined) throw this.#failure
    // If the footer became durable before the batches in front of it, whatever a crash took of them would look like damage.
    if (!isSynced) await syncOrFail(sealed.file)
    await this.#seal(sealed, spare.header.generation)
    this.#spare = undefined
    const segment = new Segment(this.context, spare.header, HEADER_BYTES, sealed.chain)
    segment.openForWriting(spare.file)
    this.#segments.push(segment)
    this.context.observer.rolled(segment.name)
    this.#indexInBackground(sealed)
    if (this.#indexesPending > INDEXES_PENDING_MAX) await this.#background
  }

  /**
   * Puts `output`, which is durable under its name and sealed, in the place of the row of sealed segments that it was made
   * from, in one turn. Their files go in the background, when the manifest that says so is durable. Throws what the disk
   * throws; then nothing has changed, but after a SyncFailure nobody knows what the next start will find: it is final.
   * `checkpointFloor` is the highest number of a record of the catalogue that `output` lacks.
   */
  async replace(inputs: readonly Segment[], output: Segment, checkpointFloor: Offset): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    const { files, directory } = this.context
    const generations = inputs.map(({ generation }) => generation)
    const isInput = (generation: number) => generations.includes(generation)
    const { generation: by, placeFrom, placeThrough, coveredLast, ceiling } = output
    const entry: CompactedEntry = { generation: by, placeFrom, placeThrough, coveredLast, ceiling, inputs: generations }
    const manifest: Manifest = {
      ...this.#manifest,
      number: this.#manifest.number + 1,
      checkpointFloor: Math.max(this.#manifest.checkpointFloor, checkpointFloor),
      compacted: [...this.#manifest.compacted.filter(({ generation }) => !isInput(generation)), entry],
      replaced: [
        ...this.#manifest.replaced.map((older) => (isInput(older.by) ? { ...older, by } : older)),
        ...generations.map((generation) => ({ generation, by })),
      ],
    }
    try {
      await writeManifest(files, directory, manifest)
    } catch (error) {
      if (error instanceof SyncFailure) this.#failure ??= error
      throw error
    }
    this.#manifest = manifest
    this.#segments.splice(this.#segments.indexOf(inputs[0] as Segment), inputs.length, output)
    for (const { cacheId } of inputs) this.context.blocks.forget(cacheId)
    this.#inBackground(() => this.#removeFiles())
  }

  /** Until the pin is released no file of the log is removed, whatever is replaced or dropped meanwhile. */
  pin(): { release(): void } {
    let isPinned = true
    this.#pins += 1
    return {
      release: () => {
        if (!isPinned) return
        isPinned = false
        this.#pins -= 1
        if (this.#pins === 0) this.#inBackground(() => this.#removeFiles())
      },
    }
  }

  /** Removes files that are no longer part of the log. Whatever the disk will not remove is tried again next time. */
  async #removeFiles(): Promise<void> {
    if (this.#pins > 0 || this.#failure !== undefined || this.#isClosed) return
    const { files, directory, openFiles } = this.context
    for (const { path } of this.#evicted.splice(0)) {
      openFiles.forget(path)
      await files.remove(path).catch((error: unknown) => {
        if (systemCode(error) === undefined) throw error
      })
    }
    const { number, replaced } = this.#manifest
    const going = replaced.map(({ generation }) => generation).filter((one) => !this.#keptReplaced.has(one))
    if (going.length === 0) return
    try {
      const gone = await removeReplaced(files, openFiles, directory, number, going)
      const left = this.#manifest.replaced.filter(({ generation }) => !gone.includes(generation))
      this.#manifest = { ...this.#manifest, replaced: left }
    } catch (error) {
      if (error instanceof SyncFailure) this.#failure ??= error
      else if (systemCode(error) === undefined) throw error
    }
  }

  /** For a clean stop: seals the active segment, so that damage to its last batch will be noticed. */
  async sealActive(): Promise<void> {
    if (this.active.batchCount > 0) await this.roll(false)
  }

  /** Waits for background work, then closes every file. */
  async close(): Promise<void> {
    await this.#background
    this.#isClosed = true
    // Why a spare could not be made was reported where it was wanted; here only its file matters.
    const spare = await this.#spare?.catch(() => undefined)
    await spare?.file.close()
    await this.active.closeWriting()
    await this.context.openFiles.close()
  }

  /**
   * Drops the oldest segments of a bounded log. Returns what each stream had in them, segment by segment; the files go in
   * the background.
   */
  evict(): readonly StreamTotals[] {
    const { logBytesMax } = this.#limits
    const dropped: StreamTotals[] = []
    while (logBytesMax !== undefined && this.#segments.length > 1 && this.bytes > logBytesMax) {
      const oldest = this.#segments.shift() as Segment
      if (this.#damaged[0] === oldest) this.#noteDamaged()
      this.#evictedThrough = Math.max(this.#evictedThrough, oldest.last)
      const index = oldest.index as MemoryIndex
      for (let i = 0; i < index.streamCount; i += 1) dropped.push(index.totalsAt(i))
      this.context.blocks.forget(oldest.cacheId)
      this.#evicted.push(oldest)
      this.#inBackground(() => this.#removeFiles())
    }
    return dropped
  }

  /** Asks a segment's index; if that turns out to be doubtful, rebuilds it from the segment and asks again. */
  async query<T>(segment: Segment, ask: (index: SegmentIndex) => T | Promise<T>): Promise<T> {
    try {
      return await ask(segment.index)
    } catch (error) {
      await this.mendIndex(segment, error)
      return await ask(segment.index)
    }
  }

  /** Rebuilds a sidecar that turned out to be doubtful; rethrows any other error, and this one if the segment is gone. */
  async mendIndex(segment: Segment, error: unknown): Promise<void> {
    if (!(error instanceof IndexDoubt) || !this.has(segment)) throw error
    // Many readers may come across the same page at once.
    const mending = this.#mending.get(segment) ?? this.#mend(segment, error)
    this.#mending.set(segment, mending)
    try {
      await mending
    } finally {
      this.#mending.delete(segment)
    }
  }

  async #mend(segment: Segment, error: IndexDoubt): Promise<void> {
    this.context.observer.indexRebuilt(indexName(segment.generation), error.message)
    const { index, damages } = await rebuildIndex(this.context, segment)
    // Replaced while it was being read: whatever could not be read is not damage.
    if (!this.has(segment)) throw error
    segment.replaceIndex(index)
    // A sidecar could not say which streams the damage concerns: with damage the index stays in memory.
    for (const damage of damages) {
      segment.unindexedDamages.push(damage)
      this.reportDamage(damage)
    }
    this.#noteDamaged()
    if (segment.isSealed && segment.unindexedDamages.length === 0) await this.#writeIndex(segment)
  }

  #noteDamaged(): void {
    this.#damaged = this.#segments.filter(({ unindexedDamages }) => unindexedDamages.length > 0)
  }

  /** Damage that a reader has come across. Reported once. */
  reportDamage(damage: Damage): void {
    if (this.#damages.some((known) => known.file === damage.file && known.position === damage.position)) return
    this.#damages.push(damage)
    this.context.observer.damaged(damage)
  }

  async #createSpare(): Promise<Spare> {
    const header = rolledHeader({
      identity: this.active.identity,
      generation: this.newGeneration(),
      predecessor: this.active.generation,
      predecessorEnd: 0,
      contentEnd: HEADER_BYTES,
      createdMs: this.context.now(),
    })
    return { header, file: await createSegmentFile(this.context, header, []) }
  }

  /** A footer that could not be written whole is cut off, so that the segment can be written on. */
  async #seal(segment: Segment, successor: number): Promise<void> {
    try {
      await segment.seal(successor)
    } catch (error) {
      if (!(error instanceof SyncFailure)) await cutBack(segment)
      throw error
    }
  }

  #indexInBackground(segment: Segment): void {
    this.#indexesPending += 1
    this.#inBackground(async () => {
      try {
        if (this.context.hasSidecars && segment.unindexedDamages.length === 0) await this.#writeIndex(segment)
        await segment.closeWriting()
      } catch (error) {
        // A sealed, durable segment has nothing to lose from an error while its file is closed.
        if (systemCode(error) === undefined) throw error
      } finally {
        this.#indexesPending -= 1
      }
    })
  }

  #inBackground(work: () => Promise<void>): void {
    this.#background = this.#background.then(work)
    // There may be nobody waiting when it fails; whoever waits next gets the failure.
    this.#background.catch(() => undefined)
  }

  /** A disk that refuses the sidecar does no harm: the index stays in memory until the next start rebuilds it. */
  async #writeIndex(segment: Segment): Promise<void> {
    const { files, directory } = this.context
    const index = segment.index as MemoryIndex
    try {
      await writeIndexFile(files, directory, index, segment.summary())
      if (this.has(segment)) segment.replaceIndex(await openIndexFile(this.context, segment))
      else await files.remove(`${directory}/${indexName(segment.generation)}`)
    } catch (error) {
      if (error instanceof SyncFailure) this.#failure ??= error
      else if (systemCode(error) === undefined && !(error instanceof IndexDoubt)) throw error
      await files.remove(`${directory}/${indexName(segment.generation)}.tmp`).catch(() => undefined)
    }
    await nextTurn()
  }
}

/**
 * Durably cuts off whatever a failed write may have left behind the last batch. Throws SyncFailure if that fails: then
 * nobody knows what the next start will find there.
 */
export async function cutBack(segment: Segment): Promise<void> {
  try {
    await segment.file.truncate(segment.contentEnd)
  } catch (error) {
    throw new SyncFailure(segment.path, error)
  }
  await syncOrFail(segment.file)
}
