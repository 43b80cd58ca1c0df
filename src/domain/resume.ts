/**
 * Where a stream starts: what a client sends back as its last event id, or requests instead, becomes the number to resume
 * after, and a gap where something may be missing in between.
 *
 * The rules, for a topic whose mark is the highest number that was ever dropped from it:
 * - a number below the mark resumes after the mark: a gap;
 * - a number in a range that a start of the durable log skipped resumes where the range begins: a gap, unless the topic
 *   is younger;
 * - a number that was never given resumes after the mark: a gap;
 * - any other number resumes after itself, whether or not an event of this topic bears it;
 * - a publisher's own id resumes after its earliest use; where it is not found, after the mark: a gap.
 *
 * It promises never to resume later than what the client can have seen, and to report a gap only where something may be
 * missing. It reads the index, and never the events one by one.
 */

import { gapBlock, openEvent, primingBlock } from '../sse/encode.ts'
import { DomainError, fromStorageError } from './errors.ts'
import { formatEventId, parseEventId } from './event-id.ts'
import type { LogGap, NumberSource, Offset } from './ports.ts'
import type { HostedTopic } from './topic.ts'

export type ResumeRequest =
  | { readonly kind: 'live' }
  /** Decoded as UTF-8. Empty, or only white space: the same as live. */
  | { readonly kind: 'last-event-id'; readonly text: string }
  | { readonly kind: 'earliest' }
  /** A number issued by this server, and nothing else. */
  | { readonly kind: 'number'; readonly number: Offset }
  /** Milliseconds since the epoch. */
  | { readonly kind: 'time'; readonly timeMs: number }

export interface GapNotice {
  /** What the client asked for; undefined for a gap met along the way. */
  readonly requested: string | undefined
  readonly resumesAfter: Offset
  /** For people. */
  readonly reason: string
  /** In a stream of several topics: those that it concerns; undefined: possibly any. */
  readonly topics?: readonly string[] | undefined
}

export interface ResumePoint {
  readonly after: Offset
  readonly gap: GapNotice | undefined
  /** No cursor: the stream starts with the next commit; `after` is determined again on registration. */
  readonly live: boolean
}

/** As `ResumePoint`, for a stream of one topic or of several. */
export interface StreamStart {
  readonly after: Offset
  readonly gaps: readonly GapNotice[]
  readonly live: boolean
}

/** The same as for a publisher's own id. */
const ID_BYTES_MAX = 256
export const CANONICAL_CHARACTERS = 11

const NEVER_GIVEN = 'this server never issued that id'
const NOT_FOUND = 'no event that is still kept has that id'
const SKIPPED = 'a restart skipped that id; events near it may never have become durable'
const FROM_BEFORE_THE_START = 'events of this topic are kept in memory, and the server has been restarted'
const DROPPED = 'older events are no longer kept'

export const reasonOfGap: Readonly<Record<LogGap['reason'], string>> = {
  damaged: 'a damaged range of the log was skipped',
  evicted: DROPPED,
}

/** Throws a DomainError: INVALID for an id that is too long, STORE_FAILED where the index cannot be read. */
export async function resolveResume(
  topic: HostedTopic,
  numbers: NumberSource,
  request: ResumeRequest,
): Promise<ResumePoint> {
  try {
    switch (request.kind) {
      case 'live':
        return livePoint(topic)
      case 'earliest':
        // Nothing is missing from what was requested: the earliest event is the earliest one kept.
        return point(topic, { after: topic.mark, gapReason: undefined }, '')
      case 'number':
        return point(topic, readNumber(topic, numbers, request.number), formatEventId(request.number))
      case 'time':
        return await resolveTime(topic, request.timeMs)
      case 'last-event-id':
        return await resolveId(topic, numbers, trimmed(request.text))
    }
  } catch (error) {
    throw fromStorageError(error)
  }
}

/** The blocks that report a gap. The number right behind the event keeps the same gap from being reported on every reconnect. */
export function gapBlocks(notice: GapNotice): readonly [Uint8Array, Uint8Array] {
  return [gapEvent(notice), primingBlock(formatEventId(notice.resumesAfter))]
}

/** The blocks behind `retry:` that say where a stream starts; with `signals`, visible to clients that ignore ids without data. */
export function openingBlocks(
  latest: Offset,
  gaps: readonly GapNotice[],
  after: Offset,
  signals: boolean,
): readonly Uint8Array[] {
  const id = formatEventId(after)
  const place = signals
    ? openEvent(id, JSON.stringify({ resumes_after: id, last_id: formatEventId(latest) }))
    : primingBlock(id)
  return [...gaps.map((gap) => gapEvent({ ...gap, resumesAfter: after })), place]
}

function gapEvent({ requested, resumesAfter, reason, topics }: GapNotice): Uint8Array {
  return gapBlock(JSON.stringify({ requested, resumes_after: formatEventId(resumesAfter), reason, topics }))
}

interface Reading {
  readonly after: Offset
  readonly gapReason: string | undefined
}

function livePoint(topic: HostedTopic): ResumePoint {
  return { after: topic.feed.dispatched, gap: undefined, live: true }
}

