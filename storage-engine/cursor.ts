/**
 * Reads forward through the segments: the records of one stream, through the indexes, or everything, batch by batch. A
 * cursor works while the writer writes, across rolls, and while compaction replaces the segment it is reading: it then
 * carries on in the new one, behind its position. It holds no file and no lock. Whatever it cannot read it reports: a
 * gap is never passed over in silence.
 */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { StorageError, systemCode } from './errors.ts'
import { aligned, type LogRecord, type Offset, ORDER_BY_STREAM } from './format.ts'
import { IndexDoubt } from './index-file.ts'
import type { Damage } from './observer.ts'
import { isShortage } from './open-files.ts'
import { readRecords, recordAt, type Unreadable } from './read-records.ts'
import { scanSegment, UNKNOWN_CHAIN, type Unverified } from './scan.ts'
import { recordsOf, type Segment, scanSource } from './segment.ts'
import { damagesTo } from './segment-damage.ts'
import type { Posting, PostingCursor, SegmentIndex, StreamPosting } from './segment-index.ts'
import type { SegmentSet } from './segment-set.ts'

/** A range of numbers in which this reader may have missed something. */
export interface LogGap {
  /** The last settled number before it. */
  readonly after: Offset
  /** The last number that may be in it. */
  readonly through: Offset
  readonly reason: 'damaged' | 'evicted'
}

export type CursorStep = { readonly records: readonly LogRecord[] } | { readonly gap: LogGap }

export interface Cursor {
  /** Everything up to and including this number was handed out, or does not concern this cursor. Only grows. */
  readonly position: Offset
  /**
   * The next records, some 64 KiB of them and at least one, or a gap. Undefined where nothing more is committed; then
   * `position` is the log's last number as of that moment. Views stay valid as long as they are held.
   */
  next(): Promise<CursorStep | undefined>
  close(): void
}

/** What a cursor needs of the log that it reads. */
export interface CursorHost {
  readonly segments: SegmentSet
  readonly lastOffset: Offset
  forget(cursor: StreamCursor): void
}

const STEP_BYTES = 64 * 1024
const POSTINGS_PER_STEP = 512
const STEPS_PER_TURN = 16
/** How many records of a segment in stream order are read at once for a reader that wants them by number. */
const POSTINGS_PER_ROUND = 8192
const ROUND_BYTES = 1024 * 1024

export class StreamCursor implements Cursor {
  readonly streamId: number
  readonly #host: CursorHost
  #position: Offset
  #segment: Segment | undefined
  #postings: PostingCursor | undefined
  #pending: readonly Posting[] = []
  #pendingAt = 0
  #damages: Damage[] = []
  #evicted: LogGap | undefined
  #isClosed = false
  #stepsInTurn = 0

  constructor(host: CursorHost, after: Offset, streamId: number) {
    this.#host = host
    this.#position = after
    this.streamId = streamId
  }

  get position(): Offset {
    return this.#position
  }

