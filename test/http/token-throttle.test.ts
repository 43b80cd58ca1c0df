/** Wrong tokens: who has to wait, for how long, and who goes on. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hashToken } from '../../src/domain/token.ts'
import { TokenThrottle } from '../../src/http/token-throttle.ts'
import { FakeClock } from '../support/fake-clock.ts'
import {
  API_TOKEN,
  dechunk,
  errorOf,
  type Fixture,
  type FixtureOptions,
  METRICS_TOKEN,
  startFixture,
} from './fixture.ts'

const right = hashToken('right')
const wrong = hashToken('wrong')
const other = hashToken('other')

function throttleOf(
  clock: FakeClock,
  throttledClientsMax = 100,
  onThrottled: (client: string, wrong: number) => void = () => undefined,
): TokenThrottle {
  const options = { wrongTokensMax: 3, wrongTokenWaitMsMax: 5000, throttledClientsMax }
  return new TokenThrottle(() => clock.monotonicMs(), options, onThrottled)
}

function beWrong(throttle: TokenThrottle, client: string, times: number): void {
  for (let time = 0; time < times; time += 1) throttle.wrong(client, wrong)
}

test('behind a few wrong tokens a client waits, twice as long behind each further one, up to a bound', () => {
  const clock = new FakeClock()
  const throttle = throttleOf(clock)
  beWrong(throttle, 'a', 2)
  assert.equal(throttle.waitMs('a', wrong), 0)
  const waits = [1, 2, 3, 4, 5].map(() => {
    throttle.wrong('a', wrong)
    const waitMs = throttle.waitMs('a', wrong)
    clock.advance(waitMs - 1)
    assert.equal(throttle.waitMs('a', wrong), 1)
    clock.advance(1)
    assert.equal(throttle.waitMs('a', wrong), 0)
    return waitMs
  })
  assert.deepEqual(waits, [1000, 2000, 4000, 5000, 5000])
  beWrong(throttle, 'a', 2000)
  assert.equal(throttle.waitMs('a', wrong), 5000, 'no power of two is too large for it')
  assert.equal(throttle.waitMs('b', wrong), 0, 'nobody else waits')
})

test('tokens that were right from there go on, and are no guess when they open nothing any more', () => {
  const throttle = throttleOf(new FakeClock())
  throttle.right('a', right)
  beWrong(throttle, 'a', 3)
  assert.equal(throttle.waitMs('a', right), 0)
  assert.equal(throttle.waitMs('a', other), 1000)
  throttle.wrong('a', right)
  assert.equal(throttle.waitMs('a', other), 1000)
  beWrong(throttle, 'b', 3)
  assert.equal(throttle.waitMs('b', right), 1000, 'what was right from one address says nothing of another')
})

test('it is told once that a client has to wait, and again when that had been forgotten', () => {
  const clock = new FakeClock()
  const told: [string, number][] = []
  const throttle = throttleOf(clock, 100, (client, wrongTokens) => told.push([client, wrongTokens]))
  beWrong(throttle, '203.0.113.7', 2)
  assert.deepEqual(told, [])
  beWrong(throttle, '203.0.113.7', 8)
  beWrong(throttle, '203.0.113.8', 3)
  assert.deepEqual(told, [
    ['203.0.113.7', 3],
    ['203.0.113.8', 3],
  ])
  clock.advance(16 * 60_000)
  beWrong(throttle, '203.0.113.7', 3)
  assert.equal(told.length, 3)
})

test('a client that was not wrong for a quarter of an hour begins anew', () => {
  const clock = new FakeClock()
  const throttle = throttleOf(clock)
  beWrong(throttle, 'a', 5)
  // Counted from the end of its wait.
  clock.advance(4000 + 15 * 60_000 - 1)
  beWrong(throttle, 'a', 1)
  assert.equal(throttle.waitMs('a', wrong), 5000)
  clock.advance(5000 + 15 * 60_000)
  beWrong(throttle, 'a', 2)
  assert.equal(throttle.waitMs('a', wrong), 0)
})

test('of more clients than it may remember it forgets those that were wrong, or right, longest ago', () => {
  const throttle = throttleOf(new FakeClock(), 3)
  for (const client of ['a', 'b', 'c']) throttle.right(client, right)
  throttle.right('a', right)
  throttle.right('d', right)
  for (const client of ['a', 'b', 'c']) beWrong(throttle, client, 3)
  assert.deepEqual(
    ['a', 'b', 'c'].map((client) => throttle.waitMs(client, right)),
    [0, 1000, 0],
  )
  throttle.wrong('a', wrong)
  throttle.wrong('d', wrong)
  assert.deepEqual(
    ['a', 'b', 'c'].map((client) => throttle.waitMs(client, other)),
    [2000, 0, 1000],
  )
})

/** Behind a proxy on this machine, so that a test can come from any address. */
const behindProxy: FixtureOptions = {
  http: {
    trustedProxies: [{ address: '127.0.0.1', prefix: 32, family: 'ipv4' }],
    wrongTokensMax: 3,
    wrongTokenWaitMsMax: 600_000,
  },
}

