/**
 * The log: open and recover, append, follow, read, close. It knows streams of bytes; what they mean is up to the
 * domain.
 *
 * A log has exactly one writer anywhere: whoever opens it on a disk holds the folder's lock.
 */

import assert from 'node:assert'
import { type BackwardItem, readBackward } from './backward-reader.ts'
import { BlockCache } from './block-cache.ts'
import type { Checkpoint } from './checkpoint.ts'
import { CheckpointStore } from './checkpoint-store.ts'
import { type CompactionFigures, type CompactionOptions, type CompactionReport, Compactor } from './compactor.ts'
import { type Cursor, isGone, LogCursor, StreamCursor, shortage } from './cursor.ts'
import { StorageError, SyncFailure, systemCode } from './errors.ts'
import type { Files } from './files.ts'
import {
  ENGINE_STREAM,
  type LogRecord,
  type NewRecord,
  type Offset,
  RecordView,
  readU64,
  verifyRecord,
  writeU64,
} from './format.ts'
import { hashKey, type KeyHash, withoutOuterBlanks } from './key-hash.ts'
import type { Damage, StorageObserver } from './observer.ts'
import { isShortage, OpenFiles } from './open-files.ts'
import { type PinnedLog, pinLog } from './pinned-log.ts'
import { recoverLog } from './recovery.ts'
import { isDiskFull, Reserve } from './reserve.ts'
import type { Segment, SegmentContext } from './segment.ts'
import type { Posting, StreamTotals } from './segment-index.ts'
import { SegmentSet } from './segment-set.ts'
import type { Sequencer } from './sequencer.ts'
import { postingsOf, totalsAbove, totalsOfStream } from './stream-reads.ts'
import { type SyncMode, Writer, type WriterStatus } from './writer.ts'

export interface LogOptions {
  readonly sync: SyncMode
  readonly syncIntervalMs: number
  readonly segmentBytesMax: number
  /** Of one batch; a single append may be larger, up to 64 MiB. */
  readonly batchBytesMax: number
  readonly pendingBytesMax: number
  /** Of the whole log, beyond which the oldest segments are dropped; undefined: no bound. */
  readonly logBytesMax?: number | undefined
  /** Of all segments and sidecars; beyond it only urgent records are accepted. Undefined: no bound but the disk's. */
  readonly quotaBytes?: number | undefined
  /** What compaction does when the quota is nearly reached: nothing, or have the oldest records dropped. */
  readonly whenFull?: 'refuse' | 'dropOldest' | undefined
  /** Numbers begin this much higher than they would: for a log that may have lived on elsewhere, such as one from a backup. */
  readonly raiseCeilingBy?: number | undefined
  /** Blocks of segments, and pages of sidecars, kept in memory. */
  readonly blockCacheBytesMax: number
  readonly pageCacheBytesMax: number
  /** Room on the disk that is kept for whatever makes room; 0: none. */
  readonly reserveBytes: number
  /**
   * Whether this log's batches reserve the sequencer's numbers, and its starts are recorded. True for the durable log
   * of a process, false for one in memory, which is opened after it.
   */
  readonly isDurable: boolean
  /** Milliseconds since 1970. */
  readonly now?: (() => number) | undefined
  readonly keyHash?: KeyHash | undefined
}

/** Numbers from `from` up to, not including, `to`: an earlier process may have given them, but none is durable. */
export interface SkippedRange {
  readonly from: Offset
  readonly to: Offset
}

export interface LogStatistics {
  readonly segments: number
  readonly bytes: number
  readonly records: number
  readonly damages: number
  readonly pendingBytes: number
  readonly cachedBytes: number
  /** Of all segments and sidecars, and how many there may be. */
  readonly bytesOnDisk: number
  readonly quotaBytes: number | undefined
  /** Undefined where it was not started. */
  readonly compaction: CompactionFigures | undefined
}

