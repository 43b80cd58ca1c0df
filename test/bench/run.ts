/**
 * Measures the server as a user runs it: the built program, on the disk of the temporary folder, with load from
 * processes of their own.
 *
 *   npm run bench                                  everything, about six minutes
 *   npm run bench -- publish idle                  some parts only: publish batch deliver latency replay storm idle
 *                                                  engine recovery prototype nchan counting metrics tls compaction start
 *   npm run bench -- publish deliver latency nchan nginx with nchan under the same load, which has to be installed;
 *                                                  not run unless named
 *   npm run bench -- compaction start              old logs of 2 and 10 GB, which need that much room; not run unless named
 *   npm run bench -- --seconds 2 --scale 0.1       shorter runs; fewer events, subscribers and bytes where a part
 *                                                  depends on their number
 *   npm run bench -- --json FILE                   the figures for a program, beside the table
 *   npm run bench -- --profile FOLDER publish      a CPU profile of each server (open it in a browser's tools), and its
 *                                                  busiest functions on the terminal
 *
 * Set TMPDIR to measure another disk. On a small machine the load shares the cores with the server, so the figures are
 * what server and clients reach together.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, release, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Api } from '../support/api.ts'
import { API_TOKEN, type ServerOptions, ServerProcess } from '../support/server-process.ts'
import { measureCounting } from './counting.ts'
import { measureEngine } from './engine.ts'
import { LoadProcess } from './load-process.ts'
import { type Bench, measureCompaction, measureStart } from './long-run.ts'
import { type MadeLog, makeLog } from './make-log.ts'
import { measureMetrics } from './metrics.ts'
import { busiestFunctions } from './profile.ts'
import { startNchan } from './start-nchan.ts'
import { type Peer, startPrototype } from './start-prototype.ts'
import { measureTls } from './tls.ts'

interface Figure {
  readonly part: string
  readonly what: string
  readonly value: number
  readonly unit: string
  readonly target?: number
  /** Whether the target is met by more or by less. */
  readonly better?: 'more' | 'less'
}

const PARTS = [
  'publish',
  'batch',
  'deliver',
  'latency',
  'replay',
  'storm',
  'idle',
  'engine',
  'recovery',
  'prototype',
  'nchan',
  'counting',
  'metrics',
  'tls',
  'compaction',
  'start',
] as const
type Part = (typeof PARTS)[number]

const TARGETS = {
  publishesPerSecond: 20_000,
  batchedPerSecond: 300_000,
  deliveriesPerSecond: 250_000,
  engineRatio: 0.8,
  idleBytes: 16 * 1024,
  replayedPerSecond: 100_000,
}

const MESSAGE_BYTES = 120
const WARM_UP_MS = 1_000
const BATCH_EVENTS = 1_000
const BATCH_CONNECTIONS = 4
const SUBSCRIBERS = 1_000
/** Topics, and connections that publish to them. */
const DELIVERIES = [
  [1, 1],
  [1, 64],
  [10, 64],
] as const
const LATENCY_EVENTS_PER_SECOND = 50
const REPLAY_EVENTS = 1_000_000
const STORM_EVENTS = 1_000
const IDLE_SUBSCRIBERS = 5_000
const RECOVERY_BYTES = 512 * 1024 * 1024
/** Of one event in the log, about; for the number of events that make a log of some size. */
const LOGGED_BYTES = MESSAGE_BYTES + 48
const MIB = 1024 * 1024

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '5' },
    scale: { type: 'string', default: '1' },
    json: { type: 'string' },
    profile: { type: 'string' },
    prototype: { type: 'boolean', default: false },
  },
})
const unknown = positionals.filter((part) => !PARTS.some((known) => known === part))
if (unknown.length > 0) throw new Error(`There is no part ${unknown.join(', ')}; there are ${PARTS.join(', ')}.`)
const wanted = flags.prototype ? [...positionals, 'prototype'] : positionals
const PARTS_TO_BE_NAMED: readonly Part[] = ['nchan', 'compaction', 'start']
const isWanted = (part: Part) => (wanted.length === 0 ? !PARTS_TO_BE_NAMED.includes(part) : wanted.includes(part))
const durationMs = Number(flags.seconds) * 1000
const scale = Number(flags.scale)
const scaled = (count: number) => Math.max(1, Math.round(count * scale))
const work = mkdtempSync(join(tmpdir(), 'sser-bench-'))
const figures: Figure[] = []

