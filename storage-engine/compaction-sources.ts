/**
 * What a compaction run reads: the living records of its inputs, by stream, then by number. A segment that lies by
 * stream is read as it is; one that lies by number is read in full first and sorted in memory. Both are read forward in
 * large pieces, and every record is verified; a segment with one that does not verify cannot be an input.
 */

import { aligned, type Offset, ORDER_BY_OFFSET, RecordView, verifyRecord } from './format.ts'
import type { Damage } from './observer.ts'
import type { Pacer } from './pacer.ts'
import { type ScanItem, scanSegment, UNKNOWN_CHAIN } from './scan.ts'
import { recordsOf, type Segment } from './segment.ts'
import { sortInSlices } from './sort-in-slices.ts'

/** Whether a record is to be kept, as far as its stream and its number say. */
export type IsAlive = (streamId: number, offset: Offset) => boolean

/** An input turned out damaged: the run is off. */
export class DamagedInput extends Error {
  readonly damage: Damage

  constructor(damage: Damage) {
    super(`${damage.file} ${damage.reason} at ${damage.position}`)
    this.name = 'DamagedInput'
    this.damage = damage
  }
}

/** Some records at a time, by stream, then by number; valid until the next ones are asked for. */
export type SortedRecords = AsyncGenerator<readonly RecordView[]>

const RECORDS_AT_ONCE = 256

export function sortedRecords(segment: Segment, isAlive: IsAlive, pacer: Pacer): SortedRecords {
  if (segment.order === ORDER_BY_OFFSET) return sortedInMemory(segment, isAlive, pacer)
  return livingRecords(segment, isAlive, pacer)
}

/** Those of all sources, which are given in the order of their numbers; each time records of one stream. */
export async function* mergedRecords(sources: readonly SortedRecords[]): SortedRecords {
  const heads: Head[] = []
  for (const source of sources) heads.push(await Head.open(source))
  for (;;) {
    let lowest: Head | undefined
    for (const head of heads) if (head.streamId < (lowest?.streamId ?? Number.POSITIVE_INFINITY)) lowest = head
    if (lowest === undefined) return
    yield lowest.take()
    await lowest.fill()
  }
}

/** Where a source stands. */
class Head {
  readonly #source: SortedRecords
  #records: readonly RecordView[] = []
  #at = 0
  /** Of the next record; Infinity behind the last one. */
  streamId = Number.POSITIVE_INFINITY

  private constructor(source: SortedRecords) {
    this.#source = source
  }

  static async open(source: SortedRecords): Promise<Head> {
    const head = new Head(source)
    await head.fill()
    return head
  }

  /** The next record and those at hand that follow it in its stream. */
  take(): readonly RecordView[] {
    const begin = this.#at
    while (this.#at < this.#records.length && this.#records[this.#at]?.streamId === this.streamId) this.#at += 1
    return this.#records.slice(begin, this.#at)
  }

  /** Reads on where nothing is at hand. */
  async fill(): Promise<void> {
    while (this.#at === this.#records.length) {
      const { value, done } = await this.#source.next()
      if (done === true) {
        this.streamId = Number.POSITIVE_INFINITY
        return
      }
      this.#records = value
      this.#at = 0
    }
    this.streamId = (this.#records[this.#at] as RecordView).streamId
  }
}

async function* sortedInMemory(segment: Segment, isAlive: IsAlive, pacer: Pacer): SortedRecords {
  // Memory that is never written to is never taken.
  const arena = Buffer.allocUnsafeSlow(segment.contentEnd - segment.headerEnd)
  const streamIds = new Float64Array(segment.recordCount)
  const places = new Uint32Array(segment.recordCount)
  let rows = 0
  let end = 0
  for await (const records of livingRecords(segment, isAlive, pacer)) {
    for (const record of records) {
      streamIds[rows] = record.streamId
      places[rows] = end
      rows += 1
      arena.set(record.bytes, end)
      end += aligned(record.length)
    }
  }
  // Of one stream they come in the order of numbers, and equal rows keep theirs.
  const sorted = await sortInSlices(streamIds.subarray(0, rows), () => pacer.slice())
  for (let begin = 0; begin < rows; begin += RECORDS_AT_ONCE) {
    await pacer.slice()
    yield Array.from(
      sorted.subarray(begin, begin + RECORDS_AT_ONCE),
      (row) => new RecordView(arena, places[row] as number),
    )
  }
}

/** In the order in which they lie. */
async function* livingRecords(segment: Segment, isAlive: IsAlive, pacer: Pacer): SortedRecords {
  for await (const { position, bytes, header } of verifiedBatches(segment, pacer)) {
    let records: RecordView[] = []
    for (const [at, record] of recordsOf(bytes, header.count)) {
      if (!isAlive(record.streamId, record.offset)) continue
      if (!verifyRecord(bytes, at, segment.seed, position + at)) {
        const place = { file: segment.name, position: position + at, bytes: record.length }
        throw new DamagedInput({ ...place, after: record.offset - 1, through: record.offset, reason: UNVERIFIED })
      }
      records.push(record)
      if (records.length < RECORDS_AT_ONCE) continue
      await pacer.slice()
      yield records
      records = []
    }
    await pacer.slice()
    yield records
  }
}

const UNVERIFIED = 'does not verify'

type Batch = Extract<ScanItem, { kind: 'batch' }>

async function* verifiedBatches(segment: Segment, pacer: Pacer): AsyncGenerator<Batch> {
  const source = {
    seed: segment.seed,
    sizeBytes: segment.contentEnd,
    read: async (target: Uint8Array, position: number) => {
      await pacer.transfer(target.length)
      return await segment.read(target, position)
    },
  }
  let after = segment.chainBefore.last
  let unverified: Extract<ScanItem, { kind: 'unverified' }> | undefined
  for await (const item of scanSegment(source, segment.headerEnd, UNKNOWN_CHAIN, segment.order)) {
    if (item.kind === 'unverified') unverified ??= item
    if (item.kind !== 'batch') continue
    if (unverified !== undefined) throw damaged(segment, unverified, after, item.header.first - 1)
    yield item
    after = item.header.last
  }
  if (unverified !== undefined) throw damaged(segment, unverified, after, segment.chain.last)
}

/** Where records lie by stream, any of the segment's numbers may be meant. */
function damaged(
  segment: Segment,
  { position, end, reason }: Extract<ScanItem, { kind: 'unverified' }>,
  after: Offset,
  through: Offset,
): DamagedInput {
  const isByNumber = segment.order === ORDER_BY_OFFSET
  const numbers = isByNumber ? { after, through } : { after: segment.chainBefore.last, through: segment.chain.last }
  return new DamagedInput({ file: segment.name, position, bytes: end - position, ...numbers, reason })
}
