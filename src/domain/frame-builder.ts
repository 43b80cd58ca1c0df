/**
 * Makes the bytes that subscribers share: records become frames, and any blocks become one buffer that holds them both bare
 * and within one HTTP/1.1 chunk. Both live delivery and replay use it, so an event has the same bytes either way. It copies
 * what it is given and keeps no view of it; it knows nothing of sockets.
 */

import assert from 'node:assert/strict'
import { type FrameFields, frameBytesMax, frameLength, writeFrame } from '../sse/encode.ts'
import { decodeEvent, EVENT_PUBLISHED } from './entry.ts'
import { formatEventId } from './event-id.ts'
import type { LogRecord, SharedBytes } from './ports.ts'

/** Room for the chunk size: eight hex digits and a line end, enough for 4 GiB. */
const HEAD_BYTES_MAX = 8 + 2
const TAIL_BYTES = 2
const CR = 13
const LF = 10

const NO_KEY = new Uint8Array(0)

const SCRATCH_BYTES_AT_FIRST = 64 * 1024
/** A larger scratch buffer, grown for one large commit, is released. */
const SCRATCH_BYTES_KEPT_MAX = 1024 * 1024

export class FrameBuilder {
  #scratch: Uint8Array = Buffer.allocUnsafeSlow(SCRATCH_BYTES_AT_FIRST)

  /**
   * The frames of all events among the records, in order; at least one must be an event. The frames are first written into a
   * scratch buffer: computing their exact length would cost a second pass over each message, and allocating by the upper bound
   * would waste memory for as long as the bytes are kept. `wrap` makes the data of each event, by default the message; wrapped
   * events carry only the server's number. Throws EntryError where a payload cannot be read.
   */
  build(records: readonly LogRecord[], wrap?: (record: LogRecord) => Uint8Array): SharedBytes {
    let at = 0
    for (const record of records) {
      if (record.kind !== EVENT_PUBLISHED) continue
      const { type, message } = decodeEvent(record.payload)
      const id = formatEventId(record.offset)
      const fields =
        wrap === undefined ? { id, key: record.key, type, message } : { id, key: NO_KEY, type, message: wrap(record) }
      this.#ensure(at, fields)
      at = writeFrame(this.#scratch, at, fields)
    }
    const bytes = allocate(at)
    bytes.plain.set(this.#scratch.subarray(0, at))
    if (this.#scratch.length > SCRATCH_BYTES_KEPT_MAX) this.#scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES_AT_FIRST)
    return bytes
  }

  #ensure(at: number, fields: FrameFields): void {
    // The bound is cheap and nearly always fits; only where it does not is the message scanned.
    if (at + frameBytesMax(fields) <= this.#scratch.length) return
    const needed = at + frameLength(fields)
    if (needed <= this.#scratch.length) return
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#scratch.length * 2))
    larger.set(this.#scratch.subarray(0, at))
    this.#scratch = larger
  }
}

/** The blocks concatenated; together they must not be empty. */
export function shareBytes(...blocks: readonly Uint8Array[]): SharedBytes {
  let length = 0
  for (const block of blocks) length += block.length
  const bytes = allocate(length)
  let at = 0
  for (const block of blocks) {
    bytes.plain.set(block, at)
    at += block.length
  }
  return bytes
}

/**
 * A buffer for that many bytes with the chunk framing in place. The size is written right before the bytes, so that the
 * chunk starts with its first digit: leading zeros would be allowed, but not every peer has been tested with them.
 */
function allocate(length: number): SharedBytes {
  assert(length > 0, 'a chunk without bytes would end the stream')
  const size = length.toString(16)
  const buffer = Buffer.allocUnsafe(HEAD_BYTES_MAX + length + TAIL_BYTES)
  const start = HEAD_BYTES_MAX - 2 - size.length
  const end = HEAD_BYTES_MAX + length
  buffer.write(size, start, 'latin1')
  buffer[HEAD_BYTES_MAX - 2] = CR
  buffer[HEAD_BYTES_MAX - 1] = LF
  buffer[end] = CR
  buffer[end + 1] = LF
  return { plain: buffer.subarray(HEAD_BYTES_MAX, end), chunked: buffer.subarray(start, end + TAIL_BYTES) }
}
