/**
 * Frames already built, kept for subscribers that need the same ones shortly afterwards: those that fell slightly behind,
 * and the many that reconnect at once and need the same last minutes. Bounded in bytes over all topics.
 *
 * What is kept are *facts* about a topic's events: "after number A there is no event before F; these are the frames of the
 * events from F to L; and there is none from L to T". Such a fact stays true forever, because numbers only grow and a commit
 * is final. So nothing has to be invalidated, pieces may be forgotten in any order, and it does not matter whether a piece
 * was built for live subscribers or read from the log. That makes coverage exact:
 *
 * - A reader at P may take a piece if A <= P < F: it has everything up to P, and the next event is F.
 * - The next event after P is a single number. So all pieces that suit P share their F, and no piece that does not suit P has
 *   an F in between: looking at the smallest F above P decides.
 *
 * It knows neither logs nor sockets.
 */

import assert from 'node:assert/strict'
import type { LogGap, Offset, SharedBytes } from './ports.ts'

export interface Piece {
  /** The topic has no event above this number and below `first`. */
  readonly after: Offset
  /** Number of the first event whose frame is in `bytes`. */
  readonly first: Offset
  /** Number of the last one. All events between are in `bytes` as well. */
  readonly last: Offset
  /** The topic has no event above `last` and up to this number. */
  readonly through: Offset
  readonly bytes: SharedBytes
  readonly events: number
}

/** What one read of a topic's log established about the numbers from `after` to `through`. */
export type ReplayStep =
  | { readonly kind: 'piece'; readonly piece: Piece; readonly through: Offset }
  | { readonly kind: 'nothing'; readonly through: Offset }
  | { readonly kind: 'gap'; readonly gap: LogGap; readonly through: Offset }

/** Objects and index entries per piece, roughly. */
const PIECE_OVERHEAD_BYTES = 512
/** Fewer released entries than this are not worth compacting. */
const TIDY_FROM = 1024

export class RecentFrames {
  readonly #streams = new Map<number, PieceList>()
  readonly #live: Queue
  readonly #replayed: Queue
  readonly #loading = new Map<string, Promise<ReplayStep>>()

  /** Half of the bytes is reserved for frames of live delivery, so that one long replay cannot evict all of them. */
  constructor(bytesMax: number) {
    this.#live = new Queue(bytesMax / 2, this.#streams)
    this.#replayed = new Queue(bytesMax / 2, this.#streams)
  }

  /** In use, including overhead. */
  get bytes(): number {
    return this.#live.bytes + this.#replayed.bytes
  }

  /** The piece that continues a stream that has everything up to `position`. */
  find(streamId: number, position: Offset): Piece | undefined {
    const piece = this.#streams.get(streamId)?.firstAbove(position)
    return piece !== undefined && piece.after <= position ? piece : undefined
  }

  /** A piece that was built for live subscribers. */
  addLive(streamId: number, piece: Piece): void {
    this.#live.add(streamId, piece)
  }

  /**
   * Reads on from `after` with `read`, once for all concurrent callers, and keeps what it finds. If `read` rejects, it rejects
   * for all of them.
   */
  load(streamId: number, after: Offset, read: () => Promise<ReplayStep>): Promise<ReplayStep> {
    const key = `${streamId}/${after}`
    const running = this.#loading.get(key)
    if (running !== undefined) return running
    const loading = this.#load(streamId, key, read)
    this.#loading.set(key, loading)
    return loading
  }

  /** The topic is gone. */
  drop(streamId: number): void {
    const list = this.#streams.get(streamId)
    if (list === undefined) return
    this.#streams.delete(streamId)
    list.forget()
  }

  async #load(streamId: number, key: string, read: () => Promise<ReplayStep>): Promise<ReplayStep> {
    try {
      const step = await read()
      if (step.kind === 'piece') this.#replayed.add(streamId, step.piece)
      return step
    } finally {
      this.#loading.delete(key)
    }
  }
}

interface Held {
  readonly streamId: number
  readonly first: Offset
  readonly queue: Queue
  readonly bytes: number
  /** Undefined: already released; the queue skips it. */
  piece: Piece | undefined
}

