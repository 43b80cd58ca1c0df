/**
 * Publishing with idempotency keys, of a request or of events. For a while a repeat gets the answer of the first one, and
 * publishes nothing; a repeat that arrives while the first one is in flight waits for its outcome. Failures are not
 * remembered: nothing was published, so a repeat counts as a first one.
 *
 * For durable topics the keys are in a separate stream of the durable log (`publish-key-entry.ts`), each in one batch with
 * its events: no crash can separate them, and a start reads only the keys of the last minutes. Older ones are dead; neither
 * checkpoints nor the catalogue contain them. Keys of in-memory topics end with the process.
 */

import { createHash } from 'node:crypto'
import { EntryError } from './entry.ts'
import { DomainError } from './errors.ts'
import type { Feed } from './feed.ts'
import type { Clock, NewRecord, Offset } from './ports.ts'
import type { PublishInput } from './publish-input.ts'
import {
  type AnswerRun,
  decodePublishKeys,
  encodePublishKeys,
  numberedRuns,
  PUBLISH_KEY_STREAM,
  PUBLISH_KEYS,
} from './publish-key-entry.ts'
import { numbersOf, PublishWindow, type RequestOutcome, runsOf } from './publish-window.ts'
import type { PublishConditions, Publisher } from './publisher.ts'
import type { Topic } from './topic.ts'

export interface PublishOnceOptions {
  /** How long a repeat is recognised. */
  readonly idempotencyWindowMs: number
  /** How many keys are remembered, newest first. 0: none, and those in the log are left alone. */
  readonly idempotencyKeysMax: number
}

/** For a request that may be repeated. */
export interface RequestKey {
  /** Scoped to the topic: other topics may use the same key. */
  readonly key: string
  readonly body: Uint8Array
}

export interface PublishOnceConditions extends PublishConditions {
  readonly request?: RequestKey | undefined
}

interface Keys {
  readonly request: { readonly name: string; readonly key: string; readonly body: string } | undefined
  /** For events that have one, by index. */
  readonly events: readonly ({ readonly name: string; readonly key: string } | undefined)[]
}

/** Where an event's number comes from: an event published earlier, or one of those published now. */
type Slot = { readonly number: Offset } | { readonly fresh: number }

/** Of several events with the same key, the first is published. */
interface Plan {
  /** By index of the event. */
  readonly slots: readonly Slot[]
  /** The indexes of the events that are published. */
  readonly fresh: readonly number[]
}

interface Running {
  readonly body: string | undefined
  readonly settled: Promise<void>
}

const HASH_BYTES = 16

export class PublishOnce {
  readonly #publisher: Publisher
  readonly #durable: Feed | undefined
  readonly #clock: Clock
  readonly #options: PublishOnceOptions
  readonly #window: PublishWindow
  /** Publishes in flight, by the names of their keys. */
  readonly #running = new Map<string, Running>()

  constructor(publisher: Publisher, durable: Feed | undefined, clock: Clock, options: PublishOnceOptions) {
    const { idempotencyWindowMs, idempotencyKeysMax } = options
    this.#publisher = publisher
    this.#durable = durable
    this.#clock = clock
    this.#options = options
    this.#window = new PublishWindow(() => clock.monotonicMs(), idempotencyWindowMs, idempotencyKeysMax)
  }

