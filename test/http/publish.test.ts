import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { test } from 'node:test'
import { METRICS_TOPIC_ID } from '../../src/domain/hub.ts'
import { StorageError } from '../../storage-engine/index.ts'
import { API_TOKEN, errorOf, METRICS_TOKEN, post, startFixture } from './fixture.ts'

test('an event is answered 201 with the number of the server, also where it has an id of its own', async (t) => {
  const { publish, createTopic, logs } = await startFixture(t)
  const { id } = await createTopic(true)
  const before = logs.durable.statistics().records
  for (const event of [{ message: 'x' }, { id: 'mine', type: 't', message: { a: [1] } }, { message: null }]) {
    const response = await publish(id, event)
    assert.equal(response.status, 201)
    assert.equal(response.headers.get('content-type'), 'application/json')
    assert.match(await response.text(), /^\{"event":\{"id":"[0-9A-Za-z]{11}"\}\}$/)
  }
  assert.equal(logs.durable.statistics().records - before, 3)
})

test('a body without a type, with a charset, with a byte order mark, or in pieces is taken', async (t) => {
  const { api, createTopic, raw } = await startFixture(t)
  const { id } = await createTopic()
  const body = '{"event":{"message":"ü"}}'
  const url = `${api}/pubsubs/${id}/events`
  for (const type of [
    'application/json; charset=utf-8',
    'application/json;charset="UTF-8"',
    'APPLICATION/JSON',
    'application/x+json',
  ]) {
    assert.equal((await post(url, body, { 'content-type': type })).status, 201, type)
  }
  assert.equal((await post(url, `\ufeff${body}`)).status, 201)

  const head = `POST /api/v1/pubsubs/${id}/events HTTP/1.1\r\nhost: x\r\nauthorization: bearer ${API_TOKEN}\r\n`
  const whole = raw(`${head}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`)
  await whole.until('"event"')
  assert.match(whole.received, /^HTTP\/1\.1 201 /)

  const chunked = raw(`${head}transfer-encoding: chunked\r\n\r\n`)
  for (const byte of Buffer.from(body)) chunked.socket.write(Buffer.from([0x31, 13, 10, byte, 13, 10]))
  chunked.socket.write('0\r\n\r\n')
  await chunked.until('"event"')
  assert.match(chunked.received, /^HTTP\/1\.1 201 /)
})

test('requests in a pipeline are answered in their order', async (t) => {
  const { createTopic, raw } = await startFixture(t)
  const { id } = await createTopic()
  const requestOf = (body: string) =>
    `POST /api/v1/pubsubs/${id}/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${API_TOKEN}\r\n` +
    `content-length: ${body.length}\r\n\r\n${body}`
  const connection = raw(
    requestOf('{"event":{"message":1}}') + requestOf('nonsense') + requestOf('{"event":{"message":2}}'),
  )
  await connection.until('{"event":', 2)
  const statuses = [...connection.received.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)
  assert.deepEqual(statuses, ['201', '400', '201'])
})

test('a wrong body gets a 4xx that says what is wrong and where, and quotes none of it', async (t) => {
  const { api, createTopic } = await startFixture(t)
  const { id } = await createTopic()
  const secret = 'never-quoted-7531'
  const long = 'x'.repeat(65)
  const cases: readonly (readonly [string | Uint8Array, unknown])[] = [
    ['', undefined],
    [' \n ', undefined],
    [secret, { line: 1, column: 1 }],
    [`{"event":\n {"message": ${secret}}}`, { line: 2, column: 14 }],
    [`{"event":{"message":"${secret}"}`, { line: 1, column: 41 }],
    [`{"event":{"message":"${secret}\n"}}`, { line: 1, column: 39 }],
    [`{"event":{"message":"${secret}"},}`, { line: 1, column: 42 }],
    [`{"event":{"message":"${secret}"}} x`, { line: 1, column: 43 }],
    [Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]), undefined],
    [Buffer.from('{"event":{"message":"\ud800"}}', 'utf16le'), undefined],
    [`"${secret}"`, undefined],
    ['null', undefined],
    ['[]', undefined],
    [`{"evnt":{"message":"${secret}"}}`, { path: 'event' }],
    [`{"event":"${secret}"}`, { path: 'event' }],
    ['{"event":[]}', { path: 'event' }],
    [`{"event":{"id":"${secret}"}}`, { path: 'event.message' }],
    ['{"event":{"id":7,"message":1}}', { path: 'event.id' }],
    ['{"event":{"id":"a\\nb","message":1}}', { path: 'event.id' }],
    [`{"event":{"id":"${long}","message":1}}`, { path: 'event.id' }],
    ['{"event":{"type":{},"message":1}}', { path: 'event.type' }],
    ['{"event":{"type":"a\\rb","message":1}}', { path: 'event.type' }],
  ]
  for (const [body, details] of cases) {
    const response = await post(`${api}/pubsubs/${id}/events`, body)
    const text = await response.clone().text()
    const error = await errorOf(response)
    assert.equal(error.code, 400, String(body))
    assert.deepEqual(error.details, details, String(body))
    assert(!text.includes(secret), text)
    assert.match(error.message, /\.$/)
  }
})

