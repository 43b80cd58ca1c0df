/**
 * When which numbers were committed, coarsely: how far behind a reader is, in time and in events, is read from it without
 * a look at the log. It keeps a bounded number of marks, and halves their density instead of forgetting the oldest. It
 * knows what was committed in this process only: what is older counts from its start.
 */
import type { Offset } from './ports.ts'

const marksMax = 4096
const apartMsMin = 100

export interface Lag {
  /** Of all topics: at least as many as of the reader's own. */
  readonly events: number
  readonly ms: number
}

export const NO_LAG: Lag = { events: 0, ms: 0 }

interface Mark {
  /** What was committed before the mark was made: numbers up to this, and so many events. */
  readonly through: Offset
  readonly events: number
  readonly atMs: number
}

export class CommitTimes {
  #marks: Mark[] = []
  #apartMs = apartMsMin
  #events = 0

  /** Before a commit of numbers above `through` is dispatched. */
  note(through: Offset, events: number, nowMs: number): void {
    const newest = this.#marks.at(-1)
    if (newest === undefined || nowMs - newest.atMs >= this.#apartMs) {
      if (this.#marks.length === marksMax) {
        this.#marks = this.#marks.filter((_, index) => index % 2 === 0)
        this.#apartMs *= 2
      }
      this.#marks.push({ through, events: this.#events, atMs: nowMs })
    }
    this.#events += events
  }

  /** Of a reader that has everything up to `position` and wants more. Rounded up by at most the distance of two marks. */
  lagOf(position: Offset, nowMs: number): Lag {
    const marks = this.#marks
    let low = 0
    let high = marks.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (marks[middle]!.through <= position) low = middle + 1
      else high = middle
    }
    const mark = marks[Math.max(0, low - 1)]
    return mark === undefined ? NO_LAG : { events: this.#events - mark.events, ms: nowMs - mark.atMs }
  }
}
