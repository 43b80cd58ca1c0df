/**
 * What TLS and HTTP/2 cost: the same loads without TLS, over TLS with HTTP/1.1, and over HTTP/2 with one stream a connection
 * and with many, each against a server of its own, in turns. Rates hold what the load costs the machine as well, which
 * has to decrypt what the server encrypts; the processor's time of the server alone stands beside them.
 */
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { Api } from '../support/api.ts'
import { API_TOKEN, type ServerProcess } from '../support/server-process.ts'
import type { Bench } from './bench.ts'
import { LoadProcess } from './load-process.ts'
import type { Transport } from './transport.ts'

interface Way {
  readonly name: string
  readonly transport: Transport
  readonly streamsPerConnection: number
  /** Above that of a subscriber without TLS. */
  readonly idleKbMax: number | undefined
}

const PLAIN: Way = { name: 'plain', transport: 'plain', streamsPerConnection: 1, idleKbMax: undefined }
const WAYS: readonly Way[] = [
  PLAIN,
  { name: 'TLS, HTTP/1.1', transport: 'tls', streamsPerConnection: 1, idleKbMax: 30 },
  { name: 'HTTP/2', transport: 'http2', streamsPerConnection: 1, idleKbMax: 55 },
  { name: 'HTTP/2, 50 streams a connection', transport: 'http2', streamsPerConnection: 50, idleKbMax: 5 },
]

const MESSAGE_BYTES = 120
const PUBLISHERS = 64
const SUBSCRIBERS = 1_000
const TOPICS = 10
const WARM_UP_MS = 1_000
const WARM_STREAMS = 1_000
const IDLE_STREAMS = 2_500
/** Until the garbage of the requests is gone. */
const IDLE_MS = 9_000
const POLL_MS = 50
/** By which what is measured ends before the load does. */
const MARGIN_MS = 200
const ARRIVAL_MS_MAX = 60_000
const DELIVERED_PERCENT = 60

interface Rate {
  readonly perSecond: number
  /** Of the server's processor. */
  readonly eachUs: number
}

interface Measured {
  readonly publishes: Rate
  readonly inBatches: Rate
  readonly oneByOne: Rate
  readonly idleBytes: number
}

interface Published {
  readonly publishes: Rate
  readonly deliveries: Rate
  readonly acknowledged: number
}

export async function measureTls(bench: Bench): Promise<void> {
  let plain: Measured | undefined
  for (const way of WAYS) {
    const measured = await measureWay(bench, way)
    plain ??= measured
    noteMeasured(bench, way, measured, plain)
  }
}

async function measureWay(bench: Bench, way: Way): Promise<Measured> {
  const isSecure = way !== PLAIN
  let idleBytes = 0
  await bench.withServer(`tls-idle-${way.name}`, { isSecure }, async (server, load) => {
    idleBytes = await measureIdle(bench, way, server, load)
  })
  let rates: Omit<Measured, 'idleBytes'> | undefined
  await bench.withServer(`tls-${way.name}`, { isSecure }, async (server, load) => {
    rates = await measureRates(bench, way, server, load)
  })
  return { ...rates!, idleBytes }
}

async function measureIdle(bench: Bench, way: Way, server: ServerProcess, load: LoadProcess): Promise<number> {
  const [topicId = ''] = await makeTopics(server, 1)
  const subscribe = (count: number) =>
    subscribeTo(
      way,
      server,
      load,
      Array.from({ length: count }, () => topicId),
    )
  // What the first connections leave behind is code and pools, not subscribers.
  await subscribe(bench.scaled(WARM_STREAMS))
  await load.call('unsubscribe', null)
  await delay(WARM_UP_MS)
  const before = server.rssBytes
  const count = bench.scaled(IDLE_STREAMS)
  await subscribe(count)
  await delay(IDLE_MS)
  return (server.rssBytes - before) / count
}

