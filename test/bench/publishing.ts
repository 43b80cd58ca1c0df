/** How many events a second publishers get onto the disk, one a request and in lists, and how long they wait. */
import { Api } from '../support/api.ts'
import { type Bench, loadTo, MIB, warmUp } from './bench.ts'

const BATCH_EVENTS = 1_000
const BATCH_CONNECTIONS = 4
/** Targets. */
const PUBLISHES_PER_SECOND = 20_000
const BATCHED_PER_SECOND = 300_000

export async function measurePublishing(bench: Bench): Promise<void> {
  await bench.withServer('publish', {}, async (server, load) => {
    const api = new Api(server)
    const topics = await Promise.all(Array.from({ length: 64 }, () => api.createTopic()))
    api.close()
    const ids = topics.map(({ id }) => id)
    await warmUp(bench, server.port, ids, load)
    for (const topicIds of [ids.slice(0, 1), ids]) {
      for (const connections of [1, 16, 64]) {
        const result = await load.call('publishInLoop', { ...loadTo(bench, server.port, topicIds), connections })
        const over = `${connections} connections, ${topicIds.length} topics`
        const target = connections === 64 ? PUBLISHES_PER_SECOND : undefined
        bench.note(`durable, ${over}`, result.perSecond, '/s', target)
        bench.note(`answer p99, ${over}`, result.waitMs.p99, 'ms')
        if (result.failed > 0) bench.note(`failed, ${over}`, result.failed, 'publishes', 0, 'less')
      }
    }
    bench.note('peak memory', server.rssBytesPeak / MIB, 'MiB')
  })
}

export async function measureBatches(bench: Bench): Promise<void> {
  await bench.withServer('batch', {}, async (server, load) => {
    const api = new Api(server)
    const { id } = await api.createTopic()
    api.close()
    const options = {
      ...loadTo(bench, server.port, [id]),
      connections: BATCH_CONNECTIONS,
      eventsPerRequest: BATCH_EVENTS,
    }
    const result = await load.call('publishInLoop', options)
    const what = `${BATCH_EVENTS} events a request, ${BATCH_CONNECTIONS} connections`
    bench.note(`durable, ${what}`, result.perSecond * BATCH_EVENTS, 'events/s', BATCHED_PER_SECOND)
    bench.note(`answer p99, ${what}`, result.waitMs.p99, 'ms')
    if (result.failed > 0) bench.note(`failed, ${what}`, result.failed, 'requests', 0, 'less')
    bench.note('peak memory', server.rssBytesPeak / MIB, 'MiB')
  })
}
