// How a topic looks on the wire: names in snake_case, times in RFC 3339, durations such as "3600s", ids of 11 characters.
// Both ways; pure. A topic's token is in none of it.
import { formatEventId } from '../domain/event-id.ts'
import type { RetentionChange, TopicDetails } from '../domain/hub.ts'

export interface RetentionBody {
  /** Matches DURATION. */
  readonly max_age?: string | null
  readonly max_bytes?: number | null
  readonly max_events?: number | null
}

/** One unit, whole: `3600s`, `90m`, `720h`, `250ms`. Nine digits of hours are a plain number of ms still. */
export const DURATION = /^[1-9]\d{0,8}(ms|s|m|h)$/

const MS_PER_UNIT: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }

export function retentionOf({ max_age, max_bytes, max_events }: RetentionBody): RetentionChange {
  const maxAgeMs = typeof max_age === 'string' ? durationMs(max_age) : max_age
  return { maxAgeMs, maxBytes: max_bytes, maxEvents: max_events }
}

export function topicJson(topic: TopicDetails) {
  const { maxAgeMs, maxBytes, maxEvents } = topic.retention
  const placeJson = (place: TopicDetails['latest']) =>
    place === undefined ? null : { id: formatEventId(place.number), time: timeText(place.timeMs) }
  return {
    id: topic.id,
    name: topic.name ?? null,
    persist: topic.persist,
    static: topic.isStatic,
    retention: {
      max_age: maxAgeMs === undefined ? null : durationText(maxAgeMs),
      max_bytes: maxBytes ?? null,
      max_events: maxEvents ?? null,
    },
    created_at: timeText(topic.createdAtMs),
    events: topic.events,
    bytes: topic.bytes,
    earliest: placeJson(topic.earliest),
    latest: placeJson(topic.latest),
    subscribers: topic.subscribers,
  }
}

function durationMs(text: string): number {
  const [, amount, unit = ''] = /^(\d+)([a-z]+)$/.exec(text) ?? []
  return Number(amount) * (MS_PER_UNIT[unit] ?? Number.NaN)
}

function durationText(timeMs: number): string {
  return timeMs % 1_000 === 0 ? `${timeMs / 1_000}s` : `${timeMs}ms`
}

function timeText(timeMs: number): string {
  return new Date(timeMs).toISOString()
}
