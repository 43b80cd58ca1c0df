/**
 * The server's calls as functions: topics, publishing, subscribing. Web standards only, so that the same file runs in Node,
 * browsers, Deno and Bun. Every call takes an AbortSignal, and rejects with an SserError.
 */

import { type CallOptions, type ClientOptions, Connection, memberOf } from './connection.ts'
import { type HistoryOptions, history, type StoredItem } from './history.ts'
import {
  type NewEvent,
  type PublishedEvent,
  type PublishOptions,
  publishList,
  publishOne,
  publishSource,
  type RepeatOptions,
} from './publish.ts'
import { type ReceivedItem, type Source, type SubscribeOptions, subscribe } from './subscribe.ts'
import { TopicTokens } from './topic-tokens.ts'

/** Limits beyond which the oldest events are dropped; null: none; absent: the server's default, or, in a change, unchanged. */
export interface RetentionRequest {
  /** Such as `3600s`. */
  readonly max_age?: string | null
  readonly max_bytes?: number | null
  readonly max_events?: number | null
}

export interface NewTopic {
  /** Kept on disk. False by default. */
  readonly persist?: boolean
  readonly name?: string | null
  readonly retention?: RetentionRequest
}

export interface CreatedTopic {
  readonly id: string
  /** Subscribes to this topic. Shown only this once. */
  readonly token: string
}

export interface EventPlace {
  readonly id: string
  /** RFC 3339, UTC. */
  readonly time: string
}

export interface TopicDetails {
  readonly id: string
  readonly name: string | null
  readonly persist: boolean
  readonly static: boolean
  readonly retention: Required<RetentionRequest>
  readonly created_at: string
  readonly events: number
  readonly bytes: number
  readonly earliest: EventPlace | null
  readonly latest: EventPlace | null
  readonly subscribers: number
}

/** For the URL of an EventSource: `?access_token=`. */
export interface Ticket {
  readonly token: string
  /** RFC 3339, UTC: it must be used before this. */
  readonly expires_at: string
}

export interface ListTopicsOptions extends CallOptions {
  /** `next` of the previous page. */
  readonly after?: string
  readonly limit?: number
  /** Searched for in names, ignoring case, and in ids. */
  readonly search?: string
  readonly sort?: 'id' | 'name' | 'events' | 'bytes' | 'subscribers' | 'latest'
  readonly order?: 'asc' | 'desc'
}

export interface TopicPage {
  readonly topics: readonly TopicDetails[]
  /** To be passed as `after` for the next page; null: this was the last. */
  readonly next: string | null
}

export class SserClient {
  readonly #connection: Connection
  readonly topics: Topics
  /** Further tokens of topics. */
  readonly tokens: TopicTokens

