/** Limits over HTTP: what somebody is told who is over one, and that there is room again when somebody else has left. */

import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import {
  API_TOKEN,
  errorOf,
  type Fixture,
  type FixtureOptions,
  post,
  type RawConnection,
  startFixture,
} from './fixture.ts'

const eventStream = 'content-type: text/event-stream'

async function over(t: TestContext, options: FixtureOptions): Promise<{ fixture: Fixture; id: string; token: string }> {
  const fixture = await startFixture(t, options)
  return { fixture, ...(await fixture.createTopic(true)) }
}

/** A stream that could not begin: 200, a time to come back, and its end. */
async function assertComesBack(connection: RawConnection): Promise<void> {
  const answer = await connection.until('0\r\n\r\n')
  assert.match(answer, /^HTTP\/1\.1 200 /)
  assert.ok(answer.includes(eventStream))
  assert.match(answer, /\r\nretry: \d+\n\n\r\n0\r\n\r\n$/)
}

async function assertLimit(response: Response, status: number, limit: string): Promise<void> {
  assert.equal(response.status, status)
  assert.ok(Number(response.headers.get('retry-after')) > 0)
  const { details } = await errorOf(response)
  assert.deepEqual(details, { limit })
}

test('a topic over its streams asks the next one to come back, and takes it when another has left', async (t) => {
  const { fixture, id } = await over(t, { hub: { streamsPerTopicMax: 2 } })
  const other = await fixture.createTopic()
  const [first, second] = [fixture.subscribe(`${id}/events`), fixture.subscribe(`${id}/events`)]
  await Promise.all([first.until('id: '), second.until('id: ')])
  await assertComesBack(fixture.subscribe(`${id}/events`))
  assert.deepEqual(fixture.limitsReached, ['limits.streamsPerTopicMax'])
  await fixture.subscribe(`${other.id}/events`).until('id: ')
  first.socket.destroy()
  await untilSubscribers(fixture, 2)
  await fixture.subscribe(`${id}/events`).until('id: ')
})

test('a token over its streams asks the next one to come back, by whatever ticket of its own', async (t) => {
  const { fixture, id, token } = await over(t, { http: { streamsPerTokenMax: 1 } })
  const path = `${id}/events`
  const bearer = { authorization: `Bearer ${token}` }
  const ticket = async (by: string) => {
    const body = JSON.stringify({ ticket: { topics: [id] } })
    const response = await post(`${fixture.api}/tickets`, body, { authorization: `Bearer ${by}` })
    return ((await response.json()) as { ticket: { token: string } }).ticket.token
  }
  const first = fixture.subscribe(path, bearer)
  await first.until('id: ')
  await assertComesBack(fixture.subscribe(path, bearer))
  await assertComesBack(fixture.subscribe(path, { authorization: `Bearer ${await ticket(token)}` }))
  assert.deepEqual(fixture.limitsReached, ['limits.streamsPerTokenMax', 'limits.streamsPerTokenMax'])
  // Each of these is for somebody else.
  for (const each of [await ticket(API_TOKEN), await ticket(API_TOKEN)]) {
    await fixture.subscribe(path, { authorization: `Bearer ${each}` }).until('id: ')
    await assertComesBack(fixture.subscribe(path, { authorization: `Bearer ${each}` }))
  }
  first.socket.destroy()
  await untilSubscribers(fixture, 2)
  await fixture.subscribe(path, bearer).until('id: ')
})

test('a token that publishes too fast gets a 429, also by lists, and by lines it is slowed down', async (t) => {
  const { fixture, id } = await over(t, { http: { eventsPerSecondPerTokenMax: 10 } })
  const url = `${fixture.api}/pubsubs/${id}/events`
  // Ten seconds' worth, so that no machine is too slow to be too fast.
  const events = Array.from({ length: 100 }, (_, n) => ({ message: n }))
  assert.equal((await post(url, JSON.stringify({ events }))).status, 201)
  await assertLimit(await fixture.publish(id, { message: 'too soon' }), 429, 'limits.eventsPerSecondPerTokenMax')
  const topic = fixture.hub.topic(id) ?? assert.fail()
  const request = { rights: ['publish'] as const, label: undefined, expiresAtMs: undefined }
  const { secret } = await fixture.hub.issueToken(topic, request)
  const headers = { authorization: `Bearer ${secret}`, 'content-type': 'application/x-ndjson' }
  const lines = events.slice(0, 12).map((event) => `${JSON.stringify(event)}\n`)
  const beganAtMs = performance.now()
  for (let times = 0; times < 3; times += 1) {
    const answer = await post(url, lines.join(''), headers)
    assert.match(await answer.text(), /\{"lines":12,[^\n]*\}\n$/)
  }
  // The last could begin when all but a second's worth of the others was over.
  assert.ok(performance.now() - beganAtMs > 1300, 'it had to wait for its turn')
})

