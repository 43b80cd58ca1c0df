// Where a client wants to resume, from its headers and query. Knows the names that clients use, and nothing of topics.
import type { IncomingMessage } from 'node:http'
import { DomainError } from '../domain/errors.ts'
import type { ResumeRequest } from '../domain/hub.ts'
import type { ResumeQuery } from './schemas.ts'

const live: ResumeRequest = Object.freeze({ kind: 'live' })
const earliest: ResumeRequest = Object.freeze({ kind: 'earliest' })

/** The header wins over the query: a browser that reconnects repeats the query of its first request. */
export function resumeRequestOf(request: IncomingMessage, query: ResumeQuery): ResumeRequest {
  const header = request.headers['last-event-id']
  if (typeof header === 'string' && header !== '') {
    // Node decodes header bytes as latin1; clients write UTF-8.
    return { kind: 'last-event-id', text: Buffer.from(header, 'latin1').toString('utf8') }
  }
  const text = query.last_event_id || query.lastEventId
  if (text) return { kind: 'last-event-id', text }
  if (!query.since) return live
  if (query.since === 'earliest') return earliest
  const timeMs = parseTime(query.since)
  if (timeMs !== undefined) return { kind: 'time', timeMs }
  const allowed = 'earliest, a time such as 2026-01-31T12:00:00Z, or seconds since 1970'
  throw new DomainError('INVALID', `since is ${allowed}.`, { path: 'since' })
}

const unixSeconds = /^\d{1,11}(?:\.\d{1,9})?$/
const rfc3339 = /^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)$/

/** Seconds since 1970, or an RFC 3339 time, in ms; undefined for anything else. */
export function parseTime(text: string): number | undefined {
  if (unixSeconds.test(text)) return Math.floor(Number(text) * 1000)
  const parts = rfc3339.exec(text)
  if (parts === null) return undefined
  const [, date, time, fraction = '', zone = ''] = parts
  const timeMs = Date.parse(`${date}T${time}${fraction.slice(0, 4)}${zone.toUpperCase()}`)
  return Number.isNaN(timeMs) ? undefined : Math.max(0, timeMs)
}
