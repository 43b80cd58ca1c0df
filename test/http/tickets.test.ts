/** Tickets over HTTP: who gets one, what it opens, and that it ends with the tokens that it was made by. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hashToken } from '../../src/domain/token.ts'
import { API_TOKEN, errorOf, type Fixture, METRICS_TOKEN, type RawConnection, startFixture } from './fixture.ts'

function ask(
  fixture: Fixture,
  topics: unknown,
  token?: string,
  headers: Record<string, string> = {},
): Promise<Response> {
  const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` }
  return fetch(`${fixture.api}/tickets`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...authorization, ...headers },
    body: JSON.stringify({ ticket: { topics } }),
  })
}

async function ticketFor(fixture: Fixture, topics: unknown, token?: string): Promise<string> {
  const response = await ask(fixture, topics, token)
  assert.equal(response.status, 201)
  const { ticket } = (await response.json()) as { ticket: { token: string; expires_at: string } }
  assert.match(ticket.token, /^[0-9A-Za-z]{64}$/)
  assert.match(ticket.expires_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  return ticket.token
}

/** As a browser's EventSource asks. */
function open(fixture: Fixture, id: string, ticket: string): RawConnection {
  return fixture.raw(`GET /api/v1/pubsubs/${id}/events?access_token=${ticket} HTTP/1.1\r\nhost: test\r\n\r\n`)
}

async function statusOf(fixture: Fixture, id: string, ticket: string): Promise<number> {
  const connection = open(fixture, id, ticket)
  const answer = await connection.until('\r\n\r\n')
  connection.socket.destroy()
  return Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1])
}

test('a ticket opens the streams of its topics, as often as is wanted, and nothing else', async (t) => {
  const fixture = await startFixture(t)
  const [first, second, third] = [
    await fixture.createTopic(true),
    await fixture.createTopic(),
    await fixture.createTopic(),
  ]
  const ticket = await ticketFor(fixture, [first.id, second.id, first.id], API_TOKEN)
  const streams = [first, second, first].map(({ id }) => open(fixture, id, ticket))
  for (const stream of streams) await stream.until('id: ')
  await fixture.publish(first.id, { message: 'to the first' })
  await streams[0]!.until('data: to the first')
  await streams[2]!.until('data: to the first')
  assert.equal(await statusOf(fixture, third.id, ticket), 401)
  const bearer = { authorization: `Bearer ${ticket}` }
  for (const [method, path, accept] of [
    ['GET', `/pubsubs/${first.id}/events`, 'application/json'],
    ['GET', `/pubsubs/${first.id}`, '*/*'],
    ['POST', `/pubsubs/${first.id}/events`, '*/*'],
    ['GET', '/metrics', '*/*'],
  ] as const) {
    const body = method === 'POST' ? { body: '{"event":{"message":1}}' } : {}
    const response = await fetch(`${fixture.api}${path}`, { method, headers: { ...bearer, accept }, ...body })
    assert.equal(response.status, 401, `${method} ${path}`)
  }
  assert.equal((await ask(fixture, [first.id], ticket)).status, 401, 'a ticket makes no ticket')
  const byHeader = fixture.subscribe(`${first.id}/events`, bearer)
  await byHeader.until('id: ')
  assert.equal(
    (
      await fetch(`${fixture.api}/pubsubs/${first.id}`, {
        method: 'DELETE',
        headers: { authorization: `Bearer ${API_TOKEN}` },
      })
    ).status,
    204,
  )
  assert.equal(await statusOf(fixture, first.id, ticket), 404)
})

test('a ticket is for whoever has a token for each of its topics', async (t) => {
  const apiTokens = [
    { sha256: hashToken(API_TOKEN), rights: ['topics', 'publish', 'subscribe', 'metrics'] },
    { sha256: hashToken('reads-all-topics'), rights: ['subscribe'] },
    { sha256: hashToken('publishes-only'), rights: ['publish', 'topics', 'metrics'] },
  ] as const
  const fixture = await startFixture(t, { http: { apiTokens } })
  const [first, second] = [await fixture.createTopic(true), await fixture.createTopic()]
  const both = [first.id, second.id]
  const own = [first, second].map(({ id, token }) => ({ id, token }))
  for (const [topics, token] of [
    [both, 'reads-all-topics'],
    [own, undefined],
    [[own[0], second.id], second.token],
    [[first.id], first.token],
  ] as const) {
    const ticket = await ticketFor(fixture, topics, token)
    for (const topic of topics) {
      const id = typeof topic === 'string' ? topic : (topic?.id ?? '')
      assert.equal(await statusOf(fixture, id, ticket), 200)
    }
  }
  for (const [topics, token] of [
    [both, first.token],
    [both, 'publishes-only'],
    [both, METRICS_TOKEN],
    [both, 'guess'],
    [[{ id: first.id, token: second.token }], API_TOKEN],
    [[own[0], second.id], undefined],
  ] as const) {
    assert.equal((await ask(fixture, topics, token)).status, 401)
  }
})

