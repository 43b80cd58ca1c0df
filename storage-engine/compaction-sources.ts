/**
 * The input of a compaction run: the live records of its segments, by stream, then by number. A segment in stream order
 * is read as it lies; one in number order is first read in full and sorted in memory. Both are read forward in large
 * pieces, and every record is verified; a segment with a record that does not verify cannot be an input.
 */

import type { Arenas } from './arenas.ts'
import {
  aligned,
  BATCH_HEADER_BYTES,
  lengthAt,
  type Offset,
  ORDER_BY_OFFSET,
  offsetAt,
  streamIdAt,
  verifyRecord,
} from './format.ts'
import type { Damage } from './observer.ts'
import type { Pacer } from './pacer.ts'
import { RecordRows } from './record-rows.ts'
import { type ScanItem, scanSegment, UNKNOWN_CHAIN, type Unverified } from './scan.ts'
import type { Segment } from './segment.ts'
import { sortInSlices } from './sort-in-slices.ts'

/** Whether a record is to be kept, judging by its stream and its number alone. */
export type IsAlive = (streamId: number, offset: Offset) => boolean

/** An input turned out to be damaged: the run is called off. */
export class DamagedInput extends Error {
  readonly damage: Damage

  constructor(damage: Damage) {
    super(`${damage.file} ${damage.reason} at ${damage.position}`)
    this.name = 'DamagedInput'
    this.damage = damage
  }
}

/** Records, a few at a time, by stream, then by number; valid until the next ones are asked for. */
export type SortedRecords = AsyncGenerator<RecordRows>

const RECORDS_AT_ONCE = 256

export function sortedRecords(segment: Segment, isAlive: IsAlive, pacer: Pacer, arenas: Arenas): SortedRecords {
  if (segment.order === ORDER_BY_OFFSET) return sortedInMemory(segment, isAlive, pacer, arenas)
  return livingRecords(segment, isAlive, pacer)
}

/** Several sources, given in number order, as one. */
export class MergedRecords {
  readonly #heads: readonly Head[]

  private constructor(heads: readonly Head[]) {
    this.#heads = heads
  }

  static async of(sources: readonly SortedRecords[]): Promise<MergedRecords> {
    const heads = sources.map((source) => new Head(source))
    for (const head of heads) await head.fill()
    return new MergedRecords(heads)
  }

  /** The source whose next records are the next of all, up to the end of their stream; undefined at the end of all. */
  get lowest(): Head | undefined {
    let lowest: Head | undefined
    for (const head of this.#heads) if (head.streamId < (lowest?.streamId ?? Number.POSITIVE_INFINITY)) lowest = head
    return lowest
  }
}

/** How far a source has been read. */
export class Head {
  readonly #source: SortedRecords
  #rows: RecordRows | undefined
  #at = 0
  /** Of the next record; Infinity behind the last one. */
  streamId = Number.POSITIVE_INFINITY

  constructor(source: SortedRecords) {
    this.#source = source
  }

  get rows(): RecordRows {
    return this.#rows as RecordRows
  }

  /** Where the next record stands in `rows`. */
  get at(): number {
    return this.#at
  }

  /** The end of those at hand that follow it in its stream. */
  get end(): number {
    const { rows, streamId } = this
    let end = this.#at
    while (end < rows.count && rows.streamIdOf(end) === streamId) end += 1
    return end
  }

  /** Everything before `end` was taken. To be awaited unless undefined: then none is at hand. */
  advance(end: number): Promise<void> | undefined {
    this.#at = end
    if (end === this.rows.count) return this.fill()
    this.streamId = this.rows.streamIdOf(end)
    return undefined
  }

