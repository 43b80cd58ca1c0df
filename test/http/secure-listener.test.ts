/** HTTPS: HTTP/2 and HTTP/1.1 on one port, the redirect on the other, and what the handshake takes and refuses. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2, constants } from 'node:http2'
import { connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls'
import type { SecureOptions } from '../../src/http/secure-listener.ts'
import { testCertificate } from '../support/certificates.ts'
import { API_TOKEN, type Fixture, type FixtureOptions, RawConnection, startFixture } from './fixture.ts'
import { certificate, publishText, type SecureFixture, startSecureFixture } from './secure-fixture.ts'

const authorization = `Bearer ${API_TOKEN}`
const hasOpenssl = spawnSync('openssl', ['version']).status === 0
interface Clients extends SecureFixture {
  http2(): ClientHttp2Session
  tls(options?: ConnectionOptions): TLSSocket
}

async function startSecure(
  t: TestContext,
  secure: Partial<SecureOptions> = {},
  options: FixtureOptions = {},
): Promise<Clients> {
  const fixture = await startSecureFixture(t, secure, options)
  const { certificates, securePort } = fixture
  return {
    ...fixture,
    http2() {
      const session = connectHttp2(`https://localhost:${securePort}`, { ca: certificates.current.certificate })
      session.on('error', () => undefined)
      t.after(() => session.destroy())
      return session
    },
    tls(options = {}) {
      const socket = connectTls({
        host: '127.0.0.1',
        port: securePort,
        servername: 'localhost',
        ca: certificates.current.certificate,
        ...options,
      })
      // A server that ends first may well reset it.
      socket.on('error', () => undefined)
      t.after(() => socket.destroy())
      return socket
    },
  }
}

interface Http2Reading {
  readonly stream: ClientHttp2Stream
  readonly headers: Record<string, string | string[] | number | undefined>
  text: string
}

/** Asks, and keeps what comes. */
async function ask(
  session: ClientHttp2Session,
  headers: Record<string, string>,
  body?: string | Buffer,
): Promise<Http2Reading> {
  const stream = session.request({ authorization, ...headers }, { endStream: body === undefined })
  stream.on('error', () => undefined)
  if (body !== undefined) stream.end(body)
  const [answer] = await once(stream, 'response')
  const reading: Http2Reading = { stream, headers: answer, text: '' }
  stream.setEncoding('latin1')
  stream.on('data', (text: string) => {
    reading.text += text
  })
  return reading
}

async function until(reading: Http2Reading, holds: (text: string) => boolean): Promise<string> {
  while (!holds(reading.text)) {
    assert(!reading.stream.destroyed, `the stream ended before: ${reading.text.slice(-500)}`)
    await Promise.race([once(reading.stream, 'data'), once(reading.stream, 'close')])
  }
  return reading.text
}

async function whole(reading: Http2Reading): Promise<string> {
  const { stream } = reading
  // Not its closing: node's client waits for ever to send the rest of a body that the server has refused.
  while (!stream.destroyed && !stream.readableEnded) await Promise.race([once(stream, 'end'), once(stream, 'close')])
  return reading.text
}

const eventsOf = (text: string) => [...text.matchAll(/^data: (.*)$/gm)].map(([, data]) => data)

