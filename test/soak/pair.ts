/**
 * A publisher and a subscriber of one topic, who know what the other should have seen: every event that was acknowledged,
 * in order, once, or a gap in its place. A topic in memory ends with its server; the pair then begins with a new one.
 */

import { setTimeout as delay } from 'node:timers/promises'
import { type NewTopic, type ReceivedItem, type SserClient, SserError } from '../../src/client/index.ts'
import type { Random } from '../support/random.ts'

const PAUSE_MS_MAX = 25
const BATCH_MAX = 20
const MESSAGE_BYTES_MAX = 1_500
const RETRY_MS = 50

export class Pair {
  acknowledged = 0
  seen = 0
  gaps = 0
  readonly mistakes: string[] = []
  readonly #client: SserClient
  readonly #random: Random
  readonly #settings: NewTopic
  #topicId: string
  /** The next event's number within this topic's life. */
  #next = 1
  /** Of this topic's life: numbers that were acknowledged, and that the subscriber has not passed yet. */
  #awaited = new Set<number>()
  #lastAcknowledged = 0
  #lastSeen = 0
  #gapTold = false
  #reading = new AbortController()
  #isEnding = false

  private constructor(client: SserClient, random: Random, settings: NewTopic, topicId: string) {
    this.#client = client
    this.#random = random
    this.#settings = settings
    this.#topicId = topicId
  }

  static async make(client: SserClient, random: Random, settings: NewTopic): Promise<Pair> {
    const { id } = await client.topics.create(settings)
    return new Pair(client, random, settings, id)
  }

  get topicId(): string {
    return this.#topicId
  }

  /** One request after the other, each tried once. */
  async publish(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const life = this.#awaited
      const count = this.#random.chance(0.2) ? 1 + this.#random.int(BATCH_MAX) : 1
      const numbers = Array.from({ length: count }, () => this.#next++)
      try {
        const events = numbers.map((n) => ({ message: { n, text: 'x'.repeat(this.#random.int(MESSAGE_BYTES_MAX)) } }))
        await this.#client.publishMany(this.#topicId, events)
        // What was read back before its publisher was answered is not waited for.
        for (const n of numbers) if (n > this.#lastSeen && life === this.#awaited) life.add(n)
        this.#lastAcknowledged = numbers.at(-1) ?? 0
        this.acknowledged += count
      } catch (error) {
        if (error instanceof SserError && error.status === 404) await this.#beginAnew()
        else if (error instanceof SserError && error.status === 507) this.mistakes.push(`507: ${error.message}`)
        await delay(RETRY_MS)
      }
      await delay(this.#random.int(PAUSE_MS_MAX))
    }
  }

  /** Until `end` or `stop`. */
  async read(): Promise<void> {
    while (!this.#isEnding) {
      const { signal } = this.#reading
      try {
        const options = { since: 'earliest', signal, retryMsMax: 500 } as const
        for await (const item of this.#client.subscribe(this.#topicId, options)) this.#take(item)
      } catch (error) {
        if (!signal.aborted && !(error instanceof SserError && error.status === 404)) this.mistakes.push(String(error))
        await delay(RETRY_MS)
      }
    }
  }

  /** Waits until the subscriber has seen what was acknowledged last, or says that it has not. */
  async end(timeMs: number): Promise<void> {
    const endsAt = performance.now() + timeMs
    while (this.#lastSeen < this.#lastAcknowledged && !this.#gapTold && performance.now() < endsAt)
      await delay(RETRY_MS)
    if (this.#lastSeen < this.#lastAcknowledged && !this.#gapTold) {
      this.mistakes.push(`${this.#topicId}: ${this.#lastAcknowledged} has not come; the last was ${this.#lastSeen}`)
    }
    this.stop()
  }

  stop(): void {
    this.#isEnding = true
    this.#reading.abort()
  }

  #take(item: ReceivedItem): void {
    if (item.kind === 'gap') {
      this.gaps += 1
      this.#gapTold = true
      return
    }
    const { n } = JSON.parse(item.data) as { readonly n: number }
    this.seen += 1
    if (n <= this.#lastSeen) this.mistakes.push(`${this.#topicId}: ${n} came behind ${this.#lastSeen}`)
    for (const awaited of this.#awaited) {
      if (awaited > n) break
      this.#awaited.delete(awaited)
      if (awaited < n && !this.#gapTold) {
        this.mistakes.push(
          `${this.#topicId}: ${awaited} is missing between ${this.#lastSeen} and ${n}, no gap was told`,
        )
      }
    }
    this.#lastSeen = n
    this.#gapTold = false
  }

  /** The topic went with its server. */
  async #beginAnew(): Promise<void> {
    if (this.#settings.persist === true) {
      this.mistakes.push(`${this.#topicId} is gone`)
      return
    }
    const made = await this.#client.topics.create(this.#settings).catch(() => undefined)
    if (made === undefined) return
    this.#topicId = made.id
    this.#awaited = new Set()
    this.#next = 1
    this.#lastAcknowledged = 0
    this.#lastSeen = 0
    this.#gapTold = false
    this.#reading.abort()
    this.#reading = new AbortController()
  }
}
