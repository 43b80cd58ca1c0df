/**
 * Connections whose proxy says in front of them whose they are, over each of the protocols behind it; and those that say it
 * wrongly, too late, or without anybody's trust. Proxies come from 127.0.0.2, which is trusted; 127.0.0.1 is not.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import { request as requestSecurely } from 'node:https'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import type { HttpOptions } from '../../src/http/http-server.ts'
import { header2, header6Of, headerOf, localHeader, tlsField } from '../support/proxy-headers.ts'
import { until } from '../support/until.ts'
import { API_TOKEN, type Fixture, RawConnection, startFixture } from './fixture.ts'
import { startSecureFixture } from './secure-fixture.ts'

const proxyHost = '127.0.0.2'
const options: Partial<HttpOptions> = {
  trustedProxies: [
    { address: proxyHost, prefix: 32, family: 'ipv4' },
    { address: '10.0.0.0', prefix: 8, family: 'ipv4' },
  ],
  proxyHeaderTimeoutMs: 60_000,
  wrongTokensMax: 2,
  wrongTokenWaitMsMax: 600_000,
}

function start(t: TestContext, http: Partial<HttpOptions> = {}): Promise<Fixture> {
  return startFixture(t, { http: { ...options, ...http } })
}

/** A connection from the proxy's address, to be written to by the test. */
function fromProxy(t: TestContext, port: number, bytes: string | Uint8Array = ''): RawConnection {
  const connection = new RawConnection(connect({ port, host: '127.0.0.1', localAddress: proxyHost }))
  connection.socket.setNoDelay(true)
  t.after(() => connection.socket.destroy())
  if (bytes.length > 0) connection.socket.write(bytes)
  return connection
}

/** A proxy of bytes: its port. What the client says first goes along with the header, cut after `cut` bytes of it. */
async function startProxy(t: TestContext, port: number, header: Buffer, cut = 0): Promise<number> {
  const sockets = new Set<Socket>()
  const proxy = createServer((client) => {
    const { socket } = fromProxy(t, port)
    for (const each of [client, socket]) sockets.add(each.on('error', () => undefined))
    client.once('data', (first: Buffer) => {
      socket.write(Buffer.concat([header, first.subarray(0, cut === 0 ? undefined : cut)]))
      const rest = () => {
        if (cut !== 0) socket.write(first.subarray(cut))
        client.pipe(socket).pipe(client)
      }
      // So that the rest is read as another piece.
      if (cut === 0) rest()
      else setTimeout(rest, 20)
    })
    client.once('close', () => socket.destroy())
    socket.once('close', () => client.destroy())
  })
  proxy.listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    proxy.close()
  })
  return (proxy.address() as AddressInfo).port
}

function asking(token: string, more = ''): string {
  return `GET /metrics HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${token}\r\nconnection: close\r\n${more}\r\n`
}

function statusOf(answer: string): string | undefined {
  return /^HTTP\/1\.1 (\d{3}) /.exec(answer)?.[1]
}

/** What a wrong token is answered: 401, and 429 after two of the same address. */
async function wrong(t: TestContext, port: number, header: Buffer, more?: string): Promise<string | undefined> {
  return statusOf(await fromProxy(t, port, Buffer.concat([header, Buffer.from(asking('wrong', more))])).end())
}

async function isThrottled(t: TestContext, port: number, header: Buffer, more?: string): Promise<boolean> {
  return (await wrong(t, port, header, more)) === '429'
}

test('the client of a header is the one that has to wait, by IPv4, by the /64 of IPv6, and by a line', async (t) => {
  const { port, proxiesRefused } = await start(t)
  const address = [0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1]
  const line = Buffer.from('PROXY TCP4 198.51.100.3 192.0.2.9 43981 443\r\n')
  for (const header of [headerOf('203.0.113.7'), header6Of(address, [4, 0, 1, 0]), line]) {
    assert.deepEqual([await wrong(t, port, header), await wrong(t, port, header)], ['401', '401'])
    assert(await isThrottled(t, port, header))
  }
  assert(await isThrottled(t, port, header6Of(address.with(15, 99))), 'the same /64')
  assert(await isThrottled(t, port, Buffer.from('PROXY TCP6 ::ffff:198.51.100.3 ::1 1 2\r\n')), 'IPv4 in IPv6')
  for (const other of [headerOf('203.0.113.8'), header6Of(address.with(7, 9)), headerOf('198.51.100.4')])
    assert(!(await isThrottled(t, port, other)))
  assert.deepEqual(proxiesRefused, [])
})

