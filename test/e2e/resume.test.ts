/** Clients that are cut anywhere, and come back: nothing is missing, wherever the cut fell. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Api } from '../support/api.ts'
import { CuttingProxy } from '../support/cutting-proxy.ts'
import { Listener } from '../support/event-sources.ts'
import { Random } from '../support/random.ts'
import { ServerProcess } from '../support/server-process.ts'
import { SseClient } from '../support/sse-client.ts'

const TIMEOUT_MS = 180_000
const settings = { server: { retry: '100ms' } }
/** `retry: 123`, an empty line, `id: 00Q72zvO87K`, an empty line: who never had that has nothing to resume from. */
const PRIMING_BYTES = 29
const PRIMED_BYTES = 40

let server: ServerProcess
let api: Api
before(async () => {
  server = await ServerProcess.start({ settings })
  api = new Api(server)
})
after(async () => {
  api.close()
  await server.close()
})

/** Many at a time; resolves with the numbers, in the order of the messages. */
async function publishAll(topicId: string, messages: readonly string[], id?: string): Promise<string[]> {
  const numbers: string[] = []
  for (const message of messages)
    numbers.push(await api.publish(topicId, id === undefined ? { message } : { id, message }))
  return numbers
}

const namesOf = (count: number, what = 'event') => Array.from({ length: count }, (_, index) => `${what} ${index}`)

test("an id that a publisher uses a thousand times leaves no hole for a browser's client that is cut anywhere", {
  timeout: TIMEOUT_MS,
}, async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  const { id, token } = await api.createTopic()
  const messages = namesOf(1_000)
  const proxy = await CuttingProxy.start(server.port, () => {
    if (proxy.connections === 1) return PRIMED_BYTES + random.int(100)
    return proxy.connections < 25 ? random.int(random.chance(0.3) ? 80 : 4_000) : undefined
  })
  const listener = new Listener('undici', `${proxy.url}/api/v1/pubsubs/${id}/events?access_token=${token}`)
  try {
    await listener.until(() => proxy.bytes >= PRIMING_BYTES)
    await publishAll(id, messages, 'the only id')
    await listener.until(({ events }) => events.at(-1)?.data === messages.at(-1))
    // Cut between an event and its number, a client goes back to the earliest use of the id: twice is better than lost.
    const got = listener.events.map(({ data }) => Number(data.replace('event ', '')))
    let next = 0
    for (const number of got) {
      assert(number <= next, `a hole before ${number}: expected ${next} at most`)
      next = Math.max(next, number + 1)
    }
    assert.equal(next, messages.length)
    assert(proxy.connections > 1, 'it was cut')
    t.diagnostic(`${proxy.connections} connections, ${got.length} events dispatched`)
  } finally {
    listener.close()
    await proxy.close()
  }
})

test("a browser's client that is cut anywhere gets each event with a number once", {
  timeout: TIMEOUT_MS,
}, async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  const { id, token } = await api.createTopic()
  const messages = namesOf(500)
  const proxy = await CuttingProxy.start(server.port, () =>
    proxy.connections < 25 ? PRIMED_BYTES + random.int(random.chance(0.3) ? 60 : 3_000) : undefined,
  )
  const listener = new Listener('undici', `${proxy.url}/api/v1/pubsubs/${id}/events?access_token=${token}`)
  try {
    await listener.until(() => proxy.bytes >= PRIMING_BYTES)
    await publishAll(id, messages)
    await listener.until(({ events }) => events.at(-1)?.data === messages.at(-1))
    assert.deepEqual(
      listener.events.map(({ data }) => data),
      messages,
    )
    assert(proxy.connections > 1, 'it was cut')
  } finally {
    listener.close()
    await proxy.close()
  }
})

