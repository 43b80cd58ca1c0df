/** The sink over a stream of HTTP/2: its bound, its progress, and its end. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type ClientHttp2Stream, connect, createServer, type Http2ServerResponse } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { SharedBytes } from '../../src/domain/ports.ts'
import { Http2Answer, Http2Request } from '../../src/http/http2-messages.ts'
import { Http2SseStream } from '../../src/http/http2-sse-stream.ts'

const waitingBytesMax = 100_000
setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void
const turn = () => new Promise((resolve) => setImmediate(resolve))

/** Without what nobody holds any more. */
function heldBytes(): number {
  collect()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

interface Opened {
  readonly stream: Http2SseStream
  readonly client: ClientHttp2Stream
}

async function open(t: TestContext): Promise<Opened> {
  const server = createServer({ Http2ServerRequest: Http2Request, Http2ServerResponse: Http2Answer })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  const client = session.request({ ':path': '/' })
  client.on('error', () => undefined)
  const [, response] = (await once(server, 'request')) as [unknown, Http2ServerResponse]
  t.after(() => {
    session.destroy()
    server.close()
  })
  return { stream: new Http2SseStream(response, ['x-own', 'yes'], waitingBytesMax), client }
}

function bytesOf(text: string): SharedBytes {
  const plain = Buffer.from(text)
  return { plain, chunked: Buffer.from(`${plain.length.toString(16)}\r\n${text}\r\n`) }
}

async function textOf(client: ClientHttp2Stream): Promise<string> {
  let text = ''
  for await (const chunk of client) text += chunk
  return text
}

test('it says no above its bound and not below, tells progress, and wants more when what waited has gone', async (t) => {
  const { stream, client } = await open(t)
  client.pause()
  const piece = bytesOf('x'.repeat(20_000))
  let count = 1
  while (stream.write(piece)) {
    count += 1
    assert(count < 100)
    await turn()
  }
  // A window of HTTP/2 is what it takes unread; the rest waits.
  assert(count * 20_000 > waitingBytesMax)
  const accepted = stream.bytesAccepted
  const reading = textOf(client)
  await stream.drained()
  assert.equal(stream.bytesAccepted, count * 20_000)
  assert(stream.bytesAccepted > accepted)
  stream.close('stopping', bytesOf('end'))
  assert.equal((await reading).length, count * 20_000 + 3)
})

test('what was written keeps its order, whatever the sizes and however it is read', async (t) => {
  const { stream, client } = await open(t)
  let expected = ''
  for (let index = 0; index < 300; index += 1) {
    const text = `${index},`.repeat(1 + ((index * 7919) % 1500))
    expected += text
    stream.write(bytesOf(text))
    if (index % 10 === 0) await turn()
  }
  const reading = textOf(client)
  stream.close('stopping')
  assert.equal(await reading, expected)
})

test('waiting for a drain ends when the client leaves, and when the stream is closed', async (t) => {
  for (const end of ['client', 'close'] as const) {
    const { stream, client } = await open(t)
    let closes = 0
    stream.onClose(() => {
      closes += 1
    })
    client.pause()
    const piece = bytesOf('x'.repeat(200_000))
    while (stream.write(piece)) await turn()
    const drained = stream.drained()
    if (end === 'client') client.destroy()
    else stream.close('write-timeout')
    await drained
    assert(stream.isClosed)
    while (closes === 0) await turn()
    stream.close('error', bytesOf('never sent'))
    assert.equal(stream.write(piece), true)
    assert.equal(closes, 1)
  }
})

test('a stream that never wrote anything still has its head when it ends', async (t) => {
  const { stream, client } = await open(t)
  const answered = once(client, 'response')
  stream.close('topic-deleted')
  const [headers] = await answered
  assert.deepEqual([headers[':status'], headers['x-own'], headers['content-type']], [200, 'yes', 'text/event-stream'])
  assert.equal(await textOf(client), '')
})

test('what is cut off for taking nothing is cut off also after its end was written', async (t) => {
  const { stream, client } = await open(t)
  client.pause()
  const piece = bytesOf('x'.repeat(200_000))
  while (stream.write(piece)) await turn()
  let isGone = false
  stream.onClose(() => {
    isGone = true
  })
  stream.close('stopping', bytesOf('end'))
  for (let index = 0; index < 20; index += 1) await turn()
  assert.equal(isGone, false)
  stream.close('write-timeout')
  while (!isGone) await turn()
})

test('a thousand streams that nobody takes anything of hold what their bounds allow, and one beside them gets everything', async (t) => {
  const server = createServer({ Http2ServerRequest: Http2Request, Http2ServerResponse: Http2Answer })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  // So small that what was taken is held by the server, and not by the client in the same process.
  const settings = { initialWindowSize: 4096 }
  const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, { settings })
  t.after(() => {
    session.destroy()
    server.close()
  })
  const streams: Http2SseStream[] = []
  server.on('request', (_request, response) => {
    streams.push(new Http2SseStream(response, [], waitingBytesMax))
  })
  const count = 1001
  const clients = Array.from({ length: count }, () => session.request({ ':path': '/' }).on('error', () => undefined))
  while (streams.length < count) await turn()
  const [first, ...unread] = streams
  const [reader] = clients
  assert(first !== undefined && reader !== undefined)
  const before = heldBytes()
  const pieceBytes = 8192
  const writtenMax = unread.length * (waitingBytesMax + pieceBytes)
  let written = 0
  // None of the bytes are shared, which is the worst that topics of their own can do.
  for (const stream of unread) {
    do written += pieceBytes
    while (stream.write({ plain: Buffer.alloc(pieceBytes, 'x'), chunked: Buffer.alloc(0) }) && written < writtenMax)
  }
  assert(written < writtenMax, `${written} bytes were taken`)
  const reading = textOf(reader)
  let expected = ''
  for (let index = 0; index < 200; index += 1) {
    const text = `${index},`.repeat(500)
    expected += text
    if (!first.write(bytesOf(text))) await first.drained()
  }
  first.close('stopping')
  assert.equal(await reading, expected)
  // Beside the bytes: what node has of each, and the objects on both sides.
  assert(heldBytes() - before < written + unread.length * 16 * 1024, 'more is held than was taken')
})
