/** A topic's history, page by page; each page is requested once the previous one has been consumed. */

import type { CallOptions, Connection } from './connection.ts'
import { SserError } from './errors.ts'

/** As it was published, and as it is stored in the log. */
export interface StoredEvent {
  readonly kind: 'event'
  /** The server's id. */
  readonly id: string
  /** The publisher's own id, if it gave one. */
  readonly publisherId: string | undefined
  readonly type: string | undefined
  /** RFC 3339. */
  readonly time: string
  /** Any JSON value. */
  readonly message: unknown
}

/** Events are missing. */
export interface StoredGap {
  readonly kind: 'gap'
  /** For humans. */
  readonly reason: string
  /** The server's number up to which events may be missing. */
  readonly through: string
}

export type StoredItem = StoredEvent | StoredGap

export interface HistoryOptions extends CallOptions {
  /** The server's id of an event: start after it. */
  readonly after?: string
  /** `desc`: newest first. */
  readonly order?: 'asc' | 'desc'
  /** Events per request. */
  readonly pageEvents?: number
}

/** As the server sends it. */
export interface EventBody {
  readonly id: string
  readonly publisher_id?: string
  readonly type?: string
  readonly time: string
  readonly message: unknown
}

/** As the server sends it. */
export interface PageBody {
  readonly events: readonly EventBody[]
  readonly next: string | null
  readonly gaps?: readonly { readonly resumes_after: string; readonly reason: string }[]
}

/** The gaps of each page come first. Rejects with an SserError, or with the signal's reason. */
export async function* history(
  connection: Connection,
  eventsPath: string,
  { after, order, pageEvents, ...options }: HistoryOptions,
): AsyncGenerator<StoredItem, void, void> {
  const query = new URLSearchParams()
  if (order !== undefined) query.set('order', order)
  if (pageEvents !== undefined) query.set('limit', String(pageEvents))
  for (let next: string | null | undefined = after; next !== null; ) {
    if (next !== undefined) query.set('after', next)
    const page = pageOf(await connection.call('GET', `${eventsPath}?${query}`, undefined, options))
    for (const { resumes_after: through, reason } of page.gaps ?? []) yield { kind: 'gap', reason, through }
    for (const { id, publisher_id: publisherId, type, time, message } of page.events) {
      yield { kind: 'event', id, publisherId, type, time, message }
    }
    next = page.next
  }
}

function pageOf(body: unknown): PageBody {
  if (typeof body === 'object' && body !== null && 'events' in body && 'next' in body) return body as PageBody
  throw new SserError('SSER_PROTOCOL', 'The answer is no page of events: is there an sser server at this address?')
}