  /** Reads the keys in the log, for topics that exist. Throws StorageError. */
  async load(isThere: (topic: number) => boolean): Promise<void> {
    if (this.#durable === undefined || this.#options.idempotencyKeysMax === 0) return
    const cursor = this.#durable.log.cursor(await this.floor(), PUBLISH_KEY_STREAM)
    const nowMs = this.#clock.wallMs()
    try {
      for (let step = await cursor.next(); step !== undefined; step = await cursor.next()) {
        // A key in a damaged range is forgotten, like one that is too old.
        if (!('records' in step)) continue
        for (const { kind, offset, timeMs, payload } of step.records) {
          if (kind === PUBLISH_KEYS) this.#fold(payload, offset, nowMs - timeMs, isThere)
        }
      }
    } finally {
      cursor.close()
    }
  }

  /** The number through which all key records are dead. */
  async floor(): Promise<Offset> {
    const fromMs = this.#clock.wallMs() - this.#options.idempotencyWindowMs
    return (await this.#durable?.log.findTime(PUBLISH_KEY_STREAM, fromMs)) ?? 0
  }

  /** As `Publisher.publish`. Also throws KEY_REUSED. */
  async publish(topic: Topic, event: PublishInput, conditions?: PublishOnceConditions): Promise<Offset> {
    if (event.dedupe === undefined && conditions?.request === undefined) {
      return this.#publisher.publish(topic, event, conditions)
    }
    const [number] = await this.#publishOnce(topic, [event], conditions)
    return number as Offset
  }

  /** As `Publisher.publishAll`: the events published now are stored together, or none are. Also throws KEY_REUSED. */
  publishAll(
    topic: Topic,
    events: readonly PublishInput[],
    conditions?: PublishOnceConditions,
  ): Promise<readonly Offset[]> {
    const isPlain = conditions?.request === undefined && events.every(({ dedupe }) => dedupe === undefined)
    return isPlain
      ? this.#publisher.publishAll(topic, events, conditions)
      : this.#publishOnce(topic, events, conditions)
  }

  async #publishOnce(
    topic: Topic,
    events: readonly PublishInput[],
    { request, ...conditions }: PublishOnceConditions = {},
  ): Promise<readonly Offset[]> {
    const keys = keysOf(topic, events, request)
    for (;;) {
      const known = this.#answerOf(keys)
      if (known !== undefined) return known
      const running = this.#runningOf(keys)
      if (running === undefined) break
      await running
    }
    // In the same turn, so that others wait for this one from here on.
    const plan = this.#planOf(keys)
    const settle = this.#begin(keys)
    try {
      const fresh = plan.fresh.map((place) => events[place] as PublishInput)
      const note = topic.persist ? noteOf(topic, keys, plan) : undefined
      const hasWork = fresh.length > 0 || note !== undefined
      const taken = hasWork ? await this.#publisher.publishNoted(topic, fresh, note, conditions) : []
      const numbers = plan.slots.map((slot) => ('number' in slot ? slot.number : (taken[slot.fresh] as Offset)))
      this.#remember(keys, numbers)
      return numbers
    } finally {
      settle()
    }
  }

  /** The answer to an earlier request with the same key. Throws KEY_REUSED. */
  #answerOf({ request }: Keys): readonly Offset[] | undefined {
    if (request === undefined) return undefined
    const outcome = this.#window.find(request.name) as RequestOutcome | undefined
    const body = outcome?.body ?? this.#running.get(request.name)?.body
    if (body !== undefined && body !== request.body) throw reused()
    return outcome && numbersOf(outcome.numbers)
  }

  /** Resolves when a publish in flight with one of these keys is settled. */
  #runningOf({ request, events }: Keys): Promise<void> | undefined {
    if (this.#running.size === 0) return undefined
    for (const each of [request, ...events]) {
      const running = each && this.#running.get(each.name)
      if (running !== undefined) return running.settled
    }
    return undefined
  }

  #planOf({ events }: Keys): Plan {
    const firsts = new Map<string, Slot>()
    const fresh: number[] = []
    const slots = events.map((each, place) => {
      const known = each && (firsts.get(each.name) ?? this.#knownSlot(each.name))
      const slot = known ?? { fresh: fresh.push(place) - 1 }
      if (each !== undefined) firsts.set(each.name, slot)
      return slot
    })
    return { slots, fresh }
  }

