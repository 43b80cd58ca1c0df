/**
 * An event as JSON, for histories and for streams with an envelope. A message that was published as a JSON string is a JSON
 * string again; any other value appears exactly as published. Uses the record's views during the call only.
 */

import { decodeEvent } from './entry.ts'
import { formatEventId } from './event-id.ts'
import type { LogRecord } from './ports.ts'

const utf8 = new TextDecoder()

/** `topicId` for an event among those of several topics. Throws EntryError. */
export function eventJson({ offset, timeMs, key, payload }: LogRecord, topicId?: string): string {
  const { isString, type, message } = decodeEvent(payload)
  const text = utf8.decode(message)
  const head = {
    topic: topicId,
    id: formatEventId(offset),
    publisher_id: key.length === 0 ? undefined : utf8.decode(key),
    type: type.length === 0 ? undefined : utf8.decode(type),
    time: new Date(timeMs).toISOString(),
  }
  return `${JSON.stringify(head).slice(0, -1)},"message":${isString ? JSON.stringify(text) : text}}`
}