  async fill(): Promise<void> {
    const { value, done } = await this.#source.next()
    this.#at = 0
    this.#rows = done === true ? undefined : value
    this.streamId = this.#rows?.streamIdOf(0) ?? Number.POSITIVE_INFINITY
  }
}

async function* sortedInMemory(segment: Segment, isAlive: IsAlive, pacer: Pacer, arenas: Arenas): SortedRecords {
  const arena = arenas.take(segment.contentEnd - segment.headerEnd)
  const streamIds = new Float64Array(segment.recordCount)
  const places = new Uint32Array(segment.recordCount)
  const positions = new Uint32Array(segment.recordCount)
  let count = 0
  let end = 0
  for await (const rows of livingRecords(segment, isAlive, pacer)) {
    for (let row = 0; row < rows.count; row += 1) {
      streamIds[count + row] = rows.streamIdOf(row)
      positions[count + row] = rows.positionOf(row)
    }
    end = copyTogether(rows, arena, end, places.subarray(count))
    count += rows.count
  }
  // Of one stream they come in the order of numbers, and equal rows keep theirs.
  const sorted = await sortInSlices(streamIds.subarray(0, count), () => pacer.slice())
  const rows = new RecordRows(segment.seed, RECORDS_AT_ONCE)
  for (let begin = 0; begin < count; begin += RECORDS_AT_ONCE) {
    await pacer.slice()
    rows.reset(arena)
    for (let i = begin; i < Math.min(begin + RECORDS_AT_ONCE, count); i += 1) {
      const row = sorted[i] as number
      rows.add(streamIds[row] as number, places[row] as number, positions[row] as number)
    }
    yield rows
  }
  arenas.giveBack(arena)
}

/** Copies records to `end` of `target`, those at once that lie side by side, and notes where each lies there. */
function copyTogether(rows: RecordRows, target: Buffer, end: number, places: Uint32Array): number {
  let to = end
  let from = 0
  let length = 0
  for (let row = 0; row < rows.count; row += 1) {
    const place = rows.placeOf(row)
    if (place !== from + length) {
      target.set(rows.bytes.subarray(from, from + length), to)
      to += length
      from = place
      length = 0
    }
    places[row] = to + length
    length += aligned(rows.lengthOf(row))
  }
  target.set(rows.bytes.subarray(from, from + length), to)
  return to + length
}

/** In the order in which they lie; never none at a time. */
async function* livingRecords(segment: Segment, isAlive: IsAlive, pacer: Pacer): SortedRecords {
  const rows = new RecordRows(segment.seed, RECORDS_AT_ONCE)
  for await (const { position, bytes, header } of verifiedBatches(segment, pacer)) {
    rows.reset(bytes)
    let at = BATCH_HEADER_BYTES
    for (let i = 1; i <= header.count; i += 1) {
      const streamId = streamIdAt(bytes, at)
      if (isAlive(streamId, offsetAt(bytes, at))) {
        if (!verifyRecord(bytes, at, segment.seed, position + at)) throw unverified(segment, bytes, position, at)
        rows.add(streamId, at, position + at)
      }
      at += aligned(lengthAt(bytes, at))
      if (i % RECORDS_AT_ONCE !== 0) continue
      await pacer.slice()
      if (rows.count > 0) yield rows
      rows.reset(bytes)
    }
    await pacer.slice()
    if (rows.count > 0) yield rows
  }
}

/** Of a record at `at` of a batch that verifies, and lies at `position`. */
function unverified(segment: Segment, batch: Buffer, position: number, at: number): DamagedInput {
  const through = offsetAt(batch, at)
  const place = { file: segment.name, position: position + at, bytes: lengthAt(batch, at) }
  return new DamagedInput({ ...place, after: through - 1, through, reason: UNVERIFIED })
}

const UNVERIFIED = 'does not verify'

type Batch = Extract<ScanItem, { kind: 'batch' }>

async function* verifiedBatches(segment: Segment, pacer: Pacer): AsyncGenerator<Batch> {
  const source = {
    seed: segment.seed,
    sizeBytes: segment.contentEnd,
    read: async (target: Uint8Array, position: number) => {
      await pacer.transfer(target.length)
      return await pacer.apart(segment.read(target, position))
    },
  }
  let after = segment.chainBefore.last
  let unverified: Unverified | undefined
  for await (const item of scanSegment(source, segment.headerEnd, UNKNOWN_CHAIN, segment.order)) {
    if (item.kind === 'unverified') unverified ??= item
    if (item.kind !== 'batch') continue
    if (unverified !== undefined) throw damaged(segment, unverified, after, item.header.first - 1)
    yield item
    after = item.header.last
  }
  if (unverified !== undefined) throw damaged(segment, unverified, after, segment.chain.last)
}

/** In a segment in stream order any of its numbers may be affected. */
function damaged(
  segment: Segment,
  { position, end, reason }: Unverified,
  after: Offset,
  through: Offset,
): DamagedInput {
  const isByNumber = segment.order === ORDER_BY_OFFSET
  const numbers = isByNumber ? { after, through } : { after: segment.chainBefore.last, through: segment.chain.last }
  return new DamagedInput({ file: segment.name, position, bytes: end - position, ...numbers, reason })
}
