/** Publishing as a stream of lines: what is kept, what is answered, and how it ends. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { PassThrough, Writable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { formatEventId } from '../../src/domain/event-id.ts'
import type { Hub } from '../../src/domain/hub.ts'
import { BodyPieces } from '../../src/http/body-pieces.ts'
import { CumulativeAnswer } from '../../src/http/cumulative-answer.ts'
import { LineSplitter } from '../../src/http/line-splitter.ts'
import { StorageError } from '../../storage-engine/index.ts'
import { API_TOKEN, dechunk, errorOf, type Fixture, type RawConnection, startFixture } from './fixture.ts'

const LINES = 'application/x-ndjson'

interface Progress {
  readonly lines: number
  readonly last_id: string | null
  readonly error?: { readonly code: number; readonly message: string; readonly details?: Record<string, unknown> }
}

function progressOf(text: string): readonly Progress[] {
  assert(text.endsWith('\n'), text)
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Progress)
}

function lastOf(text: string): Progress {
  const progress = progressOf(text)
  assert.deepEqual(
    progress.map(({ lines }) => lines),
    progress.map(({ lines }) => lines).toSorted((a, b) => a - b),
    'the answer is cumulative',
  )
  for (const { error } of progress.slice(0, -1)) assert.equal(error, undefined)
  return progress.at(-1) as Progress
}

function send({ api }: Fixture, id: string, body: string, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${api}/pubsubs/${id}/events`, {
    method: 'POST',
    body,
    headers: { authorization: `Bearer ${API_TOKEN}`, 'content-type': LINES, ...headers },
  })
}

/** A request whose body is sent by and by. */
class Sender {
  readonly connection: RawConnection

  constructor({ raw }: Fixture, id: string, token = API_TOKEN) {
    this.connection = raw(
      `POST /api/v1/pubsubs/${id}/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${token}\r\n` +
        `content-type: ${LINES}\r\ntransfer-encoding: chunked\r\n\r\n`,
    )
  }

