/**
 * What a record of the log means: the kinds, and the bytes of each kind's payload. Part of the log's format: a number or a
 * layout defined here never changes its meaning. Records may have been written by a later version, so unknown fields of the
 * JSON payloads are ignored.
 *
 * An event's payload keeps what was published, not how it is sent: frames and JSON histories are made from it.
 *
 *   u8     flags         bit 0: the message was a JSON string; the other bits are zero
 *   u8     reserved      zero
 *   u16le  typeLength    bytes of the type
 *   ...    type          UTF-8
 *   ...    message       UTF-8: the bare text of a JSON string, otherwise the compact JSON text
 *
 * The publisher's own id is the record's key. It promises that any payload not of this form is reported as an EntryError,
 * whatever the bytes. It does not know where records come from.
 */

import assert from 'node:assert/strict'
import type { Offset, PayloadWriter } from './ports.ts'
import { isUnlimited, type Retention, unlimited } from './retention.ts'
import { TOPIC_RIGHTS, type TopicToken } from './topic-token.ts'

/** The stream of the catalogue: entries that create, change and delete topics. A topic's number is that of its creation. */
export const CATALOG_STREAM = 1
/** The stream of tickets, which die of age and are not part of the catalogue. No topic has a number this low. */
export const TICKET_STREAM = 2

export const TOPIC_CREATED = 1
export const TOPIC_DELETED = 2
export const EVENT_PUBLISHED = 3
export const TOPIC_CHANGED = 4
export const EVENTS_DROPPED = 5
export const TOKEN_ISSUED = 6
export const TOKEN_REVOKED = 7
export const TICKET_ISSUED = 8
export const TICKET_USED = 9

export type EntryErrorCode =
  | 'ENTRY_MALFORMED' // the payload does not have the form of its kind
  | 'ENTRY_NEWER' // written by a later version, in a form that this one cannot read
  | 'ENTRY_TOO_LARGE' // what was to be encoded does not fit the form

export class EntryError extends Error {
  readonly code: EntryErrorCode

  constructor(code: EntryErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'EntryError'
    this.code = code
  }
}

export interface EventContent {
  /** Whether the message was published as a JSON string; then `message` is its bare text. */
  readonly isString: boolean
  /** UTF-8, at most 65,535 bytes; length 0 means that there is none. */
  readonly type: Uint8Array
  readonly message: Uint8Array
}

/** Content whose message may still be a string. A lone surrogate in it, which UTF-8 cannot hold, becomes U+FFFD. */
export interface NewEvent extends Omit<EventContent, 'message'> {
  readonly message: Uint8Array | string
}

/** What can be changed about a topic. */
export interface TopicSettings {
  readonly name: string | undefined
  readonly retention: Retention
}

export interface TopicCreated extends TopicSettings {
  /** SHA-256 of the topic's token, 32 bytes; the token itself is not kept anywhere. */
  readonly tokenSha256: Uint8Array
  /** ms since the epoch: informative only, never used for ordering. */
  readonly createdAtMs: number
}

/** All settings; a topic's latest entry counts. */
export interface TopicChanged extends TopicSettings {
  /** The offset of the record that created the topic. */
  readonly topic: number
}

/** The topic's events up to and including this number are gone, through a purge or its limits. The highest one counts. */
export interface EventsDropped {
  readonly topic: number
  readonly through: Offset
}

/** The number of this entry is the token's number. */
export interface TokenIssued {
  readonly topic: number
  readonly token: Omit<TopicToken, 'number'>
}

export interface TokenRevoked {
  readonly topic: number
  /** Number of the entry that issued it. */
  readonly token: Offset
}

/** Topics that a ticket opens on the authority of one token. */
export interface TicketGrant {
  /** Their ids, of 11 characters. */
  readonly topics: readonly string[]
  /** SHA-256 of the token, 32 bytes. */
  readonly by: Uint8Array
}

/** The number of this entry is the ticket's number. */
export interface TicketIssued {
  readonly sha256: Uint8Array
  readonly grants: readonly TicketGrant[]
  readonly createdAtMs: number
  /** It must be used before this. */
  readonly expiresAtMs: number
}

export interface TicketUsed {
  /** Number of the record that issued it. */
  readonly ticket: Offset
  /** Whether a stream opened with it is open. The latest record counts. */
  readonly isOpen: boolean
  /** Until then it may open another stream, if none is open. */
  readonly usableUntilMs: number
}

export interface TopicDeleted {
  /** The offset of the record that created the topic. */
  readonly topic: number
}

