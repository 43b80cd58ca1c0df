/**
 * Drops what topics need not keep any more: beyond their limits, by a purge, or because the log is full. Dropping moves a
 * topic's mark, using the index alone; the bytes go when the log is compacted. After a crash, events below a mark may come
 * back only as long as their bytes exist: before those go, the mark is written to the log.
 */

import type { Catalog } from './catalog.ts'
import {
  CATALOG_STREAM,
  EVENTS_DROPPED,
  encodeEventsDropped,
  encodeTopicChanged,
  TOPIC_CHANGED,
  type TopicSettings,
} from './entry.ts'
import type { Feed } from './feed.ts'
import type { Clock, NewRecord, Offset, StreamTotals } from './ports.ts'
import { isOverLimit } from './retention.ts'
import type { HostedTopic } from './topic.ts'

/** Topics whose marks are written at once: they share one sync. */
const TOPICS_AT_ONCE = 1_000

/** What is dropped from the front of a topic. */
interface Drop {
  readonly count: number
  readonly bytes: number
  /** The number of the last event dropped; 0: none. */
  readonly through: Offset
}

export class Retainer {
  readonly #catalog: Catalog
  readonly #clock: Clock
  readonly #onDropped: (events: number) => void
  /** The last job on what a topic keeps; the next one waits for it. */
  readonly #settling = new Map<HostedTopic, Promise<void>>()

  /** `onDropped` is called with the number of dropped events. */
  constructor(catalog: Catalog, clock: Clock, onDropped: (events: number) => void) {
    this.#catalog = catalog
    this.#clock = clock
    this.#onDropped = onDropped
  }

