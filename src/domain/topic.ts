/**
 * A channel to publish and subscribe to. `Topic` is its public face; `HostedTopic` is what the hub keeps about it. It knows
 * its log, not its subscribers. There may be a hundred thousand of them, so every field counts
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
  /** The log's number for it: of the record that created it, or one taken from the sequencer. */
  readonly streamId: number
  readonly persist: boolean
  /** From the configuration: it cannot be deleted. */
  readonly isStatic: boolean
  readonly name: string | undefined
  readonly retention: Retention
  /** SHA-256 of the token that subscribes to it, 32 bytes. */
  readonly tokenSha256: Uint8Array
  /** Further tokens. */
  readonly tokens: Iterable<TopicToken>
  /** ms since the epoch. */
  readonly createdAtMs: number
}

/** The service's own metrics are published on this one. Its events and deliveries do not count in the message figures. */
export const METRICS_TOPIC_ID = '00000000000'

export interface TopicFields {
  /** Undefined: derived from the number. */
  readonly id?: string | undefined
  readonly streamId: number
  readonly name: string | undefined
  readonly retention: Retention
  readonly tokenSha256: Uint8Array
  readonly createdAtMs: number
}

/** What catalogue entries after its creation say about a topic. */
export interface TopicEntries {
  /** Number of the entry that holds its settings; 0: its creation. */
  readonly settingsOffset: Offset
  /** The highest number through which an entry says that events are gone, and the number of that entry; 0 and 0: none. */
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
  /** The number of events kept: those above the mark. */
  events = 0
  /** The size of those in the log, without padding. */
  bytes = 0
  /** The number of the latest event ever; 0 before the first. */
  latest: Offset = 0
  /** Appends to this topic whose outcome is not known yet. */
  unsettled = 0
  /** The highest number of a dropped event of this topic: by its limits, a purge, or the log's bound; or 0. */
  dropped: Offset = 0
  /** Undefined where the catalogue has only its creation, as for most topics. */
  entries: TopicEntries | undefined = undefined
  /** Further tokens, by their numbers; undefined where there are none, as for most. */
  furtherTokens: Map<Offset, TopicToken> | undefined = undefined
  /** The channels that carry it, while there are any. */
  audience: readonly Member[] | undefined = undefined
  readonly #configuredId: string | undefined
  /** One character per byte: a third of the size of a typed array. */
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

  /** The part of `dropped` that is recorded in the log, and survives a restart. Always 0 in memory. */
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
   * Events at or below this number may have been dropped: a stream that asks for less starts here, and gets a gap. A topic of
   * the configuration may have had events in an earlier process; any other in-memory topic was created by this one.
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
