/**
 * Attacks, each by its name, all against one server. What is common to them is looked at in the end: nothing was answered 500,
 * no answer holds a token, and the server serves as before. What somebody may have open at once is in test/http/limits.test.ts,
 * guessing in test/http/token-throttle.test.ts.
 */

import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import {
  API_TOKEN,
  dechunk,
  type Fixture,
  METRICS_TOKEN,
  post,
  type RawConnection,
  startFixture,
} from '../http/fixture.ts'

const BODY_BYTES_MAX = 1 << 20
const READ_TIMEOUT_MS = 1000
const authorization = `authorization: Bearer ${API_TOKEN}\r\n`

interface Target {
  readonly fixture: Fixture
  /** A persistent topic. */
  readonly id: string
  /** Everything that came back. */
  readonly answers: string[]
  /** Sends this on a connection of its own; what came when the server has ended it. */
  ended(text: string | Uint8Array): Promise<string>
  /** A call with a JSON text as its body. */
  call(method: string, path: string, body?: string): Promise<{ status: number; text: string }>
}

type Attack = (target: Target, t: TestContext) => Promise<void>

function statusesIn(received: string): number[] {
  return [...received.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status))
}

/** A whole request, with what makes it one. */
function request(method: string, path: string, body = '', headers = ''): string {
  const length = body === '' ? '' : `content-length: ${Buffer.byteLength(body)}\r\n`
  return `${method} ${path} HTTP/1.1\r\nhost: test\r\n${authorization}${length}${headers}\r\n${body}`
}

function refused(status: number): (answer: { status: number; text: string }, what?: string) => void {
  return (answer, what) => assert.equal(answer.status, status, `${what ?? ''} ${answer.text.slice(0, 300)}`)
}

const is400 = refused(400)

// The network

/** Node looks at it each second. */
const slowHeaders: Attack = async ({ fixture, answers }) => {
  const connection = fixture.raw('GET /healthz HTTP/1.1\r\nhost: test\r\n')
  const drip = setInterval(() => connection.socket.write('x-drip: 1\r\n'), 100)
  try {
    const answer = await connection.end()
    answers.push(answer)
    assert.deepEqual(statusesIn(answer), [408])
  } finally {
    clearInterval(drip)
  }
}

const slowBody: Attack = async ({ fixture, id, ended, answers }) => {
  const stalled = `POST /api/v1/pubsubs/${id}/events HTTP/1.1\r\nhost: test\r\n${authorization}content-length: 100\r\n\r\n{"ev`
  assert.deepEqual(statusesIn(await ended(stalled)), [408])
  const chunked = stalled.replace('content-length: 100', 'transfer-encoding: chunked').replace('{"ev', '4\r\n{"ev\r\n')
  assert.deepEqual(statusesIn(await ended(chunked)), [408])
  // One that never falls silent has an end all the same.
  const { listener } = fixture.http.hapi
  assert.ok(listener.requestTimeout > 0 && listener.requestTimeout <= 300_000)
  assert.ok(answers.length > 0)
}

const hugeHeaders: Attack = async ({ ended }) => {
  const head = 'GET /healthz HTTP/1.1\r\nhost: test\r\n'
  for (const huge of [
    `${head}x: ${'y'.repeat(20_000)}\r\n\r\n`,
    `${head}${Array.from({ length: 3000 }, (_, n) => `x${n}: y\r\n`).join('')}\r\n`,
    `GET /${'y'.repeat(20_000)} HTTP/1.1\r\nhost: test\r\n\r\n`,
    `${head}${'x'.repeat(20_000)}: y\r\n\r\n`,
  ]) {
    assert.deepEqual(statusesIn(await ended(huge)), [431])
  }
  const endless = `${request('POST', '/api/v1/pubsubs').replace(/\r\n$/, '')}transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`
  assert.deepEqual(statusesIn(await ended(endless)), [431])
}