function note(
  part: Part,
  what: string,
  value: number,
  unit: string,
  target?: number,
  better: 'more' | 'less' = 'more',
) {
  const figure = { part, what, value, unit, ...(target === undefined ? {} : { target, better }) }
  figures.push(figure)
  console.log(lineOf(figure))
}

async function main(): Promise<void> {
  const machine = `${cpus().length} × ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, Node ${process.version}`
  console.log(`${machine}; ${flags.seconds} s a run, scale ${scale}; data in ${tmpdir()}\n`)
  const beganAt = performance.now()
  if (isWanted('engine')) await measureEngines()
  if (isWanted('publish')) await measurePublishing()
  if (isWanted('batch')) await measureBatches()
  if (isWanted('deliver')) await measureDelivery()
  if (isWanted('latency')) await measureLatency()
  if (isWanted('replay') || isWanted('storm')) await measureReplay()
  if (isWanted('idle')) await measureIdle()
  if (isWanted('recovery')) await measureRecovery()
  if (isWanted('prototype')) await measurePeer('prototype', startPrototype)
  if (isWanted('nchan')) await measurePeer('nchan', startNchan)
  if (isWanted('counting')) await measureCounting(lentTo('counting'))
  if (isWanted('metrics')) await measureMetrics(lentTo('metrics'))
  if (isWanted('tls')) await measureTls(lentTo('tls'))
  if (isWanted('compaction')) await measureCompaction(lentTo('compaction'))
  if (isWanted('start')) await measureStart(lentTo('start'))
  console.log(`\nIn ${Math.round((performance.now() - beganAt) / 1000)} s:\n`)
  for (const figure of figures) console.log(lineOf(figure))
  const missed = figures.filter((figure) => isMissed(figure))
  if (missed.length > 0) console.log(`\nMissed: ${missed.map(({ part, what }) => `${part}: ${what}`).join('; ')}`)
  if (flags.json !== undefined)
    writeFileSync(flags.json, `${JSON.stringify({ machine, durationMs, scale, figures }, null, 2)}\n`)
}

function lentTo(part: Part): Bench {
  return { work, durationMs, scaled, note: (...figure) => note(part, ...figure), withServer }
}

async function measurePublishing(): Promise<void> {
  await withServer('publish', {}, async (server, load) => {
    const api = new Api(server)
    const topics = await Promise.all(Array.from({ length: 64 }, () => api.createTopic()))
    api.close()
    const ids = topics.map(({ id }) => id)
    await warmUp(server.port, ids, load)
    for (const topicIds of [ids.slice(0, 1), ids]) {
      for (const connections of [1, 16, 64]) {
        const result = await load.call('publishInLoop', { ...loadTo(server.port, topicIds), connections })
        const over = `${connections} connections, ${topicIds.length} topics`
        const target = connections === 64 ? TARGETS.publishesPerSecond : undefined
        note('publish', `durable, ${over}`, result.perSecond, '/s', target)
        note('publish', `answer p99, ${over}`, result.waitMs.p99, 'ms')
        if (result.failed > 0) note('publish', `failed, ${over}`, result.failed, 'publishes', 0, 'less')
      }
    }
    note('publish', 'peak memory', server.rssBytesPeak / MIB, 'MiB')
  })
}

async function measureBatches(): Promise<void> {
  await withServer('batch', {}, async (server, load) => {
    const api = new Api(server)
    const { id } = await api.createTopic()
    api.close()
    const options = { ...loadTo(server.port, [id]), connections: BATCH_CONNECTIONS, eventsPerRequest: BATCH_EVENTS }
    const result = await load.call('publishInLoop', options)
    const what = `${BATCH_EVENTS} events a request, ${BATCH_CONNECTIONS} connections`
    note('batch', `durable, ${what}`, result.perSecond * BATCH_EVENTS, 'events/s', TARGETS.batchedPerSecond)
    note('batch', `answer p99, ${what}`, result.waitMs.p99, 'ms')
    if (result.failed > 0) note('batch', `failed, ${what}`, result.failed, 'requests', 0, 'less')
    note('batch', 'peak memory', server.rssBytesPeak / MIB, 'MiB')
  })
}

/** A server that nobody has used yet runs code that is not compiled yet. */
async function warmUp(port: number, topicIds: readonly string[], load: LoadProcess, part?: Part): Promise<void> {
  await load.call('publishInLoop', { ...loadTo(port, topicIds, part), connections: 64, durationMs: WARM_UP_MS })
}

