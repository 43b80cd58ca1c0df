/**
 * The channel of several topics as one stream, in ascending order of numbers. Where all topics are in one log, it is handed
 * each commit like the channel of a single topic. Where they are in both, an event may be committed before one with a lower
 * number in the other log: then nothing is shown above the highest number that is settled in both, and its subscriptions
 * read up to there whenever it grows.
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

/** What an event's data is: its message, or JSON that also holds its topic, id, type and time. */
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

/** For topics in one log. */
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

/** For topics in both logs. */
export class TwoLogChannel extends SetChannel {
  readonly #feeds: readonly Feed[]
  /** Valid while events are held. */
  #dispatched: Offset
  /** Numbers of events that are committed but may not be shown yet. */
  #held: Offset[] = []
  /** Nobody has looked at what was committed up to here before the channel existed. */
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

  /** One of the logs has failed: only the next start will know what is on its disk. */
  get isStuck(): boolean {
    return this.#feeds.some(({ log }) => log.status === 'failed')
  }

  /** To be called with the committed records, before `advance`. */
  hold(records: readonly LogRecord[]): void {
    // This far anyone who asked has been shown everything.
    if (!this.isHolding) this.#dispatched = Math.min(settledIn(this.#feeds), records[0]!.offset - 1)
    for (const { offset } of records) this.#held.push(offset)
  }

  /** Shows what may be shown by now. True: there may be events in it. */
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

/** The highest number up to which everything is settled in all of the logs. */
export function settledIn(feeds: readonly Feed[]): Offset {
  return Math.min(...feeds.map((feed) => feed.settled))
}