test('one port speaks HTTP/2 and HTTP/1.1, and a stream has the same bytes over both', async (t) => {
  const { createTopic, http2, tls, hub } = await startSecure(t)
  const { id } = await createTopic(true)
  const session = http2()
  await once(session, 'connect')
  assert.equal(session.alpnProtocol, 'h2')
  const path = `/api/v1/pubsubs/${id}/events`
  const json = { ':method': 'POST', ':path': path, 'content-type': 'application/json' }
  const published = await ask(session, json, JSON.stringify({ event: { message: 'a\nb', type: 't' } }))
  assert.equal(published.headers[':status'], 201)
  assert.match(await whole(published), /^\{"event":\{"id":"\w{11}"\}\}$/)

  const lines = { ...json, 'content-type': 'application/x-ndjson' }
  const published2 = await ask(session, lines, '{"message":"c"}\n{"message":"d"}\n')
  assert.match(await whole(published2), /\{"lines":2,"last_id":"\w{11}"\}\n$/)

  const over2 = await ask(session, { ':path': `${path}?since=earliest` })
  assert.equal(over2.headers['content-type'], 'text/event-stream')
  const socket = tls({ ALPNProtocols: ['http/1.1'] })
  const over1 = new RawConnection(socket)
  socket.write(`GET ${path}?since=earliest HTTP/1.0\r\nhost: localhost\r\nauthorization: ${authorization}\r\n\r\n`)
  await over1.until('data: d\n\n')
  await publishText(hub, id, 'later')
  const bytes1 = await over1.until('later')
  const bytes2 = await until(over2, (text) => text.includes('later'))
  const withoutRetry = (text: string) => text.slice(text.indexOf('\n\n', text.indexOf('retry:')))
  assert.equal(withoutRetry(bytes2), withoutRetry(bytes1))
})

test('a client that names no protocol gets HTTP/1.1, and one that knows neither gets no connection', async (t) => {
  const { tls } = await startSecure(t)
  const socket = tls()
  const plain = new RawConnection(socket)
  socket.write('GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')
  assert.match(await plain.end(), /^HTTP\/1\.1 200 OK/)
  const other = tls({ ALPNProtocols: ['spdy/3'] })
  const [error] = await once(other, 'error')
  assert.match(String(error), /no application protocol/)
})

test('every kind of answer over HTTP/2 is without headers of the connection, and leaves the connection as it is', async (t) => {
  const warnings: Error[] = []
  const note = (warning: Error) => warnings.push(warning)
  process.on('warning', note)
  t.after(() => process.off('warning', note))
  const { createTopic, http2 } = await startSecure(t)
  const { id } = await createTopic()
  const session = http2()
  const path = `/api/v1/pubsubs/${id}/events`
  const json = { ':method': 'POST', 'content-type': 'application/json' }
  const asked: readonly (readonly [number, Record<string, string>, (string | Buffer)?])[] = [
    [200, { ':path': '/readyz' }],
    [200, { ':path': '/' }],
    [200, { ':path': '/metrics' }],
    [200, { ':path': '/readyz', ':method': 'HEAD' }],
    [200, { ':path': path, ':method': 'HEAD' }],
    [404, { ':path': '/nothing' }],
    [405, { ':path': '/healthz', ':method': 'DELETE' }],
    [401, { ':path': path, authorization: 'Bearer wrong' }],
    [400, { ':path': path, ':method': 'POST' }, '{}'],
    [413, { ':path': path, ...json, 'content-length': '1000000' }, Buffer.alloc(1_000_000, 'x')],
    [413, { ':path': path, ...json }, Buffer.alloc(1_000_000, 'x')],
    [417, { ':path': path, ...json, expect: 'a miracle' }, '{}'],
    [201, { ':path': path, ...json, expect: '100-continue' }, '{"event":{"message":1}}'],
    [400, { ':path': path, ...json, 'content-type': 'application/x-ndjson' }, '{}\n'.repeat(100_000)],
    [200, { ':path': '/readyz', host: 'elsewhere' }],
    [400, { ':path': '/readyz', ':authority': 'localhost', host: 'elsewhere' }],
  ]
  for (const [status, headers, body] of asked) {
    const answer = await ask(session, headers, body)
    assert.equal(answer.headers[':status'], status, JSON.stringify(headers))
    for (const name of ['connection', 'keep-alive', 'transfer-encoding']) assert.equal(answer.headers[name], undefined)
    const text = await whole(answer)
    if (status >= 400) assert.equal(JSON.parse(text).error.code, status)
  }
  const tunnel = session.request({ ':method': 'CONNECT', ':authority': 'example.org:80' })
  tunnel.on('error', () => undefined)
  const [refused] = await once(tunnel, 'response')
  assert.equal(refused[':status'], 405)
  assert.equal(session.destroyed, false)
  assert.deepEqual(warnings, [])
})

