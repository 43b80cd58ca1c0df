/**
 * Reads one topic's log for subscribers that are catching up, step by step, with one cursor while the steps are consecutive.
 */

import assert from 'node:assert/strict'
import type { ChannelReader, ReaderHost } from './channel.ts'
import { EVENT_PUBLISHED } from './entry.ts'
import type { Cursor, LogGap, Offset } from './ports.ts'
import type { ReplayStep } from './recent-frames.ts'
import type { TopicChannel } from './topic-channel.ts'

export class TopicReader implements ChannelReader {
  readonly #host: ReaderHost
  readonly #channel: TopicChannel
  #cursor: Cursor | undefined = undefined

  constructor(host: ReaderHost, channel: TopicChannel) {
    this.#host = host
    this.#channel = channel
  }

  async read(after: Offset): Promise<ReplayStep> {
    const channel = this.#channel
    const { feed, topic } = channel
    // Dropped ahead of this reader: a cursor that is opened behind it does not know of it.
    if (topic.dropped > after) {
      const gap: LogGap = { after, through: topic.dropped, reason: 'evicted' }
      return { kind: 'gap', gap, through: gap.through }
    }
    if (this.#cursor === undefined || this.#cursor.position !== after) {
      this.#cursor?.close()
      this.#cursor = feed.log.cursor(after, topic.streamId)
    }
    const cursor = this.#cursor
    const dispatchedBefore = feed.dispatched
    const step = await cursor.next()
    const through = Math.max(cursor.position, after)
    if (step === undefined) {
      assert(Math.max(through, feed.floor) >= dispatchedBefore, 'what is dispatched can be read')
      channel.learnQuiet(after, Math.max(through, dispatchedBefore))
      return { kind: 'nothing', through: Math.max(through, dispatchedBefore) }
    }
    if ('gap' in step) return this.#gap(step.gap, after, through)
    const events = step.records.filter((record) => record.kind === EVENT_PUBLISHED)
    if (events.length === 0) {
      channel.learnQuiet(after, through)
      return { kind: 'nothing', through }
    }
    const first = events[0]!.offset
    const last = events.at(-1)!.offset
    assert(first > after && last <= through, 'a cursor reads forward')
    const bytes = this.#host.builder.build(events)
    this.#host.replayRead(bytes.plain.length)
    channel.learnQuiet(last, through)
    return { kind: 'piece', piece: { after, first, last, through, bytes, events: events.length }, through }
  }

  /** The bound of the in-memory log drops events of all topics; only readers of topics that lost some get a gap. */
  #gap(gap: LogGap, after: Offset, position: Offset): ReplayStep {
    const through = Math.max(position, gap.through)
    const isOurs = gap.reason !== 'evicted' || this.#channel.topic.dropped > after
    return isOurs ? { kind: 'gap', gap, through } : { kind: 'nothing', through }
  }

  /** A cursor by itself holds next to nothing. */
  rest(): void {}

  close(): void {
    this.#cursor?.close()
    this.#cursor = undefined
  }
}
