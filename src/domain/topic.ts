/**
 * A channel that is published to and subscribed to. `Topic` is what others see of it; `HostedTopic` is what the hub keeps
 * of it besides. It knows its log, not its subscribers. There may be a hundred thousand of them: every field counts
 * (test/bench/topic-memory.ts).
 */

import type { Member } from './channel.ts'
import { formatEventId } from './event-id.ts'
import type { Feed } from './feed.ts'
import type { LogRecord, Offset } from './ports.ts'
import type { Retention } from './retention.ts'
import type { TopicToken } from './topic-token.ts'

export interface Topic {
  /** 11 base62 characters. */
  readonly id: string
  /** The log's number for it: of the record that created it, or one that was taken for it. */
  readonly streamId: number
  readonly persist: boolean
  /** Of the configuration: cannot be deleted. */
  readonly isStatic: boolean
  readonly name: string | undefined
  readonly retention: Retention
  /** SHA-256 of the token that subscribes to it, 32 bytes. */
  readonly tokenSha256: Uint8Array
  /** Further ones. */
  readonly tokens: Iterable<TopicToken>
  /** ms since the epoch. */
  readonly createdAtMs: number
}

/** The service's own metrics go out on this one. Its events and deliveries count in no message figure. */
export const METRICS_TOPIC_ID = '00000000000'

export interface TopicFields {
  /** Undefined: made from the number. */
  readonly id?: string | undefined
  readonly streamId: number
  readonly name: string | undefined
  readonly retention: Retention
  readonly tokenSha256: Uint8Array
  readonly createdAtMs: number
}

/** What entries of the catalogue say of a topic behind its creation. */
export interface TopicEntries {
  /** Number of the entry that holds its settings; 0: that is its creation. */
  readonly settingsOffset: Offset
  /** The highest number up to which an entry says that its events are gone, and the number of that entry; 0 and 0: none. */
  readonly droppedThrough: Offset
  readonly droppedOffset: Offset
}

export const noEntries: TopicEntries = { settingsOffset: 0, droppedThrough: 0, droppedOffset: 0 }

export class HostedTopic implements Topic {
  readonly streamId: number
  readonly createdAtMs: number
  readonly feed: Feed
  name: string | undefined
  retention: Retention
  /** Kept: those above the mark. */
  events = 0
  /** Of those, as they lie in the log, without padding. */
  bytes = 0
  /** The number of the latest event ever; 0 before the first. */
  latest: Offset = 0
  /** Appends to this topic whose outcome is not known yet. */
  unsettled = 0
  /** The highest number of an event of this topic that was dropped: by its limits, a purge, or the log's bound; or 0. */
  dropped: Offset = 0
  /** Undefined where the catalogue says nothing of it but its creation, as of most. */
  entries: TopicEntries | undefined = undefined
  /** Further tokens, by their numbers; undefined where there are none, as for most. */
  furtherTokens: Map<Offset, TopicToken> | undefined = undefined
  /** The channels that tell of it, while there are any. */
  audience: readonly Member[] | undefined = undefined
  readonly #configuredId: string | undefined
  /** One character a byte: a third of what a typed array takes. */
  readonly #tokenSha256: string

  constructor(feed: Feed, fields: TopicFields) {
    this.feed = feed
    this.streamId = fields.streamId
    this.name = fields.name
    this.retention = fields.retention
    this.createdAtMs = fields.createdAtMs
    this.#configuredId = fields.id
    this.#tokenSha256 = Buffer.from(fields.tokenSha256).toString('latin1')
  }

  get id(): string {
    return this.#configuredId ?? formatEventId(this.streamId)
  }

  get isStatic(): boolean {
    return this.#configuredId !== undefined
  }

  get tokenSha256(): Uint8Array {
    return Buffer.from(this.#tokenSha256, 'latin1')
  }

  get tokens(): Iterable<TopicToken> {
    return this.furtherTokens?.values() ?? []
  }

  addToken(token: TopicToken): void {
    this.furtherTokens ??= new Map()
    this.furtherTokens.set(token.number, token)
  }

  forgetToken(number: Offset): void {
    this.furtherTokens?.delete(number)
    if (this.furtherTokens?.size === 0) this.furtherTokens = undefined
  }

  /** Of `dropped` what the log itself says, and a restart keeps. Always 0 in memory. */
  get droppedDurably(): Offset {
    return this.entries?.droppedThrough ?? 0
  }

  get persist(): boolean {
    return this.feed.isDurable
  }

  get isCounted(): boolean {
    return this.#configuredId !== METRICS_TOPIC_ID
  }

  /**
   * What stands at or below this number may have been dropped: a stream that asks for less begins here, and is told. A
   * topic of the configuration may have had events in an earlier process; any other in memory was made by this one.
   */
  get mark(): Offset {
    return this.isStatic ? Math.max(this.feed.floor, this.dropped) : this.dropped
  }

  /** An event of this topic was committed. */
  took(record: LogRecord): void {
    this.events += 1
    this.bytes += record.length
    this.latest = record.offset
  }
}
