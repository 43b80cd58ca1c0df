/**
 * Reads several topics as one: a merge of one cursor per topic by ascending number. A number is handed out only once every
 * topic is known up to it. Topics that have been quiet since are not read, so that a set of which only one topic is active
 * costs one cursor.
 */

import assert from 'node:assert/strict'
import type { ChannelReader, ReaderHost } from './channel.ts'
import { EVENT_PUBLISHED } from './entry.ts'
import type { Cursor, CursorStep, LogGap, LogRecord, Offset } from './ports.ts'
import type { ReplayStep } from './recent-frames.ts'
import type { SetChannel, SetMember } from './set-channel.ts'

/** Approximate size of the messages in one piece. */
const PIECE_BYTES = 64 * 1024

export class MergedReader implements ChannelReader {
  readonly #host: ReaderHost
  readonly #channel: SetChannel
  #heads: readonly Head[] = []
  #position: Offset = -1

  constructor(host: ReaderHost, channel: SetChannel) {
    this.#host = host
    this.#channel = channel
  }

  async read(after: Offset): Promise<ReplayStep> {
    const channel = this.#channel
    if (after !== this.#position) {
      this.close()
      this.#heads = channel.members.map((member) => new Head(member, after))
    }
    // While reading, it counts as positioned nowhere: if reading fails, the next call starts afresh.
    this.#position = -1
    const bound = channel.dispatched
    await Promise.all(this.#heads.map((head) => head.fill(bound)))
    const horizon = this.#heads.reduce((lowest, head) => Math.min(lowest, head.through), bound)
    const step = this.#next(after, horizon)
    assert(step.through >= after, 'a reader goes forward')
    this.#position = step.through
    return step
  }

  /** Each topic may hold one step's worth of records, which adds up for many topics and many slow readers. */
  rest(): void {
    this.close()
  }

  close(): void {
    for (const head of this.#heads) head.close()
    this.#heads = []
    this.#position = -1
  }

  /** What there is up to `horizon`: a gap, or events up to the next gap. */
  #next(after: Offset, horizon: Offset): ReplayStep {
    const records: LogRecord[] = []
    let bytes = 0
    let head = this.#lowest(horizon)
    for (; head !== undefined && bytes < PIECE_BYTES; head = this.#lowest(horizon)) {
      const item = head.first as Item
      if ('gap' in item) {
        if (records.length > 0) break
        this.#passGap(item.gap)
        return { kind: 'gap', gap: item.gap, through: item.gap.through }
      }
      head.shift()
      records.push(item.record)
      bytes += item.record.length
    }
    const first = records[0]?.offset
    const last = records.at(-1)?.offset
    const through = head === undefined ? Math.max(horizon, after) : (last ?? after)
    this.#channel.learnQuiet(last ?? after, through)
    if (first === undefined || last === undefined) return { kind: 'nothing', through }
    const frames = this.#channel.build(this.#host.builder, records)
    this.#host.replayRead(frames.plain.length)
    return { kind: 'piece', piece: { after, first, last, through, bytes: frames, events: records.length }, through }
  }

  #lowest(horizon: Offset): Head | undefined {
    let lowest: Head | undefined
    for (const head of this.#heads) {
      if (head.number <= horizon && head.number < (lowest?.number ?? Number.POSITIVE_INFINITY)) lowest = head
    }
    return lowest
  }

  /** All topics of a log meet the same damage; it is reported once. */
  #passGap({ through }: LogGap): void {
    for (const head of this.#heads) {
      if (head.first !== undefined && 'gap' in head.first && head.first.gap.through === through) head.shift()
    }
  }
}

type Item = { readonly record: LogRecord } | { readonly gap: LogGap }

/** One topic, and what has been read of it but not handed out yet. */
class Head {
  readonly #member: SetMember
  #cursor: Cursor | undefined = undefined
  #items: Item[] = []
  #at = 0
  #dropped: Offset = 0
  /** The topic is fully known up to here: whatever is not among the items does not exist. */
  through: Offset

  constructor(member: SetMember, after: Offset) {
    this.#member = member
    this.through = after
  }

  get first(): Item | undefined {
    return this.#items[this.#at]
  }

  /** Number of the first item: of its event, or of the end of its gap. Infinity: there is no item. */
  get number(): Offset {
    const { first } = this
    if (first === undefined) return Number.POSITIVE_INFINITY
    return 'gap' in first ? first.gap.through : first.record.offset
  }

  shift(): void {
    this.#at += 1
    if (this.#at < this.#items.length) return
    this.#items = []
    this.#at = 0
  }

  /** Finds an item, or that there is none up to `bound`; or at least makes progress towards that. */
  async fill(bound: Offset): Promise<void> {
    this.#passDropped()
    if (this.first !== undefined || this.through >= bound) return
    const after = this.through
    const member = this.#member
    if (member.quiet.since <= after) {
      this.through = bound
      return
    }
    const { log } = member.topic.feed
    this.#cursor ??= log.cursor(after, member.topic.streamId)
    const step = await this.#cursor.next()
    this.#take(step, bound)
    if (this.first === undefined) member.quiet.learn(after, this.through)
  }

  close(): void {
    this.#cursor?.close()
  }

  /** Dropped events may remain in the log for a long time. */
  #passDropped(): void {
    const { dropped } = this.#member.topic
    if (dropped <= this.#dropped) return
    this.#dropped = dropped
    this.#items = this.#items.slice(this.#at).filter((item) => 'gap' in item || item.record.offset > dropped)
    this.#at = 0
    if (this.through >= dropped) return
    this.through = dropped
    this.#cursor?.close()
    this.#cursor = undefined
  }

  #take(step: CursorStep | undefined, bound: Offset): void {
    const position = Math.max(this.#cursor?.position ?? 0, this.through)
    if (step === undefined) {
      this.through = Math.max(position, bound)
      return
    }
    this.through = position
    if ('records' in step) {
      this.#items = step.records.filter((record) => record.kind === EVENT_PUBLISHED).map((record) => ({ record }))
      return
    }
    this.through = Math.max(position, step.gap.through)
    // The subscriptions detect dropped events themselves: whom they concern depends on where each one began.
    if (step.gap.reason !== 'evicted') this.#items = [{ gap: step.gap }]
  }
}