test('lines are published over HTTP/2 while they still come, and a bad one ends its request and nothing else', async (t) => {
  const { createTopic, http2, hub } = await startSecure(t)
  const { id } = await createTopic(true)
  const session = http2()
  const lines = {
    ':method': 'POST',
    ':path': `/api/v1/pubsubs/${id}/events`,
    'content-type': 'application/x-ndjson',
    authorization,
  }
  for (const [second, answer] of [
    ['{"message":2}\n', /"lines":2,"last_id":"\w{11}"\}\n$/],
    ['nonsense\n', /"lines":1,[^\n]*"error":\{"code":400[^\n]*\n$/],
  ] as const) {
    const stream = session.request(lines)
    stream.on('error', () => undefined)
    stream.write('{"message":1}\n')
    const [headers] = await once(stream, 'response')
    const reading: Http2Reading = { stream, headers, text: '' }
    stream.setEncoding('latin1').on('data', (text: string) => {
      reading.text += text
    })
    await until(reading, (text) => text.includes('"lines":1'))
    stream.write(second)
    if (second.startsWith('{')) stream.end()
    assert.match(await whole(reading), answer)
  }
  assert.equal((await hub.topicDetails(hub.topic(id)!)).events, 3)
  assert.equal((await ask(session, { ':path': '/healthz' })).headers[':status'], 200)
})

test('/readyz says which certificate is shown, and until when', async (t) => {
  const { http2 } = await startSecure(t)
  const answer = await ask(http2(), { ':path': '/readyz' })
  const { status, certificate: shown } = JSON.parse(await whole(answer))
  const expires_at = new Date(certificate.notAfterMs).toISOString()
  assert.deepEqual(
    [status, shown],
    ['ready', { source: 'files', names: ['localhost', '127.0.0.1'], expires_at, ordering: false }],
  )
})

test('whoever asks on this machine itself may scrape over HTTP/2, and nobody through a name of elsewhere', async (t) => {
  const { http2 } = await startSecure(t)
  const session = http2()
  const scrape = async (headers: Record<string, string>) => {
    const stream = session.request({ ':path': '/metrics', ...headers })
    const [answer] = await once(stream, 'response')
    stream.resume()
    return answer[':status']
  }
  assert.equal(await scrape({}), 200)
  assert.equal(await scrape({ ':authority': 'rebound.example.org' }), 401)
})

test('50 streams share one connection, and each gets its events', async (t) => {
  const { createTopic, http2 } = await startSecure(t)
  const topics = await Promise.all(Array.from({ length: 50 }, () => createTopic()))
  const session = http2()
  const readings = await Promise.all(topics.map(({ id }) => ask(session, { ':path': `/api/v1/pubsubs/${id}/events` })))
  await Promise.all(readings.map((reading) => until(reading, (text) => text.includes('\nid: '))))
  for (let round = 0; round < 3; round += 1) {
    for (const { id } of topics) {
      const path = `/api/v1/pubsubs/${id}/events`
      const body = JSON.stringify({ event: { message: `${id} ${round}` } })
      const answer = await ask(session, { ':path': path, ':method': 'POST', 'content-type': 'application/json' }, body)
      assert.equal(answer.headers[':status'], 201)
      answer.stream.resume()
    }
  }
  for (const [index, reading] of readings.entries()) {
    const { id } = topics[index]!
    await until(reading, (text) => text.includes(`${id} 2`))
    assert.deepEqual(
      eventsOf(reading.text),
      [0, 1, 2].map((round) => `${id} ${round}`),
    )
  }
})

test('a client is told how many streams it may open on a connection', async (t) => {
  const { http2 } = await startSecure(t, { streamsPerConnectionMax: 2 })
  const session = http2()
  await once(session, 'remoteSettings')
  assert.equal(session.remoteSettings.maxConcurrentStreams, 2)
})

