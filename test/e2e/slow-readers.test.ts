/** Readers that are slow get everything, from the log, and cost no memory; readers that have stopped are let go. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { Api, type CreatedTopic } from '../support/api.ts'
import { ServerProcess } from '../support/server-process.ts'
import { SseClient } from '../support/sse-client.ts'

const TIMEOUT_MS = 120_000
const MIB = 1024 * 1024
/** Between two reads. Nothing but the reader's slowness depends on it. */
const PAUSE_MS = 5
const PUBLISHED_AT_ONCE = 64

/** The larger backlog does not fit into the kernel's buffers on both sides, which hold up to 36 MB: what a server queued of it would show. */
const BACKLOGS = [
  { backlogBytes: 4 * MIB, messageBytes: 4_096, readBytes: 64 * 1024 },
  { backlogBytes: 128 * MIB, messageBytes: 65_536, readBytes: 512 * 1024 },
] as const
/** How often the server is asked what it holds while one of them is read. */
const LOOKS = 8
/** What the server may hold more of while it serves one slow reader, garbage aside. */
const GROWTH_BYTES_MAX = 4 * MIB

/** The bytes that the server's objects and buffers take, without what nobody holds any more. */
async function heldBytes(server: ServerProcess): Promise<number> {
  server.lines.length = 0
  process.kill(server.pid, 'SIGUSR2')
  const line = await server.line(/^held bytes: \d+$/)
  return Number(line.replace(/\D/g, ''))
}

/** Resolves with the numbers of the events, which say in which order they lie, and how each message begins. */
async function publishBytes(
  api: Api,
  topicId: string,
  bytes: number,
  messageBytes: number,
): Promise<[string, string][]> {
  const count = Math.ceil(bytes / messageBytes)
  const published: [string, string][] = []
  const publish = async (index: number) => {
    const message = `${index} `.padEnd(messageBytes, 'x')
    published.push([await api.publish(topicId, { message }), `${index} `])
  }
  // One after the other would wait for the disk each time.
  for (let i = 0; i < count; i += PUBLISHED_AT_ONCE) {
    const batch = Math.min(PUBLISHED_AT_ONCE, count - i)
    await Promise.all(Array.from({ length: batch }, (_, index) => publish(i + index)))
  }
  return published.toSorted(([a], [b]) => (a < b ? -1 : 1))
}

test('a backlog of 4 MB, and one of 128, reaches a slow reader whole and in order, and the server hardly grows', {
  timeout: TIMEOUT_MS,
}, async (t) => {
  // What compaction takes to sort a segment, up to 64 MiB, is no reader's.
  const nodeArguments = ['--expose-gc', '--import', new URL('memory-probe.mjs', import.meta.url).href]
  const server = await ServerProcess.start({ settings: { log: { compaction: { enabled: false } } }, nodeArguments })
  const api = new Api(server)
  try {
    const topics: CreatedTopic[] = []
    const published: [string, string][][] = []
    for (const { backlogBytes, messageBytes } of BACKLOGS) {
      const topic = await api.createTopic()
      topics.push(topic)
      published.push(await publishBytes(api, topic.id, backlogBytes, messageBytes))
    }
    const other = await api.createTopic()
    const others = await publishBytes(api, other.id, 24 * MIB, 65_536)
    // A server that has just started holds none of it in memory. A replay of something else makes its caches, which are
    // bounded, as large as they are in use.
    await server.kill('SIGTERM')
    await server.restart()
    const warmUp = await SseClient.connect(api.eventsUrl(other.id, '?since=earliest'), { token: other.token })
    await warmUp.until(({ blocks }) => blocks.length >= others.length)
    await warmUp.close()

    for (const [which, { backlogBytes, messageBytes, readBytes }] of BACKLOGS.entries()) {
      const topic = topics[which] as CreatedTopic
      const expected = published[which] as [string, string][]
      const before = await heldBytes(server)
      let peak = before
      let looks = 0
      let events = 0
      const client = await SseClient.connect(api.eventsUrl(topic.id, '?since=earliest'), {
        token: topic.token,
        paused: true,
        forgets: true,
        onBlock({ id, data }) {
          if (data === undefined) return
          const [number, beginning] = expected[events] as [string, string]
          const isExpected = id === number && data.startsWith(beginning) && data.length === messageBytes
          if (isExpected) events += 1
        },
      })
      while (events < expected.length) {
        const bytesBefore = client.bytes
        client.resume()
        await client.until(({ bytes }) => bytes >= bytesBefore + readBytes || events === expected.length)
        client.pause()
        await delay(PAUSE_MS)
        if (client.bytes < (looks * backlogBytes) / LOOKS) continue
        looks += 1
        peak = Math.max(peak, await heldBytes(server))
      }
      assert(looks >= LOOKS, `it was looked at the server ${looks} times`)
      await client.close()
      const inMiB = (bytes: number) => (bytes / MIB).toFixed(1)
      t.diagnostic(
        `${inMiB(backlogBytes)} MiB of events: the server held ${inMiB(before)} MiB, then up to ${inMiB(peak)}`,
      )
      assert(peak - before < GROWTH_BYTES_MAX, `the server held ${inMiB(peak - before)} MiB more`)
    }
  } finally {
    api.close()
    await server.close()
  }
})

test('a reader that has stopped is disconnected after the write timeout; a slow one is not, and gets everything', {
  timeout: TIMEOUT_MS,
}, async () => {
  const settings = {
    server: { writeTimeout: '2s' },
    pubsub: { tickFrequency: '400ms' },
    logging: { level: 'debug' },
  }
  const server = await ServerProcess.start({ settings })
  const api = new Api(server)
  try {
    const { id, token } = await api.createTopic()
    // More than the kernel's buffers on both sides ever hold.
    const messages = await publishBytes(api, id, 96 * MIB, 65_536)
    const url = api.eventsUrl(id, '?since=earliest')
    const stopped = await SseClient.connect(url, { token, paused: true })
    let slowEvents = 0
    const slow = await SseClient.connect(url, {
      token,
      forgets: true,
      onBlock: ({ data }) => {
        if (data !== undefined) slowEvents += 1
      },
    })
    let isLetGo = false
    const letGo = server.line(/"reason":"write-timeout"/).then(() => {
      isLetGo = true
    })
    // It takes a little, again and again, until the other one has been let go; then all the rest. Not too little: a
    // kernel with large buffers tells the sender of new room only when a part of them is free again.
    while (!isLetGo) {
      const bytesBefore = slow.bytes
      slow.resume()
      await slow.until(({ bytes }) => bytes > bytesBefore + MIB)
      slow.pause()
      await delay(150)
    }
    await letGo
    slow.resume()
    await slow.until(() => slowEvents === messages.length)
    assert(!slow.isOver)
    assert.equal(server.lines.filter((line) => line.includes('write-timeout')).length, 1)
    await slow.close()
    stopped.resume()
    assert.equal(await stopped.closed, false, 'it was cut off, not ended in order')
  } finally {
    api.close()
    await server.close()
  }
})
