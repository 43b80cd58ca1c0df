/** What the load generators and the benchmark agree on: the shape of a message, the clock, and percentiles. */
import { endHeaders, endStream, frame, frameOf, headOf } from '../support/http2-frames.ts'
import type { Transport } from './transport.ts'

/** Stands in each event exactly once, as the last character of its message, and nowhere else in what a server sends. */
export const EVENT_MARK = 0x7e
/** Decimal digits in front of the mark: when it was sent, in µs of the machine's monotonic clock. */
export const TIME_DIGITS = 16

/** A message of so many characters, mark and time included. */
export function messageOf(bytes: number, sentAtUs: number): string {
  const time = String(sentAtUs).padStart(TIME_DIGITS, '0')
  return `${'abcdefghijklmnopqrstuvwxyz'.repeat(Math.ceil(bytes / 26)).slice(0, bytes - TIME_DIGITS - 1)}${time}~`
}

/** The same clock in every process of this machine, in µs. */
export function nowUs(): number {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds * 1e6 + Math.floor(nanoseconds / 1e3)
}

export interface Percentiles {
  readonly samples: number
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

export function percentiles(values: Float64Array): Percentiles {
  const sorted = values.slice().sort()
  const at = (part: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN
  return { samples: sorted.length, p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1) }
}

export interface RequestOptions {
  readonly port: number
  readonly transport?: Transport
  readonly token: string
}

export function publishRequest(options: RequestOptions, topicId: string, message: string): Buffer {
  return requestWith(options, topicId, { event: { message } })
}

/** One request with so many events of this message. */
export function batchRequest(options: RequestOptions, topicId: string, message: string, events: number): Buffer {
  return requestWith(options, topicId, { events: Array.from({ length: events }, () => ({ message })) })
}

/** Over HTTP/2: its frames, with the number of their stream left out. */
function requestWith({ port, transport, token }: RequestOptions, topicId: string, content: unknown): Buffer {
  const body = Buffer.from(JSON.stringify(content))
  const authority = `127.0.0.1:${port}`
  const path = `/api/v1/pubsubs/${topicId}/events`
  if (transport === 'http2') {
    const head = headOf({
      ':method': 'POST',
      ':scheme': 'https',
      ':authority': authority,
      ':path': path,
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      'content-length': String(body.length),
    })
    return Buffer.concat([frameOf(frame.headers, endHeaders, 0, head), frameOf(frame.data, endStream, 0, body)])
  }
  const head =
    `POST ${path} HTTP/1.1\r\nhost: ${authority}\r\nauthorization: Bearer ${token}\r\n` +
    `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`
  return Buffer.concat([Buffer.from(head), body])
}