const START_KIND = 0
const BLOCK_BYTES = 32 * 1024
const PAGE_BYTES = 4096
const OPEN_FILES_MAX = 64
/** How many may wait for room at once; beyond that, appends are refused if there is none. */
const WAITING_MAX = 10_000
/** 24 bytes of index each, in memory until the sidecar is written. */
const SEGMENT_RECORDS_MAX = 2 ** 19

export class Log {
  readonly #sequencer: Sequencer
  readonly #segments: SegmentSet
  readonly #writer: Writer
  readonly #reserve: Reserve
  readonly #checkpoints: CheckpointStore
  readonly #keyHash: KeyHash
  readonly #options: LogOptions
  readonly #skipped: SkippedRange[] = []
  readonly #cursors = new Set<StreamCursor>()
  readonly #commitListeners: ((records: readonly LogRecord[]) => void)[] = []
  readonly #settledListeners: (() => void)[] = []
  readonly #evictListeners: ((dropped: readonly StreamTotals[]) => void)[] = []
  readonly #failListeners: ((error: StorageError) => void)[] = []
  #lastOffset: Offset = 0
  #compactor: Compactor | undefined
  #waitingForRoom: (() => void)[] = []
  /** The active segment as of the last commit. */
  #active: Segment
  #closing: Promise<void> | undefined

  private constructor(
    sequencer: Sequencer,
    segments: SegmentSet,
    reserve: Reserve,
    options: LogOptions,
    now: () => number,
  ) {
    this.#sequencer = sequencer
    this.#segments = segments
    this.#reserve = reserve
    this.#checkpoints = new CheckpointStore(segments.context, segments.active.identity)
    this.#keyHash = segments.context.keyHash
    this.#options = options
    this.#active = segments.active
    this.#lastOffset = segments.all.findLast((segment) => segment.recordCount > 0)?.last ?? 0
    this.#writer = new Writer(
      segments,
      sequencer,
      reserve,
      {
        sync: options.sync,
        syncIntervalMs: options.syncIntervalMs,
        batchBytesMax: options.batchBytesMax,
        pendingBytesMax: options.pendingBytesMax,
        quotaBytes: options.quotaBytes,
        reservesNumbers: options.isDurable,
        now,
      },
      (records) => this.#committed(records),
      () => this.#settled(),
      (error) => {
        void this.#compactor?.stop()
        this.#lookForRoom()
        for (const listener of this.#failListeners) listener(error)
      },
    )
  }

  /**
   * Opens the log in `directory`, or makes one, and recovers what a crash left. The caller holds the folder's lock.
   * Throws StorageError with STORAGE_FOREIGN, STORAGE_NEWER_FORMAT, STORAGE_PERMISSION or STORAGE_DAMAGED before
   * anything is changed; STORAGE_FULL where the disk has no room even for a start; STORAGE_FAILED where a sync fails.
   */
  static async open(
    files: Files,
    sequencer: Sequencer,
    observer: StorageObserver,
    directory: string,
    options: LogOptions,
  ): Promise<Log> {
    const now = options.now ?? Date.now
    const beganAt = performance.now()
    const context: SegmentContext = {
      files,
      directory,
      openFiles: new OpenFiles(files, OPEN_FILES_MAX),
      blocks: new BlockCache(BLOCK_BYTES, options.blockCacheBytesMax),
      pages: new BlockCache(PAGE_BYTES, options.pageCacheBytesMax),
      keyHash: options.keyHash ?? hashKey,
      observer,
      hasSidecars: options.isDurable,
      now,
    }
    let segments: SegmentSet | undefined
    let log: Log | undefined
    try {
      await files.makeDirectory(directory)
      const reserve = new Reserve(files, directory, options.reserveBytes)
      const recovered = await recoverWithRoom(context, reserve)
      segments = new SegmentSet(context, recovered, {
        segmentBytesMax: options.segmentBytesMax,
        segmentRecordsMax: SEGMENT_RECORDS_MAX,
        logBytesMax: options.logBytesMax,
      })
      await reserve.restore()
      log = new Log(sequencer, segments, reserve, options, now)
      if (options.isDurable) await log.#start(recovered.ceiling + (options.raiseCeilingBy ?? 0), now())
      observer.recovered(performance.now() - beganAt, segments.all.length, segments.bytes)
      return log
    } catch (error) {
      // Whatever the next start needs is on the disk already; only timers and files are released here.
      if (log !== undefined) await log.#writer.close()
      await segments?.close().catch(() => undefined)
      await context.openFiles.close()
      throw readable(error, directory)
    }
  }

