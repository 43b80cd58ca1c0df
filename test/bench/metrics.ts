/**
 * What the figures for Prometheus cost: counting, by the same load on a server that counts and one that does not, in turns;
 * and a scrape of a server with many topics and subscribers.
 */
import { once } from 'node:events'
import { get } from 'node:http'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { telling } from '../../src/app-observers.ts'
import { silentHubObserver } from '../../src/domain/ports.ts'
import { silentHttpObserver } from '../../src/http/errors.ts'
import { Metrics } from '../../src/metrics.ts'
import { silentObserver } from '../../storage-engine/index.ts'
import { Api } from '../support/api.ts'
import { API_TOKEN, type ServerProcess } from '../support/server-process.ts'
import { LoadProcess } from './load-process.ts'
import type { Bench } from './long-run.ts'
import { makeLog } from './make-log.ts'

const WITHOUT_COUNTING = fileURLToPath(new URL('without-counting.mjs', import.meta.url))
const LOOP_PROBE = fileURLToPath(new URL('loop-probe.mjs', import.meta.url))
const MESSAGE_BYTES = 120
const CONNECTIONS = 64
const SUBSCRIBERS = 1_000
const TURNS = 12
const WARM_UP_MS = 1_000
const SCRAPED_TOPICS = 100_000
const SCRAPED_SUBSCRIBERS = 10_000
const SCRAPES = 40
const CALLS = 1_000_000
const PAUSE_MS = 50

const TARGETS = { countingPercent: 2, scrapeMs: 20, loopMs: 5 }

export async function measureMetrics(bench: Bench): Promise<void> {
  await measureCounting(bench)
  await measureScrapes(bench)
}

/** One of the two servers that are compared. */
interface Side {
  readonly server: ServerProcess
  /** Holds its subscribers. */
  readonly load: LoadProcess
  readonly topicIds: readonly string[]
}

/** What one turn brought: events a second, and the processor's time for each. */
interface Turn {
  readonly perSecond: number
  readonly cpuUs: number
}

async function measureCounting(bench: Bench): Promise<void> {
  // Without waiting for the disk, whose moods are larger than what is looked for: the processor is what it takes time of.
  const settings = { log: { sync: 'never' } }
  const off = { settings, nodeArguments: ['--import', WITHOUT_COUNTING] }
  await bench.withServer('counting', { settings }, async (counting, countingLoad) => {
    await bench.withServer('silent', off, async (silent, silentLoad) => {
      const publisher = new LoadProcess()
      try {
        const sides = [await sideOf(counting, countingLoad, 64), await sideOf(silent, silentLoad, 64)] as const
        const publishCpuUs = await compare(bench, 'publishes', sides, (side) => publish(bench, side, publisher))
        measureCalls(bench, publishCpuUs)
        const readers = [await sideOf(counting, countingLoad, 1), await sideOf(silent, silentLoad, 1)] as const
        for (const side of readers) await subscribe(bench, side)
        await compare(bench, 'deliveries', readers, (side) => deliver(bench, side, publisher))
      } finally {
        await publisher.close()
      }
    })
  })
}

async function sideOf(server: ServerProcess, load: LoadProcess, topics: number): Promise<Side> {
  const api = new Api(server)
  const created = await Promise.all(Array.from({ length: topics }, () => api.createTopic()))
  api.close()
  return { server, load, topicIds: created.map(({ id }) => id) }
}

/**
 * Turn by turn, beginning with the one and with the other: a machine has moods that last longer than a turn. Resolves with
 * the processor's time for each, without counting.
 */
async function compare(
  bench: Bench,
  what: string,
  [counting, silent]: readonly [Side, Side],
  measure: (side: Side) => Promise<Turn>,
): Promise<number> {
  for (const side of [counting, silent]) await measure(side)
  const cpuUs: number[] = []
  const slower: number[] = []
  const dearer: number[] = []
  for (let turn = 0; turn < TURNS; turn += 1) {
    const isFirst = turn % 2 === 0
    const first = await measure(isFirst ? counting : silent)
    const second = await measure(isFirst ? silent : counting)
    const [on, off] = isFirst ? [first, second] : [second, first]
    slower.push((1 - on.perSecond / off.perSecond) * 100)
    cpuUs.push(off.cpuUs)
    dearer.push((on.cpuUs / off.cpuUs - 1) * 100)
  }
  const words = `median of ${TURNS} turns`
  bench.note(`${what}: fewer a second where they are counted, ${words}`, median(slower), '%')
  bench.note(`${what}: the middle half of the turns says from`, quantile(slower, 0.25), '%')
  bench.note(`${what}: the middle half of the turns says to`, quantile(slower, 0.75), '%')
  bench.note(`${what}: more of the processor for each, ${words}`, median(dearer), '%')
  return median(cpuUs)
}

