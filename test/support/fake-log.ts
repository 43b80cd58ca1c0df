/**
 * A log in a few arrays that behaves like the engine's where the hub can tell: numbers from the shared sequencer, group
 * commit, listeners before promises, cursors by steps, gaps, eviction. The test decides when it commits and how long a
 * read takes. What it hands out it overwrites as soon as the contract allows, so that a view that was kept is noticed.
 */

import assert from 'node:assert/strict'
import type {
  Cursor,
  CursorStep,
  EventLog,
  LogGap,
  LogRecord,
  NewRecord,
  Offset,
  StreamTotals,
} from '../../src/domain/ports.ts'
import { type BackwardItem, StorageError } from '../../storage-engine/index.ts'

export interface FakeLogOptions {
  /** Bytes of payload in one step of a cursor; at least one record all the same. */
  readonly stepBytes?: number
  /** `manual`: only `commit()` does. Otherwise in the turn after the first append of a batch. */
  readonly commits?: 'manual' | 'automatic'
  /** Awaited by every step of a cursor, before it looks. */
  readonly latency?: () => Promise<void>
  /** Awaited by every step of a cursor after it has looked: what is committed meanwhile is not in its answer. */
  readonly answerLatency?: () => Promise<void>
  /** What an earlier process has left. */
  readonly records?: readonly LogRecord[]
  readonly skippedRanges?: readonly { readonly from: Offset; readonly to: Offset }[]
  readonly now?: () => number
}

/** One append. */
interface Pending {
  readonly records: readonly LogRecord[]
  readonly resolve: (offsets: readonly Offset[]) => void
  readonly reject: (error: StorageError) => void
}

const NOTHING = new Uint8Array(0)
const STALE = 0x21 // '!'
/** Of the header of a record. */
const RECORD_BYTES = 40

export class FakeLog implements EventLog {
  status: 'open' | 'closing' | 'closed' | 'failed' = 'open'
  readonly skippedRanges: readonly { readonly from: Offset; readonly to: Offset }[]
  /** Steps that cursors have taken, for counting reads. */
  reads = 0
  /** The next append is refused with this. */
  refusal: StorageError | undefined
  /** The next step of a cursor fails with this. */
  readFailure: StorageError | undefined
  readonly #numbers: { readonly next: Offset; take(): Offset }
  readonly #stepBytes: number
  readonly #isManual: boolean
  readonly #latency: (() => Promise<void>) | undefined
  readonly #answerLatency: (() => Promise<void>) | undefined
  readonly #now: () => number
  readonly #records: LogRecord[]
  readonly #damages: LogGap[] = []
  readonly #commitListeners: ((records: readonly LogRecord[]) => void)[] = []
  readonly #failListeners: ((error: StorageError) => void)[] = []
  readonly #settledListeners: (() => void)[] = []
  readonly #evictListeners: ((dropped: readonly StreamTotals[]) => void)[] = []
  #pending: Pending[] = []
  #lastOffset: Offset
  #undecidedFrom: Offset | undefined
  readonly #cursorNotes = new Set<(through: Offset) => void>()

  constructor(numbers: { readonly next: Offset; take(): Offset }, options: FakeLogOptions = {}) {
    this.#numbers = numbers
    this.#stepBytes = options.stepBytes ?? 64 * 1024
    this.#isManual = options.commits === 'manual'
    this.#latency = options.latency
    this.#answerLatency = options.answerLatency
    this.#now = options.now ?? Date.now
    this.#records = [...(options.records ?? [])]
    this.#lastOffset = this.#records.at(-1)?.offset ?? 0
    this.skippedRanges = options.skippedRanges ?? []
  }

  get lastOffset(): Offset {
    return this.#lastOffset
  }

  get watermark(): Offset {
    return this.#undecidedFrom ?? this.#pending[0]?.records[0]?.offset ?? this.#numbers.next
  }

  /** Everything that is committed, for the next process. */
  get records(): readonly LogRecord[] {
    return this.#records
  }

  get pendingCount(): number {
    return this.#pending.length
  }

  async append(record: NewRecord, _options?: { urgent?: boolean }): Promise<Offset> {
    const [offset] = await this.appendAll([record])
    assert(offset !== undefined)
    return offset
  }

