/**
 * One reader of one channel: a position, a sink, and one of three states. It owns no buffer: the log is the queue.
 *
 * - *catching-up*: reads its channel from its position on, in bounded pieces, from the recent frames or the log; writes, and
 *   waits whenever the sink is full.
 * - *live*: gets the dispatcher's bytes. When its sink is full it goes back to catching up, from the end of the last batch
 *   that it took.
 * - *closed*: for good.
 *
 * It goes live in the same turn in which it finds that its channel has no event above its position; a dispatch takes one
 * turn as well, so no commit can fall between the check and the switch. It promises every event of the channel above the
 * number that it resumed after, once and in order, or a gap event. It knows nothing of HTTP.
 */

import assert from 'node:assert/strict'
import { StorageError } from '../../storage-engine/index.ts'
import { caughtUpEvent, closedEvent } from '../sse/encode.ts'
import type { Channel, ReaderHost } from './channel.ts'
import type { DropWatch } from './drop-watch.ts'
import { formatEventId } from './event-id.ts'
import { shareBytes } from './frame-builder.ts'
import type { Pace } from './pace.ts'
import type { CloseReason, LogGap, Offset, SharedBytes, Sink } from './ports.ts'
import type { RecentFrames, ReplayStep } from './recent-frames.ts'
import { gapBlocks, reasonOfGap } from './resume.ts'
import type { TopicToken } from './topic-token.ts'
import { NO_TURN, type WheelMember } from './wheel.ts'

export type SubscriptionState = 'catching-up' | 'live' | 'closed'

/** What all subscriptions of a hub share. */
export interface SubscriptionHost extends ReaderHost {
  readonly frames: RecentFrames
  readonly pace: Pace
  readonly writeTimeoutMs: number
  /** How many slots the wheel has visited so far. */
  readonly turn: number
  /** Between two visits of the same subscription. */
  readonly turnsOfPeriod: number
  monotonicMs(): number
  /** This many events were handed to one subscriber that is catching up. */
  eventsSent(channel: Channel, events: number, bytes: number): void
  /** True: it has caught up. False: it was live, and now catches up or ends. */
  liveChanged(subscription: Subscription, isLive: boolean): void
  gapTold(channel: Channel, reason: string): void
  deliveryFailed(channel: Channel, error: unknown): void
  /** Called once, when the state becomes closed. */
  closed(subscription: Subscription, reason: CloseReason): void
  /** Called once, when the sink has ended. */
  ended(subscription: Subscription): void
}

export interface SubscriptionOptions {
  /** Every event above this number. At most the channel's `dispatched`. */
  readonly after: Offset
  readonly heartbeat: SharedBytes
  /** By the monotonic clock. */
  readonly deadlineMs: number
  /** The tokens that opened the stream, if they can end before it, and when the first one ends by the monotonic clock. */
  readonly tokens: readonly TopicToken[]
  readonly tokenEndsMs: number
  /** Whether to announce once, with an event, that it has caught up. */
  readonly tellsCaughtUp: boolean
  readonly slot: number
}

/** The last blocks of a stream whose token is no longer valid. */
export const tokenRevokedBytes: SharedBytes = shareBytes(closedEvent('{"reason":"the token was revoked"}'))
const tokenExpiredBytes: SharedBytes = shareBytes(closedEvent('{"reason":"the token has expired"}'))

export class Subscription implements WheelMember {
  readonly channel: Channel
  /** Public for the dispatcher, which writes to it directly while the subscription is live. */
  readonly sink: Sink
  /** The number that the stream resumed after. */
  readonly resumedAfter: Offset
  readonly slot: number
  readonly tokens: readonly TopicToken[]
  readonly #drops: DropWatch | undefined
  readonly #host: SubscriptionHost
  readonly #heartbeat: SharedBytes
  readonly #deadlineMs: number
  readonly #tokenEndsMs: number
  #state: SubscriptionState = 'catching-up'
  /** While live, the channel's `dispatched` counts instead. */
  #position: Offset
  /** The sink is over its bound; only while catching up. */
  #isFull = false
  #hasEnded = false
  #tellsCaughtUp: boolean
  // For the heartbeat and the write timeout, as of the wheel's last visit:
  #trafficTurn = NO_TURN
  #gotHeartbeat = false
  #bytesAccepted = 0
  #progressMs: number

