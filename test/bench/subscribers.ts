/**
 * Many subscribers in one process. An event is counted by its mark, one byte, which no border between reads can split;
 * the time in front of it is read only while latency is recorded.
 */
import { connect, type Socket } from 'node:net'
import { EVENT_MARK, nowUs, type Percentiles, percentiles, TIME_DIGITS } from './wire.ts'

export interface SubscribeOptions {
  readonly port: number
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

const received = Buffer.allocUnsafeSlow(256 * 1024)

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
    const work = async () => {
      for (let topicId = waiting.pop(); topicId !== undefined; topicId = waiting.pop()) {
        await this.#connect(options, topicId)
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
    await Promise.all(
      all.map(
        ({ socket, isConnected }) =>
          new Promise<void>((resolve) => {
            if (!isConnected) return resolve()
            socket.once('close', () => resolve())
            socket.destroy()
          }),
      ),
    )
  }

  #connect(options: SubscribeOptions, topicId: string): Promise<void> {
    const { port, token, query = '', lastEventId } = options
    return new Promise((resolve, reject) => {
      const socket = connect({
        host: '127.0.0.1',
        port,
        noDelay: true,
        onread: {
          buffer: received,
          callback: (bytes: number) => {
            if (subscriber.isConnected) this.#take(subscriber, 0, bytes)
            else {
              const text = received.toString('latin1', 0, bytes)
              if (!text.startsWith('HTTP/1.1 200')) reject(new Error(`A subscription was refused: ${text}`))
              subscriber.isConnected = true
              resolve()
              this.#take(subscriber, text.indexOf('\r\n\r\n') + 4, bytes)
            }
            return true
          },
        },
      })
      const subscriber: Subscriber = { socket, events: 0, isConnected: false, completeAtUs: 0 }
      this.#all.push(subscriber)
      socket.once('error', reject)
      socket.once('close', () => {
        subscriber.isConnected = false
      })
      const resume = lastEventId === undefined ? '' : `last-event-id: ${lastEventId}\r\n`
      socket.write(
        `GET /api/v1/pubsubs/${topicId}/events${query} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\n` +
          `accept: text/event-stream\r\nauthorization: Bearer ${token}\r\n${resume}\r\n`,
      )
    })
  }

  #take(subscriber: Subscriber, begin: number, end: number): void {
    this.#bytes += end - begin
    let events = 0
    const latencies = this.#latencies
    // Behind `end` lie bytes of earlier reads.
    const fresh = received.subarray(0, end)
    for (let at = fresh.indexOf(EVENT_MARK, begin); at !== -1; at = fresh.indexOf(EVENT_MARK, at + 1)) {
      events += 1
      if (latencies !== undefined && at - begin >= TIME_DIGITS && this.#latencyCount < LATENCIES_MAX) {
        latencies[this.#latencyCount++] = (nowUs() - timeBefore(at)) / 1000
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

function timeBefore(mark: number): number {
  let time = 0
  for (let at = mark - TIME_DIGITS; at < mark; at++) time = time * 10 + ((received[at] as number) - ZERO)
  return time
}
