/**
 * What compaction asks of whoever knows what the records mean: which of them are dead. A crash must never bring back
 * what a run has left out, so a run asks only about what is durable.
 */

import type { LogRecord, Offset } from './format.ts'
import type { StreamTotals } from './segment-index.ts'

/** Who knows what the records mean, and with it which of them are dead. */
export interface CompactionJudge {
  /**
   * For each stream (ascending) the number through which its records are dead; 0: none; Infinity: all of them. Never
   * asked for the engine's own stream and the catalogue's.
   */
  marks(streams: readonly StreamTotals[]): Promise<readonly Offset[]>
  /** As `marks`, and no crash can take back what it says. */
  floors(streams: readonly StreamTotals[]): Promise<readonly Offset[]>
  /**
   * Whether a record of the catalogue is still needed. `isElsewhere` tells whether the catalogue's record of that number
   * lies in a segment that is not rewritten with this one.
   */
  isNeeded(record: LogRecord, isElsewhere: (offset: Offset) => Promise<boolean>): Promise<boolean>
  /** Has the records of these streams up to their last number dropped, though they are alive; resolves when durable. */
  drop(streams: readonly StreamTotals[]): Promise<void>
}
