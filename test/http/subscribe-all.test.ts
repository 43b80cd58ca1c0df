/** GET /api/v1/events: several topics in one stream, over HTTP. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createDecoder, type SseEvent } from '../../src/sse/decode.ts'
import {
  API_TOKEN,
  dechunk,
  errorOf,
  type Fixture,
  METRICS_TOKEN,
  type RawConnection,
  startFixture,
} from './fixture.ts'

interface Opening {
  readonly tokens?: readonly string[]
  readonly bearer?: string
  readonly query?: string
  readonly lastEventId?: string
  readonly method?: string
}

function open(fixture: Fixture, ids: readonly string[], opening: Opening = {}): RawConnection {
  const { tokens = [], bearer, query = '', lastEventId, method = 'GET' } = opening
  const parts = [...ids.map((id) => `topic=${id}`), ...tokens.map((token) => `access_token=${token}`)]
  const lines = [`${method} /api/v1/events?${parts.join('&')}${query} HTTP/1.1`, 'host: test']
  if (bearer !== undefined) lines.push(`authorization: Bearer ${bearer}`)
  if (lastEventId !== undefined) lines.push(`last-event-id: ${lastEventId}`)
  return fixture.raw(`${lines.join('\r\n')}\r\n\r\n`)
}

async function statusOf(fixture: Fixture, ids: readonly string[], opening: Opening): Promise<number> {
  const connection = open(fixture, ids, opening)
  const answer = await connection.until('\r\n\r\n')
  connection.socket.destroy()
  return Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1])
}

function read(answer: string): { events: SseEvent[]; ids: string[] } {
  const events: SseEvent[] = []
  const ids: string[] = []
  const decoder = createDecoder({
    bufferBytesMax: 1 << 20,
    onEvent: (event) => events.push(event),
    onId: (id) => ids.push(id),
  })
  decoder.feed(Buffer.from(dechunk(answer).body, 'latin1'))
  return { events, ids }
}

async function publish(fixture: Fixture, id: string, message: unknown, type = ''): Promise<string> {
  const response = await fixture.publish(id, { message, type })
  assert.equal(response.status, 201)
  return ((await response.json()) as { event: { id: string } }).event.id
}

test('one stream brings the events of durable topics and of those in memory in one order, and one id resumes all', async (t) => {
  const fixture = await startFixture(t)
  const ids = [
    (await fixture.createTopic(true)).id,
    (await fixture.createTopic()).id,
    (await fixture.createTopic(true)).id,
  ]
  const first = open(fixture, ids, { bearer: API_TOKEN })
  await first.until('\nid: ')
  const numbers: string[] = []
  for (let n = 0; n < 9; n++) numbers.push(await publish(fixture, ids[n % 3]!, `event ${n}`))
  const seen = read(await first.until('data: event 8\n\n'))
  first.socket.destroy()
  assert.deepEqual(
    seen.events.map(({ data }) => data),
    Array.from({ length: 9 }, (_, n) => `event ${n}`),
  )
  assert.deepEqual(seen.ids.slice(1), numbers)
  const second = open(fixture, ids, { bearer: API_TOKEN, lastEventId: numbers[3]! })
  const rest = read(await second.until('data: event 8\n\n'))
  assert.deepEqual(
    rest.events.map(({ data }) => data),
    Array.from({ length: 5 }, (_, n) => `event ${n + 4}`),
  )
  assert.match(dechunk(await second.until('event 8')).head, new RegExp(`sser-resumed-from: ${numbers[3]}`))
})

test('with an envelope the data tells topic, id, type, time and message, and without it is the message', async (t) => {
  const fixture = await startFixture(t)
  const { id } = await fixture.createTopic(true)
  const stream = open(fixture, [id], { bearer: API_TOKEN, query: '&envelope=json' })
  await stream.until('\nid: ')
  await fixture.publish(id, { id: 'mine', message: { n: 1 }, type: 'order' })
  const { events, ids } = read(await stream.until('"message":{"n":1}}\n\n'))
  assert.equal(events.length, 1)
  const { data, type, lastEventId } = events[0]!
  const { time, ...told } = JSON.parse(data) as Record<string, unknown>
  assert.deepEqual(told, { topic: id, id: lastEventId, publisher_id: 'mine', type: 'order', message: { n: 1 } })
  assert.equal(type, 'order')
  assert.match(String(time), /^\d{4}-.*Z$/)
  assert.equal(ids.at(-1), lastEventId)
  assert.equal(await statusOf(fixture, [id], { bearer: API_TOKEN, query: '&envelope=xml' }), 400)
})

test('it is opened by an API token, a ticket, one token for each topic, and by nothing less', async (t) => {
  const fixture = await startFixture(t)
  const [one, two] = [await fixture.createTopic(true), await fixture.createTopic()]
  const ids = [one.id, two.id]
  const answer = await fetch(`${fixture.api}/tickets`, {
    method: 'POST',
    headers: { authorization: `Bearer ${API_TOKEN}`, 'content-type': 'application/json' },
    body: JSON.stringify({ ticket: { topics: ids } }),
  })
  const { ticket } = (await answer.json()) as { ticket: { token: string } }
  for (const opening of [
    { bearer: API_TOKEN },
    { tokens: [API_TOKEN] },
    { bearer: ticket.token },
    { tokens: [ticket.token] },
    { tokens: [one.token, two.token] },
    { tokens: [ticket.token, two.token] },
    { bearer: API_TOKEN, method: 'HEAD' },
  ]) {
    assert.equal(await statusOf(fixture, ids, opening), 200, JSON.stringify(opening))
  }
  for (const opening of [
    {},
    { bearer: one.token },
    { tokens: [one.token] },
    { tokens: [two.token, one.token] },
    { tokens: [one.token, two.token, one.token] },
    { tokens: [one.token, ''] },
    { bearer: METRICS_TOKEN },
    { bearer: 'wrong' },
  ]) {
    assert.equal(await statusOf(fixture, ids, opening), 401, JSON.stringify(opening))
  }
})

test('what is asked for wrongly is told with its place', async (t) => {
  const fixture = await startFixture(t)
  const { id } = await fixture.createTopic()
  const ask = (query: string) => fetch(`${fixture.api}/events?${query}&access_token=${API_TOKEN}`)
  for (const [query, status, path] of [
    ['', 400, 'topic'],
    ['topic=!', 400, 'topic.0'],
    [`topic=${id}&topic=00000000zzz`, 404, 'topic.1'],
    [`${`topic=${id}&`.repeat(6)}`, 400, 'topic'],
    [`topic=${id}&heartbeat=often`, 400, 'heartbeat'],
    [`topic=${id}&since=yesterday`, 400, 'since'],
  ] as const) {
    const response = await ask(query)
    assert.equal(response.status, status, query)
    const error = await errorOf(response)
    assert.equal((error.details as { path?: string } | undefined)?.path, path, `${query}: ${JSON.stringify(error)}`)
  }
  const response = await fetch(`${fixture.api}/events?topic=${id}`, { method: 'POST' })
  assert.equal(response.status, 405)
})

test('a topic that is named twice is in the stream once', async (t) => {
  const fixture = await startFixture(t)
  const { id } = await fixture.createTopic(true)
  const stream = open(fixture, [id, id], { bearer: API_TOKEN })
  await stream.until('\nid: ')
  await publish(fixture, id, 'once')
  await publish(fixture, id, 'last')
  const { events } = read(await stream.until('data: last\n\n'))
  assert.deepEqual(
    events.map(({ data }) => data),
    ['once', 'last'],
  )
})

test('when one of its topics is deleted the stream ends, and says which', async (t) => {
  const fixture = await startFixture(t)
  const [one, two] = [await fixture.createTopic(true), await fixture.createTopic()]
  const stream = open(fixture, [one.id, two.id], { bearer: API_TOKEN })
  await stream.until('\nid: ')
  await publish(fixture, one.id, 'before')
  await fetch(`${fixture.api}/pubsubs/${one.id}`, {
    method: 'DELETE',
    headers: { authorization: `Bearer ${API_TOKEN}` },
  })
  const { events } = read(await stream.until('\r\n0\r\n\r\n'))
  assert.deepEqual(
    events.map(({ type, data }) => [type, data]),
    [
      ['message', 'before'],
      ['sser.closed', JSON.stringify({ reason: 'a topic of this stream was deleted', topic: one.id })],
    ],
  )
})

test('the end of any of its tokens is the end of the stream', async (t) => {
  const fixture = await startFixture(t)
  const [one, two] = [await fixture.createTopic(true), await fixture.createTopic()]
  const issued = await fetch(`${fixture.api}/pubsubs/${two.id}/tokens`, {
    method: 'POST',
    headers: { authorization: `Bearer ${API_TOKEN}`, 'content-type': 'application/json' },
    body: '{}',
  })
  const { token } = (await issued.json()) as { token: { id: string; token: string } }
  const stream = open(fixture, [one.id, two.id], { tokens: [one.token, token.token] })
  await stream.until('\nid: ')
  await fetch(`${fixture.api}/pubsubs/${two.id}/tokens/${token.id}`, {
    method: 'DELETE',
    headers: { authorization: `Bearer ${API_TOKEN}` },
  })
  const { events } = read(await stream.until('\r\n0\r\n\r\n'))
  assert.deepEqual(
    events.map(({ type, data }) => [type, data]),
    [['sser.closed', '{"reason":"the token was revoked"}']],
  )
})

test('what was dropped of one topic is told with its id, and the others go on', async (t) => {
  const fixture = await startFixture(t)
  const [one, two] = [await fixture.createTopic(true), await fixture.createTopic(true)]
  const start = await publish(fixture, one.id, 'first')
  await publish(fixture, two.id, 'kept')
  await publish(fixture, one.id, 'dropped')
  await fetch(`${fixture.api}/pubsubs/${one.id}/events`, {
    method: 'DELETE',
    headers: { authorization: `Bearer ${API_TOKEN}` },
  })
  await publish(fixture, one.id, 'after')
  const stream = open(fixture, [one.id, two.id], { bearer: API_TOKEN, lastEventId: start, query: '&signals=1' })
  const { events, ids } = read(await stream.until('sser.caught-up'))
  const gap = JSON.parse(events[0]?.data ?? '{}') as Record<string, unknown>
  assert.deepEqual(gap, {
    requested: start,
    resumes_after: start,
    reason: 'older events are no longer kept',
    topics: [one.id],
  })
  assert.deepEqual(
    events.filter(({ type }) => type === 'message').map(({ data }) => data),
    ['kept', 'after'],
  )
  assert.equal(ids[0], start)
})