function ask(fixture: Fixture, from: string | undefined, token: string, path = '/metrics'): Promise<Response> {
  const forwarded = from === undefined ? {} : { 'x-forwarded-for': from }
  return fetch(`${fixture.api}${path}`, {
    headers: { authorization: `Bearer ${token}`, accept: 'application/json', ...forwarded },
  })
}

async function throttled(fixture: Fixture, from: string): Promise<void> {
  // Each further one doubles the wait, so that the test has all the time that it needs.
  for (let time = 0; time < 3; time += 1) assert.equal((await ask(fixture, from, `guess-${time}`)).status, 401)
}

test('after repeated wrong tokens an address gets 429 and retry-after, whether a token is right or not', async (t) => {
  const fixture = await startFixture(t, behindProxy)
  const { id, token } = await fixture.createTopic(true)
  const from = '203.0.113.7'
  assert.equal((await ask(fixture, from, METRICS_TOKEN)).status, 200)
  await throttled(fixture, from)
  for (const [presented, path] of [
    ['one-more-guess', '/metrics'],
    [API_TOKEN, '/metrics'],
    [API_TOKEN, '/pubsubs'],
    [token, `/pubsubs/${id}/events`],
  ] as const) {
    const response = await ask(fixture, from, presented, path)
    assert.equal(response.status, 429, path)
    assert.match(response.headers.get('retry-after') ?? '', /^[1-9]\d*$/)
    assert.match((await errorOf(response)).message, /^Too many wrong tokens/)
  }
  assert.equal((await ask(fixture, from, METRICS_TOKEN)).status, 200, 'what was right from there before goes on')
  assert.equal((await ask(fixture, '203.0.113.8', API_TOKEN)).status, 200, 'the neighbour is not concerned')
  assert.equal((await ask(fixture, undefined, API_TOKEN)).status, 200, 'nor is the proxy itself')
})

test('a stream that is refused for wrong tokens ends with the time to come back, since a browser would not after 429', async (t) => {
  const fixture = await startFixture(t, behindProxy)
  const { id, token } = await fixture.createTopic(true)
  const from = '203.0.113.7'
  await throttled(fixture, from)
  const stream = fixture.subscribe(`${id}/events?access_token=${token}`, {
    'x-forwarded-for': from,
    connection: 'close',
  })
  const answer = await stream.end()
  assert.match(answer, /^HTTP\/1\.1 200 OK\r\n/)
  assert.match(answer, /\r\ncontent-type: text\/event-stream\r\n/i)
  assert.match(answer, /\r\naccess-control-allow-origin: \*\r\n/i)
  const body = answer.includes('transfer-encoding: chunked') ? dechunk(answer).body : answer.split('\r\n\r\n')[1]
  const retryMs = Number(/^retry: (\d+)$/.exec(body?.trim() ?? '')?.[1])
  assert.ok(retryMs >= 2000, answer)
})

test('one client of IPv6 is its /64', async (t) => {
  const fixture = await startFixture(t, behindProxy)
  for (const [last, token] of ['::1', '::2', ':1:2:3:4'].entries()) {
    assert.equal((await ask(fixture, `2001:db8:0:1${token}`, `guess-${last}`)).status, 401)
  }
  assert.equal((await ask(fixture, '2001:db8:0:1:ffff::9', API_TOKEN)).status, 429)
  assert.equal((await ask(fixture, '2001:db8:0:2::1', API_TOKEN)).status, 200)
})

test('loopback, and proxies that are trusted, never have to wait, however many wrong tokens come', async (t) => {
  const plain = await startFixture(t, { http: { wrongTokensMax: 1 } })
  const proxied = await startFixture(t, { http: { ...behindProxy.http, wrongTokensMax: 1 } })
  for (const fixture of [plain, proxied]) {
    for (let time = 0; time < 5; time += 1) assert.equal((await ask(fixture, undefined, 'guess')).status, 401)
    assert.equal((await ask(fixture, undefined, API_TOKEN)).status, 200)
  }
  for (let time = 0; time < 5; time += 1) assert.equal((await ask(plain, '203.0.113.7', 'guess')).status, 401)
  const unknown = await ask(proxied, '203.0.113.9', API_TOKEN, '/pubsubs/00000000zzz/events')
  assert.equal(unknown.status, 404)
})

test('a topic that is not there, a token that is missing, and a header that is none are no guesses', async (t) => {
  const fixture = await startFixture(t, { http: { ...behindProxy.http, wrongTokensMax: 1 } })
  const headers = { 'x-forwarded-for': '203.0.113.7', accept: 'application/json' }
  assert.equal((await ask(fixture, '203.0.113.7', 'guess', '/pubsubs/00000000zzz/events')).status, 404)
  assert.equal((await fetch(`${fixture.api}/metrics`, { headers })).status, 401)
  assert.equal((await fetch(`${fixture.api}/metrics`, { headers: { ...headers, authorization: 'x' } })).status, 401)
  assert.equal((await ask(fixture, '203.0.113.7', API_TOKEN)).status, 200)
})