const EVENT_HEAD_BYTES = 4
const TYPE_BYTES_MAX = 0xffff
const FLAG_STRING = 1
const SHA256_BYTES = 32
const PAYLOAD_VERSION = 1

const utf8 = new TextEncoder()
const strictUtf8 = new TextDecoder('utf-8', { fatal: true })

/** An event's payload before it is encoded. Throws EntryError where it cannot be. */
export class EventPayload implements PayloadWriter {
  readonly length: number
  readonly #flags: number
  readonly #type: Uint8Array
  readonly #message: Uint8Array | string

  constructor({ isString, type, message }: NewEvent) {
    if (type.length > TYPE_BYTES_MAX) {
      throw new EntryError(
        'ENTRY_TOO_LARGE',
        `An event's type has at most ${TYPE_BYTES_MAX} bytes, not ${type.length}.`,
      )
    }
    const messageBytes = typeof message === 'string' ? Buffer.byteLength(message) : message.length
    this.length = EVENT_HEAD_BYTES + type.length + messageBytes
    this.#flags = isString ? FLAG_STRING : 0
    this.#type = type
    this.#message = message
  }

  writeTo(target: Buffer, at: number): void {
    const type = this.#type
    const message = this.#message
    target[at] = this.#flags
    target[at + 1] = 0
    target[at + 2] = type.length & 0xff
    target[at + 3] = type.length >>> 8
    if (type.length > 0) target.set(type, at + EVENT_HEAD_BYTES)
    const messageAt = at + EVENT_HEAD_BYTES + type.length
    if (typeof message !== 'string') {
      target.set(message, messageAt)
      return
    }
    const bytes = at + this.length - messageAt
    // As many bytes as characters: it is ASCII, which latin1 writes identically, and faster.
    const written = target.write(message, messageAt, bytes, bytes === message.length ? 'latin1' : 'utf8')
    assert(written === bytes, 'a text has as many bytes as were counted')
  }
}

export function encodeEvent(event: NewEvent): Uint8Array {
  const payload = new EventPayload(event)
  const bytes = Buffer.allocUnsafe(payload.length)
  payload.writeTo(bytes, 0)
  return bytes
}

/** `type` and `message` are views of the payload, valid as long as it is. Throws EntryError. */
export function decodeEvent(payload: Uint8Array): EventContent {
  if (payload.length < EVENT_HEAD_BYTES) {
    throw malformed(`The payload of an event has at least ${EVENT_HEAD_BYTES} bytes, not ${payload.length}.`)
  }
  const flags = payload[0]!
  if ((flags & ~FLAG_STRING) !== 0) throw malformed(`The payload of an event has unknown flags: ${flags}.`)
  if (payload[1] !== 0) throw malformed(`The reserved byte of an event's payload is ${payload[1]}, not 0.`)
  const messageStart = EVENT_HEAD_BYTES + (payload[2]! | (payload[3]! << 8))
  if (messageStart > payload.length) {
    throw malformed(`The type of an event ends at byte ${messageStart} of a payload of ${payload.length} bytes.`)
  }
  return {
    isString: flags === FLAG_STRING,
    type: payload.subarray(EVENT_HEAD_BYTES, messageStart),
    message: payload.subarray(messageStart),
  }
}

export function encodeTopicCreated({ tokenSha256, name, retention, createdAtMs }: TopicCreated): Uint8Array {
  if (tokenSha256.length !== SHA256_BYTES) throw malformed(`A SHA-256 has ${SHA256_BYTES} bytes.`)
  return encodeFields({
    token_sha256: hexOf(tokenSha256),
    ...settingsFields({ name, retention }),
    created_at: createdAtMs,
  })
}

/** Throws EntryError. */
export function decodeTopicCreated(payload: Uint8Array): TopicCreated {
  const fields = decodeFields(payload, 'topic created')
  return {
    tokenSha256: decodeSha256(fields, 'topic created'),
    ...decodeSettings(fields, 'topic created'),
    createdAtMs: decodeTime(fields, 'created_at', 'topic created'),
  }
}

export function encodeTopicChanged({ topic, ...settings }: TopicChanged): Uint8Array {
  return encodeFields({ topic, ...settingsFields(settings) })
}

/** Throws EntryError. */
export function decodeTopicChanged(payload: Uint8Array): TopicChanged {
  const fields = decodeFields(payload, 'topic changed')
  return { topic: decodeNumber(fields, 'topic', 'topic changed'), ...decodeSettings(fields, 'topic changed') }
}

