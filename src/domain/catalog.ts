/**
 * All topics, as the catalogue's entries fold to them: a creation adds one, a deletion takes it away, and the order is
 * that of the log. The same fold serves the reading at the start and every commit after it. Topics of the
 * configuration are put in by hand. It does no I/O and knows no subscribers.
 */

import { decodeTopicCreated, decodeTopicDeleted, TOPIC_CREATED, TOPIC_DELETED } from './entry.ts'
import { formatEventId, parseEventId } from './event-id.ts'
import type { Feed } from './feed.ts'
import type { LogRecord } from './ports.ts'
import { HostedTopic } from './topic.ts'

export type CatalogChange =
  | { readonly kind: 'created'; readonly topic: HostedTopic }
  | { readonly kind: 'deleted'; readonly topic: HostedTopic }

export class Catalog {
  readonly #byStream = new Map<number, HostedTopic>()
  /** Only those have ids that are not their numbers. */
  readonly #static = new Map<string, HostedTopic>()

  get size(): number {
    return this.#byStream.size
  }

  /** By its id, in the canonical form of 11 characters. */
  topic(id: string): HostedTopic | undefined {
    const configured = this.#static.get(id)
    if (configured !== undefined) return configured
    const number = parseEventId(id)
    if (number === undefined) return undefined
    const topic = this.#byStream.get(number)
    return topic?.id === id ? topic : undefined
  }

  byStream(streamId: number): HostedTopic | undefined {
    return this.#byStream.get(streamId)
  }

  add(topic: HostedTopic): void {
    this.#byStream.set(topic.streamId, topic)
    if (topic.isStatic) this.#static.set(topic.id, topic)
  }

  /**
   * Folds in one entry of the feed's catalogue. Undefined: it changes nothing, such as the deletion of a topic that is
   * gone, or a kind that a later version has added. Throws EntryError where the entry cannot be read.
   */
  apply(record: LogRecord, feed: Feed): CatalogChange | undefined {
    if (record.kind === TOPIC_CREATED) {
      const { tokenSha256, name, createdAtMs } = decodeTopicCreated(record.payload)
      const streamId = record.offset
      const id = formatEventId(streamId)
      const topic = new HostedTopic(feed, { id, streamId, isStatic: false, name, tokenSha256, createdAtMs })
      this.add(topic)
      return { kind: 'created', topic }
    }
    if (record.kind === TOPIC_DELETED) {
      const topic = this.#byStream.get(decodeTopicDeleted(record.payload).topic)
      // A deletion counts only in the log of its topic, and never for one that the configuration names.
      if (topic === undefined || topic.feed !== feed || topic.isStatic) return undefined
      this.#byStream.delete(topic.streamId)
      return { kind: 'deleted', topic }
    }
    return undefined
  }
}
