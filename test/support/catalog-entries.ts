/** Entries of the catalogue as the log hands them out, for tests that fold them without a log. */

import {
  EVENTS_DROPPED,
  encodeEventsDropped,
  encodeTokenIssued,
  encodeTokenRevoked,
  encodeTopicChanged,
  encodeTopicCreated,
  encodeTopicDeleted,
  TOKEN_ISSUED,
  TOKEN_REVOKED,
  TOPIC_CHANGED,
  TOPIC_CREATED,
  TOPIC_DELETED,
} from '../../src/domain/entry.ts'
import type { LogRecord } from '../../src/domain/ports.ts'
import { unlimited } from '../../src/domain/retention.ts'
import { hashToken } from '../../src/domain/token.ts'

export const tokenSha256 = hashToken('token')

export function entry(offset: number, kind: number, payload: Uint8Array): LogRecord {
  return { offset, streamId: 1, kind, length: 40 + payload.length, timeMs: 0, key: new Uint8Array(0), payload }
}

export function created(offset: number): LogRecord {
  const fields = { tokenSha256, name: 'n', retention: unlimited, createdAtMs: offset }
  return entry(offset, TOPIC_CREATED, encodeTopicCreated(fields))
}

export function changed(offset: number, topic: number, name: string): LogRecord {
  return entry(offset, TOPIC_CHANGED, encodeTopicChanged({ topic, name, retention: unlimited }))
}

export function dropped(offset: number, topic: number, through: number): LogRecord {
  return entry(offset, EVENTS_DROPPED, encodeEventsDropped({ topic, through }))
}

export function issued(offset: number, topic: number): LogRecord {
  const token = {
    rights: ['subscribe'],
    label: undefined,
    expiresAtMs: undefined,
    sha256: tokenSha256,
    createdAtMs: 0,
  } as const
  return entry(offset, TOKEN_ISSUED, encodeTokenIssued({ topic, token }))
}

export function revoked(offset: number, topic: number, token: number): LogRecord {
  return entry(offset, TOKEN_REVOKED, encodeTokenRevoked({ topic, token }))
}

export function deleted(offset: number, topic: number): LogRecord {
  return entry(offset, TOPIC_DELETED, encodeTopicDeleted({ topic }))
}
