import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createDecoder, type SseEvent } from '../../src/sse/decode.ts'
import { API_TOKEN, dechunk, errorOf, METRICS_TOKEN, startFixture } from './fixture.ts'

function eventsOf(body: string): { events: SseEvent[]; ids: string[]; retries: number[] } {
  const events: SseEvent[] = []
  const ids: string[] = []
  const retries: number[] = []
  const decoder = createDecoder({
    bufferBytesMax: 1 << 20,
    onEvent: (event) => events.push(event),
    onId: (id) => ids.push(id),
    onRetry: (delay) => retries.push(delay),
  })
  decoder.feed(Buffer.from(body, 'latin1'))
  return { events, ids, retries }
}

async function numberOf(response: Response): Promise<string> {
  assert.equal(response.status, 201)
  return ((await response.json()) as { event: { id: string } }).event.id
}

test('a stream begins at once with its headers, a retry and an id without data, in one piece', async (t) => {
  const { subscribe, createTopic, publish } = await startFixture(t)
  const { id } = await createTopic(true)
  const number = await numberOf(await publish(id, { message: 'before' }))
  const stream = subscribe(`${id}/events`)
  let pieces = 0
  stream.socket.on('data', () => {
    pieces += 1
  })
  const { head, body } = dechunk(await stream.until('\nid: '))
  assert.equal(pieces, 1)
  assert.match(head, /^HTTP\/1\.1 200 OK\r\n/)
  for (const line of [
    'content-type: text/event-stream',
    'cache-control: no-cache, no-transform',
    'x-accel-buffering: no',
    'x-content-type-options: nosniff',
    'access-control-allow-origin: *',
    'access-control-expose-headers: sser-resumed-from',
    'vary: origin',
    `sser-resumed-from: ${number}`,
    'Transfer-Encoding: chunked',
  ]) {
    assert(head.split('\r\n').includes(line), `${line} is missing in ${head}`)
  }
  assert(!/content-encoding/i.test(head))
  const { events, ids, retries } = eventsOf(body)
  assert.deepEqual(events, [])
  assert.deepEqual(ids, [number])
  assert.equal(retries.length, 1)
  assert(retries[0]! >= 2000 && retries[0]! <= 4000)
})

test('with signals a stream says where it begins and when it has reached the present, and without them neither', async (t) => {
  const { subscribe, createTopic, publish } = await startFixture(t)
  const { id } = await createTopic(true)
  const [one, two] = [
    await numberOf(await publish(id, { message: 'one' })),
    await numberOf(await publish(id, { message: 'two' })),
  ]
  const stream = subscribe(`${id}/events?signals=1`, { 'last-event-id': one })
  const { head, body } = dechunk(await stream.until('caught-up\ndata: {"last_id":'))
  assert(head.includes(`sser-resumed-from: ${one}`))
  const opened = `id: ${one}\nevent: sser.open\ndata: {"resumes_after":"${one}","last_id":"${two}"}\n\n`
  assert.equal(body.replace(/^retry: \d+\n\n/, '').slice(0, opened.length), opened)
  for (const query of ['', '&signals=0']) {
    const plain = subscribe(`${id}/events?since=earliest${query}`)
    assert(!(await plain.until('data: two')).includes('sser.open'))
  }
})

test('what is published while a stream is open arrives on it, in order', async (t) => {
  const { subscribe, createTopic, publish } = await startFixture(t)
  for (const persist of [false, true]) {
    const { id } = await createTopic(persist)
    const stream = subscribe(`${id}/events`)
    await stream.until('\nid: ')
    const numbers: string[] = []
    for (let count = 0; count < 20; count++) {
      numbers.push(await numberOf(await publish(id, { type: 'tick', message: `ü\n${count}` })))
    }
    const { events } = eventsOf(dechunk(await stream.until('data: 19')).body)
    assert.deepEqual(
      events,
      numbers.map((number, count) => ({ type: 'tick', data: `ü\n${count}`, lastEventId: number })),
    )
  }
})