  get status(): WriterStatus {
    return this.#writer.status
  }

  /** Why nothing more is written, if `status` is 'failed'. */
  get failure(): StorageError | undefined {
    return this.#writer.failure
  }

  /** The last committed number; 0 in an empty log. */
  get lastOffset(): Offset {
    return this.#lastOffset
  }

  /** Every number of this log below it is settled: committed, or a hole forever. */
  get watermark(): Offset {
    return this.#writer.firstUnsettled ?? this.#sequencer.next
  }

  /** Ascending. */
  get skippedRanges(): readonly SkippedRange[] {
    return this.#skipped
  }

  get damages(): readonly Damage[] {
    return this.#segments.damages
  }

  /** The highest number that was dropped because the log is bounded; 0: none. */
  get evictedThrough(): Offset {
    return this.#segments.evictedThrough
  }

  statistics(): LogStatistics {
    const { context, all } = this.#segments
    return {
      segments: all.length,
      bytes: this.#segments.bytes,
      records: all.reduce((sum, segment) => sum + segment.recordCount, 0),
      damages: this.damages.length,
      pendingBytes: this.#writer.pendingBytes,
      cachedBytes: context.blocks.bytes + context.pages.bytes,
      bytesOnDisk: this.#segments.bytesOnDisk,
      quotaBytes: this.#options.quotaBytes,
      compaction: this.#compactor?.figures,
    }
  }

  /**
   * Resolves with the record's number when it is as durable as `sync` promises. An urgent record (a deletion) may use
   * the room that is kept for a full disk. Rejects with StorageError.
   */
  async append(record: NewRecord, options?: { readonly urgent?: boolean }): Promise<Offset> {
    const { offsets, settled } = this.#writer.append([record], options?.urgent ?? false)
    await settled
    return offsets[0] as Offset
  }

  /** Like `append`, for several records: all of them or none, even after a crash. */
  async appendAll(records: readonly NewRecord[], options?: { readonly urgent?: boolean }): Promise<readonly Offset[]> {
    const { offsets, settled } = this.#writer.append(records, options?.urgent ?? false)
    await settled
    return offsets
  }

  /**
   * Called once per commit, in the order of numbers, before the appends resolve. The records are valid until the
   * listener returns. It must not throw.
   */
  onCommit(listener: (records: readonly LogRecord[]) => void): void {
    this.#commitListeners.push(listener)
  }

  /** Called when `watermark` has grown without a commit to report: a batch was cut off, or held no records. */
  onSettled(listener: () => void): void {
    this.#settledListeners.push(listener)
  }

  /** Called when a bounded log has dropped its oldest segments, with what each stream had in each of them. */
  onEvict(listener: (dropped: readonly StreamTotals[]) => void): void {
    this.#evictListeners.push(listener)
  }

  /** Called at most once: a sync failed, and nothing more is written. */
  onFail(listener: (error: StorageError) => void): void {
    this.#failListeners.push(listener)
  }

  /** Records with numbers above `after`, of one stream or, without one, of all, in order. */
  cursor(after: Offset, streamId?: number): Cursor {
    const log = this
    const host = {
      segments: this.#segments,
      get lastOffset() {
        return log.#lastOffset
      },
      forget: (cursor: StreamCursor) => this.#cursors.delete(cursor),
    }
    if (streamId === undefined) return new LogCursor(host, after)
    const cursor = new StreamCursor(host, after, streamId)
    this.#cursors.add(cursor)
    return cursor
  }