  send(text: string): void {
    this.connection.socket.write(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`)
  }

  finish(): void {
    this.connection.socket.write('0\r\n\r\n')
  }

  /** The answer's last line, once the answer is whole. */
  async last(): Promise<Progress> {
    const { body, isWhole } = dechunk(await this.connection.until('\r\n0\r\n\r\n'))
    assert(isWhole)
    return lastOf(body)
  }
}

async function messagesOf(hub: Hub, id: string): Promise<readonly unknown[]> {
  const topic = hub.topic(id)
  assert(topic !== undefined)
  const messages: unknown[] = []
  for await (const items of hub.historyForward(topic, { after: 0, live: false, gap: undefined })) {
    for (const item of items) if ('json' in item) messages.push(JSON.parse(item.json).message)
  }
  return messages
}

async function started(t: TestContext, http = {}, persist = true): Promise<{ fixture: Fixture; id: string }> {
  const fixture = await startFixture(t, { http })
  return { fixture, id: (await fixture.createTopic(persist)).id }
}

test('each line is an event, answered as it becomes durable and while others still come', async (t) => {
  for (const persist of [true, false]) {
    const { fixture, id } = await started(t, {}, persist)
    const sender = new Sender(fixture, id)
    sender.send('{"message":"one"}\n{"message":{"n": 1.0},"id":"mine","type":"t"}')
    const first = await sender.connection.until('"lines":1')
    assert.match(first, /^HTTP\/1\.1 200 OK\r\n/)
    assert.match(first, /\r\ncontent-type: application\/x-ndjson\r\n/i)
    assert.match(first, /\r\naccess-control-allow-origin: \*\r\n/i)
    sender.send('\r\n \n{"message":null}')
    await sender.connection.until('"lines":3')
    sender.finish()
    const { lines, last_id, error } = await sender.last()
    assert.deepEqual([lines, error], [4, undefined])
    assert.deepEqual(await messagesOf(fixture.hub, id), ['one', { n: 1 }, null])
    const { latest } = await fixture.hub.topicDetails(fixture.hub.topic(id)!)
    assert.equal(last_id, formatEventId(latest!.number))
    // The connection goes on.
    sender.connection.socket.write(
      `POST /api/v1/pubsubs/${id}/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${API_TOKEN}\r\n` +
        `content-type: ${LINES}\r\ncontent-length: 13\r\n\r\n{"message":5}`,
    )
    await sender.connection.until('"lines":1', 2)
  }
})

test('a body far beyond the bound of a request is taken, sent whole before anything is read', async (t) => {
  const { fixture, id } = await started(t)
  const count = 10_000
  const body = Array.from({ length: count }, (_, n) => `{"message":${n}}\n`).join('')
  const response = await send(fixture, id, body)
  assert.equal(response.status, 200)
  assert.equal(lastOf(await response.text()).lines, count)
  const messages = await messagesOf(fixture.hub, id)
  assert.equal(messages.length, count)
  for (const [n, message] of messages.entries()) assert.equal(message, n)
})

test('a client that never reads is served to the end', async (t) => {
  const { fixture, id } = await started(t)
  const sender = new Sender(fixture, id)
  sender.connection.socket.pause()
  for (let n = 0; n < 2000; n += 1) {
    sender.send(`{"message":${n}}\n`)
    if (n % 100 === 0) await nextTurn()
  }
  sender.finish()
  while ((await fixture.hub.topicDetails(fixture.hub.topic(id)!)).events < 2000) await nextTurn()
  sender.connection.socket.resume()
  assert.equal((await sender.last()).lines, 2000)
})

test('nothing, or blank lines alone, is no mistake', async (t) => {
  const { fixture, id } = await started(t)
  for (const [body, lines] of [
    ['', 0],
    ['\n\r\n \t\n', 3],
  ] as const) {
    const response = await send(fixture, id, body)
    assert.equal(response.status, 200)
    assert.deepEqual(progressOf(await response.text()), [{ lines, last_id: null }])
  }
})

test('a bad line is told by its number, and ends the request with what was kept before it', async (t) => {
  const { fixture, id } = await started(t)
  const secret = 'never-quoted-7531'
  const long = 'x'.repeat(5000)
  const cases: readonly (readonly [line: string, code: number, details: Record<string, unknown>])[] = [
    [secret, 400, { line: 4, column: 1 }],
    [`{"message":"${secret}"},`, 400, { line: 4, column: 32 }],
    ['7', 400, { line: 4 }],
    ['{"event":{"message":1}}', 400, { line: 4, path: 'message' }],
    ['{"message":1,"type":7}', 400, { line: 4, path: 'type' }],
    ['{"message":1,"id":"a\\nb"}', 400, { line: 4, path: 'id' }],
    ['{"message":1,"type":"sser.gap"}', 400, { line: 4, path: 'type' }],
    [`{"message":"${long}"}`, 413, { line: 4, max_bytes: 4096 }],
  ]
  let kept = 0
  for (const [line, code, details] of cases) {
    const response = await send(fixture, id, `{"message":1}\n\n{"message":2}\n${line}\n{"message":"never"}\n`)
    assert.equal(response.status, 200)
    const text = await response.text()
    assert(!text.includes(secret))
    const { lines, error } = lastOf(text)
    kept += 2
    assert.deepEqual([lines, error?.code, error?.details], [3, code, details], line)
    assert.match(error?.message ?? '', /^Line 4\b/)
    assert.equal((await messagesOf(fixture.hub, id)).length, kept)
  }
})

test('where nothing was kept, what is wrong is an ordinary answer', async (t) => {
  const { fixture, id } = await started(t)
  const bad = await send(fixture, id, '\n{"message":}\n{"message":1}\n')
  assert.deepEqual((await errorOf(bad)).details, { line: 2, column: 12 })
  const invalid = await fetch(`${fixture.api}/pubsubs/${id}/events`, {
    method: 'POST',
    body: Buffer.from([0x22, 0xff, 0x22, 0x0a]),
    headers: { authorization: `Bearer ${API_TOKEN}`, 'content-type': LINES },
  })
  assert.deepEqual((await errorOf(invalid)).details, { line: 1 })
  assert.equal((await errorOf(await send(fixture, '00Q72zvO87K', '{"message":1}'))).code, 404)
  assert.equal((await errorOf(await send(fixture, id, '{}', { authorization: 'Bearer wrong' }))).code, 401)
  for (const headers of [{ 'content-type': `${LINES}; charset=utf-16` }, { 'content-encoding': 'gzip' }]) {
    assert.equal((await errorOf(await send(fixture, id, '{"message":1}', headers))).code, 415)
  }
  assert.equal((await send(fixture, id, '{"message":1}', { 'content-type': `${LINES}; charset=UTF-8` })).status, 200)
})

test('a mistake in the middle of a body ends the connection, however much still comes', async (t) => {
  const { fixture, id } = await started(t)
  for (const [first, answered] of [
    ['{"message":1}\nnonsense\n', '"code":400'],
    ['nonsense\n', '"code":400'],
    [`{"message":1}\n"${'x'.repeat(5000)}`, '"code":413'],
  ] as const) {
    const sender = new Sender(fixture, id)
    sender.send(first)
    for (let n = 0; n < 64; n += 1) sender.send('{"message":"never"}\n')
    await sender.connection.until(answered)
    sender.connection.socket.end()
    await sender.connection.end()
  }
  assert.deepEqual(await messagesOf(fixture.hub, id), [1, 1])
})

