/** The data of an event in a stream of several topics: its message inside JSON, as requested by `envelope=json`. */

import { isRecord, SserError } from './errors.ts'

export interface Unwrapped {
  readonly topic: string
  /** RFC 3339, UTC: when it was published. */
  readonly time: string
  /** The publisher's own id; undefined where there is none. */
  readonly publisherId: string | undefined
  /** As in a stream of one topic: a string as it is, everything else as the JSON that was published. */
  readonly data: string
}

/** No JSON string can contain this: a quote in it would be preceded by a backslash. The message is the last member. */
const BEFORE_MESSAGE = ',"message":'

/** Throws SserError with SSER_PROTOCOL. */
export function unwrap(json: string): Unwrapped {
  const envelope = parsed(json)
  const at = json.indexOf(BEFORE_MESSAGE)
  if (!isRecord(envelope) || typeof envelope['topic'] !== 'string' || at === -1) throw strange(json)
  const { topic, time, publisher_id: publisherId, message } = envelope
  return {
    topic: String(topic),
    time: String(time),
    publisherId: typeof publisherId === 'string' ? publisherId : undefined,
    // Numbers of any length are preserved.
    data: typeof message === 'string' ? message : json.slice(at + BEFORE_MESSAGE.length, -1),
  }
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch (error) {
    throw error instanceof SyntaxError ? strange(json, error) : error
  }
}

function strange(json: string, cause?: unknown): SserError {
  return new SserError('SSER_PROTOCOL', `An event of several topics came without its envelope: ${json.slice(0, 100)}`, {
    cause,
  })
}
