/**
 * The events of a topic, or of several, as an async iterator that outlives its connections: when one ends, the next resumes
 * after the last complete block, following a growing, jittered pause. It reads from the network only when its consumer asks
 * for more, so a slow consumer costs the memory of one piece of the stream, while the server keeps the rest in its log.
 */

import { createDecoder, SseDecodeError } from '../sse/decode.ts'
import type { Connection } from './connection.ts'
import { unwrap } from './envelope.ts'
import { isRecord, refusal, SserError } from './errors.ts'
import { pause } from './pause.ts'
import { retryAfterMs } from './retry-after.ts'

export interface SubscribeOptions {
  /** Resume after this: the `cursor` of an item, or any id from the server. */
  readonly lastEventId?: string
  /** Without `lastEventId`: start at the earliest event kept, or at a time. Without either: with the next event. */
  readonly since?: 'earliest' | Date
  /** Ends the iteration, which then throws the signal's reason. */
  readonly signal?: AbortSignal
  /** A connection that delivers nothing for this long, not even a heartbeat, is considered broken. 45 s by default. */
  readonly silenceMsMax?: number
  /** The longest pause between two attempts. 30 s by default. */
  readonly retryMsMax?: number
  /** The largest event accepted, in bytes. 64 MiB by default. */
  readonly eventBytesMax?: number
}

export interface ReceivedEvent {
  readonly kind: 'event'
  /** The id of its topic, in a subscription to several. */
  readonly topic?: string
  /** The publisher's own id where there is one, the server's otherwise. */
  readonly id: string
  /** `message` where the publisher gave none. */
  readonly type: string
  readonly data: string
  /** To be stored once the event is processed, and passed as `lastEventId` later. */
  readonly cursor: string
}

/** Events may be missing between the previous item and the next. */
export interface ReceivedGap {
  readonly kind: 'gap'
  /** For humans. */
  readonly reason: string
  /** In a subscription to several topics: the ids of those that may be missing events; absent: possibly any. */
  readonly topics?: readonly string[]
  readonly cursor: string
}

export type ReceivedItem = ReceivedEvent | ReceivedGap

const SILENCE_MS_MAX = 45_000
const RETRY_MS_AT_FIRST = 2_000
const RETRY_MS_MAX = 30_000
const EVENT_BYTES_MAX = 64 * 1024 * 1024
/** Further attempts do not make the pause longer. */
const DOUBLINGS_MAX = 10
const OWN_TYPES = 'sser.'
const GAP_TYPE = 'sser.gap'
const CLOSED_DATA = '{"status": "closed"}'
/** Asking again would get the same answer. */
const FINAL_STATUSES: ReadonlySet<number> = new Set([400, 401, 403, 404, 406, 410])

/** What to request. */
export interface Source {
  /** Relative to the server's API. */
  readonly path: string
  /** Whether events come in an envelope that names their topic. */
  readonly isEnveloped: boolean
}

/**
 * Ends when its only topic is deleted; with several topics, the next attempt is refused with 404. Throws an SserError where the
 * server refuses the stream for good (400, 401, 403, 404); everything else is retried. Leaving the loop ends the connection.
 */
export async function* subscribe(
  connection: Connection,
  source: Source,
  options: SubscribeOptions,
): AsyncGenerator<ReceivedItem, void, void> {
  const { signal, since, retryMsMax = RETRY_MS_MAX } = options
  const state: StreamState = { cursor: options.lastEventId ?? '', retryMs: RETRY_MS_AT_FIRST, isDeleted: false }
  const from = since instanceof Date ? since.toISOString() : since
  let failures = 0
  for (;;) {
    signal?.throwIfAborted()
    let waitMs = 0
    const query = state.cursor === '' && from !== undefined ? { since: from } : undefined
    try {
      for await (const items of receive(connection, source, query, state, options)) {
        failures = 0
        for (const item of items) {
          yield item
          signal?.throwIfAborted()
        }
      }
      if (state.isDeleted) return
    } catch (error) {
      signal?.throwIfAborted()
      if (!(error instanceof Interruption)) throw error
      failures += 1
      waitMs = error.waitMs
    }
    const grown = Math.min(retryMsMax, state.retryMs * 2 ** Math.min(Math.max(0, failures - 1), DOUBLINGS_MAX))
    await pause(Math.max(waitMs, grown * (0.5 + Math.random() / 2)), signal)
  }
}

/** State carried from one connection to the next. */
interface StreamState {
  cursor: string
  retryMs: number
  isDeleted: boolean
}

/** This attempt is over; the next one may succeed. */
class Interruption extends Error {
  readonly waitMs: number

  constructor(waitMs: number, cause?: unknown) {
    super('The stream was interrupted.', { cause })
    this.waitMs = waitMs
  }
}