test('a slow stream holds no other one of its connection, and gets everything when it reads again', async (t) => {
  const { createTopic, http2, hub } = await startSecure(t)
  const { id } = await createTopic()
  const session = http2()
  const slow = session.request({ authorization, ':path': `/api/v1/pubsubs/${id}/events` })
  await once(slow, 'response')
  slow.pause()
  const fast = await ask(session, { ':path': `/api/v1/pubsubs/${id}/events` })
  await until(fast, (text) => text.includes('\nid: '))
  const count = 400
  const filler = 'x'.repeat(10_000)
  for (let index = 0; index < count; index += 1) await publishText(hub, id, `${index} ${filler}`)
  // The slow one has taken no more than its window; the fast one has all.
  await until(fast, (text) => text.includes(`data: ${count - 1} `))
  const numbers = (text: string) => eventsOf(text).map((data) => Number.parseInt(data ?? '', 10))
  const expected = Array.from({ length: count }, (_, index) => index)
  assert.deepEqual(numbers(fast.text), expected)
  const reading: Http2Reading = { stream: slow, headers: {}, text: '' }
  slow.setEncoding('latin1')
  slow.on('data', (text: string) => {
    reading.text += text
  })
  slow.resume()
  await until(reading, (text) => text.includes(`data: ${count - 1} `) && text.endsWith('\n\n'))
  assert.deepEqual(numbers(reading.text), expected)
})

test('a swap touches nothing that is open: streams miss nothing, and new connections are shown the new certificate', async (t) => {
  const { createTopic, http2, tls, certificates, hub } = await startSecure(t)
  const { id } = await createTopic()
  const path = `/api/v1/pubsubs/${id}/events`
  const over2 = await ask(http2(), { ':path': path })
  const socket = tls({ ALPNProtocols: ['http/1.1'] })
  const over1 = new RawConnection(socket)
  socket.write(`GET ${path} HTTP/1.1\r\nhost: localhost\r\nauthorization: ${authorization}\r\n\r\n`)
  await Promise.all([over1.until('\nid: '), until(over2, (text) => text.includes('\nid: '))])
  const next = await testCertificate('localhost', '127.0.0.1')
  for (let index = 0; index < 50; index += 1) {
    if (index === 25) certificates.swap(next)
    await publishText(hub, id, `${index}!`)
  }
  await Promise.all([over1.until('data: 49!'), until(over2, (text) => text.includes('data: 49!'))])
  const expected = Array.from({ length: 50 }, (_, index) => `${index}!`)
  assert.deepEqual(eventsOf(over2.text), expected)
  assert.deepEqual(eventsOf(over1.received.replaceAll('\r\n', '\n')), expected)
  const fresh = tls()
  await once(fresh, 'secureConnect')
  assert.equal(fresh.getPeerCertificate().fingerprint256, next.fingerprint)
})

test('a session is resumed by its ticket', async (t) => {
  const { tls } = await startSecure(t)
  const first = tls({ maxVersion: 'TLSv1.2' })
  const [session] = await once(first, 'session')
  const second = tls({ maxVersion: 'TLSv1.2', session })
  await once(second, 'secureConnect')
  assert.equal(second.isSessionReused(), true)
})

