/**
 * Programs that were written for the Go service of the same name: its configuration starts this server, its calls get the
 * answers that it gives, and its streams the same bytes, but for what docs/protocol.md lists as different.
 */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { API_TOKEN, METRICS_TOKEN, ServerProcess } from '../support/server-process.ts'

const CONFIG = fileURLToPath(new URL('original', import.meta.url))
const STATIC_TOKEN = 'a-token-of-the-static-topic-0001'
const ID = '[0-9A-Za-z]{11}'
/** Only a failure takes so long. */
const WAIT_MS = 30_000

/** Where it is started, as its container has it: `_config` and `_storage` beside each other, the store in the latter. */
const folder = mkdtempSync(join(tmpdir(), 'sser-original-'))
let server: ServerProcess
before(async () => {
  cpSync(CONFIG, join(folder, '_config'), { recursive: true })
  mkdirSync(join(folder, '_config/certs'))
  mkdirSync(join(folder, '_storage'))
  writeFileSync(join(folder, '_storage/sser.bbolt'), 'its store, which is not ours')
  server = await ServerProcess.start({
    wrapper: ['sh', '-c', `cd '${folder}' && exec "$@"`, 'sh'],
    env: {
      APP_ENV: 'production',
      SSER_CONFIG_DIR: '',
      SSER_STORAGE_DIR: '',
      SSER_SSL_ENABLED: 'false',
      SSER_PERSISTENT_STORE_ENABLED: 'true',
    },
  })
})
after(async () => {
  await server?.close()
  rmSync(folder, { recursive: true, force: true })
})

interface Answer {
  readonly status: number
  readonly type: string | null
  readonly body: string
  readonly headers: Headers
}

async function call(method: string, path: string, body?: string, token = API_TOKEN): Promise<Answer> {
  const response = await fetch(`${server.url}/api/v1${path}`, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body }),
  })
  const { status, headers } = response
  return { status, type: headers.get('content-type'), body: await response.text(), headers }
}

async function newTopic(body = '{}'): Promise<{ id: string; token: string }> {
  const { body: text } = await call('POST', '/pubsubs', body)
  return (JSON.parse(text) as { pubsub: { id: string; token: string } }).pubsub
}

/** A stream, read until it says something. */
class Stream {
  readonly response: Response
  text = ''
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>
  readonly #decoder = new TextDecoder()

  private constructor(response: Response) {
    assert(response.body !== null)
    this.response = response
    this.#reader = response.body.getReader()
  }

  static async open(path: string, headers: Record<string, string> = {}): Promise<Stream> {
    const signal = AbortSignal.timeout(WAIT_MS)
    return new Stream(await fetch(`${server.url}/api/v1${path}`, { headers, signal }))
  }

  async until(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const found = pattern.exec(this.text)
      if (found !== null) return found
      const { value, done } = await this.#reader.read()
      assert(!done, `the stream has ended without ${pattern}: ${JSON.stringify(this.text)}`)
      this.text += this.#decoder.decode(value, { stream: true })
    }
  }

  /** Resolves with all that came when the other side has ended. */
  async end(): Promise<string> {
    for (let step = await this.#reader.read(); !step.done; step = await this.#reader.read()) {
      this.text += this.#decoder.decode(step.value, { stream: true })
    }
    return this.text
  }

  close(): Promise<void> {
    return this.#reader.cancel()
  }
}

test('its folder starts this server, and what is not needed of its configuration is told once', () => {
  const notices = server.lines.filter((line) => /accepted but not needed/.test(line))
  assert.deepEqual(
    ['server.tcpKeepalive,', 'pubsub.maxDurationForSubscriberToReceive', 'kv.dsn', 'app', 'idgen'].map(
      (key) => notices.filter((line) => line.includes(key)).length,
    ),
    [1, 1, 1, 1, 1],
  )
})

