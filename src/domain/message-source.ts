/**
 * Locates the messages of events in a JSON text, so that a message other than a string can be taken exactly as it was
 * written: numbers that do not survive JSON.parse, the order of keys and repeated keys are kept. The text is known to be
 * valid JSON, so only structural characters matter: all of them are ASCII, and no byte of a longer UTF-8 sequence is. There
 * is no recursion, since a text may be nested as deeply as its length allows. The text is scanned at most once, however many
 * events there are.
 */

import assert from 'node:assert/strict'

const QUOTE = 34
const COMMA = 44
const BACKSLASH = 92
const OPEN_BRACKET = 91
const CLOSE_BRACKET = 93
const OPEN_BRACE = 123
const CLOSE_BRACE = 125
/** The byte order mark that some programs put before a text, and that a UTF-8 decoder strips. */
const BYTE_ORDER_MARK_BYTES = 3

const utf8 = new TextDecoder()

/**
 * The source text of `event.message` without insignificant white space. `source` must be valid for JSON.parse and have such
 * a member. As in JSON.parse, the last of several members with the same name counts.
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

/** As `messageSource`, for a text that is itself the event, with nothing around it. */
export function bareMessageSource(source: Uint8Array): Uint8Array {
  const span = new Span()
  findMessage(source, textStart(source), span)
  return textOf(source, span)
}

/** As `messageSource`, for each element of `events`, in one pass over the source; undefined for an element without a message. */
export function messageSources(source: Uint8Array): readonly (Uint8Array | undefined)[] {
  // Start and end of each element's message, alternating; both -1 where there is none.
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

/** Where the current event's message is. */
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

/** Sets `span` to the message of the event that starts at `start`; returns the position after the event. */
function findMessage(source: Uint8Array, start: number, span: Span): number {
  return eachMember(source, start, 'message', (valueStart) => {
    span.start = valueStart
    span.end = valueEnd(source, valueStart)
    return span.end
  })
}

/**
 * Walks the object that starts at `start` and returns the position after it. `take` is called with the start of the value of
 * each member of that name, and returns the position after that value.
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
    // The key is followed by a colon.
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
  // A key with escapes is longer than the name it stands for, but at most six times as long.
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

/** The position after the value that starts at `start`. */
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

/** The position after the string whose opening quote is at `start`. */
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

/** A copy of the text from `start` to `end` without the white space outside strings. */
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