test('the header says where to resume, before the query in either spelling, before since', async (t) => {
  const { subscribe, createTopic, publish } = await startFixture(t)
  const { id } = await createTopic(true)
  const numbers: string[] = []
  for (const name of ['one', 'zwei-ü', 'three', 'four']) {
    numbers.push(await numberOf(await publish(id, { id: name, message: name })))
  }
  const [one, , three] = numbers
  const cases: readonly (readonly [string, Record<string, string>, readonly string[]])[] = [
    ['', { 'last-event-id': one! }, ['zwei-ü', 'three', 'four']],
    ['', { 'last-event-id': 'one' }, ['zwei-ü', 'three', 'four']],
    ['', { 'last-event-id': 'zwei-ü' }, ['three', 'four']],
    [`?last_event_id=${three}`, {}, ['four']],
    ['?lastEventId=zwei-%C3%BC', {}, ['three', 'four']],
    [`?last_event_id=&lastEventId=${three}`, {}, ['four']],
    [`?last_event_id=${one}&since=earliest`, { 'last-event-id': three! }, ['four']],
    [`?last_event_id=${three}&since=earliest`, { 'last-event-id': '' }, ['four']],
    ['?since=earliest', {}, ['one', 'zwei-ü', 'three', 'four']],
    ['?since=0', {}, ['one', 'zwei-ü', 'three', 'four']],
    ['?since=1970-01-01T00:00:00.5%2B01:00', {}, ['one', 'zwei-ü', 'three', 'four']],
  ].map(([query, headers, expected]) => [query, headers, expected] as never)
  for (const [query, headers, expected] of cases) {
    const stream = subscribe(`${id}/events${query}`, headers)
    await stream.until('data: four')
    const { events } = eventsOf(dechunk(stream.received).body)
    assert.deepEqual(
      events.filter(({ type }) => type !== 'sser.gap').map(({ data }) => data),
      expected,
      `${query} ${JSON.stringify(headers)}`,
    )
  }
})

test('wrong words in the query get a 400 that names them', async (t) => {
  const { api, createTopic } = await startFixture(t)
  const { id } = await createTopic()
  for (const [query, path] of [
    ['since=yesterday', 'since'],
    ['since=-5', 'since'],
    ['since=2026-13-01T00:00:00Z', 'since'],
    ['since=2026-01-01', 'since'],
    ['since=1&since=2', 'since'],
    ['since=123456789012345', 'since'],
    ['heartbeat=yes', 'heartbeat'],
    ['signals=yes', 'signals'],
    ['signals=1&signals=1', 'signals'],
    ['last_event_id=a&last_event_id=b', 'last_event_id'],
  ]) {
    const response = await fetch(`${api}/pubsubs/${id}/events?access_token=${API_TOKEN}&${query}`)
    const error = await errorOf(response)
    assert.equal(error.code, 400, query)
    assert.deepEqual(error.details, { path }, query)
  }
})

test('a stream opens with its own token or the API token, in the header or, without one, in the query', async (t) => {
  const { api, createTopic } = await startFixture(t)
  const { id, token } = await createTopic()
  const other = await createTopic()
  const cases: readonly (readonly [string | undefined, string, number])[] = [
    [`Bearer ${token}`, '', 200],
    [`bearer  ${token}`, '', 200],
    [`Bearer ${API_TOKEN}`, '', 200],
    [undefined, `?access_token=${token}`, 200],
    [undefined, `?access_token=${API_TOKEN}`, 200],
    [`Bearer ${token}`, '?access_token=wrong', 200],
    ['Bearer wrong', `?access_token=${token}`, 401],
    [`Bearer ${other.token}`, '', 401],
    [`Bearer ${METRICS_TOKEN}`, '', 401],
    [undefined, '', 401],
    [undefined, '?access_token=', 401],
    [undefined, `?access_token=${token}&access_token=${token}`, 401],
  ]
  for (const [authorization, query, status] of cases) {
    const abort = new AbortController()
    const headers = authorization === undefined ? {} : { authorization }
    const response = await fetch(`${api}/pubsubs/${id}/events${query}`, { headers, signal: abort.signal })
    assert.equal(response.status, status, `${authorization} ${query}`)
    if (status === 401) {
      assert.equal(response.headers.get('www-authenticate'), 'Bearer')
      assert(!(await response.text()).includes(token))
    } else {
      assert.equal(response.headers.get('content-type'), 'text/event-stream')
      abort.abort()
    }
  }
  const unknown = await fetch(`${api}/pubsubs/00Q72zvO87K/events?access_token=${token}`)
  assert.equal((await errorOf(unknown)).code, 404)
})

