/** What operators can see of a topic: its settings and what it holds. Never its token. */

import type { LogRecord, Offset } from './ports.ts'
import type { Retention } from './retention.ts'
import type { HostedTopic } from './topic.ts'

export interface TopicDetails {
  /** 11 base62 characters. */
  readonly id: string
  readonly name: string | undefined
  readonly persist: boolean
  readonly isStatic: boolean
  readonly retention: Retention
  /** ms since the epoch. */
  readonly createdAtMs: number
  readonly events: number
  /** The size of those events in the log, without padding. */
  readonly bytes: number
  /** Undefined where there is no event, or it cannot be read. */
  readonly earliest: EventPlace | undefined
  readonly latest: EventPlace | undefined
  readonly subscribers: number
}

export interface EventPlace {
  readonly number: Offset
  readonly timeMs: number
}

/** As of now; events beyond the topic's limits must already have been dropped. Throws StorageError. */
export async function detailsOf(topic: HostedTopic, subscribers: number): Promise<TopicDetails> {
  const { id, name, persist, isStatic, retention, createdAtMs } = topic
  const earliest = await firstBehind(topic, topic.mark)
  const latest = topic.events === 0 ? undefined : await firstBehind(topic, topic.latest - 1)
  const { events, bytes } = topic
  return {
    ...{ id, name, persist, isStatic, retention, createdAtMs },
    events,
    bytes,
    earliest: placeOf(earliest),
    latest: placeOf(latest),
    subscribers,
  }
}

async function firstBehind(topic: HostedTopic, after: Offset): Promise<LogRecord | undefined> {
  const cursor = topic.feed.log.cursor(after, topic.streamId)
  try {
    for (let step = await cursor.next(); step !== undefined; step = await cursor.next()) {
      if ('records' in step && step.records[0] !== undefined) return step.records[0]
    }
    return undefined
  } finally {
    cursor.close()
  }
}

function placeOf(record: LogRecord | undefined): EventPlace | undefined {
  return record === undefined ? undefined : { number: record.offset, timeMs: record.timeMs }
}
