/** A topic's events in a form that ends: pages of JSON in both directions, and lines. */

import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import { eventFormOf } from '../../src/http/event-forms.ts'
import { API_TOKEN, errorOf, type Fixture, post, startFixture } from './fixture.ts'

interface StoredEvent {
  readonly id: string
  readonly publisher_id?: string
  readonly type?: string
  readonly time: string
  readonly message: unknown
}

interface Page {
  readonly events: readonly StoredEvent[]
  readonly next: string | null
  readonly gaps?: readonly { readonly requested?: string; readonly resumes_after: string; readonly reason: string }[]
}

function ask(fixture: Fixture, id: string, query: string, accept = 'application/json', token = API_TOKEN) {
  const headers = { accept, authorization: `Bearer ${token}` }
  return fetch(`${fixture.api}/pubsubs/${id}/events${query}`, { headers })
}

async function pageOf(fixture: Fixture, id: string, query = ''): Promise<Page> {
  const response = await ask(fixture, id, query)
  assert.equal(response.status, 200)
  assert.equal(response.headers.get('content-type'), 'application/json')
  return (await response.json()) as Page
}

async function publishMany(fixture: Fixture, id: string, messages: readonly unknown[]): Promise<string[]> {
  const body = JSON.stringify({ events: messages.map((message) => ({ message })) })
  const answer = (await (await post(`${fixture.api}/pubsubs/${id}/events`, body)).json()) as {
    events: { id: string }[]
  }
  return answer.events.map((event) => event.id)
}

/** All pages, one behind the other. */
async function allPages(fixture: Fixture, id: string, query: string): Promise<StoredEvent[]> {
  const events: StoredEvent[] = []
  let page = await pageOf(fixture, id, `?${query}`)
  events.push(...page.events)
  while (page.next !== null) {
    assert.equal(page.next, page.events.at(-1)?.id)
    page = await pageOf(fixture, id, `?${query}&after=${page.next}`)
    assert.ok(page.events.length > 0, 'a next that is told leads somewhere')
    events.push(...page.events)
  }
  return events
}

for (const persist of [true, false]) {
  const kind = persist ? 'persistent' : 'in-memory'

  test(`the events of ${persist ? 'a' : 'an'} ${kind} topic come in pages, forward and backward`, async (t) => {
    const fixture = await startFixture(t)
    const { id } = await fixture.createTopic(persist)
    const ids = await publishMany(
      fixture,
      id,
      Array.from({ length: 23 }, (_, i) => i),
    )
    for (const limit of [1, 5, 22, 23, 24]) {
      const forward = await allPages(fixture, id, `limit=${limit}`)
      assert.deepEqual(
        forward.map((event) => [event.id, event.message]),
        ids.map((one, i) => [one, i]),
      )
      const backward = await allPages(fixture, id, `limit=${limit}&order=desc`)
      assert.deepEqual(backward, forward.toReversed())
    }
    assert.deepEqual(await pageOf(fixture, id, `?after=${ids.at(-1)}`), { events: [], next: null })
    assert.deepEqual(await pageOf(fixture, id, `?after=${ids[0]}&order=desc`), { events: [], next: null })
  })
}

test('a history keeps what a message was: a string or any other value, with its type, id and line ends', async (t) => {
  const fixture = await startFixture(t)
  const { id } = await fixture.createTopic(true)
  const published = [
    { message: '3' },
    { message: 3 },
    { message: null },
    { message: false },
    { message: 'a\r\nb\rc\nd' },
    { message: { a: [1.5, 'ü', {}] }, type: 'thing' },
    { message: '', id: 'mine "1" é', type: 'é' },
  ]
  for (const event of published) await fixture.publish(id, event)
  const { events } = await pageOf(fixture, id)
  assert.deepEqual(
    events.map(({ message, type, publisher_id }) => ({ message, type, id: publisher_id })),
    published.map(({ message, type, id: own }) => ({ message, type, id: own })),
  )
  for (const { time } of events) assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
})

test('lines give the whole history and end, from wherever a stream could resume', async (t) => {
  const fixture = await startFixture(t)
  const { id } = await fixture.createTopic(true)
  const ids: string[] = []
  for (let i = 0; i < 5; i += 1) {
    const text = 'x'.repeat(500)
    ids.push(...(await publishMany(fixture, id, [`${5 * i} ${text}`, `${5 * i + 1} ${text}`])))
  }
  for (const [query, from] of [
    ['', 0],
    [`?after=${ids[3]}`, 4],
    [`?last_event_id=${ids[3]}`, 4],
    ['?since=earliest', 0],
  ] as const) {
    const response = await ask(fixture, id, query, 'application/x-ndjson')
    assert.equal(response.headers.get('content-type'), 'application/x-ndjson')
    const lines = (await response.text()).trimEnd().split('\n')
    assert.deepEqual(
      lines.map((line) => (JSON.parse(line) as StoredEvent).id),
      ids.slice(from),
      query,
    )
  }
  const backward = await (await ask(fixture, id, '?order=desc&limit=51', 'application/x-ndjson')).text()
  const found = backward.trimEnd().split('\n')
  assert.deepEqual(
    found.map((line) => (JSON.parse(line) as StoredEvent).id),
    ids.toReversed(),
  )
  const { id: empty } = await fixture.createTopic(true)
  assert.equal(await (await ask(fixture, empty, '', 'application/x-ndjson')).text(), '')
})