test('HTTP/1.0 gets the same bytes without chunks, and the end of the connection as the end', async (t) => {
  const { raw, createTopic, publish, hub } = await startFixture(t)
  const { id } = await createTopic()
  for (const extra of ['', 'connection: keep-alive\r\n']) {
    const topic = extra === '' ? id : (await createTopic()).id
    const stream = raw(
      `GET /api/v1/pubsubs/${topic}/events HTTP/1.0\r\nauthorization: Bearer ${API_TOKEN}\r\n${extra}\r\n`,
    )
    await stream.until('\nid: ')
    await publish(topic, { message: 'plain' })
    await stream.until('data: plain\n\n')
    await hub.deleteTopic(topic)
    const answer = await stream.end()
    const [head = '', body = ''] = answer.split('\r\n\r\n')
    assert(!/transfer-encoding/i.test(head), head)
    assert.match(body, /^retry: \d+\n\nid: \w{11}\n\nid: \w{11}\ndata: plain\n\ndata: \{"status": "closed"\}\n\n$/)
    assert.match(head, /connection: close/i)
    assert.deepEqual(
      eventsOf(body).events.map(({ data }) => data),
      ['plain', '{"status": "closed"}'],
    )
  }
})

test('HEAD gets the headers of a stream and nothing more', async (t) => {
  const { api, hub, createTopic } = await startFixture(t)
  const { id } = await createTopic()
  const response = await fetch(`${api}/pubsubs/${id}/events`, {
    method: 'HEAD',
    headers: { authorization: `Bearer ${API_TOKEN}` },
  })
  assert.equal(response.status, 200)
  assert.equal(response.headers.get('content-type'), 'text/event-stream')
  assert.match(response.headers.get('sser-resumed-from') ?? '', /^[0-9A-Za-z]{11}$/)
  assert.equal(await response.text(), '')
  assert.equal(hub.figures().subscribers, 0)
})

test('a deleted topic ends its streams in the words of the wire, and the connection serves the next request', async (t) => {
  const { subscribe, createTopic, hub } = await startFixture(t)
  const { id } = await createTopic(true)
  const stream = subscribe(`${id}/events`)
  await stream.until('\nid: ')
  await hub.deleteTopic(id)
  const { body, isWhole } = dechunk(await stream.until('\r\n0\r\n\r\n'))
  assert(isWhole)
  assert(body.endsWith('data: {"status": "closed"}\n\n'), body)
  stream.socket.write('GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n')
  await stream.until('{"status":"ok"}')
})

test('a hundred streams, one after the other on one connection, leave no listener behind', async (t) => {
  const warnings: Error[] = []
  const onWarning = (warning: Error) => warnings.push(warning)
  process.on('warning', onWarning)
  t.after(() => process.off('warning', onWarning))
  const { subscribe, createTopic, hub } = await startFixture(t)
  let id = (await createTopic()).id
  const stream = subscribe(`${id}/events`)
  for (let count = 1; count <= 100; count++) {
    await stream.until('\nid: ', count)
    await hub.deleteTopic(id)
    await stream.until('\r\n0\r\n\r\n', count)
    id = (await createTopic()).id
    stream.socket.write(
      `GET /api/v1/pubsubs/${id}/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${API_TOKEN}\r\n\r\n`,
    )
  }
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(warnings, [])
})

test('a client that leaves is noticed, also one that only closes its side', async (t) => {
  const { subscribe, createTopic, hub } = await startFixture(t)
  const { id } = await createTopic()
  for (const leave of ['end', 'destroy', 'resetAndDestroy'] as const) {
    const stream = subscribe(`${id}/events`)
    await stream.until('\nid: ')
    assert.equal(hub.figures().active_subscribers, 1)
    stream.socket[leave]()
    while (hub.figures().active_subscribers > 0) await new Promise((resolve) => setImmediate(resolve))
  }
})

