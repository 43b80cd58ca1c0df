import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  closedBlock,
  encodeFrame,
  type FrameFields,
  frameBytesMax,
  frameLength,
  gapBlock,
  heartbeatEvent,
  primingBlock,
  retryBlock,
  tickComment,
  writeFrame,
} from '../../src/sse/encode.ts'

const ID = '00Q72zvO87K'

function fields(parts: { key?: string; type?: string; message?: string }): FrameFields {
  const { key = '', type = '', message = '' } = parts
  return { id: ID, key: Buffer.from(key), type: Buffer.from(type), message: Buffer.from(message) }
}

function frame(parts: { key?: string; type?: string; message?: string }): string {
  return Buffer.from(encodeFrame(fields(parts))).toString()
}

const anyText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc
    .array(fc.constantFrom('\r', '\n', '\r\n', 'a', 'é', '😀', ' ', ':', 'data: x', '\0'), { maxLength: 80 })
    .map((parts) => parts.join('')),
)

test('an event goes out as id, event, data and an empty line, with one space behind each colon', () => {
  assert.equal(frame({ type: 'chat', message: 'hello' }), `id: ${ID}\nevent: chat\ndata: hello\n\n`)
})

test('an event without a type has no event field', () => {
  assert.equal(frame({ message: 'hello' }), `id: ${ID}\ndata: hello\n\n`)
})

test('an event with an id of the publisher carries that id, and the number follows in a block of its own', () => {
  assert.equal(frame({ key: 'order-1', type: 'x', message: 'm' }), `id: order-1\nevent: x\ndata: m\n\nid: ${ID}\n\n`)
})

test('CR, LF and CRLF each end a line of the message, and a break at the end leaves an empty last line', () => {
  assert.equal(
    frame({ message: 'a\rb\nc\r\nd\n\re\n' }),
    `id: ${ID}\n${'abcd'.replace(/./g, 'data: $&\n')}data: \ndata: e\ndata: \n\n`,
  )
})

test('an empty message is one empty data line', () => {
  assert.equal(frame({}), `id: ${ID}\ndata: \n\n`)
})

test('a message is split the same way whatever its size, on both sides of the size where the copying changes', () => {
  for (let length = 0; length < 130; length++) {
    const body = 'x'.repeat(length)
    assert.equal(frame({ message: body }), `id: ${ID}\ndata: ${body}\n\n`)
    assert.equal(frame({ message: `${body}\r\n${body}\r` }), `id: ${ID}\ndata: ${body}\ndata: ${body}\ndata: \n\n`)
  }
})

test('the reckoned length is the written length, and the bound is never below it', () => {
  fc.assert(
    fc.property(anyText, anyText, anyText, (key, type, message) => {
      const given = fields({ key, type, message })
      const target = new Uint8Array(frameBytesMax(given) + 3)
      const end = writeFrame(target, 3, given)
      assert.equal(end - 3, frameLength(given))
      assert.ok(end <= target.length)
      assert.deepEqual(target.subarray(3, end), encodeFrame(given))
    }),
  )
})

test('line ends and NUL in an id or a type go out as spaces and forge no field', () => {
  assert.equal(
    frame({ key: 'a\ndata: forged\r\0', type: 'b\n\nid: 9', message: 'm' }),
    `id: a data: forged  \nevent: b  id: 9\ndata: m\n\nid: ${ID}\n\n`,
  )
})

test('a target that is too short is refused, at every length', () => {
  const given = fields({ key: 'k', type: 't', message: 'message\nof two lines' })
  for (let length = 0; length < frameLength(given); length++) {
    assert.throws(() => writeFrame(new Uint8Array(length), 0, given), RangeError)
  }
  const long = fields({ message: 'x'.repeat(500) })
  assert.throws(() => writeFrame(new Uint8Array(frameLength(long) - 1), 0, long), RangeError)
})

test('an id that has not 11 characters is refused', () => {
  assert.throws(() => primingBlock('0'), RangeError)
  assert.throws(() => encodeFrame({ ...fields({}), id: `${ID}0` }), RangeError)
})

test('the other blocks are the words of the wire', () => {
  assert.equal(Buffer.from(tickComment).toString(), ': {"status": "tick"}\n\n')
  assert.equal(Buffer.from(closedBlock).toString(), 'data: {"status": "closed"}\n\n')
  assert.equal(Buffer.from(retryBlock(1500)).toString(), 'retry: 1500\n\n')
  assert.equal(Buffer.from(primingBlock(ID)).toString(), `id: ${ID}\n\n`)
  assert.equal(Buffer.from(gapBlock('{"a":1}')).toString(), 'event: sser.gap\ndata: {"a":1}\n\n')
  assert.equal(Buffer.from(heartbeatEvent('{"a":"é"}')).toString(), 'event: sser.heartbeat\ndata: {"a":"é"}\n\n')
})

test('a retry delay that is not a whole number of milliseconds is refused', () => {
  for (const delay of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY])
    assert.throws(() => retryBlock(delay), RangeError)
})
