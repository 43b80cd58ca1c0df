/**
 * Group commit: records that arrive while a batch is being written and synced form the next batch. The pace is set by
 * the disk, and by how long commits take to hand on (`gathering.ts`). One writer per log.
 *
 * An append resolves when its batch is as durable as the log promises, after the commit listener has seen it. A batch
 * that could not be written is cut away and fails alone; a failed sync is final (docs/log-format.md, "Failing").
 */

import assert from 'node:assert'
import { BatchBuilder, type Place } from './batch-builder.ts'
import { StorageError, SyncFailure, systemCode } from './errors.ts'
import {
  BATCH_BYTES_LIMIT,
  BATCH_HEADER_BYTES,
  KEY_BYTES_LIMIT,
  type LogRecord,
  type NewRecord,
  type Offset,
  recordBytes,
} from './format.ts'
import { Gathering } from './gathering.ts'
import { isDiskFull, type Reserve } from './reserve.ts'
import type { Segment } from './segment.ts'
import { cutBack, type SegmentSet } from './segment-set.ts'
import type { Sequencer } from './sequencer.ts'
import { syncOrFail } from './whole-file.ts'

export type SyncMode = 'commit' | 'interval' | 'never'

export interface WriterOptions {
  /** `commit`: every batch is synced before it counts. The others can lose what came after the last sync. */
  readonly sync: SyncMode
  readonly syncIntervalMs: number
  /** A batch is closed when it holds this much; a single append may be larger. */
  readonly batchBytesMax: number
  /** Bytes that may wait for the disk; more are refused with STORAGE_BUSY. */
  readonly pendingBytesMax: number
  /** For all segments and sidecars together; above it only urgent records are accepted. Undefined: no limit. */
  readonly quotaBytes: number | undefined
  /** Whether this log's batches reserve the numbers that the sequencer hands out. */
  readonly reservesNumbers: boolean
  readonly now: () => number
}

export type WriterStatus = 'open' | 'closing' | 'closed' | 'failed'

interface Waiter {
  readonly resolve: () => void
  readonly reject: (error: StorageError) => void
}

interface PendingBatch {
  readonly builder: BatchBuilder
  readonly waiters: Waiter[]
  /** Those of its records, as they count against `pendingBytesMax`. */
  bytes: number
  /** May use the reserve when the disk is full. */
  isUrgent: boolean
}

/** How often to try to take again a reserve that was given away. */
const RESTORE_INTERVAL_MS = 1000
const BUILDERS_KEPT_MAX = 2

export class Writer {
  readonly #segments: SegmentSet
  readonly #sequencer: Sequencer
  readonly #reserve: Reserve
  readonly #options: WriterOptions
  readonly #onCommit: (records: readonly LogRecord[]) => void
  readonly #onCut: () => void
  readonly #onFail: (error: StorageError) => void
  readonly #queue: PendingBatch[] = []
  readonly #builders: BatchBuilder[] = []
  readonly #gathering = new Gathering()
  #status: WriterStatus = 'open'
  #failure: StorageError | undefined
  #undecidedFrom: Offset | undefined
  #current: PendingBatch | undefined
  #committing: Promise<unknown> | undefined
  #pendingBytes = 0
  /** Callers who want the active segment sealed. */
  #sealing: Waiter[] = []
  #running: Promise<void> | undefined
  #isFull = false
  #synced: { readonly generation: number; readonly position: number }
  /** Where the next batch will lie, unless the one being written fails or fills its segment. */
  #nextPlace: Place | undefined
  #syncTimer: NodeJS.Timeout | undefined
  /** The background sync that is under way; resolves whatever the outcome. */
  #syncing: Promise<void> | undefined
  #restoreTimer: NodeJS.Timeout | undefined
  #restoring: Promise<void> | undefined
  /** Nothing may start of its own accord any more: the folder may soon belong to another process. */
  #isClosed = false

