/** Reads the records of a log under inspection, in order, and reports what is damaged between them. */

import type { LogRecord, Offset } from './format.ts'
import { IndexDoubt, IndexFile } from './index-file.ts'
import { damageFinding, type Finding, type InspectedSegment, type LostRecord, place } from './inspect-findings.ts'
import { isCompacted, type Loaded } from './loaded-log.ts'
import { lostOf, readRecord, recordsIn } from './lost-records.ts'
import { readRecords, type Unreadable } from './read-records.ts'
import { scanSegment, type Unverified } from './scan.ts'
import { recordsOf, type Segment, type SegmentContext, scanSource } from './segment.ts'
import type { SegmentIndex } from './segment-index.ts'
import { rebuildIndex } from './sidecar.ts'

/** Which records are wanted; the bounds are inclusive. */
export interface RecordRange {
  readonly from: Offset
  readonly through: Offset
  readonly fromMs: number
  readonly throughMs: number
  readonly streamId?: number | undefined
}

export const EVERYTHING: RecordRange = {
  from: 0,
  through: Number.MAX_SAFE_INTEGER,
  fromMs: 0,
  throughMs: Number.POSITIVE_INFINITY,
}

/** `record` is valid until the next item is requested. */
export type InspectedItem = { readonly record: LogRecord } | { readonly damage: Finding }

/** A segment as the inspection has settled it. */
export interface Settled {
  readonly loaded: Loaded
  /** Nothing beyond it counts. */
  readonly end: number
  state: InspectedSegment['state']
}

/** Whether its records count. */
export function isPart({ state }: Settled): boolean {
  return state !== 'spare' && state !== 'overlapping'
}

const PAGES_PER_READ = 64
const POSTINGS_PER_READ = 1024

export class InspectedRecords {
  readonly #context: SegmentContext
  readonly #settled: readonly Settled[]
  readonly #findings: readonly Finding[]
  readonly #placeOf: (file: string) => number

  /** Segments and findings in the order of the log; `placeOf` says where a missing segment belongs. */
  constructor(
    context: SegmentContext,
    settled: readonly Settled[],
    findings: readonly Finding[],
    placeOf: (file: string) => number,
  ) {
    this.#context = context
    this.#settled = settled
    this.#findings = findings
    this.#placeOf = placeOf
  }

  /**
   * The records of the log, in order, and the damage between them: nothing is ever missing silently. If an intact index
   * covers a damaged range, the records in it that verify on their own are yielded.
   */
  async *records(range: RecordRange): AsyncGenerator<InspectedItem> {
    const missing = this.#findings.filter(({ kind }) => kind === 'missing')
    for (const { loaded, end } of this.#settled.filter(isPart)) {
      while (missing[0] !== undefined && this.#placeOf(missing[0].file) < loaded.segment.placeFrom) {
        yield* damageIn(range, missing.shift() as Finding)
      }
      if (mayHold(loaded, range)) yield* this.#recordsOf(loaded, end, range)
      for (const finding of this.#findings) if (isBehindAll(finding, loaded)) yield* damageIn(range, finding)
    }
    for (const damage of missing) yield* damageIn(range, damage)
  }

  async *#recordsOf(loaded: Loaded, end: number, range: RecordRange): AsyncGenerator<InspectedItem> {
    const { index } = loaded.segment
    if (range.streamId !== undefined && index instanceof IndexFile) {
      yield* this.#streamRecords(loaded, end, range, range.streamId, index)
    } else yield* this.#allRecords(loaded, end, range)
  }

