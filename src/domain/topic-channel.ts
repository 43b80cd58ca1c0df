/** The channel of one topic. */

import { closedBlock } from '../sse/encode.ts'
import { Channel, type ChannelReader, type Member, type ReaderHost } from './channel.ts'
import type { Feed } from './feed.ts'
import { type FrameBuilder, shareBytes } from './frame-builder.ts'
import type { LogRecord, Offset, SharedBytes } from './ports.ts'
import type { HostedTopic } from './topic.ts'
import { TopicReader } from './topic-reader.ts'

const closedBytes = shareBytes(closedBlock)

export class TopicChannel extends Channel implements Member {
  readonly topic: HostedTopic
  readonly feed: Feed

  constructor(topic: HostedTopic) {
    super(topic.streamId, [topic], topic.feed.dispatched)
    this.topic = topic
    this.feed = topic.feed
  }

  get channel(): this {
    return this
  }

  /** The channel learns all it needs when the commit is delivered. */
  spoke(): void {}

  get dispatched(): Offset {
    return this.feed.dispatched
  }

  closedBytes(): SharedBytes {
    return closedBytes
  }

  build(builder: FrameBuilder, records: readonly LogRecord[]): SharedBytes {
    return builder.build(records)
  }

  openReader(host: ReaderHost): ChannelReader {
    return new TopicReader(host, this)
  }

  watchDrops(): undefined {
    return undefined
  }
}