  /**
   * If the log is nearly full and its oldest records are being dropped: resolves when there may be room. Undefined if there
   * is nothing to be gained by waiting: an append is then accepted, or refused, at once.
   */
  get room(): Promise<void> | undefined {
    if (this.#waitingForRoom.length >= WAITING_MAX || this.#compactor?.makesRoom() !== true) return undefined
    return new Promise((resolve) => this.#waitingForRoom.push(resolve))
  }

  #lookForRoom(): void {
    const waiting = this.#waitingForRoom
    this.#waitingForRoom = []
    for (const resolve of waiting) resolve()
  }

  /** Records of one stream with numbers below `before`, a few at a time, newest first. */
  backward(streamId: number, before: Offset): AsyncIterable<readonly BackwardItem[]> {
    return readBackward(this.#segments, streamId, before)
  }

  /**
   * The earliest record of the stream that bears this key, outer blanks aside. One look into each segment's index, no
   * scan. A record that cannot be read counts as the one that its hash says it is: later ones would be too late.
   */
  async findKey(streamId: number, key: Uint8Array): Promise<Offset | undefined> {
    const keyHash = this.#keyHash(streamId, key)
    return await this.#askInOrder(async (segment) => {
      const posting = await this.#segments.query(segment, (index) => index.findKey(keyHash))
      if (posting === undefined) return undefined
      const record = await this.#record(segment, posting)
      const isMeant = record === undefined || (record.streamId === streamId && isSameKey(record.key, key))
      return isMeant ? posting.offset : undefined
    })
  }