test('with a further token that is revoked its tickets end, and so do the streams that they opened', async (t) => {
  const fixture = await startFixture(t)
  const { id } = await fixture.createTopic(true)
  const topic = fixture.hub.topic(id) ?? assert.fail()
  const request = { rights: ['subscribe'] as const, label: undefined, expiresAtMs: undefined }
  const { token, secret } = await fixture.hub.issueToken(topic, request)
  const ticket = await ticketFor(fixture, [id], secret)
  const stream = open(fixture, id, ticket)
  await stream.until('id: ')
  await fixture.hub.revokeToken(topic, token.number)
  assert.match(await stream.until('0\r\n\r\n'), /event: sser\.closed\ndata: \{"reason":"the token was revoked"\}\n\n/)
  assert.equal(await statusOf(fixture, id, ticket), 401)
})

test('one that was not used in time opens nothing', async (t) => {
  const fixture = await startFixture(t, { hub: { ticketLifetimeMs: 0 } })
  const { id } = await fixture.createTopic(true)
  assert.equal(await statusOf(fixture, id, await ticketFor(fixture, [id], API_TOKEN)), 401)
})

test('a ticket is in use for as long as its stream is open, however that begins and ends', async (t) => {
  const fixture = await startFixture(t, { hub: { subscribersMax: 1 } })
  const { id } = await fixture.createTopic(true)
  const { tickets } = fixture.hub
  const enter = tickets.enter.bind(tickets)
  let entered = 0
  const left: (() => void)[] = []
  let onLeft: (() => void) | undefined
  tickets.enter = async (ticket) => {
    entered += 1
    const leave = await enter(ticket)
    return () => {
      leave()
      left.push(leave)
      onLeft?.()
    }
  }
  const untilLeft = (times: number) =>
    new Promise<void>((resolve) => {
      onLeft = () => left.length >= times && resolve()
      onLeft()
    })
  const ticket = await ticketFor(fixture, [id], API_TOKEN)
  const stream = open(fixture, id, ticket)
  await stream.until('id: ')
  // There is room for one: this is told to come back, and ends.
  const refused = open(fixture, id, ticket)
  await refused.until('retry: ')
  await untilLeft(1)
  assert.deepEqual([entered, left.length], [2, 1])
  stream.socket.destroy()
  await untilLeft(2)
  const head = await fetch(`${fixture.api}/pubsubs/${id}/events?access_token=${ticket}`, { method: 'HEAD' })
  assert.deepEqual([head.status, entered], [200, 2])
})

test('what is no wish for a ticket is refused with its place', async (t) => {
  const fixture = await startFixture(t)
  const { id } = await fixture.createTopic(true)
  for (const [topics, path] of [
    [undefined, 'ticket.topics'],
    [[], 'ticket.topics'],
    [id, 'ticket.topics'],
    [Array.from({ length: 101 }, () => id), 'ticket.topics'],
    [[7], 'ticket.topics.0'],
    [[id, { id }], 'ticket.topics.1.token'],
    [[id, '*'], 'ticket.topics.1'],
    [[{ id, token: 'x', rights: [] }], 'ticket.topics.0.rights'],
  ] as const) {
    const response = await ask(fixture, topics, API_TOKEN)
    assert.equal(response.status, 400, JSON.stringify(topics))
    const { details, message } = await errorOf(response)
    assert.deepEqual(details, { path }, message)
  }
  const unknown = await ask(fixture, [id, '00000000zzz'], API_TOKEN)
  assert.equal(unknown.status, 404)
  assert.deepEqual((await errorOf(unknown)).details, { path: 'ticket.topics.1' })
})

test('whoever has to wait for wrong tokens gets no ticket meanwhile, and each wrong one of a wish counts', async (t) => {
  const trustedProxies = [{ address: '127.0.0.1', prefix: 32, family: 'ipv4' }] as const
  const fixture = await startFixture(t, { http: { trustedProxies, wrongTokensMax: 2, wrongTokenWaitMsMax: 600_000 } })
  const { id } = await fixture.createTopic(true)
  const from = { 'x-forwarded-for': '203.0.113.7' }
  assert.equal((await ask(fixture, [{ id, token: 'guess' }], undefined, from)).status, 401)
  assert.equal((await ask(fixture, [id], 'guess', from)).status, 401)
  const response = await ask(fixture, [id], API_TOKEN, from)
  assert.equal(response.status, 429)
  assert.ok(Number(response.headers.get('retry-after')) > 0)
})