test('a client that stalls gets a 408, behind what is kept or as its status', async (t) => {
  const { fixture, id } = await started(t, { readTimeoutMs: 150 })
  const talking = new Sender(fixture, id)
  talking.send('{"message":1}\n{"mess')
  const { lines, error } = await talking.last()
  assert.deepEqual([lines, error?.code], [1, 408])
  await talking.connection.end()
  const silent = new Sender(fixture, id)
  assert.match(await silent.connection.end(), /^HTTP\/1\.1 408 [\s\S]*"code":408/)
})

test('of a client that leaves, the lines that were whole are kept', async (t) => {
  const { fixture, id } = await started(t)
  const sender = new Sender(fixture, id)
  sender.send('{"message":1}\n')
  await sender.connection.until('"lines":1')
  sender.send('{"message":2}\n{"message":"half"}')
  while ((await messagesOf(fixture.hub, id)).length < 2) await nextTurn()
  sender.connection.socket.resetAndDestroy()
  await fixture.service.idle()
  assert.deepEqual(await messagesOf(fixture.hub, id), [1, 2])
})

test('a token counts for each line: revoked or expired meanwhile it ends the request', async (t) => {
  const { fixture, id } = await started(t)
  const topic = fixture.hub.topic(id)!
  const request = { rights: ['publish'] as const, label: undefined, expiresAtMs: Date.now() + 3_600_000 }
  const { token, secret } = await fixture.hub.issueToken(topic, request)
  const sender = new Sender(fixture, id, secret)
  sender.send('{"message":1}\n')
  await sender.connection.until('"lines":1')
  await fixture.hub.revokeToken(topic, token.number)
  sender.send('{"message":2}\n')
  const { lines, error } = await sender.last()
  assert.deepEqual([lines, error?.code], [1, 401])

  const second = await fixture.hub.issueToken(topic, request)
  const late = new Sender(fixture, id, second.secret)
  late.send('{"message":1}\n')
  await late.connection.until('"lines":1')
  const now = Date.now()
  t.mock.method(Date, 'now', () => now + 3_600_001)
  late.send('{"message":2}\n')
  assert.equal((await late.last()).error?.code, 401)
  t.mock.restoreAll()
  assert.deepEqual(await messagesOf(fixture.hub, id), [1, 1])
})

test('a topic that is deleted meanwhile ends the request with a 404', async (t) => {
  const { fixture, id } = await started(t)
  const sender = new Sender(fixture, id)
  sender.send('{"message":1}\n')
  await sender.connection.until('"lines":1')
  await fixture.hub.deleteTopic(id)
  sender.send('{"message":2}\n')
  const { lines, error } = await sender.last()
  assert.deepEqual([lines, error?.code], [1, 404])
})

test('a stop in the middle keeps what has come, says so, and does not wait for more', async (t) => {
  const { fixture, id } = await started(t)
  const talking = new Sender(fixture, id)
  const silent = new Sender(fixture, id)
  talking.send('{"message":1}\n')
  await talking.connection.until('"lines":1')
  while (fixture.service.inFlight < 2) await nextTurn()
  fixture.service.stop()
  const { lines, error } = await talking.last()
  assert.deepEqual([lines, error?.code, error?.details], [1, 503, { status: 'stopping' }])
  assert.match(await silent.connection.until('"code":503'), /^HTTP\/1\.1 503 /)
  await fixture.service.idle()
})

test('a store without room ends the request; one with too much to do is waited for', async (t) => {
  const { fixture, id } = await started(t)
  const sender = new Sender(fixture, id)
  sender.send('{"message":1}\n')
  await sender.connection.until('"lines":1')
  const append = t.mock.method(fixture.logs.durable, 'appendAll', () =>
    Promise.reject(new StorageError('STORAGE_BUSY', 'not now')),
  )
  sender.send('{"message":2}\n')
  while (append.mock.callCount() < 2) await delay(5)
  append.mock.restore()
  await sender.connection.until('"lines":2')
  const full = new StorageError('STORAGE_FULL', 'full')
  t.mock.method(fixture.logs.durable, 'appendAll', () => Promise.reject(full), { times: 1 })
  sender.send('{"message":3}\n')
  const { lines, error } = await sender.last()
  assert.deepEqual([lines, error?.code], [2, 507])
  assert.deepEqual(await messagesOf(fixture.hub, id), [1, 2])
})

