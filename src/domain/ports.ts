/**
 * What the hub needs of the world, as types: a log, numbers, a place for bytes, a clock, and somebody to tell. The
 * engine's Log and Sequencer fit as they are; a log in another process would have to offer no more than this. Knows
 * nothing of HTTP and of files.
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
 * A log of records. The hub relies on this beyond the signatures: commit listeners are called in the order of numbers,
 * before the promises of the appends resolve, and in the turn in which `lastOffset` and `watermark` take their new values;
 * what is appended first gets the lower number. What one `appendAll` was given is in one commit.
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

/** Bytes for sockets; made once for all who get them, and never changed afterwards. */
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
  /** Takes the bytes, always. False: over my bound, send no more until `drained()` resolves. */
  write(bytes: SharedBytes): boolean
  /** Resolves when the sink wants bytes again, and also when it is closed. */
  drained(): Promise<void>
  /** Bytes that the peer's socket has taken so far; only grows. For the write timeout. */
  readonly bytesAccepted: number
  readonly isClosed: boolean
  /**
   * Sends `last` if given, and ends. Idempotent, but for one thing: 'write-timeout' after another reason says that the
   * peer does not take what was sent before the end, and that the socket is to be cut off.
   */
  close(reason: CloseReason, last?: SharedBytes): void
  /** `listener` is called once, when the peer went away or the sink has ended. */
  onClose(listener: () => void): void
}

export interface Clock {
  /** Milliseconds since the epoch: a remark, never an order. */
  wallMs(): number
  /** Milliseconds that never run backwards. */
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

/** The seven metrics of the wire document, by the names that they have there. */
export interface Figures {
  /** Ever: made in this process, read back at its start, or of the configuration. */
  readonly topics: number
  readonly static_topics: number
  /** Now. */
  readonly active_topics: number
  /** Ever, in this process. */
  readonly subscribers: number
  /** Now. */
  readonly active_subscribers: number
  readonly message_received: number
  /** One for every subscriber that an event was handed to. */
  readonly message_sent: number
}

export type FigureName = keyof Figures

/** What the hub tells of itself. Called in the middle of its work: to be quick, and never to throw. */
export interface HubObserver {
  /** A request to publish so many events was kept; the time from its append to its being durable and dispatched. */
  published(events: number, durationMs: number): void
  /** Nothing of a request to publish was kept. `code` is one of the domain's errors. */
  publishFailed(code: string): void
  /** One topic's part of a commit was written to so many live sockets; the time from the commit until all had it. */
  delivered(subscribers: number, bytes: number, latencyMs: number): void
  /** A subscriber that catches up got so many events. */
  replayed(events: number, bytes: number): void
  /** A cursor has read a piece of a topic for those who catch up. */
  replayRead(bytes: number): void
  /** So many more, or fewer, subscribers are live and not catching up. */
  liveChanged(change: number): void
  /** So many events were dropped: a limit, a purge, or the bound on the log in memory. */
  eventsDropped(events: number): void
  /** One of the figures has changed by `change`, which is not zero. */
  figureChanged(name: FigureName, change: number): void
  /** A stream was ended, or its client has left. */
  streamEnded(topicId: string, reason: CloseReason): void
  /** A subscriber was told that events may be missing. */
  gapTold(topicId: string, reason: string): void
  /** A stream, or the live delivery of one topic, failed; its subscribers were cut off and may resume. */
  deliveryFailed(topicId: string, error: unknown): void
  /** The catalogue of topics was read over a damaged range: topics and deletions in it are missing. */
  catalogDamaged(gap: LogGap): void
  /** A checkpoint was whole, but not of a form that this version reads; the log was read instead. */
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
