/**
 * Publishing: one event, a list, or whatever a source yields. Retries carry the idempotency key of the first attempt, so that
 * nothing is published twice.
 */

import { type CallOptions, type Connection, memberOf } from './connection.ts'
import { SserError } from './errors.ts'
import { type BatchLimits, inBatches } from './in-batches.ts'
import { pause } from './pause.ts'

export interface NewEvent {
  /** Any JSON value. A string reaches subscribers unchanged, everything else as JSON. */
  readonly message: unknown
  readonly type?: string
  /** The publisher's own id, up to 256 bytes. */
  readonly id?: string
  /** Identifies repeats of the event, which publish nothing for two minutes: up to 256 bytes. */
  readonly dedupe?: string
}

export interface PublishedEvent {
  /** The server's number. */
  readonly id: string
}

export interface RepeatOptions extends CallOptions {
  /**
   * How often a call is retried that got no answer, or one that says to try later (408, 429, 500, 502, 503, 504). Retries publish
   * nothing twice. 0 by default.
   */
  readonly retries?: number
}

export interface PublishOptions extends RepeatOptions {
  /**
   * The server's id of what should be the topic's newest event, `00000000000` for none: if it is a different one, nothing is
   * published, and the call rejects with status 409 and `details.last_id`.
   */
  readonly expectedLastId?: string
  /**
   * Identifies repeats, which get the answer of the first one; the same key with other events rejects with status 422. With
   * `retries`, a random one is used by default; pass your own to be able to retry after a crash of your program.
   */
  readonly idempotencyKey?: string
}

const PASSING_STATUSES: ReadonlySet<number | undefined> = new Set([408, 429, 500, 502, 503, 504])
const RETRY_MS = 250
const RETRY_MS_MAX = 10_000
/** Events that arrive during a call go out together, up to these limits; sizes in UTF-16 units. */
const BATCH: Readonly<BatchLimits> = { itemsMax: 1_000, sizeMax: 256 * 1024 }

export async function publishOne(
  connection: Connection,
  path: string,
  event: NewEvent,
  { expectedLastId, ...options }: PublishOptions,
): Promise<PublishedEvent> {
  const body = await post(connection, path, JSON.stringify({ event, expected_last_id: expectedLastId }), options)
  return memberOf<PublishedEvent>(body, 'event')
}

export async function publishList(
  connection: Connection,
  path: string,
  events: readonly NewEvent[],
  { expectedLastId, ...options }: PublishOptions,
): Promise<readonly PublishedEvent[]> {
  if (events.length === 0) return []
  const body = await post(connection, path, JSON.stringify({ events, expected_last_id: expectedLastId }), options)
  return memberOf<readonly PublishedEvent[]>(body, 'events')
}

/** In separate requests rather than one streamed request: that works over any protocol, and can be retried. */
export async function* publishSource(
  connection: Connection,
  path: string,
  source: AsyncIterable<NewEvent> | Iterable<NewEvent>,
  options: RepeatOptions,
): AsyncGenerator<readonly PublishedEvent[], void, void> {
  const limits = { ...BATCH }
  for await (const texts of inBatches(inJson(source), ({ length }) => length, limits, options.signal)) {
    yield* publishTexts(connection, path, texts, limits, options)
  }
}

/** A server with lower limits than ours says so, and gets smaller batches from then on. */
async function* publishTexts(
  connection: Connection,
  path: string,
  texts: readonly string[],
  limits: BatchLimits,
  options: RepeatOptions,
): AsyncGenerator<readonly PublishedEvent[], void, void> {
  // A single event uses the form that the original server also understands.
  const isAlone = texts.length === 1
  const json = isAlone ? `{"event":${texts[0]}}` : `{"events":[${texts}]}`
  let body: unknown
  try {
    body = await post(connection, path, json, options)
  } catch (error) {
    if (isAlone || !(error instanceof SserError) || error.status !== 413) throw error
    limits.itemsMax = Math.min(limits.itemsMax, texts.length >> 1)
    limits.sizeMax = Math.min(limits.sizeMax, json.length >> 1)
    yield* publishTexts(connection, path, texts.slice(0, texts.length >> 1), limits, options)
    yield* publishTexts(connection, path, texts.slice(texts.length >> 1), limits, options)
    return
  }
  yield isAlone ? [memberOf<PublishedEvent>(body, 'event')] : memberOf<readonly PublishedEvent[]>(body, 'events')
}

async function* inJson(source: AsyncIterable<NewEvent> | Iterable<NewEvent>): AsyncGenerator<string> {
  for await (const event of source) yield JSON.stringify(event)
}

async function post(
  connection: Connection,
  path: string,
  json: string,
  { retries = 0, idempotencyKey, signal }: Omit<PublishOptions, 'expectedLastId'>,
): Promise<unknown> {
  const key = idempotencyKey ?? (retries > 0 ? randomKey() : undefined)
  const headers: Record<string, string> = key === undefined ? {} : { 'idempotency-key': quoted(key) }
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await connection.call('POST', path, json, signal === undefined ? {} : { signal }, headers)
    } catch (error) {
      if (attempt >= retries || !(error instanceof SserError) || !isPassing(error)) throw error
      const grownMs = Math.min(RETRY_MS_MAX, RETRY_MS * 2 ** attempt)
      await pause(Math.max(error.retryAfterMs, grownMs * (0.5 + Math.random() / 2)), signal)
    }
  }
}

function isPassing({ code, status }: SserError): boolean {
  return code === 'SSER_UNREACHABLE' || (code === 'SSER_REFUSED' && PASSING_STATUSES.has(status))
}

function randomKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** As a string of RFC 9651. */
function quoted(key: string): string {
  return `"${key.replace(/["\\]/g, '\\$&')}"`
}
