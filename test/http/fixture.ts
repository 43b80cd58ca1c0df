/**
 * A whole HTTP server over a real hub, for tests: on a port of its own, with logs in memory. Offers what the tests ask
 * again and again (make a topic, publish, a request as raw bytes, a stream read until it says something), and ends all of
 * it. Knows nothing of what is tested.
 */
import assert from 'node:assert/strict'
import { connect, type Socket } from 'node:net'
import type { TestContext } from 'node:test'
import { Hub, type HubOptions } from '../../src/domain/hub.ts'
import { silentHubObserver, systemClock } from '../../src/domain/ports.ts'
import { unlimited } from '../../src/domain/retention.ts'
import { hashToken } from '../../src/domain/token.ts'
import { type FailedRequest, silentHttpObserver } from '../../src/http/errors.ts'
import { type HttpOptions, type HttpServer, startHttpServer } from '../../src/http/http-server.ts'
import { Service } from '../../src/http/service.ts'
import { mistakeIn, watchAnswers } from './described-answers.ts'
import { type OpenedLogs, openTestLogs } from './test-logs.ts'

export const API_TOKEN = 'test-api-token-0123456789'
export const METRICS_TOKEN = 'test-metrics-token-0123456789'
/** Only a failure takes so long. */
const WAIT_MS = 60_000

const hubDefaults: HubOptions = {
  recentFramesBytesMax: 1 << 20,
  topicsMax: 1000,
  subscribersMax: 1000,
  streamsPerTopicMax: Number.POSITIVE_INFINITY,
  tokensPerTopicMax: 100,
  idempotencyWindowMs: 120_000,
  idempotencyKeysMax: 1000,
  ticketsMax: 1000,
  ticketLifetimeMs: 120_000,
  defaultRetention: unlimited,
  // So long that none comes between what a test compares, however slow the machine is.
  heartbeatMs: 300_000,
  streamAgeMsMax: 3_600_000,
  writeTimeoutMs: 60_000,
  retryMs: 2000,
  drainRetryMs: 5000,
}

const httpDefaults: HttpOptions = {
  host: '127.0.0.1',
  port: 0,
  apiTokens: [
    { sha256: hashToken(API_TOKEN), rights: ['topics', 'publish', 'subscribe', 'metrics'] },
    { sha256: hashToken(METRICS_TOKEN), rights: ['metrics'] },
  ],
  trustedProxies: [],
  proxyHeaderTimeoutMs: undefined,
  secure: undefined,
  strictTransportSeconds: 0,
  opensMetricsLocally: true,
  scrape: async () => ({ contentType: 'text/plain', text: 'scraped' }),
  idleTimeoutMs: 60_000,
  readTimeoutMs: 15_000,
  requestBodyBytesMax: 4096,
  connectionsMax: 1000,
  connectionsPerAddressMax: 1000,
  streamsPerTokenMax: undefined,
  eventsPerSecondPerTokenMax: undefined,
  credentialOrigins: ['https://trusted.example.org'],
  stoppingRetryMs: 3000,
  retryMs: 2000,
  sendBufferBytes: 65_536,
  idBytesMax: 64,
  typeBytesMax: 64,
  eventsPerRequestMax: 100,
  historyEventsMax: 50,
  topicsPerStreamMax: 5,
  writeTimeoutMs: 60_000,
  wrongTokensMax: 10,
  wrongTokenWaitMsMax: 60_000,
  throttledClientsMax: 100,
  logFigures: () => undefined,
  version: '1.2.3',
  latencies: () => ({ publish: null, delivery: null }),
  notices: () => [],
}

export interface FixtureOptions {
  readonly http?: Partial<HttpOptions>
  readonly hub?: Partial<HubOptions>
  /** False: the service stays in recovery. */
  readonly ready?: boolean
}

export interface Fixture {
  readonly service: Service
  readonly hub: Hub
  readonly http: HttpServer
  readonly logs: OpenedLogs
  readonly port: number
  /** http://127.0.0.1:PORT/api/v1 */
  readonly api: string
  readonly origin: string
  /** What went wrong inside; a test's end checks that nothing answered 500. */
  readonly failures: readonly FailedRequest[]
  /** Each time that a limit was reached, its setting. */
  readonly limitsReached: readonly string[]
  /** Each answer that was counted, such as `get 200`. */
  readonly answers: readonly string[]
  /** Each trusted proxy that was cut off, and why. */
  readonly proxiesRefused: readonly string[]
  createTopic(persist?: boolean): Promise<{ id: string; token: string }>
  publish(topicId: string, event: unknown): Promise<Response>
  /** Opens a connection and sends this. */
  raw(text: string | Uint8Array): RawConnection
  subscribe(path: string, headers?: Readonly<Record<string, string>>): RawConnection
}

