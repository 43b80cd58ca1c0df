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
const QUOTE = 34
const COMMA = 44
const BACKSLASH = 92
const OPEN_BRACKET = 91
const CLOSE_BRACKET = 93
const OPEN_BRACE = 123
const CLOSE_BRACE = 125
/** Three bytes that some programs put before a text, and that a decoder of UTF-8 takes away. */
const BYTE_ORDER_MARK_BYTES = 3

const textOfNull: Uint8Array = Buffer.from('null')
const textOfTrue: Uint8Array = Buffer.from('true')
const textOfFalse: Uint8Array = Buffer.from('false')
const utf8 = new TextDecoder()

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
  return parseEvent(event, BARE, limits, () => {
    const span = new Span()
    findMessage(source, textStart(source), span)
    return textOf(source, span)
  })
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

/**
 * The source text of `event.message` without insignificant white space. `source` must be a text that JSON.parse takes
 * and that has such a member. As in JSON.parse, the last of several members of one name counts.
 */
export function messageSource(source: Uint8Array): Uint8Array {
  const span = new Span()
  eachMember(source, textStart(source), 'event', (valueStart) => {
    span.clear()
    if (source[valueStart] !== OPEN_BRACE) return valueEnd(source, valueStart)
    return findMessage(source, valueStart, span)
  })
  return textOf(source, span)
}

/** The same for each element of `events`, in one pass over the source; undefined for one that has no message. */
export function messageSources(source: Uint8Array): readonly (Uint8Array | undefined)[] {
  // Where the spans of the elements' messages begin and end, in turns; both -1 where there is none.
  const bounds: number[] = []
  const span = new Span()
  eachMember(source, textStart(source), 'events', (valueStart) => {
    bounds.length = 0
    if (source[valueStart] !== OPEN_BRACKET) return valueEnd(source, valueStart)
    let at = skipSpace(source, valueStart + 1)
    while (at < source.length && source[at] !== CLOSE_BRACKET) {
      span.clear()
      at = source[at] === OPEN_BRACE ? findMessage(source, at, span) : valueEnd(source, at)
      bounds.push(span.start, span.end)
      at = skipSpace(source, at)
      if (source[at] === COMMA) at = skipSpace(source, at + 1)
    }
    return at + 1
  })
  const texts: (Uint8Array | undefined)[] = []
  for (let index = 0; index < bounds.length; index += 2) {
    const start = bounds[index]!
    texts.push(start === -1 ? undefined : compact(source, start, bounds[index + 1]!))
  }
  return texts
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

// From here on the text is known to be valid JSON, so that only its structure is looked for: every byte of it is ASCII,
// and no byte of a longer UTF-8 sequence is. There is no recursion: a text may be nested as deeply as its length allows.

/** Where the message of the event at hand stands. */
class Span {
  start = -1
  end = -1

  get isFound(): boolean {
    return this.start !== -1
  }

  clear(): void {
    this.start = -1
    this.end = -1
  }
}

function textOf(source: Uint8Array, span: Span): Uint8Array {
  assert(span.isFound, 'the source text is that of the parsed body')
  return compact(source, span.start, span.end)
}

function textStart(source: Uint8Array): number {
  return skipSpace(source, source[0] === 0xef ? BYTE_ORDER_MARK_BYTES : 0)
}

/** Leaves in `span` where the message of the event that begins at `start` stands; returns the position behind the event. */
function findMessage(source: Uint8Array, start: number, span: Span): number {
  return eachMember(source, start, 'message', (valueStart) => {
    span.start = valueStart
    span.end = valueEnd(source, valueStart)
    return span.end
  })
}

/**
 * Goes over the object that begins at `start` and returns the position behind it. `take` is called with where the value
 * of each member of that name begins, and returns the position behind it.
 */
function eachMember(
  source: Uint8Array,
  start: number,
  name: 'event' | 'events' | 'message',
  take: (valueStart: number) => number,
): number {
  let at = skipSpace(source, start + 1)
  while (source[at] === QUOTE) {
    const keyEnd = stringEnd(source, at)
    const matches = isKey(source, at, keyEnd, name)
    // Behind the key stands a colon.
    at = skipSpace(source, skipSpace(source, keyEnd) + 1)
    at = skipSpace(source, matches ? take(at) : valueEnd(source, at))
    if (source[at] === COMMA) at = skipSpace(source, at + 1)
  }
  return at + 1
}

function isKey(source: Uint8Array, start: number, end: number, name: string): boolean {
  const length = end - start - 2
  if (length === name.length) {
    for (let index = 0; index < length; index++) {
      if (source[start + 1 + index] !== name.charCodeAt(index)) return false
    }
    return true
  }
  // A key with escapes is longer than what it means, but at most six times as long.
  if (length < name.length || length > name.length * 6) return false
  const key = source.subarray(start, end)
  return key.includes(BACKSLASH) && JSON.parse(utf8.decode(key)) === name
}

function skipSpace(source: Uint8Array, start: number): number {
  let at = start
  while (at < source.length && isSpace(source[at]!)) at++
  return at
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09
}

/** The position behind the value that begins at `start`. */
function valueEnd(source: Uint8Array, start: number): number {
  const length = source.length
  const first = source[start]
  if (first === QUOTE) return stringEnd(source, start)
  let at = start
  if (first !== OPEN_BRACE && first !== OPEN_BRACKET) {
    while (at < length && !endsScalar(source[at]!)) at++
    return at
  }
  let depth = 0
  while (at < length) {
    const byte = source[at]!
    if (byte === QUOTE) {
      at = stringEnd(source, at)
      continue
    }
    at++
    if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth++
    else if ((byte === CLOSE_BRACE || byte === CLOSE_BRACKET) && --depth === 0) break
  }
  return at
}

function endsScalar(byte: number): boolean {
  return byte === COMMA || byte === CLOSE_BRACE || byte === CLOSE_BRACKET || isSpace(byte)
}

/** The position behind the string whose opening quote stands at `start`. */
function stringEnd(source: Uint8Array, start: number): number {
  const length = source.length
  let at = start + 1
  while (at < length) {
    const byte = source[at++]
    if (byte === QUOTE) return at
    if (byte === BACKSLASH) at++
  }
  return length
}

/** A copy of the text from `start` to `end` without the white space that stands outside strings. */
function compact(source: Uint8Array, start: number, end: number): Uint8Array {
  const text = Buffer.allocUnsafe(end - start)
  let length = 0
  let inString = false
  for (let at = start; at < end; at++) {
    const byte = source[at]!
    if (inString) {
      if (byte === QUOTE) inString = false
      else if (byte === BACKSLASH) text[length++] = source[at++]!
    } else if (byte === QUOTE) {
      inString = true
    } else if (isSpace(byte)) {
      continue
    }
    text[length++] = source[at]!
  }
  return text.subarray(0, length)
}
