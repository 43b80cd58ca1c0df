import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Random } from '../support/random.ts'
import { builtMain } from '../support/server-process.ts'
import { API_TOKEN, dechunk, errorOf, METRICS_TOKEN, post, startFixture } from './fixture.ts'

const authorization = `Bearer ${API_TOKEN}`

test('a path that does not exist is a 404 in the error shape, also for requests with a body', async (t) => {
  const { origin } = await startFixture(t)
  for (const path of [
    '/nothing',
    '/api/v1',
    '/api/v1/',
    '/api/v1/pubsubs/',
    '/api/v1/pubsubs/a/b/c',
    '/%',
    '/api/v1/pubsubs/%',
  ]) {
    for (const method of ['GET', 'POST', 'DELETE']) {
      const response = await fetch(`${origin}${path}`, { method, ...(method === 'POST' && { body: 'x' }) })
      const { code } = await errorOf(response)
      assert(code === 404 || code === 400, `${method} ${path}: ${code}`)
    }
  }
})

test('a method that a path does not have is a 405 that names those it has', async (t) => {
  const { origin } = await startFixture(t)
  const allowed = {
    '/': 'GET, HEAD',
    '/assets/a/b': 'GET, HEAD',
    '/api/v1/dashboard/events': 'GET, POST, HEAD, OPTIONS',
    '/healthz': 'GET, HEAD',
    '/readyz': 'GET, HEAD',
    '/api/v1/metrics': 'GET, HEAD, OPTIONS',
    '/api/v1/pubsubs': 'GET, POST, HEAD, OPTIONS',
    '/api/v1/pubsubs/1': 'GET, PATCH, DELETE, HEAD, OPTIONS',
    '/api/v1/pubsubs/1/events': 'GET, POST, DELETE, HEAD, OPTIONS',
  }
  for (const [path, allow] of Object.entries(allowed)) {
    for (const method of ['PUT', 'PATCH', 'DELETE', 'POST', 'GET', 'PROPFIND']) {
      if (allow.split(', ').includes(method)) continue
      const response = await fetch(origin + path, { method })
      assert.equal(response.headers.get('allow'), allow)
      assert.equal((await errorOf(response)).code, 405, `${method} ${path}`)
    }
  }
})

