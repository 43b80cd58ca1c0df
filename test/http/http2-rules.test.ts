/**
 * What RFC 9113 asks of a server that is sent what no client may send: the mistake of a stream ends that stream, any other the
 * connection. After the cases of h2spec. One is left out: to node a head on a number below one that was used is nothing.
 */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { connect } from 'node:tls'
import {
  acknowledged,
  endHeaders,
  endStream,
  FrameReader,
  frame,
  frameOf,
  headOf,
  preface,
  resetOf,
  setting,
  settingsOf,
  windowMax,
  windowUpdateOf,
} from '../support/http2-frames.ts'
import { until } from '../support/until.ts'
import { API_TOKEN } from './fixture.ts'
import { certificate, startSecureFixture } from './secure-fixture.ts'

const asked = { ':method': 'GET', ':scheme': 'https', ':path': '/healthz', ':authority': 'localhost' }
const whole = endStream | endHeaders
const requestOf = (stream: number, headers: Record<string, string>, flags: number = whole) =>
  frameOf(frame.headers, flags, stream, headOf(headers))
const post = { ...asked, ':method': 'POST' }
const largest = Buffer.alloc(16_384)
const ping = frameOf(frame.ping, 0, 0, Buffer.alloc(8))
const pings = 3

/** What is ended by what was sent. */
type Ended = 'nothing' | 'stream' | 'connection'

/** Until the connection ends, or has answered whoever asks behind it whether it is still there. */
async function endedBy(t: TestContext, port: number, sent: Buffer): Promise<Ended> {
  const options = { servername: 'localhost', ca: certificate.certificate, ALPNProtocols: ['h2'] }
  const socket = connect({ host: '127.0.0.1', port, ...options })
  t.after(() => socket.destroy())
  socket.on('error', () => undefined)
  let answers = 0
  let resets = 0
  let pongs = 0
  return await new Promise<Ended>((resolve) => {
    const reader = new FrameReader(({ type, flags, isLast }) => {
      if (!isLast) return
      if (type === frame.goaway) resolve('connection')
      if (type === frame.headers) answers += 1
      if (type === frame.reset) resets += 1
      if (type !== frame.ping || flags !== acknowledged) return
      // It overtakes what is said of streams.
      pongs += 1
      if (pongs < pings) socket.write(ping)
      else if (resets > 0) resolve('stream')
      else if (answers > 0) resolve('nothing')
      else pongs = 0
    })
    socket.on('data', (chunk: Buffer) => reader.read(chunk, chunk.length))
    socket.once('close', () => resolve('connection'))
    socket.write(Buffer.concat([sent, ping]))
  })
}