  /** Throws a TypeError for an invalid URL. Nothing is sent yet. */
  constructor(options: ClientOptions) {
    this.#connection = new Connection(options)
    this.topics = new Topics(this.#connection)
    this.tokens = new TopicTokens(this.#connection)
  }

  /** Resolves when the event is as durable as its topic promises. */
  async publish(topicId: string, event: NewEvent, options: PublishOptions = {}): Promise<PublishedEvent> {
    return await publishOne(this.#connection, eventsPath(topicId), event, options)
  }

  /** As `publish`, for a list: all of them or none. Resolves with their numbers, in the same order. */
  async publishMany(
    topicId: string,
    events: readonly NewEvent[],
    options: PublishOptions = {},
  ): Promise<readonly PublishedEvent[]> {
    return await publishList(this.#connection, eventsPath(topicId), events, options)
  }

  /**
   * Publishes what a source yields, such as an async generator, as it arrives and in order: events that arrive while earlier ones
   * are being published go out together. Yields the numbers of each such batch, and reads from the source no faster than they
   * are consumed. If the source throws, everything before that is published.
   */
  publishFrom(
    topicId: string,
    source: AsyncIterable<NewEvent> | Iterable<NewEvent>,
    options: RepeatOptions = {},
  ): AsyncGenerator<readonly PublishedEvent[], void, void> {
    return publishSource(this.#connection, eventsPath(topicId), source, options)
  }

  /** A token for streams of these topics, for example for an EventSource in a browser; this client's own token must open them. */
  async ticket(topicIds: readonly string[], options: CallOptions = {}): Promise<Ticket> {
    const body = await this.#connection.call('POST', '/tickets', { ticket: { topics: topicIds } }, options)
    return memberOf<Ticket>(body, 'ticket')
  }

  /** What the topic keeps, up to the present, or newest first: see `HistoryOptions`. */
  history(topicId: string, options: HistoryOptions = {}): AsyncGenerator<StoredItem, void, void> {
    return history(this.#connection, eventsPath(topicId), options)
  }

  /**
   * See `subscribe`: the events of a topic, over any number of connections, until the topic is deleted; or of several topics, by
   * their ids, in one order, each event with its topic. This client's token must open all of them.
   */
  subscribe(
    topicId: string | readonly string[],
    options: SubscribeOptions = {},
  ): AsyncGenerator<ReceivedItem, void, void> {
    return subscribe(this.#connection, sourceOf(topicId), options)
  }
}

export class Topics {
  readonly #connection: Connection

  constructor(connection: Connection) {
    this.#connection = connection
  }

  async create(topic: NewTopic = {}, options: CallOptions = {}): Promise<CreatedTopic> {
    return memberOf<CreatedTopic>(await this.#connection.call('POST', '/pubsubs', { pubsub: topic }, options), 'pubsub')
  }

  async get(topicId: string, options: CallOptions = {}): Promise<TopicDetails> {
    return memberOf<TopicDetails>(await this.#connection.call('GET', topicPath(topicId), undefined, options), 'pubsub')
  }

  async list({ signal, ...wanted }: ListTopicsOptions = {}): Promise<TopicPage> {
    const options = signal === undefined ? {} : { signal }
    const query = new URLSearchParams()
    for (const [name, value] of Object.entries(wanted)) if (value !== undefined) query.set(name, String(value))
    const path = query.size === 0 ? '/pubsubs' : `/pubsubs?${query}`
    const body = await this.#connection.call('GET', path, undefined, options)
    return { topics: memberOf(body, 'pubsubs'), next: (body as { readonly next: string | null }).next }
  }

  /** All matching topics, page by page. */
  async *all(options: Omit<ListTopicsOptions, 'after'> = {}): AsyncGenerator<TopicDetails, void, void> {
    let after: string | undefined
    do {
      const page = await this.list({ ...options, ...(after === undefined ? {} : { after }) })
      yield* page.topics
      after = page.next ?? undefined
    } while (after !== undefined)
  }

  /** What is left out stays as it is. */
  async update(topicId: string, changes: Omit<NewTopic, 'persist'>, options: CallOptions = {}): Promise<TopicDetails> {
    const body = await this.#connection.call('PATCH', topicPath(topicId), { pubsub: changes }, options)
    return memberOf<TopicDetails>(body, 'pubsub')
  }

  /** Drops the topic's events up to and including `through`; without it, all of them. */
  async empty(
    topicId: string,
    { through, ...options }: CallOptions & { readonly through?: string } = {},
  ): Promise<void> {
    const query = through === undefined ? '' : `?through=${encodeURIComponent(through)}`
    await this.#connection.call('DELETE', eventsPath(topicId) + query, undefined, options)
  }

  /** Also resolves where there is no such topic. */
  async delete(topicId: string, options: CallOptions = {}): Promise<void> {
    await this.#connection.call('DELETE', topicPath(topicId), undefined, options)
  }
}

function topicPath(topicId: string): string {
  return `/pubsubs/${encodeURIComponent(topicId)}`
}

function sourceOf(topicId: string | readonly string[]): Source {
  if (typeof topicId === 'string') return { path: eventsPath(topicId), isEnveloped: false }
  const query = new URLSearchParams({ envelope: 'json' })
  for (const id of topicId) query.append('topic', id)
  return { path: `/events?${query}`, isEnveloped: true }
}

function eventsPath(topicId: string): string {
  return `${topicPath(topicId)}/events`
}