export function encodeEventsDropped({ topic, through }: EventsDropped): Uint8Array {
  return encodeFields({ topic, through })
}

/** Throws EntryError. */
export function decodeEventsDropped(payload: Uint8Array): EventsDropped {
  return decodeNumbers(payload, ['topic', 'through'], 'drop of events')
}

export function encodeTopicDeleted({ topic }: TopicDeleted): Uint8Array {
  return encodeFields({ topic })
}

/** Throws EntryError. */
export function decodeTopicDeleted(payload: Uint8Array): TopicDeleted {
  return decodeNumbers(payload, ['topic'], 'topic deleted')
}

export function encodeTokenIssued({ topic, token }: TokenIssued): Uint8Array {
  const { sha256, rights, label, createdAtMs, expiresAtMs } = token
  return encodeFields({
    topic,
    token_sha256: hexOf(sha256),
    rights,
    label,
    created_at: createdAtMs,
    expires_at: expiresAtMs,
  })
}

/** Rights added by a later version are left out. Throws EntryError. */
export function decodeTokenIssued(payload: Uint8Array): TokenIssued {
  const kind = 'token issued'
  const fields = decodeFields(payload, kind)
  const { rights, label, expires_at: expiresAt } = fields
  if (!Array.isArray(rights)) throw malformed('In the payload of a token issued, rights is not a list.')
  if (label !== undefined && typeof label !== 'string') {
    throw malformed('In the payload of a token issued, label is not a string.')
  }
  const token = {
    sha256: decodeSha256(fields, kind),
    rights: TOPIC_RIGHTS.filter((right) => rights.includes(right)),
    label,
    createdAtMs: decodeTime(fields, 'created_at', kind),
    expiresAtMs: expiresAt === undefined ? undefined : decodeTime(fields, 'expires_at', kind),
  }
  return { topic: decodeNumber(fields, 'topic', kind), token }
}

export function encodeTokenRevoked({ topic, token }: TokenRevoked): Uint8Array {
  return encodeFields({ topic, token })
}

/** Throws EntryError. */
export function decodeTokenRevoked(payload: Uint8Array): TokenRevoked {
  return decodeNumbers(payload, ['topic', 'token'], 'token revoked')
}

export function encodeTicketIssued({ sha256, grants, createdAtMs, expiresAtMs }: TicketIssued): Uint8Array {
  return encodeFields({
    token_sha256: hexOf(sha256),
    grants: grants.map(({ topics, by }) => ({ topics, token_sha256: hexOf(by) })),
    created_at: createdAtMs,
    expires_at: expiresAtMs,
  })
}

/** Throws EntryError. */
export function decodeTicketIssued(payload: Uint8Array): TicketIssued {
  const kind = 'ticket issued'
  const fields = decodeFields(payload, kind)
  if (!Array.isArray(fields.grants)) throw malformed('In the payload of a ticket issued, grants is not a list.')
  return {
    sha256: decodeSha256(fields, kind),
    grants: fields.grants.map(decodeGrant),
    createdAtMs: decodeTime(fields, 'created_at', kind),
    expiresAtMs: decodeTime(fields, 'expires_at', kind),
  }
}

function decodeGrant(grant: unknown): TicketGrant {
  const fields = (typeof grant === 'object' && grant !== null ? grant : {}) as Fields & { readonly topics?: unknown }
  const { topics } = fields
  if (!Array.isArray(topics) || !topics.every((id) => typeof id === 'string' && /^[0-9A-Za-z]{11}$/.test(id))) {
    throw malformed('In the payload of a ticket issued, topics is not a list of ids of 11 characters.')
  }
  return { topics, by: decodeSha256(fields, 'ticket issued') }
}

export function encodeTicketUsed({ ticket, isOpen, usableUntilMs }: TicketUsed): Uint8Array {
  return encodeFields({ ticket, open: isOpen, usable_until: usableUntilMs })
}

/** Throws EntryError. */
export function decodeTicketUsed(payload: Uint8Array): TicketUsed {
  const kind = 'ticket used'
  const fields = decodeFields(payload, kind)
  if (typeof fields.open !== 'boolean') throw malformed('In the payload of a ticket used, open is not true or false.')
  return {
    ticket: decodeNumber(fields, 'ticket', kind),
    isOpen: fields.open,
    usableUntilMs: decodeTime(fields, 'usable_until', kind),
  }
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
}