  appendAll(records: readonly NewRecord[], _options?: { urgent?: boolean }): Promise<readonly Offset[]> {
    if (this.status !== 'open') {
      return Promise.reject(new StorageError(this.status === 'failed' ? 'STORAGE_FAILED' : 'STORAGE_CLOSED', 'no more'))
    }
    const { refusal } = this
    if (refusal !== undefined) {
      this.refusal = undefined
      return Promise.reject(refusal)
    }
    return new Promise((resolve, reject) => {
      const stored = records.map((record) => {
        const key = record.key === undefined ? NOTHING : copy(record.key)
        const { streamId, kind } = record
        const payload = copy(bytesOf(record.payload))
        const length = RECORD_BYTES + key.length + payload.length
        return { offset: this.#numbers.take(), streamId, kind, length, timeMs: this.#now(), key, payload }
      })
      this.#pending.push({ records: stored, resolve, reject })
      if (!this.#isManual && this.#pending.length === 1) setImmediate(() => this.commit())
    })
  }

  /** One batch of everything that waits. Nothing happens where nothing does, or after a failure. */
  commit(): void {
    if (this.status === 'failed' || this.#pending.length === 0) return
    const batch = this.#pending
    this.#pending = []
    const committed = batch.flatMap(({ records }) => records)
    for (const record of committed) this.#records.push(record)
    this.#lastOffset = committed.at(-1)!.offset
    const views = committed.map((record) => view(record))
    for (const listener of this.#commitListeners) listener(views)
    for (const { key, payload } of views) spoil(key, payload)
    for (const { records, resolve } of batch) resolve(records.map(({ offset }) => offset))
  }

  /** As after a failed sync: what waits is refused, and all that comes. */
  fail(): void {
    this.status = 'failed'
    this.#undecidedFrom = this.#pending[0]?.records[0]?.offset
    const failure = new StorageError('STORAGE_FAILED', 'a sync failed')
    for (const listener of this.#failListeners) listener(failure)
    for (const { reject } of this.#pending.splice(0)) reject(failure)
  }

  /** As when a batch could not be written: what waits is refused, its numbers stay holes. */
  cut(): void {
    for (const { reject } of this.#pending.splice(0)) reject(new StorageError('STORAGE_WRITE', 'a write failed'))
    for (const listener of this.#settledListeners) listener()
  }

  /** What lies in it cannot be read any more. */
  damage(after: Offset, through: Offset): void {
    this.#damages.push({ after, through, reason: 'damaged' })
  }

  /**
   * Drops the oldest records, up to this number. Cursors that are open tell a gap, whether or not their stream lost
   * anything; those that are opened later know nothing of it.
   */
  evict(through: Offset): void {
    const dropped: StreamTotals[] = []
    while (this.#records.length > 0 && this.#records[0]!.offset <= through)
      dropped.push(totalsOf(this.#records.shift()!))
    for (const note of this.#cursorNotes) note(through)
    for (const listener of this.#evictListeners) listener(dropped)
  }

  onCommit(listener: (records: readonly LogRecord[]) => void): void {
    this.#commitListeners.push(listener)
  }

  onFail(listener: (error: StorageError) => void): void {
    this.#failListeners.push(listener)
  }

  onSettled(listener: () => void): void {
    this.#settledListeners.push(listener)
  }

  onEvict(listener: (dropped: readonly StreamTotals[]) => void): void {
    this.#evictListeners.push(listener)
  }

  cursor(after: Offset, streamId?: number): Cursor {
    let position = after
    let isClosed = false
    let evictedThrough = 0
    const note = (through: Offset) => {
      evictedThrough = through
    }
    this.#cursorNotes.add(note)
    const told = new Set<LogGap>()
    const next = async (): Promise<CursorStep | undefined> => {
      assert(!isClosed, 'a closed cursor is not asked')
      this.reads += 1
      await this.#latency?.()
      if (this.readFailure !== undefined) {
        const failure = this.readFailure
        this.readFailure = undefined
        throw failure
      }
      if (evictedThrough > position) {
        const gap: LogGap = { after: position, through: evictedThrough, reason: 'evicted' }
        position = evictedThrough
        return { gap }
      }
      const records: LogRecord[] = []
      let bytes = 0
      for (let index = this.#indexAbove(position); index < this.#records.length; index++) {
        const record = this.#records[index]!
        if (streamId !== undefined && record.streamId !== streamId) continue
        const damage = this.#damages.find((gap) => record.offset > gap.after && record.offset <= gap.through)
        if (damage !== undefined) {
          if (records.length > 0) break
          if (told.has(damage)) continue
          told.add(damage)
          const gap: LogGap = { after: position, through: damage.through, reason: 'damaged' }
          position = Math.max(position, damage.through)
          return { gap }
        }
        records.push(view(record))
        bytes += record.payload.length
        position = record.offset
        if (bytes >= this.#stepBytes) break
      }
      if (records.length === 0) {
        position = Math.max(position, this.#lastOffset)
        await this.#answerLatency?.()
        return undefined
      }
      await this.#answerLatency?.()
      return { records }
    }
    return {
      get position() {
        return position
      },
      next,
      close: () => {
        isClosed = true
        this.#cursorNotes.delete(note)
      },
    }
  }

  async *backward(streamId: number, before: Offset): AsyncGenerator<readonly BackwardItem[]> {
    await this.#latency?.()
    const found = this.#records.filter((record) => record.streamId === streamId && record.offset < before)
    for (const record of found.reverse()) yield [{ record: view(record) }]
  }

  async *postings(
    streamId: number,
    after: Offset,
  ): AsyncGenerator<readonly { offset: Offset; length: number; position: number }[]> {
    await this.#latency?.()
    yield this.#records
      .filter((record) => record.streamId === streamId && record.offset > after)
      .map(({ offset, length }) => ({ offset, length, position: 0 }))
  }

  async *streamTotals(after: Offset, _exactThrough: Offset): AsyncGenerator<readonly StreamTotals[]> {
    yield this.#records.filter(({ offset }) => offset > after).map(totalsOf)
  }

  /** Nobody has to wait for room. */
  readonly room = undefined

  /** The latest checkpoint, which the next log may be given. */
  checkpoint: { readonly offset: Offset; readonly pieces: readonly Uint8Array[] } | undefined

  async loadCheckpoint() {
    const { checkpoint } = this
    if (checkpoint === undefined) return undefined
    return {
      offset: checkpoint.offset,
      async *chunks() {
        for (const piece of checkpoint.pieces) yield Buffer.from(piece)
      },
    }
  }

  async saveCheckpoint(offset: Offset, chunks: AsyncIterable<Uint8Array>): Promise<void> {
    // As the disk would: what is committed before the first piece is asked for is told in it, and lies behind `offset`.
    for (let turn = 0; turn < 3; turn += 1) await new Promise(setImmediate)
    const pieces: Uint8Array[] = []
    for await (const chunk of chunks) pieces.push(chunk)
    this.checkpoint = { offset, pieces }
  }

  async findKey(streamId: number, key: Uint8Array): Promise<Offset | undefined> {
    const wanted = Buffer.from(key)
    return this.#records.find((record) => record.streamId === streamId && wanted.equals(record.key))?.offset
  }

  async findTime(streamId: number, timeMs: number): Promise<Offset> {
    const first = this.#records.find((record) => record.streamId === streamId && record.timeMs >= timeMs)
    return first === undefined ? this.#lastOffset : first.offset - 1
  }

  #indexAbove(position: Offset): number {
    let low = 0
    let high = this.#records.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#records[middle]!.offset > position) high = middle
      else low = middle + 1
    }
    return low
  }
}

function totalsOf({ streamId, offset, length }: LogRecord): StreamTotals {
  return { streamId, count: 1, bytes: length, first: offset, last: offset }
}

function bytesOf(payload: NewRecord['payload']): Uint8Array {
  if (payload instanceof Uint8Array) return payload
  const bytes = Buffer.alloc(payload.length)
  payload.writeTo(bytes, 0)
  return bytes
}

function copy(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from(bytes)
}

function view(record: LogRecord): LogRecord {
  return { ...record, key: copy(record.key), payload: copy(record.payload) }
}

function spoil(...views: readonly Uint8Array[]): void {
  for (const bytes of views) bytes.fill(STALE)
}
