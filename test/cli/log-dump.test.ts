/** What `sser log dump` prints of tokens and tickets: what they are for, and never a hash. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { recordLine, topicOf } from '../../src/cli/log-dump.ts'
import {
  CATALOG_STREAM,
  encodeTicketIssued,
  encodeTicketUsed,
  encodeTokenIssued,
  encodeTokenRevoked,
  TICKET_ISSUED,
  TICKET_STREAM,
  TICKET_USED,
  TOKEN_ISSUED,
  TOKEN_REVOKED,
} from '../../src/domain/entry.ts'
import { formatEventId } from '../../src/domain/event-id.ts'
import { encodePublishKeys, PUBLISH_KEY_STREAM, PUBLISH_KEYS } from '../../src/domain/publish-key-entry.ts'
import { hashToken } from '../../src/domain/token.ts'

const sha256 = hashToken('a secret')
const time = '2026-11-24T10:11:12.123Z'

function lineOf(streamId: number, kind: number, payload: Uint8Array): Record<string, unknown> {
  const timeMs = Date.parse(time)
  const line = recordLine({ offset: 99, streamId, kind, length: 40, timeMs, key: new Uint8Array(0), payload }, true)
  assert.ok(!line.includes(Buffer.from(sha256).toString('hex')), line)
  return JSON.parse(line) as Record<string, unknown>
}

test('a token is printed with its topic, rights, label and end, a revocation with the id of its token', () => {
  const expiresAtMs = Date.parse(time)
  const token = { sha256, rights: ['publish'] as const, label: 'press', createdAtMs: 5, expiresAtMs }
  const issued = lineOf(CATALOG_STREAM, TOKEN_ISSUED, encodeTokenIssued({ topic: 7, token }))
  const of = { id: formatEventId(99), topic: formatEventId(7), time }
  assert.deepEqual(issued, { ...of, kind: 'token-issued', rights: ['publish'], label: 'press', expires_at: time })
  const revoked = lineOf(CATALOG_STREAM, TOKEN_REVOKED, encodeTokenRevoked({ topic: 7, token: 8 }))
  assert.deepEqual(revoked, { ...of, kind: 'token-revoked', token: formatEventId(8) })
})

test('a ticket is printed without its hashes, and so is its use; it is of no topic', () => {
  const grants = [{ topics: ['00000000007'], by: sha256 }]
  const issued = lineOf(
    TICKET_STREAM,
    TICKET_ISSUED,
    encodeTicketIssued({ sha256, grants, createdAtMs: 5, expiresAtMs: 6 }),
  )
  const of = { id: formatEventId(99), topic: null, time }
  assert.deepEqual(issued, { ...of, kind: 'ticket-issued' })
  const used = lineOf(TICKET_STREAM, TICKET_USED, encodeTicketUsed({ ticket: 8, isOpen: true, usableUntilMs: 6 }))
  assert.deepEqual(used, { ...of, kind: 'ticket-used', ticket: formatEventId(8), open: true })
  assert.equal(topicOf(TICKET_STREAM), null)
})

test('keys of what was published are printed with their topic and the number of events, without a hash', () => {
  const hash = 'ab'.repeat(16)
  const request = { key: hash, body: hash, answer: [{ isFresh: true, first: 0, count: 3 }] }
  const keys = encodePublishKeys({ topic: 7, events: 3, request, dedupe: [{ index: 0, key: hash }] })
  const printed = lineOf(PUBLISH_KEY_STREAM, PUBLISH_KEYS, keys)
  assert.deepEqual(printed, { id: formatEventId(99), topic: formatEventId(7), time, kind: 'publish-keys', events: 3 })
  assert.equal(topicOf(PUBLISH_KEY_STREAM), null)
})
