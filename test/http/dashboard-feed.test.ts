import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createDecoder, type SseEvent } from '../../src/sse/decode.ts'
import { API_TOKEN, errorOf, METRICS_TOKEN, startFixture } from './fixture.ts'

const path = '/api/v1/dashboard/events'

async function readEvents(url: string, count: number, headers: Record<string, string> = {}): Promise<SseEvent[]> {
  const response = await fetch(url, { headers: { authorization: `Bearer ${METRICS_TOKEN}`, ...headers } })
  return await eventsUntil(response, (events) => events.length >= count)
}

/** All that came when `isEnough` says so, or when the stream has ended. */
async function eventsUntil(
  response: Response,
  isEnough: (events: readonly SseEvent[]) => boolean,
): Promise<SseEvent[]> {
  assert.equal(response.status, 200)
  const events: SseEvent[] = []
  const decoder = createDecoder({ onEvent: (event) => events.push(event), bufferBytesMax: 1_000_000 })
  for await (const chunk of response.body ?? []) {
    decoder.feed(chunk)
    if (isEnough(events)) break
  }
  return events
}

interface Asked {
  readonly figures_after?: number
  readonly last_event_id?: string
  readonly topics?: readonly { readonly id: string; readonly token: string }[]
}

function post(origin: string, feed: Asked, token = METRICS_TOKEN): Promise<Response> {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
  return fetch(origin + path, { method: 'POST', headers, body: JSON.stringify({ feed }) })
}

function ofType(events: readonly SseEvent[], type: string): SseEvent[] {
  return events.filter((event) => event.type === type)
}

test('the feed gives samples to the metrics token and to the API token, and to nobody else', async (t) => {
  const { origin, createTopic } = await startFixture(t)
  const topic = await createTopic()
  for (const token of ['wrong', topic.token]) {
    const response = await fetch(origin + path, { headers: { authorization: `Bearer ${token}` } })
    assert.equal((await errorOf(response)).code, 401)
  }
  const head = await fetch(origin + path, { method: 'HEAD', headers: { authorization: `Bearer ${API_TOKEN}` } })
  assert.deepEqual([head.status, head.headers.get('content-type')], [200, 'text/event-stream'])
  const [history, sample] = await readEvents(origin + path, 2)
  assert.deepEqual([history?.type, sample?.type], ['sser.history', 'sser.figures'])
  const { time, figures, health, loop_lag_ms, log } = JSON.parse(sample?.data ?? '')
  assert.equal(sample?.lastEventId, String(time))
  assert.equal(figures.active_topics, 1)
  assert.deepEqual([health, log], [{ status: 'ready' }, null])
  assert.ok(loop_lag_ms >= 0)
})

test('who comes back gets what was missed, and nothing twice', async (t) => {
  const { origin, createTopic, publish } = await startFixture(t)
  const { id } = await createTopic()
  const [, first] = await readEvents(origin + path, 2)
  await publish(id, { message: 1 })
  const [history, , second] = await readEvents(origin + path, 3)
  const rows = JSON.parse(history?.data ?? '') as number[][]
  assert.equal(String(rows[0]?.[0]), first?.lastEventId)
  assert.equal(JSON.parse(second?.data ?? '').figures.message_received, 1)
  const [missed] = await readEvents(origin + path, 1, { 'last-event-id': first?.lastEventId ?? '' })
  const later = JSON.parse(missed?.data ?? '') as number[][]
  assert.ok(later.length > 0 && later.every(([time = 0]) => time > Number(first?.lastEventId)))
})

test('one stream brings figures and the events of topics, each opened by its own token, and goes on where it stopped', async (t) => {
  const { origin, createTopic, publish } = await startFixture(t)
  const topics = [await createTopic(true), await createTopic(), await createTopic(true)]
  // One that is named twice is in the stream once.
  const response = await post(origin, { topics: [...topics, topics[0]!] })
  const publishing = Promise.all(topics.map(({ id }, index) => publish(id, { type: 'note', message: { index } })))
  const events = await eventsUntil(
    response,
    (seen) => ofType(seen, 'note').length === 3 && ofType(seen, 'sser.figures').length > 0,
  )
  await publishing
  assert.equal(ofType(events, 'sser.history').length, 1)
  const notes = ofType(events, 'note').map(({ data, lastEventId }) => ({ ...JSON.parse(data), lastEventId }))
  assert.deepEqual(
    notes.map(({ topic, message }) => [topic, message]).toSorted(),
    topics.map(({ id }, index) => [id, { index }]).toSorted(),
  )
  const [first, second, third] = notes
  assert.ok(first.lastEventId < second.lastEventId && second.lastEventId < third.lastEventId)
  // Samples have no ids of their own: they would be taken for places in the log.
  const [sample] = ofType(events, 'sser.figures')
  assert.ok(sample && sample.lastEventId <= third.lastEventId)

  const { time } = JSON.parse(sample.data)
  const again = await post(origin, { topics, last_event_id: first.lastEventId, figures_after: time })
  const rest = await eventsUntil(
    again,
    (seen) => ofType(seen, 'note').length === 2 && ofType(seen, 'sser.history').length === 1,
  )
  assert.deepEqual(
    ofType(rest, 'note').map(({ lastEventId }) => lastEventId),
    [second.lastEventId, third.lastEventId],
  )
  assert.ok(JSON.parse(ofType(rest, 'sser.history')[0]?.data ?? '').every(([ms]: [number]) => ms > time))
})