  #knownSlot(name: string): Slot | undefined {
    const number = this.#window.find(name) as Offset | undefined
    return number === undefined ? undefined : { number }
  }

  #begin({ request, events }: Keys): () => void {
    let resolve = (): void => undefined
    const settled = new Promise<void>((done) => {
      resolve = done
    })
    const names = new Set<string>()
    for (const each of events) if (each !== undefined) names.add(each.name)
    for (const name of names) this.#running.set(name, { body: undefined, settled })
    if (request !== undefined) {
      names.add(request.name)
      this.#running.set(request.name, { body: request.body, settled })
    }
    return () => {
      for (const name of names) this.#running.delete(name)
      resolve()
    }
  }

  #remember({ request, events }: Keys, numbers: readonly Offset[]): void {
    for (const [i, each] of events.entries()) {
      if (each !== undefined && this.#window.find(each.name) === undefined) {
        this.#window.remember(each.name, numbers[i] as Offset)
      }
    }
    if (request !== undefined) {
      this.#window.remember(request.name, { body: request.body, numbers: runsOf(numbers) })
    }
  }

  #fold(payload: Uint8Array, offset: Offset, ageMs: number, isThere: (topic: number) => boolean): void {
    // The clock may have been set back in the meantime.
    const restMs = this.#options.idempotencyWindowMs - Math.max(0, ageMs)
    const keys = readable(payload)
    if (restMs <= 0 || keys === undefined || !isThere(keys.topic)) return
    const { topic, events, request, dedupe } = keys
    for (const { index, key } of dedupe) {
      this.#window.remember(nameOfEvent(topic, key), offset - events + index, restMs)
    }
    if (request !== undefined) {
      const outcome = { body: request.body, numbers: numberedRuns(keys, offset) }
      this.#window.remember(nameOfRequest(topic, request.key), outcome, restMs)
    }
  }
}

/** Undefined: written by a later version, whose keys this one does not know. Throws EntryError. */
function readable(payload: Uint8Array) {
  try {
    return decodePublishKeys(payload)
  } catch (error) {
    if (error instanceof EntryError && error.code === 'ENTRY_NEWER') return undefined
    throw error
  }
}

function keysOf({ streamId }: Topic, events: readonly PublishInput[], request: RequestKey | undefined): Keys {
  const requestKey = request && hashOf(request.key)
  return {
    request:
      request && requestKey
        ? { name: nameOfRequest(streamId, requestKey), key: requestKey, body: hashOf(request.body) }
        : undefined,
    events: events.map(({ dedupe }) => {
      if (dedupe === undefined) return undefined
      const key = hashOf(dedupe)
      return { name: nameOfEvent(streamId, key), key }
    }),
  }
}

function nameOfRequest(topic: number, key: string): string {
  return `request ${topic} ${key}`
}

function nameOfEvent(topic: number, key: string): string {
  return `event ${topic} ${key}`
}

function hashOf(value: string | Uint8Array): string {
  return createHash('sha256').update(value).digest().toString('hex', 0, HASH_BYTES)
}

/** Undefined: there is nothing to note. */
function noteOf({ streamId }: Topic, { request, events }: Keys, { slots, fresh }: Plan): NewRecord | undefined {
  const dedupe = fresh.flatMap((place, index) => {
    const key = events[place]?.key
    return key === undefined ? [] : [{ index, key }]
  })
  if (request === undefined && dedupe.length === 0) return undefined
  const payload = encodePublishKeys({
    topic: streamId,
    events: fresh.length,
    request: request && { key: request.key, body: request.body, answer: answerOf(slots) },
    dedupe,
  })
  return { streamId: PUBLISH_KEY_STREAM, kind: PUBLISH_KEYS, payload }
}

function answerOf(slots: readonly Slot[]): readonly AnswerRun[] {
  const runs: { isFresh: boolean; first: number; count: number }[] = []
  for (const slot of slots) {
    const isFresh = 'fresh' in slot
    const number = 'fresh' in slot ? slot.fresh : slot.number
    const last = runs.at(-1)
    if (last !== undefined && last.isFresh === isFresh && number === last.first + last.count) last.count += 1
    else runs.push({ isFresh, first: number, count: 1 })
  }
  return runs
}

function reused(): DomainError {
  const words =
    'This Idempotency-Key was used before with a different body. Use a new key for a new request, and repeat a request unchanged.'
  return new DomainError('KEY_REUSED', words, { path: 'idempotency-key' })
}