const manyConnections: Attack = async ({ fixture }, t) => {
  const far = (socket: Socket) => Object.defineProperty(socket, 'remoteAddress', { value: '203.0.113.7' })
  fixture.http.hapi.listener.prependListener('connection', far)
  const flood = Array.from({ length: 400 }, () => fixture.raw('GET / HTTP/1.1\r\n'))
  // Twenty are served, and of the others a hundred would get an answer.
  await Promise.all(flood.slice(200).map((each) => each.end()))
  fixture.http.hapi.listener.off('connection', far)
  const { status } = await fetch(`${fixture.origin}/healthz`)
  assert.equal(status, 200, 'others are served')
  assert.ok(fixture.limitsReached.includes('limits.connectionsPerAddressMax'))
  for (const { socket } of flood) socket.destroy()
  t.diagnostic(`${flood.filter(({ isEnded }) => !isEnded).length} were left open`)
}

const pipelinedGarbage: Attack = async ({ fixture, id, answers, ended }) => {
  const good = request('POST', `/api/v1/pubsubs/${id}/events`, '{"event":{"message":"in a pipeline"}}')
  for (const garbage of [
    '\0\0\0\0',
    'GARBAGE\r\n\r\n',
    '{"event":{}}\r\n',
    'GET / HTTP/9.9\r\n\r\n',
    '\x16\x03\x01\x02',
  ]) {
    const [first, ...others] = statusesIn(await ended(good + good + garbage))
    assert.equal(first, 201, 'what was whole is answered, and then the connection ends')
    assert.ok(
      others.every((status) => status === 201 || status === 400),
      `${others}`,
    )
  }
  const many = fixture.raw(request('GET', '/healthz').repeat(2000))
  answers.push(await many.until('HTTP/1.1 200', 2000))
  many.socket.destroy()
}

/** Each is understood differently by some proxy; behind it stands a request that must not be answered. */
const smuggling: Attack = async ({ ended }) => {
  const head = `POST /api/v1/pubsubs HTTP/1.1\r\nhost: test\r\n${authorization}`
  const behind = 'GET /smuggled HTTP/1.1\r\nhost: test\r\n\r\n'
  const chunked = `0\r\n\r\n${behind}`
  for (const [name, text] of Object.entries({
    'a length and chunks': `${head}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n${chunked}`,
    'chunks and a length': `${head}transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n${chunked}`,
    'two lengths': `${head}content-length: 2\r\ncontent-length: 40\r\n\r\n{}${behind}`,
    'a list of lengths': `${head}content-length: 2, 40\r\n\r\n{}${behind}`,
    'a length with a sign': `${head}content-length: +2\r\n\r\n{}${behind}`,
    'a negative length': `${head}content-length: -2\r\n\r\n{}${behind}`,
    'a length in hex': `${head}content-length: 0x2\r\n\r\n{}${behind}`,
    'a length without end': `${head}content-length: 99999999999999999999\r\n\r\n{}${behind}`,
    'an empty length': `${head}content-length:\r\n\r\n{}${behind}`,
    'a coding that is none': `${head}transfer-encoding: xchunked\r\n\r\n${chunked}`,
    'chunks that are not last': `${head}transfer-encoding: chunked, identity\r\n\r\n${chunked}`,
    'chunks twice': `${head}transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n${chunked}`,
    'a vertical tab': `${head}transfer-encoding: \x0bchunked\r\n\r\n${chunked}`,
    'a space before the colon': `${head}transfer-encoding : chunked\r\n\r\n${chunked}`,
    'a name with a blank': `${head}content length: 2\r\n\r\n{}${behind}`,
    'a folded header': `${head}x: y\r\n transfer-encoding: chunked\r\n\r\n${chunked}`,
    'a folded coding': `${head}transfer-encoding:\r\n chunked\r\n\r\n${chunked}`,
    'a line feed alone': `POST /api/v1/pubsubs HTTP/1.1\nhost: test\n${authorization}content-length: 2\n\n{}${behind}`,
    'a carriage return alone': `${head}x: y\rcontent-length: 2\r\n\r\n{}${behind}`,
    'a zero in a header': `${head}x: y\0z\r\ncontent-length: 2\r\n\r\n{}${behind}`,
    'a chunk size that overflows': `${head}transfer-encoding: chunked\r\n\r\n10000000000000002\r\n{}\r\n${chunked}`,
    'a chunk size with a sign': `${head}transfer-encoding: chunked\r\n\r\n+2\r\n{}\r\n${chunked}`,
    'a chunk size in 0x': `${head}transfer-encoding: chunked\r\n\r\n0x2\r\n{}\r\n${chunked}`,
    'a chunk longer than its size': `${head}transfer-encoding: chunked\r\n\r\n2\r\n{}{}\r\n${chunked}`,
    'a chunk that ends by a line feed': `${head}transfer-encoding: chunked\r\n\r\n2\n{}\r\n${chunked}`,
    'two hosts': `GET /healthz HTTP/1.1\r\nhost: test\r\nhost: other\r\n\r\n${behind}`,
    'no host': `GET /healthz HTTP/1.1\r\n\r\n${behind}`,
    'no version': `GET /healthz\r\n\r\n${behind}`,
    'a version that is none': `GET /healthz HTTP/1.10\r\nhost: test\r\n\r\n${behind}`,
  })) {
    const answer = await ended(text).catch((error: Error) => assert.fail(`${name}: ${error.message}`))
    const statuses = statusesIn(answer)
    assert.equal(statuses.length, 1, `${name}: ${answer}`)
    assert.ok(statuses[0]! >= 400 && statuses[0]! < 500, `${name}: ${answer}`)
  }
}