async function measureDelivery(): Promise<void> {
  for (const [topicCount, publishers] of DELIVERIES) {
    await withServer(`deliver-${topicCount}-${publishers}`, {}, async (server, load) => {
      const api = new Api(server)
      const topics = await Promise.all(Array.from({ length: topicCount }, () => api.createTopic()))
      api.close()
      const ids = topics.map(({ id }) => id)
      await deliver('deliver', server.port, ids, publishers, load)
      note('deliver', `peak memory, ${topicCount} topics, ${publishers} publishers`, server.rssBytesPeak / MIB, 'MiB')
    })
  }
}

async function deliver(
  part: Part,
  port: number,
  ids: readonly string[],
  publishers: number,
  load: LoadProcess,
): Promise<void> {
  const what = `of ${ids.length} topics, ${publishers} publishers`
  // One publisher alone waits for the disk and for a thousand writes with each event: that shows what a write costs.
  const target = part === 'deliver' && publishers > 1 ? TARGETS.deliveriesPerSecond : undefined
  const subscribers = scaled(SUBSCRIBERS)
  const topicIds = Array.from({ length: subscribers }, (_, index) => ids[index % ids.length] as string)
  const publisher = new LoadProcess()
  try {
    await load.call('subscribe', { port, token: API_TOKEN, topicIds })
    const publishing = publisher.call('publishInLoop', { ...loadTo(port, ids, part), connections: publishers })
    await delay(WARM_UP_MS)
    const before = await load.call('eventsReceived', null)
    await delay(durationMs - 200)
    const after = await load.call('eventsReceived', null)
    const { acknowledged, perSecond } = await publishing
    note(
      part,
      `${subscribers} subscribers ${what}`,
      (after.events - before.events) / ((after.atUs - before.atUs) / 1e6),
      '/s',
      target,
    )
    note(part, `${subscribers} subscribers ${what}, published`, perSecond, '/s')

    const expected = acknowledged.reduce((sum, count, topic) => {
      return sum + count * topicIds.filter((id) => id === ids[topic]).length
    }, 0)
    let received = after.events
    for (let wait = 0; wait < 300 && received < expected; wait++) {
      await delay(50)
      received = (await load.call('eventsReceived', null)).events
    }
    const allowed = part === 'nchan' ? undefined : 0
    note(part, `${subscribers} subscribers ${what}, missing`, expected - received, 'events', allowed, 'less')
  } finally {
    await publisher.close()
    await load.call('unsubscribe', null)
  }
}

async function measureLatency(): Promise<void> {
  await withServer('latency', {}, async (server, load) => {
    const api = new Api(server)
    const { id } = await api.createTopic()
    api.close()
    await openLoop('latency', server.port, id, load)
    note('latency', 'CPU time of the server since its start', server.cpuMs / 1000, 's')
  })
}

async function openLoop(part: Part, port: number, id: string, load: LoadProcess): Promise<void> {
  const publisher = new LoadProcess()
  const subscribers = scaled(SUBSCRIBERS)
  try {
    await load.call('subscribe', { port, token: API_TOKEN, topicIds: Array.from({ length: subscribers }, () => id) })
    const options = { ...loadTo(port, [id], part), connections: 32, perSecond: LATENCY_EVENTS_PER_SECOND }
    await publisher.call('publishAtRate', { ...options, durationMs: WARM_UP_MS })
    await load.call('recordLatency', null)
    await publisher.call('publishAtRate', { ...options, durationMs: durationMs * 2 })
    await delay(500)
    const { p50, p99, p999, max } = await load.call('latency', null)
    const what = `${LATENCY_EVENTS_PER_SECOND} events/s to ${subscribers} subscribers`
    note(part, `${what}, p50`, p50, 'ms')
    note(part, `${what}, p99`, p99, 'ms')
    note(part, `${what}, p99.9`, p999, 'ms')
    note(part, `${what}, worst`, max, 'ms')
  } finally {
    await publisher.close()
    await load.call('unsubscribe', null)
  }
}

