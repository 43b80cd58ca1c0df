/**
 * Topics, their events and their subscribers, over two logs: the durable one and the in-memory one. It publishes by
 * appending, folds what the logs commit into the catalogue, and hands each commit to the live subscriptions of its topics:
 * one buffer per topic and commit, shared by all of them.
 *
 * It promises that nothing is delivered before it is committed, that events are delivered once and in log order, and that a
 * publish is answered only after its event was handed to the live subscribers. It reaches logs, sockets and clock only
 * through the ports, and knows nothing of HTTP.
 */

import assert from 'node:assert/strict'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { Catalog } from './catalog.ts'
import { subscribersOf } from './channel.ts'
import type { Lag } from './commit-times.ts'
import { compactionJudge } from './compaction-judge.ts'
import {
  CATALOG_STREAM,
  EVENT_PUBLISHED,
  encodeTopicCreated,
  encodeTopicDeleted,
  TOPIC_CREATED,
  TOPIC_DELETED,
} from './entry.ts'
import { DomainError, fromStorageError, limitReached, unknownTopic } from './errors.ts'
import { Feed } from './feed.ts'
import { type HistoryItem, historyBackward, historyForward } from './history.ts'
import { loadCatalog } from './load-catalog.ts'
import type {
  Clock,
  CompactionJudge,
  EventLog,
  FigureName,
  Figures,
  HubObserver,
  LogRecord,
  NumberSource,
  Offset,
  Sink,
} from './ports.ts'
import type { PublishInput } from './publish-input.ts'
import { PublishOnce, type PublishOnceConditions, type PublishOnceOptions } from './publish-once.ts'
import { Publisher } from './publisher.ts'
import { type ResumePoint, type ResumeRequest, resolveResume, type StreamStart } from './resume.ts'
import { resolveAll } from './resume-all.ts'
import { Retainer } from './retainer.ts'
import { changedRetention, type Retention, type RetentionChange, unlimited } from './retention.ts'
import { encodeSnapshot } from './snapshot.ts'
import { type StreamOptions, type StreamRequest, Streams } from './streams.ts'
import type { Subscription } from './subscription.ts'
import { type TicketOptions, Tickets } from './tickets.ts'
import { configuredSha256, hashToken, makeToken } from './token.ts'
import { TokenOffice } from './token-office.ts'
import { HostedTopic, type Topic } from './topic.ts'
import { detailsOf, type TopicDetails } from './topic-details.ts'
import { everyTopic, isPlain, sortKeyOf, TopicList, type TopicPlace } from './topic-list.ts'
import { accessTo, type TokenRequest, type TopicAccess, type TopicRight, type TopicToken } from './topic-token.ts'

export type { TicketGrant } from './entry.ts'
export type { HistoryItem } from './history.ts'
export type { Figures } from './ports.ts'
export type { PublishOnceConditions as PublishConditions, RequestKey } from './publish-once.ts'
export type { GapNotice, ResumePoint, ResumeRequest, StreamStart } from './resume.ts'
export type { Retention, RetentionChange } from './retention.ts'
export type { Envelope } from './set-channel.ts'
export type { StreamRequest } from './streams.ts'
export type { Ticket } from './tickets.ts'
export { METRICS_TOPIC_ID, type Topic } from './topic.ts'
export type { TopicDetails } from './topic-details.ts'
export { everyTopic, TOPIC_SORTS, type TopicChoice, type TopicPlace, type TopicSort } from './topic-list.ts'
export { TOPIC_RIGHTS, type TokenRequest, type TopicRight, type TopicToken } from './topic-token.ts'

/** What a publisher sends, already validated. */
export type EventInput = PublishInput

export interface HubOptions extends StreamOptions, TicketOptions, PublishOnceOptions {
  readonly topicsMax: number
  readonly tokensPerTopicMax: number
  /** For topics created without limits of their own. */
  readonly defaultRetention: Retention
}

export interface TopicRequest {
  readonly persist: boolean
  readonly name?: string | undefined
  /** Limits left out are the hub's defaults. */
  readonly retention?: RetentionChange | undefined
}

export interface TopicChange {
  /** undefined leaves it as it is, null removes it. */
  readonly name?: string | null | undefined
  readonly retention?: RetentionChange | undefined
}

export interface TopicPage {
  readonly topics: readonly TopicDetails[]
  /** To be passed as `after` for the next page; undefined: this was the last. */
  readonly next: TopicPlace | undefined
}

