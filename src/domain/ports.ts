/**
 * What the hub needs from outside, as types: logs, numbers, sinks for bytes, a clock and an observer. The engine's Log and
 * Sequencer fit as they are; a log in another process would have to offer no more than this. Knows nothing of HTTP or
 * files.
 */

import type { Log, LogGap, Sequencer } from '../../storage-engine/index.ts'

export type {
  CompactionJudge,
  Cursor,
  CursorStep,
  LogGap,
  LogRecord,
  NewRecord,
  Offset,
  PayloadWriter,
  StreamTotals,
} from '../../storage-engine/index.ts'

/**
 * A log of records. The hub relies on more than the signatures: commit listeners are called in ascending order of numbers,
 * before the promises of the appends resolve, and in the same turn in which `lastOffset` and `watermark` change; records
 * appended earlier get lower numbers; everything passed to one `appendAll` is in one commit.
 */
export type EventLog = Pick<
  Log,
  | 'status'
  | 'lastOffset'
  | 'watermark'
  | 'skippedRanges'
  | 'room'
  | 'append'
  | 'appendAll'
  | 'onCommit'
  | 'onSettled'
  | 'onFail'
  | 'onEvict'
  | 'cursor'
  | 'backward'
  | 'findKey'
  | 'findTime'
  | 'postings'
  | 'streamTotals'
  | 'loadCheckpoint'
  | 'saveCheckpoint'
>

/** Gives the numbers of both logs. */
export type NumberSource = Pick<Sequencer, 'take' | 'next' | 'firstOfThisStart'>

/** Bytes for sockets, made once for all receivers and never modified afterwards. */
export interface SharedBytes {
  /** The bytes of the event stream alone. */
  readonly plain: Uint8Array
  /** The same within one HTTP/1.1 chunk. Both are views of one buffer. */
  readonly chunked: Uint8Array
}

export type CloseReason =
  | 'client'
  | 'topic-deleted'
  | 'token-revoked'
  | 'token-expired'
  | 'stream-age'
  | 'write-timeout'
  | 'stopping'
  | 'error'
  | 'storage-failed'

/** Where a subscription's bytes go. */
export interface Sink {
  /** Always takes the bytes. False: the sink is over its bound; write nothing more until `drained()` resolves. */
  write(bytes: SharedBytes): boolean
  /** Resolves when the sink is ready for more, and also when it is closed. */
  drained(): Promise<void>
  /** Bytes that the peer's socket has accepted so far; only grows. For the write timeout. */
  readonly bytesAccepted: number
  readonly isClosed: boolean
  /**
   * Sends `last` if given, then ends. Idempotent, with one exception: 'write-timeout' after another reason means that the
   * peer is not taking what was sent before the end, so the socket is destroyed.
   */
  close(reason: CloseReason, last?: SharedBytes): void
  /** `listener` is called once, when the peer has gone away or the sink has ended. */
  onClose(listener: () => void): void
}

export interface Clock {
  /** Milliseconds since the epoch: informative only, never used for ordering. */
  wallMs(): number
  /** Milliseconds that never go backwards. */
  monotonicMs(): number
  /** Calls `task` about every `intervalMs` until closed. Does not keep the process alive. */
  every(intervalMs: number, task: () => void): { close(): void }
}

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  every(intervalMs, task) {
    const timer = setInterval(task, intervalMs)
    timer.unref()
    return { close: () => clearInterval(timer) }
  },
}

/** The seven metrics of the wire protocol, under the names that they have there. */
export interface Figures {
  /** In total: created in this process, loaded at its start, or configured. */
  readonly topics: number
  readonly static_topics: number
  /** Now. */
  readonly active_topics: number
  /** In total, in this process. */
  readonly subscribers: number
  /** Now. */
  readonly active_subscribers: number
  readonly message_received: number
  /** One for each subscriber that an event was delivered to. */
  readonly message_sent: number
}

export type FigureName = keyof Figures

/** What the hub reports about itself. Called in the middle of its work, so it must be quick and never throw. */
export interface HubObserver {
  /** A publish request of this many events was stored; the time from its append until it was durable and dispatched. */
  published(events: number, durationMs: number): void
  /** Nothing of a publish request was stored. `code` is one of the domain's error codes. */
  publishFailed(code: string): void
  /** One topic's share of a commit was written to this many live sockets; the time from the commit until all were served. */
  delivered(subscribers: number, bytes: number, latencyMs: number): void
  /** A subscriber that is catching up received this many events. */
  replayed(events: number, bytes: number): void
  /** A cursor read a piece of a topic for subscribers that are catching up. */
  replayRead(bytes: number): void
  /** This many more, or fewer, subscribers are live rather than catching up. */
  liveChanged(change: number): void
  /** This many events were dropped: by a limit, a purge, or the bound on the in-memory log. */
  eventsDropped(events: number): void
  /** One of the figures has changed by `change`, which is not zero. */
  figureChanged(name: FigureName, change: number): void
  /** A stream was ended, or its client has left. */
  streamEnded(topicId: string, reason: CloseReason): void
  /** A subscriber was told that events may be missing. */
  gapTold(topicId: string, reason: string): void
  /** A stream, or the live delivery of one topic, failed; its subscribers were cut off and may resume. */
  deliveryFailed(topicId: string, error: unknown): void
  /** The catalogue was read across a damaged range: topics and deletions in it are missing. */
  catalogDamaged(gap: LogGap): void
  /** A checkpoint was intact, but in a form that this version cannot read; the log was read instead. */
  checkpointRefused(reason: string): void
}

export const silentHubObserver: HubObserver = {
  published() {},
  publishFailed() {},
  delivered() {},
  replayed() {},
  replayRead() {},
  liveChanged() {},
  eventsDropped() {},
  figureChanged() {},
  streamEnded() {},
  gapTold() {},
  deliveryFailed() {},
  catalogDamaged() {},
  checkpointRefused() {},
}
