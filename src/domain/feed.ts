/**
 * One log as the hub sees it: the log, and how far its commits have been handed to subscribers. Because a commit is
 * dispatched in the turn in which it becomes readable, `dispatched` is also the end of what a cursor can find. Knows nothing
 * of topics.
 */

import assert from 'node:assert/strict'
import type { EventLog, Offset } from './ports.ts'

export class Feed {
  readonly log: EventLog
  readonly isDurable: boolean
  /**
   * Everything below this number was dropped before the hub began: 0 for the durable log, for the in-memory one the number at
   * which this process began.
   */
  readonly floor: Offset
  #dispatched: Offset

  constructor(log: EventLog, isDurable: boolean, floor: Offset) {
    this.log = log
    this.isDurable = isDurable
    this.floor = floor
    this.#dispatched = Math.max(log.lastOffset, floor)
  }

  /**
   * Every record up to this number has been dispatched, and no record above it is committed. It serves as the position of
   * every live subscription of this log, so that a commit moves all of them with one assignment.
   */
  get dispatched(): Offset {
    return this.#dispatched
  }

  /** Every number up to this is settled: its record is committed, or it is a hole forever. */
  get settled(): Offset {
    return this.log.watermark - 1
  }

  /** A commit that ends with this number is being dispatched. */
  advance(through: Offset): void {
    assert(through >= this.#dispatched, 'commits come in the order of their numbers')
    this.#dispatched = through
  }
}
