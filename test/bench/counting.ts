/**
 * What counting for Prometheus costs. One server counts in some turns and not in others, under a load that never stops:
 * two servers, or two runs, differ by more than what is looked for. Turns are short, and compared in blocks of two with
 * and two without it, so that the moods of a machine weigh on both sides alike. Of the blocks the median is told, and where
 * it lies with 95 % confidence; since that is wider than what is looked for on most machines, the same once more with
 * everything counted many times over, and divided by that.
 */
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { telling } from '../../src/app/observers.ts'
import { silentHubObserver } from '../../src/domain/ports.ts'
import { silentHttpObserver } from '../../src/http/errors.ts'
import { Tally } from '../../src/metrics/tally.ts'
import { silentObserver } from '../../storage-engine/index.ts'
import { Api } from '../support/api.ts'
import { Random } from '../support/random.ts'
import { API_TOKEN, type ServerProcess } from '../support/server-process.ts'
import type { Bench } from './bench.ts'
import { LoadProcess } from './load-process.ts'
import { median, quantile } from './quantiles.ts'

const SWITCHED_COUNTING = fileURLToPath(new URL('switched-counting.mjs', import.meta.url))
const MESSAGE_BYTES = 120
const TOPICS = 64
const CONNECTIONS = 64
const SUBSCRIBERS = 1_000
const WARM_UP_MS = 3_000
const TURNS_OF_BLOCK = 4
/** Counted once there is more to be seen through: so much longer than what else is measured. */
const LONGER = 4
const RESAMPLES = 1_000
const CALLS = 1_000_000

const TARGET_PERCENT = 2

export async function measureCounting(bench: Bench): Promise<void> {
  // Without waiting for the disk, whose moods are larger than what is looked for: the processor is what it takes time of.
  const options = { settings: { log: { sync: 'never' } }, nodeArguments: ['--import', SWITCHED_COUNTING] }
  await bench.withServer('counting', options, async (server, load) => {
    const api = new Api(server)
    const created = await Promise.all(Array.from({ length: TOPICS }, () => api.createTopic()))
    api.close()
    const topicIds = created.map(({ id }) => id)
    const publisher = new LoadProcess()
    try {
      measureCalls(bench, await measureShares(bench, 'publish', server, publisher, topicIds, CONNECTIONS, 1))
      const subscribers = bench.scaled(SUBSCRIBERS)
      const [topicId] = topicIds as [string]
      const each = Array.from({ length: subscribers }, () => topicId)
      await load.call('subscribe', { port: server.port, token: API_TOKEN, topicIds: each })
      // One publisher alone: each event is a write to each subscriber, and is counted alone.
      await measureShares(bench, 'delivery', server, publisher, [topicId], 1, subscribers)
    } finally {
      await publisher.close()
    }
  })
}

/** Resolves with the processor's time for each, not counted, in µs. */
async function measureShares(
  bench: Bench,
  what: string,
  server: ServerProcess,
  publisher: LoadProcess,
  topicIds: readonly string[],
  connections: number,
  ofEvent: number,
): Promise<number> {
  const onceMs = bench.durationMs * LONGER
  const manyMs = bench.durationMs
  const { port } = server
  const load = { port, token: API_TOKEN, topicIds, connections, messageBytes: MESSAGE_BYTES, warmUpMs: 0 }
  // Longer than both, so that no turn is without load.
  const durationMs = (WARM_UP_MS + onceMs + manyMs) * 1.1 + 500
  const publishing = publisher.call('publishInLoop', { ...load, durationMs })
  await delay(WARM_UP_MS)
  const once = await session(server, onceMs)
  const many = await session(server, manyMs)
  await publishing
  const cpuUs = median(once.blocks.map(({ off }) => off.cpuUs)) / ofEvent
  bench.note(`${what}: the processor’s time for each, not counted`, cpuUs, 'µs')
  for (const { times, blocks } of [once, many]) {
    const words = times === 1 ? 'counted' : `counted ${times} times, a share of that`
    const shareOf = (on: number, off: number) => (on / off - 1) / times
    const more = blocks.map(({ on, off }) => shareOf(on.cpuUs, off.cpuUs) * 100)
    // Of the time that each takes, as it would be at that share, again to a rate.
    const fewer = blocks.map(({ on, off }) => (1 - 1 / (1 + shareOf(on.ms, off.ms))) * 100)
    note(bench, `${what}: more of the processor for each, ${words}`, more, times > 1)
    note(bench, `${what}: fewer a second, ${words}`, fewer, times > 1)
  }
  return cpuUs
}

