/**
 * The streams of all subscribers: who subscribes to what, and what each commit brings them. A commit becomes one buffer per
 * channel, shared by all live subscribers; those that are behind read the log.
 *
 * It promises that nothing is delivered before it is committed, that events are delivered once and in ascending order, and
 * that a stream that ends says when to come back, where the client should. It works on the topics that it is given, and
 * knows nothing of how they come and go.
 */

import { heartbeatEvent, retryBlock, tickComment } from '../sse/encode.ts'
import { type Channel, subscribersOf } from './channel.ts'
import { CommitTimes, type Lag, NO_LAG } from './commit-times.ts'
import { DomainError, limitReached } from './errors.ts'
import type { Feed } from './feed.ts'
import { FrameBuilder, shareBytes } from './frame-builder.ts'
import { Pace } from './pace.ts'
import type { Clock, CloseReason, FigureName, HubObserver, LogRecord, Offset, SharedBytes, Sink } from './ports.ts'
import { RecentFrames } from './recent-frames.ts'
import { openingBlocks, type StreamStart } from './resume.ts'
import { type Envelope, OneLogChannel, SetChannel, settledIn, TwoLogChannel } from './set-channel.ts'
import { Subscription, type SubscriptionHost, tokenRevokedBytes } from './subscription.ts'
import type { HostedTopic } from './topic.ts'
import { TopicChannel } from './topic-channel.ts'
import type { TopicToken } from './topic-token.ts'
import { Wheel } from './wheel.ts'

export interface StreamOptions {
  /** Bound on the frames kept for subscribers that need the same ones again. */
  readonly recentFramesBytesMax: number
  readonly subscribersMax: number
  /** Infinity: no limit per topic. */
  readonly streamsPerTopicMax: number
  readonly heartbeatMs: number
  /** Jittered: a stream ends after 80 to 100 % of it. */
  readonly streamAgeMsMax: number
  /** A sink whose peer takes nothing for this long, while there is something to take, is cut off. */
  readonly writeTimeoutMs: number
  /** How long clients are told to wait before they reconnect, jittered: 100 to 200 % of it. */
  readonly retryMs: number
  /** While stopping, clients are told to reconnect spread over this much more. */
  readonly drainRetryMs: number
}

export interface StreamRequest {
  readonly from: StreamStart
  /** The stream ends when the first of these does. */
  readonly tokens?: readonly TopicToken[] | undefined
  readonly heartbeat: 'comment' | 'event'
  /** Whether events announce where the stream starts and when it has caught up; false by default. */
  readonly signals?: boolean | undefined
  /** For streams of several topics; 'none' by default. */
  readonly envelope?: Envelope | undefined
}

export class Streams {
  readonly #observer: HubObserver
  readonly #clock: Clock
  readonly #options: StreamOptions
  readonly #count: (name: FigureName, change: number) => void
  readonly #builder = new FrameBuilder()
  readonly #commitTimes = new CommitTimes()
  readonly #frames: RecentFrames
  readonly #wheel: Wheel
  readonly #host: SubscriptionHost
  readonly #heartbeats: Readonly<Record<StreamRequest['heartbeat'], SharedBytes>>
  /** All that have subscribers. */
  readonly #channels = new Set<Channel>()
  /** Those of several topics, by their topics and envelope. */
  readonly #sets = new Map<string, SetChannel>()
  #setsMade = 0
  /** Those that do not show everything yet that is committed. */
  readonly #holding = new Set<TwoLogChannel>()
  /** Subscriptions that are catching up. */
  readonly #behind = new Set<Subscription>()
  /** Streams opened by further tokens. */
  readonly #openedBy = new Map<TopicToken, Set<Subscription>>()
  #openSinks = 0
  #onAllEnded: (() => void) | undefined
  /** Reused for each commit. */
  readonly #touched: Channel[] = []