// What requests say

const LINE_ENDS = ['\r', '\n', '\r\n', '\n\n', '\0', '\u0085', '\u2028', '\u2029']

const lineEnds: Attack = async ({ fixture, id, call, answers }) => {
  const events = `/pubsubs/${id}/events`
  const forgery = (end: string) => `a${end}event: forged${end}id: 1${end}data: forged${end}${end}`
  for (const end of LINE_ENDS) {
    for (const field of ['id', 'type', 'dedupe']) {
      is400(await call('POST', events, JSON.stringify({ event: { [field]: forgery(end), message: 1 } })), field)
    }
    is400(await call('POST', '/pubsubs', JSON.stringify({ pubsub: { name: forgery(end) } })), 'name')
    is400(await call('POST', `/pubsubs/${id}/tokens`, JSON.stringify({ token: { label: forgery(end) } })), 'label')
    const message = await call('POST', events, JSON.stringify({ event: { message: forgery(end) } }))
    assert.equal(message.status, 201)
    await call('POST', events, JSON.stringify({ event: { message: { [forgery(end)]: [forgery(end)] } } }))
    for (const query of ['last_event_id', 'since', 'heartbeat', 'signals', 'access_token', 'after', 'limit', 'order']) {
      for (const accept of ['text/event-stream', 'application/json']) {
        const connection = fixture.raw(
          request('GET', `/api/v1${events}?${query}=${encodeURIComponent(forgery(end))}`, '', `accept: ${accept}\r\n`),
        )
        const answer = await connection.until('\r\n\r\n')
        connection.socket.destroy()
        answers.push(answer)
        assert.doesNotMatch(answer.split('\r\n\r\n')[0]!, /forged/, 'no header repeats it')
      }
    }
  }
  await fixture.publish(id, { message: 'the last' })
  const cursor = encodeURIComponent(forgery('\n'))
  const stream = fixture.subscribe(`${id}/events?since=earliest&last_event_id=${cursor}&signals=1`)
  await stream.until('the last')
  const { body } = dechunk(stream.received)
  answers.push(body)
  stream.socket.destroy()
  const lines = body.split(/\r\n|\r|\n/)
  assert.ok(lines.includes('event: sser.gap'))
  const wrong = lines.filter(
    (line) => /^(?:event|id|retry|data): ?forged|^id: 1$/.test(line) && line !== 'data: data: forged',
  )
  assert.deepEqual(wrong, [])
  assert.ok(lines.includes('data: event: forged'), 'it is there as the data that it is')
}