interface CurlAnswer {
  readonly statusLine: string
  readonly type: string | undefined
  readonly body: string
}

/** The arguments as its README has them, behind `curl -i`. */
function curl(...documented: readonly string[]): CurlAnswer {
  const { stdout } = spawnSync('curl', ['-si', ...documented], { encoding: 'utf8' })
  const [head = '', ...rest] = stdout.split('\r\n\r\n')
  const [statusLine = ''] = head.split('\r\n')
  return { statusLine, type: /^content-type: (.*)$/im.exec(head)?.[1], body: rest.join('\r\n\r\n') }
}

test('its documented curl lines, one after the other', async () => {
  const bearer = ['-H', `Authorization: Bearer ${API_TOKEN}`]
  const json = ['-H', 'Content-Type: application/json', '-X', 'POST', '-d']
  const base = `${server.url}/api/v1/pubsubs`

  const created = curl(...bearer, ...json, '{}', base)
  assert.deepEqual([created.statusLine, created.type], ['HTTP/1.1 201 Created', 'application/json'])
  const inMemory = curl(...bearer, ...json, '{\n  "pubsub": {"persist": false}\n}', base)
  const kept = curl(...bearer, ...json, '{\n  "pubsub": {"persist": true}\n}', base)
  for (const { body } of [created, inMemory, kept]) {
    assert.match(body, new RegExp(`^\\{"pubsub":\\{"id":"${ID}","token":"[0-9A-Za-z]{64}"\\}\\}$`))
  }

  const { pubsub } = JSON.parse(created.body) as { pubsub: { id: string; token: string } }
  const events = `${base}/${pubsub.id}/events`
  const reader = spawn('curl', ['-sNi', '-H', `Authorization: Bearer ${pubsub.token}`, '-X', 'GET', events])
  let seen = ''
  reader.stdout.setEncoding('utf8').on('data', (text: string) => {
    seen += text
  })
  const saw = async (pattern: RegExp) => {
    const endsAt = performance.now() + WAIT_MS
    while (!pattern.test(seen)) {
      assert(performance.now() < endsAt && reader.exitCode === null, `${pattern} never came: ${JSON.stringify(seen)}`)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
  await saw(/\nid: /)
  assert.match(seen, /^HTTP\/1\.1 200 OK\r\n/)
  assert.match(seen, /^content-type: text\/event-stream\r$/im)

  const event = `{
           "event": {
             "id": "order-update-456",
             "type": "ORDER_SHIPPED",
             "message": {
               "order_id": 9001,
               "status": "shipped"
             }
           }
         }`
  const published = curl(...bearer, ...json, event, events)
  assert.deepEqual([published.statusLine, published.type], ['HTTP/1.1 201 Created', 'application/json'])
  assert.match(published.body, new RegExp(`^\\{"event":\\{"id":"${ID}"\\}\\}$`))
  await saw(/\nid: order-update-456\nevent: ORDER_SHIPPED\ndata: \{"order_id":9001,"status":"shipped"\}\n\n/)

  const deleted = curl(...bearer, '-X', 'DELETE', `${base}/${pubsub.id}`)
  assert.deepEqual([deleted.statusLine, deleted.body], ['HTTP/1.1 204 No Content', ''])
  await new Promise((resolve) => (reader.exitCode === null ? reader.once('exit', resolve) : resolve(undefined)))
  assert.match(seen, /\ndata: \{"status": "closed"\}\n\n$/)
})

test('POST /pubsubs: 201 with the id and the token', async () => {
  for (const body of ['{}', '{"pubsub":{}}', '{"pubsub":{"persist":true}}']) {
    const answer = await call('POST', '/pubsubs', body)
    assert.deepEqual([answer.status, answer.type], [201, 'application/json'])
    assert.match(answer.body, new RegExp(`^\\{"pubsub":\\{"id":"${ID}","token":"[0-9A-Za-z]{64}"\\}\\}$`))
  }
})

test('DELETE /pubsubs/:id: 204 and empty, also for one that is not there; 400 for a static topic', async () => {
  const { id } = await newTopic()
  for (const path of [`/pubsubs/${id}`, `/pubsubs/${id}`, '/pubsubs/00000zzzzzz']) {
    const { status, body } = await call('DELETE', path)
    assert.deepEqual([status, body], [204, ''])
  }
  assert.equal((await call('DELETE', '/pubsubs/C')).status, 400)
})

test('POST /pubsubs/:id/events: 201 with the server’s id; 404 for an unknown topic', async () => {
  const { id } = await newTopic()
  for (const event of [
    '{"message":"x"}',
    '{"id":"mine","type":"t","message":"x"}',
    '{"id":"","type":"","message":"x"}',
  ]) {
    const answer = await call('POST', `/pubsubs/${id}/events`, `{"event":${event}}`)
    assert.deepEqual([answer.status, answer.type], [201, 'application/json'])
    assert.match(answer.body, new RegExp(`^\\{"event":\\{"id":"${ID}"\\}\\}$`))
  }
  assert.equal((await call('POST', '/pubsubs/00000zzzzzz/events', '{"event":{"message":"x"}}')).status, 404)
})

test('errors have one shape, and a wrong token is a 401', async () => {
  const { id } = await newTopic()
  for (const [method, path, body, status] of [
    ['POST', '/pubsubs', '{}', 401],
    ['DELETE', `/pubsubs/${id}`, undefined, 401],
    ['POST', `/pubsubs/${id}/events`, '{"event":{"message":"x"}}', 401],
    ['GET', `/pubsubs/${id}/events`, undefined, 401],
    ['GET', '/metrics', undefined, 401],
    ['GET', '/pubsubs/00000zzzzzz/events', undefined, 404],
  ] as const) {
    const answer = await call(method, path, body, 'a-token-that-opens-nothing')
    assert.deepEqual([answer.status, answer.type], [status, 'application/json'], path)
    const { error } = JSON.parse(answer.body) as { error: { code: number; message: string } }
    assert.equal(error.code, status)
    assert.equal(typeof error.message, 'string')
    assert.ok(!answer.body.includes('a-token-that-opens-nothing'))
  }
})

test('a stream: id, event, data and an empty line; strings bare, all else as JSON; the end when the topic is deleted', async () => {
  const { id, token } = await newTopic()
  const streams = [
    await Stream.open(`/pubsubs/${id}/events`, { authorization: `Bearer ${token}` }),
    await Stream.open(`/pubsubs/${id}/events?access_token=${token}`),
    await Stream.open(`/pubsubs/${id}/events`, { authorization: `Bearer ${API_TOKEN}` }),
  ]
  for (const stream of streams) {
    assert.equal(stream.response.status, 200)
    assert.equal(stream.response.headers.get('content-type'), 'text/event-stream')
    await stream.until(/^id: /m)
  }
  await call('POST', `/pubsubs/${id}/events`, '{"event":{"id":"7","type":"note","message":"Hello"}}')
  await call('POST', `/pubsubs/${id}/events`, '{"event":{"message":{"a": [1, "b"]}}}')
  for (const stream of streams) {
    await stream.until(/(?:^|\n)id: 7\nevent: note\ndata: Hello\n\n/)
    await stream.until(/\ndata: \{"a":\[1,"b"\]\}\n\n/)
  }
  await call('DELETE', `/pubsubs/${id}`)
  for (const stream of streams) assert.match(await stream.end(), /\ndata: \{"status": "closed"\}\n\n$/)
})

test('a static topic is there under its number as an id, in any length, with its token', async () => {
  for (const id of ['C', '0000000000C']) {
    const stream = await Stream.open(`/pubsubs/${id}/events?access_token=${STATIC_TOKEN}`)
    await stream.until(/^id: /m)
    await call('POST', '/pubsubs/C/events', '{"event":{"message":"news"}}')
    await stream.until(/data: news\n\n/)
    await stream.close()
  }
})

test('silence is broken by the comment, every tickFrequency', async () => {
  const { id, token } = await newTopic()
  const stream = await Stream.open(`/pubsubs/${id}/events?access_token=${token}`)
  await stream.until(/: \{"status": "tick"\}\n\n/)
  await stream.close()
})

test('OPTIONS: 200 on every path under /api/v1', async () => {
  for (const path of ['/pubsubs', '/pubsubs/1', '/pubsubs/1/events', '/metrics', '/what-there-is-not']) {
    const { status } = await fetch(`${server.url}/api/v1${path}`, { method: 'OPTIONS' })
    assert.equal(status, 200, path)
  }
})

test('OPTIONS: 200 with the CORS headers; a stream allows the request’s origin, or any', async () => {
  const { id, token } = await newTopic()
  const preflight = await fetch(`${server.url}/api/v1/pubsubs/${id}/events`, {
    method: 'OPTIONS',
    headers: { origin: 'https://app.example.org', 'access-control-request-method': 'GET' },
  })
  assert.equal(preflight.status, 200)
  assert.equal(preflight.headers.get('access-control-allow-origin'), 'https://app.example.org')
  for (const name of ['authorization', 'content-type', 'last-event-id', 'idempotency-key']) {
    assert.ok(preflight.headers.get('access-control-allow-headers')?.includes(name), name)
  }
  const path = `/pubsubs/${id}/events?access_token=${token}`
  const withOrigin = await Stream.open(path, { origin: 'https://app.example.org' })
  const without = await Stream.open(path)
  assert.equal(withOrigin.response.headers.get('access-control-allow-origin'), 'https://app.example.org')
  assert.equal(withOrigin.response.headers.get('access-control-allow-credentials'), null)
  assert.equal(without.response.headers.get('access-control-allow-origin'), '*')
  await Promise.all([withOrigin.close(), without.close()])
})

test('GET /metrics: seven figures in their order; each change is an event of topic 0, and topic 0 counts in none', async () => {
  const figures = async (): Promise<Map<string, number>> => {
    const answer = await call('GET', '/metrics', undefined, METRICS_TOKEN)
    assert.deepEqual([answer.status, answer.type], [200, 'application/json'])
    const { metrics } = JSON.parse(answer.body) as { metrics: { name: string; value: number }[] }
    return new Map(metrics.map(({ name, value }) => [name, value]))
  }
  const before = await figures()
  assert.deepEqual(
    [...before.keys()],
    [
      'topics',
      'static_topics',
      'active_topics',
      'subscribers',
      'active_subscribers',
      'message_received',
      'message_sent',
    ],
  )
  assert.equal(before.get('static_topics'), 2, 'topic 0 and the one of the configuration')
  const stream = await Stream.open(`/pubsubs/0/events?access_token=${METRICS_TOKEN}`)
  // With it all changes so far are told: those of one moment become one.
  await stream.until(/"metric": "subscribers"\}\n\n/)
  const { id } = await newTopic()
  await stream.until(/data: \{"val": 1, "metric": "topics"\}\n\n/)
  await call('POST', `/pubsubs/${id}/events`, '{"event":{"message":"x"}}')
  await stream.until(/data: \{"val": 1, "metric": "message_received"\}\n\n/)
  await call('DELETE', `/pubsubs/${id}`)
  await stream.until(/data: \{"val": -1, "metric": "active_topics"\}\n\n/)
  const after = await figures()
  const grown = (name: string) => (after.get(name) ?? 0) - (before.get(name) ?? 0)
  assert.deepEqual(
    ['topics', 'active_topics', 'message_received', 'message_sent'].map(grown),
    [1, 0, 1, 0],
    'events of topic 0 count neither as received nor as sent',
  )
  await stream.close()
})