test('old protocols and weak suites are refused, and the good ones are taken', async (t) => {
  const { tls } = await startSecure(t)
  const attempts: readonly (readonly [boolean, ConnectionOptions])[] = [
    [true, { minVersion: 'TLSv1.3' }],
    [true, { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-RSA-AES128-GCM-SHA256' }],
    [true, { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-RSA-CHACHA20-POLY1305' }],
    [false, { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' }],
    [false, { minVersion: 'TLSv1', maxVersion: 'TLSv1', ciphers: 'ALL:@SECLEVEL=0' }],
    [false, { maxVersion: 'TLSv1.2', ciphers: 'AES128-GCM-SHA256' }],
    [false, { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-RSA-AES128-SHA256' }],
    [false, { maxVersion: 'TLSv1.2', ciphers: 'DHE-RSA-AES128-GCM-SHA256' }],
    [false, { maxVersion: 'TLSv1.2', ciphers: 'NULL:@SECLEVEL=0' }],
  ]
  for (const [isTaken, options] of attempts) {
    const socket = tls(options)
    const taken = await Promise.race([
      once(socket, 'secureConnect').then(() => true),
      once(socket, 'close').then(() => false),
    ]).catch(() => false)
    assert.equal(taken, isTaken, JSON.stringify(options))
  }
})

test('renegotiation is refused', { skip: !hasOpenssl && 'openssl is not here' }, async (t) => {
  const { securePort } = await startSecure(t)
  const child = spawn('openssl', [
    's_client',
    '-connect',
    `127.0.0.1:${securePort}`,
    '-tls1_2',
    '-legacy_renegotiation',
  ])
  t.after(() => child.kill('SIGKILL'))
  let printed = ''
  const isAgreed = new Promise<void>((resolve) => {
    child.stdout.on('data', (chunk: Buffer) => {
      printed += chunk
      if (printed.includes('Verify return code')) resolve()
    })
  })
  child.stderr.on('data', (chunk: Buffer) => {
    printed += chunk
  })
  await isAgreed
  child.stdin.write('R\n')
  await once(child, 'exit')
  assert.match(printed, /RENEGOTIATING/)
  assert.doesNotMatch(printed.slice(printed.indexOf('RENEGOTIATING')), /Verify return code/)
})

test('whoever says nothing in the handshake, or nothing after it, is cut off', async (t) => {
  const { securePort, tls, http2 } = await startSecure(t, { handshakeTimeoutMs: 300 }, { http: { readTimeoutMs: 300 } })
  const mute = new RawConnection(connect(securePort, '127.0.0.1'))
  await mute.end()
  // The first bytes of a handshake, and then one after the other, for ever.
  const slow = connect(securePort, '127.0.0.1')
  const dribble = setInterval(() => slow.write(Buffer.from([1])), 20)
  t.after(() => clearInterval(dribble))
  slow.write(Buffer.from([0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc]))
  await new RawConnection(slow).end()
  clearInterval(dribble)
  const agreed = tls({ ALPNProtocols: ['http/1.1'] })
  await new RawConnection(agreed).end()
  const session = http2()
  await once(session, 'close')
})

test('HSTS is told on every answer where the configuration says so', async (t) => {
  const { http2, tls } = await startSecure(t, {}, { http: { strictTransportSeconds: 3600 } })
  for (const path of ['/readyz', '/api/v1/pubsubs/1', '/']) {
    const answer = await ask(http2(), { ':path': path })
    assert.equal(answer.headers['strict-transport-security'], 'max-age=3600', path)
  }
  const socket = tls()
  const over1 = new RawConnection(socket)
  socket.write('GET /api/v1/pubsubs/0/events HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')
  assert.match(await over1.end(), /401 [\s\S]*strict-transport-security: max-age=3600\r\n/)
})

test('the port without TLS sends to the other one, and keeps the method of what has a body', async (t) => {
  const { raw, securePort } = await startSecure(t)
  const answers: readonly (readonly [string, string])[] = [
    [
      'GET /a?b=c HTTP/1.1\r\nhost: push.test:80\r\n\r\n',
      `301 Moved Permanently https://push.test:${securePort}/a?b=c`,
    ],
    ['HEAD / HTTP/1.1\r\nhost: [::1]\r\n\r\n', `301 Moved Permanently https://[::1]:${securePort}/`],
    [
      'POST /a HTTP/1.1\r\nhost: push.test\r\ncontent-length: 9\r\n\r\n',
      `308 Permanent Redirect https://push.test:${securePort}/a`,
    ],
    [
      'GET http://push.test/a HTTP/1.1\r\nhost: push.test\r\n\r\n',
      `301 Moved Permanently https://push.test:${securePort}/a`,
    ],
    [
      'GET http://push.test HTTP/1.1\r\nhost: push.test\r\n\r\n',
      `301 Moved Permanently https://push.test:${securePort}/`,
    ],
    ['OPTIONS * HTTP/1.1\r\nhost: push.test\r\n\r\n', `308 Permanent Redirect https://push.test:${securePort}/`],
    ['GET / HTTP/1.1\r\n\r\n', '400 Bad Request'],
    ['GET / HTTP/1.1\r\nhost: a b\r\n\r\n', '400 Bad Request'],
    ['GET / HTTP/1.1\r\nhost: a/@b\r\n\r\n', '400 Bad Request'],
    ['nonsense\r\n\r\n', '400 Bad Request'],
    ['CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n', '405 Method Not Allowed'],
  ]
  for (const [request, expected] of answers) {
    const answer = await raw(request).end()
    const [, status] = /^HTTP\/1\.1 (.*)\r\n/.exec(answer) ?? []
    const [, location] = /^location: (.*)\r$/m.exec(answer) ?? []
    assert.equal([status, location].filter((part) => part !== undefined).join(' '), expected, request)
  }
})

test('whom a trusted proxy has brought from HTTPS is served on the port without TLS, and nobody else', async (t) => {
  const byProxy = { trustedProxies: [{ address: '127.0.0.1', prefix: 32, family: 'ipv4' as const }] }
  const http = { strictTransportSeconds: 60, ...byProxy }
  const { raw, createTopic, hub } = await startSecure(t, {}, { http })
  const get = (path: string, proto: string) =>
    raw(
      `GET ${path} HTTP/1.1\r\nhost: push.test\r\nauthorization: ${authorization}\r\nconnection: close\r\nx-forwarded-proto: ${proto}\r\n\r\n`,
    )
  for (const proto of ['https', 'HTTPS', 'http, https'])
    assert.match(
      await get('/healthz', proto).end(),
      /^HTTP\/1\.1 200 OK\r\n[\s\S]*transport-security: max-age=60\r\n/,
      proto,
    )
  for (const proto of ['http', 'https, http', 'httpsx', ''])
    assert.match(await get('/healthz', proto).end(), /^HTTP\/1\.1 301 (?![\s\S]*transport-security)/, proto)
  const { id } = await createTopic()
  const stream = get(`/api/v1/pubsubs/${id}/events`, 'https')
  await stream.until('\nid: ')
  await publishText(hub, id, 'through a proxy')
  await stream.until('data: through a proxy')
  const strangers = await startSecure(t, {}, { http: { strictTransportSeconds: 60 } })
  const asked = 'GET /healthz HTTP/1.1\r\nhost: push.test\r\nx-forwarded-proto: https\r\n\r\n'
  assert.match(await strangers.raw(asked).end(), /^HTTP\/1\.1 301 /)
})

test('without TLS of its own, only whom a trusted proxy has brought from HTTPS is told to stay with it', async (t) => {
  const ask = (fixture: Fixture, proto: string) =>
    fixture.raw(`GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${proto}\r\n`).end()
  const trustedProxies = [{ address: '127.0.0.0', prefix: 8, family: 'ipv4' as const }]
  const behind = await startFixture(t, { http: { strictTransportSeconds: 60, trustedProxies } })
  const alone = await startFixture(t, { http: { strictTransportSeconds: 60 } })
  const https = 'x-forwarded-proto: https\r\n'
  assert.match(await ask(behind, https), /^HTTP\/1\.1 200 [\s\S]*strict-transport-security: max-age=60\r\n/)
  for (const [fixture, proto] of [
    [behind, ''],
    [behind, 'x-forwarded-proto: http\r\n'],
    [alone, https],
  ] as const)
    assert.doesNotMatch(await ask(fixture, proto), /strict-transport-security/)
})

test('an authority that looks for a proof on the port without TLS gets it, and is sent on where there is none', async (t) => {
  const { raw, certificates } = await startSecure(t)
  const token = 'a'.repeat(43)
  certificates.proofs.set(token, `${token}.thumbprint`)
  const ask = (request: string) => raw(`${request} HTTP/1.1\r\nhost: push.test\r\n\r\n`).end()
  const path = '/.well-known/acme-challenge/'
  assert.match(await ask(`GET ${path}${token}`), /^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\na{43}\.thumbprint$/)
  assert.match(await ask(`HEAD ${path}${token}`), /^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\n$/)
  for (const other of [`GET ${path}${'b'.repeat(43)}`, `GET ${path}../${token}`, `GET ${path}${token}?a`])
    assert.match(await ask(other), /^HTTP\/1\.1 301 /, other)
  assert.match(await ask(`POST ${path}${token}`), /^HTTP\/1\.1 308 /)
})

test('a stop ends idle connections of HTTP/2 at once, and open streams after the grace', async (t) => {
  const { http2, http, createTopic, service } = await startSecure(t)
  const { id } = await createTopic()
  const idle = http2()
  await whole(await ask(idle, { ':path': '/readyz' }))
  const busy = http2()
  const reading = await ask(busy, { ':path': `/api/v1/pubsubs/${id}/events` })
  await until(reading, (text) => text.includes('\nid: '))
  const idleEnded = once(idle, 'close')
  const busyEnded = once(busy, 'close')
  service.stop()
  const closed = http.close(500)
  await idleEnded
  await busyEnded
  await closed
})

test('calls over HTTP/2 during a recovery are answered as over HTTP/1', async (t) => {
  const { http2 } = await startSecure(t, {}, { ready: false })
  const session = http2()
  const stream = await ask(session, { ':path': '/api/v1/pubsubs/1/events' })
  assert.equal(stream.headers[':status'], 200)
  assert.match(await whole(stream), /^retry: \d+\n\n$/)
  const call = await ask(session, { ':path': '/api/v1/pubsubs' })
  assert.deepEqual([call.headers[':status'], call.headers['retry-after']], [503, '1'])
})

test('a client that resets its stream leaves nothing behind, whatever reason it gives', async (t) => {
  const { http2, createTopic, hub } = await startSecure(t)
  const { id } = await createTopic()
  const session = http2()
  for (const reason of [constants.NGHTTP2_CANCEL, constants.NGHTTP2_NO_ERROR]) {
    const reading = await ask(session, { ':path': `/api/v1/pubsubs/${id}/events` })
    await until(reading, (text) => text.includes('\nid: '))
    assert.equal(hub.figures().active_subscribers, 1)
    // What it does not take waits for it.
    reading.stream.pause()
    for (let index = 0; index < 30; index += 1) await publishText(hub, id, 'x'.repeat(10_000))
    reading.stream.close(reason)
    while (hub.figures().active_subscribers > 0) await new Promise((resolve) => setImmediate(resolve))
    assert.equal(session.destroyed, false)
  }
})

test('a reader of the dashboard feed that takes nothing is cut off, and gets no more than one sample ahead', async (t) => {
  const large = { bytes: 0, filler: 'x'.repeat(100_000) }
  const { securePort, certificates } = await startSecure(
    t,
    {},
    { http: { writeTimeoutMs: 100, logFigures: () => large as never } },
  )
  const session = connectHttp2(`https://localhost:${securePort}`, {
    ca: certificates.current.certificate,
    settings: { initialWindowSize: 0 },
  })
  t.after(() => session.destroy())
  const feed = await ask(session, { ':path': '/api/v1/dashboard/events' })
  assert.equal(feed.headers[':status'], 200)
  assert.equal(await whole(feed), '')
  assert.equal(session.destroyed, false)
})

test('a connection over the limit is closed before its handshake, and those that ended make room', async (t) => {
  const fixture = await startSecure(t, {}, { http: { connectionsMax: 2 } })
  const healthOver2 = async () => {
    const session = fixture.http2()
    const { headers } = await ask(session, { ':path': '/healthz' })
    return { session, status: headers[':status'] }
  }
  for (let times = 0; times < 5; times += 1) {
    const { session, status } = await healthOver2()
    assert.equal(status, 200)
    const first = fixture.tls()
    await once(first, 'secureConnect')
    const over = fixture.tls()
    // Not by `once` of node:events, which would reject with what the client thinks of it.
    await new Promise((resolve) => over.once('close', resolve))
    first.destroy()
    session.destroy()
    // Their ends are noticed in no certain order.
    const endMs = performance.now() + 30_000
    for (let isThere = true; isThere && performance.now() < endMs; ) isThere = (await openConnections(fixture)) > 0
  }
  assert.deepEqual(new Set(fixture.limitsReached), new Set(['server.maxConnections']))
  assert.equal(fixture.limitsReached.length, 5)
})

async function openConnections({ http }: Fixture): Promise<number> {
  // The count comes without a turn of the event loop, in which connections end.
  await new Promise((resolve) => setImmediate(resolve))
  return await new Promise((resolve) => http.hapi.listener.getConnections((_error, count) => resolve(count)))
}