function point(topic: HostedTopic, reading: Reading, requested: string): ResumePoint {
  // A number of the other log, or one that was cut away, can lie above everything that this log has settled, while one below
  // it is still to be committed. Nobody has been shown anything that is not settled, so the stream starts there.
  const after = Math.min(Math.max(reading.after, 0), topic.feed.settled)
  const { gapReason } = reading
  const gap = gapReason === undefined ? undefined : { requested, resumesAfter: after, reason: gapReason }
  return { after, gap, live: false }
}

/** The earliest number that a publisher's own id stands for in any of the topics. */
export async function findOwnId(topics: readonly HostedTopic[], text: string): Promise<Offset | undefined> {
  const key = keyOf(text)
  const found = await Promise.all(topics.map(({ feed, streamId }) => feed.log.findKey(streamId, key)))
  const numbers = found.filter((number) => number !== undefined)
  return numbers.length === 0 ? undefined : Math.min(...numbers)
}

async function resolveId(topic: HostedTopic, numbers: NumberSource, text: string): Promise<ResumePoint> {
  if (text === '') return livePoint(topic)
  const key = keyOf(text)
  const number = parseEventId(text)
  const found = await topic.feed.log.findKey(topic.streamId, key)
  if (found === undefined) {
    const reading = number === undefined ? lost(topic, NOT_FOUND) : readNumber(topic, numbers, number)
    return point(topic, reading, text)
  }
  const isDropped = found < topic.mark
  const asKey: Reading = isDropped ? lost(topic, DROPPED) : { after: found, gapReason: undefined }
  if (number === undefined || !mayBeOurs(topic, numbers, text, number)) return point(topic, asKey, text)
  // Either may be meant. The earlier one is right, or sends something twice, which is better than losing it.
  const asNumber = readNumber(topic, numbers, number)
  return point(topic, asNumber.after < asKey.after ? asNumber : asKey, text)
}

/**
 * Whether a text that is a publisher's id may also be a number that this server gave to a subscriber of this topic. Those
 * always have 11 characters, and are either the topic's mark or not below the number of the topic itself. Without this check
 * a counter that a publisher uses as id (`42`, `00000000042`) would be read as a number before everything, and a client that
 * is up to date would get the whole topic again on every reconnect.
 */
function mayBeOurs(topic: HostedTopic, numbers: NumberSource, text: string, number: Offset): boolean {
  if (text.length !== CANONICAL_CHARACTERS || number >= numbers.next) return false
  return number === topic.mark || number >= topic.streamId
}

function readNumber(topic: HostedTopic, numbers: NumberSource, number: Offset): Reading {
  if (number >= numbers.next) return lost(topic, NEVER_GIVEN)
  if (number < topic.mark) return lost(topic, number < topic.dropped ? DROPPED : FROM_BEFORE_THE_START)
  // Before the topic existed it could lose nothing; `0` and the like mean all of it.
  if (!topic.isStatic && number < topic.streamId) return { after: number, gapReason: undefined }
  for (const { from, to } of topic.feed.log.skippedRanges) {
    if (number >= from && number < to) return { after: Math.max(from - 1, topic.mark), gapReason: SKIPPED }
  }
  return { after: number, gapReason: undefined }
}

function lost(topic: HostedTopic, gapReason: string): Reading {
  return { after: topic.mark, gapReason }
}

/**
 * A gap is reported where events of that time or later may have been dropped: if any were dropped at all, and the first one
 * kept is already late enough.
 */
async function resolveTime(topic: HostedTopic, timeMs: number): Promise<ResumePoint> {
  const { log } = topic.feed
  const after = Math.max(await log.findTime(topic.streamId, timeMs), topic.mark)
  if (topic.dropped === 0 || (await hasEventUpTo(topic, after))) {
    return point(topic, { after, gapReason: undefined }, '')
  }
  return point(topic, { after, gapReason: DROPPED }, timeText(timeMs))
}

function timeText(timeMs: number): string {
  const date = new Date(timeMs)
  return Number.isNaN(date.getTime()) ? String(timeMs) : date.toISOString()
}

/** Whether an event that is kept has that number or a lower one. */
async function hasEventUpTo(topic: HostedTopic, number: Offset): Promise<boolean> {
  const cursor = topic.feed.log.cursor(topic.mark, topic.streamId)
  try {
    for (;;) {
      const step = await cursor.next()
      if (step === undefined) return false
      if ('gap' in step) continue
      const first = step.records[0]
      if (first !== undefined) return first.offset <= number
    }
  } finally {
    cursor.close()
  }
}

function keyOf(text: string): Uint8Array {
  const key = Buffer.from(text, 'utf8')
  if (key.length <= ID_BYTES_MAX) return key
  throw new DomainError('INVALID', `The last event id must have at most ${ID_BYTES_MAX} bytes of UTF-8.`, {
    path: 'last-event-id',
  })
}

/**
 * HTTP strips spaces and tabs around a header's value, so they cannot distinguish two ids. A loop rather than a regular
 * expression, which would take quadratic time for a long run of inner spaces.
 */
export function trimmed(text: string): string {
  let start = 0
  let end = text.length
  while (start < end && isBlank(text.charCodeAt(start))) start++
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--
  return text.slice(start, end)
}

function isBlank(unit: number): boolean {
  return unit === 0x20 || unit === 0x09
}