  /** Must be closed. */
  constructor(
    clock: Clock,
    observer: HubObserver,
    count: (name: FigureName, change: number) => void,
    options: StreamOptions,
  ) {
    this.#observer = observer
    this.#clock = clock
    this.#count = count
    this.#options = options
    this.#frames = new RecentFrames(options.recentFramesBytesMax)
    this.#wheel = new Wheel(clock, options.heartbeatMs)
    this.#heartbeats = {
      comment: shareBytes(tickComment),
      event: shareBytes(heartbeatEvent(JSON.stringify({ interval_ms: options.heartbeatMs }))),
    }
    this.#host = this.#makeHost()
  }

  /** The number after which a stream of these topics starts if it is registered in this very turn. */
  startOf(topics: readonly HostedTopic[], from: StreamStart): Offset {
    this.settled()
    const feeds = feedsOf(topics)
    const dispatched = feeds.length === 1 ? feeds[0]!.dispatched : settledIn(feeds)
    return from.live ? dispatched : Math.min(from.after, dispatched)
  }

  /**
   * Registers in this very turn, and writes the first bytes. A client that has left in the meantime gets a subscription that
   * is already closed. Throws a DomainError: LIMIT, UNAUTHORIZED, STORE_FAILED.
   */
  open(topics: readonly HostedTopic[], sink: Sink, request: StreamRequest): Subscription {
    const { subscribersMax, streamsPerTopicMax, streamAgeMsMax, retryMs } = this.#options
    if (this.#openSinks >= subscribersMax) {
      throw limitReached('limits.subscribersMax', `There are ${subscribersMax} streams already. Try again later.`)
    }
    if (Number.isFinite(streamsPerTopicMax) && topics.some((topic) => subscribersOf(topic) >= streamsPerTopicMax)) {
      const words = `The topic has ${streamsPerTopicMax} streams already. Try again later.`
      throw limitReached('limits.streamsPerTopicMax', words)
    }
    const { from, heartbeat, tokens = [], signals = false, envelope = 'none' } = request
    if (!tokens.every((token) => topics.some((topic) => topic.furtherTokens?.get(token.number) === token))) {
      throw new DomainError('UNAUTHORIZED', 'The token no longer grants access to this.')
    }
    const channel = this.#channelOf(topics, envelope)
    const after = this.startOf(topics, from)
    const subscription = new Subscription(this.#host, channel, sink, {
      after,
      heartbeat: this.#heartbeats[heartbeat],
      deadlineMs: this.#clock.monotonicMs() + streamAgeMsMax * between(0.8, 1),
      tokens,
      tokenEndsMs: this.#clock.monotonicMs() + firstExpiryMs(tokens) - this.#clock.wallMs(),
      tellsCaughtUp: signals,
      slot: this.#wheel.nextSlot(),
    })
    this.#openSinks += 1
    for (const token of tokens) this.#noteOpened(token, subscription)
    this.#wheel.add(subscription)
    this.#behind.add(subscription)
    this.#count('subscribers', 1)
    this.#count('active_subscribers', 1)
    const retry = retryBlock(Math.round(retryMs * between(1, 2)))
    for (const { reason } of from.gaps) this.#observer.gapTold(channel.name, reason)
    subscription.start(shareBytes(retry, ...openingBlocks(channel.latest, from.gaps, after, signals)))
    return subscription
  }

  // Called by the dispatcher

  /** The commit that ends with `through` has an event of a topic with subscribers; `deliver` follows. */
  take({ audience = [] }: HostedTopic, record: LogRecord, through: Offset): void {
    for (const member of audience) {
      member.spoke(through)
      const { channel } = member
      if (channel.batch.length === 0) this.#touched.push(channel)
      channel.batch.push(record)
    }
  }

  /** A commit of `records` that ends with `through` has been taken in full. Never throws. */
  deliver(records: readonly LogRecord[], through: Offset): void {
    const committedAtMs = this.#clock.monotonicMs()
    this.#commitTimes.note(records[0]!.offset - 1, records.length, committedAtMs)
    for (const channel of this.#touched) {
      if (channel instanceof TwoLogChannel) this.#hold(channel)
      else this.#deliver(channel, through, committedAtMs)
    }
    this.#touched.length = 0
    this.settled()
  }

  /** More numbers are settled: events held back for them may be shown. */
  settled(): void {
    for (const channel of this.#holding) {
      const position = channel.dispatched
      if (channel.advance()) for (const subscription of [...channel.live]) subscription.readFrom(position)
      if (!channel.isHolding) this.#holding.delete(channel)
    }
  }

  /** A log has failed: only the next start will know what it holds above this point. */
  failed(): void {
    for (const channel of [...this.#channels]) {
      if (!(channel instanceof TwoLogChannel)) continue
      for (const subscription of subscriptionsOf(channel)) subscription.close('storage-failed')
    }
  }

  topicRemoved(topic: HostedTopic): void {
    this.#frames.drop(topic.streamId)
    for (const { channel } of topic.audience ?? []) {
      channel.gone ??= topic
      for (const subscription of subscriptionsOf(channel)) subscription.topicDeleted()
    }
  }

  tokenRevoked(token: TopicToken): void {
    for (const subscription of [...(this.#openedBy.get(token) ?? [])]) {
      subscription.close('token-revoked', tokenRevokedBytes)
    }
  }

  /** How far behind the slowest subscriber is that is catching up. Looks at those alone. */
  slowestLag(): Lag {
    let position = Number.POSITIVE_INFINITY
    for (const each of this.#behind) position = Math.min(position, each.position)
    return position === Number.POSITIVE_INFINITY ? NO_LAG : this.#commitTimes.lagOf(position, this.#clock.monotonicMs())
  }

  /** Ends every stream, each with its own time to reconnect. Resolves when all sinks have ended. */
  async drain(): Promise<void> {
    const { retryMs, drainRetryMs } = this.#options
    for (const channel of [...this.#channels]) {
      for (const subscription of subscriptionsOf(channel)) {
        const retry = retryBlock(Math.round(retryMs + drainRetryMs * Math.random()))
        subscription.close('stopping', shareBytes(retry))
      }
    }
    if (this.#openSinks === 0) return
    await new Promise<void>((resolve) => {
      this.#onAllEnded = resolve
    })
  }

  /** To be called after `drain`. */
  close(): void {
    this.#wheel.close()
  }

  #hold(channel: TwoLogChannel): void {
    channel.hold(channel.batch)
    channel.batch.length = 0
    this.#holding.add(channel)
  }

  #deliver(channel: Channel, through: Offset, committedAtMs: number): void {
    const { batch, live, quietSince } = channel
    channel.spokeUntil(through)
    try {
      if (live.size === 0 && channel.readers === 0) return
      const bytes = channel.build(this.#builder, batch)
      const first = batch[0]!.offset
      const last = batch.at(-1)!.offset
      const events = batch.length
      this.#frames.addLive(channel.key, { after: quietSince, first, last, through, bytes, events })
      if (live.size === 0) return
      channel.trafficTurn = this.#wheel.turn
      const subscribers = live.size
      if (channel.isCounted) this.#count('message_sent', subscribers * events)
      // Subscriptions that refuse or leave during the loop remove themselves from the set; none join during a dispatch.
      for (const subscription of live) {
        if (!subscription.sink.write(bytes)) subscription.refused(through)
      }
      const latencyMs = this.#clock.monotonicMs() - committedAtMs
      if (channel.isCounted) this.#observer.delivered(subscribers, bytes.plain.length, latencyMs)
    } catch (error) {
      // The frames could not be built. The subscribers are cut off, resume from the log, and learn there what is wrong.
      this.#observer.deliveryFailed(channel.name, error)
      for (const subscription of [...live]) subscription.close('error')
    } finally {
      batch.length = 0
    }
  }

  #channelOf(topics: readonly HostedTopic[], envelope: Envelope): Channel {
    const [topic] = topics
    if (topics.length === 1 && envelope === 'none') {
      return topic!.audience?.find(({ channel }) => channel instanceof TopicChannel)?.channel ?? this.#addTopic(topic!)
    }
    return this.#sets.get(setName(topics, envelope)) ?? this.#addSet(topics, envelope)
  }

  #addTopic(topic: HostedTopic): Channel {
    const channel = new TopicChannel(topic)
    topic.audience = [...(topic.audience ?? []), channel]
    this.#channels.add(channel)
    return channel
  }

  #addSet(topics: readonly HostedTopic[], envelope: Envelope): Channel {
    // Topic numbers are positive.
    this.#setsMade += 1
    const key = -this.#setsMade
    const feeds = feedsOf(topics)
    let channel: SetChannel
    if (feeds.length === 1) {
      channel = new OneLogChannel(key, topics, envelope, feeds[0]!)
    } else {
      const mixed = new TwoLogChannel(key, topics, envelope, feeds)
      if (mixed.isStuck)
        throw new DomainError('STORE_FAILED', 'The durable log has failed. Check the disk, and restart.')
      if (mixed.isHolding) this.#holding.add(mixed)
      channel = mixed
    }
    for (const member of channel.members) member.topic.audience = [...(member.topic.audience ?? []), member]
    this.#sets.set(setName(topics, envelope), channel)
    this.#channels.add(channel)
    return channel
  }

  #forget(channel: Channel): void {
    this.#channels.delete(channel)
    for (const topic of channel.topics) {
      const others = topic.audience?.filter((member) => member.channel !== channel)
      topic.audience = others?.length === 0 ? undefined : others
    }
    if (channel instanceof TwoLogChannel) this.#holding.delete(channel)
    // The pieces of a single topic are kept: its next channel has the same key.
    if (!(channel instanceof TopicChannel)) this.#frames.drop(channel.key)
    if (channel instanceof SetChannel) this.#sets.delete(setName(channel.topics, channel.envelope))
  }

  #noteOpened(token: TopicToken, subscription: Subscription): void {
    const opened = this.#openedBy.get(token) ?? new Set()
    opened.add(subscription)
    this.#openedBy.set(token, opened)
  }

  #forgetOpened(token: TopicToken, subscription: Subscription): void {
    const opened = this.#openedBy.get(token)
    opened?.delete(subscription)
    if (opened?.size === 0) this.#openedBy.delete(token)
  }

  #makeHost(): SubscriptionHost {
    const wheel = this.#wheel
    return {
      frames: this.#frames,
      builder: this.#builder,
      pace: new Pace(),
      writeTimeoutMs: this.#options.writeTimeoutMs,
      get turn() {
        return wheel.turn
      },
      turnsOfPeriod: wheel.turnsOfPeriod,
      monotonicMs: () => this.#clock.monotonicMs(),
      eventsSent: (channel, events, bytes) => {
        if (!channel.isCounted) return
        this.#count('message_sent', events)
        this.#observer.replayed(events, bytes)
      },
      replayRead: (bytes) => this.#observer.replayRead(bytes),
      liveChanged: (subscription, isLive) => {
        if (isLive) this.#behind.delete(subscription)
        else this.#behind.add(subscription)
        this.#observer.liveChanged(isLive ? 1 : -1)
      },
      gapTold: (channel, reason) => this.#observer.gapTold(channel.name, reason),
      deliveryFailed: (channel, error) => this.#observer.deliveryFailed(channel.name, error),
      closed: (subscription, reason) => this.#onClosed(subscription, reason),
      ended: (subscription) => this.#onEnded(subscription),
    }
  }

  #onClosed(subscription: Subscription, reason: CloseReason): void {
    const { channel } = subscription
    this.#behind.delete(subscription)
    this.#count('active_subscribers', -1)
    for (const token of subscription.tokens) this.#forgetOpened(token, subscription)
    this.#observer.streamEnded(channel.name, reason)
    if (channel.isEmpty) this.#forget(channel)
  }

  #onEnded(subscription: Subscription): void {
    this.#wheel.remove(subscription)
    this.#openSinks -= 1
    if (this.#openSinks === 0) this.#onAllEnded?.()
  }
}

function subscriptionsOf(channel: Channel): readonly Subscription[] {
  return [...channel.live, ...channel.catchingUp]
}

/** One feed, or both. */
function feedsOf(topics: readonly HostedTopic[]): readonly Feed[] {
  return [...new Set(topics.map(({ feed }) => feed))]
}

/** The order of the topics makes no difference to a stream. */
function setName(topics: readonly HostedTopic[], envelope: Envelope): string {
  const numbers = topics.map(({ streamId }) => streamId).sort((one, other) => one - other)
  return `${envelope} ${numbers.join(' ')}`
}

function firstExpiryMs(tokens: readonly TopicToken[]): number {
  return tokens.reduce((first, { expiresAtMs }) => Math.min(first, expiresAtMs ?? Infinity), Infinity)
}

function between(low: number, high: number): number {
  return low + (high - low) * Math.random()
}
