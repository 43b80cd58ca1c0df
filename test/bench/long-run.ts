/**
 * What a log that has grown for a long time costs: publishing and delivering while old segments are compacted, and starts
 * of a large log. The servers, logs and disks are real; the events in the old part of the log are all alike.
 */
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Api } from '../support/api.ts'
import { API_TOKEN, type ServerOptions, type ServerProcess } from '../support/server-process.ts'
import { type Bench, MIB } from './bench.ts'
import { LoadProcess } from './load-process.ts'
import { makeLog } from './make-log.ts'
import { median } from './quantiles.ts'

const COMPACTED_BYTES = 2 * 1024 * MIB
const STARTED_BYTES = 10e9
/** Of old events in the log that is compacted; about, with what frames them. */
const SMALL_MESSAGE_BYTES = 120
const SMALL_RECORD_BYTES = SMALL_MESSAGE_BYTES + 48
const LARGE_MESSAGE_BYTES = 4_000
const LARGE_RECORD_BYTES = LARGE_MESSAGE_BYTES + 48
const OLD_TOPICS = 1_000

const CONNECTIONS = 64
const SUBSCRIBERS = 1_000
const DELIVERED_TOPICS = 10
const LATENCY_EVENTS_PER_SECOND = 50
const WARM_UP_MS = 1_000
const POLL_MS = 100
const COMPACTION_TURNS = 3

const TARGETS = { rateShare: 80, latencyFactor: 2, cleanStartMs: 2_000, rebuiltMbPerSecond: 300 }

interface Rates {
  readonly publishesPerSecond: number
  readonly deliveriesPerSecond: number
  readonly latencyP99Ms: number
}

/**
 * The same load on the same log in turns: with compaction switched off, and while it works through 2 GB. One turn of each
 * says little on a machine whose disk has moods; the means of the rates, and the medians of the latencies, are compared.
 */
