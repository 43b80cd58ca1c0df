/**
 * All topics, as the fold of the catalogue's entries: a creation adds one, a change gives it new settings, a drop moves its
 * mark, a deletion removes it, in log order. The same fold serves the reading at the start and every later commit; folding
 * entries again, in their order, changes nothing. Topics of the configuration are added directly. It does no I/O and knows
 * no subscribers.
 */

import {
  decodeEventsDropped,
  decodeTokenIssued,
  decodeTokenRevoked,
  decodeTopicChanged,
  decodeTopicCreated,
  decodeTopicDeleted,
  EVENTS_DROPPED,
  TOKEN_ISSUED,
  TOKEN_REVOKED,
  TOPIC_CHANGED,
  TOPIC_CREATED,
  TOPIC_DELETED,
} from './entry.ts'
import { parseEventId } from './event-id.ts'
import type { Feed } from './feed.ts'
import type { LogRecord, Offset } from './ports.ts'
import { HostedTopic, noEntries } from './topic.ts'
import type { TopicToken } from './topic-token.ts'

export type CatalogChange =
  | { readonly kind: 'created'; readonly topic: HostedTopic }
  | { readonly kind: 'deleted'; readonly topic: HostedTopic }
  | { readonly kind: 'token-revoked'; readonly topic: HostedTopic; readonly token: TopicToken }

export class Catalog {
  readonly #byStream = new Map<number, HostedTopic>()
  /** Only static topics have ids that are not their numbers. */
  readonly #static = new Map<string, HostedTopic>()
  /** The numbers of all other topics, ascending. */
  readonly #numbers: number[] = []

  get size(): number {
    return this.#byStream.size
  }

  /** In no particular order. */
  get topics(): Iterable<HostedTopic> {
    return this.#byStream.values()
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

  /** At most `countMax`, ordered by id, after that of `after`, which need not exist any more. */
  page(after: string | undefined, countMax: number): readonly HostedTopic[] {
    const isBehind = ({ id }: HostedTopic) => after === undefined || id > after
    const found = [...this.#static.values()].filter(isBehind)
    // Ids of 11 base62 characters sort as their numbers do.
    const number = after === undefined ? -1 : (parseEventId(after) ?? Number.POSITIVE_INFINITY)
    const begin = indexAbove(this.#numbers, number)
    for (const streamId of this.#numbers.slice(begin, begin + countMax)) {
      found.push(this.#byStream.get(streamId) as HostedTopic)
    }
    return found.sort((one, other) => (one.id < other.id ? -1 : 1)).slice(0, countMax)
  }

  add(topic: HostedTopic): void {
    this.#byStream.set(topic.streamId, topic)
    if (topic.isStatic) this.#static.set(topic.id, topic)
    else this.#numbers.splice(indexAbove(this.#numbers, topic.streamId), 0, topic.streamId)
  }

  /**
   * Folds in one entry of the feed's catalogue. Undefined: it adds and removes nothing, as with the deletion of a topic that
   * is already gone, or a kind added by a later version. Throws EntryError where the entry cannot be read.
   */
  apply(record: LogRecord, feed: Feed): CatalogChange | undefined {
    switch (record.kind) {
      case TOPIC_CREATED:
        return this.#create(record, feed)
      case TOPIC_CHANGED:
        this.#change(record, feed)
        return undefined
      case EVENTS_DROPPED:
        this.#drop(record, feed)
        return undefined
      case TOKEN_ISSUED:
        this.#issueToken(record, feed)
        return undefined
      case TOKEN_REVOKED:
        return this.#revokeToken(record, feed)
      case TOPIC_DELETED:
        return this.#delete(record, feed)
      default:
        return undefined
    }
  }

  #create(record: LogRecord, feed: Feed): CatalogChange | undefined {
    if (this.#byStream.has(record.offset)) return undefined
    const topic = new HostedTopic(feed, { ...decodeTopicCreated(record.payload), streamId: record.offset })
    this.add(topic)
    return { kind: 'created', topic }
  }

  #change({ payload, offset }: LogRecord, feed: Feed): void {
    const { topic: streamId, name, retention } = decodeTopicChanged(payload)
    const topic = this.#hosted(streamId, feed)
    const { entries = noEntries } = topic ?? {}
    if (topic === undefined || offset <= entries.settingsOffset) return
    topic.name = name
    topic.retention = retention
    topic.entries = { ...entries, settingsOffset: offset }
  }

  #drop({ payload, offset }: LogRecord, feed: Feed): void {
    const { topic: streamId, through } = decodeEventsDropped(payload)
    const topic = this.#hosted(streamId, feed)
    const { entries = noEntries } = topic ?? {}
    if (topic === undefined || through <= entries.droppedThrough) return
    topic.entries = { ...entries, droppedThrough: through, droppedOffset: offset }
    topic.dropped = Math.max(topic.dropped, through)
  }

  #issueToken({ payload, offset }: LogRecord, feed: Feed): void {
    const { topic: streamId, token } = decodeTokenIssued(payload)
    const topic = this.#hosted(streamId, feed)
    topic?.addToken({ ...token, number: offset })
  }

  #revokeToken({ payload }: LogRecord, feed: Feed): CatalogChange | undefined {
    const { topic: streamId, token: number } = decodeTokenRevoked(payload)
    const topic = this.#hosted(streamId, feed)
    const token = topic?.furtherTokens?.get(number)
    if (topic === undefined || token === undefined) return undefined
    topic.forgetToken(number)
    return { kind: 'token-revoked', topic, token }
  }

  #delete({ payload }: LogRecord, feed: Feed): CatalogChange | undefined {
    const topic = this.#hosted(decodeTopicDeleted(payload).topic, feed)
    if (topic === undefined) return undefined
    this.#byStream.delete(topic.streamId)
    this.#numbers.splice(indexAbove(this.#numbers, topic.streamId) - 1, 1)
    return { kind: 'deleted', topic }
  }

  /** An entry counts only in its topic's log, and never for a topic of the configuration. */
  #hosted(streamId: Offset, feed: Feed): HostedTopic | undefined {
    const topic = this.#byStream.get(streamId)
    return topic === undefined || topic.feed !== feed || topic.isStatic ? undefined : topic
  }
}

/** Index of the first number above `number` in an ascending list. */
function indexAbove(numbers: readonly number[], number: number): number {
  // New topics go at the end.
  if ((numbers.at(-1) ?? -1) <= number) return numbers.length
  let low = 0
  let high = numbers.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((numbers[middle] as number) > number) high = middle
    else low = middle + 1
  }
  return low
}