  async *#streamRecords(
    loaded: Loaded,
    end: number,
    range: RecordRange,
    streamId: number,
    index: IndexFile,
  ): AsyncGenerator<InspectedItem> {
    const { segment } = loaded
    let { from } = range
    try {
      const cursor = await index.seek(streamId, from - 1)
      for (let postings = await cursor.next(PAGES_PER_READ); postings.length > 0; ) {
        for (const posting of postings) {
          const { offset, position, length } = posting
          if (offset > range.through) return
          const record = await readRecord(segment, posting)
          from = offset + 1
          if (record === undefined) {
            const lost = [{ streamId, offset }]
            const reason = 'does not verify'
            const at = place(segment.name, position, length)
            yield { damage: { ...at, kind: 'damage', reason, after: offset - 1, through: offset, lost } }
          } else if (isWanted(record, range)) yield { record }
        }
        postings = await cursor.next(PAGES_PER_READ)
      }
    } catch (error) {
      if (!(error instanceof IndexDoubt)) throw error
      // Read the rest without it.
      yield* this.#allRecords(loaded, end, { ...range, from })
    }
  }

  async *#allRecords(loaded: Loaded, end: number, range: RecordRange): AsyncGenerator<InspectedItem> {
    if (isCompacted(loaded)) {
      yield* this.#recordsByNumber(loaded, range)
      return
    }
    const { segment, footer } = loaded
    let after = segment.chainBefore.last
    let pending: Unverified | undefined
    const items = scanSegment(scanSource(segment, end), segment.headerEnd, segment.chainBefore, segment.order)
    for await (const item of items) {
      if (item.kind === 'unverified') pending = item
      if (item.kind === 'footer') continue
      if (item.kind !== 'batch') continue
      if (pending !== undefined) yield* this.#readDamaged(loaded, pending, after, item.header.first - 1, range)
      pending = undefined
      after = item.header.last
      if (item.header.first > range.through) return
      for (const [, record] of recordsOf(item.bytes, item.header.count)) if (isWanted(record, range)) yield { record }
    }
    if (pending === undefined) return
    const others = this.#settled.filter(isPart).map((one) => one.loaded.segment)
    const behind = others.find((other) => other.placeFrom > segment.placeFrom && other.recordCount > 0)
    const through = footer?.last ?? (behind === undefined ? undefined : behind.first - 1)
    yield* this.#readDamaged(loaded, pending, after, through, range)
  }

  async *#readDamaged(
    loaded: Loaded,
    item: Unverified,
    after: Offset,
    through: Offset | undefined,
    range: RecordRange,
  ): AsyncGenerator<InspectedItem> {
    const placed = (await recordsIn(this.#context, loaded, [item]))?.get(item)
    yield* damageIn(range, {
      ...place(loaded.found.name, item.position, item.end - item.position),
      kind: 'damage',
      reason: item.reason,
      after,
      through: through === undefined ? undefined : Math.max(after, through),
      lost: placed === undefined ? undefined : lostOf(placed),
    })
    for (const { record } of placed ?? []) if (record !== undefined && isWanted(record, range)) yield { record }
  }

  /** For a segment in stream order. */
  async *#recordsByNumber({ segment }: Loaded, range: RecordRange): AsyncGenerator<InspectedItem> {
    let after = range.from - 1
    if (segment.index instanceof IndexFile) {
      try {
        for await (const item of this.#itemsBehind(segment, segment.index, range)) {
          after = 'record' in item ? item.record.offset : (item.damage.through ?? after)
          yield item
        }
        return
      } catch (error) {
        if (!(error instanceof IndexDoubt)) throw error
        // Read the rest without it.
      }
    }
    const { index, damages } = await rebuildIndex(this.#context, segment)
    for (const damage of damages) yield* damageIn(range, damageFinding(damage))
    yield* this.#itemsBehind(segment, index, { ...range, from: after + 1 })
  }

  async *#itemsBehind(segment: Segment, index: SegmentIndex, range: RecordRange): AsyncGenerator<InspectedItem> {
    const cursor = await index.byNumber(range.from - 1)
    for (;;) {
      const postings = await cursor.next(POSTINGS_PER_READ)
      const wanted = postings.filter(({ offset, streamId }) => {
        return offset <= range.through && (range.streamId ?? streamId) === streamId
      })
      const records = await readRecords(segment, wanted)
      for (const [i, { streamId, offset, position, length }] of wanted.entries()) {
        const record = records[i] as LogRecord | Unreadable
        if (typeof record !== 'string') {
          if (isWanted(record, range)) yield { record }
          continue
        }
        const at = place(segment.name, position, length)
        const numbers = { after: offset - 1, through: offset, lost: [{ streamId, offset }] }
        yield { damage: { ...at, ...numbers, kind: 'damage', reason: record } }
      }
      if (postings.length === 0 || (postings.at(-1)?.offset ?? 0) >= range.through) return
    }
  }
}

function mayHold({ segment, footer, scan }: Loaded, range: RecordRange): boolean {
  if (segment.chain.last < range.from) return false
  // A damaged segment may hold more than its summary says.
  if (footer === undefined || scan !== undefined) return true
  const { timeMsMin, timeMsMax } = segment.summary()
  return segment.first <= range.through && timeMsMin <= range.throughMs && timeMsMax >= range.fromMs
}

/** Whether it was lost with the end of the segment: no bytes are left there for a scan to come across. */
function isBehindAll({ kind, file, position, bytes }: Finding, { found }: Loaded): boolean {
  return kind === 'damage' && file === found.name && (bytes === 0 || position >= found.sizeBytes)
}

function isWanted({ offset, timeMs, streamId }: LogRecord, range: RecordRange): boolean {
  if (range.streamId !== undefined && streamId !== range.streamId) return false
  return offset >= range.from && offset <= range.through && timeMs >= range.fromMs && timeMs <= range.throughMs
}

/** The damage, if it may affect the range. */
function* damageIn(range: RecordRange, damage: Finding): Generator<InspectedItem> {
  const { after, through = Number.MAX_SAFE_INTEGER, lost } = damage
  if (through <= after || through < range.from || after >= range.through) return
  const concerns = ({ streamId, offset }: LostRecord) =>
    offset >= range.from && offset <= range.through && (range.streamId ?? streamId) === streamId
  if (lost === undefined || lost.some(concerns)) yield { damage }
}