async function measureReplay(): Promise<void> {
  const directory = join(work, 'replay')
  const events = scaled(REPLAY_EVENTS)
  const stormEvents = Math.min(STORM_EVENTS, events)
  const made = await makeLog(directory, { events, topics: 1, messageBytes: MESSAGE_BYTES, lastEvents: stormEvents })
  if (isWanted('replay')) {
    await withServer('replay', { directory }, async (server, load) => {
      const { port } = server
      const beforeBytes = server.rssBytes
      const began = await load.call('eventsReceived', null)
      await load.call('untilEvents', {
        port,
        token: API_TOKEN,
        topicIds: made.topicIds,
        query: '?since=earliest',
        events,
      })
      const ended = await load.call('eventsReceived', null)
      const seconds = (ended.atUs - began.atUs) / 1e6
      note('replay', `${events} events to one client`, events / seconds, 'events/s', TARGETS.replayedPerSecond)
      note('replay', `${events} events to one client`, ended.bytes / seconds / MIB, 'MiB/s')
      note('replay', 'memory before', beforeBytes / MIB, 'MiB')
      note('replay', 'peak memory', server.rssBytesPeak / MIB, 'MiB')
    })
  }
  if (isWanted('storm'))
    await withServer('storm', { directory }, (server, load) => storm(server, load, made, stormEvents))
}

async function storm(server: ServerProcess, load: LoadProcess, made: MadeLog, events: number): Promise<void> {
  const { port } = server
  const clients = scaled(SUBSCRIBERS)
  const topicIds = Array.from({ length: clients }, () => made.topicIds[0] as string)
  const lastEventId = made.idBeforeLast[0] as string
  const readBefore = server.bytesRead
  const { p50, p99, max } = await load.call('untilEvents', { port, token: API_TOKEN, topicIds, lastEventId, events })
  const what = `${clients} clients resume ${events} events`
  note('storm', `${what}, each has all: p50`, p50, 'ms')
  note('storm', `${what}, each has all: p99`, p99, 'ms')
  note('storm', `${what}, all of them`, (clients * events) / (max / 1000), 'events/s')
  note('storm', `${what}, read by the server, requests included`, (server.bytesRead - readBefore) / MIB, 'MiB')
  note('storm', 'peak memory', server.rssBytesPeak / MIB, 'MiB')
}

async function measureIdle(): Promise<void> {
  await withServer('idle', {}, async (server, load) => {
    const api = new Api(server)
    const { id } = await api.createTopic()
    api.close()
    const { port } = server
    const subscribe = (count: number) =>
      load.call('subscribe', { port, token: API_TOKEN, topicIds: Array.from({ length: count }, () => id) })
    // What the first thousand connections leave behind is code and pools, not subscribers.
    await subscribe(1_000)
    await load.call('unsubscribe', null)
    await delay(1_000)
    const before = server.rssBytes
    const count = scaled(IDLE_SUBSCRIBERS)
    await subscribe(count)
    // A user cannot ask for a collection of garbage, so the figure holds what a few heartbeats leave uncollected.
    await delay(Math.max(durationMs, 9_000))
    const after = server.rssBytes
    note(
      'idle',
      `${count} subscribers, each (growth of RSS, without a forced collection)`,
      (after - before) / count,
      'bytes',
      TARGETS.idleBytes,
      'less',
    )
    note('idle', 'memory with all of them', after / MIB, 'MiB')
    note('idle', 'peak memory', server.rssBytesPeak / MIB, 'MiB')
  })
}

async function measureEngines(): Promise<void> {
  for (const [records, bytes, hasTarget] of [
    [1, 150, false],
    [64, 150, true],
    [1_024, 150, false],
    [64, 4_096, true],
  ] as const) {
    const result = await measureEngine(records, bytes, durationMs)
    const what = `batches of ${records} records of ${bytes} bytes`
    note(
      'engine',
      `${what}, against plain write + fdatasync`,
      result.ratio * 100,
      '%',
      hasTarget ? TARGETS.engineRatio * 100 : undefined,
    )
    note(
      'engine',
      `${what}, ${Math.round(result.recordsPerBatch)} records and ${Math.round(result.bytesPerBatch)} bytes a batch`,
      result.recordsPerSecond,
      'records/s',
    )
  }
}

async function measureRecovery(): Promise<void> {
  const directory = join(work, 'recovery')
  const events = Math.ceil(scaled(RECOVERY_BYTES) / LOGGED_BYTES)
  const made = await makeLog(directory, { events, topics: 1_000, messageBytes: MESSAGE_BYTES, lastEvents: 1 })
  const gigabytes = made.bytes / 1e9
  note('recovery', `log of ${events} events in ${made.segments} segments`, made.bytes / MIB, 'MiB')
  const recoveredMs = async (server: ServerProcess) => {
    const line = await server.line(/"The log is recovered\."/)
    server.lines.length = 0
    return Number(JSON.parse(line).durationMs)
  }
  const log = join(directory, 'log')
  for (const name of readdirSync(log)) if (name.endsWith('.index')) rmSync(join(log, name))
  await withServer('recovery', { directory }, async (server, load) => {
    note('recovery', 'without indexes', (await recoveredMs(server)) / 1000 / gigabytes, 's/GB')
    note('recovery', 'peak memory, indexes made anew', server.rssBytesPeak / MIB, 'MiB')
    const topicIds = made.topicIds.slice(0, 64)
    const publishing = load.call('publishInLoop', { ...loadTo(server.port, topicIds), connections: 64, warmUpMs: 0 })
    await delay(1_000)
    await server.kill('SIGKILL')
    await publishing
    const beganAt = performance.now()
    await server.restart()
    note('recovery', 'after kill -9 under load: the log', await recoveredMs(server), 'ms')
    note('recovery', 'after kill -9 under load: from start to ready', performance.now() - beganAt, 'ms')
  })
  rmSync(directory, { recursive: true, force: true })
}

