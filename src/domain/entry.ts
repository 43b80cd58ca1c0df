/**
 * What a record of the log means: the kinds, and the bytes of each kind's payload. Part of the log's format: a number
 * or a layout that stands here never changes its meaning. What is read may have been written by a later version, so
 * unknown fields of the JSON payloads are ignored.
 *
 * An event's payload keeps what was published, not how it is sent: frames and JSON histories are made from it.
 *
 *   u8     flags         bit 0: the message was a JSON string; the other bits are zero
 *   u8     reserved      zero
 *   u16le  typeLength    bytes of the type
 *   ...    type          UTF-8
 *   ...    message       UTF-8: the bare text of a JSON string, otherwise the compact JSON text
 *
 * The publisher's own id is the record's key. It promises that a payload that is not of this form is told as an
 * EntryError, whatever the bytes are. It does not know where records come from.
 */

/** The stream of the records that create and delete topics. A topic's own number is the offset of its creation. */
export const CATALOG_STREAM = 1

export const TOPIC_CREATED = 1
export const TOPIC_DELETED = 2
export const EVENT_PUBLISHED = 3

export type EntryErrorCode =
  | 'ENTRY_MALFORMED' // the payload does not have the form of its kind
  | 'ENTRY_NEWER' // written by a later version, in a way that this one cannot read
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

export interface TopicCreated {
  /** SHA-256 of the topic's token, 32 bytes; the token itself is nowhere kept. */
  readonly tokenSha256: Uint8Array
  readonly name: string | undefined
  /** ms since the epoch: a remark, never an order. */
  readonly createdAtMs: number
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

export function encodeEvent({ isString, type, message }: EventContent): Uint8Array {
  const typeLength = type.length
  if (typeLength > TYPE_BYTES_MAX) {
    throw new EntryError('ENTRY_TOO_LARGE', `An event's type has at most ${TYPE_BYTES_MAX} bytes, not ${typeLength}.`)
  }
  const payload = Buffer.allocUnsafe(EVENT_HEAD_BYTES + typeLength + message.length)
  payload[0] = isString ? FLAG_STRING : 0
  payload[1] = 0
  payload[2] = typeLength & 0xff
  payload[3] = typeLength >>> 8
  if (typeLength !== 0) payload.set(type, EVENT_HEAD_BYTES)
  payload.set(message, EVENT_HEAD_BYTES + typeLength)
  return payload
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

export function encodeTopicCreated({ tokenSha256, name, createdAtMs }: TopicCreated): Uint8Array {
  if (tokenSha256.length !== SHA256_BYTES) throw malformed(`A SHA-256 has ${SHA256_BYTES} bytes.`)
  return utf8.encode(
    JSON.stringify({
      v: PAYLOAD_VERSION,
      token_sha256: Buffer.from(tokenSha256.buffer, tokenSha256.byteOffset, SHA256_BYTES).toString('hex'),
      name,
      created_at: createdAtMs,
    }),
  )
}

/** Throws EntryError. */
export function decodeTopicCreated(payload: Uint8Array): TopicCreated {
  const fields = decodeFields(payload, 'topic created')
  const { token_sha256: sha256, name, created_at: createdAtMs } = fields
  if (typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/.test(sha256)) {
    throw malformed('In the payload of a topic created, token_sha256 is not 64 digits of lower-case hex.')
  }
  if (name !== undefined && name !== null && typeof name !== 'string') {
    throw malformed('In the payload of a topic created, name is not a string.')
  }
  if (typeof createdAtMs !== 'number' || !Number.isSafeInteger(createdAtMs)) {
    throw malformed('In the payload of a topic created, created_at is not a whole number of ms.')
  }
  return { tokenSha256: Buffer.from(sha256, 'hex'), name: name ?? undefined, createdAtMs }
}

export function encodeTopicDeleted({ topic }: TopicDeleted): Uint8Array {
  return utf8.encode(JSON.stringify({ v: PAYLOAD_VERSION, topic }))
}

/** Throws EntryError. */
export function decodeTopicDeleted(payload: Uint8Array): TopicDeleted {
  const { topic } = decodeFields(payload, 'topic deleted')
  if (typeof topic !== 'number' || !Number.isSafeInteger(topic) || topic < 0) {
    throw malformed('In the payload of a topic deleted, topic is not the number of a record.')
  }
  return { topic }
}

interface Fields {
  readonly v?: unknown
  readonly token_sha256?: unknown
  readonly name?: unknown
  readonly created_at?: unknown
  readonly topic?: unknown
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
