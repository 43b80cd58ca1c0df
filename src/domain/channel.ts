/**
 * What streams with the same content share: streams of one topic, or of the same set of topics. It holds their subscriptions
 * and what is known about the latest events. It exists only while it has subscribers, so that topics without any cost the
 * dispatcher nothing. Only the streams and the subscriptions know of it.
 */

import type { DropWatch } from './drop-watch.ts'
import type { FrameBuilder } from './frame-builder.ts'
import type { LogRecord, Offset, SharedBytes } from './ports.ts'
import { Quiet } from './quiet.ts'
import type { ReplayStep } from './recent-frames.ts'
import type { Subscription } from './subscription.ts'
import type { HostedTopic } from './topic.ts'
import { NO_TURN } from './wheel.ts'

/** What a reader needs from its host. */
export interface ReaderHost {
  readonly builder: FrameBuilder
  /** A cursor has read a piece. */
  replayRead(bytes: number): void
}

/** Reads a channel's events, as a rule in consecutive steps. Must be closed. */
export interface ChannelReader {
  /** The step after `after`, or the beginning of it. Rejects with StorageError or EntryError. */
  read(after: Offset): Promise<ReplayStep>
  /** Nothing will be read for a while: releases whatever can be read again. */
  rest(): void
  close(): void
}

/** A topic's part in a channel, as the dispatcher sees it. */
export interface Member {
  readonly channel: Channel
  /** An event of the topic is in the commit that ends with `through`. */
  spoke(through: Offset): void
}

export abstract class Channel {
  /** Identifies its pieces among the recent frames. */
  readonly key: number
  readonly topics: readonly HostedTopic[]
  /** Whether its deliveries count in the figures. */
  readonly isCounted: boolean
  /** Each open subscription is in exactly one of the two. */
  readonly live = new Set<Subscription>()
  readonly catchingUp = new Set<Subscription>()
  /** How many of those catching up are reading now, rather than waiting for their sinks. */
  readers = 0
  /** A topic that has been deleted: nothing more will come. */
  gone: HostedTopic | undefined = undefined
  /** The wheel's turn in which the live subscribers last received something. */
  trafficTurn = NO_TURN
  /** Its events in the commit that is being dispatched; empty between commits. */
  readonly batch: LogRecord[] = []
  readonly #quiet: Quiet

  /** Nothing is known of what was committed before the channel existed: up to `dispatched`. */
  constructor(key: number, topics: readonly HostedTopic[], dispatched: Offset) {
    this.key = key
    this.topics = topics
    this.isCounted = topics.every((topic) => topic.isCounted)
    this.#quiet = new Quiet(dispatched)
  }

  /** A subscriber that has everything up to here has all that may be shown now. Only grows. */
  abstract get dispatched(): Offset

  /** The last block of its streams when one of its topics is deleted. */
  abstract closedBytes(): SharedBytes

  abstract build(builder: FrameBuilder, records: readonly LogRecord[]): SharedBytes

  abstract openReader(host: ReaderHost): ChannelReader

  /** For a new subscription; undefined where the reader itself reports dropped events. */
  abstract watchDrops(): DropWatch | undefined

  /** For logs and figures. */
  get name(): string {
    return this.topics.map(({ id }) => id).join('+')
  }

  /** The number of the latest event ever; 0 before the first. */
  get latest(): Offset {
    return this.topics.reduce((latest, topic) => Math.max(latest, topic.latest), 0)
  }

  /**
   * There is no event above this number and up to `dispatched`. So a subscriber that has everything up to here is up to date,
   * and may go live.
   */
  get quietSince(): Offset {
    return this.#quiet.since
  }

  get isEmpty(): boolean {
    return this.live.size === 0 && this.catchingUp.size === 0
  }

  /** The commit that ends with `through` has events of this channel. */
  spokeUntil(through: Offset): void {
    this.#quiet.spokeUntil(through)
  }

  /** A reader of the log found no event above `after` and up to `through`. */
  learnQuiet(after: Offset, through: Offset): void {
    this.#quiet.learn(after, through)
  }
}

/** How many streams carry the topic now. */
export function subscribersOf({ audience = [] }: HostedTopic): number {
  return audience.reduce((sum, { channel }) => sum + channel.live.size + channel.catchingUp.size, 0)
}
