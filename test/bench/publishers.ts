/**
 * Publishers over bare connections that are kept alive. Closed loop: each connection sends its next event when
 * the last one is answered. Open loop: events leave at fixed times, whatever the answers do, and bear the time at which
 * they should have left, so that a server that stalls cannot hide it.
 */
import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { endStream, frame, type Piece } from '../support/http2-frames.ts'
import { Http2Connection, openConnection, type Transport } from './transport.ts'
import { batchRequest, messageOf, nowUs, type Percentiles, percentiles, publishRequest } from './wire.ts'

export interface PublishOptions {
  readonly port: number
  /** Without it: HTTP/1.1, not over TLS. */
  readonly transport?: Transport
  readonly token: string
  readonly topicIds: readonly string[]
  readonly connections: number
  readonly messageBytes: number
  readonly durationMs: number
  /** Whether answers differ in their length, so that each has to be measured; those of one publish, as a rule, do not. */
  readonly answersVary?: boolean
}

export interface LoopOptions extends PublishOptions {
  /** Answers before that do not count into the rate. */
  readonly warmUpMs: number
  /** So many in one request, as a list; without it each event is a request. */
  readonly eventsPerRequest?: number
}

export interface LoopResult {
  /** Requests answered with 201 or 202, per second, after the warm-up. */
  readonly perSecond: number
  /** How long a publisher waited for its answer, in ms. */
  readonly waitMs: Percentiles
  /** Requests answered so, the warm-up included, by topic. */
  readonly acknowledged: readonly number[]
  /** Any other answer, and connections that broke. */
  readonly failed: number
}

/** How 201 and 202 begin, and nothing else that answers a publish. */
const OK = Buffer.from('HTTP/1.1 20')
const EVENT = Buffer.from('{"event')
const WAITS_KEPT_MAX = 2_000_000

export async function publishInLoop(options: LoopOptions): Promise<LoopResult> {
  const { topicIds, messageBytes, eventsPerRequest } = options
  const message = messageOf(messageBytes, 0)
  const requests = topicIds.map((topicId) =>
    eventsPerRequest === undefined
      ? publishRequest(options, topicId, message)
      : batchRequest(options, topicId, message, eventsPerRequest),
  )
  const acknowledged = topicIds.map(() => 0)
  const waits = new Float64Array(WAITS_KEPT_MAX)
  const countsFromMs = performance.now() + options.warmUpMs
  const endsAtMs = countsFromMs + options.durationMs
  let counted = 0
  let failed = 0
  let nextTopic = 0
  let lastAnswerMs = countsFromMs

  async function publish(): Promise<void> {
    const connection = publisherOf(options)
    await connection.opened
    for (;;) {
      const topic = nextTopic
      nextTopic = (nextTopic + 1) % requests.length
      const sentAtMs = performance.now()
      if (sentAtMs >= endsAtMs) break
      const isAcknowledged = await connection.send(requests[topic] as Buffer)
      if (!isAcknowledged) {
        failed += 1
        if (connection.isOver) break
        continue
      }
      acknowledged[topic] = (acknowledged[topic] as number) + 1
      const answeredAtMs = performance.now()
      if (answeredAtMs < countsFromMs || answeredAtMs >= endsAtMs) continue
      if (counted < WAITS_KEPT_MAX) waits[counted] = answeredAtMs - sentAtMs
      counted += 1
      lastAnswerMs = answeredAtMs
    }
    connection.close()
  }

  await Promise.all(Array.from({ length: options.connections }, publish))
  const perSecond = counted / ((lastAnswerMs - countsFromMs) / 1000)
  return { perSecond, waitMs: percentiles(waits.subarray(0, Math.min(counted, WAITS_KEPT_MAX))), acknowledged, failed }
}

export interface RateOptions extends PublishOptions {
  readonly perSecond: number
}

/** Resolves with the number of events that were acknowledged. */
export async function publishAtRate(options: RateOptions): Promise<number> {
  const { topicIds, messageBytes, perSecond, durationMs } = options
  const connections = Array.from({ length: options.connections }, () => publisherOf(options))
  await Promise.all(connections.map(({ opened }) => opened))
  const idle = [...connections]
  const sends: Promise<boolean>[] = []
  const beginsAtUs = nowUs()
  const events = Math.floor((perSecond * durationMs) / 1000)
  for (let event = 0; event < events; event++) {
    const dueUs = beginsAtUs + Math.floor((event * 1e6) / perSecond)
    const leftMs = (dueUs - nowUs()) / 1000
    if (leftMs > 0) await delay(leftMs)
    const topicId = topicIds[event % topicIds.length] as string
    const connection = idle.pop()
    if (connection === undefined) throw new Error('More connections are needed: the server is slower than the rate.')
    // A timer may be late by a millisecond; that is the generator's, not the server's. Lateness beyond that counts.
    const sentAtUs = Math.min(nowUs(), dueUs + 2000)
    const sent = connection.send(publishRequest(options, topicId, messageOf(messageBytes, sentAtUs)))
    sends.push(sent)
    void sent.then(() => idle.push(connection))
  }
  const answers = await Promise.all(sends)
  for (const connection of connections) connection.close()
  return answers.filter((isAcknowledged) => isAcknowledged).length
}