function note(bench: Bench, what: string, shares: readonly number[], isHeldAgainstTarget: boolean): void {
  const [low, high] = intervalOfMedian(shares)
  bench.note(`${what}, median of ${shares.length} blocks`, median(shares), '%')
  bench.note(`${what}, with 95 % confidence from`, low, '%')
  const target = isHeldAgainstTarget ? TARGET_PERCENT : undefined
  bench.note(`${what}, with 95 % confidence to`, high, '%', target, 'less')
}

/** By the bootstrap: medians of as many blocks, drawn from these at random. */
function intervalOfMedian(values: readonly number[]): readonly [low: number, high: number] {
  const random = new Random(1)
  const medians = Array.from({ length: RESAMPLES }, () => median(values.map(() => random.pick(values))))
  return [quantile(medians, 0.025), quantile(medians, 0.975)]
}

/** As the server tells it. */
interface Turn {
  readonly isOn: boolean
  readonly events: number
  readonly ms: number
  readonly cpuUs: number
}

/** Of the turns of a block with counting, and of those without: for each event. */
interface Block {
  readonly on: { readonly ms: number; readonly cpuUs: number }
  readonly off: { readonly ms: number; readonly cpuUs: number }
}

/** `times`: how often each thing was counted in it. */
async function session(
  server: ServerProcess,
  durationMs: number,
): Promise<{ readonly times: number; readonly blocks: readonly Block[] }> {
  process.kill(server.pid, 'SIGUSR2')
  await delay(durationMs)
  server.lines.length = 0
  process.kill(server.pid, 'SIGUSR2')
  const line = await server.line(/^turns /)
  const { times, turns }: { times: number; turns: readonly Turn[] } = JSON.parse(line.slice('turns '.length))
  const count = Math.floor(turns.length / TURNS_OF_BLOCK)
  const begins = Array.from({ length: count }, (_, block) => block * TURNS_OF_BLOCK)
  return { times, blocks: begins.map((begin) => blockOf(turns.slice(begin, begin + TURNS_OF_BLOCK))) }
}

function blockOf(turns: readonly Turn[]): Block {
  const perEvent = (isOn: boolean) => {
    const these = turns.filter((turn) => turn.isOn === isOn)
    const sum = (of: (turn: Turn) => number) => these.reduce((total, turn) => total + of(turn), 0)
    const events = sum((turn) => turn.events)
    assert(events > 0, 'the load goes on through all turns')
    return { ms: sum(({ ms }) => ms) / events, cpuUs: sum(({ cpuUs }) => cpuUs) / events }
  }
  return { on: perEvent(true), off: perEvent(false) }
}

/** The turns say what their noise lets them; this is exact, and what it is a share of is not: both together are the answer. */
function measureCalls(bench: Bench, publishCpuUs: number): void {
  const tally = new Tally()
  const hub = telling(silentHubObserver, tally.hubObserver)
  const http = telling(silentHttpObserver, tally.httpObserver)
  const log = telling(silentObserver, tally.storageObserver)
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
  bench.note(
    'the same, of the processor’s time for a publish',
    (eachUs / publishCpuUs) * 100,
    '%',
    TARGET_PERCENT,
    'less',
  )
}
