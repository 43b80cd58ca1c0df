/**
 * The registry of what is fuzzed. A target is one function that plays one round from a source of chance and throws when
 * a promise is broken; a round takes well under a millisecond or says so in `about`. `canary` is broken on purpose: it
 * shows that a broken promise would be found.
 */

import assert from 'node:assert/strict'
import { formatEventId, parseEventId, parseTopicId } from '../src/domain/event-id.ts'
import { messageSource, messageSources, type PublishInput, parsePublish } from '../src/domain/publish-input.ts'
import { createDecoder } from '../src/sse/decode.ts'
import { encodeFrame, frameBytesMax, frameLength } from '../src/sse/encode.ts'
import type { Random } from './random.ts'
import { indexFile, logScan, recordDecode } from './storage-engine.ts'

export interface FuzzTarget {
  readonly name: string
  /** What must hold, in a sentence. */
  readonly about: string
  readonly round: (random: Random) => void | Promise<void>
}

export const targets: readonly FuzzTarget[] = [
  {
    name: 'sse-round-trip',
    about: 'What is encoded is decoded again, however the stream is cut.',
    round: (random) => sseRoundTrip(random, encodeFrame),
  },
  {
    name: 'sse-decode',
    about: 'Any bytes are decoded without a crash, and to the same events however they are cut.',
    round: sseDecode,
  },
  { name: 'base62', about: 'Ids are read as they were written, and anything else is refused.', round: base62 },
  {
    name: 'publish-input',
    about: 'Any JSON body is taken or is a coded mistake, and a message that is taken means what was sent.',
    round: publishInput,
  },
  {
    name: 'log-scan',
    about:
      'Any bytes, and any damage to a segment, are scanned without a crash, and nothing comes that was not written.',
    round: logScan,
  },
  {
    name: 'record-decode',
    about: 'Any bytes in the place of a header, batch, record or footer are refused, or are what was written.',
    round: recordDecode,
  },
  {
    name: 'index-file',
    about: 'Any damage to a sidecar is a doubt, or changes no answer. A round takes a few milliseconds.',
    round: indexFile,
  },
  {
    name: 'canary',
    about: 'Broken on purpose: an encoder that does not split a message at a CR without an LF. It must be found.',
    round: (random) => sseRoundTrip(random, encodeWithoutLoneCr),
  },
]

const CR = 13
const LF = 10
const NAMES = ['', '', 'chat', 'order-1', 'é', ' a', ': x', '😀']
const PIECES = [
  '\r',
  '\n',
  '\r\n',
  'a',
  ' ',
  ':',
  'data: x',
  'id: 1\n\n',
  'é',
  '€',
  '😀',
  '\0',
  '\ufeff',
  'x'.repeat(60),
]

type Frame = Parameters<typeof encodeFrame>[0]

function randomText(random: Random): string {
  let text = ''
  for (let rest = random.below(12); rest > 0; rest--) text += random.pick(PIECES)
  return text
}

function sseRoundTrip(random: Random, encode: (frame: Frame) => Uint8Array): void {
  const expected: { type: string; data: string; lastEventId: string }[] = []
  const frames: Uint8Array[] = []
  for (let rest = 1 + random.below(3); rest > 0; rest--) {
    const [key, type, message] = [random.pick(NAMES), random.pick(NAMES), randomText(random)]
    const id = formatEventId(random.next())
    const frame = { id, key: Buffer.from(key), type: Buffer.from(type), message: Buffer.from(message) }
    assert(frameLength(frame) <= frameBytesMax(frame), 'the bound on a frame holds')
    frames.push(encode(frame))
    const data = message.replace(/\r\n?/g, '\n')
    expected.push({ type: type === '' ? 'message' : type, data, lastEventId: key === '' ? id : key })
  }
  assert.deepEqual(decodeAll(cut(random, Buffer.concat(frames))), expected)
}

function sseDecode(random: Random): void {
  let stream: Uint8Array = random.bytes(random.below(40))
  const names = ['data', 'event', 'id', 'retry', 'other', '', ':', '\ufeff', 'data:1', 'id:2']
  for (let rest = random.below(10); rest > 0; rest--) {
    stream = Buffer.concat([
      stream,
      Buffer.from(random.pick(names) + random.pick(PIECES) + random.pick(['\r', '\n', '\n\n'])),
    ])
  }
  assert.deepEqual(decodeAll(cut(random, stream)), decodeAll([stream]))
}

function base62(random: Random): void {
  const number = Math.floor((random.next() * 2 ** 21 + random.below(2 ** 21)) / 2 ** random.below(53))
  const id = formatEventId(number)
  assert.match(id, /^[0-9A-Za-z]{11}$/)
  assert.equal(parseEventId(id), number)
  assert.equal(parseEventId(id.replace(/^0{1,10}/, '')), number)
  assert.equal(parseTopicId(id.replace(/^0{1,10}/, '')), id)

  let text = ''
  for (let rest = random.below(14); rest > 0; rest--) text += random.pick([...'09AZaz5Kk', '-', ' ', 'é'])
  const valid = /^[0-9A-Za-z]{1,11}$/.test(text)
  const parsed = parseEventId(text)
  assert.equal(parsed === undefined, !valid || text.padStart(11, '0') > formatEventId(Number.MAX_SAFE_INTEGER))
  if (parsed !== undefined) assert.equal(formatEventId(parsed), text.padStart(11, '0'))
}