  constructor(
    segments: SegmentSet,
    sequencer: Sequencer,
    reserve: Reserve,
    options: WriterOptions,
    onCommit: (records: readonly LogRecord[]) => void,
    onCut: () => void,
    onFail: (error: StorageError) => void,
  ) {
    this.#segments = segments
    this.#sequencer = sequencer
    this.#reserve = reserve
    this.#options = options
    this.#onCommit = onCommit
    this.#onCut = onCut
    this.#onFail = onFail
    this.#synced = { generation: segments.active.generation, position: segments.active.contentEnd }
    if (options.reservesNumbers) sequencer.onLow(() => this.#reserveNumbers())
    if (options.sync === 'interval') this.#startSyncing()
    if (!reserve.isWhole) this.#startRestoring()
  }

  get status(): WriterStatus {
    return this.#status
  }

  get failure(): StorageError | undefined {
    return this.#failure
  }

  get pendingBytes(): number {
    return this.#pendingBytes
  }

  /** The batch that is on its way to the disk, if there is one; resolves whatever the outcome. */
  get commitInFlight(): Promise<unknown> | undefined {
    return this.#committing
  }

  /**
   * The lowest number that was handed out and is not settled; undefined while there is none. The number of a batch
   * whose sync failed stays: the batch may or may not be on the disk, and only the next start will know.
   */
  get firstUnsettled(): Offset | undefined {
    return this.#undecidedFrom ?? (this.#current ?? this.#queue[0])?.builder.first
  }

  /**
   * Accepts records for one batch, all or none. Returns their numbers at once; `settled` resolves when they are
   * durable. Throws StorageError if they cannot be accepted at all.
   */
  append(
    records: readonly NewRecord[],
    isUrgent: boolean,
  ): { readonly offsets: readonly Offset[]; readonly settled: Promise<void> } {
    if (records.length === 0) return { offsets: [], settled: Promise.resolve() }
    let bytes = 0
    for (const record of records) bytes += checkedBytes(record)
    this.#refuseIfUnable(bytes, isUrgent)
    const nowMs = Math.max(0, this.#options.now())
    // All numbers first: if there are not enough, neither half an append nor an empty batch is left behind.
    const first = this.#take(records.length)
    const batch = this.#batchWithRoom(bytes)
    const offsets: Offset[] = []
    for (const record of records) {
      const offset = first + offsets.length
      batch.builder.add(record, offset, nowMs)
      offsets.push(offset)
    }
    return { offsets, settled: this.#wait(batch, bytes, isUrgent) }
  }

  /** Writes the entry of a start, under the number that the sequencer began with. */
  async start(record: NewRecord, offset: Offset): Promise<void> {
    const batch = this.#batchWithRoom(0)
    batch.builder.add(record, offset, Math.max(0, this.#options.now()))
    await this.#wait(batch, 0, true)
  }

  /** Seals the active segment, if it holds anything, before any batch not yet begun. Rejects with StorageError. */
  async sealActive(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    if (this.#status !== 'open') throw closed()
    this.#running ??= this.#run()
    await new Promise<void>((resolve, reject) => this.#sealing.push({ resolve, reject }))
  }

  /** Gives back the room that is kept for a full disk. False: there is none. Throws SyncFailure. */
  async makeRoom(): Promise<boolean> {
    try {
      return await this.#reserve.release()
    } finally {
      if (!this.#reserve.isWhole) this.#startRestoring()
    }
  }

  /** A sync that others asked for has failed, which is as final as if it were the writer's own. */
  fail(cause: SyncFailure): StorageError {
    return this.#failure ?? this.#fail(cause)
  }

  /** Accepts no more, and writes what is queued. Idempotent. */
  async close(): Promise<void> {
    if (this.#status === 'open') this.#status = 'closing'
    this.#isClosed = true
    clearInterval(this.#restoreTimer)
    await this.#running
    clearInterval(this.#syncTimer)
    await this.#syncing
    await this.#restoring
    if (this.#status !== 'closing') return
    this.#status = 'closed'
  }

  #refuseIfUnable(bytes: number, isUrgent: boolean): void {
    if (this.#failure !== undefined) throw this.#failure
    if (this.#status !== 'open') throw closed()
    if (bytes + BATCH_HEADER_BYTES > BATCH_BYTES_LIMIT) {
      throw new StorageError('STORAGE_TOO_LARGE', `${bytes} bytes in one append; ${BATCH_BYTES_LIMIT} are allowed.`)
    }
    if (this.#pendingBytes + bytes > this.#options.pendingBytesMax && this.#pendingBytes > 0) throw busy()
    if (isUrgent) return
    if (!this.#reserve.isWhole) throw diskFull(this.#segments.context.directory, undefined)
    // Checked once per batch: a batch is small compared with a quota.
    if (this.#queue.length === 0 && this.#isOverQuota(bytes)) throw quotaReached(this.#options.quotaBytes as number)
  }

  #isOverQuota(moreBytes: number): boolean {
    const { quotaBytes } = this.#options
    if (quotaBytes === undefined) return false
    return this.#segments.bytesOnDisk + this.#pendingBytes + moreBytes > quotaBytes
  }

  #take(count: number): Offset {
    try {
      return this.#sequencer.take(count)
    } catch (error) {
      // Numbers run out only while batches that reserve more are waiting for the disk.
      if (this.#options.reservesNumbers && this.#running !== undefined) throw busy()
      throw error
    }
  }

  #batchWithRoom(bytes: number): PendingBatch {
    const last = this.#queue.at(-1)
    if (last !== undefined && last.builder.bytes + bytes <= this.#options.batchBytesMax) return last
    const builder = this.#builders.pop() ?? new BatchBuilder()
    // The disk is busy with the previous batch: preparing this one for its likely place saves time later.
    if (last === undefined) builder.expect(this.#nextPlace)
    const batch = { builder, waiters: [], bytes: 0, isUrgent: false }
    this.#queue.push(batch)
    return batch
  }

  #wait(batch: PendingBatch, bytes: number, isUrgent: boolean): Promise<void> {
    if (isUrgent) batch.isUrgent = true
    this.#pendingBytes += bytes
    batch.bytes += bytes
    this.#gathering.appended()
    this.#running ??= this.#run()
    return new Promise((resolve, reject) => batch.waiters.push({ resolve, reject }))
  }

  /**
   * Queues a batch without records, so that other logs do not run out of numbers while this one is quiet or its disk is
   * full.
   */
  #reserveNumbers(): void {
    if (this.#status !== 'open' || this.#queue.length > 0) return
    const batch = this.#batchWithRoom(0)
    batch.builder.addNothing(this.#sequencer.skip())
    batch.isUrgent = true
    this.#running ??= this.#run()
  }

  async #run(): Promise<void> {
    // What arrives in the same turn of the event loop goes into the first batch as well.
    await new Promise((resolve) => setImmediate(resolve))
    for (;;) {
      // If there are several batches, the first one is full.
      if (this.#queue.length === 1) await this.#gathering.wait()
      await this.#sealWanted()
      const batch = this.#queue.shift()
      if (batch === undefined) {
        if (this.#sealing.length > 0) continue
        break
      }
      this.#current = batch
      const committing = this.#commit(batch)
      this.#committing = committing
      const error = await committing
      this.#committing = undefined
      this.#current = undefined
      this.#pendingBytes -= batch.bytes
      if (error !== undefined) this.#onCut()
      for (const waiter of batch.waiters) {
        if (error === undefined) waiter.resolve()
        else waiter.reject(error)
      }
      this.#recycle(batch.builder)
      if (this.#failure !== undefined) this.#rejectQueue(this.#failure)
    }
    this.#running = undefined
  }

  /** Seals the active segment if anybody asked for it. */
  async #sealWanted(): Promise<void> {
    const waiters = this.#sealing.splice(0)
    if (waiters.length === 0) return
    const error = await this.#settled(async () => {
      if (this.#segments.active.batchCount > 0) await this.#roll()
    })
    for (const waiter of waiters) {
      if (error === undefined) waiter.resolve()
      else waiter.reject(error)
    }
  }

  /** Resolves with the reason why the batch failed, or undefined. */
  async #commit(batch: PendingBatch): Promise<StorageError | undefined> {
    const error = await this.#settled(() => this.#writeWithRoom(batch))
    // Its numbers remain holes; the reservation that it carried has to be requested again.
    if (error !== undefined && this.#options.reservesNumbers) this.#sequencer.raise(0)
    return error
  }

  /** Resolves with the reason why the work could not be done, or undefined. */
  async #settled(work: () => Promise<void>): Promise<StorageError | undefined> {
    if (this.#failure !== undefined) return this.#failure
    try {
      await work()
      return undefined
    } catch (error) {
      if (error instanceof SyncFailure) return this.#failure ?? this.#fail(error)
      if (systemCode(error) === undefined) throw error
      if (!isDiskFull(error)) {
        const { name } = this.#segments.active
        return new StorageError(
          'STORAGE_WRITE',
          `A batch could not be written to ${name} (${systemCode(error)}).`,
          error,
        )
      }
      this.#setFull(true)
      return diskFull(this.#segments.context.directory, error)
    }
  }

  async #writeWithRoom(batch: PendingBatch): Promise<void> {
    try {
      await this.#write(batch)
    } catch (error) {
      if (!isDiskFull(error) || !batch.isUrgent) throw error
      if (!(await this.makeRoom())) throw error
      await this.#write(batch)
    }
  }

  async #write(batch: PendingBatch): Promise<void> {
    if (this.#segments.needsRoll(batch.builder.bytes)) await this.#roll()
    const { active } = this.#segments
    const position = active.contentEnd
    const ceiling = this.#options.reservesNumbers ? this.#sequencer.wantedCeiling : 0
    const { bytes, header } = batch.builder.seal(active.seed, position, {
      previousCrc: active.chain.crc,
      ceiling,
      syncedGeneration: this.#synced.generation,
      syncedPosition: this.#synced.position,
    })
    this.#nextPlace = { seed: active.seed, position: position + bytes.length }
    try {
      await active.file.write(bytes, position)
    } catch (error) {
      await cutBack(active)
      throw error
    }
    // Numbers are handed out only below a durable ceiling, whatever else the log may lose.
    const mustSync = this.#options.sync === 'commit' || ceiling > this.#sequencer.ceiling
    let syncMs = 0
    if (mustSync) {
      const beganAt = performance.now()
      await syncOrFail(active.file)
      syncMs = performance.now() - beganAt
      await this.#syncing
    }
    // A background sync that failed meanwhile is final: this batch may be among what it was meant to cover.
    if (this.#failure !== undefined) throw new SyncFailure(active.path, this.#failure.cause)
    if (mustSync) this.#synced = { generation: active.generation, position: position + bytes.length }
    const records = active.accept(bytes, header, position)
    if (this.#options.reservesNumbers && mustSync) this.#sequencer.raise(ceiling)
    if (this.#isFull) this.#setFull(false)
    this.#segments.context.observer.committed(header.count, bytes.length, syncMs)
    this.#segments.prepareSpare()
    // Whoever is notified of the commit must find its numbers settled.
    this.#current = undefined
    const handedOnAt = performance.now()
    this.#onCommit(records)
    this.#gathering.committed(batch.waiters.length, performance.now() - handedOnAt)
  }

  async #roll(): Promise<void> {
    const { active } = this.#segments
    // The system reports a file's failure only once: after a sync that received it, the roll's own would succeed.
    await this.#syncing
    if (this.#failure !== undefined) throw new SyncFailure(active.path, this.#failure.cause)
    const isSynced = this.#synced.generation === active.generation && this.#synced.position >= active.contentEnd
    await this.#segments.roll(isSynced)
    this.#synced = { generation: this.#segments.active.generation, position: this.#segments.active.contentEnd }
  }

  #fail(cause: SyncFailure): StorageError {
    const failure = new StorageError(
      'STORAGE_FAILED',
      `${cause.message}. Nothing more is written to this log; what was acknowledged is kept. Check the disk, then start again.`,
      cause.cause,
    )
    this.#failure = failure
    this.#status = 'failed'
    if (this.#current !== undefined && this.#current.builder.count > 0)
      this.#undecidedFrom = this.#current.builder.first
    this.#segments.context.observer.failed(failure)
    this.#onFail(failure)
    return failure
  }

  #rejectQueue(error: StorageError): void {
    for (const batch of this.#queue.splice(0)) {
      this.#pendingBytes -= batch.bytes
      for (const waiter of batch.waiters) waiter.reject(error)
    }
  }

  #recycle(builder: BatchBuilder): void {
    builder.reset()
    if (this.#builders.length < BUILDERS_KEPT_MAX) this.#builders.push(builder)
  }

  #setFull(isFull: boolean): void {
    if (this.#isFull === isFull) return
    this.#isFull = isFull
    this.#segments.context.observer.full(isFull)
  }

  #startRestoring(): void {
    if (this.#isClosed) return
    this.#restoreTimer ??= setInterval(() => {
      this.#restoring ??= this.#restore().finally(() => {
        this.#restoring = undefined
      })
    }, RESTORE_INTERVAL_MS).unref()
  }

  async #restore(): Promise<void> {
    try {
      if (!(await this.#reserve.restore())) return
      clearInterval(this.#restoreTimer)
      this.#restoreTimer = undefined
      this.#setFull(false)
    } catch (error) {
      assert(error instanceof SyncFailure)
      this.fail(error)
    }
  }

  #startSyncing(): void {
    this.#syncTimer = setInterval(() => {
      const { active } = this.#segments
      const position = active.contentEnd
      const isDurable = this.#synced.generation === active.generation && this.#synced.position >= position
      if (this.#syncing !== undefined || isDurable || this.#status !== 'open') return
      this.#syncing = this.#syncInBackground(active, position).finally(() => {
        this.#syncing = undefined
      })
    }, this.#options.syncIntervalMs).unref()
  }

  async #syncInBackground(segment: Segment, position: number): Promise<void> {
    try {
      await syncOrFail(segment.file)
    } catch (error) {
      assert(error instanceof SyncFailure)
      if (this.#failure === undefined) this.#fail(error)
      return
    }
    const { generation } = segment
    if (this.#synced.generation === generation && this.#synced.position < position)
      this.#synced = { generation, position }
  }
}

function checkedBytes(record: NewRecord): number {
  assert(record.kind >= 0 && record.kind <= 0xff)
  if ((record.key?.length ?? 0) > KEY_BYTES_LIMIT) {
    throw new StorageError('STORAGE_TOO_LARGE', `A key of ${record.key?.length} bytes; ${KEY_BYTES_LIMIT} are allowed.`)
  }
  return recordBytes(record)
}

function closed(): StorageError {
  return new StorageError('STORAGE_CLOSED', 'The log is closed, or is closing.')
}

function quotaReached(quotaBytes: number): StorageError {
  return new StorageError(
    'STORAGE_QUOTA',
    `The log has reached the ${quotaBytes} bytes that it may have. Delete topics, purge them, or give them limits, or allow the log more; publishing then goes on by itself.`,
  )
}

function busy(): StorageError {
  return new StorageError('STORAGE_BUSY', 'Too much waits for the disk already. Publish more slowly, or try again.')
}

function diskFull(directory: string, cause: unknown): StorageError {
  return new StorageError(
    'STORAGE_FULL',
    `The disk that holds ${directory} is full. Make room on it, or delete topics; publishing then goes on by itself.`,
    cause,
  )
}
