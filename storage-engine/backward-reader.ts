/**
 * Reads one stream backward from any number to its beginning, a few records at a time, newest first. Whatever cannot be
 * read is reported as a gap in its place. Carries on if compaction replaces the segment it is in.
 */

import { isGone, type LogGap } from './cursor.ts'
import type { LogRecord, Offset } from './format.ts'
import type { Damage } from './observer.ts'
import { readRecords } from './read-records.ts'
import type { Segment } from './segment.ts'
import { damagesTo } from './segment-damage.ts'
import type { Posting } from './segment-index.ts'
import type { SegmentSet } from './segment-set.ts'

/** Descending by number; the number of a gap is where it ends. */
export type BackwardItem = { readonly record: LogRecord } | { readonly gap: LogGap }

const POSTINGS_AT_ONCE = 128
/** Of records that are read at once, but for one that is larger. */
const BYTES_AT_ONCE = 256 * 1024

/** Records of the stream with numbers below `before`. Those that are committed meanwhile may lie above, and do not come. */
export async function* readBackward(
  segments: SegmentSet,
  streamId: number,
  before: Offset,
): AsyncGenerator<readonly BackwardItem[]> {
  let bound = before
  // Gaps from here on have been reported. May be above `bound`: damage at the end of a segment extends beyond its records.
  let toldFrom = before
  for (let segment = lastBelow(segments, bound); segment !== undefined; segment = lastBelow(segments, bound)) {
    try {
      const found = await segments.query(segment, (index) => index.seekBack(streamId, bound, POSTINGS_AT_ONCE))
      const postings = within(found, BYTES_AT_ONCE)
      const isLast = found.length < POSTINGS_AT_ONCE && postings.length === found.length
      const down = isLast ? lowest(segment) : (postings.at(-1) as Posting).offset
      const damages = damagesTo(streamId, segment).filter(({ through }) => through >= down)
      const gaps = gapsBelow(damages, toldFrom)
      const records = await readRecords(
        segment,
        postings.map((posting) => ({ ...posting, streamId })),
      )
      const items = postings.map((posting, i) => itemOf(posting, records[i] as LogRecord | string))
      for (const gap of gaps) items.push({ gap })
      // Whoever replaced it meanwhile has taken the files away, too.
      if (items.some((item) => 'gap' in item) && !segments.has(segment)) continue
      if (items.length > 0) yield items.sort((a, b) => numberOf(b) - numberOf(a))
      bound = down
      toldFrom = Math.min(toldFrom, isLast ? firstOf(segment) : down, ...gaps.map(({ after }) => after + 1))
    } catch (error) {
      if (!isGone(segments, segment, error)) throw error
    }
  }
}

/** What the damages hide below `from`, newest first, no number twice. */
function gapsBelow(damages: readonly Damage[], from: Offset): LogGap[] {
  const gaps: LogGap[] = []
  let end = from
  for (const damage of damages.toSorted((a, b) => b.through - a.through)) {
    const { after } = damage
    const through = Math.min(damage.through, end - 1)
    if (through <= after) continue
    gaps.push({ after, through, reason: 'damaged' })
    end = after + 1
  }
  return gaps
}

/** The last segment that may hold something below `bound`. */
function lastBelow(segments: SegmentSet, bound: Offset): Segment | undefined {
  return segments.all.findLast((segment) => lowest(segment) < bound)
}

/** Nothing of the segment lies below. */
function lowest({ chainBefore }: Segment): Offset {
  return chainBefore.last + 1
}

/** The lowest number of a record in it, of whichever stream. */
function firstOf({ recordCount, first }: Segment): Offset {
  return recordCount === 0 ? Number.POSITIVE_INFINITY : first
}

function within(postings: readonly Posting[], bytesMax: number): readonly Posting[] {
  let bytes = 0
  const end = postings.findIndex(({ length }, i) => {
    bytes += length
    return i > 0 && bytes > bytesMax
  })
  return end === -1 ? postings : postings.slice(0, end)
}

function itemOf({ offset }: Posting, record: LogRecord | string): BackwardItem {
  if (typeof record !== 'string') return { record }
  return { gap: { after: offset - 1, through: offset, reason: 'damaged' } }
}

function numberOf(item: BackwardItem): Offset {
  return 'record' in item ? item.record.offset : item.gap.through
}