test('a tunnel is refused in the error shape, and never in the middle of a stream', async (t) => {
  const { raw, subscribe, createTopic } = await startFixture(t)
  const answer = await raw('CONNECT example.org:80 HTTP/1.1\r\nhost: x\r\n\r\n').end()
  assert.match(answer, /^HTTP\/1\.1 405 [\s\S]*\r\n\r\n\{"error":\{"code":405,"message":"[^"]+"\}\}$/)
  const { id } = await createTopic()
  const stream = subscribe(`${id}/events`)
  await stream.until('\nid: ')
  stream.socket.write('CONNECT example.org:80 HTTP/1.1\r\nhost: x\r\n\r\n')
  assert.doesNotMatch(await stream.end(), /405/)
})

test('a path that cannot be decoded gets a 400 that says so', async (t) => {
  const { api } = await startFixture(t)
  for (const path of ['/pubsubs/%', '/pubsubs/%ff/events', '/pubsubs/%zz']) {
    const { code, message } = await errorOf(await fetch(api + path, { method: 'DELETE', headers: { authorization } }))
    assert.deepEqual([code, /percent sign/.test(message)], [400, true], path)
  }
})

test('every answer under /api/v1 has the CORS headers, and credentials only where the configuration says so', async (t) => {
  const { api, origin: server, createTopic } = await startFixture(t)
  const { id } = await createTopic()
  const requests: readonly (readonly [string, RequestInit])[] = [
    ['/pubsubs', { method: 'POST', headers: { authorization } }],
    ['/pubsubs', { method: 'POST' }],
    ['/pubsubs/1', { method: 'DELETE', headers: { authorization } }],
    ['/pubsubs/1', { method: 'PUT' }],
    ['/metrics', { headers: { authorization } }],
    ['/nothing', {}],
    [`/pubsubs/${id}/events`, { method: 'POST', headers: { authorization }, body: '{"event":{"message":1}}' }],
    [`/pubsubs/${id}/events`, { method: 'POST', headers: { authorization }, body: 'x'.repeat(5000) }],
    [`/pubsubs/${id}/events`, { method: 'HEAD', headers: { authorization } }],
    [`/pubsubs/${id}/events`, { method: 'OPTIONS' }],
  ]
  for (const [path, init] of requests) {
    for (const origin of [undefined, 'https://any.example.org', 'https://trusted.example.org', 'null']) {
      const headers = { ...init.headers, 'content-type': 'application/json', ...(origin !== undefined && { origin }) }
      const response = await fetch(api + path, { ...init, headers })
      await response.arrayBuffer()
      const what = `${init.method ?? 'GET'} ${path} ${origin}: ${response.status}`
      assert.equal(response.headers.get('access-control-allow-origin'), origin ?? '*', what)
      assert.equal(response.headers.get('vary'), 'origin', what)
      assert.match(response.headers.get('access-control-expose-headers') ?? '', /sser-resumed-from/, what)
      const credentials = origin === 'https://trusted.example.org' ? 'true' : null
      assert.equal(response.headers.get('access-control-allow-credentials'), credentials, what)
    }
  }
  assert.equal((await fetch(`${server}/healthz`)).headers.get('access-control-allow-origin'), null)
})

test('OPTIONS is a 200 on every path under /api/v1 and names the headers that clients send', async (t) => {
  const { api } = await startFixture(t)
  for (const path of ['/pubsubs', '/pubsubs/1', '/pubsubs/1/events', '/metrics', '/later/more']) {
    const response = await fetch(api + path, { method: 'OPTIONS', headers: { origin: 'https://a.example.org' } })
    assert.equal(response.status, 200)
    assert.equal(await response.text(), '')
    const names = (response.headers.get('access-control-allow-headers') ?? '').split(', ')
    for (const name of ['authorization', 'content-type', 'last-event-id', 'idempotency-key'])
      assert(names.includes(name))
    assert.match(response.headers.get('access-control-allow-methods') ?? '', /GET|POST|DELETE/)
  }
})

test('the figures come in the shape of the wire, for the metrics token and the API token', async (t) => {
  const { api, createTopic, publish } = await startFixture(t)
  const { id, token } = await createTopic()
  await publish(id, { message: 1 })
  for (const given of [METRICS_TOKEN, API_TOKEN]) {
    const response = await fetch(`${api}/metrics`, { headers: { authorization: `Bearer ${given}` } })
    assert.equal(response.status, 200)
    assert.deepEqual(await response.json(), {
      metrics: [
        { name: 'topics', value: 1 },
        { name: 'static_topics', value: 0 },
        { name: 'active_topics', value: 1 },
        { name: 'subscribers', value: 0 },
        { name: 'active_subscribers', value: 0 },
        { name: 'message_received', value: 1 },
        { name: 'message_sent', value: 0 },
      ],
    })
  }
  for (const given of [token, 'wrong']) {
    const response = await fetch(`${api}/metrics`, { headers: { authorization: `Bearer ${given}` } })
    assert.equal((await errorOf(response)).code, 401)
  }
})

test('the page at / and its files are given, nothing else is, and HEAD gets the headers alone', async (t) => {
  builtMain()
  const { http } = await startFixture(t)
  const page = await http.hapi.inject('/')
  assert.equal(page.statusCode, 200)
  assert.match(String(page.headers['content-type']), /^text\/html/)
  assert.match(page.payload, /<h1>sser<\/h1>[\s\S]*<form id="sign-in"/)
  const policy = String(page.headers['content-security-policy'])
  assert.match(policy, /default-src 'none'/)
  assert.doesNotMatch(policy, /unsafe/)
  const references = [...page.payload.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map(([, url]) => url!)
  assert.equal(references.length, 4)
  for (const url of references) assert.equal((await http.hapi.inject(url)).statusCode, 200, url)
  for (const url of [
    '/assets/dashboard/tsconfig.json',
    '/assets/..%2f/main.js',
    '/assets/dashboard/..%2f..%2fmain.js',
  ]) {
    assert.equal((await http.hapi.inject(url)).statusCode, 404, url)
  }
  const again = await http.hapi.inject({ url: '/', headers: { 'if-none-match': String(page.headers['etag']) } })
  assert.equal(again.statusCode, 304)
  const head = await http.hapi.inject({ method: 'HEAD', url: '/' })
  assert.equal(head.statusCode, 200)
  assert.equal(head.payload, '')
})

test('readiness tells ready, failed with its reason, and stopping; health is well throughout', async (t) => {
  const { origin, service } = await startFixture(t)
  const ready = async () => {
    const response = await fetch(`${origin}/readyz`)
    assert.equal(response.headers.get('content-type'), 'application/json')
    return { status: response.status, body: await response.json() }
  }
  assert.deepEqual(await ready(), { status: 200, body: { status: 'ready' } })
  service.fail('the disk is gone')
  assert.deepEqual(await ready(), { status: 503, body: { status: 'failed', reason: 'the disk is gone' } })
  service.stop()
  assert.deepEqual(await ready(), { status: 503, body: { status: 'stopping' } })
  const health = await fetch(`${origin}/healthz`)
  assert.deepEqual([health.status, await health.json()], [200, { status: 'ok' }])
})

test('while it recovers, calls get a 503 and streams a retry and their end, and readiness says how far it is', async (t) => {
  const { api, origin, service, hub, raw, subscribe, createTopic } = await startFixture(t, { ready: false })
  const { id } = await createTopic()
  service.progress({ bytes_done: 5, bytes_total: 10 })
  const readiness = await fetch(`${origin}/readyz`)
  assert.equal(readiness.status, 503)
  assert.deepEqual(await readiness.json(), { status: 'recovering', recovery: { bytes_done: 5, bytes_total: 10 } })
  for (const response of [
    await post(`${api}/pubsubs`, '{}'),
    await post(`${api}/pubsubs/${id}/events`, '{"event":{"message":1}}'),
    await fetch(`${api}/pubsubs/${id}`, { method: 'DELETE' }),
    await fetch(`${api}/metrics`),
  ]) {
    assert.equal(response.headers.get('retry-after'), '1')
    assert.equal((await errorOf(response)).code, 503)
  }
  for (const stream of [
    subscribe(`${id}/events?since=earliest`, { authorization: 'none yet' }),
    raw(`GET /api/v1/events?topic=${id}&access_token=yet HTTP/1.1\r\nhost: test\r\n\r\n`),
  ]) {
    const answer = await stream.until('\r\n0\r\n\r\n')
    assert.match(answer, /^HTTP\/1\.1 200 OK\r\n/)
    assert.match(answer, /\r\ncontent-type: text\/event-stream\r\n/)
    assert.match(dechunk(answer).body, /^retry: [234]\d\d\d\n\n$/)
  }
  service.ready(hub)
  assert.equal((await post(`${api}/pubsubs/${id}/events`, '{"event":{"message":1}}')).status, 201)
})

test('a stop ends streams with a retry, answers what is in flight, and leaves no connection', async (t) => {
  const { service, hub, http, subscribe, createTopic, raw, api } = await startFixture(t)
  const { id } = await createTopic(true)
  const stream = subscribe(`${id}/events`)
  await stream.until('\nid: ')
  const idle = raw('GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n')
  await idle.until('{"status":"ok"}')
  const silent = raw('')
  const body = '{"event":{"message":"last words"}}'
  const inFlight = raw(
    `POST /api/v1/pubsubs/${id}/events HTTP/1.1\r\nhost: x\r\nauthorization: ${authorization}\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  )
  await inFlight.until('201 Created')
  service.stop()
  const late = subscribe(`${id}/events`)
  const lateAnswer = dechunk(await late.end())
  assert.match(lateAnswer.head, /^HTTP\/1\.1 200 OK\r\n/)
  assert.match(lateAnswer.body, /^retry: \d+\n\n$/)
  const refused = await post(`${api}/pubsubs/${id}/events`, body)
  assert.equal((await errorOf(refused)).code, 503)
  assert.equal(refused.headers.get('connection'), 'close')
  await hub.drain()
  await service.idle()
  // The grace is longer than the patience of what waits here: nothing of it is needed.
  await http.close(60_000)
  const { body: bytes, isWhole } = dechunk(await stream.end())
  assert(isWhole)
  assert.match(bytes, /\nretry: \d+\n\n$/)
  await idle.end()
  await silent.end()
})

test('what is no HTTP gets a 400 in the error shape, and headers without end a 431', async (t) => {
  const { raw } = await startFixture(t)
  for (const [text, status] of [
    ['nonsense\r\n\r\n', 400],
    ['GET / HTTP/9.9\r\n\r\n', 400],
    ['GET /healthz HTTP/1.1\r\n\r\n', 400],
    ['POST /api/v1/pubsubs HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n', 400],
    ['POST /api/v1/pubsubs HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n', 400],
    [`GET /healthz HTTP/1.1\r\nhost: x\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`, 431],
  ] as const) {
    const answer = await raw(text).end()
    assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `), text.slice(0, 60))
    if (!text.startsWith('GET /healthz HTTP/1.1\r\n\r\n'))
      assert.match(answer, /\{"error":\{"code":\d+,"message":"[^"]+"\}\}$/)
  }
})

test('headers that stall get a 408', async (t) => {
  const { raw } = await startFixture(t, { http: { readTimeoutMs: 50 } })
  assert.match(await raw('GET /healthz HTTP/1.1\r\nhost:').end(), /^HTTP\/1\.1 408 [\s\S]*\{"error":\{"code":408,/)
})

test('no random bytes and no mangled request get a 500, end the server or change another stream', async (t) => {
  const { raw, createTopic, subscribe, publish, origin, failures } = await startFixture(t, {
    http: { readTimeoutMs: 1000 },
  })
  const { id } = await createTopic(true)
  const watcher = subscribe(`${id}/events?since=earliest`)
  await watcher.until('\nid: ')
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  const auth = `authorization: ${authorization}\r\n`
  const bodies = ['{"event":{"message":1}}', '{"pubsub":{"persist":true}}', '{}', '[', '"\\ud800"']
  const templates = [
    ...bodies.map(
      (body) =>
        `POST /api/v1/pubsubs/none/events HTTP/1.1\r\nhost: x\r\n${auth}content-length: ${body.length}\r\n\r\n${body}`,
    ),
    ...bodies.map(
      (body) =>
        `DELETE /api/v1/pubsubs/none HTTP/1.1\r\nhost: x\r\n${auth}content-length: ${body.length}\r\n\r\n${body}`,
    ),
    `GET /api/v1/pubsubs/${id}/events?since=1&lastEventId=%ff&heartbeat=event HTTP/1.1\r\nhost: x\r\n${auth}last-event-id: \xe4\xff\r\n\r\n`,
    `GET /api/v1/metrics HTTP/1.1\r\nhost: x\r\n${auth}cookie: a=\xff; =b\r\naccept-encoding: ;;q=9\r\nrange: bytes=0-1,2-\r\nif-modified-since: never\r\n\r\n`,
    `OPTIONS /api/v1/pubsubs HTTP/1.1\r\nhost: x:y:z\r\norigin: \xff\xfe\r\n\r\n`,
    `GET http://[::1/ HTTP/1.1\r\nhost: [\r\n\r\n`,
    `GET /api/v1/pubsubs/%00/events?access_token[]=1&__proto__=2&a=%E0%A4%A HTTP/1.1\r\nhost: \r\n\r\n`,
  ]
  const connections = Array.from({ length: 300 }, () => {
    const bytes = Buffer.from(random.pick(templates), 'latin1')
    const changes = random.int(4)
    for (let count = 0; count < changes; count++) bytes[random.int(bytes.length)] = random.int(256)
    return raw(bytes.subarray(0, random.int(8) === 0 ? random.int(bytes.length) : bytes.length))
  })
  await publish(id, { message: 'still here' })
  await watcher.until('data: still here\n\n')
  assert.equal((await fetch(`${origin}/healthz`)).status, 200)
  for (const { received } of connections) assert(!/^HTTP\/1\.1 500/m.test(received), received)
  assert.deepEqual(failures, [])
})
