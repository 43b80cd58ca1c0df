/**
 * Many subscribers in one process. An event is counted by its mark, one byte, which no border between reads can split;
 * the time in front of it is read only while latency is recorded.
 */
import type { Socket } from 'node:net'
import { endHeaders, endStream, frame, frameOf, headOf } from '../support/http2-frames.ts'
import { Http2Connection, openConnection, type Transport } from './transport.ts'
import { EVENT_MARK, nowUs, type Percentiles, percentiles, TIME_DIGITS } from './wire.ts'

export interface SubscribeOptions {
  readonly port: number
  /** Without it: HTTP/1.1, not over TLS. */
  readonly transport?: Transport
  /** Over HTTP/2 only; 1 without it. */
  readonly streamsPerConnection?: number
  readonly token: string
  /** One subscriber each. */
  readonly topicIds: readonly string[]
  readonly query?: string
  readonly lastEventId?: string
}

export interface Received {
  readonly events: number
  readonly bytes: number
  /** Of the subscribers that still have a connection, the fewest and the most. */
  readonly eventsMin: number
  readonly eventsMax: number
  readonly connected: number
  readonly atUs: number
}

const CONNECTING_MAX = 256
const LATENCIES_MAX = 8_000_000
const ZERO = 0x30

interface Subscriber {
  readonly socket: Socket
  events: number
  isConnected: boolean
  /** When it had the number of events that is waited for, in µs; 0: not yet. */
  completeAtUs: number
}

export class Subscribers {
  #all: Subscriber[] = []
  #events = 0
  #bytes = 0
  #latencies: Float64Array | undefined
  #latencyCount = 0
  #awaited = Number.POSITIVE_INFINITY
  #incomplete = 0
  #onComplete: (() => void) | undefined

  /** Resolves when each has its first bytes. */
  readonly subscribe = async (options: SubscribeOptions): Promise<void> => {
    const waiting = [...options.topicIds]
    const together = options.streamsPerConnection ?? 1
    const work = async () => {
      while (waiting.length > 0) {
        const topicIds = waiting.splice(-together)
        if (options.transport === 'http2') await this.#connectHttp2(options, topicIds)
        else for (const topicId of topicIds) await this.#connect(options, topicId)
      }
    }
    await Promise.all(Array.from({ length: CONNECTING_MAX }, work))
  }

  readonly eventsReceived = async (_options: null): Promise<Received> => {
    const connected = this.#all.filter(({ isConnected }) => isConnected)
    const counts = connected.map(({ events }) => events)
    return {
      events: this.#events,
      bytes: this.#bytes,
      eventsMin: counts.reduce((least, count) => Math.min(least, count), Number.POSITIVE_INFINITY),
      eventsMax: counts.reduce((most, count) => Math.max(most, count), 0),
      connected: connected.length,
      atUs: nowUs(),
    }
  }

