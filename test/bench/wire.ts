/** What the load generators and the benchmark agree on: the shape of a message, the clock, and percentiles. */

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

export function publishRequest(port: number, token: string, topicId: string, message: string): Buffer {
  return requestWith(port, token, topicId, { event: { message } })
}

/** One request with so many events of this message. */
export function batchRequest(port: number, token: string, topicId: string, message: string, events: number): Buffer {
  return requestWith(port, token, topicId, { events: Array.from({ length: events }, () => ({ message })) })
}

function requestWith(port: number, token: string, topicId: string, content: unknown): Buffer {
  const body = JSON.stringify(content)
  return Buffer.from(
    `POST /api/v1/pubsubs/${topicId}/events HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\nauthorization: Bearer ${token}\r\n` +
      `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  )
}
