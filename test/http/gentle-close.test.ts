import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import { closeGently } from '../../src/http/gentle-close.ts'

const PATIENCE_MS = 1000

test('what was written is taken whole, however long that takes, and only then is the connection cut', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true })
  const [socket] = (await once(server, 'connection')) as [Socket]
  t.after(() => {
    client.destroy()
    socket.destroy()
    server.close()
  })
  client.pause()
  const bytes = 32 * 1024 * 1024
  socket.write(Buffer.alloc(bytes))
  t.mock.timers.enable({ apis: ['setTimeout'] })
  closeGently.call(socket)
  t.mock.timers.tick(100 * PATIENCE_MS)
  assert(!socket.destroyed)
  let received = 0
  client.on('data', (chunk: Buffer) => {
    received += chunk.length
  })
  client.resume()
  const finished = once(socket, 'finish')
  await once(client, 'end')
  assert.equal(received, bytes)
  await finished
  // The client has not closed its side, and is not waited for any longer.
  assert(!socket.destroyed)
  t.mock.timers.tick(PATIENCE_MS)
  assert(socket.destroyed)
})
