/** The life of the process as those around it see it: signals, locks, heartbeats, the age of streams. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Api } from '../support/api.ts'
import { ServerProcess, type Settings } from '../support/server-process.ts'
import { SseClient } from '../support/sse-client.ts'

const TIMEOUT_MS = 180_000

function withServer(
  sentence: string,
  settings: Settings,
  body: (server: ServerProcess, api: Api) => Promise<void>,
): void {
  test(sentence, { timeout: TIMEOUT_MS }, async () => {
    const server = await ServerProcess.start({ settings })
    const api = new Api(server)
    try {
      await body(server, api)
    } finally {
      api.close()
      await server.close()
    }
  })
}

withServer(
  'SIGTERM ends streams with a time to come back, answers what is in flight, and exits with 0',
  {},
  async (server, api) => {
    const { id, token } = await api.createTopic()
    const clients = await Promise.all(Array.from({ length: 20 }, () => SseClient.connect(api.eventsUrl(id), { token })))
    await Promise.all(clients.map((client) => client.until(({ lastEventId }) => lastEventId !== '')))
    // Those that the server had not accepted when it closed its door get no answer, and may be tried again.
    const inFlight = Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        api.call('POST', `/api/v1/pubsubs/${id}/events`, { event: { message: i } }).catch(() => undefined),
      ),
    )
    await clients[0]?.until(({ events }) => events.length > 0)
    const exit = await server.kill('SIGTERM')
    assert.deepEqual(exit, { code: 0, signal: null })
    const answers = await inFlight
    const acknowledged = answers.filter((answer) => answer?.status === 201).length
    assert(acknowledged > 0)
    assert(answers.every((answer) => answer === undefined || answer.status === 201 || answer.status === 503))
    const delays = new Set<number | undefined>()
    for (const client of clients) {
      assert.equal(await client.closed, true, 'the stream was ended in order')
      const last = client.blocks.at(-1)
      assert.notEqual(last?.retryMs, undefined)
      delays.add(last?.retryMs)
    }
    assert(delays.size > 5, 'not all come back at the same moment')
    await server.restart()
    const reader = await SseClient.connect(api.eventsUrl(id, '?since=earliest'), { token })
    await reader.until(({ events }) => events.length >= acknowledged)
    await reader.close()
  },
)

withServer('a second signal ends the server at once', { server: { shutdownGrace: '60s' } }, async (server, api) => {
  const { id, token } = await api.createTopic()
  // One that takes nothing, and has much to take, so that the first signal alone would wait for it.
  const message = 'x'.repeat(500_000)
  for (let i = 0; i < 48; i++) await api.publish(id, { message })
  const stopped = await SseClient.connect(api.eventsUrl(id, '?since=earliest'), { token, paused: true })
  const first = server.kill('SIGTERM')
  await server.line(/The server is stopping/)
  const beganAt = performance.now()
  await server.kill('SIGTERM')
  const { code } = await first
  assert.notEqual(code, 0)
  assert.notEqual(code, null)
  assert(performance.now() - beganAt < 50_000, 'it did not wait for the grace to pass')
  await stopped.close()
})

withServer(
  'a second process on the same folder is refused in words, and the first one goes on',
  {},
  async (server, api) => {
    const second = await ServerProcess.start({ directory: server.directory, withoutWaiting: true })
    try {
      const { code } = await second.exited
      assert.equal(code, 1)
      const words = second.lines.join('\n')
      assert.match(words, /sser cannot start: /)
      assert.match(words, /lock|in use|another process/i)
      assert.match(words, new RegExp(String(server.pid)))
      assert.doesNotMatch(words, /\n\s+at /, 'words, and no stack')
    } finally {
      await second.close()
    }
    await api.createTopic()
  },
)

withServer(
  'a stream that is silent gets the comment of the original, or an event that JavaScript can see',
  {
    pubsub: { tickFrequency: '200ms' },
  },
  async (_server, api) => {
    const { id, token } = await api.createTopic()
    const comments = await SseClient.connect(api.eventsUrl(id), { token })
    const events = await SseClient.connect(api.eventsUrl(id, '?heartbeat=event'), { token })
    await comments.until(({ blocks }) => blocks.filter(({ comment }) => comment !== undefined).length >= 2)
    await events.until((client) => client.events.length >= 2)
    assert.equal(comments.blocks.find(({ comment }) => comment !== undefined)?.comment, '{"status": "tick"}')
    assert.equal(comments.events.length, 0)
    const [beat] = events.events
    assert.equal(beat?.type, 'sser.heartbeat')
    assert.equal(beat?.id, undefined)
    assert.equal(JSON.parse(beat?.data ?? '').interval_ms, 200)
    await Promise.all([comments.close(), events.close()])
  },
)

withServer(
  'a stream ends at its greatest age, between two events, and its client resumes without loss',
  {
    server: { maxStreamAge: '600ms' },
    pubsub: { tickFrequency: '100ms' },
  },
  async (_server, api) => {
    const { id, token } = await api.createTopic()
    let isOver = false
    const published: string[] = []
    const publishing = (async () => {
      while (!isOver) {
        published.push(`event ${published.length}`)
        await api.publish(id, { message: published.at(-1) })
      }
    })()
    const seen: (string | undefined)[] = []
    let lastEventId = ''
    for (let connection = 0; connection < 3; connection++) {
      const query = lastEventId === '' ? '?since=earliest' : ''
      const client = await SseClient.connect(api.eventsUrl(id, query), { token, lastEventId })
      assert.equal(await client.closed, true, 'it ended in order')
      seen.push(...client.events.map(({ data }) => data))
      lastEventId = client.lastEventId
    }
    isOver = true
    await publishing
    assert(seen.length > 0)
    assert.deepEqual(seen, published.slice(0, seen.length))
  },
)