test('a request with a body gets its stream all the same', async (t) => {
  const { raw, createTopic } = await startFixture(t)
  const { id } = await createTopic()
  const head = `GET /api/v1/pubsubs/${id}/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${API_TOKEN}\r\n`
  await raw(`${head}content-length: 5\r\n\r\nhello`).until('\nid: ')
})

test('what follows a stream request on its connection never shows in the stream', async (t) => {
  const { subscribe, createTopic, publish, raw } = await startFixture(t)
  const { id } = await createTopic()
  const request = `GET /api/v1/pubsubs/${id}/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${API_TOKEN}\r\n\r\n`
  const health = 'GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n'
  const garbage = '\0\x01\x02 nonsense \r\n\r\n\xff'
  const followers = [garbage, health, request, `${health}${garbage}`, 'POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nabc']
  const streams = followers.map((follower) => {
    const stream = subscribe(`${id}/events`)
    return { stream, follower }
  })
  const together = followers.map((follower) => ({ stream: raw(request + follower), follower }))
  for (const { stream, follower } of [...streams, ...together]) {
    await stream.until('\nid: ')
    stream.socket.write(follower, 'latin1')
  }
  await publish(id, { message: 'clean' })
  for (const { stream, follower } of [...streams, ...together]) {
    const { body } = dechunk(await stream.until('data: clean\n\n'))
    assert(!body.includes('HTTP/1.1') && !body.includes('error'), follower)
    assert.equal(stream.received.split('HTTP/1.1').length, 2, follower)
  }
})

test('one subscriber too many gets a stream that says when to come back, and ends', async (t) => {
  const { subscribe, createTopic } = await startFixture(t, { hub: { subscribersMax: 1 } })
  const { id } = await createTopic()
  await subscribe(`${id}/events`).until('\nid: ')
  const second = subscribe(`${id}/events`)
  const answer = await second.until('\r\n0\r\n\r\n')
  assert.match(answer, /^HTTP\/1\.1 200 /)
  const { events, retries } = eventsOf(dechunk(answer).body)
  assert.deepEqual(events, [])
  assert.equal(retries.length, 1)
})

test('the heartbeat is the comment of the wire, or an event where it was asked for', async (t) => {
  const { subscribe, createTopic } = await startFixture(t, { hub: { heartbeatMs: 50 } })
  const { id } = await createTopic()
  await subscribe(`${id}/events`).until(': {"status": "tick"}\n\n')
  await subscribe(`${id}/events?heartbeat=event`).until('event: sser.heartbeat\ndata: {"interval_ms":50}\n\n')
})

test('a reader slower than its publisher gets everything, and no more waits in its socket than the bound', async (t) => {
  const { subscribe, createTopic, publish } = await startFixture(t, {
    http: { sendBufferBytes: 16_384, requestBodyBytesMax: 1 << 20 },
    hub: { recentFramesBytesMax: 0 },
  })
  const { id } = await createTopic(true)
  const stream = subscribe(`${id}/events`)
  await stream.until('\nid: ')
  stream.socket.pause()
  const message = 'x'.repeat(200_000)
  for (let count = 0; count < 40; count++) await numberOf(await publish(id, { type: `t${count}`, message }))
  stream.socket.resume()
  const { events } = eventsOf(dechunk(await stream.until(`event: t39\ndata: ${message}\n\n`)).body)
  assert.deepEqual(
    events.map(({ type, data }) => `${type} ${data.length}`),
    Array.from({ length: 40 }, (_, count) => `t${count} 200000`),
  )
})