  /** Segments that held records of this stream were dropped: whatever of that lay ahead of this cursor is a gap. */
  noteEvicted(through: Offset): void {
    if (through > this.#position) this.#evicted = { after: this.#position, through, reason: 'evicted' }
  }

  close(): void {
    this.#isClosed = true
    this.#host.forget(this)
  }

  async next(): Promise<CursorStep | undefined> {
    // Everything may come from the cache: other work must still get its turn.
    this.#stepsInTurn += 1
    if (this.#stepsInTurn % STEPS_PER_TURN === 0) await nextTurn()
    while (!this.#isClosed) {
      if (this.#postings === undefined && !(await this.#enterSegment())) continue
      if (this.#pendingAt >= this.#pending.length) {
        const found = this.#findMore()
        if (found !== true && !(await found)) continue
      }
      const gap = this.#takeGap()
      if (gap !== undefined) return { gap }
      const segment = this.#segment as Segment
      if (this.#pendingAt < this.#pending.length) {
        const step = await this.#readPending(segment)
        if (step !== undefined) return step
      } else if (segment.isSealed) {
        this.#leaveSegment(segment)
      } else {
        // Still in the turn in which the index had no more: whatever is committed from now on is above this.
        this.#position = Math.max(this.#position, this.#host.lastOffset)
        return undefined
      }
    }
    return undefined
  }

  /** False: the segment is already gone, and another one covers its numbers. */
  async #enterSegment(): Promise<boolean> {
    const { segments } = this.#host
    const after = this.#position
    const segment = segments.segmentAfter(after)
    this.#segment = segment
    this.#pending = []
    this.#pendingAt = 0
    try {
      this.#postings = await segments.query(segment, (index) => index.seek(this.streamId, after))
    } catch (error) {
      if (isGone(segments, segment, error)) return false
      throw error
    }
    // Only after the query, which may have rebuilt the index and found damage in doing so.
    this.#damages = damagesTo(this.streamId, segment).filter((damage) => damage.through > after)
    return true
  }

  #leaveSegment(segment: Segment): void {
    this.#position = Math.max(this.#position, segment.chain.last)
    this.#postings = undefined
  }

  /**
   * Asks the index for more. Resolves at once where the index is in memory, as that of the active segment always is.
   * False: a page of the sidecar was doubtful, and a segment must be entered again: this one, whose sidecar was made
   * anew, or the one by which it was replaced.
   */
  #findMore(): boolean | Promise<boolean> {
    const found = (this.#postings as PostingCursor).next(POSTINGS_PER_STEP)
    // If the index cannot be read at the moment, the next call must not come across postings that were handed out.
    this.#pending = []
    this.#pendingAt = 0
    if (!(found instanceof Promise)) {
      this.#pending = found
      return true
    }
    return found.then(
      (postings) => {
        this.#pending = postings
        return true
      },
      async (error: unknown) => {
        const { segments } = this.#host
        const segment = this.#segment as Segment
        await segments.mendIndex(segment, error).catch((unmended: unknown) => {
          if (!isGone(segments, segment, unmended)) throw unmended
        })
        this.#postings = undefined
        return false
      },
    )
  }

  /** The gap, if any, that comes before the pending postings. */
  #takeGap(): LogGap | undefined {
    const evicted = this.#evicted
    this.#evicted = undefined
    if (evicted !== undefined && evicted.through > this.#position) return this.#pass(evicted.through, 'evicted')
    const ahead = this.#pending[this.#pendingAt]
    while (this.#damages.length > 0) {
      const damage = this.#damages[0] as Damage
      if (ahead !== undefined && ahead.offset <= damage.after) return undefined
      this.#damages.shift()
      if (damage.through > this.#position) return this.#pass(damage.through, 'damaged')
    }
    return undefined
  }

  #pass(through: Offset, reason: LogGap['reason']): LogGap {
    const gap: LogGap = { after: this.#position, through, reason }
    this.#position = through
    while ((this.#pending[this.#pendingAt]?.offset ?? Number.POSITIVE_INFINITY) <= through) this.#pendingAt += 1
    return gap
  }

  /** Reads pending postings, up to the bytes of one step, but not past damage that comes first. */
  async #readPending(segment: Segment): Promise<CursorStep | undefined> {
    const { blocks } = this.#host.segments.context
    const bound = this.#damages[0]?.after ?? Number.POSITIVE_INFINITY
    const records: LogRecord[] = []
    let bytes = 0
    while (this.#pendingAt < this.#pending.length && bytes < STEP_BYTES) {
      const posting = this.#pending[this.#pendingAt] as Posting
      if (posting.offset > bound || this.#evicted !== undefined) break
      let source = blocks.peek(segment, posting.position, posting.length)
      if (source === undefined) {
        // Whatever is already in memory goes out without waiting for the disk.
        if (records.length > 0) break
        source = await this.#read(segment, posting)
      }
      const record = source === undefined ? undefined : recordAt(source, segment, posting, this.streamId)
      if (record === undefined) {
        // A cursor that was closed meanwhile finds its files closed, too.
        if (records.length > 0 || this.#isClosed) break
        return this.#unreadable(segment, posting, source === undefined)
      }
      records.push(record)
      bytes += posting.length
      this.#position = posting.offset
      this.#pendingAt += 1
    }
    return records.length > 0 ? { records } : undefined
  }

  async #read(segment: Segment, posting: Posting): Promise<Buffer | undefined> {
    const { blocks } = this.#host.segments.context
    try {
      return await blocks.read(segment, posting.position, posting.length)
    } catch (error) {
      if (systemCode(error) === undefined) throw error
      if (isShortage(error)) throw shortage(segment, error)
      return undefined
    }
  }

  #unreadable(segment: Segment, posting: Posting, isReadError: boolean): CursorStep | undefined {
    if (!this.#host.segments.has(segment)) {
      // Replaced while it was being read; or dropped, and `noteEvicted` says what is lost.
      this.#postings = undefined
      this.#pending = []
      return undefined
    }
    this.#pendingAt += 1
    const gap: LogGap = { after: this.#position, through: posting.offset, reason: 'damaged' }
    this.#position = posting.offset
    this.#host.segments.reportDamage({
      file: segment.name,
      position: posting.position,
      bytes: aligned(posting.length),
      after: gap.after,
      through: gap.through,
      reason: isReadError ? 'cannot be read' : 'does not verify',
    })
    return { gap }
  }
}

/** Whether reading failed because the segment, and its files, were replaced or dropped meanwhile. */
export function isGone(segments: SegmentSet, segment: Segment, error: unknown): boolean {
  return (error instanceof IndexDoubt || systemCode(error) !== undefined) && !segments.has(segment)
}

/** Says nothing about the bytes: the reader may try again. */
export function shortage(segment: Segment, error: unknown): StorageError {
  return new StorageError('STORAGE_READ', `${segment.name} cannot be read at the moment (${String(error)}).`, error)
}

/** Reads everything, in number order, in large pieces that bypass the cache. */
export class LogCursor implements Cursor {
  readonly #host: CursorHost
  #position: Offset
  #isClosed = false
  #items: AsyncGenerator<CursorStep> | undefined
  #segment: Segment | undefined
  #readEnd = 0

  constructor(host: CursorHost, after: Offset) {
    this.#host = host
    this.#position = after
  }

  get position(): Offset {
    return this.#position
  }

  close(): void {
    this.#isClosed = true
  }

  async next(): Promise<CursorStep | undefined> {
    while (!this.#isClosed) {
      if (this.#position < this.#host.segments.evictedThrough) {
        const gap: LogGap = { after: this.#position, through: this.#host.segments.evictedThrough, reason: 'evicted' }
        this.#position = gap.through
        this.#items = undefined
        return { gap }
      }
      if (this.#items === undefined) {
        const segment = this.#host.segments.segmentAfter(this.#position)
        if (!segment.isSealed && this.#host.lastOffset <= this.#position) return undefined
        this.#segment = segment
        this.#readEnd = segment.contentEnd
        this.#items =
          segment.order === ORDER_BY_STREAM ? this.#stepsByNumber(segment) : this.#steps(segment, segment.contentEnd)
      }
      const { value, done } = await this.#items.next().catch((error: unknown) => {
        // The next call starts again behind what was handed out.
        this.#items = undefined
        const segment = this.#segment as Segment
        if (isGone(this.#host.segments, segment, error)) return GONE
        throw isShortage(error) ? shortage(segment, error) : error
      })
      if (done !== true) return value
      this.#items = undefined
      const segment = this.#segment as Segment
      // Replaced while it was being read; or dropped, and the next round says what is lost.
      if (!this.#host.segments.has(segment)) continue
      if (segment.isSealed && this.#readEnd === segment.contentEnd) {
        this.#position = Math.max(this.#position, segment.chain.last)
      } else if (this.#host.lastOffset <= this.#position) return undefined
    }
    return undefined
  }

  /**
   * Each record is verified, as by whoever reads one stream. Damage that only a scan has found may hide any number: here
   * the whole segment is one gap then.
   */
  async *#stepsByNumber(segment: Segment): AsyncGenerator<CursorStep> {
    const { segments } = this.#host
    yield* this.#passDamages(segment.unindexedDamages)
    for (;;) {
      const after = this.#position
      const postings = await segments.query(segment, (index) => postingsAfter(index, after))
      if (postings.length === 0) return
      const found = await readRecords(segment, postings)
      let records: LogRecord[] = []
      let bytes = 0
      for (const [i, posting] of postings.entries()) {
        const record = found[i] as LogRecord | Unreadable
        if (typeof record === 'string' || bytes >= STEP_BYTES) {
          if (records.length > 0) yield this.#handOut(records)
          records = []
          bytes = 0
        }
        if (typeof record === 'string') {
          const end = posting.position + aligned(posting.length)
          const gap = this.#damaged(segment, { position: posting.position, end, reason: record }, posting.offset)
          // Gone: the rest is read from the segment that replaces it.
          if (gap === undefined) return
          yield gap
        } else {
          records.push(record)
          bytes += posting.length
        }
      }
      if (records.length > 0) yield this.#handOut(records)
    }
  }

  #handOut(records: readonly LogRecord[]): CursorStep {
    this.#position = (records.at(-1) as LogRecord).offset
    return { records }
  }

  *#passDamages(damages: readonly Damage[]): Generator<CursorStep> {
    for (const damage of damages) {
      if (damage.through <= this.#position || this.#isClosed) continue
      yield this.#pass({ after: this.#position, through: damage.through, reason: 'damaged' })
    }
  }

  async *#steps(segment: Segment, end: number): AsyncGenerator<CursorStep> {
    const { segments } = this.#host
    const after = this.#position
    // Damage before the segment's own records, as of a file that is missing, has no place among its batches.
    yield* this.#passDamages(segment.unindexedDamages.filter(({ file }) => file !== segment.name))
    const mark = await segments.query(segment, (index) => index.markBefore(after))
    let damagedFrom: Unverified | undefined
    for await (const item of scanSegment(
      scanSource(segment, end),
      mark?.batchPosition ?? segment.headerEnd,
      UNKNOWN_CHAIN,
    )) {
      if (item.kind === 'unverified') {
        damagedFrom = item
        continue
      }
      if (item.kind !== 'batch') continue
      if (damagedFrom !== undefined) {
        const gap = this.#damaged(segment, damagedFrom, item.header.first - 1)
        damagedFrom = undefined
        if (gap !== undefined) yield gap
      }
      if (item.header.last <= this.#position) continue
      const records = [...recordsOf(Buffer.from(item.bytes), item.header.count)]
        .map(([, record]) => record)
        .filter((record) => record.offset > this.#position)
      this.#position = item.header.last
      if (records.length > 0) yield { records }
    }
    if (damagedFrom !== undefined) {
      const gap = this.#damaged(segment, damagedFrom, segment.chain.last)
      if (gap !== undefined) yield gap
    }
    // Damage behind the last batch that verifies comes after all that was read here.
    yield* this.#passDamages(segment.unindexedDamages)
  }

  #damaged(
    segment: Segment,
    range: { readonly position: number; readonly end: number; readonly reason: string },
    through: Offset,
  ): CursorStep | undefined {
    if (through <= this.#position || this.#isClosed || !this.#host.segments.has(segment)) return undefined
    const damage = { after: this.#position, through, reason: range.reason }
    const place = { file: segment.name, position: range.position, bytes: range.end - range.position }
    this.#host.segments.reportDamage({ ...place, ...damage })
    return this.#pass({ after: this.#position, through, reason: 'damaged' })
  }

  #pass(gap: LogGap): CursorStep {
    this.#position = Math.max(this.#position, gap.through)
    return { gap }
  }
}

const GONE = { value: undefined, done: true } as const

/** The next postings in number order, as many as are worth reading at once. */
async function postingsAfter(index: SegmentIndex, after: Offset): Promise<readonly StreamPosting[]> {
  const cursor = await index.byNumber(after)
  const postings: StreamPosting[] = []
  let bytes = 0
  while (postings.length < POSTINGS_PER_ROUND) {
    const some = await cursor.next(POSTINGS_PER_STEP)
    if (some.length === 0) return postings
    for (const posting of some) {
      postings.push(posting)
      bytes += posting.length
      if (bytes >= ROUND_BYTES) return postings
    }
  }
  return postings
}
