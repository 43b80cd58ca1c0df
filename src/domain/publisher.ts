/**
 * Publishing: events become records of their topic's log. It promises that nothing is appended after its topic's deletion,
 * that a condition on earlier events holds in the very turn in which the log takes the new ones, and that failures of the
 * log are reported in the domain's terms. Nothing else appends events.
 */

import assert from 'node:assert/strict'
import type { Catalog } from './catalog.ts'
import { EVENT_PUBLISHED, EventPayload } from './entry.ts'
import { DomainError, type DomainErrorCode, fromStorageError, unknownTopic } from './errors.ts'
import { formatEventId } from './event-id.ts'
import type { EventLog, NewRecord, Offset } from './ports.ts'
import type { PublishInput } from './publish-input.ts'
import type { HostedTopic, Topic } from './topic.ts'

export interface PublishConditions {
  /** The number of the topic's newest event ever must be this; 0: there was none. */
  readonly expectedLast?: Offset | undefined
}

/** What publishing needs of the hub. */
export interface PublisherHost {
  /** Throws where nothing is accepted any more. */
  assertOpen(): void
  /** Settles once it is known whether the topic is gone; undefined: it is not being deleted. */
  deletionOf(topic: HostedTopic): Promise<unknown> | undefined
  /** This many events are as durable as their log promises, and were dispatched. */
  published(topic: HostedTopic, events: number, durationMs: number): void
  /** Nothing of the publish was stored. */
  failed(code: DomainErrorCode): void
  monotonicMs(): number
}

const NO_CONDITIONS: PublishConditions = {}

export class Publisher {
  readonly #catalog: Catalog
  readonly #host: PublisherHost
  /** Waiters for the next append of a topic to settle. */
  readonly #waiting = new Map<HostedTopic, (() => void)[]>()

  constructor(catalog: Catalog, host: PublisherHost) {
    this.#catalog = catalog
    this.#host = host
  }

  publish(topic: Topic, event: PublishInput, conditions = NO_CONDITIONS): Promise<Offset> {
    return this.#append(topic, 1, conditions, (log, streamId) => log.append(recordOf(streamId, event)))
  }

  publishAll(topic: Topic, events: readonly PublishInput[], conditions = NO_CONDITIONS): Promise<readonly Offset[]> {
    assert(events.length > 0, 'there is something to publish')
    return this.#append(topic, events.length, conditions, (log, streamId) =>
      log.appendAll(events.map((event) => recordOf(streamId, event))),
    )
  }

  /**
   * As `publishAll`, with a record right behind the events that is stored if and only if they are. There need not be any
   * events.
   */
  publishNoted(
    topic: Topic,
    events: readonly PublishInput[],
    note: NewRecord | undefined,
    conditions = NO_CONDITIONS,
  ): Promise<readonly Offset[]> {
    return this.#append(topic, events.length, conditions, async (log, streamId) => {
      const records = events.map((event) => recordOf(streamId, event))
      const numbers = await log.appendAll(note === undefined ? records : [...records, note])
      // A later reader of the note derives the events' numbers from its own.
      assert(note === undefined || numbers.every((number, i) => number === (numbers[0] as Offset) + i))
      return numbers.slice(0, records.length)
    })
  }

  async #append<Result>(
    topic: Topic,
    events: number,
    { expectedLast }: PublishConditions,
    append: (log: EventLog, streamId: number) => Promise<Result>,
  ): Promise<Result> {
    this.#host.assertOpen()
    let hosted = this.#catalog.byStream(topic.streamId)
    for (let wait = this.#before(hosted, expectedLast); wait !== undefined; ) {
      await wait
      hosted = this.#catalog.byStream(topic.streamId)
      wait = this.#before(hosted, expectedLast)
    }
    // From here to the log's own queue, everything happens in one turn.
    if (hosted === undefined) throw this.#failed(unknownTopic())
    hosted.unsettled += 1
    const beganAtMs = this.#host.monotonicMs()
    try {
      const result = await append(hosted.feed.log, hosted.streamId)
      if (events > 0) this.#host.published(hosted, events, this.#host.monotonicMs() - beganAtMs)
      return result
    } catch (error) {
      throw this.#failed(fromStorageError(error))
    } finally {
      hosted.unsettled -= 1
      this.#settled(hosted)
    }
  }

  #failed(error: unknown): unknown {
    if (error instanceof DomainError) this.#host.failed(error.code)
    return error
  }

  /** What has to settle before anything is appended; undefined: nothing. Throws CONFLICT. */
  #before(topic: HostedTopic | undefined, expectedLast: Offset | undefined): Promise<unknown> | undefined {
    if (topic === undefined) return undefined
    // Nothing is appended after a deletion, so that in the log no event follows the end of its topic. If the deletion fails,
    // the topic lives on, and so does this publish; the deletion's caller gets the error.
    const deletion = this.#host.deletionOf(topic)
    if (deletion !== undefined) return deletion.catch(() => undefined)
    const { room } = topic.feed.log
    if (room !== undefined) return room
    if (expectedLast === undefined) return undefined
    const newest = Math.max(topic.latest, topic.dropped)
    if (newest !== expectedLast) throw this.#failed(conflict(newest))
    // Appends in flight may become the newest event, or fail.
    return topic.unsettled > 0 ? this.#oneSettled(topic) : undefined
  }

  #oneSettled(topic: HostedTopic): Promise<void> {
    return new Promise((resolve) => {
      const waiting = this.#waiting.get(topic)
      if (waiting === undefined) this.#waiting.set(topic, [resolve])
      else waiting.push(resolve)
    })
  }

  #settled(topic: HostedTopic): void {
    if (this.#waiting.size === 0) return
    const waiting = this.#waiting.get(topic)
    this.#waiting.delete(topic)
    for (const resolve of waiting ?? []) resolve()
  }
}

function recordOf(streamId: number, event: PublishInput): NewRecord {
  return { streamId, kind: EVENT_PUBLISHED, key: event.key, payload: new EventPayload(event) }
}

function conflict(newest: Offset): DomainError {
  const id = formatEventId(newest)
  const words = `The topic's newest event is ${id}, and not the one that was expected. Nothing was published.`
  return new DomainError('CONFLICT', words, { path: 'expected_last_id', details: { last_id: id } })
}
