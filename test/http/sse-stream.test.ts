import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import type { SharedBytes } from '../../src/domain/ports.ts'
import { SseStream } from '../../src/http/sse-stream.ts'
import { dechunk, RawConnection } from './fixture.ts'

const waitingBytesMax = 100_000

async function open(
  context: TestContext,
): Promise<{ stream: SseStream; response: ServerResponse; client: RawConnection }> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = new RawConnection(connect((server.address() as AddressInfo).port, '127.0.0.1'))
  client.socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
  const [, response] = (await once(server, 'request')) as [IncomingMessage, ServerResponse<IncomingMessage>]
  context.after(() => {
    client.socket.destroy()
    server.close()
    server.closeAllConnections()
  })
  return { stream: new SseStream(response, ['x-own', 'yes'], waitingBytesMax), response, client }
}

function bytesOf(text: string): SharedBytes {
  const plain = Buffer.from(text)
  return { plain, chunked: Buffer.from(`${plain.length.toString(16)}\r\n${text}\r\n`) }
}

test('it says no above its bound and not below, and wants more when what waited has gone', async (t) => {
  const { stream, response, client } = await open(t)
  client.socket.pause()
  const piece = bytesOf('x'.repeat(20_000))
  let count = 1
  while (stream.write(piece)) {
    assert(response.socket!.writableLength <= waitingBytesMax)
    count += 1
    assert(count < 10_000)
    // Once what the kernel takes is taken, the rest waits here.
    await new Promise((resolve) => setImmediate(resolve))
  }
  assert(response.socket!.writableLength > waitingBytesMax)
  const accepted = stream.bytesAccepted
  client.socket.resume()
  await stream.drained()
  assert.equal(response.socket!.writableLength, 0)
  assert(stream.bytesAccepted > accepted)
  stream.close('stopping', bytesOf('end'))
  const { body, isWhole } = dechunk(await client.until('\r\n0\r\n\r\n'))
  assert(isWhole)
  assert.equal(body.length, count * 20_000 + 3)
})

test('waiting for a drain ends when the client leaves, and when the stream is closed', async (t) => {
  for (const end of ['client', 'close'] as const) {
    const { stream, client } = await open(t)
    let closes = 0
    stream.onClose(() => {
      closes += 1
    })
    client.socket.pause()
    const piece = bytesOf('x'.repeat(1_000_000))
    while (stream.write(piece)) await new Promise((resolve) => setImmediate(resolve))
    const drained = stream.drained()
    if (end === 'client') client.socket.resetAndDestroy()
    else stream.close('write-timeout')
    await drained
    assert(stream.isClosed)
    while (closes === 0) await new Promise((resolve) => setImmediate(resolve))
    stream.close('error', bytesOf('never sent'))
    assert.equal(stream.write(piece), true)
    assert.equal(closes, 1)
  }
})

test('a stream that never wrote anything still has its head when it ends', async (t) => {
  const { stream, client } = await open(t)
  stream.close('topic-deleted')
  const { head, body } = dechunk(await client.until('\r\n0\r\n\r\n'))
  assert.match(head, /^HTTP\/1\.1 200 OK\r\nx-own: yes\r\ncontent-type: text\/event-stream\r\n/)
  assert.equal(body, '')
})

test('what is cut off for taking nothing is cut off also after its end was written', async (t) => {
  const { stream, client } = await open(t)
  client.socket.pause()
  const piece = bytesOf('x'.repeat(1_000_000))
  while (stream.write(piece)) await new Promise((resolve) => setImmediate(resolve))
  stream.close('stopping')
  const ended = new Promise<void>((resolve) => stream.onClose(resolve))
  stream.close('write-timeout')
  await ended
})
