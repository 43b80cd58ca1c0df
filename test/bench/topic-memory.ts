/**
 * What topics cost in memory: a hundred thousand that live, and a million that were made, used once and deleted.
 *
 *   node --expose-gc --import tsx test/bench/topic-memory.ts
 */

import { Hub } from '../../src/domain/hub.ts'
import { silentHubObserver, systemClock } from '../../src/domain/ports.ts'
import { unlimited } from '../../src/domain/retention.ts'
import { Log, MemoryFiles, Sequencer, silentObserver } from '../../storage-engine/index.ts'
import { logOptions } from './make-log.ts'

const LIVE_TOPICS = 100_000
const USED_TOPICS = 1_000_000
const AT_ONCE = 1_000

const event = { key: new Uint8Array(0), type: new Uint8Array(0), isString: true, message: Buffer.from('x'.repeat(100)) }

function used(): number {
  globalThis.gc?.()
  globalThis.gc?.()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

async function openHub(): Promise<Hub> {
  const sequencer = new Sequencer()
  // Records are bounded away, so that topics alone are measured.
  const memory = { ...logOptions, segmentBytesMax: 2 ** 20, logBytesMax: 4 * 2 ** 20 }
  sequencer.beginUnreserved(Date.now())
  const log = await Log.open(new MemoryFiles(), sequencer, silentObserver, '/memory', { ...memory, isDurable: false })
  return await Hub.open(undefined, log, sequencer, silentHubObserver, systemClock, {
    recentFramesBytesMax: 0,
    topicsMax: 2 * LIVE_TOPICS,
    subscribersMax: 1,
    streamsPerTopicMax: Number.POSITIVE_INFINITY,
    tokensPerTopicMax: 1,
    idempotencyWindowMs: 120_000,
    idempotencyKeysMax: 1000,
    ticketsMax: 1000,
    ticketLifetimeMs: 120_000,
    defaultRetention: unlimited,
    heartbeatMs: 4_000,
    streamAgeMsMax: 3_600_000,
    writeTimeoutMs: 60_000,
    retryMs: 2_000,
    drainRetryMs: 5_000,
  })
}

async function makeAndUse(hub: Hub, count: number, isDeleted: boolean): Promise<void> {
  for (let made = 0; made < count; made += AT_ONCE) {
    await Promise.all(
      Array.from({ length: Math.min(AT_ONCE, count - made) }, async () => {
        const { topic } = await hub.createTopic({ persist: false })
        await hub.publish(topic, event)
        if (isDeleted) await hub.deleteTopic(topic.id)
      }),
    )
  }
}

const hub = await openHub()
// Code and pools.
await makeAndUse(hub, 20_000, true)
const before = used()
await makeAndUse(hub, USED_TOPICS, true)
const afterUse = used()
console.log(`${USED_TOPICS} topics made, used once and deleted: ${afterUse - before} bytes more`)
await makeAndUse(hub, LIVE_TOPICS, false)
const withLive = used()
console.log(`${LIVE_TOPICS} live topics: ${Math.round((withLive - afterUse) / LIVE_TOPICS)} bytes each (300 wanted)`)
await hub.close()
