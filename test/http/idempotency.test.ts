/** Requests and events that may be sent again, as they come over the wire. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { errorOf, post, startFixture } from './fixture.ts'

const event = '{"event":{"message":1}}'

test('a repeat with the same key gets the same answer to the byte, and publishes nothing', async (t) => {
  const { api, createTopic, hub } = await startFixture(t)
  for (const persist of [true, false]) {
    const { id } = await createTopic(persist)
    const url = `${api}/pubsubs/${id}/events`
    const before = hub.figures().message_received
    for (const [body, key] of [
      [event, '"8e03978e-40d5-43dd-bc93-6894a57f9324"'],
      ['{"events":[{"message":1},{"message":2}]}', '"a \\"quoted\\" key"'],
    ] as const) {
      const answers = await Promise.all(Array.from({ length: 3 }, () => post(url, body, { 'idempotency-key': key })))
      answers.push(await post(url, body, { 'idempotency-key': key }))
      for (const { status } of answers) assert.equal(status, 201)
      assert.equal(new Set(await Promise.all(answers.map((answer) => answer.text()))).size, 1)
    }
    assert.equal(hub.figures().message_received - before, 3)
  }
})

test('a key is the same with quotes and without; with another body it is a 422 in words', async (t) => {
  const { api, createTopic } = await startFixture(t)
  const { id } = await createTopic(true)
  const url = `${api}/pubsubs/${id}/events`
  const first = await (await post(url, event, { 'idempotency-key': 'order-7' })).text()
  assert.equal(await (await post(url, event, { 'idempotency-key': '"order-7"' })).text(), first)
  const refused = await post(url, '{"event":{"message":2}}', { 'idempotency-key': '"order-7"' })
  const { code, message, details } = await errorOf(refused)
  assert.deepEqual([code, details], [422, { path: 'idempotency-key' }])
  assert.match(message, /used before with a different body/)
  assert.equal((await post(url, '{"event":{"message":2}}', { 'idempotency-key': '"order-8"' })).status, 201)
})

test('a mistake is not remembered, and a key that is none is a 400', async (t) => {
  const { api, createTopic } = await startFixture(t)
  const { id } = await createTopic(true)
  const url = `${api}/pubsubs/${id}/events`
  assert.equal((await post(url, '{"event":{}}', { 'idempotency-key': 'k' })).status, 400)
  for (const key of ['k', 'x'.repeat(256)]) {
    assert.equal((await post(url, event, { 'idempotency-key': key })).status, 201)
  }
  for (const key of ['', '""', '"open', 'two words', 'a, b', '"a", "b"', '"\\x"', '"ü"', 'x'.repeat(257)]) {
    const refused = await post(url, event, { 'idempotency-key': key })
    assert.deepEqual([refused.status, (await errorOf(refused)).details], [400, { path: 'idempotency-key' }], key)
  }
  const lines = { 'content-type': 'application/x-ndjson', 'idempotency-key': 'k2' }
  assert.match((await errorOf(await post(url, '{"message":1}', lines))).message, /dedupe/)
})

test('an event with dedupe is published once, alone, in a list or as a line', async (t) => {
  const { api, createTopic, hub } = await startFixture(t)
  const { id } = await createTopic(true)
  const url = `${api}/pubsubs/${id}/events`
  const send = async (body: string) => (await (await post(url, body)).json()) as { event: unknown; events: unknown[] }
  const { event: first } = await send('{"event":{"message":1,"dedupe":"one"}}')
  assert.deepEqual((await send('{"event":{"message":"other","dedupe":"one"}}')).event, first)
  const list = '{"events":[{"message":1,"dedupe":"one"},{"message":2,"dedupe":"two"},{"message":3,"dedupe":""}]}'
  const { events } = await send(list)
  assert.deepEqual(events[0], first)
  const again = await send(list)
  assert.deepEqual(again.events.slice(0, 2), events.slice(0, 2))
  assert.notDeepEqual(again.events[2], events[2])
  const lines = await post(
    url,
    '{"message":2,"dedupe":"two"}\n{"message":4,"dedupe":"four"}\n{"message":1,"dedupe":"one"}',
    {
      'content-type': 'application/x-ndjson',
    },
  )
  const last = (await lines.text()).trimEnd().split('\n').at(-1) as string
  assert.deepEqual(JSON.parse(last), { lines: 3, last_id: (first as { id: string }).id })
  assert.equal((await hub.topicDetails(hub.topic(id)!)).events, 5)
  for (const dedupe of ['7', '"a\\nb"', `"${'x'.repeat(65)}"`, '" "']) {
    const refused = await post(url, `{"event":{"message":1,"dedupe":${dedupe}}}`)
    assert.deepEqual((await errorOf(refused)).details, { path: 'event.dedupe' }, dedupe)
  }
})
