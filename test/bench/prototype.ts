/**
 * The yardstick: the least code that publishes durably and delivers, with the same router and the same wire. One raw route
 * of hapi, group commit with fdatasync, one chunk per topic and batch for all subscribers. It recovers nothing, replays
 * nothing and checks nothing; whatever is slower than this has something in its path that need not be there.
 *
 * Run by the benchmark: `node --import tsx test/bench/prototype.ts FOLDER`; prints its port.
 */
import { open } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { join } from 'node:path'
import Hapi from '@hapi/hapi'

const file = await open(join(process.argv[2] ?? '.', 'prototype.log'), 'w')
const topics = new Map<string, Set<Socket>>()
let sequence = 0
let queue: { readonly topic: string; readonly frame: string; done(id: string): void }[] = []
let isRunning = false

async function commit(): Promise<void> {
  isRunning = true
  await new Promise((resolve) => setImmediate(resolve))
  while (queue.length > 0) {
    const batch = queue
    queue = []
    const frames = new Map<string, string>()
    for (const { topic, frame } of batch) frames.set(topic, (frames.get(topic) ?? '') + frame)
    await file.write(Buffer.from(batch.map(({ topic, frame }) => `${topic}\n${frame}`).join('')))
    await file.datasync()
    for (const [topic, text] of frames) {
      const chunk = Buffer.from(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`)
      for (const socket of topics.get(topic) ?? []) socket.write(chunk)
    }
    for (const { done } of batch) done('00000000000')
  }
  isRunning = false
}

const listener = createServer({ noDelay: true })
const server = Hapi.server({ listener, autoListen: false, compression: false, debug: false })
server.route({
  method: 'POST',
  path: '/api/v1/pubsubs/{id}/events',
  options: { payload: { output: 'stream', parse: false, timeout: false }, state: { parse: false } },
  async handler(request, h) {
    const { req, res } = request.raw
    const body = await new Promise<Buffer>((resolve) => {
      const parts: Buffer[] = []
      req.on('data', (part: Buffer) => parts.push(part))
      req.on('end', () => resolve(parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)))
    })
    const { message }: { message: string } = JSON.parse(body.toString()).event
    const topic = String(request.params['id'])
    const frame = `id: ${String(++sequence).padStart(11, '0')}\ndata: ${message}\n\n`
    const id = await new Promise<string>((resolve) => {
      queue.push({ topic, frame, done: resolve })
      if (!isRunning) void commit()
    })
    const answer = `{"event":{"id":"${id}"}}`
    res.writeHead(201, { 'content-type': 'application/json', 'content-length': answer.length })
    res.end(answer)
    return h.abandon
  },
})
server.route({
  method: 'GET',
  path: '/api/v1/pubsubs/{id}/events',
  handler(request, h) {
    const { res } = request.raw
    const { socket } = res
    const topic = String(request.params['id'])
    const sockets = topics.get(topic) ?? new Set()
    topics.set(topic, sockets)
    res.writeHead(200, { 'content-type': 'text/event-stream' })
    res.write('retry: 2000\n\n')
    if (socket !== null) sockets.add(socket)
    res.once('close', () => sockets.delete(socket as Socket))
    return h.abandon
  },
})
await server.start()
await new Promise<void>((resolve) => {
  listener.listen(0, '127.0.0.1', 4096, resolve)
})
process.send?.((listener.address() as AddressInfo).port)
process.once('disconnect', () => process.exit(0))