/** For a stream of one topic. */
export interface SubscribeRequest extends Omit<StreamRequest, 'from' | 'envelope'> {
  readonly from: ResumePoint
}

type MutableFigures = { -readonly [Name in FigureName]: number }

/** Few enough to hold nobody up, and enough to keep the disk busy. */
const DETAILS_AT_ONCE = 10

export class Hub {
  /** For the URLs of streams. */
  readonly tickets: Tickets
  readonly #durable: Feed | undefined
  readonly #memory: Feed
  readonly #numbers: NumberSource
  readonly #observer: HubObserver
  readonly #clock: Clock
  readonly #options: HubOptions
  readonly #catalog = new Catalog()
  readonly #retainer: Retainer
  readonly #publishing: PublishOnce
  readonly #tokens: TokenOffice
  /** Deletions that are being committed; each resolves with whether the topic is gone. */
  readonly #deletions = new Map<HostedTopic, Promise<boolean>>()
  readonly #streams: Streams
  readonly #list: TopicList
  readonly #figures: MutableFigures = {
    topics: 0,
    static_topics: 0,
    active_topics: 0,
    subscribers: 0,
    active_subscribers: 0,
    message_received: 0,
    message_sent: 0,
  }
  #isCatalogWhole = true
  #creating = 0
  #checkpointing: Promise<void> = Promise.resolve()
  #checkpointed: Offset = -1
  #status: 'open' | 'draining' | 'closed' = 'open'
  #drained: Promise<void> | undefined

  /**
   * Folds the durable log's catalogue and starts dispatching. `durable` undefined: the persistent store is switched off.
   * From now on only the hub may append to the logs. Throws EntryError where the catalogue holds an entry that this version
   * cannot read, and StorageError where the log cannot be read.
   */
  static async open(
    durable: EventLog | undefined,
    memory: EventLog,
    numbers: NumberSource,
    observer: HubObserver,
    clock: Clock,
    options: HubOptions,
  ): Promise<Hub> {
    const durableFeed = durable === undefined ? undefined : new Feed(durable, true, 0)
    const memoryFeed = new Feed(memory, false, numbers.firstOfThisStart)
    const hub = new Hub(durableFeed, memoryFeed, numbers, observer, clock, options)
    if (durableFeed !== undefined) {
      try {
        await hub.#loadCatalog(durableFeed)
        await hub.tickets.load()
        await hub.#publishing.load((topic) => hub.#catalog.byStream(topic) !== undefined)
      } catch (error) {
        hub.tickets.stop()
        hub.#streams.close()
        throw error
      }
      hub.#follow(durableFeed)
    }
    hub.#follow(memoryFeed)
    return hub
  }

  private constructor(
    durable: Feed | undefined,
    memory: Feed,
    numbers: NumberSource,
    observer: HubObserver,
    clock: Clock,
    options: HubOptions,
  ) {
    this.#durable = durable
    this.#memory = memory
    this.#numbers = numbers
    this.#observer = observer
    this.#clock = clock
    this.#options = options
    this.#retainer = new Retainer(this.#catalog, clock, (events) => observer.eventsDropped(events))
    const { tokensPerTopicMax } = options
    this.#tokens = new TokenOffice(numbers, clock, tokensPerTopicMax, (token) => this.#streams.tokenRevoked(token))
    const publisher = new Publisher(this.#catalog, {
      assertOpen: () => this.#assertNotClosed(),
      deletionOf: (topic) => this.#deletions.get(topic),
      monotonicMs: () => clock.monotonicMs(),
      published: (topic, events, durationMs) => {
        if (!topic.isCounted) return
        this.#count('message_received', events)
        observer.published(events, durationMs)
      },
      failed: (code) => observer.publishFailed(code),
    })
    this.#publishing = new PublishOnce(publisher, durable, clock, options)
    this.#list = new TopicList(
      () => this.#catalog.topics,
      () => clock.monotonicMs(),
    )
    this.tickets = new Tickets(durable, numbers, clock, options)
    this.#streams = new Streams(clock, observer, (name, change) => this.#count(name, change), options)
  }

  /** Throws a DomainError: STORE_OFF, LIMIT, CLOSED, or the store's failure. The token is not kept anywhere. */
  async createTopic(request: TopicRequest): Promise<{ topic: Topic; token: string }> {
    this.#assertNotClosed()
    const feed = request.persist ? this.#durable : this.#memory
    if (feed === undefined) {
      throw new DomainError('STORE_OFF', 'The persistent store is switched off. Create the topic without persist.')
    }
    this.#assertRoomForTopic()
    const token = makeToken()
    const tokenSha256 = hashToken(token)
    const { name } = request
    const retention = changedRetention(this.#options.defaultRetention, request.retention ?? {})
    const fields = { name, retention, tokenSha256, createdAtMs: this.#clock.wallMs() }
    this.#creating += 1
    try {
      if (!feed.isDurable) {
        const topic = new HostedTopic(feed, { ...fields, streamId: this.#numbers.take() })
        this.#catalog.add(topic)
        this.#topicAdded(topic)
        return { topic, token }
      }
      const payload = encodeTopicCreated(fields)
      const streamId = await feed.log.append({ streamId: CATALOG_STREAM, kind: TOPIC_CREATED, payload })
      // The commit has been folded by now: the next start will see the same topic.
      const topic = this.#catalog.byStream(streamId)
      assert(topic !== undefined, 'a creation is folded before its append resolves')
      return { topic, token }
    } catch (error) {
      throw fromStorageError(error)
    } finally {
      this.#creating -= 1
    }
  }

  /**
   * A topic from the configuration: in memory, present after each start, but without its events. `id` in the canonical form
   * of 11 characters. Throws INVALID where the id is taken.
   */
  addStaticTopic(definition: { readonly id: string; readonly name: string; readonly token: string }): Topic {
    this.#assertNotClosed()
    const { id, name, token } = definition
    if (this.#catalog.topic(id) !== undefined) {
      throw new DomainError('INVALID', `There are two topics with the id ${id}. Give the static one another id.`)
    }
    const topic = new HostedTopic(this.#memory, {
      id,
      streamId: this.#takeNumber(),
      name,
      retention: unlimited,
      tokenSha256: configuredSha256(token),
      createdAtMs: this.#clock.wallMs(),
    })
    this.#catalog.add(topic)
    this.#topicAdded(topic)
    return topic
  }

  /**
   * Ends the topic's streams; when it resolves, `topic(id)` is undefined. False: there was no such topic. Concurrent calls
   * share one record, and all get the same answer. Throws a DomainError: STATIC_TOPIC, or the store's failure; then the topic
   * still exists.
   */
  async deleteTopic(id: string): Promise<boolean> {
    this.#assertNotClosed()
    const topic = this.#catalog.topic(id)
    if (topic === undefined) return false
    if (topic.isStatic) {
      throw new DomainError('STATIC_TOPIC', 'This topic is defined in the configuration. Remove it there to delete it.')
    }
    const running = this.#deletions.get(topic)
    if (running !== undefined) return running
    const deletion = this.#appendDeletion(topic)
    this.#deletions.set(topic, deletion)
    const settled = () => this.#deletions.delete(topic)
    deletion.then(settled, settled)
    return deletion
  }

  /** `id` in the canonical form of 11 characters. */
  topic(id: string): Topic | undefined {
    return this.#catalog.topic(id)
  }

  /** Throws a DomainError: TOPIC_UNKNOWN, STATIC_TOPIC, or the store's failure; then nothing has changed. */
  async changeTopic(topic: Topic, { name, retention = {} }: TopicChange): Promise<void> {
    const hosted = this.#hosted(topic)
    if (hosted.isStatic) {
      throw new DomainError('STATIC_TOPIC', 'This topic is defined in the configuration. Change it there.')
    }
    await translated(() =>
      this.#retainer.change(hosted, (present) => ({
        name: name === undefined ? present.name : (name ?? undefined),
        retention: changedRetention(present.retention, retention),
      })),
    )
  }

  /**
   * Drops the topic's events up to and including `through`, or all of them. Streams that had not read them yet get a gap.
   * Throws a DomainError: TOPIC_UNKNOWN, or the store's failure.
   */
  async purge(topic: Topic, through: Offset | undefined): Promise<void> {
    const hosted = this.#hosted(topic)
    await translated(() => this.#retainer.purge(hosted, through))
  }

  /** The secret is not kept anywhere. Throws a DomainError: TOPIC_UNKNOWN, LIMIT, INVALID, STATIC_TOPIC, or the store's failure. */
  async issueToken(topic: Topic, request: TokenRequest): Promise<{ token: TopicToken; secret: string }> {
    return await this.#tokens.issue(this.#hosted(topic), request)
  }

  /** Throws a DomainError: TOPIC_UNKNOWN. */
  tokensOf(topic: Topic): readonly TopicToken[] {
    return this.#tokens.list(this.#hosted(topic))
  }

  /** Ends the streams that it opened. False: there is no such token. Throws a DomainError: TOPIC_UNKNOWN, or the store's failure. */
  async revokeToken(topic: Topic, number: Offset): Promise<boolean> {
    return await this.#tokens.revoke(this.#hosted(topic), number)
  }

  /** Whether the secret with this SHA-256 grants that right on the topic, and by which token. */
  accessTo(topic: Topic, sha256: Uint8Array, right: TopicRight): TopicAccess | undefined {
    return accessTo(topic, sha256, right, this.#clock.wallMs())
  }

  /** Throws a DomainError: TOPIC_UNKNOWN, or the store's failure. */
  async topicDetails(topic: Topic): Promise<TopicDetails> {
    const hosted = this.#hosted(topic)
    return await translated(() => this.#details(hosted))
  }

  /**
   * In the requested order, by id by default, starting behind `after`, which need not exist any more. Throws the store's
   * failure.
   */
  async listTopics(after: TopicPlace | undefined, limit: number, choice = everyTopic): Promise<TopicPage> {
    this.#assertNotClosed()
    const found = isPlain(choice)
      ? this.#catalog.page(after?.id, limit + 1)
      : await this.#list.select(choice, after, limit + 1)
    const page = found.slice(0, limit)
    const last = page.at(-1)
    const next = last && found.length > limit ? { id: last.id, key: sortKeyOf(last, choice.sort) } : undefined
    return { topics: await translated(() => this.#detailsOfAll(page)), next }
  }

  /**
   * Resolves with the event's number once it is as durable as its log promises, and was handed to the live subscribers. A
   * repeat, recognised by the key of the event or of the request, gets the answer of the first one. Throws a DomainError:
   * TOPIC_UNKNOWN for a deleted topic, CONFLICT where a condition does not hold, KEY_REUSED, or the store's failure.
   */
  publish(topic: Topic, event: EventInput, conditions?: PublishOnceConditions): Promise<Offset> {
    return this.#publishing.publish(topic, event, conditions)
  }

  /**
   * As `publish`, for one or more events: all of them or none, even after a crash, and handed to the live subscribers
   * together. Resolves with their numbers, in the same order. Also throws TOO_LARGE.
   */
  publishAll(
    topic: Topic,
    events: readonly EventInput[],
    conditions?: PublishOnceConditions,
  ): Promise<readonly Offset[]> {
    return this.#publishing.publishAll(topic, events, conditions)
  }

  /** Where a stream of this topic would start. Throws a DomainError: TOPIC_UNKNOWN, INVALID, STORE_FAILED. */
  async resolve(topic: Topic, from: ResumeRequest): Promise<ResumePoint> {
    const hosted = this.#hosted(topic)
    await translated(() => this.#retainer.trim(hosted))
    return resolveResume(hosted, this.#numbers, from)
  }

  /** As `resolve`, for `subscribeAll`. */
  async resolveOne(topic: Topic, from: ResumeRequest): Promise<StreamStart> {
    return startOfOne(await this.resolve(topic, from))
  }

  /** Where a stream of all these topics, at least one, would start. Throws like `resolve`. */
  async resolveAll(topics: readonly Topic[], from: ResumeRequest): Promise<StreamStart> {
    const hosted = topics.map((topic) => this.#hosted(topic))
    await translated(() => Promise.all(hosted.map((topic) => this.#retainer.trim(topic))))
    return resolveAll(hosted, this.#numbers, from)
  }

  /** The topic's events from there up to the present, as JSON. Throws a DomainError: TOPIC_UNKNOWN. */
  historyForward(topic: Topic, from: ResumePoint): AsyncIterable<readonly HistoryItem[]> {
    return historyForward(this.#hosted(topic), from)
  }

  /** The topic's events below that number, or all, newest first. Throws a DomainError: TOPIC_UNKNOWN. */
  async historyBackward(topic: Topic, before = Infinity): Promise<AsyncIterable<readonly HistoryItem[]>> {
    const hosted = this.#hosted(topic)
    await translated(() => this.#retainer.trim(hosted))
    return historyBackward(hosted, Math.min(before, hosted.feed.dispatched + 1))
  }

  /**
   * The number after which a stream of all these topics starts if it is opened in this very turn. The result of `resolveAll`
   * may be some turns old. Throws a DomainError: TOPIC_UNKNOWN.
   */
  startOfAll(topics: readonly Topic[], from: StreamStart): Offset {
    return this.#streams.startOf(this.#present(topics), from)
  }

  /**
   * Registers in this very turn, and writes the first bytes. The result of `resolve` for this topic may be some turns old. A
   * client that has left in the meantime gets a subscription that is already closed. Throws a DomainError: LIMIT, CLOSED,
   * TOPIC_UNKNOWN, UNAUTHORIZED.
   */
  subscribe(topic: Topic, sink: Sink, request: SubscribeRequest): Subscription {
    return this.subscribeAll([topic], sink, { ...request, from: startOfOne(request.from) })
  }

  /** As `subscribe`, for one or more topics in one stream, in ascending order of numbers. Also throws STORE_FAILED. */
  subscribeAll(topics: readonly Topic[], sink: Sink, request: StreamRequest): Subscription {
    if (this.#status !== 'open') throw closing()
    return this.#streams.open(this.#present(topics), sink, request)
  }

  /**
   * For the compaction of the durable log; undefined where the catalogue could not be read in full: events of a topic that is
   * merely unknown must not be taken for those of a deleted one.
   */
  get judge(): CompactionJudge | undefined {
    if (!this.#isCatalogWhole) return undefined
    return compactionJudge(this.#catalog, this.#retainer, this.tickets, this.#publishing)
  }

  /**
   * Writes a checkpoint of the durable topics if anything was committed since the last one; one at a time. Throws the store's
   * failure, after which the next start has more to read.
   */
  checkpoint(): Promise<void> {
    const feed = this.#durable
    if (feed === undefined) return Promise.resolve()
    this.#checkpointing = this.#checkpointing.then(async () => {
      const offset = feed.dispatched
      if (offset === this.#checkpointed) return
      await feed.log.saveCheckpoint(offset, inTurns(encodeSnapshot(this.#catalog.topics, feed)))
      this.#checkpointed = offset
    })
    const saved = this.#checkpointing
    this.#checkpointing = saved.catch(() => undefined)
    return saved
  }

  figures(): Figures {
    return { ...this.#figures }
  }

  /** How far behind the slowest subscriber is that is catching up. Looks at those alone. */
  slowestLag(): Lag {
    return this.#streams.slowestLag()
  }

  /**
   * Ends every stream, each with its own time to reconnect, and refuses new ones. Resolves when all sinks have ended.
   * Publishing goes on. Idempotent.
   */
  drain(): Promise<void> {
    this.#drained ??= this.#drain()
    return this.#drained
  }

  /** Drains, then accepts nothing any more. The logs are not closed: their owner does that. Idempotent. */
  async close(): Promise<void> {
    const drained = this.drain()
    this.#status = 'closed'
    await drained
    this.#streams.close()
  }

  #hosted(topic: Topic): HostedTopic {
    this.#assertNotClosed()
    const hosted = this.#catalog.byStream(topic.streamId)
    if (hosted === undefined) throw unknownTopic()
    return hosted
  }

  /** As they are in this very turn, without duplicates. */
  #present(topics: readonly Topic[]): readonly HostedTopic[] {
    return [...new Set(topics)].map(({ streamId }) => this.#catalog.byStream(streamId) ?? raise(unknownTopic()))
  }

  /** A topic deleted in the meantime is described as it was. */
  async #detailsOfAll(topics: readonly HostedTopic[]): Promise<readonly TopicDetails[]> {
    const all: TopicDetails[] = []
    for (let begin = 0; begin < topics.length; begin += DETAILS_AT_ONCE) {
      const some = topics.slice(begin, begin + DETAILS_AT_ONCE)
      all.push(...(await Promise.all(some.map((topic) => this.#details(topic)))))
      // Lookups in memory resolve without ever leaving the turn.
      await nextTurn()
    }
    return all
  }

  async #details(topic: HostedTopic): Promise<TopicDetails> {
    await this.#retainer.trim(topic)
    return await detailsOf(topic, subscribersOf(topic))
  }

  async #drain(): Promise<void> {
    this.#status = 'draining'
    this.tickets.stop()
    await this.#streams.drain()
  }

  async #loadCatalog(feed: Feed): Promise<void> {
    this.#isCatalogWhole = await loadCatalog(this.#catalog, feed, this.#retainer, this.#observer)
    // Topics that were deleted before this start do not count as topics of this process.
    if (this.#catalog.size > 0) {
      this.#count('topics', this.#catalog.size)
      this.#count('active_topics', this.#catalog.size)
    }
    assert(feed.dispatched >= feed.log.lastOffset, 'nobody appends while the catalogue is read')
  }

  #follow(feed: Feed): void {
    feed.log.onCommit((records) => this.#dispatch(feed, records))
    feed.log.onSettled(() => this.#streams.settled())
    feed.log.onFail(() => this.#streams.failed())
    feed.log.onEvict((dropped) => {
      for (const totals of dropped) this.#retainer.evicted(feed, totals)
    })
  }

  /** The log's commit listener: it must not await, and nothing may be thrown out of it. */
  #dispatch(feed: Feed, records: readonly LogRecord[]): void {
    const through = records.at(-1)?.offset
    if (through === undefined) return
    let catalogRecords: LogRecord[] | undefined
    const catalog = this.#catalog
    for (const record of records) {
      if (record.streamId === CATALOG_STREAM) {
        catalogRecords ??= []
        catalogRecords.push(record)
      } else if (record.kind === EVENT_PUBLISHED) {
        const topic = catalog.byStream(record.streamId)
        if (topic === undefined) continue
        topic.took(record)
        // Topics without subscribers need nothing more.
        if (topic.audience !== undefined) this.#streams.take(topic, record, through)
      }
    }
    feed.advance(through)
    this.#streams.deliver(records, through)
    // In a log no event of a topic follows its deletion, so its streams have received everything before they end.
    if (catalogRecords !== undefined) for (const record of catalogRecords) this.#fold(record, feed)
  }

  #fold(record: LogRecord, feed: Feed): void {
    const change = this.#catalog.apply(record, feed)
    if (change === undefined) return
    if (change.kind === 'created') this.#topicAdded(change.topic)
    else if (change.kind === 'token-revoked') this.#streams.tokenRevoked(change.token)
    else this.#topicRemoved(change.topic)
  }

  #topicAdded(topic: HostedTopic): void {
    this.#count('topics', 1)
    this.#count('active_topics', 1)
    if (topic.isStatic) this.#count('static_topics', 1)
  }

  #topicRemoved(topic: HostedTopic): void {
    this.#count('active_topics', -1)
    this.#streams.topicRemoved(topic)
  }

  async #appendDeletion(topic: HostedTopic): Promise<boolean> {
    try {
      const payload = encodeTopicDeleted({ topic: topic.streamId })
      await topic.feed.log.append({ streamId: CATALOG_STREAM, kind: TOPIC_DELETED, payload }, { urgent: true })
      assert(this.#catalog.byStream(topic.streamId) === undefined, 'a deletion is folded before its append resolves')
      return true
    } catch (error) {
      throw fromStorageError(error)
    }
  }

  #count(name: FigureName, change: number): void {
    this.#figures[name] += change
    this.#observer.figureChanged(name, change)
  }

  #takeNumber(): number {
    try {
      return this.#numbers.take()
    } catch (error) {
      throw fromStorageError(error)
    }
  }

  #assertRoomForTopic(): void {
    const { topicsMax } = this.#options
    if (this.#catalog.size + this.#creating >= topicsMax) {
      throw limitReached('limits.topicsMax', `There are ${topicsMax} topics already. Delete one, or raise the limit.`)
    }
  }

  #assertNotClosed(): void {
    if (this.#status === 'closed') throw closing()
  }
}

/** Lets other work run between the pieces. */
async function* inTurns(pieces: Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for (const piece of pieces) {
    yield piece
    await nextTurn()
  }
}

/** Translates the store's failures into those of the domain. */
async function translated<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work()
  } catch (error) {
    throw fromStorageError(error)
  }
}

function closing(): DomainError {
  return new DomainError('CLOSED', 'The service is stopping. Try again shortly.')
}

function startOfOne({ after, gap, live }: ResumePoint): StreamStart {
  return { after, gaps: gap === undefined ? [] : [gap], live }
}

function raise(error: Error): never {
  throw error
}