test('a content type or encoding that is not JSON in UTF-8 gets a 415', async (t) => {
  const { api, createTopic } = await startFixture(t)
  const { id } = await createTopic()
  const body = '{"event":{"message":1}}'
  for (const headers of [
    { 'content-type': 'text/plain' },
    { 'content-type': 'application/x-www-form-urlencoded' },
    { 'content-type': 'application/jsonx' },
    { 'content-type': 'nonsense' },
    { 'content-type': 'application/json; charset=utf-16' },
    { 'content-encoding': 'gzip' },
  ]) {
    for (const path of [`/pubsubs/${id}/events`, '/pubsubs']) {
      assert.equal((await errorOf(await post(`${api}${path}`, body, headers))).code, 415)
    }
  }
})

test('an unknown topic is a 404, and so is one that was deleted', async (t) => {
  const { hub, publish, createTopic } = await startFixture(t)
  assert.equal((await errorOf(await publish('00Q72zvO87K', { message: 1 }))).code, 404)
  const { id } = await createTopic(true)
  await hub.deleteTopic(id)
  assert.equal((await errorOf(await publish(id, { message: 1 }))).code, 404)
})

test('a body that is announced as too large is refused before a byte of it was sent, and the connection ends', async (t) => {
  const { createTopic, raw } = await startFixture(t)
  const { id } = await createTopic()
  for (const path of [`/api/v1/pubsubs/${id}/events`, '/api/v1/pubsubs', '/nothing']) {
    const connection = raw(
      `POST ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${API_TOKEN}\r\ncontent-length: 4097\r\n\r\n`,
    )
    const answer = await connection.until('}}')
    assert.match(answer, /^HTTP\/1\.1 413 /)
    assert.match(answer, /\r\nconnection: close\r\n/i)
    assert.match(answer, /\{"error":\{"code":413,/)
    connection.socket.end()
    await connection.end()
  }
})

test('a body in chunks is refused as soon as it is too large, however much follows, and the answer arrives', async (t) => {
  const { createTopic, raw } = await startFixture(t)
  const { id } = await createTopic()
  for (const path of [`/api/v1/pubsubs/${id}/events`, '/api/v1/pubsubs']) {
    const connection = raw(
      `POST ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${API_TOKEN}\r\ntransfer-encoding: chunked\r\n\r\n`,
    )
    const chunk = `400\r\n${'x'.repeat(1024)}\r\n`
    for (let count = 0; count < 64; count++) connection.socket.write(chunk)
    const answer = await connection.until('}}')
    assert.match(answer, /^HTTP\/1\.1 413 /)
    connection.socket.destroy()
  }
  const exact = `{"event":{"message":"${'x'.repeat(4096 - 24)}"}}`
  assert.equal(exact.length, 4096)
  for (const [body, status] of [
    [exact, 201],
    [`${exact} `, 413],
  ] as const) {
    // That is sent when it is asked for, so that it is waited for.
    const connection = raw(
      `POST /api/v1/pubsubs/${id}/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${API_TOKEN}\r\ntransfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n`,
    )
    await connection.until('100 Continue\r\n\r\n')
    connection.socket.write(`${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`)
    const answer = await connection.until('}}')
    assert.ok(answer.includes(`\r\n\r\nHTTP/1.1 ${status} `), answer.slice(0, 200))
    connection.socket.destroy()
  }
})

test('a body that stalls gets a 408 and the end of the connection', async (t) => {
  const { createTopic, raw } = await startFixture(t, { http: { readTimeoutMs: 100 } })
  const { id } = await createTopic()
  for (const length of ['content-length: 100', 'transfer-encoding: chunked']) {
    const connection = raw(
      `POST /api/v1/pubsubs/${id}/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${API_TOKEN}\r\n${length}\r\n\r\n`,
    )
    connection.socket.write(length.startsWith('content') ? '{"event"' : '8\r\n{"event"\r\n')
    const answer = await connection.end()
    assert.match(answer, /^HTTP\/1\.1 408 /)
    assert.match(answer, /\{"error":\{"code":408,/)
  }
})

test('a client that asks first is told to go on, or is refused without having sent its body', async (t) => {
  const { createTopic, raw } = await startFixture(t)
  const { id } = await createTopic()
  const body = '{"event":{"message":1}}'
  const head = (length: number) =>
    `POST /api/v1/pubsubs/${id}/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${API_TOKEN}\r\n` +
    `content-length: ${length}\r\nexpect: 100-continue\r\n\r\n`
  const connection = raw(head(body.length))
  assert.match(await connection.until('\r\n\r\n'), /^HTTP\/1\.1 100 Continue\r\n\r\n$/)
  connection.socket.write(body)
  assert.match(await connection.until('"event"'), /HTTP\/1\.1 201 /)

  const refused = raw(head(5000))
  assert.match(await refused.until('}}'), /^HTTP\/1\.1 413 /)
})

test('a client that leaves in the middle of its body, or before the answer, does no harm', async (t) => {
  const { createTopic, raw, publish, service } = await startFixture(t)
  const { id } = await createTopic(true)
  const head = `POST /api/v1/pubsubs/${id}/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${API_TOKEN}\r\n`
  const half = raw(`${head}content-length: 100\r\n\r\n{"event"`)
  const whole = raw(`${head}content-length: 23\r\n\r\n{"event":{"message":1}}`)
  await publish(id, { message: 'after both' })
  half.socket.resetAndDestroy()
  whole.socket.resetAndDestroy()
  assert.equal((await publish(id, { message: 'still there' })).status, 201)
  await service.idle()
})

test('the refusal of a large body reaches also a client that sends all of it before it listens', async (t) => {
  const { createTopic, port } = await startFixture(t)
  const { id } = await createTopic()
  const client = request({
    port,
    host: '127.0.0.1',
    method: 'POST',
    path: `/api/v1/pubsubs/${id}/events`,
    headers: { authorization: `Bearer ${API_TOKEN}` },
  })
  const answered = once(client, 'response')
  // An error of sending before the answer ends the test: the server has to take what it does not want.
  client.write(Buffer.alloc(4_000_000, 'x'))
  client.end()
  const [response] = (await answered) as [IncomingMessage]
  assert.equal(response.statusCode, 413)
  response.resume()
  await once(client, 'close')
})

test("an id of blanks only, a type of the server's own and a publish to topic 0 are refused", async (t) => {
  const { createTopic, publish, api, hub } = await startFixture(t)
  hub.addStaticTopic({ id: METRICS_TOPIC_ID, name: 'metrics', token: METRICS_TOKEN })
  const { id } = await createTopic()
  for (const [event, path] of [
    [{ id: ' \u0020', message: 1 }, 'event.id'],
    [{ type: 'sser.gap', message: 1 }, 'event.type'],
  ] as const) {
    const { code, details } = await errorOf(await publish(id, event))
    assert.deepEqual([code, details], [400, { path }])
  }
  assert.equal((await errorOf(await post(`${api}/pubsubs/0/events`, '{"event":{"message":1}}'))).code, 403)
})

test('events of a list are answered 201 with their ids in order, and come in that order', async (t) => {
  const { api, createTopic, subscribe, logs, hub } = await startFixture(t, { hub: { recentFramesBytesMax: 0 } })
  for (const persist of [true, false]) {
    const { id } = await createTopic(persist)
    const stream = subscribe(`${id}/events`)
    await stream.until('\nid: ')
    const before = hub.figures().message_received
    const events = '{"id":"mine","type":"t","message":"one"}, {"message":{"n": 1.0}},{"message":null}'
    const response = await post(`${api}/pubsubs/${id}/events`, `{"events":[${events}]}`)
    assert.equal(response.status, 201)
    assert.equal(response.headers.get('content-type'), 'application/json')
    const text = await response.text()
    assert.match(text, /^\{"events":\[(?:\{"id":"[0-9A-Za-z]{11}"\},?){3}\]\}$/)
    const ids = (JSON.parse(text) as { events: { id: string }[] }).events.map((event) => event.id)
    assert.deepEqual(ids, ids.toSorted())
    assert.equal(hub.figures().message_received - before, 3)
    const received = await stream.until(`id: ${ids[2]}\ndata: null\n`)
    assert(received.includes(`id: mine\nevent: t\ndata: one\n\nid: ${ids[0]}\n\n`), received)
    assert(received.includes(`id: ${ids[1]}\ndata: {"n":1.0}\n\nid: ${ids[2]}\n`), received)
  }
  assert.equal(logs.durable.status, 'open')
})

test('a mistake in one event of a list gets a 4xx with its place, and nothing of the list is published', async (t) => {
  const { api, createTopic, hub } = await startFixture(t)
  const { id } = await createTopic(true)
  const before = hub.figures().message_received
  const good = '{"message":[1]}'
  for (const [body, status, path] of [
    [`{"events":[${`${good},`.repeat(17)}{"id":"x"}]}`, 400, 'events[17].message'],
    [`{"events":[${good},7]}`, 400, 'events[1]'],
    [`{"events":[{"message":1,"type":7},${good}]}`, 400, 'events[0].type'],
    ['{"events":[]}', 400, 'events'],
    ['{"events":null}', 400, 'events'],
    [`{"events":${good}}`, 400, 'events'],
    [`{"event":${good},"events":[${good}]}`, 400, 'events'],
    [`{"events":[${`${good},`.repeat(100)}${good}]}`, 413, 'events'],
  ] as const) {
    const { code, details } = await errorOf(await post(`${api}/pubsubs/${id}/events`, body))
    assert.deepEqual([code, details], [status, { path }], body)
  }
  assert.equal(hub.figures().message_received, before)
  const most = await post(`${api}/pubsubs/${id}/events`, `{"events":[${`${good},`.repeat(99)}${good}]}`)
  assert.equal(most.status, 201)
  assert.equal(((await most.json()) as { events: unknown[] }).events.length, 100)
})

test('a list for an unknown topic is a 404, and for topic 0 a 403', async (t) => {
  const { api, hub } = await startFixture(t)
  hub.addStaticTopic({ id: METRICS_TOPIC_ID, name: 'metrics', token: METRICS_TOKEN })
  for (const [id, status] of [
    ['00Q72zvO87K', 404],
    ['0', 403],
  ] as const) {
    assert.equal((await errorOf(await post(`${api}/pubsubs/${id}/events`, '{"events":[{"message":1}]}'))).code, status)
  }
})

test('a list that is more than the store takes at once gets a 413 in words, and the next publish is taken', async (t) => {
  const { api, createTopic, logs, publish } = await startFixture(t)
  const { id } = await createTopic(true)
  const refused = new StorageError('STORAGE_TOO_LARGE', '99 bytes in one append; 64 are allowed.')
  t.mock.method(logs.durable, 'appendAll', () => Promise.reject(refused), { times: 1 })
  const { code, message } = await errorOf(await post(`${api}/pubsubs/${id}/events`, '{"events":[{"message":1}]}'))
  assert.equal(code, 413)
  assert.match(message, /^This is more than the store accepts at once\. /)
  assert.equal((await publish(id, { message: 'still there' })).status, 201)
})

test('an event with an expected_last_id is published if that is the newest, and gets a 409 with the newest otherwise', async (t) => {
  const fixture = await startFixture(t)
  const { id } = await fixture.createTopic(true)
  const url = `${fixture.api}/pubsubs/${id}/events`
  const publish = (body: object) => post(url, JSON.stringify(body))
  const none = { expected_last_id: '0' }
  const answer = await publish({ event: { message: 1 }, ...none })
  assert.equal(answer.status, 201)
  const { event } = (await answer.json()) as { event: { id: string } }
  for (const body of [
    { event: { message: 2 }, ...none },
    { events: [{ message: 2 }], ...none },
  ]) {
    const refused = await publish(body)
    assert.equal(refused.status, 409)
    assert.deepEqual((await errorOf(refused)).details, { path: 'expected_last_id', last_id: event.id })
  }
  assert.equal((await publish({ events: [{ message: 2 }], expected_last_id: event.id })).status, 201)
  for (const expected_last_id of [null, 1, '', '*', '000000000000']) {
    const refused = await publish({ event: { message: 2 }, expected_last_id })
    assert.equal(refused.status, 400)
    assert.deepEqual((await errorOf(refused)).details, { path: 'expected_last_id' })
  }
})