test('a header and a request are understood in whatever pieces they come', async (t) => {
  const { port } = await start(t)
  const header = headerOf('203.0.113.7', [4, 0, 3, 1, 2, 3])
  const bytes = Buffer.concat([header, Buffer.from(asking(API_TOKEN))])
  const slow = fromProxy(t, port)
  for (const byte of bytes) {
    slow.socket.write(Buffer.of(byte))
    await new Promise((resolve) => setImmediate(resolve))
  }
  assert.equal(statusOf(await slow.end()), '200')
  for (const cut of [1, 12, 15, 16, 28, header.length - 1, header.length, header.length + 1]) {
    const inTwo = fromProxy(t, port, bytes.subarray(0, cut))
    setTimeout(() => inTwo.socket.write(bytes.subarray(cut)), 20)
    assert.equal(statusOf(await inTwo.end()), '200', `cut at ${cut}`)
  }
})

test('a connection that goes on after its header keeps its client, and brings requests and bodies as any other', async (t) => {
  const { port, createTopic } = await start(t)
  const { id } = await createTopic()
  const proxied = await startProxy(t, port, headerOf('203.0.113.7'))
  const message = 'x'.repeat(3000)
  for (let round = 0; round < 20; round += 1) {
    const answer = await fetch(`http://127.0.0.1:${proxied}/api/v1/pubsubs/${id}/events`, {
      method: 'POST',
      body: JSON.stringify({ event: { message } }),
      headers: { authorization: `Bearer ${API_TOKEN}`, 'content-type': 'application/json' },
    })
    assert.equal(answer.status, 201)
    await answer.arrayBuffer()
  }
  const kept = fromProxy(t, port, headerOf('203.0.113.9'))
  for (const [round, status] of ['401', '401', '429'].entries()) {
    kept.socket.write('GET /metrics HTTP/1.1\r\nhost: x\r\nauthorization: Bearer wrong\r\n\r\n')
    const came = await kept.until('HTTP/1.1', round + 1)
    assert.equal(statusOf(came.slice(came.lastIndexOf('HTTP/1.1'))), status)
  }
})

test('over TLS the client is known as well, by HTTP/1.1 and by HTTP/2, wherever its handshake is cut', async (t) => {
  const { securePort, proxiesRefused } = await startSecureFixture(t, {}, { http: options })
  const headers = { authorization: 'Bearer wrong', 'x-forwarded-for': '198.51.100.99' }

  async function http1(port: number): Promise<number | undefined> {
    const request = requestSecurely({ port, path: '/metrics', headers, rejectUnauthorized: false, agent: false }).end()
    const [response] = await once(request, 'response')
    response.resume()
    return response.statusCode
  }
  async function http2(port: number): Promise<number | undefined> {
    const session = connectHttp2(`https://localhost:${port}`, { rejectUnauthorized: false })
    t.after(() => session.destroy())
    const [answer] = await once(session.request({ ':path': '/metrics', ...headers }), 'response')
    session.close()
    return answer[':status']
  }

  for (const [host, ask] of [http1, http2].entries()) {
    const client = headerOf(`203.0.113.${host}`)
    const statuses = []
    for (const cut of [0, 1, 5, 100]) statuses.push(await ask(await startProxy(t, securePort, client, cut)))
    assert.deepEqual(statuses, [401, 401, 429, 429], ask.name)
    assert.equal(await ask(await startProxy(t, securePort, headerOf(`198.51.100.${host}`))), 401, ask.name)
  }
  assert.deepEqual(proxiesRefused, [])
})

