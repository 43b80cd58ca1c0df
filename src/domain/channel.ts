/**
 * A topic that has subscribers: who they are, and what is known about its latest events. There is one for each topic
 * while anybody listens, and none otherwise, so that topics without subscribers cost the dispatcher nothing. Only the
 * hub and the subscriptions know of it.
 */

import assert from 'node:assert/strict'
import type { Feed } from './feed.ts'
import type { LogRecord, Offset } from './ports.ts'
import type { Subscription } from './subscription.ts'
import type { HostedTopic } from './topic.ts'
import { NO_TURN } from './wheel.ts'

export class Channel {
  readonly topic: HostedTopic
  readonly feed: Feed
  /** Each subscription that is not closed is in one of the two. */
  readonly live = new Set<Subscription>()
  readonly catchingUp = new Set<Subscription>()
  /** How many of those that catch up are reading now, rather than waiting for their sinks. */
  readers = 0
  /** The topic has been deleted: nothing more will come. */
  isGone = false
  /** The wheel's turn in which the live subscribers last got something. */
  trafficTurn = NO_TURN
  /** This topic's events in the commit that is being dispatched; empty between commits. */
  readonly batch: LogRecord[] = []
  #quietSince: Offset

  constructor(topic: HostedTopic) {
    this.topic = topic
    this.feed = topic.feed
    // Nothing is known of what was committed before there was a channel.
    this.#quietSince = topic.feed.dispatched
  }

  /**
   * The topic has no event above this number and up to `feed.dispatched`. So who has everything up to here has
   * everything there is, and may go live.
   */
  get quietSince(): Offset {
    return this.#quietSince
  }

  get isEmpty(): boolean {
    return this.live.size === 0 && this.catchingUp.size === 0
  }

  /** A commit that ends with `through` has events of this topic. */
  spokeUntil(through: Offset): void {
    assert(through >= this.#quietSince, 'commits come in the order of their numbers')
    this.#quietSince = through
  }

  /** A reader of the log found no event above `after` and up to `through`. */
  learnQuiet(after: Offset, through: Offset): void {
    if (after < this.#quietSince && through >= this.#quietSince) this.#quietSince = after
  }
}