  constructor(host: SubscriptionHost, channel: Channel, sink: Sink, options: SubscriptionOptions) {
    assert(options.after <= channel.dispatched, 'nothing above what was dispatched has been shown to anybody')
    this.#host = host
    this.channel = channel
    this.sink = sink
    this.resumedAfter = options.after
    this.slot = options.slot
    this.tokens = options.tokens
    this.#drops = channel.watchDrops()
    this.#heartbeat = options.heartbeat
    this.#deadlineMs = options.deadlineMs
    this.#tokenEndsMs = options.tokenEndsMs
    this.#tellsCaughtUp = options.tellsCaughtUp
    this.#position = options.after
    this.#progressMs = host.monotonicMs()
    channel.catchingUp.add(this)
    channel.readers += 1
  }

  get state(): SubscriptionState {
    return this.#state
  }

  /** Every event up to this number has been handed to the sink. Only grows. */
  get position(): Offset {
    return this.#state === 'live' ? this.channel.dispatched : this.#position
  }

  /** To be called once, in the turn of construction: writes the first bytes, and returns either live or reading. */
  start(firstBytes: SharedBytes): void {
    this.sink.onClose(() => this.#onSinkClosed())
    // The client may have left before anyone listened for that.
    if (this.sink.isClosed) {
      this.#onSinkClosed()
      return
    }
    this.#write(firstBytes)
    // The first bytes do not count as traffic: the first heartbeat of a quiet stream must not take two periods.
    this.#trafficTurn = NO_TURN
    void this.#catchUp()
  }

  /** Ends the stream between two events. Idempotent. */
  close(reason: CloseReason, last?: SharedBytes): void {
    if (this.#state === 'closed') return
    this.#leave(reason)
    this.sink.close(reason, last)
  }

  /** For the dispatcher: the live sink took a batch up to `through`, and is now over its bound. */
  refused(through: Offset): void {
    // The sink may have closed itself during the call.
    if (this.#state !== 'live') return
    this.#fallBehind(through)
    this.#isFull = true
    void this.#catchUp()
  }

  /** For the dispatcher: the live subscription has everything up to `position`, and there is more to read. */
  readFrom(position: Offset): void {
    this.#fallBehind(position)
    this.channel.readers += 1
    void this.#catchUp()
  }

  /**
   * A topic was deleted, and all its events have been dispatched. A live subscription has all of them. One that is reading
   * may be just a turn behind, and gets the rest as long as its sink takes it; one that waits for its sink is closed now.
   */
  topicDeleted(): void {
    if (this.#state === 'live' || this.#isFull) this.#closeDeleted()
  }

  /** For the wheel: called once per heartbeat period. */
  visit(): void {
    const nowMs = this.#host.monotonicMs()
    const isStalled = this.#isStalled(nowMs)
    if (this.#state === 'closed') {
      // It was told to end and its peer takes nothing: the second reason destroys the socket.
      if (isStalled) this.sink.close('write-timeout')
      return
    }
    if (isStalled) this.close('write-timeout')
    else if (nowMs >= this.#tokenEndsMs) this.close('token-expired', tokenExpiredBytes)
    else if (nowMs >= this.#deadlineMs) this.close('stream-age')
    else if (this.#hadTraffic || this.#isFull) this.#gotHeartbeat = false
    else {
      this.#gotHeartbeat = true
      this.#beat()
    }
  }

  #beat(): void {
    if (this.sink.write(this.#heartbeat)) return
    if (this.#state === 'live') this.refused(this.channel.dispatched)
    else this.#markFull()
  }

  /** Since the last visit. Marks from the turn of that visit count, because the visit began the turn. */
  get #hadTraffic(): boolean {
    const sinceTurn = this.#host.turn - this.#host.turnsOfPeriod
    return this.#trafficTurn >= sinceTurn || (this.#state === 'live' && this.channel.trafficTurn >= sinceTurn)
  }

  /**
   * Whether the peer has taken nothing for the write timeout although there was something to take. Periods in which nothing
   * was sent do not count; a heartbeat follows each of them, so they cannot hide a dead peer for long.
   */
  #isStalled(nowMs: number): boolean {
    const accepted = this.sink.bytesAccepted
    const wasGiven = this.#isFull || this.#gotHeartbeat || this.#hadTraffic || this.#state === 'closed'
    if (accepted !== this.#bytesAccepted || !wasGiven) {
      this.#bytesAccepted = accepted
      this.#progressMs = nowMs
      return false
    }
    return nowMs - this.#progressMs >= this.#host.writeTimeoutMs
  }

  async #catchUp(): Promise<void> {
    const { channel, sink } = this
    const { frames, pace } = this.#host
    const { key } = channel
    const reader = channel.openReader(this.#host)
    try {
      for (;;) {
        if (this.#isFull) {
          reader.rest()
          await sink.drained()
          if (this.#state !== 'catching-up') return
          if (sink.isClosed) return this.#onSinkClosed()
          this.#isFull = false
          channel.readers += 1
        }
        if (this.#state !== 'catching-up') return
        if (channel.quietSince <= this.#position) {
          this.#tellDropped(this.#position)
          if (this.#tellsCaughtUp) this.#tellCaughtUp()
          // That may have filled or ended the sink.
          if (this.#isFull || this.#state !== 'catching-up') continue
          return this.#arrive()
        }
        if (pace.isSpent) {
          await pace.turn()
          continue
        }
        const position = this.#position
        const piece = frames.find(key, position)
        if (piece !== undefined) {
          this.#take({ kind: 'piece', piece, through: piece.through })
          continue
        }
        const step = await frames.load(key, position, () => reader.read(position))
        // A thousand subscriptions may have waited for the same step.
        while (pace.isSpent && this.#state === 'catching-up') await pace.turn()
        if (this.#state !== 'catching-up') return
        // A heartbeat may have filled the sink in the meantime; the step is read again, or found among the recent frames.
        if (this.#isFull) continue
        assert(this.#position === position, 'only its own reading moves a subscription that catches up')
        this.#take(step)
      }
    } catch (error) {
      this.#host.deliveryFailed(channel, error)
      this.close(error instanceof StorageError ? 'storage-failed' : 'error')
    } finally {
      reader.close()
    }
  }

  /** It has everything that its channel has: it goes live in the same turn in which that was established. */
  #arrive(): void {
    const { channel } = this
    if (channel.gone !== undefined) {
      this.#closeDeleted()
      return
    }
    assert(this.#position <= channel.dispatched, 'nobody is ahead of the log')
    this.#state = 'live'
    channel.readers -= 1
    channel.catchingUp.delete(this)
    channel.live.add(this)
    this.#host.liveChanged(this, true)
  }

  #tellCaughtUp(): void {
    this.#tellsCaughtUp = false
    const json = JSON.stringify({ last_id: formatEventId(this.channel.latest) })
    this.#write(shareBytes(caughtUpEvent(json)))
  }

  #take(step: ReplayStep): void {
    this.#tellDropped(this.#position)
    // That may have ended the sink.
    if (this.#state !== 'catching-up') return
    this.#moveTo(step.through)
    if (step.kind === 'piece') {
      const { events, bytes } = step.piece
      this.#host.eventsSent(this.channel, events, bytes.plain.length)
      this.#write(step.piece.bytes)
    } else if (step.kind === 'gap') {
      this.#tell(step.gap.reason)
    }
  }

  /** Reports what was dropped from a set of topics ahead of `position`, before the position moves past it. */
  #tellDropped(position: Offset): void {
    if (this.#drops === undefined) return
    for (let topic = this.#drops.next(position); topic !== undefined; topic = this.#drops.next(position)) {
      this.#tell('evicted', [topic.id])
    }
  }

  #tell(gapReason: LogGap['reason'], topics?: readonly string[]): void {
    if (this.#state === 'closed') return
    const reason = reasonOfGap[gapReason]
    this.#host.gapTold(this.channel, reason)
    this.#write(shareBytes(...gapBlocks({ requested: undefined, resumesAfter: this.#position, reason, topics })))
  }

  #closeDeleted(): void {
    this.close('topic-deleted', this.channel.closedBytes())
  }

  #write(bytes: SharedBytes): void {
    const wants = this.sink.write(bytes)
    this.#host.pace.spend(bytes.plain.length)
    this.#trafficTurn = this.#host.turn
    if (wants || this.#state === 'closed') return
    if (this.channel.gone !== undefined) this.#closeDeleted()
    else this.#markFull()
  }

  #markFull(): void {
    if (this.#state !== 'catching-up' || this.#isFull) return
    this.#isFull = true
    this.channel.readers -= 1
  }

  #fallBehind(position: Offset): void {
    this.#moveTo(position)
    this.#state = 'catching-up'
    this.channel.live.delete(this)
    this.channel.catchingUp.add(this)
    this.#host.liveChanged(this, false)
  }

  #moveTo(position: Offset): void {
    assert(position >= this.#position, 'positions only grow')
    this.#position = position
  }

  #onSinkClosed(): void {
    if (this.#state !== 'closed') this.#leave('client')
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#host.ended(this)
  }

  #leave(reason: CloseReason): void {
    const { channel } = this
    if (this.#state === 'live') {
      this.#position = channel.dispatched
      channel.live.delete(this)
      this.#host.liveChanged(this, false)
    } else {
      if (!this.#isFull) channel.readers -= 1
      channel.catchingUp.delete(this)
    }
    this.#state = 'closed'
    this.#host.closed(this, reason)
  }
}
