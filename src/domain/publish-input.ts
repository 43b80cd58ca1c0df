/**
 * Reads what a publisher sent: `{"event":{"id"?,"type"?,"dedupe"?,"message"}}`, or `{"events":[…]}` with several of them, already
 * parsed, next to its source text. Written by hand because it runs for every event that is published. Unknown keys are
 * let pass, as the original does.
 *
 * It promises that a message that is not a string arrives as it was written, but for white space: numbers that do not
 * survive JSON.parse, the order of the keys and repeated keys are kept, because the text itself is taken. However many
 * events there are, the source is gone over at most once. A mistake is told with its place and what to do, never with
 * the value. It knows nothing of HTTP and of topics.
 */

import assert from 'node:assert/strict'
import { DomainError } from './errors.ts'
import { parseEventId } from './event-id.ts'
import { bareMessageSource, messageSource, messageSources } from './message-source.ts'

export interface PublishLimits {
  /** Bytes of UTF-8, each. */
  readonly idBytesMax: number
  readonly typeBytesMax: number
  /** Events of one list. */
  readonly eventsPerRequestMax: number
}

export interface PublishInput {
  /** The publisher's own id, UTF-8; length 0 means that there is none. */
  readonly key: Uint8Array
  /** UTF-8; length 0 means that there is none. */
  readonly type: Uint8Array
  /** Whether the message is a JSON string; then `message` is its bare text, otherwise compact JSON text. */
  readonly isString: boolean
  /** The publisher's key of this event, UTF-8: one that bears the same one shortly after is a repeat. */
  readonly dedupe?: Uint8Array | undefined
  /** UTF-8, or what is yet to become that. */
  readonly message: Uint8Array | string
}

/** What the events begin with that the server itself sends, such as `sser.gap`. */
const OWN_TYPES = 'sser.'
/** HTTP takes them off a header's ends, so that an id of nothing else would come back as none. */
const ONLY_BLANKS = /^[ \t]+$/

const NONE: Uint8Array = new Uint8Array(0)

const textOfNull: Uint8Array = Buffer.from('null')
const textOfTrue: Uint8Array = Buffer.from('true')
const textOfFalse: Uint8Array = Buffer.from('false')

/** The place of an event that is not one of a list, and of one that is a whole text. */
const ALONE = -1
const BARE = -2

/**
 * `body` is what JSON.parse made of `source`, which is the body as it came, in UTF-8; its size is bounded where it is
 * read. An array, never an empty one, where the publisher sent a list. Throws a DomainError with the code INVALID, or
 * TOO_LARGE for a list that is too long. The answer's bytes are its own.
 */
export function parsePublish(
  body: unknown,
  source: Uint8Array,
  limits: PublishLimits,
): PublishInput | readonly PublishInput[] {
  if (!isObject(body)) throw mistake('', 'The body must be a JSON object: {"event":{"message":"…"}}.')
  const { event, events } = body as { readonly event?: unknown; readonly events?: unknown }
  if (events !== undefined) {
    if (event !== undefined) throw mistake('events', 'There are event and events. Send one of the two.')
    return parseList(events, source, limits)
  }
  if (event === undefined) throw mistake('event', 'The event is missing. Send {"event":{"message":"…"}}.')
  return parseEvent(event, ALONE, limits, () => messageSource(source))
}

function parseList(events: unknown, source: Uint8Array, limits: PublishLimits): readonly PublishInput[] {
  if (!Array.isArray(events)) throw mistake('events', 'The events must be a list: [{"message":"…"}].')
  if (events.length === 0) throw mistake('events', 'The list of events is empty. Send at least one.')
  const { eventsPerRequestMax } = limits
  if (events.length > eventsPerRequestMax) {
    throw new DomainError(
      'TOO_LARGE',
      `The list has ${events.length} events; ${eventsPerRequestMax} are allowed in one request. Send them in several.`,
      { path: 'events' },
    )
  }
  // Where all messages are strings, nobody looks at the source.
  let texts: readonly (Uint8Array | undefined)[] | undefined
  const textAt = (index: number) => {
    texts ??= messageSources(source)
    const text = texts[index]
    assert(text !== undefined, 'the source text is that of the parsed body')
    return text
  }
  return events.map((event: unknown, index) => parseEvent(event, index, limits, textAt))
}

