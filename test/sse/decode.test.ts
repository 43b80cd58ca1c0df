import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createDecoder, type DecoderOptions, type SseEvent } from '../../src/sse/decode.ts'
import { encodeFrame } from '../../src/sse/encode.ts'

interface Seen {
  readonly events: SseEvent[]
  readonly comments: string[]
  readonly retries: number[]
  readonly ids: string[]
}

function collect(chunks: Iterable<Uint8Array | string>, options: Partial<DecoderOptions> = {}): Seen {
  const seen: Seen = { events: [], comments: [], retries: [], ids: [] }
  const decoder = createDecoder({
    onEvent: (event) => seen.events.push(event),
    onComment: (text) => seen.comments.push(text),
    onRetry: (delayMs) => seen.retries.push(delayMs),
    onId: (id) => seen.ids.push(id),
    bufferBytesMax: 1 << 16,
    ...options,
  })
  for (const chunk of chunks) decoder.feed(chunk)
  return seen
}

function data(stream: string): string[] {
  return collect([stream]).events.map((event) => event.data)
}

test('the examples of the standard are read as it says', () => {
  assert.deepEqual(data('data: YHOO\ndata: +2\ndata: 10\n\n'), ['YHOO\n+2\n10'])
  const second = collect([
    ': test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n',
  ])
  assert.deepEqual(second.comments, ['test stream'])
  assert.deepEqual(second.events, [
    { type: 'message', data: 'first event', lastEventId: '1' },
    { type: 'message', data: 'second event', lastEventId: '' },
    { type: 'message', data: ' third event', lastEventId: '' },
  ])
  assert.deepEqual(data('data\n\ndata\ndata\n\ndata:'), ['', '\n'])
  assert.deepEqual(data('data:test\n\ndata: test\n\n'), ['test', 'test'])
})

test('CR, LF and CRLF end lines, also in a mixture', () => {
  assert.deepEqual(data('data: a\r\ndata: b\rdata: c\n\r\ndata: d\r\rdata: e\n\n'), ['a\nb\nc', 'd', 'e'])
})

test('a CRLF that is cut between two chunks is one line end', () => {
  assert.deepEqual(collect(['data: a\r', '\ndata: b\r', '', '\n\r', '\n']).events.length, 1)
  assert.equal(collect(['data: a\r', '\ndata: b\r', '\n\r', '\n']).events[0]?.data, 'a\nb')
})

test('a byte order mark is taken away at the very start only', () => {
  assert.deepEqual(data('\ufeffdata: a\n\n\ufeffdata: b\n\n'), ['a'])
  const bytes = Buffer.from('\ufeffdata: \ufeffa\n\n')
  assert.equal(collect(Array.from(bytes, (byte) => Uint8Array.of(byte))).events[0]?.data, '\ufeffa')
})

test('a block with an id and no data sets the last event id and dispatches nothing', () => {
  const seen = collect(['id: 7\n\n', 'data: x\n\n'])
  assert.deepEqual(seen.ids, ['7'])
  assert.deepEqual(seen.events, [{ type: 'message', data: 'x', lastEventId: '7' }])
})

test('an id counts only when its block has ended', () => {
  const decoder = createDecoder({ onEvent: () => {}, bufferBytesMax: 100 })
  decoder.feed('id: 1\n\nid: 2\n')
  assert.equal(decoder.lastEventId, '1')
  decoder.feed('\n')
  assert.equal(decoder.lastEventId, '2')
})

test('an id with NUL is ignored, and an empty id takes the last one away', () => {
  assert.deepEqual(collect(['id: 1\n\nid: 2\0\n\nid:\ndata: x\n\n']).ids, ['1', ''])
})

test('the last event id of an earlier connection stands until the stream names another', () => {
  const seen = collect(['data: a\n\nid: 9\ndata: b\n\n'], { lastEventId: '5' })
  assert.deepEqual(
    seen.events.map((event) => event.lastEventId),
    ['5', '9'],
  )
})

test('a type counts for its own block only, even where that dispatches nothing', () => {
  const seen = collect(['event: a\ndata: 1\n\ndata: 2\n\nevent: b\n\ndata: 3\n\n'])
  assert.deepEqual(
    seen.events.map((event) => event.type),
    ['a', 'message', 'message'],
  )
})

test('retry takes digits only', () => {
  assert.deepEqual(collect(['retry: 12\nretry: 1.5\nretry: -1\nretry:\nretry: x\nretry:007\n']).retries, [12, 7])
})

test('unknown fields are ignored, and names are told apart by case', () => {
  assert.deepEqual(data('Data: a\nfoo: b\n data: c\ndata : d\ndata: e\n\n'), ['e'])
})

