// How a topic appears on the wire: names in snake_case, times in RFC 3339, durations such as "3600s", ids of 11 characters.
// In both directions; pure. None of it contains a topic's token.
import { formatEventId, parseTopicId } from '../domain/event-id.ts'
import type { RetentionChange, TopicDetails, TopicPlace, TopicSort } from '../domain/hub.ts'

export interface RetentionBody {
  /** Matches DURATION. */
  readonly max_age?: string | null
  readonly max_bytes?: number | null
  readonly max_events?: number | null
}

/** A whole number and one unit: `3600s`, `90m`, `720h`, `250ms`. Nine digits of hours still fit a number of ms. */
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

const ID_LENGTH = 11

/** A place in a list of topics: in id order just the id, otherwise with the sort key as well, which may change. */
export function placeText({ id, key }: TopicPlace, sort: TopicSort): string {
  if (sort === 'id') return id
  return id + Buffer.from(JSON.stringify(key ?? null)).toString('base64url')
}

/** Undefined: not a place in this order. */
export function placeOf(text: string, sort: TopicSort): TopicPlace | undefined {
  const id = parseTopicId(sort === 'id' ? text : text.slice(0, ID_LENGTH))
  if (id === undefined) return undefined
  if (sort === 'id') return { id, key: 0 }
  const key = jsonOf(Buffer.from(text.slice(ID_LENGTH), 'base64url').toString())
  if (sort !== 'name') return typeof key === 'number' ? { id, key } : undefined
  if (key === null) return { id, key: undefined }
  return typeof key === 'string' ? { id, key } : undefined
}

/** Undefined where it is not JSON. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
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
