/**
 * What the log keeps about a publish that must happen only once: a record in a separate stream, in the same batch as the
 * events and right behind them, so that after a crash it exists exactly when they do. Part of the log's format; JSON in
 * UTF-8:
 *
 *   v        1
 *   topic    its number
 *   events   how many events of the same batch are right before this record: the fresh ones
 *   request  if the request had a key: `key`, the first 16 bytes of its SHA-256 in hex; `body`, the same for the body;
 *            `answer`, the numbers in the response, in order, as runs: [index, count] of fresh events, or
 *            [null, count, number] of events published earlier
 *   dedupe   for fresh events that had a key: [index, the first 16 bytes of its SHA-256] each
 *
 * Records die of age: see `publish-once.ts`. Bytes not of this form are reported as an EntryError.
 */

import { EntryError } from './entry.ts'
import type { Offset } from './ports.ts'

/** The stream of these records. No topic has a number this low. */
export const PUBLISH_KEY_STREAM = 3
export const PUBLISH_KEYS = 10

/** Consecutive numbers: of fresh events, counted from 0, or of the log. */
export interface AnswerRun {
  readonly isFresh: boolean
  readonly first: number
  readonly count: number
}

/** Keys and bodies by the first 16 bytes of their SHA-256, in hex. */
export interface PublishKeys {
  readonly topic: number
  readonly events: number
  readonly request: { readonly key: string; readonly body: string; readonly answer: readonly AnswerRun[] } | undefined
  readonly dedupe: readonly { readonly index: number; readonly key: string }[]
}

const VERSION = 1
const HASH = /^[0-9a-f]{32}$/
const utf8 = new TextEncoder()
const strictUtf8 = new TextDecoder('utf-8', { fatal: true })

export function encodePublishKeys({ topic, events, request, dedupe }: PublishKeys): Uint8Array {
  const answer = request?.answer.map(({ isFresh, first, count }) => (isFresh ? [first, count] : [null, count, first]))
  return utf8.encode(
    JSON.stringify({
      v: VERSION,
      topic,
      events,
      request: request && { key: request.key, body: request.body, answer },
      dedupe: dedupe.length === 0 ? undefined : dedupe.map(({ index, key }) => [index, key]),
    }),
  )
}

/** Throws EntryError. */
export function decodePublishKeys(payload: Uint8Array): PublishKeys {
  const fields = fieldsOf(payload)
  const { v, topic, events, request, dedupe = [] } = fields
  if (typeof v === 'number' && v > VERSION) {
    throw new EntryError('ENTRY_NEWER', `The payload of publish keys has version ${v}; this program reads version 1.`)
  }
  if (v !== VERSION || !isNumber(topic) || !isNumber(events) || !Array.isArray(dedupe)) throw malformed()
  return {
    topic,
    events,
    request: request === undefined ? undefined : requestOf(request),
    dedupe: dedupe.map((item: unknown) => {
      if (!Array.isArray(item)) throw malformed()
      const [index, key] = item as readonly unknown[]
      if (!isNumber(index) || index >= events || !isHash(key)) throw malformed()
      return { index, key }
    }),
  }
}

/** The answer in log numbers, given the number of the record: its fresh events are right before it. */
export function numberedRuns({ events, request }: PublishKeys, offset: Offset): readonly AnswerRun[] {
  const runs = request?.answer ?? []
  return runs.map((run) => (run.isFresh ? { ...run, isFresh: false, first: offset - events + run.first } : run))
}

function requestOf(value: unknown): NonNullable<PublishKeys['request']> {
  if (typeof value !== 'object' || value === null) throw malformed()
  const { key, body, answer } = value as { readonly key?: unknown; readonly body?: unknown; readonly answer?: unknown }
  if (!isHash(key) || !isHash(body) || !Array.isArray(answer)) throw malformed()
  return { key, body, answer: answer.map(runOf) }
}

function runOf(value: unknown): AnswerRun {
  if (!Array.isArray(value)) throw malformed()
  const [index, count, number] = value as readonly unknown[]
  const first = index === null ? number : index
  if (!isNumber(first) || !isNumber(count)) throw malformed()
  return { isFresh: index !== null, first, count }
}

interface Fields {
  readonly v?: unknown
  readonly topic?: unknown
  readonly events?: unknown
  readonly request?: unknown
  readonly dedupe?: unknown
}

function fieldsOf(payload: Uint8Array): Fields {
  let fields: unknown
  try {
    fields = JSON.parse(strictUtf8.decode(payload))
  } catch (error) {
    throw malformed(error)
  }
  if (typeof fields !== 'object' || fields === null) throw malformed()
  return fields
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function isHash(value: unknown): value is string {
  return typeof value === 'string' && HASH.test(value)
}

function malformed(cause?: unknown): EntryError {
  return new EntryError('ENTRY_MALFORMED', 'The payload of publish keys does not have the form that is known.', cause)
}