const prototypeKeys: Attack = async ({ fixture, id, call }) => {
  const events = `/pubsubs/${id}/events`
  const inherits = (inner: string) => [`{"__proto__":${inner}}`, `{"constructor":{"prototype":${inner}}}`]
  for (const body of [
    ...inherits('{"event":{"message":1}}'),
    ...inherits('{"message":1}').map((event) => `{"event":${event}}`),
    ...inherits('{"message":1}').map((event) => `{"events":[${event}]}`),
  ]) {
    is400(await call('POST', events, body), body)
  }
  for (const body of [
    ...inherits('{"pubsub":{"persist":true}}'),
    ...inherits('{"persist":true}').map((pubsub) => `{"pubsub":${pubsub}}`),
  ]) {
    const { status, text } = await call('POST', '/pubsubs', body)
    assert.ok(status === 400 || status === 201, text)
    if (status !== 201) continue
    const made = (JSON.parse(text) as { pubsub: { id: string } }).pubsub.id
    assert.equal(fixture.hub.topic(made)?.persist, false, body)
  }
  for (const retention of inherits('{"max_events":1}')) {
    const { status, text } = await call('PATCH', `/pubsubs/${id}`, `{"pubsub":{"retention":${retention}}}`)
    assert.ok(status === 400 || text.includes('"max_events":null'), text)
  }
  for (const body of inherits(`{"ticket":{"topics":["${id}"]}}`)) is400(await call('POST', '/tickets', body), body)
  for (const token of inherits('{"rights":["publish"]}')) {
    const { status, text } = await call('POST', `/pubsubs/${id}/tokens`, `{"token":${token}}`)
    if (status === 201)
      assert.deepEqual((JSON.parse(text) as { token: { rights: unknown } }).token.rights, ['subscribe'])
    else assert.equal(status, 400)
  }
  for (const query of ['__proto__[limit]=1', '__proto__=1', 'constructor=1', 'constructor[prototype][limit]=1']) {
    const { status } = await call('GET', `/pubsubs?${query}`)
    assert.ok(status === 200 || status === 400, query)
  }
  assert.deepEqual(Object.keys(Object.prototype), [])
  const message = '{"__proto__":{"a":1},"constructor":2}'
  assert.equal((await call('POST', events, `{"event":{"message":${message}}}`)).status, 201)
  const { text } = await call('GET', `${events}?order=desc&limit=1`)
  assert.ok(text.includes(message), 'a message is what was sent')
}

const deepJson: Attack = async ({ id, call }) => {
  const events = `/pubsubs/${id}/events`
  const depth = 100_000
  const lists = `${'['.repeat(depth)}${']'.repeat(depth)}`
  const objects = `${'{"a":'.repeat(depth / 2)}1${'}'.repeat(depth / 2)}`
  for (const deep of [lists, objects]) {
    assert.equal((await call('POST', events, `{"event":{"message":${deep}}}`)).status, 201)
    const { status, text } = await call('GET', `${events}?order=desc&limit=1`)
    assert.equal(status, 200)
    assert.ok(text.includes(deep))
    for (const body of [deep, `{"event":${deep}}`, `{"event":{"id":${deep},"message":1}}`, `{"events":${deep}}`]) {
      is400(await call('POST', events, body))
    }
    for (const [method, path, member] of [
      ['POST', '/pubsubs', 'pubsub'],
      ['PATCH', `/pubsubs/${id}`, 'pubsub'],
      ['POST', `/pubsubs/${id}/tokens`, 'token'],
      ['POST', '/tickets', 'ticket'],
    ] as const) {
      for (const body of [deep, `{"${member}":${deep}}`, `{"${member}":{"x":${deep}}}`, `{"x":${deep}}`]) {
        const answer = await call(method, path, body)
        assert.ok(answer.status < 500, `${method} ${path}: ${answer.text}`)
      }
    }
    // Not closed.
    is400(await call('POST', events, `{"event":{"message":${deep.slice(0, depth)}`))
  }
}

