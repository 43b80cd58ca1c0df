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

/** Where one record of any stream lies. */
export interface StreamPosting extends Posting {
  readonly streamId: number
}

/** How much a stream has in a segment, or in several. */
export interface StreamTotals {
  readonly streamId: number
  readonly count: number
  /** The sum of its records' lengths, without padding. */
  readonly bytes: number
  readonly first: Offset
  readonly last: Offset
}

/** Every so many records in number order, a mark tells readers of everything, and readers from a time, where to begin. */
export interface IndexMark {
  /** The latest time of all of the segment's records with lower numbers; 0 for the first. */
  readonly timeMsBefore: number
  readonly offset: Offset
  /** Where the batch that holds the record begins. */
  readonly batchPosition: number
}

/** A stream's records in a segment, forward. An array if the answer is known at once, for decisions within one turn. */
export interface PostingCursor {
  next(countMax: number): readonly Posting[] | Promise<readonly Posting[]>
}

/** A segment's records of all streams, in number order. */
export interface NumberCursor {
  /** The next few, at most `countMax`; none at the end. */
  next(countMax: number): Promise<readonly StreamPosting[]>
}

/** The index of one segment, in memory or in a file. */
export interface SegmentIndex {
  readonly recordCount: number
  /** How many different key hashes there are. */
  readonly keyCount: number
  /** Of the file that it is read from; 0 if it is in memory. */
  readonly sizeBytes: number
  /** The stream's records with numbers above `after`. */
  seek(streamId: number, after: Offset): PostingCursor | Promise<PostingCursor>
  /** The stream's last records with numbers below `before`, newest first, at most `countMax`. */
  seekBack(streamId: number, before: Offset, countMax: number): readonly Posting[] | Promise<readonly Posting[]>
  /** The first record whose key has this hash; the reader compares the key itself. */
  findKey(keyHash: number): Posting | undefined | Promise<Posting | undefined>
  /** The last mark at or before the record that follows `after`; undefined: start at the beginning of the segment. */
  markBefore(after: Offset): IndexMark | undefined | Promise<IndexMark | undefined>
  /** A number such that every record up to it is older than `timeMs`, close below the first one that is not. */
  olderThan(timeMs: number): Offset | Promise<Offset>
  /** How much each stream has in the segment, a few streams at a time, ascending. */
  totals(): AsyncIterable<readonly StreamTotals[]>
  /** How much that stream has in it; undefined: nothing. */
  totalsOf(streamId: number): StreamTotals | undefined | Promise<StreamTotals | undefined>
  /** All records with numbers above `after`. Only for a segment in stream order. */
  byNumber(after: Offset): Promise<NumberCursor>
}