/** Starts it; the test's end ends it. */
export async function startFixture(context: TestContext, options: FixtureOptions = {}): Promise<Fixture> {
  const failures: FailedRequest[] = []
  const limitsReached: string[] = []
  const answers: string[] = []
  const proxiesRefused: string[] = []
  const connections = new Set<RawConnection>()
  const service = new Service()
  const logs = await openTestLogs()
  const hub = await Hub.open(logs.durable, logs.memory, logs.sequencer, silentHubObserver, systemClock, {
    ...hubDefaults,
    ...options.hub,
  })
  const observer = {
    ...silentHttpObserver,
    answered: (method: string, _route: string, status: number) => answers.push(`${method} ${status}`),
    limitReached: (limit: string) => limitsReached.push(limit),
    proxyRefused: (proxy: string, reason: string) => proxiesRefused.push(`${proxy}: ${reason}`),
    requestFailed: (report: FailedRequest) => failures.push(report),
  }
  const http = await startHttpServer(service, observer, { ...httpDefaults, ...options.http })
  if (options.ready !== false) service.ready(hub)
  const undescribed = new Set<string>()
  watchAnswers(http.hapi.listener, (answered) => {
    const mistake = mistakeIn(answered)
    if (mistake !== undefined) undescribed.add(mistake)
  })
  const { port } = http.address
  const origin = `http://127.0.0.1:${port}`
  const api = `${origin}/api/v1`

  context.after(async () => {
    for (const connection of connections) connection.socket.destroy()
    await hub.close()
    await http.close(0)
    await logs.close()
    assert.deepEqual(
      failures.filter(({ status }) => status === 500),
      [],
      'nothing that a client sends may be answered 500',
    )
    assert.deepEqual([...undescribed], [], 'every answer is as the description of the API says')
  })

  function raw(text: string | Uint8Array): RawConnection {
    const connection = new RawConnection(connect(port, '127.0.0.1'))
    connections.add(connection)
    connection.socket.write(text)
    return connection
  }

  return {
    service,
    hub,
    http,
    logs,
    port,
    api,
    origin,
    failures,
    limitsReached,
    answers,
    proxiesRefused,
    raw,
    async createTopic(persist = false) {
      const { topic, token } = await hub.createTopic({ persist })
      return { id: topic.id, token }
    },
    publish: (topicId, event) => post(`${api}/pubsubs/${topicId}/events`, JSON.stringify({ event })),
    subscribe(path, headers = {}) {
      const all = { host: 'test', authorization: `Bearer ${API_TOKEN}`, ...headers }
      const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
      return raw(Buffer.from(`GET /api/v1/pubsubs/${path} HTTP/1.1\r\n${lines.join('')}\r\n`, 'utf8'))
    },
  }
}

export function post(url: string, body: string | Uint8Array, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(url, {
    method: 'POST',
    body,
    headers: { authorization: `Bearer ${API_TOKEN}`, 'content-type': 'application/json', ...headers },
  })
}

/** The parts of an error answer, after a check of its shape. */
export async function errorOf(response: Response): Promise<{ code: number; message: string; details?: unknown }> {
  assert.equal(response.headers.get('content-type'), 'application/json')
  const body = (await response.json()) as { error: { code: number; message: string; details?: unknown } }
  assert.deepEqual(Object.keys(body), ['error'])
  assert.equal(body.error.code, response.status)
  assert.equal(typeof body.error.message, 'string')
  const unexpected = Object.keys(body.error).filter((name) => !['code', 'message', 'details'].includes(name))
  assert.deepEqual(unexpected, [])
  return body.error
}

/** A connection on which bytes are sent and read as they are. */
export class RawConnection {
  readonly socket: Socket
  /** Everything that came, as latin1, so that a character is a byte. */
  received = ''
  isEnded = false
  #onChange: (() => void) | undefined

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk: Buffer) => {
      this.received += chunk.toString('latin1')
      this.#onChange?.()
    })
    const ended = () => {
      this.isEnded = true
      this.#onChange?.()
    }
    socket.on('close', ended)
    socket.on('error', ended)
  }

  /** Resolves with everything that came when it holds the text, `times` over. */
  until(text: string, times = 1): Promise<string> {
    const occurs = () => this.received.split(text).length > times
    return this.#wait(occurs, () => `${JSON.stringify(text)} has not come`)
  }

  /** Resolves with everything that came when the other side has ended. */
  end(): Promise<string> {
    return this.#wait(
      () => this.isEnded,
      () => 'the connection has not ended',
    )
  }

  #wait(isDone: () => boolean, complaint: () => string): Promise<string> {
    assert(this.#onChange === undefined, 'one at a time waits on a connection')
    return new Promise((resolve, reject) => {
      const settle = (error?: Error) => {
        clearTimeout(timer)
        this.#onChange = undefined
        if (error === undefined) resolve(this.received)
        else reject(error)
      }
      const fail = () => settle(new Error(`${complaint()}; what came: ${JSON.stringify(this.received.slice(-2000))}`))
      const timer = setTimeout(fail, WAIT_MS)
      this.#onChange = () => {
        if (isDone()) settle()
        else if (this.isEnded) fail()
      }
      this.#onChange()
    })
  }
}

/** The content of a chunked answer, and whether its end has come. */
export function dechunk(answer: string): { head: string; body: string; isWhole: boolean } {
  const split = answer.indexOf('\r\n\r\n')
  let rest = answer.slice(split + 4)
  let body = ''
  for (;;) {
    const lineEnd = rest.indexOf('\r\n')
    if (lineEnd === -1) return { head: answer.slice(0, split), body, isWhole: false }
    const size = Number.parseInt(rest.slice(0, lineEnd), 16)
    assert(Number.isInteger(size), `a chunk begins with its size, not ${JSON.stringify(rest.slice(0, 20))}`)
    if (size === 0) return { head: answer.slice(0, split), body, isWhole: true }
    body += rest.slice(lineEnd + 2, lineEnd + 2 + size)
    assert.equal(rest.slice(lineEnd + 2 + size, lineEnd + 4 + size), '\r\n', 'a chunk ends where its size says')
    rest = rest.slice(lineEnd + 4 + size)
  }
}
