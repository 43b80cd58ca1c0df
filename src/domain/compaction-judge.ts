/**
 * Tells the engine which records of the durable log are dead according to the catalogue: events of deleted topics, events at
 * or below their topic's mark, expired tickets and keys, and catalogue entries superseded by later ones. No crash revives
 * what it calls dead: marks are written before it answers.
 */

import type { Catalog } from './catalog.ts'
import {
  decodeEventsDropped,
  decodeTokenIssued,
  decodeTokenRevoked,
  decodeTopicChanged,
  decodeTopicDeleted,
  EVENTS_DROPPED,
  TICKET_STREAM,
  TOKEN_ISSUED,
  TOKEN_REVOKED,
  TOPIC_CHANGED,
  TOPIC_CREATED,
  TOPIC_DELETED,
} from './entry.ts'
import type { CompactionJudge, LogRecord, Offset, StreamTotals } from './ports.ts'
import { PUBLISH_KEY_STREAM } from './publish-key-entry.ts'
import type { Retainer } from './retainer.ts'

/** Records that die of age alone, so that a crash revives none of them. */
interface Aging {
  /** The number through which all are dead. */
  floor(): Promise<Offset>
}

export function compactionJudge(
  catalog: Catalog,
  retainer: Retainer,
  tickets: Aging,
  publishKeys: Aging,
): CompactionJudge {
  const aging = new Map([
    [TICKET_STREAM, tickets],
    [PUBLISH_KEY_STREAM, publishKeys],
  ])

  /** For topics, the retainer decides. */
  async function withAging(
    streams: readonly StreamTotals[],
    ofTopics: (streams: readonly StreamTotals[]) => Promise<readonly Offset[]>,
  ): Promise<readonly Offset[]> {
    const marks = await ofTopics(streams)
    return await Promise.all(streams.map(({ streamId }, i) => aging.get(streamId)?.floor() ?? (marks[i] as Offset)))
  }

  return {
    marks: (streams) => withAging(streams, (topics) => retainer.marks(topics)),
    floors: (streams) => withAging(streams, (topics) => retainer.floors(topics)),
    drop: (streams: readonly StreamTotals[]) => retainer.drop(streams),
    async isNeeded(record: LogRecord, isElsewhere: (offset: Offset) => Promise<boolean>): Promise<boolean> {
      switch (record.kind) {
        case TOPIC_CREATED:
          return catalog.byStream(record.offset) !== undefined
        case TOPIC_CHANGED:
          return catalog.byStream(decodeTopicChanged(record.payload).topic)?.entries?.settingsOffset === record.offset
        case EVENTS_DROPPED:
          return catalog.byStream(decodeEventsDropped(record.payload).topic)?.entries?.droppedOffset === record.offset
        case TOKEN_ISSUED: {
          const { topic } = decodeTokenIssued(record.payload)
          return catalog.byStream(topic)?.furtherTokens?.has(record.offset) ?? false
        }
        case TOKEN_REVOKED: {
          const { topic, token } = decodeTokenRevoked(record.payload)
          // A deleted topic's tokens are gone with it.
          return catalog.byStream(topic) !== undefined && (await isElsewhere(token))
        }
        case TOPIC_DELETED:
          // Without it, a creation that is still in the log would bring the topic back.
          return await isElsewhere(decodeTopicDeleted(record.payload).topic)
        default:
          // A later version knows what it is for.
          return true
      }
    },
  }
}
