// GET /api/v1/pubsubs/{id}/events in a finite form: a page of events as JSON, or all of them, one per line. Promises bounded
// memory, however much a topic holds, and that missing events are reported. Which form is wanted is decided elsewhere.
import { Readable } from 'node:stream'
import type { Request, ResponseObject, ResponseToolkit } from '@hapi/hapi'
import { DomainError } from '../domain/errors.ts'
import { formatEventId, parseEventId } from '../domain/event-id.ts'
import type { GapNotice, HistoryItem, Hub, ResumeRequest, Topic } from '../domain/hub.ts'
import { gapText } from './answers.ts'
import { jsonAnswer } from './errors.ts'
import { resumeRequestOf } from './resume-request.ts'
import type { HistoryPageQuery, HistoryQuery } from './schemas.ts'

export interface HistoryLimits {
  /** Per page. */
  readonly historyEventsMax: number
  /** A client that takes nothing for this long is cut off. */
  readonly writeTimeoutMs: number
}

/** A page ends with the event that makes it reach this size. */
const PAGE_BYTES = 1024 * 1024

export async function answerPage(
  hub: Hub,
  topic: Topic,
  request: Request,
  h: ResponseToolkit,
  query: HistoryPageQuery,
): Promise<ResponseObject> {
  const page = await pageOf(await itemsOf(hub, topic, request, query), query.limit)
  return jsonAnswer(h, page).header('cache-control', 'no-store')
}

/** Ends with what was committed when it began. */
export async function answerLines(
  hub: Hub,
  topic: Topic,
  request: Request,
  h: ResponseToolkit,
  query: HistoryQuery,
  { writeTimeoutMs }: HistoryLimits,
): Promise<ResponseObject> {
  const items = await itemsOf(hub, topic, request, query)
  const { res } = request.raw
  res.setTimeout(writeTimeoutMs, () => res.destroy())
  const answer = h.response(Readable.from(linesOf(items), { objectMode: false })).type('application/x-ndjson')
  return answer.header('cache-control', 'no-store').header('x-accel-buffering', 'no')
}

/** From the query: `after` and `order`, or the point that a stream would resume from. */
async function itemsOf(
  hub: Hub,
  topic: Topic,
  request: Request,
  query: HistoryQuery,
): Promise<AsyncIterable<readonly HistoryItem[]>> {
  const after = query.after === undefined ? undefined : numberOf(query.after)
  if (query.order === 'desc') return await hub.historyBackward(topic, after)
  const asStream = resumeRequestOf(request.raw.req, query)
  const elsewhere: ResumeRequest = asStream.kind === 'live' ? { kind: 'earliest' } : asStream
  const from = await hub.resolve(topic, after === undefined ? elsewhere : { kind: 'number', number: after })
  return hub.historyForward(topic, from)
}

function numberOf(text: string): number {
  const number = parseEventId(text)
  if (number !== undefined) return number
  const words = 'After is the `next` of the page before, or the id of an event: up to 11 characters of 0-9, A-Z, a-z.'
  throw new DomainError('INVALID', words, { path: 'after' })
}

async function pageOf(items: AsyncIterable<readonly HistoryItem[]>, count: number): Promise<string> {
  const events: string[] = []
  const gaps: string[] = []
  let bytes = 0
  let last = 0
  let hasMore = false
  search: for await (const some of items) {
    for (const item of some) {
      if (events.length === count || bytes >= PAGE_BYTES) {
        hasMore = true
        break search
      }
      if ('gap' in item) gaps.push(gapJson(item.gap))
      else {
        events.push(item.json)
        bytes += item.json.length
        last = item.number
      }
    }
  }
  const next = hasMore ? JSON.stringify(formatEventId(last)) : 'null'
  const told = gaps.length === 0 ? '' : `,"gaps":[${gaps.join(',')}]`
  return `{"events":[${events.join(',')}],"next":${next}${told}}`
}

async function* linesOf(items: AsyncIterable<readonly HistoryItem[]>): AsyncGenerator<string> {
  for await (const some of items) {
    const lines = some.map((item) => ('gap' in item ? `{"gap":${gapJson(item.gap)}}` : item.json))
    yield `${lines.join('\n')}\n`
  }
}

/** Like the data of `sser.gap`. */
function gapJson({ requested, resumesAfter, reason }: GapNotice): string {
  return gapText({ requested, resumes_after: formatEventId(resumesAfter), reason })
}