test('what limits have dropped is told as a gap, and only to whoever asks for it', async (t) => {
  const fixture = await startFixture(t)
  const { topic } = await fixture.hub.createTopic({ persist: true, retention: { maxEvents: 2 } })
  const ids = await publishMany(fixture, topic.id, [0, 1, 2, 3])
  const page = await pageOf(fixture, topic.id)
  assert.deepEqual([page.events.map(({ id }) => id), page.gaps], [ids.slice(2), undefined])
  const behind = await pageOf(fixture, topic.id, `?after=${ids[0]}`)
  assert.deepEqual(behind.events, page.events)
  assert.deepEqual(behind.gaps, [
    { requested: ids[0], resumes_after: ids[1], reason: 'older events are no longer kept' },
  ])
  const lines = await (await ask(fixture, topic.id, `?after=${ids[0]}`, 'application/x-ndjson')).text()
  assert.deepEqual(JSON.parse(lines.split('\n')[0] as string), { gap: behind.gaps?.[0] })
  const backward = await pageOf(fixture, topic.id, '?order=desc')
  assert.deepEqual(backward, { events: page.events.toReversed(), next: null })
})

test('a page is bounded in bytes as well', async (t) => {
  const fixture = await startFixture(t, { http: { requestBodyBytesMax: 1024 * 1024 } })
  const { id } = await fixture.createTopic(true)
  for (let i = 0; i < 4; i += 1) await publishMany(fixture, id, ['x'.repeat(400_000)])
  const page = await pageOf(fixture, id)
  assert.deepEqual([page.events.length, page.next], [3, page.events[2]?.id])
  assert.equal((await allPages(fixture, id, 'order=desc')).length, 4)
})

test('who takes no lines for the write timeout is cut off', async (t) => {
  const fixture = await startFixture(t, { http: { requestBodyBytesMax: 1024 * 1024, writeTimeoutMs: 300 } })
  const { id } = await fixture.createTopic(true)
  for (let i = 0; i < 30; i += 1) await publishMany(fixture, id, ['x'.repeat(1_000_000)])
  const closed = new Promise<void>((resolve) => {
    fixture.http.hapi.listener.once('connection', (socket: Socket) => socket.once('close', () => resolve()))
  })
  const connection = fixture.subscribe(`${id}/events`, { accept: 'application/x-ndjson' })
  await connection.until('"message"')
  connection.socket.pause()
  await closed
  connection.socket.resume()
  await connection.end()
  assert.ok(connection.received.length < 25_000_000)
})

test('a history opens to the tokens of a stream, and to no other', async (t) => {
  const fixture = await startFixture(t)
  const { id, token } = await fixture.createTopic(true)
  const { token: other } = await fixture.createTopic(true)
  assert.equal((await ask(fixture, id, '', undefined, token)).status, 200)
  assert.equal((await ask(fixture, id, '', undefined, other)).status, 401)
  assert.equal((await ask(fixture, '00000000zzz', '')).status, 404)
})

test('what cannot be asked for is refused with its place', async (t) => {
  const fixture = await startFixture(t)
  const { id } = await fixture.createTopic(true)
  for (const [query, path] of [
    ['limit=0', 'limit'],
    ['limit=51', 'limit'],
    ['limit=ten', 'limit'],
    ['after=*', 'after'],
    ['after=a&after=b', 'after'],
    ['order=up', 'order'],
    ['since=yesterday', 'since'],
  ] as const) {
    const response = await ask(fixture, id, `?${query}`)
    assert.equal(response.status, 400, query)
    assert.deepEqual((await errorOf(response)).details, { path }, query)
  }
})

test('while the server recovers a history gets 503, and a stream is told to come back', async (t) => {
  const fixture = await startFixture(t, { ready: false })
  assert.equal((await ask(fixture, '0', '')).status, 503)
  assert.equal((await ask(fixture, '0', '', 'text/event-stream')).status, 200)
})

test('the form of the answer is the one that Accept likes best, and a stream where it names none', () => {
  for (const [accept, form] of [
    [undefined, 'stream'],
    ['*/*', 'stream'],
    ['text/html', 'stream'],
    ['text/event-stream', 'stream'],
    ['application/json', 'page'],
    ['Application/JSON; charset=utf-8', 'page'],
    ['application/x-ndjson', 'lines'],
    ['application/json, text/event-stream', 'page'],
    ['application/json;q=0.5, text/event-stream', 'stream'],
    ['application/json;q=0', 'stream'],
    ['text/html, application/x-ndjson;q=0.1', 'lines'],
    ['application/json;q=x', 'stream'],
  ] as const) {
    assert.equal(eventFormOf(accept), form, accept)
  }
})
