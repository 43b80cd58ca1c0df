/**
 * What the indexes say without any record being read: where the records of a stream lie, and how much each stream has.
 * It does not matter to a reader if compaction replaces the segment it is in.
 */

import { isGone } from './cursor.ts'
import type { Offset } from './format.ts'
import { IndexDoubt } from './index-file.ts'
import type { Segment } from './segment.ts'
import type { Posting, StreamTotals } from './segment-index.ts'
import type { SegmentSet } from './segment-set.ts'

const POSTINGS_AT_ONCE = 512

/** The stream's records with numbers above `after`, some at a time, ascending; those committed meanwhile perhaps. */
export async function* postingsOf(
  segments: SegmentSet,
  streamId: number,
  after: Offset,
): AsyncGenerator<readonly Posting[]> {
  let position = after
  for (;;) {
    const segment = segments.recordsAfter(position)
    try {
      const cursor = await segment.index.seek(streamId, position)
      for (
        let page = await cursor.next(POSTINGS_AT_ONCE);
        page.length > 0;
        page = await cursor.next(POSTINGS_AT_ONCE)
      ) {
        position = page.at(-1)?.offset ?? position
        yield page
      }
    } catch (error) {
      await mended(segments, segment, error)
      continue
    }
    if (!segment.isSealed) return
    if (segments.has(segment)) position = Math.max(position, segment.chain.last)
  }
}

/** What the stream has above `after`, whatever is replaced meanwhile; what is committed meanwhile perhaps. */
export async function totalsOfStream(segments: SegmentSet, streamId: number, after: Offset): Promise<StreamTotals> {
  let count = 0
  let bytes = 0
  let first = 0
  let last = 0
  for await (const page of postingsOf(segments, streamId, after)) {
    for (const posting of page) {
      if (count === 0) first = posting.offset
      count += 1
      bytes += posting.length
      last = posting.offset
    }
  }
  return { streamId, count, bytes, first, last }
}

/**
 * What all streams have above `after`, some items at a time. An item is one stream's part of one segment where all of
 * that lies above `exactThrough`, and a single record where it lies between the two: whoever knows of each stream up to
 * where it was counted can leave out what is counted already. Only while no compaction runs.
 */
export async function* totalsAbove(
  segments: SegmentSet,
  after: Offset,
  exactThrough: Offset,
): AsyncGenerator<readonly StreamTotals[]> {
  for (const segment of [...segments.all]) {
    if (segment.recordCount === 0 || segment.last <= after) continue
    const isWhole = segment.first > exactThrough
    for await (const totals of totalsIn(segments, segment)) {
      if (isWhole) yield totals
      else for (const one of totals) yield* exactly(segments, segment, one, after, exactThrough)
    }
  }
}

/** Every stream's part of a segment, ascending. */
export async function* totalsIn(segments: SegmentSet, segment: Segment): AsyncGenerator<readonly StreamTotals[]> {
  let through = -1
  for (;;) {
    try {
      for await (const totals of segment.index.totals()) {
        const rest = totals.filter(({ streamId }) => streamId > through)
        through = totals.at(-1)?.streamId ?? through
        if (rest.length > 0) yield rest
      }
      return
    } catch (error) {
      if (!(error instanceof IndexDoubt)) throw error
      await segments.mendIndex(segment, error)
    }
  }
}

async function* exactly(
  segments: SegmentSet,
  segment: Segment,
  totals: StreamTotals,
  after: Offset,
  exactThrough: Offset,
): AsyncGenerator<readonly StreamTotals[]> {
  if (totals.last <= after) return
  if (totals.first > exactThrough) {
    yield [totals]
    return
  }
  const { streamId } = totals
  for await (const page of postingsOf(segments, streamId, Math.max(after, totals.first - 1))) {
    const here = page.filter(({ offset }) => offset <= segment.last)
    yield here.map(({ offset, length }) => ({ streamId, count: 1, bytes: length, first: offset, last: offset }))
    if (here.length < page.length) return
  }
}

/** A doubtful sidecar is made again, and a segment that was replaced is forgotten; any other error is thrown. */
async function mended(segments: SegmentSet, segment: Segment, error: unknown): Promise<void> {
  if (isGone(segments, segment, error)) return
  if (!(error instanceof IndexDoubt)) throw error
  await segments.mendIndex(segment, error).catch((unmended: unknown) => {
    if (!isGone(segments, segment, unmended)) throw unmended
  })
}