test('what is unfinished at the end of the stream is dropped', () => {
  assert.deepEqual(data('data: a\n\ndata: b\n'), ['a'])
})

test('a line over the bound is refused, whole or in pieces, and one at the bound is not', () => {
  const code = { name: 'SseDecodeError', code: 'SSE_TOO_LARGE' }
  const fits = `data: ${'é'.repeat(7)}\n\n` // 20 bytes
  const over = `: ${'é'.repeat(10)}\n`
  for (const cut of [(text: string) => [text], (text: string) => [...text], (text: string) => [Buffer.from(text)]]) {
    assert.equal(collect(cut(fits), { bufferBytesMax: 20 }).events.length, 1)
    assert.throws(() => collect(cut(fits), { bufferBytesMax: 19 }), code)
    assert.throws(() => collect(cut(over), { bufferBytesMax: 20 }), code)
  }
  assert.throws(() => collect(['x'.repeat(21)], { bufferBytesMax: 20 }), code)
})

test('the data of an event over the bound is refused, also where its lines are empty', () => {
  const code = { code: 'SSE_TOO_LARGE' }
  assert.throws(() => collect(['data\n'.repeat(1000)], { bufferBytesMax: 100 }), code)
  assert.equal(collect([`${'data: 1234\n'.repeat(20)}\n`], { bufferBytesMax: 99 }).events.length, 1)
  assert.throws(() => collect([`${'data: 1234\n'.repeat(20)}\n`], { bufferBytesMax: 98 }), code)
  assert.equal(collect(['data: 12345678\n\n'.repeat(50)], { bufferBytesMax: 20 }).events.length, 50)
})

test('after an error the decoder takes nothing more', () => {
  const decoder = createDecoder({
    onEvent: () => {
      throw new Error('mine')
    },
    bufferBytesMax: 100,
  })
  assert.throws(() => decoder.feed('data: x\n\n'), { message: 'mine' })
  assert.throws(() => decoder.feed('\n'), { code: 'SSE_DECODER_ENDED' })
})

const piece = fc.constantFrom(
  '\r',
  '\n',
  '\r\n',
  'a',
  'é',
  '€',
  '😀',
  ' ',
  ':',
  'data: x',
  'id: 1',
  '\0',
  '\ufeff',
  'x'.repeat(60),
)
const message = fc.oneof(
  fc.array(piece, { maxLength: 12 }).map((parts) => parts.join('')),
  fc.string({ unit: 'binary', maxLength: 200 }),
)
const name = fc.string({ unit: fc.constantFrom('a', 'é', '😀', ' ', ':', '-'), maxLength: 8 })

test('whatever is encoded is decoded again, however the stream is cut into chunks', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ key: name, type: name, message }), { minLength: 1, maxLength: 4 }),
      fc.array(fc.nat(), { maxLength: 12 }),
      (published, cuts) => {
        const frames = published.map((event, index) =>
          encodeFrame({
            id: `0000000000${index}`,
            key: Buffer.from(event.key),
            type: Buffer.from(event.type),
            message: Buffer.from(event.message),
          }),
        )
        const stream = Buffer.concat(frames)
        const places = [0, ...cuts.map((cut) => cut % stream.length).sort((a, b) => a - b), stream.length]
        const chunks = places.slice(1).map((end, index) => stream.subarray(places[index], end))
        const seen = collect(chunks)
        assert.deepEqual(
          seen.events,
          published.map((event, index) => ({
            type: event.type === '' ? 'message' : event.type,
            data: event.message.replace(/\r\n?/g, '\n'),
            lastEventId: event.key === '' ? `0000000000${index}` : event.key,
          })),
        )
        const ids = published.flatMap((event, index) => [
          ...(event.key === '' ? [] : [event.key]),
          `0000000000${index}`,
        ])
        assert.deepEqual(seen.ids, ids)
      },
    ),
  )
})

test('a stream cut in two at any byte, and into single bytes, gives the same as the whole', () => {
  const stream = Buffer.from(
    '\ufeff: é\r\nid: 😀\r\ndata: €\r\rdata: 😀\ndata\n\r\nretry: 5\r\nevent: é\rdata: x\r\n\r\n',
  )
  const whole = collect([stream])
  assert.equal(whole.events.length, 3)
  for (let cut = 0; cut <= stream.length; cut++) {
    assert.deepEqual(collect([stream.subarray(0, cut), stream.subarray(cut)]), whole, `cut at ${cut}`)
  }
  assert.deepEqual(collect(Array.from(stream, (byte) => Uint8Array.of(byte))), whole)
  assert.deepEqual(collect(stream.toString().split('')), whole)
})
