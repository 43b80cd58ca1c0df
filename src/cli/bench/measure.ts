/**
 * Publishers and subscribers on one topic, through the client library. Promises that every acknowledged event is awaited at
 * every subscriber, so that missing ones are known, and that no subscriber is measured before its stream is live. Creates no
 * topic and prints nothing.
 */
import { setMaxListeners } from 'node:events'
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { type SserClient, SserError } from '../../client/index.ts'

export interface BenchPlan {
  readonly publishers: number
  readonly subscribers: number
  readonly seconds: number
  readonly messageBytes: number
  /** Events in a request. */
  readonly batch: number
  /** Events per second in total; undefined: each publisher sends as soon as its last request is answered. */
  readonly perSecond: number | undefined
  readonly isPersistent: boolean
  /** Whatever has not arrived after this much silence is missing. */
  readonly silenceMsMax: number
}

export interface Percentiles {
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

export interface Measured {
  /** From the first request to the last answer. */
  readonly publishedMs: number
  /** From the first request to the last arrival. */
  readonly deliveredMs: number
  /** Events that were acknowledged. */
  readonly published: number
  readonly requests: number
  /** Requests that were not acknowledged, and the reason for the first. */
  readonly failed: number
  readonly failure: string | undefined
  /** How long requests waited for their answers, in ms; undefined where there were none. */
  readonly answeredMs: Percentiles | undefined
  /** Arrivals, over all subscribers; 0 or undefined without any. */
  readonly delivered: number
  readonly missing: number
  readonly arrivedMs: Percentiles | undefined
  /** How often a stream reported that events may be missing. */
  readonly gaps: number
}

/** Published before the measurement, so that all streams are live when it begins. */
const FIRST = 'first'
const CHECK_EVERY_MS = 20
/** After a refusal: an overloaded server must not be burdened further. */
const PAUSE_MS = 100
/** A timer may be this late: this program's fault, not the server's. */
const TIMER_LATE_MS = 2
/** Digits at the start of a message: when it was sent. */
const TIME_DIGITS = 16
const NO_USE: ReadonlySet<number> = new Set([400, 401, 403, 404, 413])

/** On the signal it ends early, with what was measured so far. Rejects with SserError where nothing can be measured. */
export async function measure(
  client: SserClient,
  topic: string,
  plan: BenchPlan,
  signal: AbortSignal,
  onSecond: (second: number) => void,
): Promise<Measured> {
  const streams = new AbortController()
  // All subscribers listen to the one, all publishers to the other.
  setMaxListeners(0, streams.signal, signal)
  const subscribers = Array.from({ length: plan.subscribers }, () => new Subscriber())
  const reading = subscribers.map((each) => each.read(client, topic, streams.signal))
  // A stream that fails for good is reported where it is awaited.
  const broken = Promise.race([new Promise<never>(() => undefined), ...reading])
  broken.catch(() => undefined)
  try {
    await client.publish(topic, { message: FIRST }, { signal })
    await Promise.race([broken, Promise.all(subscribers.map((each) => each.begun))])
    const publishers = new Publishers(client, topic, plan, signal)
    const ticking = seconds(plan, signal, onSecond)
    await Promise.race([broken, publishers.run()]).finally(ticking.stop)
    await Promise.race([broken, arrivals(subscribers, publishers.published, plan.silenceMsMax, signal)])
    return report(publishers, subscribers)
  } finally {
    streams.abort()
    await Promise.allSettled(reading)
  }
}

class Subscriber {
  readonly begun: Promise<void>
  readonly latencies = createHistogram()
  count = 0
  gaps = 0
  lastMs = 0
  #begin: () => void = () => undefined

  constructor() {
    this.begun = new Promise((resolve) => {
      this.#begin = resolve
    })
  }

  /** Until the signal. Rejects where the server refuses the stream. */
  async read(client: SserClient, topic: string, signal: AbortSignal): Promise<void> {
    try {
      for await (const item of client.subscribe(topic, { since: 'earliest', signal })) {
        if (item.kind === 'gap') this.gaps += 1
        else if (item.data === FIRST) this.#begin()
        else this.#took(item.data)
      }
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }

  #took(data: string): void {
    this.lastMs = performance.now()
    this.count += 1
    record(this.latencies, this.lastMs - Number(data.slice(0, TIME_DIGITS)) / 1000)
  }
}

class Publishers {
  readonly answers = createHistogram()
  published = 0
  requests = 0
  failed = 0
  failure: string | undefined
  startMs = 0
  lastMs = 0
  readonly #client: SserClient
  readonly #topic: string
  readonly #plan: BenchPlan
  readonly #signal: AbortSignal
  readonly #padding: string
  #nextRequest = 0