test('each topic wants a token of its own; what is wrong is told with its place', async (t) => {
  const { origin, createTopic } = await startFixture(t)
  const [good, other] = [await createTopic(), await createTopic()]
  async function refused(feed: Asked, token?: string): Promise<[number, unknown]> {
    const { code, details } = await errorOf(await post(origin, feed, token))
    return [code, (details as { path?: string } | undefined)?.path]
  }
  assert.deepEqual(await refused({ topics: [good] }, good.token), [401, undefined])
  for (const token of [METRICS_TOKEN, good.token, 'wrong']) {
    assert.deepEqual(await refused({ topics: [good, { id: other.id, token }] }), [401, 'feed.topics.1.token'])
  }
  assert.deepEqual(await refused({ topics: [{ id: '00000000099', token: good.token }] }), [404, 'feed.topics.0'])
  assert.deepEqual(await refused({ topics: Array(6).fill(good) }), [400, 'feed.topics'])
  const token = { id: good.id } as { id: string; token: string }
  assert.deepEqual(await refused({ topics: [token] }), [400, 'feed.topics.0.token'])
  const empty = await fetch(origin + path, { method: 'POST', headers: { authorization: `Bearer ${METRICS_TOKEN}` } })
  assert.equal((await eventsUntil(empty, (events) => events.length === 2))[1]?.type, 'sser.figures')
})

test('the stream ends with a topic that is deleted, which it names, and with a token that is revoked', async (t) => {
  const { origin, api, createTopic } = await startFixture(t)
  const [kept, deleted] = [await createTopic(), await createTopic()]
  const authorization = `Bearer ${API_TOKEN}`
  const whole = (response: Response) => eventsUntil(response, () => false)
  const first = await post(origin, { topics: [kept, deleted] })
  await fetch(`${api}/pubsubs/${deleted.id}`, { method: 'DELETE', headers: { authorization } })
  const closed = ofType(await whole(first), 'sser.closed').map(({ data }) => JSON.parse(data).topic)
  assert.deepEqual(closed, [deleted.id])

  const issued = await fetch(`${api}/pubsubs/${kept.id}/tokens`, { method: 'POST', headers: { authorization } })
  const { token } = (await issued.json()) as { token: { id: string; token: string } }
  const second = await post(origin, { topics: [{ id: kept.id, token: token.token }] })
  await fetch(`${api}/pubsubs/${kept.id}/tokens/${token.id}`, { method: 'DELETE', headers: { authorization } })
  assert.deepEqual(
    ofType(await whole(second), 'sser.closed').map(({ data }) => JSON.parse(data)),
    [{ reason: 'the token was revoked' }],
  )
})

test('figures come also where the events cannot be had for now', async (t) => {
  const { origin, createTopic, subscribe, limitsReached } = await startFixture(t, { hub: { subscribersMax: 1 } })
  const topic = await createTopic()
  const other = subscribe(`${topic.id}/events`)
  await other.until('\nid: ')
  const response = await post(origin, { topics: [topic] })
  const events = await eventsUntil(response, (seen) => ofType(seen, 'sser.figures').length === 2)
  assert.match(JSON.parse(ofType(events, 'sser.closed')[0]?.data ?? '').reason, /1/)
  assert.deepEqual(limitsReached, ['limits.subscribersMax'])
})

test('a stop ends the feed at once', async (t) => {
  const { origin, http } = await startFixture(t)
  const response = await fetch(origin + path, { headers: { authorization: `Bearer ${METRICS_TOKEN}` } })
  const text = response.text()
  await http.close(60_000)
  assert.match(await text, /^event: sser\.history\n/)
})
