/** How many events a second reach a thousand subscribers, whether all of them do, and how long one takes. */
import { setTimeout as delay } from 'node:timers/promises'
import { Api } from '../support/api.ts'
import { API_TOKEN } from '../support/server-process.ts'
import { type Bench, loadTo, MIB, WARM_UP_MS } from './bench.ts'
import { LoadProcess } from './load-process.ts'

const SUBSCRIBERS = 1_000
/** Topics, and connections that publish to them. */
export const DELIVERIES = [
  [1, 1],
  [1, 64],
  [10, 64],
] as const
const LATENCY_EVENTS_PER_SECOND = 50
/** A target. */
const DELIVERIES_PER_SECOND = 250_000

interface DeliveryTargets {
  /** Per second. */
  readonly target?: number | undefined
  readonly missingMax?: number | undefined
}

export async function measureDelivery(bench: Bench): Promise<void> {
  for (const [topicCount, publishers] of DELIVERIES) {
    await bench.withServer(`deliver-${topicCount}-${publishers}`, {}, async (server, load) => {
      const api = new Api(server)
      const topics = await Promise.all(Array.from({ length: topicCount }, () => api.createTopic()))
      api.close()
      const ids = topics.map(({ id }) => id)
      // One publisher alone waits for the disk and for a thousand writes with each event: that shows what a write costs.
      const target = publishers > 1 ? DELIVERIES_PER_SECOND : undefined
      await deliver(bench, server.port, ids, publishers, load, { target, missingMax: 0 })
      bench.note(`peak memory, ${topicCount} topics, ${publishers} publishers`, server.rssBytesPeak / MIB, 'MiB')
    })
  }
}

export async function deliver(
  bench: Bench,
  port: number,
  ids: readonly string[],
  publishers: number,
  load: LoadProcess,
  { target, missingMax }: DeliveryTargets = {},
): Promise<void> {
  const what = `of ${ids.length} topics, ${publishers} publishers`
  const subscribers = bench.scaled(SUBSCRIBERS)
  const topicIds = Array.from({ length: subscribers }, (_, index) => ids[index % ids.length] as string)
  const publisher = new LoadProcess()
  try {
    await load.call('subscribe', { port, token: API_TOKEN, topicIds })
    const publishing = publisher.call('publishInLoop', { ...loadTo(bench, port, ids), connections: publishers })
    await delay(WARM_UP_MS)
    const before = await load.call('eventsReceived', null)
    await delay(bench.durationMs - 200)
    const after = await load.call('eventsReceived', null)
    const { acknowledged, perSecond } = await publishing
    bench.note(
      `${subscribers} subscribers ${what}`,
      (after.events - before.events) / ((after.atUs - before.atUs) / 1e6),
      '/s',
      target,
    )
    bench.note(`${subscribers} subscribers ${what}, published`, perSecond, '/s')

    const expected = acknowledged.reduce((sum, count, topic) => {
      return sum + count * topicIds.filter((id) => id === ids[topic]).length
    }, 0)
    let received = after.events
    for (let wait = 0; wait < 300 && received < expected; wait++) {
      await delay(50)
      received = (await load.call('eventsReceived', null)).events
    }
    bench.note(`${subscribers} subscribers ${what}, missing`, expected - received, 'events', missingMax, 'less')
  } finally {
    await publisher.close()
    await load.call('unsubscribe', null)
  }
}

export async function measureLatency(bench: Bench): Promise<void> {
  await bench.withServer('latency', {}, async (server, load) => {
    const api = new Api(server)
    const { id } = await api.createTopic()
    api.close()
    await openLoop(bench, server.port, id, load)
    bench.note('CPU time of the server since its start', server.cpuMs / 1000, 's')
  })
}

export async function openLoop(bench: Bench, port: number, id: string, load: LoadProcess): Promise<void> {
  const publisher = new LoadProcess()
  const subscribers = bench.scaled(SUBSCRIBERS)
  try {
    await load.call('subscribe', { port, token: API_TOKEN, topicIds: Array.from({ length: subscribers }, () => id) })
    const options = { ...loadTo(bench, port, [id]), connections: 32, perSecond: LATENCY_EVENTS_PER_SECOND }
    await publisher.call('publishAtRate', { ...options, durationMs: WARM_UP_MS })
    await load.call('recordLatency', null)
    await publisher.call('publishAtRate', { ...options, durationMs: bench.durationMs * 2 })
    await delay(500)
    const { p50, p99, p999, max } = await load.call('latency', null)
    const what = `${LATENCY_EVENTS_PER_SECOND} events/s to ${subscribers} subscribers`
    bench.note(`${what}, p50`, p50, 'ms')
    bench.note(`${what}, p99`, p99, 'ms')
    bench.note(`${what}, p99.9`, p999, 'ms')
    bench.note(`${what}, worst`, max, 'ms')
  } finally {
    await publisher.close()
    await load.call('unsubscribe', null)
  }
}
