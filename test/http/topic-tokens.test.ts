/** Further tokens of a topic, and API tokens with fewer rights, over HTTP. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hashToken } from '../../src/domain/token.ts'
import { API_TOKEN, errorOf, type Fixture, METRICS_TOKEN, startFixture } from './fixture.ts'

interface TokenAnswer {
  readonly id: string
  readonly token?: string
  readonly label: string | null
  readonly rights: readonly string[]
  readonly expires_at: string | null
}

function call(fixture: Fixture, method: string, path: string, body?: unknown, token = API_TOKEN): Promise<Response> {
  return fetch(`${fixture.api}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      accept: 'application/json',
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
}

async function issued(fixture: Fixture, id: string, token: object): Promise<TokenAnswer & { readonly token: string }> {
  const response = await call(fixture, 'POST', `/pubsubs/${id}/tokens`, { token })
  assert.equal(response.status, 201)
  return ((await response.json()) as { token: TokenAnswer & { readonly token: string } }).token
}

test('a token is issued, shown once, listed without its secret, and revoked', async (t) => {
  const fixture = await startFixture(t)
  const { id } = await fixture.createTopic(true)
  const plain = await issued(fixture, id, {})
  assert.match(plain.token, /^[0-9A-Za-z]{64}$/)
  assert.deepEqual([plain.rights, plain.label, plain.expires_at], [['subscribe'], null, null])
  const expires_at = new Date(Date.now() + 3_600_000).toISOString()
  const rights = ['subscribe', 'publish']
  const full = await issued(fixture, id, { rights, label: 'press "é"', expires_at })
  assert.deepEqual([full.rights, full.label, full.expires_at], [rights, 'press "é"', expires_at])
  const listed = await (await call(fixture, 'GET', `/pubsubs/${id}/tokens`)).text()
  for (const secret of [plain.token, full.token, API_TOKEN]) assert.ok(!listed.includes(secret))
  assert.deepEqual(
    (JSON.parse(listed) as { tokens: TokenAnswer[] }).tokens.map((token) => token.id),
    [plain.id, full.id],
  )
  const events = `/pubsubs/${id}/events`
  assert.equal((await call(fixture, 'GET', events, undefined, plain.token)).status, 200)
  assert.equal((await call(fixture, 'POST', events, { event: { message: 1 } }, full.token)).status, 201)
  assert.equal((await call(fixture, 'POST', events, { event: { message: 1 } }, plain.token)).status, 401)
  assert.equal((await call(fixture, 'DELETE', `/pubsubs/${id}/tokens/${plain.id}`)).status, 204)
  assert.equal((await call(fixture, 'GET', events, undefined, plain.token)).status, 401)
  assert.equal((await call(fixture, 'DELETE', `/pubsubs/${id}/tokens/${plain.id}`)).status, 204)
})

test('a stream that a token has opened ends with the reason when it is revoked', async (t) => {
  const fixture = await startFixture(t)
  const { id } = await fixture.createTopic(true)
  const { id: tokenId, token } = await issued(fixture, id, { rights: ['subscribe'] })
  const stream = fixture.subscribe(`${id}/events`, { authorization: `Bearer ${token}` })
  await stream.until('id: ')
  await call(fixture, 'DELETE', `/pubsubs/${id}/tokens/${tokenId}`)
  assert.match(await stream.until('0\r\n\r\n'), /event: sser\.closed\ndata: \{"reason":"the token was revoked"\}\n\n/)
})

test('the query is looked at for a token of a stream alone, and not where there is a header', async (t) => {
  const fixture = await startFixture(t)
  const { id, token } = await fixture.createTopic(true)
  const path = `/pubsubs/${id}/events?access_token=${token}`
  const stream = fixture.raw(`GET /api/v1${path} HTTP/1.1\r\nhost: test\r\n\r\n`)
  assert.match(await stream.until('id: '), /^HTTP\/1\.1 200 OK\r\n/)
  for (const accept of ['application/json', 'application/x-ndjson']) {
    assert.equal((await fetch(`${fixture.api}${path}`, { headers: { accept } })).status, 401, accept)
  }
  for (const other of ['/pubsubs', '/metrics', `/pubsubs/${id}/tokens`]) {
    assert.equal((await fetch(`${fixture.api}${other}?access_token=${API_TOKEN}`)).status, 401, other)
  }
  const body = '{"event":{"message":1}}'
  const published = await fetch(`${fixture.api}/pubsubs/${id}/events?access_token=${API_TOKEN}`, {
    method: 'POST',
    body,
  })
  assert.equal(published.status, 401)
  assert.equal((await fetch(`${fixture.api}${path}`, { headers: { authorization: 'Bearer guess' } })).status, 401)
})

test('the tokens of a topic are managed by those who manage topics, and by no others', async (t) => {
  const fixture = await startFixture(t)
  const { id, token: own } = await fixture.createTopic(true)
  const { token, id: tokenId } = await issued(fixture, id, { rights: ['subscribe', 'publish'] })
  for (const presented of [own, token, METRICS_TOKEN, 'guess']) {
    for (const [method, path] of [
      ['POST', 'tokens'],
      ['GET', 'tokens'],
      ['DELETE', `tokens/${tokenId}`],
    ] as const) {
      const body = method === 'POST' ? {} : undefined
      assert.equal((await call(fixture, method, `/pubsubs/${id}/${path}`, body, presented)).status, 401)
    }
  }
  assert.equal((await call(fixture, 'GET', '/pubsubs/00000000zzz/tokens')).status, 404)
  const toTopic0 = await call(fixture, 'POST', '/pubsubs/00000000zzz/events', { event: { message: 1 } }, token)
  assert.equal(toTopic0.status, 401, 'whether there is such a topic is told to those only who may publish to all')
})

test('what cannot be issued is refused with its place, and nothing is', async (t) => {
  const fixture = await startFixture(t)
  const { id } = await fixture.createTopic(true)
  for (const [token, path] of [
    [{ rights: [] }, 'token.rights'],
    [{ rights: ['admin'] }, 'token.rights.0'],
    [{ rights: ['publish', 'publish'] }, 'token.rights.1'],
    [{ label: '' }, 'token.label'],
    [{ label: 'a\nb' }, 'token.label'],
    [{ expires_at: 'tomorrow' }, 'token.expires_at'],
    [{ expires_at: '2020-01-01T00:00:00Z' }, 'token.expires_at'],
    [{ expires: '2030-01-01T00:00:00Z' }, 'token.expires'],
    ['all', 'token'],
  ] as const) {
    const response = await call(fixture, 'POST', `/pubsubs/${id}/tokens`, { token })
    assert.equal(response.status, 400, path)
    assert.deepEqual((await errorOf(response)).details, { path })
  }
  assert.equal((await call(fixture, 'DELETE', `/pubsubs/${id}/tokens/*`)).status, 400)
  assert.deepEqual(await (await call(fixture, 'GET', `/pubsubs/${id}/tokens`)).json(), { tokens: [] })
})

test('an API token opens what it has the right to, and nothing else', async (t) => {
  const names = ['topics', 'publish', 'subscribe', 'metrics'] as const
  const apiTokens = [
    { sha256: hashToken(API_TOKEN), rights: names },
    ...names.map((right) => ({ sha256: hashToken(`token-that-has-${right}`), rights: [right] })),
  ]
  const fixture = await startFixture(t, { http: { apiTokens } })
  const { id } = await fixture.createTopic(true)
  const statuses = await Promise.all(
    names.map(async (right) => {
      const token = `token-that-has-${right}`
      const answers = [
        await call(fixture, 'GET', '/pubsubs', undefined, token),
        await call(fixture, 'POST', `/pubsubs/${id}/events`, { event: { message: 1 } }, token),
        await call(fixture, 'GET', `/pubsubs/${id}/events`, undefined, token),
        await call(fixture, 'GET', '/metrics', undefined, token),
      ]
      return answers.map(({ status }) => status)
    }),
  )
  assert.deepEqual(statuses, [
    [200, 401, 401, 401],
    [401, 201, 401, 401],
    [401, 401, 200, 401],
    [401, 401, 401, 200],
  ])
})
