/**
 * Where a stream of several topics starts. There is a single order, that of numbers, and so a single number to resume after:
 * the lowest of those that each topic would resume after by itself. Promises, as for one topic, never to resume later than
 * what the client can have seen, and to report a gap where something may be missing; each gap names the topics it concerns.
 */

import { fromStorageError } from './errors.ts'
import type { NumberSource, Offset } from './ports.ts'
import {
  CANONICAL_CHARACTERS,
  findOwnId,
  type GapNotice,
  type ResumePoint,
  type ResumeRequest,
  resolveResume,
  type StreamStart,
  trimmed,
} from './resume.ts'
import { settledIn } from './set-channel.ts'
import type { HostedTopic } from './topic.ts'

/** Throws a DomainError, like `resolveResume`. */
export async function resolveAll(
  topics: readonly HostedTopic[],
  numbers: NumberSource,
  request: ResumeRequest,
): Promise<StreamStart> {
  try {
    const wanted = await oneNumber(topics, request)
    const points = await Promise.all(topics.map((topic) => resolveResume(topic, numbers, wanted)))
    if (points.some(({ live }) => live)) {
      return { after: settledIn(topics.map(({ feed }) => feed)), gaps: [], live: true }
    }
    const after = wanted.kind === 'time' ? await beforeFirst(topics, points) : lowest(points)
    return { after, gaps: gapsOf(topics, points, request), live: false }
  } catch (error) {
    throw fromStorageError(error)
  }
}

/** A publisher's own id stands for a number, which then counts for all topics. */
async function oneNumber(topics: readonly HostedTopic[], request: ResumeRequest): Promise<ResumeRequest> {
  if (request.kind !== 'last-event-id') return request
  const text = trimmed(request.text)
  // A text in the form of a number usually is one; each topic checks whether it is a publisher's id.
  if (text === '' || text.length === CANONICAL_CHARACTERS) return request
  const number = await findOwnId(topics, text)
  return number === undefined ? request : { kind: 'number', number }
}

/**
 * The highest number before all requested events. If clocks have run backwards, older events of another topic may lie in
 * between: better to send them than to lose them.
 */
async function beforeFirst(topics: readonly HostedTopic[], points: readonly ResumePoint[]): Promise<Offset> {
  const firsts = await Promise.all(topics.map((topic, i) => firstAfter(topic, points[i]!.after)))
  const first = Math.min(...firsts)
  return first === Number.POSITIVE_INFINITY ? Math.max(...points.map(({ after }) => after)) : first - 1
}

async function firstAfter({ feed, streamId }: HostedTopic, after: Offset): Promise<Offset> {
  const cursor = feed.log.cursor(after, streamId)
  try {
    const step = await cursor.next()
    if (step === undefined) return Number.POSITIVE_INFINITY
    // A gap is to be reported at its place.
    if ('gap' in step) return after + 1
    return step.records[0]?.offset ?? cursor.position + 1
  } finally {
    cursor.close()
  }
}

function lowest(points: readonly ResumePoint[]): Offset {
  return Math.min(...points.map(({ after }) => after))
}

/** One per reason, with the topics that it concerns. */
function gapsOf(
  topics: readonly HostedTopic[],
  points: readonly ResumePoint[],
  request: ResumeRequest,
): readonly GapNotice[] {
  const gaps = new Map<string, { readonly notice: GapNotice; readonly topics: string[] }>()
  for (const [i, { gap }] of points.entries()) {
    if (gap === undefined) continue
    const known = gaps.get(gap.reason)
    if (known === undefined) gaps.set(gap.reason, { notice: gap, topics: [topics[i]!.id] })
    else known.topics.push(topics[i]!.id)
  }
  const requested = request.kind === 'last-event-id' ? trimmed(request.text) : undefined
  return [...gaps.values()].map(({ notice, topics: ids }) => {
    return { ...notice, requested: requested ?? notice.requested, topics: ids }
  })
}
