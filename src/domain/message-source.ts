/**
 * Finds in a JSON text where the messages of its events stand, so that a message that is not a string can be taken as it was
 * written: numbers that do not survive JSON.parse, the order of the keys and repeated keys are kept. The text is known to
 * be valid JSON, so that only its structure is looked for: every byte of it is ASCII, and no byte of a longer UTF-8 sequence
 * is. There is no recursion: a text may be nested as deeply as its length allows. However many events there are, the text
 * is gone over at most once.
 */

import assert from 'node:assert/strict'

const QUOTE = 34
const COMMA = 44
const BACKSLASH = 92
const OPEN_BRACKET = 91
const CLOSE_BRACKET = 93
const OPEN_BRACE = 123
const CLOSE_BRACE = 125
/** Three bytes that some programs put before a text, and that a decoder of UTF-8 takes away. */
const BYTE_ORDER_MARK_BYTES = 3

const utf8 = new TextDecoder()

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

/** The same of a text that is the event itself, without anything around it. */
export function bareMessageSource(source: Uint8Array): Uint8Array {
  const span = new Span()
  findMessage(source, textStart(source), span)
  return textOf(source, span)
}

/** As `messageSource`, for each element of `events`, in one pass over the source; undefined for one that has no message. */
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
