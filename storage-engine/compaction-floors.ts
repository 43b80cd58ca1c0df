/** How much of a segment is alive: for each of its streams, the number up to which the judge says it is dead. */

import type { CompactionJudge } from './compaction-judge.ts'
import { CATALOG_STREAM, type Offset } from './format.ts'
import { lowerBound } from './lower-bound.ts'
import type { Pacer } from './pacer.ts'
import { readRecords } from './read-records.ts'
import type { Segment } from './segment.ts'
import type { StreamPosting, StreamTotals } from './segment-index.ts'
import type { SegmentSet } from './segment-set.ts'
import { totalsIn } from './stream-reads.ts'

/** So many records of the catalogue stand for all those of a segment. */
const SAMPLE_RECORDS = 256
const POSTINGS_AT_ONCE = 512

/** How much of a segment is alive; of a stream that is so in part, as much as its share of the numbers. */
export interface Standing {
  readonly bytes: number
  readonly liveBytes: number
  readonly liveRecords: number
}

export class Floors {
  readonly #streamIds: number[] = []
  readonly #floors: number[] = []
  #highest: Offset = 0
  #bytes = 0
  #liveBytes = 0
  #liveRecords = 0
  #liveStreams = 0
  #catalog: StreamTotals | undefined

  /** `ask` is the judge's word for some streams, ascending. */
  static async of(
    segments: SegmentSet,
    segment: Segment,
    ask: (streams: readonly StreamTotals[]) => Promise<readonly Offset[]>,
    pacer: Pacer,
  ): Promise<Floors> {
    const floors = new Floors()
    for await (const totals of totalsIn(segments, segment)) {
      const asked = totals.filter(({ streamId }) => streamId > CATALOG_STREAM)
      const answers = asked.length === 0 ? [] : await ask(asked)
      for (const [i, one] of asked.entries()) floors.#add(one, answers[i] as Offset)
      for (const one of totals) if (one.streamId <= CATALOG_STREAM) floors.#addKept(one)
      await pacer.slice()
    }
    return floors
  }

  /** Of which anything may be alive. */
  get liveStreams(): number {
    return this.#liveStreams
  }

  /** Of the catalogue, whose records are judged one by one, all count as alive. */
  get standing(): Standing {
    return { bytes: this.#bytes, liveBytes: this.#liveBytes, liveRecords: this.#liveRecords }
  }

  /** What the catalogue has in the segment. */
  get catalog(): StreamTotals | undefined {
    return this.#catalog
  }

  /** Whether a record may be alive. */
  isAlive(streamId: number, offset: Offset): boolean {
    if (streamId <= CATALOG_STREAM || offset > this.#highest) return true
    const at = lowerBound(this.#streamIds.length, (i) => (this.#streamIds[i] as number) >= streamId)
    return offset > (this.#floors[at] as number)
  }

  #add(totals: StreamTotals, floor: Offset): void {
    const { streamId, count, bytes, first, last } = totals
    this.#streamIds.push(streamId)
    this.#floors.push(floor)
    this.#highest = Math.max(this.#highest, floor)
    this.#bytes += bytes
    if (floor >= last) return
    const share = floor < first ? 1 : (last - floor) / (last - first + 1)
    this.#liveBytes += bytes * share
    this.#liveRecords += Math.ceil(count * share)
    this.#liveStreams += 1
  }

  #addKept(totals: StreamTotals): void {
    if (totals.streamId === CATALOG_STREAM) this.#catalog = totals
    this.#bytes += totals.bytes
    this.#liveBytes += totals.bytes
    this.#liveRecords += totals.count
    this.#liveStreams += 1
  }
}

/** As `Floors` says, but for the catalogue, of whose records some are judged for all of them. */
export async function standingOf(
  segments: SegmentSet,
  segment: Segment,
  judge: CompactionJudge,
  pacer: Pacer,
): Promise<Standing> {
  const { standing, catalog } = await Floors.of(segments, segment, (streams) => judge.marks(streams), pacer)
  if (catalog === undefined) return standing
  const sample = await sampleOf(segments, segment, catalog)
  await pacer.transfer(sample.reduce((sum, { length }) => sum + length, 0))
  const isElsewhere = catalogElsewhere(segments, [segment])
  let needed = 0
  for (const record of await readRecords(segment, sample)) {
    // What cannot be read is met, and told, by the run.
    if (typeof record === 'string' || (await judge.isNeeded(record, isElsewhere))) needed += 1
    await pacer.slice()
  }
  const dead = 1 - needed / Math.max(1, sample.length)
  return {
    bytes: standing.bytes,
    liveBytes: standing.liveBytes - catalog.bytes * dead,
    liveRecords: standing.liveRecords - Math.floor(catalog.count * dead),
  }
}

/** Whether the catalogue's record of a number lies in a segment other than these. */
export function catalogElsewhere(segments: SegmentSet, these: readonly Segment[]) {
  return async (offset: Offset): Promise<boolean> => {
    const segment = segments.segmentAfter(offset - 1)
    // What cannot be read may be there.
    if (segment.unindexedDamages.some(({ after, through }) => after < offset && offset <= through)) return true
    if (these.includes(segment)) return false
    const cursor = await segments.query(segment, (index) => index.seek(CATALOG_STREAM, offset - 1))
    return (await cursor.next(1))[0]?.offset === offset
  }
}

/** Every so many of the catalogue's records in a segment, beginning with the first. */
async function sampleOf(
  segments: SegmentSet,
  segment: Segment,
  { streamId, count }: StreamTotals,
): Promise<readonly StreamPosting[]> {
  const every = Math.ceil(count / SAMPLE_RECORDS)
  const sample: StreamPosting[] = []
  await segments.query(segment, async (index) => {
    sample.length = 0
    const cursor = await index.seek(streamId, 0)
    let at = 0
    for (let page = await cursor.next(POSTINGS_AT_ONCE); page.length > 0; page = await cursor.next(POSTINGS_AT_ONCE)) {
      for (const posting of page) {
        if (at % every === 0) sample.push({ ...posting, streamId })
        at += 1
      }
    }
  })
  return sample
}
