/** The targets of the event stream: what is encoded is what is decoded, and any bytes are decoded somehow. */

import assert from 'node:assert/strict'
import { formatEventId } from '../src/domain/event-id.ts'
import { createDecoder, type Decoder, type DecoderOptions } from '../src/sse/decode.ts'
import { encodeFrame, type FrameFields, frameBytesMax, frameLength } from '../src/sse/encode.ts'
import type { Random } from './random.ts'
import type { ByteTarget, RoundTarget } from './target.ts'

const CR = 13
const LF = 10
const NAMES = ['', '', 'chat', 'order-1', 'é', ' a', ': x', '😀']
const LINE_PIECES = ['\r', '\n', '\r\n', 'a', ' ', ':', 'data: x', 'id: 1\n\n', 'é', '€', '😀', '\0', '\ufeff']
const PIECES = [...LINE_PIECES, 'x'.repeat(60)]
const FIELDS = ['data', 'event', 'id', 'retry', 'other', '', ':', '\ufeff', 'data:1', 'id:2']
const BUFFER_BYTES_MAX = 1 << 20

export const sseRoundTrip: RoundTarget = {
  name: 'sse-round-trip',
  about: 'What is encoded is decoded again, however the stream is cut.',
  round: (random) => roundTrip(random, encodeFrame),
  planted: [
    { bug: 'a message is not split at a CR without an LF', round: (random) => roundTrip(random, encodeWithoutLoneCr) },
  ],
}

export const sseDecode: ByteTarget = {
  name: 'sse-decode',
  about: 'Any bytes are decoded without a crash, and to the same events however they are cut.',
  generate: someStream,
  check: (input) => checkDecode(input, createDecoder),
  planted: [
    {
      bug: 'a CRLF that is cut in two counts as two line ends',
      check: (input) => checkDecode(input, decoderOfTwoLineEnds),
    },
  ],
}

interface Decoded {
  readonly type: string
  readonly data: string
  readonly lastEventId: string
}

function roundTrip(random: Random, encode: (frame: FrameFields) => Uint8Array): void {
  const expected: Decoded[] = []
  const frames: Uint8Array[] = []
  for (let rest = 1 + random.below(3); rest > 0; rest--) {
    const [key, type, message] = [random.pick(NAMES), random.pick(NAMES), randomText(random)]
    const id = formatEventId(random.next())
    const frame = { id, key: Buffer.from(key), type: Buffer.from(type), message: Buffer.from(message) }
    assert.ok(frameLength(frame) <= frameBytesMax(frame), 'the bound on a frame holds')
    frames.push(encode(frame))
    const data = message.replace(/\r\n?/g, '\n')
    expected.push({ type: type === '' ? 'message' : type, data, lastEventId: key === '' ? id : key })
  }
  assert.deepEqual(decodeAll(cut(random, Buffer.concat(frames)), createDecoder), expected)
}

function randomText(random: Random): string {
  let text = ''
  for (let rest = random.below(12); rest > 0; rest--) text += random.pick(PIECES)
  return text
}

function someStream(random: Random): Buffer {
  const parts = [Buffer.from(random.bytes(random.below(40)))]
  for (let rest = random.below(10); rest > 0; rest--) {
    parts.push(Buffer.from(random.pick(FIELDS) + random.pick(PIECES) + random.pick(['\r', '\n', '\n\n'])))
  }
  return Buffer.concat(parts)
}

function checkDecode(stream: Buffer, create: (options: DecoderOptions) => Decoder): void {
  const whole = decodeAll([stream], create)
  for (const bytes of [1, 2, 7]) {
    const chunks: Buffer[] = []
    for (let at = 0; at < stream.length; at += bytes) chunks.push(stream.subarray(at, at + bytes))
    assert.deepEqual(decodeAll(chunks, create), whole, `cut into pieces of ${bytes}`)
  }
}

function decodeAll(chunks: readonly Uint8Array[], create: (options: DecoderOptions) => Decoder): Decoded[] {
  const events: Decoded[] = []
  const decoder = create({ onEvent: (event) => events.push({ ...event }), bufferBytesMax: BUFFER_BYTES_MAX })
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

function encodeWithoutLoneCr(frame: FrameFields): Uint8Array {
  const { message } = frame
  const lone = message.findIndex((byte, index) => byte === CR && message[index + 1] !== LF)
  if (lone === -1) return encodeFrame(frame)
  // A mark in place of the CR goes through the true encoder, and becomes the CR again in what goes out.
  const mark = 0x01
  const marked = encodeFrame({ ...frame, message: message.map((byte, index) => (index === lone ? mark : byte)) })
  return marked.map((byte) => (byte === mark ? CR : byte))
}

function decoderOfTwoLineEnds(options: DecoderOptions): Decoder {
  const decoder = createDecoder(options)
  let endedInCr = false
  return {
    feed(chunk) {
      const bytes = Buffer.from(chunk)
      // The decoder passes over the first one.
      decoder.feed(endedInCr && bytes[0] === LF ? Buffer.concat([Buffer.of(LF), bytes]) : bytes)
      endedInCr = bytes.at(-1) === CR
    },
    get lastEventId() {
      return decoder.lastEventId
    },
  }
}