  /** A number such that the stream's first record at or after `timeMs` is the first one behind it. */
  async findTime(streamId: number, timeMs: number): Promise<Offset> {
    // Whatever is committed during the search lies behind, whatever its time.
    const end = this.#lastOffset
    const first = await this.#askInOrder(async (segment) => {
      if (segment.timeMsMax < timeMs) return undefined
      const after = await this.#segments.query(segment, (index) => index.olderThan(timeMs))
      const cursor = this.cursor(after, streamId)
      try {
        return await firstFrom(cursor, timeMs, segment.chain.last)
      } finally {
        cursor.close()
      }
    })
    return first === undefined ? end : first - 1
  }

  /** Where the stream's records above `after` lie, some at a time, ascending: from the indexes, without reading them. */
  postings(streamId: number, after: Offset): AsyncIterable<readonly Posting[]> {
    return postingsOf(this.#segments, streamId, after)
  }

  /**
   * What all streams have above `after`, some items at a time: see `totalsAbove`. To be asked before anything compacts
   * the log, and before anything is appended.
   */
  streamTotals(after: Offset, exactThrough: Offset): AsyncIterable<readonly StreamTotals[]> {
    return totalsAbove(this.#segments, after, exactThrough)
  }

  /** The newest checkpoint that can be trusted; undefined: there is none. */
  async loadCheckpoint(): Promise<Checkpoint | undefined> {
    return await this.#checkpoints.load(this.#segments.checkpointFloor, this.#lastOffset)
  }

  /**
   * Writes a checkpoint of a fold that has taken everything up to `offset`, and perhaps more. Rejects with what `chunks`
   * and the disk fail with, and changes nothing then; with STORAGE_FAILED where a sync fails.
   */
  async saveCheckpoint(offset: Offset, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    try {
      await this.#checkpoints.save(offset, chunks)
    } catch (error) {
      throw error instanceof SyncFailure ? this.#writer.fail(error) : error
    }
  }

  /** What a stream has above `after`, by the indexes; a count of 0 where it has nothing. */
  streamTotalsOf(streamId: number, after: Offset): Promise<StreamTotals> {
    return totalsOfStream(this.#segments, streamId, after)
  }

  /**
   * Records of the stream up to this number are dropped, all of them where it is Infinity: its cursors that are behind will
   * tell a gap. Compaction asks its judge.
   */
  dropped(streamId: number, through: Offset): void {
    for (const cursor of this.#cursors) {
      if (cursor.streamId === streamId) cursor.noteEvicted(Math.min(through, this.#lastOffset))
    }
  }

  /** Compacts in the background from now until `close`. Call at most once, and only on a durable log. */
  startCompaction(options: CompactionOptions): void {
    assert(this.#compactor === undefined && this.#options.isDurable)
    const log = this
    const { segmentBytesMax, quotaBytes, whenFull } = this.#options
    const host = {
      segments: this.#segments,
      segmentBytesMax,
      quotaBytes,
      dropsOldest: whenFull === 'dropOldest',
      get ceiling() {
        return log.#sequencer.ceiling
      },
      get commitInFlight() {
        return log.#writer.commitInFlight
      },
      makeRoom: () => this.#writer.makeRoom(),
      fail: (cause: SyncFailure) => this.#writer.fail(cause),
      lookForRoom: () => this.#lookForRoom(),
    }
    this.#compactor = new Compactor(host, options)
    this.#compactor.start()
  }

  /**
   * Compacts until nothing is worth it any more; behind a run that is under way. Only where compaction was started.
   * `onProgress` is called after each run. Rejects with StorageError.
   */
  async compact(onProgress?: (report: CompactionReport) => void): Promise<CompactionReport> {
    assert(this.#compactor !== undefined)
    if (this.failure !== undefined) throw this.failure
    return await this.#compactor.compactNow(onProgress)
  }

  /** Seals what has been acknowledged so far, and keeps all files of the log on the disk. Rejects with StorageError. */
  async pin(): Promise<PinnedLog> {
    await this.#writer.sealActive()
    return await pinLog(this.#segments)
  }

  /** Writes what is queued, seals the segment, closes the files. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    const leavingOff = this.#compactor?.stop()
    this.#lookForRoom()
    await this.#writer.close()
    await leavingOff
    for (const cursor of [...this.#cursors]) cursor.close()
    try {
      if (this.status === 'closed') await this.#sealWithRoom()
    } catch (error) {
      throw unclosed(error, this.#segments.context.directory)
    } finally {
      await this.#segments.close()
    }
  }

  /** If there is no room for it, the next start recovers the log as after a crash, and loses nothing either. */
  async #sealWithRoom(): Promise<void> {
    try {
      await this.#segments.sealActive()
    } catch (error) {
      if (!isDiskFull(error)) throw error
      try {
        if (await this.#reserve.release()) await this.#segments.sealActive()
      } catch (secondError) {
        if (!isDiskFull(secondError)) throw secondError
      }
    }
  }

  /** Begins the numbers of this process, and records in the log which ones that skips. */
  async #start(ceiling: Offset, nowMs: number): Promise<void> {
    const last = this.#segments.active.chain.last
    const first = this.#sequencer.begin(Math.max(ceiling, last + 1), nowMs)
    this.#segments.boundDamages(first - 1)
    await this.#readSkippedRanges()
    const range = { from: last + 1, to: first }
    await this.#writer.start({ streamId: ENGINE_STREAM, kind: START_KIND, payload: encodeRange(range) }, first)
    if (range.from < range.to) this.#skipped.push(range)
  }

  async #readSkippedRanges(): Promise<void> {
    const cursor = this.cursor(0, ENGINE_STREAM)
    for (let step = await cursor.next(); step !== undefined; step = await cursor.next()) {
      if (!('records' in step)) continue
      for (const record of step.records) {
        const range = decodeRange(record.payload)
        if (range.from < range.to) this.#skipped.push(range)
      }
    }
    cursor.close()
  }

  /** The first answer that any segment gives. If one is replaced while being asked, its replacement is asked instead. */
  async #askInOrder<T>(ask: (segment: Segment) => Promise<T | undefined>): Promise<T | undefined> {
    const segments = this.#segments
    let segment = segments.all[0]
    while (segment !== undefined) {
      const asked: Segment = segment
      try {
        const answer = await ask(asked)
        if (answer !== undefined) return answer
        segment = segments.has(asked) ? segments.successorOf(asked) : segments.segmentAfter(asked.chain.last)
      } catch (error) {
        if (!isGone(segments, asked, error)) throw error
        segment = segments.segmentAfter(asked.chainBefore.last)
      }
    }
    return undefined
  }

  async #record(segment: Segment, posting: Posting): Promise<RecordView | undefined> {
    const { blocks } = this.#segments.context
    const bytes = await blocks.read(segment, posting.position, posting.length).catch((error: unknown) => {
      if (systemCode(error) === undefined || isGone(this.#segments, segment, error)) throw error
      if (isShortage(error)) throw shortage(segment, error)
      return Buffer.alloc(0)
    })
    if (!verifyRecord(bytes, 0, segment.seed, posting.position)) return undefined
    return new RecordView(bytes, 0)
  }

  #settled(): void {
    for (const listener of this.#settledListeners) listener()
  }

  #committed(records: readonly LogRecord[]): void {
    const last = records.at(-1)
    if (last !== undefined) {
      this.#lastOffset = last.offset
      for (const listener of this.#commitListeners) listener(records)
    } else {
      this.#settled()
    }
    if (this.#active !== this.#segments.active) {
      this.#active = this.#segments.active
      this.#compactor?.noteSealed()
    }
    const dropped = this.#segments.evict()
    if (dropped.length === 0) return
    const lastOf = new Map(dropped.map(({ streamId, last }) => [streamId, last]))
    for (const cursor of this.#cursors) {
      const through = lastOf.get(cursor.streamId)
      if (through !== undefined) cursor.noteEvicted(through)
    }
    for (const listener of this.#evictListeners) listener(dropped)
  }
}

/** A full disk must not keep a log from opening: the reserve gives its room for that. */
async function recoverWithRoom(context: SegmentContext, reserve: Reserve) {
  try {
    return await recoverLog(context)
  } catch (error) {
    if (!isDiskFull(error) || !(await reserve.giveUp())) throw error
    return await recoverLog(context)
  }
}

async function firstFrom(cursor: Cursor, timeMs: number, through: Offset): Promise<Offset | undefined> {
  while (cursor.position < through) {
    const step = await cursor.next()
    if (step === undefined) return undefined
    if (!('records' in step)) continue
    for (const record of step.records) if (record.timeMs >= timeMs) return record.offset
  }
  return undefined
}

function isSameKey(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(withoutOuterBlanks(one), withoutOuterBlanks(other)) === 0
}

function encodeRange(range: SkippedRange): Buffer {
  const payload = Buffer.alloc(16)
  writeU64(payload, range.from, 0)
  writeU64(payload, range.to, 8)
  return payload
}

function decodeRange(payload: Uint8Array): SkippedRange {
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength)
  return { from: readU64(bytes, 0), to: readU64(bytes, 8) }
}

/** Why the last segment has no footer. Whatever was durable still is. */
function unclosed(error: unknown, directory: string): unknown {
  if (error instanceof StorageError) return error
  const isSyncFailure = error instanceof SyncFailure
  if (!isSyncFailure && systemCode(error) === undefined) return error
  return new StorageError(
    isSyncFailure ? 'STORAGE_FAILED' : 'STORAGE_WRITE',
    `The log in ${directory} could not be ended cleanly (${String(error)}). The next start recovers it. Check the disk.`,
    isSyncFailure ? error.cause : error,
  )
}

/** The system's errors in words that say what to do. */
function readable(error: unknown, directory: string): unknown {
  const code = systemCode(error instanceof SyncFailure ? error.cause : error)
  if (error instanceof StorageError || code === undefined) return error
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
    const advice = 'Let the user that runs the server own the folder, on a file system that can be written.'
    return new StorageError(
      'STORAGE_PERMISSION',
      `${directory} may not be read and written (${code}). ${advice}`,
      error,
    )
  }
  if (error instanceof SyncFailure) {
    return new StorageError('STORAGE_FAILED', `${error.message}. Check the disk, then start again.`, error.cause)
  }
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new StorageError(
      'STORAGE_FULL',
      `The disk that holds ${directory} is full. Make room on it, then start again.`,
      error,
    )
  }
  return new StorageError('STORAGE_READ', `The log in ${directory} could not be opened (${String(error)}).`, error)
}
