/**
 * Roughly when which numbers were committed, so that a reader's lag in time and in events can be told without looking at the
 * log. It keeps a bounded number of marks, and halves their density rather than forget the oldest. It knows only what was
 * committed in this process: anything older counts from the process's start.
 */
import type { Offset } from './ports.ts'

const marksMax = 4096
const apartMsMin = 100

export interface Lag {
  /** Over all topics: at least as many as of the reader's own. */
  readonly events: number
  readonly ms: number
}

export const NO_LAG: Lag = { events: 0, ms: 0 }

interface Mark {
  /** What was committed before the mark was made: numbers up to this, and this many events. */
  readonly through: Offset
  readonly events: number
  readonly atMs: number
}

export class CommitTimes {
  #marks: Mark[] = []
  #apartMs = apartMsMin
  #events = 0

  /** To be called before a commit of numbers above `through` is dispatched. */
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

  /** For a reader that has everything up to `position` and is catching up. Rounded up by at most the distance of two marks. */
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
