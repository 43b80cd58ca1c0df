/**
 * The channel of several topics as one stream, in the order of numbers. Where all of them lie in one log it is handed each
 * commit as the channel of one topic is. Where they lie in both, an event may be committed before one with a lower number
 * is in the other log: then it shows nothing above the lowest number that is not settled yet, and its subscriptions read
 * up to there whenever that grows.
 */

import { closedEvent } from '../sse/encode.ts'
import { Channel, type ChannelReader, type Member, type ReaderHost } from './channel.ts'
import { DropWatch } from './drop-watch.ts'
import { eventJson } from './event-json.ts'
import type { Feed } from './feed.ts'
import { type FrameBuilder, shareBytes } from './frame-builder.ts'
import { MergedReader } from './merged-reader.ts'
import type { LogRecord, Offset, SharedBytes } from './ports.ts'
import { Quiet } from './quiet.ts'
import type { HostedTopic } from './topic.ts'

/** What the data of an event is: its message, or JSON that tells its topic, id, type and time as well. */
export type Envelope = 'none' | 'json'

/** A topic in a set, and since when it has been quiet. */
export class SetMember implements Member {
  readonly channel: SetChannel
  readonly topic: HostedTopic
  readonly quiet: Quiet

  constructor(channel: SetChannel, topic: HostedTopic) {
    this.channel = channel
    this.topic = topic
    this.quiet = new Quiet(topic.feed.dispatched)
  }

  spoke(through: Offset): void {
    this.quiet.spokeUntil(through)
  }
}

export abstract class SetChannel extends Channel {
  readonly members: readonly SetMember[]
  readonly envelope: Envelope
  readonly #topicIds: ReadonlyMap<number, string>

  constructor(key: number, topics: readonly HostedTopic[], envelope: Envelope, dispatched: Offset) {
    super(key, topics, dispatched)
    this.members = topics.map((topic) => new SetMember(this, topic))
    this.envelope = envelope
    this.#topicIds = new Map(topics.map(({ streamId, id }) => [streamId, id]))
  }

  closedBytes(): SharedBytes {
    const json = JSON.stringify({ reason: 'a topic of this stream was deleted', topic: this.gone?.id })
    return shareBytes(closedEvent(json))
  }

  build(builder: FrameBuilder, records: readonly LogRecord[]): SharedBytes {
    if (this.envelope === 'none') return builder.build(records)
    return builder.build(records, (record) => Buffer.from(eventJson(record, this.#topicIds.get(record.streamId))))
  }

  openReader(host: ReaderHost): ChannelReader {
    return new MergedReader(host, this)
  }

  watchDrops(): DropWatch {
    return new DropWatch(this.topics)
  }
}

/** Of topics of one log. */
export class OneLogChannel extends SetChannel {
  readonly #feed: Feed

  constructor(key: number, topics: readonly HostedTopic[], envelope: Envelope, feed: Feed) {
    super(key, topics, envelope, feed.dispatched)
    this.#feed = feed
  }

  get dispatched(): Offset {
    return this.#feed.dispatched
  }
}

/** Of topics of both logs. */
export class TwoLogChannel extends SetChannel {
  readonly #feeds: readonly Feed[]
  /** While it holds something. */
  #dispatched: Offset
  /** Numbers of events that are committed and may not be shown yet. */
  #held: Offset[] = []
  /** What was committed up to here before there was this channel, nobody has looked at. */
  readonly #unseenUntil: Offset

  constructor(key: number, topics: readonly HostedTopic[], envelope: Envelope, feeds: readonly Feed[]) {
    const settled = settledIn(feeds)
    super(key, topics, envelope, settled)
    this.#feeds = feeds
    this.#dispatched = settled
    this.#unseenUntil = Math.max(...feeds.map((feed) => feed.dispatched))
  }

  get dispatched(): Offset {
    return this.isHolding ? this.#dispatched : settledIn(this.#feeds)
  }

  /** Whether there is something that may not be shown yet. */
  get isHolding(): boolean {
    return this.#held.length > 0 || this.#dispatched < this.#unseenUntil
  }

  /** One of the logs has failed: what is on its disk, and whether there is anything, only the next start will know. */
  get isStuck(): boolean {
    return this.#feeds.some(({ log }) => log.status === 'failed')
  }

  /** To be called with what was committed, before `advance`. */
  hold(records: readonly LogRecord[]): void {
    // As far as it has shown by now, whoever has asked.
    if (!this.isHolding) this.#dispatched = Math.min(settledIn(this.#feeds), records[0]!.offset - 1)
    for (const { offset } of records) this.#held.push(offset)
  }

  /** Shows what may be shown by now. True: there may be events among it. */
  advance(): boolean {
    const before = this.#dispatched
    const settled = settledIn(this.#feeds)
    const held = this.#held.filter((number) => number > settled)
    const shows = held.length < this.#held.length || (before < this.#unseenUntil && before < settled)
    this.#dispatched = settled
    this.#held = held
    if (shows) this.spokeUntil(settled)
    return shows
  }
}

/** Every number up to this is settled in all of the logs. */
export function settledIn(feeds: readonly Feed[]): Offset {
  return Math.min(...feeds.map((feed) => feed.settled))
}