/** Tickets are asked for without a token in the header, so that what comes is read before anybody is known. */
const largeBodies: Attack = async ({ id, call, ended }) => {
  const large = JSON.stringify({ ticket: { topics: [id] }, x: 'y'.repeat(70_000) })
  refused(413)(await call('POST', '/tickets', large))
  const announced = request('POST', '/api/v1/pubsubs', '', `content-length: ${BODY_BYTES_MAX + 1}\r\n`)
  assert.deepEqual(statusesIn(await ended(announced.replace('\r\n\r\n', '\r\nconnection: close\r\n\r\n'))), [413])
  const chunk = `10000\r\n${'y'.repeat(0x10000)}\r\n`
  const chunked = request('POST', '/api/v1/pubsubs', '', 'transfer-encoding: chunked\r\n') + chunk.repeat(17)
  assert.deepEqual(statusesIn(await ended(chunked)), [413])
}

const duplicatedKeys: Attack = async ({ id, call }) => {
  const events = `/pubsubs/${id}/events`
  for (const [body, message] of [
    ['{"event":{"message":1,"message":{"n":2}}}', '{"n":2}'],
    ['{"event":{"message":{"n":1},"message":"2"}}', '"2"'],
    ['{"event":{"message":1},"event":{"message":[3]}}', '[3]'],
    ['{"event":7,"event":{"message":{"k":1,"k":2}}}', '{"k":1,"k":2}'],
    ['{"event":{"me\\u0073sage":4,"message":[5]}}', '[5]'],
    ['{"event":{"message":[5],"me\\u0073sage":[6]}}', '[6]'],
    ['{"events":[{"message":[0]}],"events":[{"message":{},"message":[7]}]}', '[7]'],
  ] as const) {
    const answer = await call('POST', events, body)
    assert.equal(answer.status, 201, answer.text)
    const { text } = await call('GET', `${events}?order=desc&limit=1`)
    assert.ok(text.includes(`"message":${message}`), `${body} became ${text}`)
  }
  is400(await call('POST', events, '{"event":{"message":1},"event":{}}'), 'the last counts, and has no message')
  for (const query of ['limit=1&limit=2', 'order=asc&order=desc', 'after=0&after=1', 'since=earliest&since=earliest']) {
    is400(await call('GET', `${events}?${query}`), query)
  }
}

const hugeIds: Attack = async ({ id, call, fixture, answers }) => {
  const largest = 'AzL8n0Y58m7'
  for (const beyond of [
    'AzL8n0Y58m8',
    'LygHa16AHYF',
    'zzzzzzzzzzz',
    '000000000000',
    '9223372036854775808',
    '-1',
    '1.5',
    '١',
  ]) {
    const path = `/pubsubs/${encodeURIComponent(beyond)}`
    for (const [method, rest] of [
      ['GET', ''],
      ['DELETE', ''],
      ['GET', '/events'],
      ['GET', '/tokens'],
    ] as const) {
      is400(await call(method, path + rest), `${method} ${beyond}`)
    }
    is400(await call('POST', '/tickets', JSON.stringify({ ticket: { topics: [beyond] } })), beyond)
    is400(await call('DELETE', `/pubsubs/${id}/events?through=${encodeURIComponent(beyond)}`), beyond)
  }
  for (const there of [largest, '00fFgnDxSe7', '00fFgnDxSe8', '1', 'z']) {
    refused(404)(await call('GET', `/pubsubs/${there}`), there)
    refused(404)(await call('GET', `/pubsubs/${there}/events`), there)
    assert.equal((await call('DELETE', `/pubsubs/${there}`)).status, 204)
  }
  // As cursors: numbers that were never given, or no numbers at all; each is a gap, and none of them an error.
  for (const cursor of [largest, 'AzL8n0Y58m8', 'zzzzzzzzzzz', '00fFgnDxSe7', '00fFgnDxSe8', '9007199254740993']) {
    const stream = fixture.subscribe(`${id}/events`, { 'last-event-id': cursor })
    answers.push(await stream.until('event: sser.gap'))
    stream.socket.destroy()
  }
  for (const expected of [largest, 'zzzzzzzzzzz', '00fFgnDxSe8']) {
    is400(
      await call(
        'POST',
        `/pubsubs/${id}/events`,
        JSON.stringify({ event: { message: 1 }, expected_last_id: expected }),
      ),
    )
  }
  for (const token of [largest, 'zzzzzzzzzzz', '00fFgnDxSe7', '00fFgnDxSe8']) {
    const { status } = await call('DELETE', `/pubsubs/${id}/tokens/${token}`)
    assert.ok(status === 204 || status === 400, token)
  }
}

