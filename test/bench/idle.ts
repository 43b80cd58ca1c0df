/** What a subscriber costs in memory that waits for an event. */
import { setTimeout as delay } from 'node:timers/promises'
import { Api } from '../support/api.ts'
import { API_TOKEN } from '../support/server-process.ts'
import { type Bench, MIB } from './bench.ts'

const IDLE_SUBSCRIBERS = 5_000
/** A target. */
const IDLE_BYTES = 16 * 1024

export async function measureIdle(bench: Bench): Promise<void> {
  await bench.withServer('idle', {}, async (server, load) => {
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
    const count = bench.scaled(IDLE_SUBSCRIBERS)
    await subscribe(count)
    // A user cannot ask for a collection of garbage, so the figure holds what a few heartbeats leave uncollected.
    await delay(Math.max(bench.durationMs, 9_000))
    const after = server.rssBytes
    bench.note(
      `${count} subscribers, each (growth of RSS, without a forced collection)`,
      (after - before) / count,
      'bytes',
      IDLE_BYTES,
      'less',
    )
    bench.note('memory with all of them', after / MIB, 'MiB')
    bench.note('peak memory', server.rssBytesPeak / MIB, 'MiB')
  })
}