const greeting = Buffer.concat([preface, settingsOf()])
/** Named by sections; what is sent behind the greeting, and what it ends. A request that is answered is the sign of none. */
const cases: readonly (readonly [name: string, frames: readonly Buffer[], ended: Ended])[] = [
  [
    '4.1: a frame of an unknown type is ignored',
    [frameOf(0x16, 0xff, 0, Buffer.alloc(8)), requestOf(1, asked)],
    'nothing',
  ],
  ['4.1: unknown flags are ignored', [frameOf(frame.ping, 0x16, 0, Buffer.alloc(8)), requestOf(1, asked)], 'nothing'],
  [
    '4.2: a frame above the size that was agreed',
    [requestOf(1, post, endHeaders), frameOf(frame.data, 0, 1, Buffer.alloc(16_385))],
    'connection',
  ],
  [
    '4.2: one of just that size',
    [requestOf(1, { ...post, ':path': '/nowhere' }, endHeaders), frameOf(frame.data, endStream, 1, largest)],
    'nothing',
  ],
  [
    '4.3: a head that is no HPACK',
    [
      frameOf(
        frame.headers,
        whole,
        1,
        Buffer.from([0x00, 0x85, 0xf2, 0xb2, 0x4a, 0x84, 0xff, 0x84, 0x49, 0x50, 0x9f, 0xff]),
      ),
    ],
    'connection',
  ],
  ['4.3: another frame within a head', [frameOf(frame.headers, 0, 1, headOf(asked)), ping], 'connection'],
  ['5.1: DATA on a stream that is idle', [frameOf(frame.data, endStream, 1)], 'connection'],
  ['5.1: RST_STREAM on a stream that is idle', [resetOf(1, 8)], 'connection'],
  ['5.1: WINDOW_UPDATE on a stream that is idle', [windowUpdateOf(1, 100)], 'connection'],
  ['5.1.1: a stream of an even number', [requestOf(2, asked)], 'connection'],
  ['6.1: DATA on stream 0', [frameOf(frame.data, 0, 0, Buffer.alloc(4))], 'connection'],
  ['6.2: HEADERS on stream 0', [requestOf(0, asked)], 'connection'],
  ['6.4: RST_STREAM on stream 0', [resetOf(0, 8)], 'connection'],
  [
    '6.4: RST_STREAM of a wrong length',
    [requestOf(1, post, endHeaders), frameOf(frame.reset, 0, 1, Buffer.alloc(3))],
    'connection',
  ],
  ['6.5: SETTINGS on a stream', [frameOf(frame.settings, 0, 1)], 'connection'],
  ['6.5: SETTINGS of a wrong length', [frameOf(frame.settings, 0, 0, Buffer.alloc(3))], 'connection'],
  ['6.5: an acknowledgement with content', [frameOf(frame.settings, acknowledged, 0, Buffer.alloc(6))], 'connection'],
  ['6.5.2: ENABLE_PUSH neither 0 nor 1', [settingsOf([setting.enablePush, 2])], 'connection'],
  ['6.5.2: a window that cannot be', [settingsOf([setting.initialWindowSize, 2 ** 31])], 'connection'],
  ['6.5.2: frames smaller than there are', [settingsOf([setting.maxFrameSize, 16_383])], 'connection'],
  ['6.5.2: a setting that nobody knows', [settingsOf([0xff, 1]), requestOf(1, asked)], 'nothing'],
  [
    '6.6: PUSH_PROMISE of a client',
    [
      requestOf(1, asked),
      frameOf(frame.pushPromise, endHeaders, 1, Buffer.concat([Buffer.from([0, 0, 0, 2]), headOf(asked)])),
    ],
    'connection',
  ],
  ['6.7: PING on a stream', [frameOf(frame.ping, 0, 1, Buffer.alloc(8))], 'connection'],
  ['6.7: PING of a wrong length', [frameOf(frame.ping, 0, 0, Buffer.alloc(6))], 'connection'],
  ['6.8: GOAWAY on a stream', [frameOf(frame.goaway, 0, 1, Buffer.alloc(8))], 'connection'],
  ['6.9: a window that grows by nothing', [windowUpdateOf(0, 0)], 'connection'],
  [
    '6.9.1: a window of the connection above the largest',
    [windowUpdateOf(0, windowMax), windowUpdateOf(0, windowMax)],
    'connection',
  ],
  [
    '6.9.1: a window of a stream above the largest',
    [requestOf(1, post, endHeaders), windowUpdateOf(1, windowMax)],
    'stream',
  ],
  ['6.10: CONTINUATION of nothing', [frameOf(frame.continuation, endHeaders, 1, headOf(asked))], 'connection'],
  ['8.2.1: a name in capitals', [requestOf(1, { ...asked, 'X-Test': 'ok' })], 'stream'],
  ['8.2.2: a header of the connection', [requestOf(1, { ...asked, connection: 'keep-alive' })], 'stream'],
  ['8.2.2: TE with more than trailers', [requestOf(1, { ...asked, te: 'trailers, deflate' })], 'stream'],
  ['8.3: a pseudo-header that nobody knows', [requestOf(1, { ...asked, ':test': 'ok' })], 'stream'],
  ['8.3: a pseudo-header of answers', [requestOf(1, { ...asked, ':status': '200' })], 'stream'],
  ['8.3: a pseudo-header behind others', [requestOf(1, { 'x-test': 'ok', ...asked })], 'stream'],
  ['8.3.1: no :method', [requestOf(1, { ':scheme': 'https', ':path': '/', ':authority': 'localhost' })], 'stream'],
  ['8.3.1: no :scheme', [requestOf(1, { ':method': 'GET', ':path': '/', ':authority': 'localhost' })], 'stream'],
  ['8.3.1: an empty :path', [requestOf(1, { ...asked, ':path': '' })], 'stream'],
  [
    '8.1.1: a body that is longer than was said',
    [
      requestOf(1, { ...post, 'content-length': '1' }, endHeaders),
      frameOf(frame.data, endStream, 1, Buffer.from('four')),
    ],
    'stream',
  ],
  [
    '8.1: a second head without an end of the stream',
    [requestOf(1, post, endHeaders), requestOf(1, { 'x-test': 'ok' }, endHeaders)],
    'stream',
  ],
]

test('what no client of HTTP/2 may send ends its stream or its connection, as the RFC says', async (t) => {
  const { securePort } = await startSecureFixture(t)
  for (const [name, frames, expected] of cases) {
    const ended = await endedBy(t, securePort, Buffer.concat([greeting, ...frames]))
    // Section 5.4.2: whoever likes takes the mistake of a stream for one of the connection.
    if (expected === 'stream') assert.notEqual(ended, 'nothing', name)
    else assert.equal(ended, expected, name)
  }
})

test('who does not begin as HTTP/2 begins is hung up on', async (t) => {
  const { securePort } = await startSecureFixture(t)
  for (const beginning of [Buffer.from('GET / HTTP/1.1\r\nhost: localhost\r\n\r\n'), requestOf(1, asked)])
    assert.equal(await endedBy(t, securePort, beginning), 'connection')
  assert.equal(await endedBy(t, securePort, Buffer.concat([preface, requestOf(1, asked)])), 'connection')
})

test('a connection whose protocol was broken, which node keeps, ends with all that is open on it', async (t) => {
  const { securePort, secureConnections, createTopic, hub } = await startSecureFixture(
    t,
    {},
    { http: { writeTimeoutMs: 500 } },
  )
  const { id } = await createTopic()
  const options = { servername: 'localhost', ca: certificate.certificate, ALPNProtocols: ['h2'] }
  const socket = connect({ host: '127.0.0.1', port: securePort, ...options })
  t.after(() => socket.destroy())
  socket.on('error', () => undefined).resume()
  const stream = { ...asked, ':path': `/api/v1/pubsubs/${id}/events`, authorization: `Bearer ${API_TOKEN}` }
  socket.write(Buffer.concat([greeting, requestOf(1, stream)]))
  await until('a stream', () => hub.figures().active_subscribers === 1)
  const tooLarge = frameOf(frame.data, 0, 1, Buffer.alloc(16_385))
  socket.write(Buffer.concat([requestOf(3, post, endHeaders), tooLarge]))
  await until('no connection', () => secureConnections.size === 0)
  await until('no stream', () => hub.figures().active_subscribers === 0)
})
