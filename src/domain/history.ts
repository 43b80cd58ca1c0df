/**
 * A topic's events as JSON, from any point forward to the present, or backward to the earliest kept. Both proceed piece by
 * piece, at the consumer's pace, and report a gap where something is missing.
 */

import { EVENT_PUBLISHED } from './entry.ts'
import { eventJson } from './event-json.ts'
import type { LogRecord, Offset } from './ports.ts'
import { type GapNotice, type ResumePoint, reasonOfGap } from './resume.ts'
import type { HostedTopic } from './topic.ts'

export type HistoryItem = { readonly number: Offset; readonly json: string } | { readonly gap: GapNotice }

/** From `from` on, up to what is committed when it begins. */
export async function* historyForward(topic: HostedTopic, from: ResumePoint): AsyncGenerator<readonly HistoryItem[]> {
  const end = topic.feed.dispatched
  if (from.gap !== undefined) yield [{ gap: from.gap }]
  let position = from.after
  const cursor = topic.feed.log.cursor(position, topic.streamId)
  try {
    while (position < end) {
      // Dropped ahead of this reader: a cursor opened later does not know of it.
      if (topic.dropped > position) {
        position = topic.dropped
        yield [gapAt(position, 'evicted')]
      }
      const step = await cursor.next()
      if (step === undefined) return
      if ('gap' in step) {
        if (step.gap.through <= position) continue
        position = step.gap.through
        yield [gapAt(position, step.gap.reason)]
        continue
      }
      // The records are copied in this turn.
      const items = step.records.filter(({ offset }) => offset > position && offset <= end).flatMap(itemOf)
      position = Math.max(position, cursor.position)
      if (items.length > 0) yield items
    }
  } finally {
    cursor.close()
  }
}

/** The events with numbers below `before`, newest first. */
export async function* historyBackward(topic: HostedTopic, before: Offset): AsyncGenerator<readonly HistoryItem[]> {
  for await (const found of topic.feed.log.backward(topic.streamId, before)) {
    const { mark } = topic
    const items = found.flatMap((item): readonly HistoryItem[] => {
      if ('record' in item) return item.record.offset > mark ? itemOf(item.record) : []
      return item.gap.through > mark ? [gapAt(item.gap.through, item.gap.reason)] : []
    })
    if (items.length > 0) yield items
    const last = found.at(-1)
    if (last !== undefined && ('record' in last ? last.record.offset : last.gap.through) <= mark) return
  }
}

function itemOf(record: LogRecord): readonly HistoryItem[] {
  return record.kind === EVENT_PUBLISHED ? [{ number: record.offset, json: eventJson(record) }] : []
}

function gapAt(through: Offset, reason: 'damaged' | 'evicted'): HistoryItem {
  return { gap: { requested: undefined, resumesAfter: through, reason: reasonOfGap[reason] } }
}