/** One connection, piece by piece. Throws an Interruption, or a final error. */
async function* receive(
  connection: Connection,
  { path, isEnveloped }: Source,
  query: Readonly<Record<string, string>> | undefined,
  state: StreamState,
  { signal, silenceMsMax = SILENCE_MS_MAX, eventBytesMax = EVENT_BYTES_MAX }: SubscribeOptions,
): AsyncGenerator<readonly ReceivedItem[]> {
  const attempt = new AbortController()
  const giveUp = () => attempt.abort(signal?.reason)
  signal?.addEventListener('abort', giveUp, { once: true })
  let silence: ReturnType<typeof setTimeout> | undefined
  const heard = () => {
    clearTimeout(silence)
    silence = setTimeout(() => attempt.abort(new Interruption(0)), silenceMsMax)
  }
  try {
    heard()
    const response = await opened(connection, withQuery(path, query), state, attempt.signal)
    if (response === undefined) return
    const reader = response.getReader()
    const { feed } = itemDecoder(state, isEnveloped, eventBytesMax)
    for (;;) {
      heard()
      const { value, done } = await reader.read()
      // Time spent by the consumer is not the server's silence.
      clearTimeout(silence)
      if (done) return
      const items = feed(value)
      if (items.length > 0) yield items
    }
  } catch (error) {
    if (error instanceof SserError && error.code !== 'SSER_UNREACHABLE') throw error
    if (error instanceof SseDecodeError) throw new SserError('SSER_PROTOCOL', error.message, { cause: error })
    throw error instanceof Interruption ? error : new Interruption(0, error)
  } finally {
    clearTimeout(silence)
    signal?.removeEventListener('abort', giveUp)
    attempt.abort()
  }
}

/** The stream's bytes; undefined where the server says that there will be no more. */
async function opened(
  connection: Connection,
  path: string,
  state: StreamState,
  signal: AbortSignal,
): Promise<ReadableStream<Uint8Array> | undefined> {
  const headers: Record<string, string> = { accept: 'text/event-stream' }
  // The server decodes a header's bytes as UTF-8, while fetch expects one character per byte.
  if (state.cursor !== '') headers['last-event-id'] = String.fromCharCode(...new TextEncoder().encode(state.cursor))
  const response = await connection.send(path, { method: 'GET', headers, signal })
  if (response.status === 204) {
    state.isDeleted = true
    return undefined
  }
  if (FINAL_STATUSES.has(response.status)) throw await refusal(response)
  if (!response.ok || response.body === null) {
    await response.body?.cancel()
    throw new Interruption(retryAfterMs(response.headers.get('retry-after'), Date.now()))
  }
  const type = response.headers.get('content-type') ?? ''
  if (type.startsWith('text/event-stream')) return response.body
  await response.body.cancel()
  throw new SserError('SSER_PROTOCOL', `The answer is ${type || 'of no type'}, not text/event-stream.`, {
    status: response.status,
  })
}

/** Turns pieces of the stream into items, and keeps the state up to date. */
function itemDecoder(state: StreamState, isEnveloped: boolean, eventBytesMax: number) {
  let items: (ReceivedItem & { cursor: string })[] = []
  const decoder = createDecoder({
    bufferBytesMax: eventBytesMax,
    lastEventId: state.cursor,
    onRetry: (delayMs) => {
      state.retryMs = delayMs
    },
    onId: (id, alone) => {
      state.cursor = id
      // After an event with a publisher's id, and after a gap, its number follows in a block of its own: resuming from the number
      // is exact.
      const last = items.at(-1)
      if (alone && last !== undefined) last.cursor = id
    },
    onEvent: ({ type, data, lastEventId }, namesId) => {
      if (type === GAP_TYPE) items.push({ kind: 'gap', ...gapOf(data), cursor: lastEventId })
      // The server's other events are not events of the topic, although one of them has an id.
      else if (namesId && !type.startsWith(OWN_TYPES))
        items.push({ kind: 'event', ...eventOf(data, lastEventId, isEnveloped), type, cursor: lastEventId })
      else if (data === CLOSED_DATA) state.isDeleted = true
    },
  })
  return {
    feed(bytes: Uint8Array): readonly ReceivedItem[] {
      items = []
      decoder.feed(bytes)
      return items
    },
  }
}

function eventOf(data: string, id: string, isEnveloped: boolean): Pick<ReceivedEvent, 'id' | 'data' | 'topic'> {
  if (!isEnveloped) return { id, data }
  const { topic, publisherId, data: message } = unwrap(data)
  return { topic, id: publisherId ?? id, data: message }
}

function gapOf(data: string): Pick<ReceivedGap, 'reason' | 'topics'> {
  try {
    const gap: unknown = JSON.parse(data)
    if (isRecord(gap) && typeof gap['reason'] === 'string') {
      const { reason, topics } = gap
      return { reason: String(reason), ...(Array.isArray(topics) ? { topics: topics.map(String) } : {}) }
    }
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
  }
  return { reason: data }
}

function withQuery(path: string, query: Readonly<Record<string, string>> | undefined): string {
  if (query === undefined) return path
  return `${path}${path.includes('?') ? '&' : '?'}${new URLSearchParams(query)}`
}
