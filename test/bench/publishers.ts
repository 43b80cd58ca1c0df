/**
 * Publishers over bare HTTP/1.1 connections that are kept alive. Closed loop: each connection sends its next event when
 * the last one is answered. Open loop: events leave at fixed times, whatever the answers do, and bear the time at which
 * they should have left, so that a server that stalls cannot hide it.
 */
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { batchRequest, messageOf, nowUs, type Percentiles, percentiles, publishRequest } from './wire.ts'

export interface PublishOptions {
  readonly port: number
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
const WAITS_KEPT_MAX = 2_000_000
const received = Buffer.allocUnsafeSlow(64 * 1024)

export async function publishInLoop(options: LoopOptions): Promise<LoopResult> {
  const { port, token, topicIds, messageBytes, eventsPerRequest } = options
  const message = messageOf(messageBytes, 0)
  const requests = topicIds.map((topicId) =>
    eventsPerRequest === undefined
      ? publishRequest(port, token, topicId, message)
      : batchRequest(port, token, topicId, message, eventsPerRequest),
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
    const connection = new Connection(port, options.answersVary)
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
  const { port, token, topicIds, messageBytes, perSecond, durationMs } = options
  const connections = Array.from({ length: options.connections }, () => new Connection(port, options.answersVary))
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
    const sent = connection.send(publishRequest(port, token, topicId, messageOf(messageBytes, sentAtUs)))
    sends.push(sent)
    void sent.then(() => idle.push(connection))
  }
  const answers = await Promise.all(sends)
  for (const connection of connections) connection.close()
  return answers.filter((isAcknowledged) => isAcknowledged).length
}

/** One request at a time. */
class Connection {
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

  constructor(port: number, answersVary = false) {
    this.#answersVary = answersVary
    this.#socket = connect({
      host: '127.0.0.1',
      port,
      noDelay: true,
      onread: {
        buffer: received,
        callback: (bytes: number) => {
          this.#onRead(bytes)
          return true
        },
      },
    })
    this.opened = new Promise((resolve, reject) => {
      this.#socket.once('connect', resolve)
      this.#socket.once('error', reject)
    })
    this.#socket.on('error', () => undefined)
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

  #onRead(bytes: number): void {
    if (this.#receivedBytes === 0 && this.#unmeasured === '') {
      this.#isAcknowledged = received.compare(OK, 0, OK.length, 0, OK.length) === 0
    }
    if (!this.#isAcknowledged || this.#acknowledgedBytes === 0) {
      this.#measure(bytes)
      return
    }
    this.#receivedBytes += bytes
    if (this.#receivedBytes >= this.#acknowledgedBytes) this.#settle()
  }

  /** The head of an answer comes in one piece; the first of its kind tells the length. */
  #measure(bytes: number): void {
    const text = this.#unmeasured + received.toString('latin1', 0, bytes)
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