test('connections count as those of the client of the header, with TLS or without', async (t) => {
  const limited = { ...options, connectionsPerAddressMax: 2 }
  const { port, securePort, limitsReached } = await startSecureFixture(t, {}, { http: limited })
  const plain = await start(t, { connectionsPerAddressMax: 2 })
  const open = async (of: Buffer) => {
    const connection = fromProxy(
      t,
      plain.port,
      Buffer.concat([of, Buffer.from('GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n')]),
    )
    return { connection, status: statusOf(await connection.until('\r\n\r\n')) }
  }
  const first = await open(headerOf('203.0.113.7'))
  assert.equal(first.status, '200')
  assert.equal((await open(headerOf('203.0.113.7'))).status, '200')
  assert.equal((await open(headerOf('203.0.113.7'))).status, '429')
  assert.equal((await open(headerOf('203.0.113.8'))).status, '200')
  first.connection.socket.destroy()
  await first.connection.end()
  // The server hears of it a little later.
  while ((await open(headerOf('203.0.113.7'))).status !== '200');

  for (const at of [securePort, port]) {
    const [one, two, three] = [1, 2, 3].map(() => fromProxy(t, at, headerOf(`203.0.113.${at % 200}`)))
    assert.equal(await Promise.race([one, two, three].map((each) => each?.end())), '')
    await Promise.all([one, two].map((each) => each?.socket.destroy()))
  }
  assert.equal(limitsReached.length, 2)
})

test('what a client says of itself behind its header is not believed, and what a trusted proxy says there is', async (t) => {
  const { port } = await start(t)
  const forged = (host: number) => `x-forwarded-for: 198.51.100.${host}\r\n`
  const client = headerOf('203.0.113.7')
  assert.deepEqual([await wrong(t, port, client, forged(1)), await wrong(t, port, client, forged(2))], ['401', '401'])
  assert(await isThrottled(t, port, client, forged(3)))
  const inner = headerOf('10.1.2.3')
  assert.deepEqual([await wrong(t, port, inner, forged(1)), await wrong(t, port, inner, forged(1))], ['401', '401'])
  assert(await isThrottled(t, port, inner, forged(1)))
  assert(!(await isThrottled(t, port, inner, forged(2))))
  // Of whom the proxy does not know nothing is known, and nobody else is made to wait for them.
  for (const nobody of [localHeader, header2(0x21, 0, []), Buffer.from('PROXY UNKNOWN\r\n')])
    for (let round = 0; round < 3; round += 1) assert.equal(await wrong(t, port, nobody, forged(4)), '401')
  assert(!(await isThrottled(t, port, headerOf('198.51.100.4'))))
})

test('behind TLS of its own only a trusted proxy may say that its client speaks HTTPS', async (t) => {
  const { port } = await startSecureFixture(t, {}, { http: options })
  const ask = async (header: Buffer) => {
    const words = 'GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-forwarded-proto: https\r\n\r\n'
    return statusOf(await fromProxy(t, port, Buffer.concat([header, Buffer.from(words)])).end())
  }
  assert.deepEqual([await ask(headerOf('203.0.113.7')), await ask(headerOf('10.1.2.3'))], ['301', '200'])
  assert.equal(await ask(localHeader), '301')
})

test('a proxy that takes the TLS off says so in its header: its clients are served on the plain port, and told to come by HTTPS', async (t) => {
  const { port } = await startSecureFixture(t, {}, { http: { ...options, strictTransportSeconds: 3600 } })
  const ask = async (header: Buffer, more = '') => {
    const words = `GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${more}\r\n`
    const answer = await fromProxy(t, port, Buffer.concat([header, Buffer.from(words)])).end()
    return [statusOf(answer), /strict-transport-security: (.*)\r/.exec(answer)?.[1]]
  }
  const told = ['200', 'max-age=3600']
  assert.deepEqual(await ask(headerOf('203.0.113.7', tlsField(1))), told)
  assert.deepEqual(await ask(headerOf('203.0.113.7', tlsField(0))), ['301', undefined])
  // The client's own word does not count, whatever it is; that of a trusted proxy further out does.
  assert.deepEqual(await ask(headerOf('203.0.113.7', tlsField(1)), 'x-forwarded-proto: http\r\n'), told)
  assert.deepEqual(await ask(headerOf('10.1.2.3', tlsField(1)), 'x-forwarded-proto: http\r\n'), ['301', undefined])
  assert.deepEqual(await ask(headerOf('10.1.2.3', tlsField(1))), told)
})