/** First in, first out, bounded in bytes. */
class Queue {
  readonly #bytesMax: number
  readonly #streams: Map<number, PieceList>
  #held: Held[] = []
  #head = 0
  #released = 0
  #bytes = 0

  constructor(bytesMax: number, streams: Map<number, PieceList>) {
    this.#bytesMax = bytesMax
    this.#streams = streams
  }

  get bytes(): number {
    return this.#bytes
  }

  add(streamId: number, piece: Piece): void {
    assert(piece.after < piece.first && piece.first <= piece.last && piece.last <= piece.through, 'a piece is in order')
    const bytes = piece.bytes.plain.length + PIECE_OVERHEAD_BYTES
    if (bytes > this.#bytesMax) return
    let list = this.#streams.get(streamId)
    if (list === undefined) {
      list = new PieceList()
      this.#streams.set(streamId, list)
    }
    const held: Held = { streamId, first: piece.first, queue: this, bytes, piece }
    if (!list.add(held)) return
    this.#bytes += bytes
    this.#held.push(held)
    while (this.#bytes > this.#bytesMax) this.#dropOldest()
    this.#tidy()
  }

  /** Releases the piece; the queue skips its entry later. */
  release(held: Held): void {
    if (held.piece === undefined) return
    held.piece = undefined
    this.#bytes -= held.bytes
    this.#released += 1
  }

  #dropOldest(): void {
    const held = this.#held[this.#head]
    assert(held !== undefined, 'bytes are held by somebody')
    this.#head += 1
    if (held.piece === undefined) return
    const list = this.#streams.get(held.streamId)
    assert(list !== undefined, 'a piece that is held is listed')
    list.remove(held)
    this.release(held)
    if (list.isEmpty) this.#streams.delete(held.streamId)
  }

  /** Topics that come and go leave released entries behind; at most every second entry is one. */
  #tidy(): void {
    if (this.#released <= TIDY_FROM || this.#released * 2 <= this.#held.length) return
    this.#held = this.#held.filter((held) => held.piece !== undefined)
    this.#head = 0
    this.#released = 0
  }
}

/** The pieces of one topic, in the order of their first events. */
class PieceList {
  #held: Held[] = []
  /** Entries before it have been removed: the oldest piece nearly always goes first, and removing it must not move the rest. */
  #start = 0

  get isEmpty(): boolean {
    return this.#start === this.#held.length
  }

  firstAbove(position: Offset): Piece | undefined {
    return this.#held[this.#indexAbove(position)]?.piece
  }

  /** False: a piece with the same first event already covers as much. */
  add(held: Held): boolean {
    const { piece, first } = held
    assert(piece !== undefined)
    const index = this.#indexAbove(first - 1)
    const present = this.#held[index]
    if (present !== undefined && present.first === first) {
      assert(present.piece !== undefined, 'what is listed is held')
      if (present.piece.after <= piece.after) return false
      present.queue.release(present)
      this.#held[index] = held
    } else if (index === this.#held.length) {
      this.#held.push(held)
    } else {
      this.#held.splice(index, 0, held)
    }
    return true
  }

  remove(held: Held): void {
    const index = this.#indexAbove(held.first - 1)
    assert(this.#held[index] === held, 'a piece that is held is listed')
    if (index !== this.#start) {
      this.#held.splice(index, 1)
      return
    }
    this.#start += 1
    if (this.#start > 64 && this.#start * 2 > this.#held.length) {
      this.#held = this.#held.slice(this.#start)
      this.#start = 0
    }
  }

  forget(): void {
    for (let index = this.#start; index < this.#held.length; index++) {
      const held = this.#held[index]!
      held.queue.release(held)
    }
    this.#held = []
    this.#start = 0
  }

  /** Index of the first piece whose first event lies above `position`. */
  #indexAbove(position: Offset): number {
    let low = this.#start
    let high = this.#held.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#held[middle]!.first > position) high = middle
      else low = middle + 1
    }
    return low
  }
}
