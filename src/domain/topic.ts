/**
 * A channel that is published to and subscribed to. `Topic` is what others see of it and never changes; `HostedTopic`
 * is what the hub keeps of it besides. It knows its log, not its subscribers.
 */

import type { Feed } from './feed.ts'
import type { Offset } from './ports.ts'

export interface Topic {
  /** 11 base62 characters. */
  readonly id: string
  /** The log's number for it: of the record that created it, or one that was taken for it. */
  readonly streamId: number
  readonly persist: boolean
  /** Of the configuration: cannot be deleted. */
  readonly isStatic: boolean
  readonly name: string | undefined
  /** SHA-256 of the token that subscribes to it, 32 bytes. */
  readonly tokenSha256: Uint8Array
  /** ms since the epoch. */
  readonly createdAtMs: number
}

/** The service's own metrics go out on this one. Its events and deliveries count in no message figure. */
export const METRICS_TOPIC_ID = '00000000000'

export class HostedTopic implements Topic {
  readonly id: string
  readonly streamId: number
  readonly isStatic: boolean
  readonly name: string | undefined
  readonly tokenSha256: Uint8Array
  readonly createdAtMs: number
  readonly feed: Feed
  /** The highest number of an event of this topic that the log's bound has dropped; 0 when there was none. */
  evictedThrough: Offset = 0
  /** Resolves with whether the topic is gone, while a deletion is being committed. */
  deletion: Promise<boolean> | undefined = undefined

  constructor(feed: Feed, fields: Omit<Topic, 'persist'>) {
    this.feed = feed
    this.id = fields.id
    this.streamId = fields.streamId
    this.isStatic = fields.isStatic
    this.name = fields.name
    this.tokenSha256 = fields.tokenSha256
    this.createdAtMs = fields.createdAtMs
  }

  get persist(): boolean {
    return this.feed.isDurable
  }

  get isCounted(): boolean {
    return this.id !== METRICS_TOPIC_ID
  }

  /**
   * What stands at or below this number may have been dropped: a stream that asks for less begins here, and is told. A
   * topic of the configuration may have had events in an earlier process; any other in memory was made by this one.
   */
  get mark(): Offset {
    return Math.max(this.isStatic ? this.feed.floor : 0, this.evictedThrough)
  }
}
