import assert from 'node:assert/strict'
import { test } from 'node:test'
import { API_TOKEN, errorOf, METRICS_TOKEN, post, startFixture } from './fixture.ts'

const authorization = `Bearer ${API_TOKEN}`

test('a topic is made with 201, an id of 11 and a token of 64 characters, in memory unless told otherwise', async (t) => {
  const { api, hub } = await startFixture(t)
  for (const [body, persist] of [
    ['{}', false],
    ['', false],
    ['{"pubsub":{}}', false],
    ['{"pubsub":{"persist":true}}', true],
    ['{"pubsub":{"persist":false,"name":"later"}}', false],
  ] as const) {
    const response = await post(`${api}/pubsubs`, body)
    assert.equal(response.status, 201, body)
    assert.equal(response.headers.get('content-type'), 'application/json')
    const { pubsub } = (await response.json()) as { pubsub: { id: string; token: string } }
    assert.deepEqual(Object.keys(pubsub), ['id', 'token'])
    assert.match(pubsub.id, /^[0-9A-Za-z]{11}$/)
    assert.match(pubsub.token, /^[0-9A-Za-z]{64}$/)
    assert.equal(hub.topic(pubsub.id)?.persist, persist)
  }
})

test('a wrong description of a topic gets a 400 that names the place', async (t) => {
  const { api } = await startFixture(t)
  const cases = [
    ['[]', undefined],
    ['null', undefined],
    ['{"pubsub":7}', 'pubsub'],
    ['{"pubsub":{"persist":"true"}}', 'pubsub.persist'],
    ['{"pubsub":{"persist":null}}', 'pubsub.persist'],
  ] as const
  for (const [body, path] of cases) {
    const error = await errorOf(await post(`${api}/pubsubs`, body))
    assert.equal(error.code, 400, body)
    assert.deepEqual(error.details, path === undefined ? undefined : { path }, body)
  }
})

test('deleting answers 204 and nothing else, also for a topic that there never was, in any form of its id', async (t) => {
  const { api, hub, createTopic } = await startFixture(t)
  const { id } = await createTopic(true)
  for (const name of [id, id, 'zz', '00000000001']) {
    const response = await fetch(`${api}/pubsubs/${name}`, { method: 'DELETE', headers: { authorization } })
    assert.equal(response.status, 204)
    assert.equal(await response.text(), '')
  }
  assert.equal(hub.topic(id), undefined)
  const short = await createTopic()
  const stripped = short.id.replace(/^0+/, '')
  assert.equal(
    (await fetch(`${api}/pubsubs/${stripped}`, { method: 'DELETE', headers: { authorization } })).status,
    204,
  )
  assert.equal(hub.topic(short.id), undefined)
})

test('a static topic cannot be deleted: 400', async (t) => {
  const { api, hub } = await startFixture(t)
  hub.addStaticTopic({ id: '00000000007', name: 'news', token: 'a-token-of-news-000' })
  const response = await fetch(`${api}/pubsubs/7`, { method: 'DELETE', headers: { authorization } })
  assert.equal((await errorOf(response)).code, 400)
  assert.notEqual(hub.topic('00000000007'), undefined)
})

test('a malformed id is a 400 with the reason, whatever the call', async (t) => {
  const { api } = await startFixture(t)
  for (const id of ['abc-def', 'Zzzzzzzzzzz', '000000000000', 'a%20b', '%F0%9F%98%80', 'a%2Fb', '0%00']) {
    for (const [method, path] of [
      ['DELETE', ''],
      ['GET', '/events'],
      ['POST', '/events'],
    ] as const) {
      const response = await fetch(`${api}/pubsubs/${id}${path}`, {
        method,
        headers: { authorization, 'content-type': 'application/json' },
        ...(method === 'POST' && { body: '{"event":{"message":1}}' }),
      })
      const error = await errorOf(response)
      assert.equal(error.code, 400, `${method} ${id}`)
      assert.deepEqual(error.details, { path: 'id' })
    }
  }
})

test('topics are made and deleted with the API token alone', async (t) => {
  const { api, createTopic, hub } = await startFixture(t)
  const { id, token } = await createTopic()
  const wrong: (string | undefined)[] = [undefined, '', 'Bearer', 'Bearer ', `Basic ${API_TOKEN}`, API_TOKEN]
  wrong.push(`Bearer ${METRICS_TOKEN}`, `Bearer ${token}`, `Bearer ${API_TOKEN}x`, `Bearer ${API_TOKEN} ${API_TOKEN}`)
  for (const given of wrong) {
    const headers = { 'content-type': 'application/json', ...(given !== undefined && { authorization: given }) }
    for (const [method, path] of [
      ['POST', ''],
      ['DELETE', `/${id}`],
      ['POST', `/${id}/events`],
    ] as const) {
      // The query is for subscribing only.
      const response = await fetch(`${api}/pubsubs${path}?access_token=${API_TOKEN}`, { method, headers })
      assert.equal(response.headers.get('www-authenticate'), 'Bearer')
      const text = await response.clone().text()
      assert.equal((await errorOf(response)).code, 401, `${method} ${given}`)
      for (const secret of [API_TOKEN, METRICS_TOKEN, token]) assert(!text.includes(secret))
    }
  }
  assert.notEqual(hub.topic(id), undefined)
})