export async function measureCompaction(bench: Bench): Promise<void> {
  const events = Math.ceil(bench.scaled(COMPACTED_BYTES) / SMALL_RECORD_BYTES)
  const directory = join(bench.work, 'compaction')
  const made = await makeLog(directory, {
    events,
    topics: OLD_TOPICS,
    messageBytes: SMALL_MESSAGE_BYTES,
    lastEvents: 1,
  })
  bench.note(`log of ${made.segments} segments in the order of events`, made.bytes / MIB, 'MiB')
  const without: Rates[] = []
  const during: Rates[] = []
  let runs = 0
  let rssBytesPeak = 0
  for (let turn = 1; turn <= COMPACTION_TURNS; turn++) {
    await bench.withServer(`compaction-off-${turn}`, withCompaction(directory, false), async (server, load) => {
      without.push(await measureRates(bench, server, load))
    })
    await bench.withServer(`compaction-on-${turn}`, withCompaction(directory, true), async (server, load) => {
      await server.line(COMPACTED)
      const runsBefore = runsOf(server)
      during.push(await measureRates(bench, server, load))
      runs += runsOf(server) - runsBefore
      rssBytesPeak = Math.max(rssBytesPeak, server.rssBytesPeak)
    })
  }
  rmSync(directory, { recursive: true, force: true })
  bench.note('runs of compaction that ended while it was measured', runs, 'runs', 1)
  bench.note('peak memory', rssBytesPeak / MIB, 'MiB')
  const compare = (what: string, figure: (all: readonly Rates[]) => number, unit: string) => {
    bench.note(`${what}, without compaction`, figure(without), unit)
    bench.note(`${what}, during compaction`, figure(during), unit)
    return figure(during) / figure(without)
  }
  const publishes = compare('durable publishes', (all) => mean(all.map((rates) => rates.publishesPerSecond)), '/s')
  bench.note('durable publishes, kept', publishes * 100, '%', TARGETS.rateShare)
  const deliveries = compare('deliveries', (all) => mean(all.map((rates) => rates.deliveriesPerSecond)), '/s')
  bench.note('deliveries, kept', deliveries * 100, '%', TARGETS.rateShare)
  const latency = compare('latency p99', (all) => median(all.map((rates) => rates.latencyP99Ms)), 'ms')
  bench.note('latency p99, grown to', latency, '×', TARGETS.latencyFactor, 'less')
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

const COMPACTED = /"Segments were compacted\."/

function withCompaction(directory: string, enabled: boolean): ServerOptions {
  return {
    directory,
    settings: {
      logging: { level: 'debug' },
      limits: { subscribersMax: 50_000 },
      log: { maxBytes: '64GiB', compaction: { enabled, interval: '1s' } },
    },
  }
}

function runsOf(server: ServerProcess): number {
  return server.lines.filter((line) => COMPACTED.test(line)).length
}

async function measureRates(bench: Bench, server: ServerProcess, load: LoadProcess): Promise<Rates> {
  const api = new Api(server)
  const topics = await Promise.all(Array.from({ length: DELIVERED_TOPICS }, () => api.createTopic()))
  api.close()
  const topicIds = topics.map(({ id }) => id)
  const { port } = server
  const common = { port, token: API_TOKEN, topicIds, messageBytes: SMALL_MESSAGE_BYTES, warmUpMs: WARM_UP_MS }
  const publishing = { ...common, durationMs: bench.durationMs, connections: CONNECTIONS }
  const published = await load.call('publishInLoop', publishing)

  const publisher = new LoadProcess()
  const subscribers = Array.from({ length: SUBSCRIBERS }, (_, i) => topicIds[i % topicIds.length] as string)
  try {
    await load.call('subscribe', { port, token: API_TOKEN, topicIds: subscribers })
    const done = publisher.call('publishInLoop', publishing)
    await delay(WARM_UP_MS)
    const before = await load.call('eventsReceived', null)
    await delay(bench.durationMs - 200)
    const after = await load.call('eventsReceived', null)
    await done
    await drained(load)

    const paced = { ...common, connections: 32, perSecond: LATENCY_EVENTS_PER_SECOND }
    await publisher.call('publishAtRate', { ...paced, durationMs: WARM_UP_MS })
    await load.call('recordLatency', null)
    await publisher.call('publishAtRate', { ...paced, durationMs: bench.durationMs * 2 })
    const { p99 } = await load.call('latency', null)
    return {
      publishesPerSecond: published.perSecond,
      deliveriesPerSecond: (after.events - before.events) / ((after.atUs - before.atUs) / 1e6),
      latencyP99Ms: p99,
    }
  } finally {
    await publisher.close()
    await load.call('unsubscribe', null)
  }
}

/** Until nothing more arrives, so that what is measured next does not stand behind it. */
async function drained(load: LoadProcess): Promise<void> {
  for (let seen = -1, now = 0; now !== seen; ) {
    seen = now
    await delay(POLL_MS * 3)
    now = (await load.call('eventsReceived', null)).events
  }
}

/** A log of 10 GB: after a clean stop, after a kill under load, and with nothing but the segments themselves. */
export async function measureStart(bench: Bench): Promise<void> {
  const directory = join(bench.work, 'start')
  const events = Math.ceil(bench.scaled(STARTED_BYTES) / LARGE_RECORD_BYTES)
  const made = await makeLog(directory, {
    events,
    topics: OLD_TOPICS,
    messageBytes: LARGE_MESSAGE_BYTES,
    lastEvents: 1,
  })
  const size = `${(made.bytes / 1e9).toFixed(1)} GB`
  const options = withCompaction(directory, false)
  // The first server makes the checkpoint that a server of its own would have made.
  await bench.withServer('start-first', options, (server) => server.kill('SIGTERM').then(() => undefined))
  await bench.withServer('start', options, async (server, load) => {
    await server.kill('SIGTERM')
    const clean = await restarted(server)
    bench.note(`${size}, after a clean stop: from start to ready`, clean, 'ms', TARGETS.cleanStartMs, 'less')
    const topicIds = made.topicIds.slice(0, CONNECTIONS)
    const common = { port: server.port, token: API_TOKEN, topicIds, messageBytes: SMALL_MESSAGE_BYTES, warmUpMs: 0 }
    const publishing = load.call('publishInLoop', { ...common, durationMs: 3_000, connections: CONNECTIONS })
    await delay(1_500)
    await server.kill('SIGKILL')
    await publishing
    bench.note(`${size}, after kill -9 under load: from start to ready`, await restarted(server), 'ms')
    await server.kill('SIGTERM')
    const log = join(directory, 'log')
    for (const name of readdirSync(log)) if (/\.index$|^checkpoint-/.test(name)) rmSync(join(log, name))
    const bare = await restarted(server)
    bench.note(`${size}, without checkpoints and indexes: from start to ready`, bare / 1_000, 's')
    const rate = made.bytes / 1e6 / (bare / 1_000)
    bench.note(`${size}, without checkpoints and indexes`, rate, 'MB/s', TARGETS.rebuiltMbPerSecond)
    bench.note('peak memory', server.rssBytesPeak / MIB, 'MiB')
  })
  rmSync(directory, { recursive: true, force: true })
}

async function restarted(server: ServerProcess): Promise<number> {
  const beganAt = performance.now()
  await server.restart()
  return performance.now() - beganAt
}