/** Something to be compared with: the same load, and what the server reached in this run as a share of that. */
async function measurePeer(part: 'prototype' | 'nchan', start: (directory: string) => Promise<Peer>): Promise<void> {
  await withPeer(start, async (port, load) => {
    await warmUp(port, ['A'], load, part)
    for (const connections of [1, 16, 64]) {
      const { perSecond } = await load.call('publishInLoop', { ...loadTo(port, ['A'], part), connections })
      note(part, `durable, ${connections} connections, 1 topics`, perSecond, '/s')
    }
  })
  for (const [topicCount, publishers] of DELIVERIES) {
    const ids = [...'ABCDEFGHIJ'].slice(0, topicCount)
    await withPeer(start, (port, load) => deliver(part, port, ids, publishers, load))
  }
  await withPeer(start, (port, load) => openLoop(part, port, 'A', load))
  for (const figure of [...figures]) {
    if (figure.part !== part || figure.value === 0) continue
    const ours = figures.find(({ part, what, unit }) => !isPeer(part) && what === figure.what && unit === figure.unit)
    if (ours !== undefined) note(part, `${figure.what}: the server against it`, (ours.value / figure.value) * 100, '%')
  }
}

async function withServer(
  name: string,
  options: ServerOptions,
  measure: (server: ServerProcess, load: LoadProcess) => Promise<void>,
): Promise<void> {
  const profileFolder = flags.profile === undefined ? undefined : join(flags.profile, name)
  if (profileFolder !== undefined) mkdirSync(profileFolder, { recursive: true })
  const nodeArguments = profileFolder === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileFolder}`]
  const settings = { logging: { level: 'info' }, limits: { subscribersMax: 50_000 } }
  const server = await ServerProcess.start({ settings, nodeArguments, ...options })
  const load = new LoadProcess()
  try {
    await measure(server, load)
    if (profileFolder !== undefined) await server.kill('SIGTERM')
  } finally {
    await load.close()
    await server.close()
  }
  if (profileFolder !== undefined) for (const line of busiestFunctions(profileFolder)) console.log(`    ${line}`)
}

async function withPeer(
  start: (directory: string) => Promise<Peer>,
  measure: (port: number, load: LoadProcess) => Promise<void>,
): Promise<void> {
  const peer = await start(work)
  const load = new LoadProcess()
  try {
    await measure(peer.port, load)
  } finally {
    await load.close()
    await peer.close()
  }
}

function isPeer(part: string): boolean {
  return part === 'prototype' || part === 'nchan'
}

function loadTo(port: number, topicIds: readonly string[], part?: Part) {
  const size = { messageBytes: MESSAGE_BYTES, answersVary: part === 'nchan' }
  return { port, token: API_TOKEN, topicIds, ...size, durationMs, warmUpMs: WARM_UP_MS }
}

function isMissed({ value, target, better }: Figure): boolean {
  if (target === undefined) return false
  return better === 'less' ? value > target : value < target
}

function lineOf(figure: Figure): string {
  const { part, what, value, unit, target } = figure
  if (!Number.isFinite(value)) return `${part.padEnd(10)} ${what.padEnd(72)} ${'nothing'.padStart(11)}`
  const digits = Math.abs(value) >= 100 || Number.isInteger(value) ? 0 : 2
  const number = value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })
  const verdict =
    target === undefined ? '' : `   target ${target.toLocaleString('en')}: ${isMissed(figure) ? 'MISSED' : 'met'}`
  return `${part.padEnd(10)} ${what.padEnd(72)} ${number.padStart(11)} ${unit}${verdict}`
}

try {
  await main()
} finally {
  rmSync(work, { recursive: true, force: true })
}
