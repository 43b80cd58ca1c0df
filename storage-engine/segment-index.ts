/**
 * The questions that a segment's index answers, and the form of its answers. Two implementations: `MemoryIndex` while
 * the segment is being written, and `IndexFile` once it is sealed and its index lies in a sidecar.
 */

import type { Offset } from './format.ts'

/** Where one record of a stream lies. */
export interface Posting {
  readonly offset: Offset
  readonly position: number
  /** Without padding. */
  readonly length: number
}

/** The same of any stream. */
export interface StreamPosting extends Posting {
  readonly streamId: number
}

/** What a stream has in a segment, or in several. */
export interface StreamTotals {
  readonly streamId: number
  readonly count: number
  /** Lengths of its records, without padding. */
  readonly bytes: number
  readonly first: Offset
  readonly last: Offset
}

/** A record every so often in the order of numbers, by which readers of everything, and readers from a time, find where to begin. */
export interface IndexMark {
  /** The latest time of all records of the segment with lower numbers; 0 for the first. */
  readonly timeMsBefore: number
  readonly offset: Offset
  /** Where the batch begins that holds the record. */
  readonly batchPosition: number
}

/** A stream's records in a segment, forward. An array where the answer is known at once, for decisions in one turn. */
export interface PostingCursor {
  next(countMax: number): readonly Posting[] | Promise<readonly Posting[]>
}

/** A segment's records of all streams, in the order of numbers. */
export interface NumberCursor {
  /** Some, at most so many; none at the end. */
  next(countMax: number): Promise<readonly StreamPosting[]>
}

/** What is asked of a segment's index, whether in memory or in a file. */
export interface SegmentIndex {
  readonly recordCount: number
  /** Different hashes of keys. */
  readonly keyCount: number
  /** Of the file that it is read from; 0 in memory. */
  readonly sizeBytes: number
  /** The stream's records with numbers above `after`. */
  seek(streamId: number, after: Offset): PostingCursor | Promise<PostingCursor>
  /** The stream's last records with numbers below `before`, the last one first, no more than `countMax`. */
  seekBack(streamId: number, before: Offset, countMax: number): readonly Posting[] | Promise<readonly Posting[]>
  /** The record that lies first of those whose key has this hash; the reader compares the key itself. */
  findKey(keyHash: number): Posting | undefined | Promise<Posting | undefined>
  /** The last mark at or before the record that follows `after`; undefined: begin at the segment's begin. */
  markBefore(after: Offset): IndexMark | undefined | Promise<IndexMark | undefined>
  /** A number such that every record up to it is older than `timeMs`, close below the first that is not. */
  olderThan(timeMs: number): Offset | Promise<Offset>
  /** What each stream has in the segment, some streams at a time, ascending. */
  totals(): AsyncIterable<readonly StreamTotals[]>
  /** What that stream has in it; undefined: nothing. */
  totalsOf(streamId: number): StreamTotals | undefined | Promise<StreamTotals | undefined>
  /** All records with numbers above `after`. Asked only where they are ordered by stream. */
  byNumber(after: Offset): Promise<NumberCursor>
}