test('nobody that comes through such a proxy is on this machine itself, and who comes without one is', async (t) => {
  const { port, raw } = await start(t)
  const scrape = 'GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n'
  for (const header of [headerOf('203.0.113.7'), headerOf('127.0.0.1'), localHeader])
    assert.equal(statusOf(await fromProxy(t, port, Buffer.concat([header, Buffer.from(scrape)])).end()), '401')
  assert.equal(statusOf(await raw(scrape).end()), '200')
})

test('the proxy may speak for itself, as it does to ask for the health', async (t) => {
  const { port } = await start(t)
  const words = Buffer.from('GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')
  assert.equal(statusOf(await fromProxy(t, port, Buffer.concat([localHeader, words])).end()), '200')
})

test('whoever is not trusted is served as ever without a header, and with one is told that this is no HTTP', async (t) => {
  const { raw, proxiesRefused } = await start(t)
  assert.equal(statusOf(await raw(asking(API_TOKEN)).end()), '200')
  for (const header of [headerOf('203.0.113.7'), Buffer.from('PROXY TCP4 203.0.113.7 192.0.2.9 1 2\r\n')])
    assert.equal(statusOf(await raw(Buffer.concat([header, Buffer.from(asking(API_TOKEN))])).end()), '400')
  assert.deepEqual(proxiesRefused, [])
  const secure = await startSecureFixture(t, {}, { http: options })
  const untrusted = new RawConnection(connect(secure.securePort, '127.0.0.1'))
  untrusted.socket.write(headerOf('203.0.113.7'))
  assert.doesNotMatch(await untrusted.end(), /HTTP/)
})

test('a trusted proxy that sends anything else is cut off without an answer, and that is told', async (t) => {
  const { port, proxiesRefused } = await start(t)
  const tooLong = header2(0x21, 0x11, [], 4096)
  const broken = [Buffer.from(asking(API_TOKEN)), tooLong, header2(0x21, 0x11, [1, 2, 3]), header2(0x31, 0x11, [])]
  for (const bytes of broken) assert.equal(await fromProxy(t, port, bytes).end(), '')
  const malformed = `${proxyHost}: it is malformed, too long, or something else`
  assert.deepEqual(
    proxiesRefused,
    broken.map(() => malformed),
  )
})

test('a trusted proxy that sends nothing, or half a header, is cut off in time, with TLS or without', async (t) => {
  const http = { ...options, proxyHeaderTimeoutMs: 200 }
  const { port, securePort, proxiesRefused } = await startSecureFixture(t, {}, { http })
  const plain = await startFixture(t, { http })
  const half = headerOf('203.0.113.7').subarray(0, 20)
  for (const at of [port, securePort, plain.port])
    for (const bytes of [half.subarray(0, 0), half]) assert.equal(await fromProxy(t, at, bytes).end(), '')
  assert.deepEqual([proxiesRefused.length, plain.proxiesRefused.length], [4, 2])
  assert.equal(plain.proxiesRefused[0], `${proxyHost}: it did not come in time`)
})

test('a proxy that leaves in the middle of its header, politely or not, leaves nothing behind', async (t) => {
  const { port, http, proxiesRefused } = await start(t)
  const { listener } = http.hapi
  const half = headerOf('203.0.113.7').subarray(0, 20)
  for (const leave of ['end', 'resetAndDestroy'] as const) {
    const accepted = once(listener, 'connection')
    const connection = fromProxy(t, port, half)
    const [socket] = (await accepted) as [Socket]
    await until('it is read', () => socket.bytesRead === half.length)
    connection.socket[leave]()
    await connection.end()
  }
  const open = () => new Promise<number>((resolve) => listener.getConnections((_error, count) => resolve(count)))
  await until('none is left', async () => (await open()) === 0)
  assert.deepEqual(proxiesRefused, [])
})

test('a stop waits for no header, and for nobody that has said nothing behind one', async (t) => {
  const { port, http } = await start(t)
  const header = headerOf('203.0.113.7')
  const waiting = [fromProxy(t, port), fromProxy(t, port, header.subarray(0, 20)), fromProxy(t, port, header)]
  const answered = fromProxy(t, port, Buffer.concat([header, Buffer.from('GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n')]))
  await answered.until('\r\n\r\n')
  // Far longer than a test may take.
  await http.close(3_600_000)
  await Promise.all([...waiting, answered].map((connection) => connection.end()))
})
