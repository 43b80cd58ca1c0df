// A record of the log, or a finding of its inspection, as a JSON object on one line. Promises never to include a token's hash.
// Knows what the records mean, and nothing of where the lines go.

import { CATALOG_STREAM, ENGINE_STREAM, type Finding, type LogRecord } from '../../storage-engine/index.ts'
import {
  decodeEvent,
  decodeEventsDropped,
  decodeTicketUsed,
  decodeTokenIssued,
  decodeTokenRevoked,
  decodeTopicChanged,
  decodeTopicCreated,
  decodeTopicDeleted,
  EntryError,
  EVENT_PUBLISHED,
  EVENTS_DROPPED,
  TICKET_ISSUED,
  TICKET_STREAM,
  TICKET_USED,
  TOKEN_ISSUED,
  TOKEN_REVOKED,
  TOPIC_CHANGED,
  TOPIC_CREATED,
  TOPIC_DELETED,
  type TopicSettings,
} from '../domain/entry.ts'
import { formatEventId } from '../domain/event-id.ts'
import { decodePublishKeys, PUBLISH_KEY_STREAM, PUBLISH_KEYS } from '../domain/publish-key-entry.ts'

const TIME_MS_MAX = 8.64e15

/** The line for a record, without its line end. */
export function recordLine(record: LogRecord, withPayloads: boolean): string {
  const fields: Record<string, unknown> = { id: formatEventId(record.offset) }
  let messageText: string | undefined
  try {
    messageText = describe(record, fields, withPayloads)
  } catch (error) {
    if (!(error instanceof EntryError)) throw error
    fields['malformed'] = error.message
  }
  const line = JSON.stringify(fields)
  // As it was published: numbers that JavaScript cannot represent are preserved.
  return messageText === undefined ? line : `${line.slice(0, -1)},"message":${messageText}}`
}

/** Fills in the fields; returns the message as JSON, if it is to be shown. */
function describe(record: LogRecord, fields: Record<string, unknown>, withPayloads: boolean): string | undefined {
  const { streamId, kind, payload } = record
  const time = formatTime(record.timeMs)
  if (streamId === ENGINE_STREAM) {
    const bytes = Buffer.from(payload)
    // Two u64: the range of numbers that this start skipped.
    const [from, to] = [0, 8].map((at) => (bytes.length < 16 ? 0 : Number(bytes.readBigUInt64LE(at))))
    Object.assign(fields, { topic: null, kind: 'start', time, skipped_from: id(from ?? 0), skipped_to: id(to ?? 0) })
    return undefined
  }
  if (streamId === CATALOG_STREAM) {
    Object.assign(fields, { topic: null, kind: CATALOG_KINDS.get(kind) ?? 'unknown', time })
    describeCatalogEntry(record, fields)
    return undefined
  }
  if (streamId === TICKET_STREAM) {
    Object.assign(fields, { topic: null, kind: TICKET_KINDS.get(kind) ?? 'unknown', time })
    if (kind === TICKET_USED) {
      const { ticket, isOpen } = decodeTicketUsed(payload)
      Object.assign(fields, { ticket: id(ticket), open: isOpen })
    }
    return undefined
  }
  if (streamId === PUBLISH_KEY_STREAM) {
    const { topic, events } =
      kind === PUBLISH_KEYS ? decodePublishKeys(payload) : { topic: undefined, events: undefined }
    const whose = topic === undefined ? null : id(topic)
    Object.assign(fields, { topic: whose, kind: kind === PUBLISH_KEYS ? 'publish-keys' : 'unknown', time, events })
    return undefined
  }
  Object.assign(fields, { topic: id(streamId), kind: kind === EVENT_PUBLISHED ? 'event' : 'unknown', time })
  if (kind !== EVENT_PUBLISHED) return undefined
  const { isString, type, message } = decodeEvent(payload)
  if (type.length > 0) fields['type'] = textOf(type)
  if (record.key.length > 0) fields['publisher_id'] = textOf(record.key)
  if (!withPayloads) {
    fields['message_bytes'] = message.length
    return undefined
  }
  return isString ? JSON.stringify(textOf(message)) : jsonOf(textOf(message))
}