  constructor(client: SserClient, topic: string, plan: BenchPlan, signal: AbortSignal) {
    this.#client = client
    this.#topic = topic
    this.#plan = plan
    this.#signal = signal
    this.#padding = 'x'.repeat(plan.messageBytes - TIME_DIGITS)
  }

  async run(): Promise<void> {
    this.startMs = performance.now()
    this.lastMs = this.startMs
    await Promise.all(Array.from({ length: this.#plan.publishers }, () => this.#publish()))
  }

  async #publish(): Promise<void> {
    const endMs = this.startMs + this.#plan.seconds * 1000
    for (;;) {
      const dueMs = await this.#due(endMs)
      if (dueMs === undefined || this.#signal.aborted || performance.now() >= endMs) return
      try {
        await this.#send(dueMs)
      } catch (error) {
        if (!(error instanceof SserError) || NO_USE.has(error.status ?? 0)) throw error
        this.failed += 1
        this.failure ??= error.message
        await delay(PAUSE_MS)
      }
    }
  }

  /** Resolves when the next request is due, or at once if it is late, with that time. Undefined: not before the end. */
  async #due(endMs: number): Promise<number | undefined> {
    const { perSecond, batch } = this.#plan
    if (perSecond === undefined) return performance.now()
    const dueMs = this.startMs + (this.#nextRequest * batch * 1000) / perSecond
    if (dueMs >= endMs) return undefined
    this.#nextRequest += 1
    const leftMs = dueMs - performance.now()
    if (leftMs > 0) await delay(leftMs, undefined, { signal: this.#signal }).catch(() => undefined)
    return Math.max(dueMs, Math.min(performance.now(), dueMs + TIMER_LATE_MS))
  }

  async #send(dueMs: number): Promise<void> {
    const message = String(Math.round(dueMs * 1000)).padStart(TIME_DIGITS, '0') + this.#padding
    const { batch } = this.#plan
    // Not aborted by the signal: otherwise it would be unknown whether the event was published.
    if (batch === 1) await this.#client.publish(this.#topic, { message })
    else
      await this.#client.publishMany(
        this.#topic,
        Array.from({ length: batch }, () => ({ message })),
      )
    this.lastMs = performance.now()
    record(this.answers, this.lastMs - dueMs)
    this.requests += 1
    this.published += batch
  }
}

/** Resolves when every subscriber has all events, or nothing more arrives. */
async function arrivals(
  subscribers: readonly Subscriber[],
  published: number,
  silenceMsMax: number,
  signal: AbortSignal,
): Promise<void> {
  const latest = () => Math.max(...subscribers.map(({ lastMs }) => lastMs))
  const waitsFromMs = performance.now()
  while (subscribers.some(({ count }) => count < published) && !signal.aborted) {
    if (performance.now() - Math.max(waitsFromMs, latest()) > silenceMsMax) return
    await delay(CHECK_EVERY_MS)
  }
}

function seconds(plan: BenchPlan, signal: AbortSignal, onSecond: (second: number) => void): { stop(): void } {
  let second = 0
  onSecond(0)
  const timer = setInterval(() => {
    second += 1
    if (second < plan.seconds && !signal.aborted) onSecond(second)
  }, 1000)
  return { stop: () => clearInterval(timer) }
}

function report(publishers: Publishers, subscribers: readonly Subscriber[]): Measured {
  const { published, requests, failed, failure, startMs, lastMs, answers } = publishers
  const all = createHistogram()
  for (const { latencies } of subscribers) all.add(latencies)
  const sum = (of: (subscriber: Subscriber) => number) => subscribers.reduce((total, each) => total + of(each), 0)
  return {
    publishedMs: lastMs - startMs,
    deliveredMs: Math.max(0, ...subscribers.map((each) => each.lastMs - startMs)),
    published,
    requests,
    failed,
    failure,
    answeredMs: percentilesOf(answers),
    delivered: sum(({ count }) => count),
    missing: sum(({ count }) => Math.max(0, published - count)),
    arrivedMs: percentilesOf(all),
    gaps: sum(({ gaps }) => gaps),
  }
}

function record(histogram: RecordableHistogram, latencyMs: number): void {
  histogram.record(Math.max(1, Math.round(latencyMs * 1000)))
}

function percentilesOf(histogram: RecordableHistogram): Percentiles | undefined {
  if (histogram.count === 0) return undefined
  const at = (percentile: number) => histogram.percentile(percentile) / 1000
  return { p50: at(50), p90: at(90), p99: at(99), p999: at(99.9), max: histogram.max / 1000 }
}