/** One request at a time. */
interface Publisher {
  readonly opened: Promise<void>
  readonly isOver: boolean
  send(request: Buffer): Promise<boolean>
  close(): void
}

function publisherOf({ port, transport = 'plain', answersVary = false }: PublishOptions): Publisher {
  return transport === 'http2' ? new Http2Publisher(port) : new Http1Publisher(port, transport, answersVary)
}

/** Until there is a connection, and a handshake has come to its end where there is one. */
function opening(socket: Socket, transport: Transport): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once(transport === 'plain' ? 'connect' : 'secureConnect', resolve)
    socket.once('error', reject)
    socket.on('error', () => undefined)
  })
}

class Http1Publisher implements Publisher {
  readonly opened: Promise<void>
  isOver = false
  readonly #socket: Socket
  readonly #answersVary: boolean
  #answer: ((isAcknowledged: boolean) => void) | undefined
  /** Of an answer with 201, if that never changes: known from the first one. */
  #acknowledgedBytes = 0
  #receivedBytes = 0
  #isAcknowledged = false
  /** Of an answer whose length is not known yet: what has come of it. */
  #unmeasured = ''

  constructor(port: number, transport: Transport, answersVary: boolean) {
    this.#answersVary = answersVary
    this.#socket = openConnection(port, transport, (bytes, end) => this.#onRead(bytes, end))
    this.opened = opening(this.#socket, transport)
    this.#socket.once('close', () => {
      this.isOver = true
      this.#answer?.(false)
    })
  }

  send(request: Buffer): Promise<boolean> {
    return new Promise((resolve) => {
      this.#answer = resolve
      if (this.isOver) resolve(false)
      else this.#socket.write(request)
    })
  }

  close(): void {
    this.#socket.destroy()
  }

  #onRead(bytes: Buffer, end: number): void {
    if (this.#receivedBytes === 0 && this.#unmeasured === '') {
      this.#isAcknowledged = bytes.compare(OK, 0, OK.length, 0, OK.length) === 0
    }
    if (!this.#isAcknowledged || this.#acknowledgedBytes === 0) {
      this.#measure(bytes.toString('latin1', 0, end))
      return
    }
    this.#receivedBytes += end
    if (this.#receivedBytes >= this.#acknowledgedBytes) this.#settle()
  }

  /** The head of an answer comes in one piece; the first of its kind tells the length. */
  #measure(piece: string): void {
    const text = this.#unmeasured + piece
    const head = text.indexOf('\r\n\r\n')
    const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 'none')
    if (head === -1 || !(text.length <= head + 4 + length)) throw new Error(`An answer that cannot be counted: ${text}`)
    this.#unmeasured = text
    if (text.length < head + 4 + length) return
    this.#unmeasured = ''
    if (this.#isAcknowledged && !this.#answersVary) this.#acknowledgedBytes = text.length
    this.#settle()
  }

  #settle(): void {
    this.#receivedBytes = 0
    const answer = this.#answer
    this.#answer = undefined
    answer?.(this.#isAcknowledged)
  }
}

/** Heads are not unpacked: what is no acknowledgement is seen by its content. */
class Http2Publisher implements Publisher {
  readonly opened: Promise<void>
  isOver = false
  readonly #connection: Http2Connection
  #answer: ((isAcknowledged: boolean) => void) | undefined
  #isAcknowledged = false

  constructor(port: number) {
    this.#connection = new Http2Connection(port, (...piece) => this.#onPiece(...piece))
    const { socket } = this.#connection
    this.opened = opening(socket, 'http2')
    socket.once('close', () => {
      this.isOver = true
      this.#answer?.(false)
    })
  }

  send(request: Buffer): Promise<boolean> {
    return new Promise((resolve) => {
      this.#answer = resolve
      this.#isAcknowledged = false
      if (this.isOver) resolve(false)
      else this.#connection.request(request)
    })
  }

  close(): void {
    this.#connection.socket.destroy()
  }

  #onPiece({ type, flags, isLast }: Piece, bytes: Buffer, begin: number, end: number): void {
    if (type !== frame.data) return
    if (begin + EVENT.length <= end && bytes.compare(EVENT, 0, EVENT.length, begin, begin + EVENT.length) === 0)
      this.#isAcknowledged = true
    if (!isLast || (flags & endStream) === 0) return
    const answer = this.#answer
    this.#answer = undefined
    answer?.(this.#isAcknowledged)
  }
}