const CATALOG_KINDS: ReadonlyMap<number, string> = new Map([
  [TOPIC_CREATED, 'topic-created'],
  [TOPIC_CHANGED, 'topic-changed'],
  [TOPIC_DELETED, 'topic-deleted'],
  [EVENTS_DROPPED, 'events-dropped'],
  [TOKEN_ISSUED, 'token-issued'],
  [TOKEN_REVOKED, 'token-revoked'],
])
const TICKET_KINDS: ReadonlyMap<number, string> = new Map([
  [TICKET_ISSUED, 'ticket-issued'],
  [TICKET_USED, 'ticket-used'],
])

function describeCatalogEntry({ kind, offset, payload }: LogRecord, fields: Record<string, unknown>): void {
  switch (kind) {
    case TOPIC_CREATED: {
      // Even of an unreadable entry it is known which topic it created.
      fields['topic'] = id(offset)
      Object.assign(fields, settingsJson(decodeTopicCreated(payload)))
      break
    }
    case TOPIC_CHANGED: {
      const { topic, ...settings } = decodeTopicChanged(payload)
      Object.assign(fields, { topic: id(topic), ...settingsJson(settings) })
      break
    }
    case TOPIC_DELETED:
      fields['topic'] = id(decodeTopicDeleted(payload).topic)
      break
    case EVENTS_DROPPED: {
      const { topic, through } = decodeEventsDropped(payload)
      Object.assign(fields, { topic: id(topic), through: id(through) })
      break
    }
    case TOKEN_ISSUED: {
      const { topic, token } = decodeTokenIssued(payload)
      const { rights, label, expiresAtMs } = token
      const expires = expiresAtMs === undefined ? undefined : formatTime(expiresAtMs)
      Object.assign(fields, { topic: id(topic), rights, label, expires_at: expires })
      break
    }
    case TOKEN_REVOKED: {
      const { topic, token } = decodeTokenRevoked(payload)
      Object.assign(fields, { topic: id(topic), token: id(token) })
    }
  }
}

/** Omits what was not given. */
function settingsJson({ name, retention }: TopicSettings) {
  const { maxAgeMs, maxBytes, maxEvents } = retention
  const limits = { max_age_ms: maxAgeMs, max_bytes: maxBytes, max_events: maxEvents }
  const isLimited = Object.values(limits).some((limit) => limit !== undefined)
  return { name, retention: isLimited ? limits : undefined }
}

/** The text if it is JSON; otherwise reports the entry as malformed. */
function jsonOf(text: string): string {
  try {
    JSON.parse(text)
    // The only line breaks in compact JSON are those around its values.
    return text.replace(/[\r\n]/g, ' ')
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    throw new EntryError('ENTRY_MALFORMED', 'The message is not JSON, though its entry says so.', error)
  }
}

/** A finding for programs. `through` null: everything above. */
export function findingJson(finding: Finding): Readonly<Record<string, unknown>> {
  const { kind, file, position, bytes, reason, after, through, lost } = finding
  const base = { kind, file, position, bytes, reason }
  if (through === after) return base
  return {
    ...base,
    after: id(after),
    through: through === undefined ? null : id(through),
    ...(lost !== undefined && {
      lost: lost.map(({ streamId, offset }) => ({ topic: topicOf(streamId), id: id(offset) })),
    }),
  }
}

/** Null: not a topic, but the log itself, the catalogue, the tickets or the publishers' keys. */
export function topicOf(streamId: number): string | null {
  return streamId <= PUBLISH_KEY_STREAM ? null : id(streamId)
}

/** RFC 3339 in UTC, or null where the time is out of range. */
export function formatTime(timeMs: number): string | null {
  return timeMs <= TIME_MS_MAX ? new Date(timeMs).toISOString() : null
}

function id(number: number): string {
  return formatEventId(Math.min(number, Number.MAX_SAFE_INTEGER))
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
}