/** The turns say what their noise lets them; this is exact, and what it is a share of is not: both together are the answer. */
function measureCalls(bench: Bench, publishCpuUs: number): void {
  const nothing = () => undefined
  const sources = { figures: nothing, log: nothing, lag: nothing, certificate: nothing }
  const metrics = new Metrics({ version: '', isReady: () => true, ...sources })
  const hub = telling(silentHubObserver, metrics.tally.hubObserver)
  const http = telling(silentHttpObserver, metrics.tally.httpObserver)
  const log = telling(silentObserver, metrics.tally.storageObserver)
  const publishOnce = (durationMs: number) => {
    log.committed(1, MESSAGE_BYTES, durationMs)
    hub.delivered(1, MESSAGE_BYTES, durationMs)
    hub.published(1, durationMs)
    http.answered('post', '/api/v1/pubsubs/{id}/events', 201)
  }
  for (let call = 0; call < CALLS; call += 1) publishOnce(call % 20)
  const beganAt = performance.now()
  for (let call = 0; call < CALLS; call += 1) publishOnce(call % 20)
  const eachUs = ((performance.now() - beganAt) * 1000) / CALLS
  bench.note('all that is counted at a publish, committed alone', eachUs, 'µs')
  const share = (eachUs / publishCpuUs) * 100
  bench.note('the same, of the processor’s time for a publish', share, '%', TARGETS.countingPercent, 'less')
}

async function publish(bench: Bench, side: Side, publisher: LoadProcess, connections = CONNECTIONS): Promise<Turn> {
  const { server, topicIds } = side
  const before = server.cpuMs
  const { perSecond, acknowledged } = await publisher.call('publishInLoop', {
    port: server.port,
    token: API_TOKEN,
    topicIds,
    connections,
    messageBytes: MESSAGE_BYTES,
    durationMs: bench.durationMs / 4,
    warmUpMs: 0,
  })
  const events = acknowledged.reduce((sum, each) => sum + each, 0)
  return { perSecond, cpuUs: ((server.cpuMs - before) * 1000) / events }
}

async function subscribe(bench: Bench, { server, load, topicIds }: Side): Promise<void> {
  const each = Array.from({ length: bench.scaled(SUBSCRIBERS) }, () => topicIds[0] as string)
  await load.call('subscribe', { port: server.port, token: API_TOKEN, topicIds: each })
}

/** One publisher alone: each event is a write to each subscriber, however fast the machine is just then. */
async function deliver(bench: Bench, side: Side, publisher: LoadProcess): Promise<Turn> {
  const { perSecond, cpuUs } = await publish(bench, side, publisher, 1)
  // What the readers have not taken yet is not the other's affair.
  await delay(PAUSE_MS)
  const subscribers = bench.scaled(SUBSCRIBERS)
  return { perSecond: perSecond * subscribers, cpuUs: cpuUs / subscribers }
}

async function measureScrapes(bench: Bench): Promise<void> {
  const topics = bench.scaled(SCRAPED_TOPICS)
  const directory = join(bench.work, 'scraped')
  const made = await makeLog(directory, { events: topics, topics, messageBytes: MESSAGE_BYTES, lastEvents: 0 })
  const options = {
    directory,
    nodeArguments: ['--import', LOOP_PROBE],
    // Nobody is spoken to meanwhile, so that what holds the loop up is the scrape.
    settings: { pubsub: { tickFrequency: '5m' }, limits: { topicsMax: 2 * SCRAPED_TOPICS } },
  }
  await bench.withServer('scraped', options, async (server, load) => {
    const { port } = server
    const count = bench.scaled(SCRAPED_SUBSCRIBERS)
    const topicIds = Array.from({ length: count }, (_, index) => made.topicIds[index % topics] as string)
    await load.call('subscribe', { port, token: API_TOKEN, topicIds })
    await delay(WARM_UP_MS)
    for (let warm = 0; warm < SCRAPES; warm += 1) await scrape(port)
    const quiet: number[] = []
    const took: number[] = []
    const held: number[] = []
    await heldUp(server)
    for (let turn = 0; turn < SCRAPES; turn += 1) {
      await delay(PAUSE_MS)
      quiet.push(await heldUp(server))
      took.push(await scrape(port))
      held.push(await heldUp(server))
    }
    const what = `scrape with ${topics} topics and ${count} subscribers`
    bench.note(`${what}, median`, median(took), 'ms', TARGETS.scrapeMs, 'less')
    bench.note(`${what}, longest of ${SCRAPES}`, Math.max(...took), 'ms')
    bench.note(`${what}: the loop is held up for, median`, median(held), 'ms', TARGETS.loopMs, 'less')
    bench.note(`${what}: the loop is held up for, longest`, Math.max(...held), 'ms')
    bench.note(`${what}: between them it is held up for, longest`, Math.max(...quiet), 'ms')
  })
}

async function scrape(port: number): Promise<number> {
  const beganAt = performance.now()
  const request = get({ host: '127.0.0.1', port, path: '/metrics' })
  const [response] = (await once(request, 'response')) as [NodeJS.ReadableStream]
  response.resume()
  await once(response, 'end')
  return performance.now() - beganAt
}

/** For how long at most since this was asked last. */
async function heldUp(server: ServerProcess): Promise<number> {
  server.lines.length = 0
  process.kill(server.pid, 'SIGUSR2')
  return Number(/held up ([\d.e-]+) ms/.exec(await server.line(/^loop held up/))?.[1])
}

function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}