function publishInput(random: Random): void {
  const event = () => `{${randomMembers(random, 3).join(',')}}`
  const sentAs = random.oneIn(2) ? 'event' : 'events'
  const value =
    sentAs === 'event'
      ? event()
      : `[${Array.from({ length: 1 + random.below(5) }, event).join(random.pick([',', ' , ']))}]`
  const members = [...randomMembers(random, 2), `${randomKey(random, sentAs)}:${value}`]
  let text = `${random.pick(SPACES)}{${members.join(`${random.pick(SPACES)},`)}}`
  if (random.oneIn(8)) text = text.slice(0, random.below(text.length))
  const source = Buffer.from(text)
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch (error) {
    assert(error instanceof SyntaxError)
    return
  }
  const { event: one, events } = body as { event?: SentEvent; events?: readonly SentEvent[] }
  try {
    const inputs = parsePublish(body, source, { idBytesMax: 20, typeBytesMax: 20, eventsPerRequestMax: 4 })
    if (Array.isArray(inputs)) {
      assert.equal(one, undefined)
      assert.equal(inputs.length, events?.length)
      assertMeans(inputs, events ?? [], messageSources(source))
    } else {
      const input = inputs as PublishInput
      assert.equal(events, undefined)
      assertMeans([input], [one], input.isString ? [] : [messageSource(source)])
    }
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) throw error
    if (error.code === 'TOO_LARGE') assert.ok(events !== undefined && events.length > 4)
    else if (error.code !== 'INVALID') throw error
  }
}

type SentEvent = { readonly message?: unknown } | null | undefined

function assertMeans(
  inputs: readonly PublishInput[],
  events: readonly SentEvent[],
  sources: readonly (Uint8Array | undefined)[],
): void {
  for (const [index, input] of inputs.entries()) {
    const sent = events[index]?.message
    const message = Buffer.from(input.message).toString()
    assert.equal(input.isString, typeof sent === 'string')
    assert.deepEqual(input.isString ? message : JSON.parse(message), sent)
    if (!input.isString) assert.equal(Buffer.from(sources[index] ?? '').toString(), message)
  }
}

const SPACES = ['', '', ' ', '\n', '\r\n\t']
const SCALARS = [
  '1',
  '1.0',
  '-0',
  '1e400',
  '12345678901234567890',
  'null',
  'true',
  'false',
  '""',
  '"a b"',
  '"\\""',
  '"\\\\"',
  '"\\u0065é"',
  '"\\n"',
]

function randomKey(random: Random, key: string): string {
  const escaped = random.oneIn(4) ? `\\u${key.charCodeAt(0).toString(16).padStart(4, '0')}${key.slice(1)}` : key
  return `${random.pick(SPACES)}"${escaped}"${random.pick(SPACES)}`
}

function randomMembers(random: Random, depth: number): string[] {
  const members: string[] = []
  for (let rest = random.below(5); rest > 0; rest--) {
    const key = random.pick(['event', 'events', 'message', 'message', 'id', 'type', '__proto__', 'x'])
    members.push(`${randomKey(random, key)}:${randomValue(random, depth)}`)
  }
  return members
}

function randomValue(random: Random, depth: number): string {
  const pad = random.pick(SPACES)
  if (depth === 0 || random.oneIn(2)) return pad + random.pick(SCALARS) + pad
  if (random.oneIn(2)) return `{${pad}${randomMembers(random, depth - 1).join(',')}}${pad}`
  const items = Array.from({ length: random.below(4) }, () => randomValue(random, depth - 1))
  return `[${pad}${items.join(`${pad},`)}]${pad}`
}

function decodeAll(chunks: readonly Uint8Array[]): { type: string; data: string; lastEventId: string }[] {
  const events: { type: string; data: string; lastEventId: string }[] = []
  const decoder = createDecoder({ onEvent: (event) => events.push({ ...event }), bufferBytesMax: 1 << 20 })
  for (const chunk of chunks) decoder.feed(chunk)
  return events
}

function cut(random: Random, stream: Uint8Array): Uint8Array[] {
  const chunks: Uint8Array[] = []
  const longest = random.pick([1, 3, 20, 1000])
  for (let start = 0; start < stream.length; ) {
    const end = Math.min(start + 1 + random.below(longest), stream.length)
    chunks.push(stream.subarray(start, end))
    start = end
  }
  return chunks
}

function encodeWithoutLoneCr(frame: Frame): Uint8Array {
  const { message } = frame
  const bytes = [...message]
  const lone = bytes.findIndex((byte, index) => byte === CR && bytes[index + 1] !== LF)
  if (lone === -1) return encodeFrame(frame)
  // A mark in place of the CR goes through the true encoder, and becomes the CR again in what goes out.
  const mark = 0x01
  const marked = encodeFrame({
    ...frame,
    message: Uint8Array.from(bytes, (byte, index) => (index === lone ? mark : byte)),
  })
  return marked.map((byte) => (byte === mark ? CR : byte))
}