test('such a request may take longer than others', async (t) => {
  const { fixture, id } = await started(t)
  const listener = fixture.http.hapi.listener as Server
  const connected = once(listener, 'connection')
  const sender = new Sender(fixture, id)
  const [socket] = (await connected) as [Socket]
  sender.send('{"message":1}\n')
  await sender.connection.until('"lines":1')
  // What node says of a request that has taken too long.
  listener.emit(
    'clientError',
    Object.assign(new Error('Request timeout'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' }),
    socket,
  )
  sender.send('{"message":2}\n')
  await sender.connection.until('"lines":2')
  sender.finish()
  assert.equal((await sender.last()).error, undefined)
})

test('a client that asks first is told to go on, whatever length it announces', async (t) => {
  const { fixture, id } = await started(t)
  const body = '{"message":1}\n'.repeat(1000)
  const connection = fixture.raw(
    `POST /api/v1/pubsubs/${id}/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${API_TOKEN}\r\n` +
      `content-type: ${LINES}\r\ncontent-length: ${body.length}\r\nexpect: 100-continue\r\n\r\n`,
  )
  await connection.until('100 Continue\r\n\r\n')
  connection.socket.write(body)
  await connection.until('"lines":1000')
})

test('at most one line waits while the client does not read: the newest', () => {
  const written: string[] = []
  let taken = (): void => undefined
  const response = {
    headersSent: false,
    destroyed: false,
    writableEnded: false,
    write(line: string, _encoding: string, callback: () => void) {
      written.push(line)
      taken = callback
    },
  }
  let begun = 0
  const answer = new CumulativeAnswer(response as unknown as ServerResponse, () => {
    begun += 1
    response.headersSent = true
  })
  for (let n = 1; n <= 1000; n += 1) answer.tell(String(n))
  assert.deepEqual(written, ['1'])
  taken()
  assert.deepEqual(written, ['1', '1000'])
  taken()
  answer.tell('1001')
  response.destroyed = true
  answer.tell('1002')
  taken()
  assert.deepEqual([written, begun], [['1', '1000', '1001'], 1])
})

test('a client that does not take the end is cut off in time, and no line that waited comes behind it', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const response = Object.assign(new Writable({ write: () => undefined }), { headersSent: false })
  const answer = new CumulativeAnswer(response as unknown as ServerResponse, () => {
    response.headersSent = true
  })
  answer.tell('1')
  answer.tell('2')
  answer.end('end', 1000)
  assert.equal(response.writableLength, '1end'.length)
  t.mock.timers.tick(999)
  assert.equal(response.destroyed, false)
  t.mock.timers.tick(1)
  assert.equal(response.destroyed, true)
})

test('silence is measured while a piece is waited for, and each piece begins it anew', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const body = new PassThrough()
  const pieces = new BodyPieces(body as unknown as IncomingMessage, 100)
  t.mock.timers.tick(1000)
  for (let n = 0; n < 5; n += 1) {
    const next = pieces.next()
    await nextTurn()
    t.mock.timers.tick(99)
    body.write('x')
    assert.equal(String(await next), 'x')
  }
  const last = pieces.next()
  await nextTurn()
  t.mock.timers.tick(100)
  await assert.rejects(last, /stalled/)
  pieces.close()
})

test('however a text is cut into pieces, its lines are the same, and one that is too long is noticed', () => {
  const texts = ['a\n\nbc\n', '\n', 'abc', 'a\r\nb', 'abcd\nabcd\nx', 'abcde\n', 'a\nabcdef']
  for (const text of texts) {
    const whole = text.split('\n')
    const isTooLong = whole.some((line) => line.length > 4)
    for (let size = 1; size <= text.length; size += 1) {
      const splitter = new LineSplitter(4)
      const lines: string[] = []
      let fits = true
      for (let at = 0; at < text.length && fits; at += size) {
        fits = splitter.push(Buffer.from(text.slice(at, at + size)), (line) => lines.push(String(line)))
      }
      assert.equal(fits, !isTooLong, text)
      const rest = fits ? splitter.rest() : undefined
      if (rest !== undefined) lines.push(String(rest))
      const expected = whole.at(-1) === '' ? whole.slice(0, -1) : whole
      if (fits) assert.deepEqual(lines, expected)
      else
        assert.deepEqual(
          lines,
          expected.slice(
            0,
            expected.findIndex((line) => line.length > 4),
          ),
        )
    }
  }
})