const pathTricks: Attack = async ({ fixture, answers }) => {
  for (const path of [
    '/../../etc/passwd',
    '/assets/../../../etc/passwd',
    '/assets/dashboard/../../../../etc/passwd',
    '/assets/dashboard/%2e%2e%2f%2e%2e%2fpackage.json',
    '/assets/..%2f..%2f/package.json',
    '/assets/dashboard/..%5c..%5cpackage.json',
    '/assets/dashboard/page.js%00.css',
    '/assets/dashboard/page.js/',
    '/assets//page.js',
    '/assets/__proto__/constructor',
    '/assets/dashboard/%c0%ae%c0%ae',
    '/assets/dashboard/%',
    '//etc/passwd',
    '/.git/config',
    '/_storage/tokens.json',
    '/%2e%2e/_storage/tokens.json',
    '/file:///etc/passwd',
    'file:///etc/passwd',
    'http://other.example.org/assets/../tokens.json',
    '*',
    '/api/v1/pubsubs/..%2f..%2fmetrics',
    '/api/v1/pubsubs/%00/events',
    `/api/v1/pubsubs/${'a'.repeat(12_000)}`,
    `/${'../'.repeat(2000)}etc/passwd`,
    `/${'%2e%2e/'.repeat(1000)}etc/passwd`,
  ]) {
    const connection = fixture.raw(`GET ${path} HTTP/1.1\r\nhost: test\r\n${authorization}connection: close\r\n\r\n`)
    const answer = await connection.end()
    answers.push(answer)
    const [status = 0] = statusesIn(answer)
    assert.ok(status >= 400 && status < 500, `${path.slice(0, 60)}: ${answer.slice(0, 200)}`)
    assert.doesNotMatch(answer, /root:|"dependencies"|apiAccessToken/)
  }
}

const crossOriginCredentials: Attack = async ({ fixture, id }) => {
  const trusted = 'https://trusted.example.org'
  const paths = [`/api/v1/pubsubs/${id}`, '/api/v1/metrics', '/api/v1/nothing', `/api/v1/pubsubs/${id}/events`]
  for (const origin of [
    'https://evil.example.org',
    'null',
    `${trusted}.evil.example.org`,
    'https://evil.example.org/trusted.example.org',
    'http://trusted.example.org',
    `${trusted}:8443`,
    'https://TRUSTED.example.org',
    `${trusted}/`,
    `${trusted}, https://evil.example.org`,
    '*',
  ]) {
    for (const path of paths) {
      for (const method of ['OPTIONS', 'HEAD']) {
        const { headers } = await fetch(fixture.origin + path, { method, headers: { origin } })
        assert.equal(headers.get('access-control-allow-credentials'), null, `${method} ${path} for ${origin}`)
        assert.match(headers.get('vary') ?? '', /origin/i)
      }
    }
  }
  const { headers } = await fetch(fixture.origin + paths[0], { headers: { origin: trusted } })
  assert.equal(headers.get('access-control-allow-credentials'), 'true')
  assert.equal(headers.get('access-control-allow-origin'), trusted, 'never a star beside credentials')
  for (const path of ['/', '/metrics', '/healthz', '/readyz']) {
    const other = await fetch(fixture.origin + path, { headers: { origin: 'https://evil.example.org' } })
    assert.equal(other.headers.get('access-control-allow-origin'), null, path)
  }
}

