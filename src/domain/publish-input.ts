/**
 * Parses what a publisher sent: `{"event":{"id"?,"type"?,"dedupe"?,"message"}}`, or `{"events":[…]}` with several of them,
 * already through JSON.parse, next to its source text. Written by hand because it runs for every published event. Unknown
 * keys are ignored, as in the original.
 *
 * It promises that a message other than a string arrives as it was written, apart from white space: numbers that do not
 * survive JSON.parse, the order of keys and repeated keys are kept, because the text itself is taken. The source is scanned
 * at most once, however many events there are. A mistake is reported with its place and its remedy, never with the value. It
 * knows nothing of HTTP or topics.
 */

import assert from 'node:assert/strict'
import { DomainError } from './errors.ts'
import { parseEventId } from './event-id.ts'
import { bareMessageSource, messageSource, messageSources } from './message-source.ts'

export interface PublishLimits {
  /** Bytes of UTF-8, each. */
  readonly idBytesMax: number
  readonly typeBytesMax: number
  /** Maximum number of events in one list. */
  readonly eventsPerRequestMax: number
}

export interface PublishInput {
  /** The publisher's own id, UTF-8; length 0 means that there is none. */
  readonly key: Uint8Array
  /** UTF-8; length 0 means that there is none. */
  readonly type: Uint8Array
  /** Whether the message is a JSON string; then `message` is its bare text, otherwise compact JSON text. */
  readonly isString: boolean
  /** The publisher's deduplication key, UTF-8: another event with the same key shortly afterwards is a repeat. */
  readonly dedupe?: Uint8Array | undefined
  /** UTF-8, or a string still to be encoded as such. */
  readonly message: Uint8Array | string
}

/** The prefix of the types of the server's own events, such as `sser.gap`. */
const OWN_TYPES = 'sser.'
/** HTTP strips these from both ends of a header's value, so an id of nothing else would come back empty. */
const ONLY_BLANKS = /^[ \t]+$/

const NONE: Uint8Array = new Uint8Array(0)

const textOfNull: Uint8Array = Buffer.from('null')
const textOfTrue: Uint8Array = Buffer.from('true')
const textOfFalse: Uint8Array = Buffer.from('false')

/** Pseudo indexes: of an event that is not in a list, and of one that is the whole text. */
const ALONE = -1
const BARE = -2

/**
 * `body` is the result of JSON.parse on `source`, the body as received, in UTF-8; its size is limited where it is read. The
 * result is an array, never empty, where the publisher sent a list. Throws a DomainError with the code INVALID, or TOO_LARGE
 * for a list that is too long. The result owns its bytes.
 */
export function parsePublish(
  body: unknown,
  source: Uint8Array,
  limits: PublishLimits,
): PublishInput | readonly PublishInput[] {
  if (!isObject(body)) throw mistake('', 'The body must be a JSON object: {"event":{"message":"…"}}.')
  const { event, events } = body as { readonly event?: unknown; readonly events?: unknown }
  if (events !== undefined) {
    if (event !== undefined) throw mistake('events', 'The body has both event and events. Send one of the two.')
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
  // Where all messages are strings, the source is never scanned.
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
 * An event by itself, with nothing around it: `{"id"?,"type"?,"dedupe"?,"message"}`. `event` is the result of JSON.parse on
 * `source`. Throws a DomainError with the code INVALID. The result owns its bytes.
 */
export function parseBareEvent(event: unknown, source: Uint8Array, limits: PublishLimits): PublishInput {
  return parseEvent(event, BARE, limits, () => bareMessageSource(source))
}

/** `textAt` returns the source text of a message that needs it. */
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
    const words = `Types that begin with ${OWN_TYPES} are the server's own. Use another one.`
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
 * The number in `expected_last_id`, next to `event` or `events`; undefined where it is absent. Throws INVALID.
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
  // Each character takes at least one byte, so a string that is already too long need not be scanned.
  if (value.length > bytesMax) throw tooLong()
  for (let at = 0; at < value.length; at++) {
    if (isControl(value.charCodeAt(at))) {
      throw wrong(`has a control character at position ${at}. Remove line breaks and the like.`)
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