  /**
   * Opens the subscriptions all at once and resolves when each has had so many events: after how many ms each was
   * complete, from the first connection on.
   */
  readonly untilEvents = async (options: SubscribeOptions & { readonly events: number }): Promise<Percentiles> => {
    this.#awaited = options.events
    this.#incomplete = options.topicIds.length
    const complete = new Promise<void>((resolve) => {
      this.#onComplete = resolve
    })
    const beganAtUs = nowUs()
    await Promise.all(options.topicIds.map((topicId) => this.#connect(options, topicId)))
    await complete
    this.#awaited = Number.POSITIVE_INFINITY
    return percentiles(Float64Array.from(this.#all, ({ completeAtUs }) => (completeAtUs - beganAtUs) / 1000))
  }

  readonly recordLatency = async (_options: null): Promise<void> => {
    this.#latencies = new Float64Array(LATENCIES_MAX)
    this.#latencyCount = 0
  }

  /** In ms, of all events since `recordLatency`. */
  readonly latency = async (_options: null): Promise<Percentiles> => {
    const latencies = this.#latencies ?? new Float64Array(0)
    this.#latencies = undefined
    return percentiles(latencies.subarray(0, this.#latencyCount))
  }

  readonly unsubscribe = async (_options: null): Promise<void> => {
    const all = this.#all
    this.#all = []
    this.#events = 0
    this.#bytes = 0
    const open = new Set(all.filter(({ isConnected }) => isConnected).map(({ socket }) => socket))
    await Promise.all(
      Array.from(
        open,
        (socket) =>
          new Promise<void>((resolve) => {
            socket.once('close', () => resolve())
            socket.destroy()
          }),
      ),
    )
  }

  #connect(options: SubscribeOptions, topicId: string): Promise<void> {
    const { port, transport = 'plain', token, query = '', lastEventId } = options
    return new Promise((resolve, reject) => {
      const socket = openConnection(port, transport, (bytes, end) => {
        if (subscriber.isConnected) {
          this.#take(subscriber, bytes, 0, end)
          return
        }
        const text = bytes.toString('latin1', 0, end)
        if (!text.startsWith('HTTP/1.1 200')) reject(new Error(`A subscription was refused: ${text}`))
        subscriber.isConnected = true
        resolve()
        this.#take(subscriber, bytes, text.indexOf('\r\n\r\n') + 4, end)
      })
      const subscriber = this.#add(socket)
      watch(socket, reject, () => [subscriber])
      const resume = lastEventId === undefined ? '' : `last-event-id: ${lastEventId}\r\n`
      socket.write(
        `GET /api/v1/pubsubs/${topicId}/events${query} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\n` +
          `accept: text/event-stream\r\nauthorization: Bearer ${token}\r\n${resume}\r\n`,
      )
    })
  }

  /** One connection for all of them. */
  #connectHttp2(options: SubscribeOptions, topicIds: readonly string[]): Promise<void> {
    const { port, token, query = '', lastEventId } = options
    return new Promise((resolve, reject) => {
      const byStream = new Map<number, Subscriber>()
      let unanswered = topicIds.length
      const connection = new Http2Connection(port, ({ type, flags, stream }, bytes, begin, end) => {
        const subscriber = byStream.get(stream)!
        if (type !== frame.data) return
        if ((flags & endStream) !== 0)
          reject(new Error(`A subscription was refused: ${bytes.toString('latin1', begin, end)}`))
        this.#take(subscriber, bytes, begin, end)
        if (subscriber.isConnected) return
        subscriber.isConnected = true
        unanswered -= 1
        if (unanswered === 0) resolve()
      })
      watch(connection.socket, reject, () => byStream.values())
      for (const topicId of topicIds) {
        const head = headOf({
          ':method': 'GET',
          ':scheme': 'https',
          ':authority': `127.0.0.1:${port}`,
          ':path': `/api/v1/pubsubs/${topicId}/events${query}`,
          authorization: `Bearer ${token}`,
          ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }),
        })
        const stream = connection.request(frameOf(frame.headers, endStream | endHeaders, 0, head))
        byStream.set(stream, this.#add(connection.socket))
      }
    })
  }

  #add(socket: Socket): Subscriber {
    const subscriber: Subscriber = { socket, events: 0, isConnected: false, completeAtUs: 0 }
    this.#all.push(subscriber)
    return subscriber
  }

  #take(subscriber: Subscriber, bytes: Buffer, begin: number, end: number): void {
    this.#bytes += end - begin
    let events = 0
    const latencies = this.#latencies
    // Behind `end` lie bytes of earlier reads.
    const fresh = bytes.subarray(0, end)
    for (let at = fresh.indexOf(EVENT_MARK, begin); at !== -1; at = fresh.indexOf(EVENT_MARK, at + 1)) {
      events += 1
      if (latencies !== undefined && at - begin >= TIME_DIGITS && this.#latencyCount < LATENCIES_MAX) {
        latencies[this.#latencyCount++] = (nowUs() - timeBefore(bytes, at)) / 1000
      }
    }
    if (events === 0) return
    subscriber.events += events
    this.#events += events
    if (subscriber.events < this.#awaited || subscriber.completeAtUs !== 0) return
    subscriber.completeAtUs = nowUs()
    this.#incomplete -= 1
    if (this.#incomplete === 0) this.#onComplete?.()
  }
}

function timeBefore(bytes: Buffer, mark: number): number {
  let time = 0
  for (let at = mark - TIME_DIGITS; at < mark; at++) time = time * 10 + ((bytes[at] as number) - ZERO)
  return time
}

/** `subscribersOf`: the subscribers of this connection, asked for when it ends. */
function watch(socket: Socket, onError: (error: Error) => void, subscribersOf: () => Iterable<Subscriber>): void {
  socket.once('error', onError)
  socket.once('close', () => {
    for (const subscriber of subscribersOf()) subscriber.isConnected = false
  })
}