/** Throws EntryError for a limit that could not be read back: an entry in the log must not prevent a start. */
function settingsFields({ name, retention }: TopicSettings) {
  const { maxAgeMs, maxBytes, maxEvents } = retention
  for (const limit of [maxAgeMs, maxBytes, maxEvents]) {
    if (limit !== undefined && !(Number.isSafeInteger(limit) && limit > 0)) {
      throw new EntryError('ENTRY_TOO_LARGE', `A limit of ${limit} is not a whole number from 1 to 2^53 - 1.`)
    }
  }
  return { name, max_age: maxAgeMs, max_bytes: maxBytes, max_events: maxEvents }
}

function decodeSettings(fields: Fields, kind: string): TopicSettings {
  const { name } = fields
  if (name !== undefined && name !== null && typeof name !== 'string') {
    throw malformed(`In the payload of a ${kind}, name is not a string.`)
  }
  const limit = (member: 'max_age' | 'max_bytes' | 'max_events') => {
    const value = fields[member]
    if (value === undefined || value === null) return undefined
    if (typeof value === 'number' && Number.isSafeInteger(value) && value > 0) return value
    throw malformed(`In the payload of a ${kind}, ${member} is not a whole number above 0.`)
  }
  const retention = { maxAgeMs: limit('max_age'), maxBytes: limit('max_bytes'), maxEvents: limit('max_events') }
  return { name: name ?? undefined, retention: isUnlimited(retention) ? unlimited : retention }
}

function decodeSha256({ token_sha256: sha256 }: Fields, kind: string): Uint8Array {
  if (typeof sha256 === 'string' && /^[0-9a-f]{64}$/.test(sha256)) return Buffer.from(sha256, 'hex')
  throw malformed(`In the payload of a ${kind}, token_sha256 is not 64 digits of lower-case hex.`)
}

function decodeTime(fields: Fields, member: 'created_at' | 'expires_at' | 'usable_until', kind: string): number {
  const timeMs = fields[member]
  if (typeof timeMs === 'number' && Number.isSafeInteger(timeMs)) return timeMs
  throw malformed(`In the payload of a ${kind}, ${member} is not a whole number of ms.`)
}

/** For an entry that holds nothing but numbers. */
function decodeNumbers<Member extends NumberMember>(
  payload: Uint8Array,
  members: readonly Member[],
  kind: string,
): Record<Member, number> {
  const fields = decodeFields(payload, kind)
  const numbers = members.map((member) => [member, decodeNumber(fields, member, kind)])
  return Object.fromEntries(numbers) as Record<Member, number>
}

type NumberMember = 'topic' | 'through' | 'token' | 'ticket'

function decodeNumber(fields: Fields, member: NumberMember, kind: string): number {
  const value = fields[member]
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw malformed(`In the payload of a ${kind}, ${member} is not the number of a record.`)
}

interface Fields {
  readonly v?: unknown
  readonly token_sha256?: unknown
  readonly name?: unknown
  readonly max_age?: unknown
  readonly max_bytes?: unknown
  readonly max_events?: unknown
  readonly created_at?: unknown
  readonly expires_at?: unknown
  readonly rights?: unknown
  readonly label?: unknown
  readonly token?: unknown
  readonly topic?: unknown
  readonly through?: unknown
  readonly grants?: unknown
  readonly ticket?: unknown
  readonly open?: unknown
  readonly usable_until?: unknown
}

function encodeFields(fields: Omit<Fields, 'v'>): Uint8Array {
  // Undefined members are not written.
  return utf8.encode(JSON.stringify({ v: PAYLOAD_VERSION, ...fields }))
}

function decodeFields(payload: Uint8Array, kind: string): Fields {
  let fields: unknown
  try {
    fields = JSON.parse(strictUtf8.decode(payload))
  } catch (error) {
    throw malformed(`The payload of a ${kind} is not JSON in UTF-8.`, error)
  }
  if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) {
    throw malformed(`The payload of a ${kind} is not a JSON object.`)
  }
  const { v } = fields as Fields
  if (typeof v !== 'number' || !Number.isSafeInteger(v) || v < 1) {
    throw malformed(`The payload of a ${kind} does not name its version.`)
  }
  if (v > PAYLOAD_VERSION) {
    throw new EntryError('ENTRY_NEWER', `The payload of a ${kind} has version ${v}; this program reads version 1.`)
  }
  return fields
}

function malformed(message: string, cause?: unknown): EntryError {
  return new EntryError('ENTRY_MALFORMED', message, cause)
}
