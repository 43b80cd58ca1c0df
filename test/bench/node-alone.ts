/**
 * The yardstick for `npm run bench -- tls`: the same fan-out by Node alone, without any of the server's code. A hundred of a
 * thousand subscribers get an event at a time, as fast as they take it.
 *
 *   node --import tsx test/bench/node-alone.ts
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { createSecureServer, type Http2SecureServer } from 'node:http2'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo, Server } from 'node:net'
import type { Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { testCertificate } from '../support/certificates.ts'
import { LoadProcess } from './load-process.ts'
import type { Transport } from './transport.ts'

const SUBSCRIBERS = 1_000
const GROUPS = 10
const EVENT = Buffer.alloc(180, 'x')
const WARM_UP_MS = 1_000
const MEASURED_MS = 1_500

const { key, certificate: cert } = await testCertificate()
/** Of the subscribers of the server that is measured. */
let streams: Writable[] = []

function startServer(transport: Transport): Server | Http2SecureServer {
  if (transport === 'http2') {
    return createSecureServer({ key, cert }).on('stream', (stream) => {
      stream.respond({ 'content-type': 'text/event-stream' })
      stream.write('\n')
      streams.push(stream)
    })
  }
  const server = transport === 'tls' ? createHttpsServer({ key, cert }) : createServer()
  return server.on('request', (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.flushHeaders()
    streams.push(response.socket!.setNoDelay())
  })
}

async function measure(transport: Transport, streamsPerConnection: number): Promise<void> {
  streams = []
  const server = startServer(transport).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const load = new LoadProcess()
  try {
    const { port } = server.address() as AddressInfo
    const topicIds = Array.from({ length: SUBSCRIBERS }, () => 'any')
    await load.call('subscribe', { port, transport, streamsPerConnection, token: '', topicIds })
    const groups = Array.from({ length: GROUPS }, (_, group) => streams.filter((_, index) => index % GROUPS === group))
    await writeFor(groups, WARM_UP_MS)
    const cpu = process.cpuUsage()
    const beganMs = performance.now()
    const writes = await writeFor(groups, MEASURED_MS)
    const { user, system } = process.cpuUsage(cpu)
    const perSecond = writes / ((performance.now() - beganMs) / 1000)
    const each = ((user + system) / writes).toFixed(1)
    console.log(
      `${transport}, ${streamsPerConnection} a connection: ${Math.round(perSecond)} writes/s, ${each} µs each`,
    )
  } finally {
    await load.close()
    server.close()
  }
}

/** One group at a time, the next when all of it have taken theirs. Resolves with the number of writes. */
async function writeFor(groups: readonly Writable[][], durationMs: number): Promise<number> {
  let writes = 0
  const timeIsUp = delay(durationMs, true)
  for (let round = 0; ; round += 1) {
    const group = groups[round % GROUPS]!
    await new Promise<void>((resolve) => {
      let waiting = group.length
      const written = () => {
        waiting -= 1
        if (waiting === 0) setImmediate(resolve)
      }
      for (const stream of group) stream.write(EVENT, written)
    })
    writes += group.length
    if (await Promise.race([timeIsUp, false])) return writes
  }
}

await measure('plain', 1)
await measure('tls', 1)
await measure('http2', 1)
await measure('http2', 50)