test('over the topics there may be, and the tickets, a call gets a 503 that names the limit', async (t) => {
  const { fixture, id } = await over(t, { hub: { topicsMax: 1, ticketsMax: 1 } })
  const call = (path: string, body: unknown) => post(`${fixture.api}${path}`, JSON.stringify(body))
  await assertLimit(await call('/pubsubs', {}), 503, 'limits.topicsMax')
  assert.equal((await call('/tickets', { ticket: { topics: [id] } })).status, 201)
  await assertLimit(await call('/tickets', { ticket: { topics: [id] } }), 503, 'limits.ticketsMax')
  assert.deepEqual(fixture.limitsReached, ['limits.topicsMax', 'limits.ticketsMax'])
})

test('over the connections there may be a call gets a 503, a stream is asked to come back, and both connections end', async (t) => {
  const { fixture, id } = await over(t, { http: { connectionsMax: 2 } })
  const [first, second] = [fixture.subscribe(`${id}/events`), fixture.subscribe(`${id}/events`)]
  await Promise.all([first.until('id: '), second.until('id: ')])
  const call = fixture.raw('GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n')
  const answer = await call.end()
  assert.match(answer, /^HTTP\/1\.1 503 [\s\S]*\r\nconnection: close\r\n/i)
  assert.match(answer, /\r\nretry-after: \d+\r\n/)
  assert.match(answer, /"limit":"server\.maxConnections"/)
  const stream = fixture.subscribe(`${id}/events`)
  await assertComesBack(stream)
  await stream.end()
  const ofSeveral = fixture.raw(`GET /api/v1/events?topic=${id} HTTP/1.1\r\nhost: test\r\n\r\n`)
  await assertComesBack(ofSeveral)
  assert.deepEqual(new Set(fixture.limitsReached), new Set(['server.maxConnections']))
  assert.equal(fixture.limitsReached.length, 3)
  first.socket.destroy()
  await untilSubscribers(fixture, 1)
  // The socket may be closed a moment later than its stream.
  await untilServed(fixture)
})

test('one address has so many connections, and others have theirs; of those that are over, few are heard at all', async (t) => {
  // Nobody is cut off for saying nothing.
  const { fixture, id } = await over(t, { http: { connectionsPerAddressMax: 2, readTimeoutMs: 600_000 } })
  let address = '203.0.113.7'
  // In front of the limits' own listener.
  fixture.http.hapi.listener.prependListener('connection', (socket: Socket) => {
    Object.defineProperty(socket, 'remoteAddress', { value: address })
  })
  const served = async () => {
    const stream = fixture.subscribe(`${id}/events`)
    await stream.until('id: ')
    return stream
  }
  const first = await served()
  await served()
  const call = await fixture.raw('GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n').end()
  assert.match(call, /^HTTP\/1\.1 429 [\s\S]*\r\nconnection: close\r\n/i)
  assert.match(call, /\r\nretry-after: \d+\r\n[\s\S]*"limit":"limits\.connectionsPerAddressMax"/)
  await assertComesBack(fixture.subscribe(`${id}/events`))
  // Those that say nothing wait for their answer, and beyond a hundred of them nobody is heard.
  const silent = Array.from({ length: 150 }, () => fixture.raw(''))
  await Promise.all(silent.slice(100).map((each) => each.end()))
  assert.ok(!silent[0]!.isEnded)
  for (const each of silent) each.socket.destroy()
  address = '203.0.113.8'
  await served()
  // Of IPv6 a whole /64 is one address, and of this machine none is.
  address = '2001:db8::1'
  await served()
  address = '2001:db8::2'
  await served()
  address = '2001:db8::3'
  await assertComesBack(fixture.subscribe(`${id}/events`))
  address = '127.0.0.1'
  for (let times = 0; times < 5; times += 1) await served()
  address = '203.0.113.7'
  first.socket.destroy()
  await untilSubscribers(fixture, 9)
  await untilServed(fixture)
})

async function untilSubscribers(fixture: Fixture, count: number): Promise<void> {
  const endMs = performance.now() + 30_000
  while (fixture.hub.figures().active_subscribers !== count) {
    assert.ok(performance.now() < endMs, `${fixture.hub.figures().active_subscribers} subscribers`)
    await delay(5)
  }
}

/** On a connection of its own each time. */
async function untilServed(fixture: Fixture): Promise<void> {
  const endMs = performance.now() + 30_000
  while (performance.now() < endMs) {
    const call = fixture.raw('GET /healthz HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n')
    if (/^HTTP\/1\.1 200 /.test(await call.end())) return
  }
  assert.fail('there is no room for another connection')
}