test('a client that is cut before its first event resumes without loss, live', { timeout: TIMEOUT_MS }, async () => {
  const { id, token } = await api.createTopic()
  await publishAll(id, namesOf(5, 'before'))
  const first = await SseClient.connect(api.eventsUrl(id), { token })
  await first.until(({ lastEventId }) => lastEventId !== '')
  assert.equal(first.events.length, 0)
  assert.equal(first.headers.get('sser-resumed-from'), first.lastEventId)
  first.cut()
  await first.closed
  const messages = namesOf(5, 'while it was away')
  await publishAll(id, messages)
  const second = await SseClient.connect(api.eventsUrl(id), { token, lastEventId: first.lastEventId })
  await second.until(({ events }) => events.length >= messages.length)
  await api.publish(id, { message: 'live again' })
  await second.until(({ events }) => events.length > messages.length)
  assert.deepEqual(
    second.events.map(({ data }) => data),
    [...messages, 'live again'],
  )
  await second.close()
})

test('a client that is cut at any byte at the head of a backlog resumes without loss', {
  timeout: TIMEOUT_MS,
}, async () => {
  const { id, token } = await api.createTopic()
  const messages = namesOf(30)
  const numbers = await publishAll(id, messages)
  const url = api.eventsUrl(id)
  const [lastSeen = ''] = numbers
  // Up to the end of the first replayed event, each byte.
  for (let cutAfterBytes = 1; cutAfterBytes < 110; cutAfterBytes += 1) {
    const first = await SseClient.connect(url, { token, lastEventId: lastSeen, cutAfterBytes })
    await first.closed
    const seen = first.events.map(({ data }) => data)
    const second = await SseClient.connect(url, { token, lastEventId: first.lastEventId })
    await second.until(({ events }) => seen.length + events.length >= messages.length - 1)
    assert.deepEqual(
      [...seen, ...second.events.map(({ data }) => data)],
      messages.slice(1),
      `cut after ${cutAfterBytes}`,
    )
    await second.close()
  }
})

test('a stream is cut at random bytes, again and again, and its events come once and in order', {
  timeout: TIMEOUT_MS,
}, async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  const { id, token } = await api.createTopic()
  const messages = namesOf(600)
  const publishing = publishAll(id, messages)
  const seen: (string | undefined)[] = []
  let lastEventId = ''
  while (seen.at(-1) !== messages.at(-1)) {
    const query = lastEventId === '' ? '?since=earliest' : ''
    const cutAfterBytes = 1 + random.int(3_000)
    const client = await SseClient.connect(api.eventsUrl(id, query), { token, lastEventId, cutAfterBytes })
    await client.until(({ events }) => events.at(-1)?.data === messages.at(-1)).catch(() => undefined)
    await client.close()
    seen.push(...client.events.map(({ data }) => data))
    lastEventId = client.lastEventId
  }
  assert.deepEqual(seen, messages)
  await publishing
})

test('an id that was never given is told as a gap, once, and its number resumes in silence', {
  timeout: TIMEOUT_MS,
}, async () => {
  const { id, token } = await api.createTopic()
  await publishAll(id, ['one', 'two'])
  const first = await SseClient.connect(api.eventsUrl(id), { token, lastEventId: 'nobody used this' })
  await first.until(({ events }) => events.length >= 3)
  const [gap, ...rest] = first.events
  assert.equal(gap?.type, 'sser.gap')
  assert.equal(gap?.id, undefined)
  assert.equal(JSON.parse(gap?.data ?? '').requested, 'nobody used this')
  assert.equal(JSON.parse(gap?.data ?? '').resumes_after, first.headers.get('sser-resumed-from'))
  assert.deepEqual(
    rest.map(({ data }) => data),
    ['one', 'two'],
  )
  await first.close()
  const second = await SseClient.connect(api.eventsUrl(id), { token, lastEventId: first.lastEventId })
  await api.publish(id, { message: 'three' })
  await second.until(({ events }) => events.length >= 1)
  assert.deepEqual(
    second.events.map(({ data }) => data),
    ['three'],
  )
  await second.close()
})