async function measureRates(
  bench: Bench,
  way: Way,
  server: ServerProcess,
  load: LoadProcess,
): Promise<Omit<Measured, 'idleBytes'>> {
  const topicIds = await makeTopics(server, TOPICS)
  const publisher = new LoadProcess()
  const each = Math.max(1, Math.round(bench.scaled(SUBSCRIBERS) / TOPICS))
  const subscribers = Array.from({ length: each * TOPICS }, (_, index) => topicIds[index % TOPICS] as string)

  /** What the server's processor takes meanwhile, the handshakes of the warm-up left out. */
  async function publish(publishers: number): Promise<Published> {
    const publishing = publisher.call('publishInLoop', {
      port: server.port,
      transport: way.transport,
      token: API_TOKEN,
      topicIds,
      connections: publishers,
      messageBytes: MESSAGE_BYTES,
      durationMs: bench.durationMs,
      warmUpMs: WARM_UP_MS,
    })
    await delay(WARM_UP_MS)
    const before = await load.call('eventsReceived', null)
    const cpuMs = server.cpuMs
    await delay(bench.durationMs - MARGIN_MS)
    const cpuUs = (server.cpuMs - cpuMs) * 1000
    const after = await load.call('eventsReceived', null)
    const { perSecond, acknowledged, failed } = await publishing
    assert.equal(failed, 0)
    const deliveries = after.events - before.events
    const seconds = (after.atUs - before.atUs) / 1e6
    return {
      publishes: { perSecond, eachUs: cpuUs / (perSecond * seconds) },
      deliveries: { perSecond: deliveries / seconds, eachUs: cpuUs / deliveries },
      acknowledged: acknowledged.reduce((sum, count) => sum + count, 0),
    }
  }

  async function deliver(publishers: number): Promise<Rate> {
    await load.call('unsubscribe', null)
    await subscribeTo(way, server, load, subscribers)
    const { deliveries, acknowledged } = await publish(publishers)
    await untilEvents(load, acknowledged * each)
    return deliveries
  }

  try {
    // Code that is not compiled yet.
    await publish(PUBLISHERS)
    const { publishes } = await publish(PUBLISHERS)
    return { publishes, inBatches: await deliver(PUBLISHERS), oneByOne: await deliver(1) }
  } finally {
    await publisher.close()
  }
}

/** Resolves when so many have come, and fails where they do not. */
async function untilEvents(load: LoadProcess, events: number): Promise<void> {
  for (const endsAtMs = performance.now() + ARRIVAL_MS_MAX; ; await delay(POLL_MS)) {
    const { events: came } = await load.call('eventsReceived', null)
    if (came === events) return
    assert(performance.now() < endsAtMs, `${events} events were expected, and ${came} came.`)
  }
}

async function makeTopics(server: ServerProcess, count: number): Promise<string[]> {
  const api = new Api(server)
  const topics = await Promise.all(Array.from({ length: count }, () => api.createTopic()))
  api.close()
  return topics.map(({ id }) => id)
}

function subscribeTo(
  { transport, streamsPerConnection }: Way,
  { port }: ServerProcess,
  load: LoadProcess,
  topicIds: readonly string[],
): Promise<void> {
  return load.call('subscribe', { port, transport, streamsPerConnection, token: API_TOKEN, topicIds })
}

function noteMeasured(bench: Bench, { name, transport, idleKbMax }: Way, measured: Measured, plain: Measured): void {
  const note = (what: string, ...figure: [number, string, number?, ('more' | 'less')?]) =>
    bench.note(`${name}: ${what}`, ...figure)
  note('an idle subscriber', measured.idleBytes, 'bytes')
  if (idleKbMax !== undefined)
    note('an idle subscriber, above plain', (measured.idleBytes - plain.idleBytes) / 1024, 'KB', idleKbMax, 'less')
  for (const [part, what] of [
    ['publishes', `durable publishes, ${PUBLISHERS} publishers`],
    ['inBatches', `deliveries, ${PUBLISHERS} publishers`],
    ['oneByOne', 'deliveries, 1 publisher, each event alone'],
  ] as const) {
    const { perSecond, eachUs } = measured[part]
    note(what, perSecond, '/s')
    note(`${what}, processor of the server for each`, eachUs, 'µs')
    if (measured === plain) continue
    const target = transport === 'http2' && part !== 'publishes' ? DELIVERED_PERCENT : undefined
    note(`${what}, against plain`, (perSecond / plain[part].perSecond) * 100, '%', target)
  }
}