  /** Drops what exceeds the topic's limits, as of now. Throws StorageError where the index cannot be read. */
  async trim(topic: HostedTopic): Promise<void> {
    const { maxAgeMs, maxBytes, maxEvents } = topic.retention
    const isOver = isOverLimit(topic.retention, topic.events, topic.bytes)
    if (topic.events === 0 || (maxAgeMs === undefined && !isOver)) return
    await this.#settle(topic, async () => {
      const { log } = topic.feed
      const oldThrough =
        maxAgeMs === undefined ? 0 : await log.findTime(topic.streamId, this.#clock.wallMs() - maxAgeMs)
      const drop = await front(topic, (offset, before) => {
        const isTooMany = maxEvents !== undefined && topic.events - before.count > maxEvents
        const isTooMuch = maxBytes !== undefined && topic.bytes - before.bytes > maxBytes
        return isTooMany || isTooMuch || offset <= oldThrough
      })
      this.#apply(topic, drop)
    })
  }

  /** Empties the topic up to and including `through`; undefined: everything committed. As durable as the topic. */
  async purge(topic: HostedTopic, through: Offset | undefined): Promise<void> {
    await this.#dropThrough(topic, Math.min(through ?? topic.feed.dispatched, topic.feed.dispatched))
  }

  /** Gives the topic new settings. A mark moved by its present limits stays where it is. */
  async change(topic: HostedTopic, change: (present: TopicSettings) => TopicSettings): Promise<void> {
    await this.trim(topic)
    await this.#settle(topic, async () => {
      const { streamId, feed } = topic
      const settings = change(topic)
      if (feed.isDurable) {
        const payload = encodeTopicChanged({ topic: streamId, ...settings })
        const marks = topic.dropped > topic.droppedDurably ? [dropRecord(streamId, topic.dropped)] : []
        const changed = { streamId: CATALOG_STREAM, kind: TOPIC_CHANGED, payload }
        await feed.log.appendAll([...marks, changed], { urgent: true })
      } else {
        topic.name = settings.name
        topic.retention = settings.retention
      }
    })
  }

  /** Trims the topics of these streams, and returns for each the number up to which its records are dropped. */
  async marks(streams: readonly StreamTotals[]): Promise<readonly Offset[]> {
    for (const { streamId } of streams) {
      const topic = this.#catalog.byStream(streamId)
      if (topic !== undefined) await this.trim(topic)
    }
    return streams.map(({ streamId }) => this.#catalog.byStream(streamId)?.dropped ?? Number.POSITIVE_INFINITY)
  }

  /** As `marks`, but only what no crash can take back. */
  async floors(streams: readonly StreamTotals[]): Promise<readonly Offset[]> {
    await this.marks(streams)
    for (let begin = 0; begin < streams.length; begin += TOPICS_AT_ONCE) {
      await Promise.all(
        streams.slice(begin, begin + TOPICS_AT_ONCE).map(async ({ streamId, first }) => {
          const topic = this.#catalog.byStream(streamId)
          if (topic === undefined || topic.dropped <= topic.droppedDurably || first > topic.dropped) return
          await topic.feed.log.append(dropRecord(streamId, topic.dropped), URGENT)
        }),
      )
    }
    return streams.map(({ streamId }) => this.#catalog.byStream(streamId)?.droppedDurably ?? Number.POSITIVE_INFINITY)
  }

  /** Drops live events because the log is full: those of each stream up to the last of these. */
  async drop(streams: readonly StreamTotals[]): Promise<void> {
    for (let begin = 0; begin < streams.length; begin += TOPICS_AT_ONCE) {
      await Promise.all(
        streams.slice(begin, begin + TOPICS_AT_ONCE).map(async ({ streamId, last }) => {
          const topic = this.#catalog.byStream(streamId)
          if (topic !== undefined && topic.droppedDurably < last) await this.#dropThrough(topic, last)
        }),
      )
    }
  }

  /** The in-memory log has dropped these records to stay within its bound. */
  evicted(feed: Feed, { streamId, count, bytes, first, last }: StreamTotals): void {
    const topic = this.#catalog.byStream(streamId)
    if (topic === undefined || topic.feed !== feed || last <= topic.dropped) return
    const isCounted = first > topic.dropped
    topic.dropped = last
    if (isCounted) this.#onDropped(count)
    if (isCounted) {
      topic.events -= count
      topic.bytes -= bytes
    } else {
      // Part of it was dropped before, and how much can no longer be read.
      this.recount(topic).catch(() => undefined)
    }
  }

  /** Recounts what is kept. Throws StorageError where the index cannot be read. */
  async recount(topic: HostedTopic): Promise<void> {
    await this.#settle(topic, async () => {
      for (;;) {
        const { events, bytes, dropped, feed } = topic
        const asOf = feed.dispatched
        const kept = await front(topic, (offset) => offset <= asOf)
        // Events dropped in the meantime may or may not be counted.
        if (topic.dropped !== dropped) continue
        topic.events += kept.count - events
        topic.bytes += kept.bytes - bytes
        return
      }
    })
  }

  /** One job at a time per topic: two that read the figures and move the mark must not overlap. */
  async #settle<Result>(topic: HostedTopic, work: () => Promise<Result>): Promise<Result> {
    const done = (this.#settling.get(topic) ?? Promise.resolve()).then(work)
    const settled = done.then(ignore, ignore)
    this.#settling.set(topic, settled)
    try {
      return await done
    } finally {
      if (this.#settling.get(topic) === settled) this.#settling.delete(topic)
    }
  }

  async #dropThrough(topic: HostedTopic, through: Offset): Promise<void> {
    await this.#settle(topic, async () => {
      const { streamId, feed } = topic
      // The mark is the number of an event, so that a client that has seen that event has missed nothing.
      const drop = await front(topic, (offset) => offset <= through)
      const mark = Math.max(drop.through, topic.dropped <= through ? topic.dropped : 0)
      if (feed.isDurable && mark > topic.droppedDurably) await feed.log.append(dropRecord(streamId, mark), URGENT)
      this.#apply(topic, drop)
    })
  }

  #apply(topic: HostedTopic, { count, bytes, through }: Drop): void {
    topic.events -= count
    topic.bytes -= bytes
    topic.dropped = Math.max(topic.dropped, through)
    if (count > 0) this.#onDropped(count)
  }
}

const URGENT = { urgent: true }

/** The caller that requested the work gets the error. */
function ignore(): void {}

/** The oldest events of a topic for as long as `isDropped` says so; it is passed the sum of those before each one. */
async function front(topic: HostedTopic, isDropped: (offset: Offset, before: Drop) => boolean): Promise<Drop> {
  let drop: Drop = { count: 0, bytes: 0, through: 0 }
  for await (const postings of topic.feed.log.postings(topic.streamId, topic.dropped)) {
    for (const { offset, length } of postings) {
      if (!isDropped(offset, drop)) return drop
      drop = { count: drop.count + 1, bytes: drop.bytes + length, through: offset }
    }
  }
  return drop
}

function dropRecord(topic: number, through: Offset): NewRecord {
  return { streamId: CATALOG_STREAM, kind: EVENTS_DROPPED, payload: encodeEventsDropped({ topic, through }) }
}