/** A page of somebody else asks a server on its reader's own machine, by an address or by a name that leads there. */
const rebinding: Attack = async ({ fixture, ended }) => {
  const scrape = (host: string, headers = '') =>
    ended(`GET /metrics HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n${headers}\r\n`)
  const local = [`localhost:${fixture.port}`, 'localhost', 'LOCALHOST:1', `127.0.0.1:${fixture.port}`, '[::1]:8889']
  for (const host of local) assert.deepEqual(statusesIn(await scrape(host)), [200], host)
  for (const host of [
    'evil.example.org',
    `evil.example.org:${fixture.port}`,
    'localhost.evil.example.org',
    '127.0.0.1.evil.example.org',
    '127.0.0.1.nip.io',
    'localhost:8889.evil.example.org',
    'evil.example.org#localhost',
    'localhost@evil.example.org',
    'evil.example.org/localhost',
    '0.0.0.0',
    '192.0.2.1',
    'localhost.',
    '',
  ]) {
    const [status = 0] = statusesIn(await scrape(host))
    assert.ok(status === 401 || status === 400, `${host}: ${status}`)
  }
  for (const header of [
    'origin: https://evil.example.org',
    'origin: null',
    'origin: http://localhost.evil.example.org',
    'sec-fetch-site: cross-site',
    'sec-fetch-site: same-site',
    'x-forwarded-for: 127.0.0.1',
    'forwarded: for=127.0.0.1',
    'via: 1.1 proxy',
  ]) {
    assert.deepEqual(statusesIn(await scrape('localhost', `${header}\r\n`)), [401], header)
  }
  // The server's own page, and whoever types the address.
  for (const header of [
    `origin: http://localhost:${fixture.port}`,
    'sec-fetch-site: same-origin',
    'sec-fetch-site: none',
  ]) {
    assert.deepEqual(statusesIn(await scrape('localhost', `${header}\r\n`)), [200], header)
  }
  // A token is asked for whatever name was used: there is nothing but that to be had by a page.
  for (const path of ['/api/v1/pubsubs', '/api/v1/metrics', '/api/v1/dashboard/events']) {
    const answer = await ended(`GET ${path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`)
    assert.deepEqual(statusesIn(answer), [401], path)
  }
}

const ATTACKS: Readonly<Record<string, Attack>> = {
  'slow headers': slowHeaders,
  'a slow body': slowBody,
  'huge headers': hugeHeaders,
  'many connections from one address': manyConnections,
  'garbage in a pipeline': pipelinedGarbage,
  'request smuggling': smuggling,
  'line ends in every field': lineEnds,
  'prototype keys in JSON': prototypeKeys,
  'deep JSON': deepJson,
  'large bodies': largeBodies,
  'duplicated keys': duplicatedKeys,
  'ids near 2^63': hugeIds,
  'path tricks': pathTricks,
  'CORS with credentials': crossOriginCredentials,
  'spoofed hosts and origins against a local server (DNS rebinding)': rebinding,
}

test('a server under attack', async (t) => {
  const fixture = await startFixture(t, {
    http: {
      requestBodyBytesMax: BODY_BYTES_MAX,
      readTimeoutMs: READ_TIMEOUT_MS,
      connectionsPerAddressMax: 20,
      idBytesMax: 256,
      typeBytesMax: 256,
    },
  })
  const { id, token } = await fixture.createTopic(true)
  const answers: string[] = []
  const target: Target = {
    fixture,
    id,
    answers,
    async ended(text) {
      const connection: RawConnection = fixture.raw(text)
      const answer = await connection.end()
      answers.push(answer)
      return answer
    },
    async call(method, path, body) {
      const url = fixture.api + path
      const headers = { authorization: `Bearer ${API_TOKEN}`, accept: 'application/json' }
      const response = await (body === undefined ? fetch(url, { method, headers }) : postAs(method, url, body))
      const text = await response.text()
      answers.push(text)
      return { status: response.status, text }
    },
  }
  const witness = fixture.subscribe(`${id}/events`)
  await witness.until('id: ')
  for (const [name, attack] of Object.entries(ATTACKS)) await t.test(name, (each) => attack(target, each))
  await fixture.publish(id, { message: 'all is well' })
  await witness.until('data: all is well')
  for (const secret of [API_TOKEN, METRICS_TOKEN, token]) {
    assert.ok(!answers.some((answer) => answer.includes(secret)), 'an answer holds a token')
  }
})

function postAs(method: string, url: string, body: string): Promise<Response> {
  if (method === 'POST') return post(url, body, { accept: 'application/json' })
  const headers = { authorization: `Bearer ${API_TOKEN}`, 'content-type': 'application/json' }
  return fetch(url, { method, body, headers })
}
