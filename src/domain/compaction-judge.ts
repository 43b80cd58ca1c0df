/**
 * Tells the engine what of the durable log is dead, as the catalogue stands: events of topics that are gone, events at or
 * below their topic's mark, tickets and keys that have outlived themselves, and entries of the catalogue that later ones have made needless. What it calls dead no crash
 * brings back: marks are written before it answers.
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

/** Those whose records die of age alone, so that a crash takes nothing of that back. */
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

  /** The topics' by the retainer's word. */
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
          // A topic that is gone takes its tokens with it.
          return catalog.byStream(topic) !== undefined && (await isElsewhere(token))
        }
        case TOPIC_DELETED:
          // Without it a creation that is still there would make the topic again.
          return await isElsewhere(decodeTopicDeleted(record.payload).topic)
        default:
          // A later version knows what it is for.
          return true
      }
    },
  }
}