test('a subscriber whose socket takes nothing is cut off, and one that is slow is not', async (t) => {
  const { subscribe, createTopic, publish, hub } = await startFixture(t, {
    http: { requestBodyBytesMax: 1 << 20 },
    hub: { heartbeatMs: 100, writeTimeoutMs: 300 },
  })
  const { id } = await createTopic(true)
  const stuck = subscribe(`${id}/events`)
  const reader = subscribe(`${id}/events`)
  await stuck.until('\nid: ')
  await reader.until('\nid: ')
  stuck.socket.pause()
  const message = 'x'.repeat(500_000)
  for (let count = 0; count < 30; count++) await numberOf(await publish(id, { message: message + count }))
  await reader.until(`${message}29\n\n`)
  while (hub.figures().active_subscribers > 1) await new Promise((resolve) => setTimeout(resolve, 10).ref())
  assert.equal(reader.isEnded, false)
})

test("a publisher's id with outer blanks is found by what HTTP leaves of it", async (t) => {
  const { subscribe, createTopic, publish } = await startFixture(t)
  for (const persist of [false, true]) {
    const { id } = await createTopic(persist)
    const first = await numberOf(await publish(id, { id: ' mark ', message: 'first' }))
    await publish(id, { message: 'second' })
    const stream = subscribe(`${id}/events`, { 'last-event-id': 'mark' })
    const { head, body } = dechunk(await stream.until('data: second'))
    assert(head.includes(`sser-resumed-from: ${first}`), head)
    assert.deepEqual(
      eventsOf(body).events.map(({ type, data }) => [type, data]),
      [['message', 'second']],
    )
  }
})

test('the header and the first block name the same number, also where an event came while the place was sought', async (t) => {
  const { subscribe, createTopic, hub } = await startFixture(t)
  for (const persist of [false, true]) {
    const { id } = await createTopic(persist)
    const topic = hub.topic(id)!
    const resolve = hub.resolve.bind(hub)
    hub.resolve = async (...request) => {
      const point = await resolve(...request)
      const nothing = new Uint8Array(0)
      await hub.publish(topic, { key: nothing, type: nothing, isString: true, message: Buffer.from('meanwhile') })
      return point
    }
    const { head, body } = dechunk(await subscribe(`${id}/events`).until('\nid: '))
    hub.resolve = resolve
    const [, number] = /\r\nsser-resumed-from: (\w+)\r\n/.exec(head) ?? []
    assert.deepEqual(eventsOf(body).ids, [number])
  }
})

test('a stop that begins while the place is sought ends the stream with a retry, and not with an error', async (t) => {
  const { subscribe, createTopic, hub, service } = await startFixture(t)
  const { id } = await createTopic()
  const resolve = hub.resolve.bind(hub)
  hub.resolve = async (...request) => {
    const point = await resolve(...request)
    service.stop()
    void hub.drain()
    return point
  }
  const answer = await subscribe(`${id}/events`).until('\r\n0\r\n\r\n')
  assert.match(answer, /^HTTP\/1\.1 200 OK\r\n/)
  const [retry] = eventsOf(dechunk(answer).body).retries
  assert(retry !== undefined && retry >= 3000 && retry <= 6000, 'spread as during a stop')
})

test('a token that is revoked while the place is sought gets a 401, which counts as one answer', async (t) => {
  const { subscribe, createTopic, hub, answers } = await startFixture(t)
  const { id } = await createTopic(true)
  const topic = hub.topic(id)
  assert(topic !== undefined)
  const request = { rights: ['subscribe'] as const, label: undefined, expiresAtMs: undefined }
  const { token, secret } = await hub.issueToken(topic, request)
  const resolve = hub.resolve.bind(hub)
  hub.resolve = async (...given) => {
    const point = await resolve(...given)
    await hub.revokeToken(topic, token.number)
    return point
  }
  const answer = await subscribe(`${id}/events`, { authorization: `Bearer ${secret}` }).until('}}')
  assert.match(answer, /^HTTP\/1\.1 401 /)
  assert.deepEqual(
    answers.filter((each) => each.startsWith('get ')),
    ['get 401'],
  )
})

test('empty parameters of the query count as absent', async (t) => {
  const { subscribe, createTopic } = await startFixture(t)
  const { id } = await createTopic()
  const answer = await subscribe(`${id}/events?since=&last_event_id=&lastEventId=`).until('\nid: ')
  assert.match(answer, /^HTTP\/1\.1 200 OK\r\n/)
})
