/** What a topic keeps, over HTTP: made with limits, looked at, changed, listed, emptied. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { API_TOKEN, errorOf, type Fixture, METRICS_TOKEN, startFixture } from './fixture.ts'

const authorization = `Bearer ${API_TOKEN}`

interface Details {
  readonly id: string
  readonly name: string | null
  readonly events: number
  readonly earliest: { readonly id: string; readonly time: string } | null
  readonly retention: Record<string, unknown>
}

async function call(fixture: Fixture, method: string, path: string, body?: unknown): Promise<Response> {
  return await fetch(`${fixture.api}${path}`, {
    method,
    headers: { authorization, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
}

async function detailsOf(fixture: Fixture, id: string): Promise<Details> {
  const response = await call(fixture, 'GET', `/pubsubs/${id}`)
  assert.equal(response.status, 200)
  assert.equal(response.headers.get('content-type'), 'application/json')
  return ((await response.json()) as { pubsub: Details }).pubsub
}

async function made(fixture: Fixture, pubsub: unknown): Promise<{ id: string; token: string }> {
  const response = await call(fixture, 'POST', '/pubsubs', { pubsub })
  assert.equal(response.status, 201)
  return ((await response.json()) as { pubsub: { id: string; token: string } }).pubsub
}

async function published(fixture: Fixture, id: string, message: unknown): Promise<string> {
  return ((await (await fixture.publish(id, { message })).json()) as { event: { id: string } }).event.id
}

test('a topic is made with a name and limits, and shows them, what it holds, and no token', async (t) => {
  const fixture = await startFixture(t)
  const retention = { max_age: '90m', max_bytes: 1_000_000, max_events: 2 }
  const { id, token } = await made(fixture, { persist: true, name: 'orders "é"', retention })
  await published(fixture, id, 'a')
  const first = await published(fixture, id, 'b')
  const last = await published(fixture, id, 'c')
  const response = await call(fixture, 'GET', `/pubsubs/${id}`)
  const text = await response.text()
  for (const secret of [token, API_TOKEN, METRICS_TOKEN]) assert.ok(!text.includes(secret))
  const { created_at, bytes, ...pubsub } = (JSON.parse(text) as { pubsub: Record<string, unknown> }).pubsub
  const { earliest, latest } = pubsub as { earliest: Details['earliest']; latest: Details['earliest'] }
  for (const time of [created_at, earliest?.time, latest?.time]) {
    assert.match(String(time), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  }
  assert.equal(bytes, 2 * 45)
  assert.deepEqual(pubsub, {
    id,
    name: 'orders "é"',
    persist: true,
    static: false,
    retention: { max_age: '5400s', max_bytes: 1_000_000, max_events: 2 },
    events: 2,
    earliest: { id: first, time: earliest?.time },
    latest: { id: last, time: latest?.time },
    subscribers: 0,
  })
})

test('a topic without limits, name and events shows null for each', async (t) => {
  const fixture = await startFixture(t)
  const { id } = await made(fixture, {})
  const details = await detailsOf(fixture, id)
  assert.deepEqual(details.retention, { max_age: null, max_bytes: null, max_events: null })
  const { name, earliest, events } = details
  assert.deepEqual({ name, earliest, events }, { name: null, earliest: null, events: 0 })
})

test('streams that are open are counted', async (t) => {
  const fixture = await startFixture(t)
  const { id } = await made(fixture, {})
  const streams = [1, 2, 3].map(() => fixture.subscribe(`${id}/events`, { authorization }))
  for (const stream of streams) await stream.until('retry: ')
  assert.equal(((await detailsOf(fixture, id)) as unknown as { subscribers: number }).subscribers, 3)
})

test('a change answers with what the topic is now; null takes away, what is absent stays', async (t) => {
  const fixture = await startFixture(t)
  const { id } = await made(fixture, { persist: true, name: 'old', retention: { max_events: 5, max_bytes: 100 } })
  const changed = await call(fixture, 'PATCH', `/pubsubs/${id}`, { pubsub: { retention: { max_bytes: null } } })
  assert.equal(changed.status, 200)
  const { pubsub } = (await changed.json()) as { pubsub: Details }
  assert.deepEqual([pubsub.name, pubsub.retention], ['old', { max_age: null, max_bytes: null, max_events: 5 }])
  await call(fixture, 'PATCH', `/pubsubs/${id}`, { pubsub: { name: null, retention: { max_age: '1500ms' } } })
  const details = await detailsOf(fixture, id)
  assert.deepEqual([details.name, details.retention], [null, { max_age: '1500ms', max_bytes: null, max_events: 5 }])
})

test('a mistake in the settings of a topic is a 400 that names the place and changes nothing', async (t) => {
  const fixture = await startFixture(t)
  const { id } = await made(fixture, { name: 'kept' })
  const cases: readonly (readonly [unknown, string])[] = [
    [{ name: '' }, 'pubsub.name'],
    [{ name: 7 }, 'pubsub.name'],
    [{ name: 'a\nb' }, 'pubsub.name'],
    [{ name: '😀'.repeat(201) }, 'pubsub.name'],
    [{ retention: { max_event: 5 } }, 'pubsub.retention.max_event'],
    [{ retention: 5 }, 'pubsub.retention'],
    [{ retention: { max_age: 3600 } }, 'pubsub.retention.max_age'],
    [{ retention: { max_age: '0s' } }, 'pubsub.retention.max_age'],
    [{ retention: { max_age: '1.5s' } }, 'pubsub.retention.max_age'],
    [{ retention: { max_age: '1000000000h' } }, 'pubsub.retention.max_age'],
    [{ retention: { max_events: 0 } }, 'pubsub.retention.max_events'],
    [{ retention: { max_events: '5' } }, 'pubsub.retention.max_events'],
    [{ retention: { max_bytes: 1.5 } }, 'pubsub.retention.max_bytes'],
    [{ retention: { max_bytes: 2 ** 53 } }, 'pubsub.retention.max_bytes'],
  ]
  for (const [pubsub, path] of cases) {
    for (const [method, address] of [
      ['POST', '/pubsubs'],
      ['PATCH', `/pubsubs/${id}`],
    ] as const) {
      const error = await errorOf(await call(fixture, method, address, { pubsub }))
      assert.equal(error.code, 400, `${method} ${JSON.stringify(pubsub)}`)
      assert.deepEqual(error.details, { path }, JSON.stringify(pubsub))
    }
  }
  for (const wrong of [{}, { pubsub: { persist: true } }, { pubsub: { nam: 'x' } }]) {
    assert.equal((await errorOf(await call(fixture, 'PATCH', `/pubsubs/${id}`, wrong))).code, 400)
  }
  const { id: long } = await made(fixture, { name: '😀'.repeat(200) })
  assert.equal((await detailsOf(fixture, long)).name?.length, 400)
  assert.equal((await detailsOf(fixture, id)).name, 'kept')
  assert.equal((await detailsOf(fixture, id)).retention['max_events'], null)
})

test('a static topic is shown and emptied, and cannot be changed', async (t) => {
  const fixture = await startFixture(t)
  fixture.hub.addStaticTopic({ id: '00000000007', name: 'news', token: 'a-token-of-news-000' })
  await published(fixture, '7', 'a')
  const details = (await detailsOf(fixture, '7')) as Details & { static: boolean }
  assert.deepEqual([details.id, details.static, details.name, details.events], ['00000000007', true, 'news', 1])
  assert.equal((await call(fixture, 'PATCH', '/pubsubs/7', { pubsub: { name: 'x' } })).status, 400)
  assert.equal((await call(fixture, 'DELETE', '/pubsubs/7/events')).status, 204)
  assert.equal((await detailsOf(fixture, '7')).events, 0)
})

test('a topic is emptied, all or through an id; a reader from before is told a gap', async (t) => {
  const fixture = await startFixture(t)
  const { id } = await made(fixture, { persist: true })
  const ids = [await published(fixture, id, 'a'), await published(fixture, id, 'b'), await published(fixture, id, 'c')]
  const emptied = await call(fixture, 'DELETE', `/pubsubs/${id}/events?through=${ids[1]}`)
  assert.deepEqual([emptied.status, await emptied.text()], [204, ''])
  assert.equal((await detailsOf(fixture, id)).earliest?.id, ids[2])
  const stream = fixture.subscribe(`${id}/events?last_event_id=${ids[0]}`, { authorization })
  await stream.until('data: c')
  await stream.until('event: sser.gap')
  assert.equal((await call(fixture, 'DELETE', `/pubsubs/${id}/events`)).status, 204)
  assert.equal((await detailsOf(fixture, id)).events, 0)
  for (const through of ['', 'a-b', 'zzzzzzzzzzzz', `${ids[0]}&through=${ids[1]}`]) {
    const error = await errorOf(await call(fixture, 'DELETE', `/pubsubs/${id}/events?through=${through}`))
    assert.deepEqual([error.code, error.details], [400, { path: 'through' }], through)
  }
})

test('topics are listed page by page, in the order of their ids, though some are made and deleted meanwhile', async (t) => {
  const fixture = await startFixture(t)
  const ids: string[] = []
  for (let i = 0; i < 6; i += 1) ids.push((await made(fixture, { persist: i % 2 === 0 })).id)
  const seen: string[] = []
  let next: string | null = null
  do {
    const query: string = next === null ? '' : `&after=${next}`
    const response = await call(fixture, 'GET', `/pubsubs?limit=2${query}`)
    const page = (await response.json()) as { pubsubs: Details[]; next: string | null }
    seen.push(...page.pubsubs.map(({ id }) => id))
    next = page.next
    if (seen.length === 2) {
      await call(fixture, 'DELETE', `/pubsubs/${ids[1]}`)
      ids.push((await made(fixture, {})).id)
    }
  } while (next !== null)
  assert.deepEqual(seen, ids)
  assert.equal(((await (await call(fixture, 'GET', '/pubsubs')).json()) as { pubsubs: unknown[] }).pubsubs.length, 6)
})

test('a page that cannot be is a 400 that says what to send', async (t) => {
  const fixture = await startFixture(t)
  for (const [query, path] of [
    ['limit=0', 'limit'],
    ['limit=1001', 'limit'],
    ['limit=ten', 'limit'],
    ['limit=1&limit=2', 'limit'],
    ['after=a-b', 'after'],
    ['after=', 'after'],
  ] as const) {
    const error = await errorOf(await call(fixture, 'GET', `/pubsubs?${query}`))
    assert.deepEqual([error.code, error.details], [400, { path }], query)
  }
})

test('topics are looked at, changed and emptied with the API token alone, and 404 where there is none', async (t) => {
  const fixture = await startFixture(t)
  const { id, token } = await made(fixture, {})
  const calls = [
    ['GET', '/pubsubs'],
    ['GET', `/pubsubs/${id}`],
    ['PATCH', `/pubsubs/${id}`],
    ['DELETE', `/pubsubs/${id}/events`],
  ] as const
  for (const [method, path] of calls) {
    for (const given of [undefined, `Bearer ${token}`, `Bearer ${METRICS_TOKEN}`]) {
      const headers = { 'content-type': 'application/json', ...(given === undefined ? {} : { authorization: given }) }
      const response = await fetch(`${fixture.api}${path}?access_token=${API_TOKEN}`, { method, headers })
      assert.equal((await errorOf(response)).code, 401, `${method} ${path}`)
    }
    if (path === '/pubsubs') continue
    const body = method === 'PATCH' ? { pubsub: {} } : undefined
    const response = await call(fixture, method, path.replace(id, '0000000zzzz'), body)
    assert.equal((await errorOf(response)).code, 404, `${method} ${path}`)
  }
})

interface Listed {
  readonly pubsubs: readonly Details[]
  readonly next: string | null
}

async function listed(fixture: Fixture, query: string): Promise<Listed> {
  const response = await call(fixture, 'GET', `/pubsubs?${query}`)
  assert.equal(response.status, 200, query)
  return (await response.json()) as Listed
}

test('the list is searched and sorted, page by page, in either direction', async (t) => {
  const fixture = await startFixture(t)
  const names = ['Zebra', 'apple', null, 'Äpfel', 'an apple']
  for (const [index, name] of names.entries()) {
    const { id } = await made(fixture, { name })
    for (let count = 0; count < index; count++) await published(fixture, id, count)
  }
  const walked = async (query: string) => {
    const found: (string | null)[] = []
    let after = ''
    for (;;) {
      const { pubsubs, next } = await listed(fixture, `${query}&limit=2${after}`)
      found.push(...pubsubs.map(({ name }) => name))
      if (next === null) return found
      after = `&after=${encodeURIComponent(next)}`
    }
  }
  assert.deepEqual(await walked('sort=name'), ['an apple', 'apple', 'Zebra', 'Äpfel', null])
  assert.deepEqual(await walked('sort=name&order=desc'), ['Äpfel', 'Zebra', 'apple', 'an apple', null])
  assert.deepEqual(await walked('sort=events&order=desc'), ['an apple', 'Äpfel', null, 'apple', 'Zebra'])
  assert.deepEqual(await walked('search=APPLE&sort=latest'), ['apple', 'an apple'])
  assert.deepEqual(await walked('search=apple&order=desc'), ['an apple', 'apple'])
  assert.deepEqual(await walked('search=%2E'), [])
})

test('an order that is none, and a place of another order, are a 400 with the name of the parameter', async (t) => {
  const fixture = await startFixture(t)
  for (let count = 0; count < 3; count++) await made(fixture, { name: `n${count}` })
  const { next } = await listed(fixture, 'sort=name&limit=1')
  for (const [query, path] of [
    ['sort=size', 'sort'],
    ['order=up', 'order'],
    [`search=${'x'.repeat(201)}`, 'search'],
    [`after=${next}`, 'after'],
    [`sort=events&after=${next}`, 'after'],
    ['sort=name&after=0', 'after'],
    ['sort=name&after=00000000001bm9wZQ', 'after'],
  ] as const) {
    const error = await errorOf(await call(fixture, 'GET', `/pubsubs?${query}`))
    assert.deepEqual([error.code, error.details], [400, { path }], query)
  }
})