/**
 * An event that stands alone, without anything around it: `{"id"?,"type"?,"dedupe"?,"message"}`. `event` is what JSON.parse made of
 * `source`. Throws a DomainError with the code INVALID. The answer's bytes are its own.
 */
export function parseBareEvent(event: unknown, source: Uint8Array, limits: PublishLimits): PublishInput {
  return parseEvent(event, BARE, limits, () => bareMessageSource(source))
}

/** `textAt` gives the message's source text, for one that the source is needed for. */
function parseEvent(
  event: unknown,
  index: number,
  limits: PublishLimits,
  textAt: (index: number) => Uint8Array,
): PublishInput {
  if (!isObject(event)) {
    throw mistake(placeOf(index), 'The event must be a JSON object with a message: {"message":"…"}.')
  }
  const { id, type, message, dedupe } = event as Readonly<Record<'id' | 'type' | 'message' | 'dedupe', unknown>>
  if (message === undefined) {
    throw mistake(placeIn(index, 'message'), 'The message is missing. Send any JSON value; null is one.')
  }
  if (typeof type === 'string' && type.startsWith(OWN_TYPES)) {
    const words = `Types that begin with ${OWN_TYPES} are the server's own. Take another one.`
    throw mistake(placeIn(index, 'type'), words)
  }
  const isString = typeof message === 'string'
  return {
    key: parseName(id, index, 'id', limits.idBytesMax),
    type: parseName(type, index, 'type', limits.typeBytesMax),
    isString,
    dedupe: dedupe === undefined ? undefined : parseDedupe(dedupe, index, limits),
    message: isString ? message : jsonText(message, index, textAt),
  }
}

function placeOf(index: number): string {
  if (index === BARE) return ''
  return index === ALONE ? 'event' : `events[${index}]`
}

function placeIn(index: number, member: string): string {
  return index === BARE ? member : `${placeOf(index)}.${member}`
}

/**
 * The number in `expected_last_id`, which stands beside `event` or `events`; undefined where it is absent. Throws INVALID.
 */
export function parseExpectedLast(body: unknown): number | undefined {
  if (!isObject(body)) return undefined
  const { expected_last_id: text } = body as { readonly expected_last_id?: unknown }
  if (text === undefined) return undefined
  const number = typeof text === 'string' ? parseEventId(text) : undefined
  if (number !== undefined) return number
  const words =
    "The expected_last_id is the server's id of an event, 00000000000 for none: up to 11 characters of base62."
  throw mistake('expected_last_id', words)
}

function jsonText(message: unknown, index: number, textAt: (index: number) => Uint8Array): Uint8Array {
  if (message === null) return textOfNull
  if (typeof message === 'boolean') return message ? textOfTrue : textOfFalse
  return textAt(index)
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function parseName(value: unknown, index: number, name: 'id' | 'type' | 'dedupe', bytesMax: number): Uint8Array {
  if (value === undefined || value === '') return NONE
  const wrong = (words: string) => mistake(placeIn(index, name), `The ${name} ${words}`)
  const tooLong = () => wrong(`must have at most ${bytesMax} bytes of UTF-8. Shorten it.`)
  if (typeof value !== 'string') throw wrong('must be a string. Put it in quotes or leave it out.')
  // A character is at least one byte: what is too long already is not looked at, however long it is.
  if (value.length > bytesMax) throw tooLong()
  for (let at = 0; at < value.length; at++) {
    if (isControl(value.charCodeAt(at))) {
      throw wrong(`has a control character at position ${at}. Take out line breaks and the like.`)
    }
  }
  if (ONLY_BLANKS.test(value)) throw wrong('is blank. Give it other characters, or leave it out.')
  const bytes = Buffer.from(value, 'utf8')
  if (bytes.length > bytesMax) throw tooLong()
  return bytes
}

function parseDedupe(value: unknown, index: number, { idBytesMax }: PublishLimits): Uint8Array | undefined {
  const bytes = parseName(value, index, 'dedupe', idBytesMax)
  return bytes.length === 0 ? undefined : bytes
}

/** C0, DEL, C1, and the line and paragraph separators. */
function isControl(unit: number): boolean {
  return unit < 0x20 || (unit >= 0x7f && unit <= 0x9f) || unit === 0x2028 || unit === 0x2029
}

function mistake(path: string, message: string): DomainError {
  return new DomainError('INVALID', message, path === '' ? {} : { path })
}
