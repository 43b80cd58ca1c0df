import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EVENT_PUBLISHED, encodeEvent } from '../../src/domain/entry.ts'
import { FrameBuilder, shareBytes } from '../../src/domain/frame-builder.ts'
import type { LogRecord } from '../../src/domain/ports.ts'
import { eventOf, frameText } from '../support/hub-events.ts'

function record(offset: number, message: string, id = ''): LogRecord {
  const event = eventOf(message, { id, type: 'kind' })
  const payload = encodeEvent(event)
  return { offset, streamId: 5, kind: EVENT_PUBLISHED, length: 40 + payload.length, timeMs: 0, key: event.key, payload }
}

test('frames are those of the encoder, one behind the other, bare and in one chunk', () => {
  const builder = new FrameBuilder()
  const messages = ['one', 'two\r\nlines', 'x'.repeat(200_000), '\n'.repeat(5_000), 'ünï']
  const records = messages.map((message, i) => record(100 + i, message, i % 2 === 0 ? `key ${i}` : ''))
  const expected = messages
    .map((message, i) => frameText(100 + i, eventOf(message, { id: i % 2 === 0 ? `key ${i}` : '', type: 'kind' })))
    .join('')
  for (let round = 0; round < 2; round++) {
    const { plain, chunked } = builder.build(records)
    assert.equal(Buffer.from(plain).toString(), expected)
    assert.equal(Buffer.from(chunked).toString(), `${plain.length.toString(16)}\r\n${expected}\r\n`)
    assert.equal(plain.buffer, chunked.buffer, 'one allocation')
  }
})

test('what was built stays as it is when the builder goes on and the records are overwritten', () => {
  const builder = new FrameBuilder()
  const first = record(1, 'first')
  const { plain } = builder.build([first])
  first.payload.fill(0)
  builder.build([record(2, 'other')])
  assert.equal(Buffer.from(plain).toString(), frameText(1, eventOf('first', { type: 'kind' })))
})

test('records that are no events have no frame', () => {
  const other = { ...record(1, 'no event'), kind: 200 }
  const { plain } = new FrameBuilder().build([other, record(2, 'event')])
  assert.equal(Buffer.from(plain).toString(), frameText(2, eventOf('event', { type: 'kind' })))
})

test('a payload that cannot be read is an error, and the builder is good for the next one', () => {
  const builder = new FrameBuilder()
  assert.throws(() => builder.build([record(1, 'good'), { ...record(2, ''), payload: new Uint8Array(1) }]))
  assert.equal(
    Buffer.from(builder.build([record(3, 'x')]).plain).toString(),
    frameText(3, eventOf('x', { type: 'kind' })),
  )
})

test('a chunk has its size in hex without leading zeros, whatever it is, and is never empty', () => {
  for (const length of [1, 9, 15, 16, 255, 256, 4096, 65_535, 1_048_576]) {
    const { chunked } = shareBytes(new Uint8Array(length - 1), new Uint8Array(1))
    const head = `${length.toString(16)}\r\n`
    assert.equal(Buffer.from(chunked.subarray(0, head.length)).toString(), head)
    assert.equal(chunked.length, head.length + length + 2)
  }
  assert.throws(() => shareBytes(), /would end the stream/)
})
