/**
 * The only encoder of what is sent on an event stream. Live delivery and replay both use it, so that the same event is the same
 * bytes, whenever it is sent. Bytes in, bytes out: a payload never becomes a string along the way.
 *
 * It promises that no field can forge another: every line of a message becomes a separate `data:` line, and a line end or NUL in
 * an id or a type (which publishing refuses anyway) is sent as a space. It knows nothing of logs, topics or HTTP; chunk framing
 * is up to the owner of the socket. It imports nothing.
 */

/** What it takes to frame one published event. The views are only read during the call. */
export interface FrameFields {
  /** The server's number: 11 characters of base62. */
  readonly id: string
  /** The publisher's own id, UTF-8; length 0 means that there is none. */
  readonly key: Uint8Array
  /** The event's type, UTF-8; length 0 means that there is none. */
  readonly type: Uint8Array
  /** The message, UTF-8. CR, LF and CRLF each end a line of it. */
  readonly message: Uint8Array
}

const LF = 10
const CR = 13
const SPACE = 32
const COLON = 58

const ID_CHARACTERS = 11
/** `id: `, the number, a line end. */
const ID_LINE_BYTES = 4 + ID_CHARACTERS + 1
/** `data: ` and a line end, the overhead of each line of a message. */
const DATA_LINE_BYTES = 6 + 1

/** Up to this size a loop over the bytes is faster than calling the native search and copy. Measured on Node 20. */
const LOOP_BYTES_MAX = 48

const text = new TextEncoder()

/** The comment that keeps an idle connection alive, in the original's words. */
export const tickComment: Uint8Array = text.encode(': {"status": "tick"}\n\n')

/** The last block for subscribers of a deleted topic, in the original's words. */
export const closedBlock: Uint8Array = text.encode('data: {"status": "closed"}\n\n')

/** An upper bound for `writeFrame` in bytes that needs no look at the message: it assumes nothing but line ends. */
export function frameBytesMax(fields: FrameFields): number {
  return overheadBytes(fields) + fields.message.length * DATA_LINE_BYTES + DATA_LINE_BYTES
}

/** The exact number of bytes that `writeFrame` writes. */
export function frameLength(fields: FrameFields): number {
  return overheadBytes(fields) + dataLinesLength(fields.message)
}

/**
 * Writes the frame of one event and returns the position after it. If the publisher gave an id of its own, the event carries
 * that, and the block right after it makes the server's number the client's last event id. Throws a RangeError where the
 * target is too short, whose content is undefined then.
 */
export function writeFrame(target: Uint8Array, position: number, fields: FrameFields): number {
  const { id, key, type, message } = fields
  let at = position
  if (key.length === 0) {
    at = writeIdLine(target, at, id)
  } else {
    target[at] = 105 // id
    target[at + 1] = 100
    target[at + 2] = COLON
    target[at + 3] = SPACE
    at = writeName(target, at + 4, key)
  }
  if (type.length !== 0) {
    target[at] = 101 // event
    target[at + 1] = 118
    target[at + 2] = 101
    target[at + 3] = 110
    target[at + 4] = 116
    target[at + 5] = COLON
    target[at + 6] = SPACE
    at = writeName(target, at + 7, type)
  }
  at = writeDataLines(target, at, message)
  target[at++] = LF
  if (key.length !== 0) {
    at = writeIdLine(target, at, id)
    target[at++] = LF
  }
  // Stores beyond the end of a typed array are silently ignored, so the end is checked once.
  if (at > target.length) throw new RangeError(`A frame ends at byte ${at} of a buffer of ${target.length} bytes.`)
  return at
}

/** The frame of one event in a buffer of its own. */
export function encodeFrame(fields: FrameFields): Uint8Array {
  const target = new Uint8Array(frameLength(fields))
  writeFrame(target, 0, fields)
  return target
}

/** Tells the client how long to wait before it reconnects, in whole milliseconds. */
export function retryBlock(delayMs: number): Uint8Array {
  if (!Number.isSafeInteger(delayMs) || delayMs < 0) throw new RangeError('A retry delay is a whole number of ms.')
  return text.encode(`retry: ${delayMs}\n\n`)
}

/** An id without data: sets the client's last event id and dispatches nothing. `id` as in `FrameFields`. */
export function primingBlock(id: string): Uint8Array {
  const target = new Uint8Array(ID_LINE_BYTES + 1)
  target[writeIdLine(target, 0, id)] = LF
  return target
}

/** Tells the subscriber that events are missing here. `json` is a text such as JSON.stringify makes. No id. */
export function gapBlock(json: string): Uint8Array {
  return ownEvent('sser.gap', json)
}

/**
 * A stream's first event: has the effect of the priming block, but is visible. `json` as in `gapBlock`, `id` as in
 * `FrameFields`.
 */
export function openEvent(id: string, json: string): Uint8Array {
  const event = ownEvent('sser.open', json)
  const target = new Uint8Array(ID_LINE_BYTES + event.length)
  target.set(event, writeIdLine(target, 0, id))
  return target
}

/** Tells the subscriber that it has caught up. `json` as in `gapBlock`. No id. */
export function caughtUpEvent(json: string): Uint8Array {
  return ownEvent('sser.caught-up', json)
}

/** A heartbeat visible to JavaScript. `json` as in `gapBlock`. No id. */
export function heartbeatEvent(json: string): Uint8Array {
  return ownEvent('sser.heartbeat', json)
}

/** The last event of a stream that must not continue. `json` as in `gapBlock`. No id. */
export function closedEvent(json: string): Uint8Array {
  return ownEvent('sser.closed', json)
}

function ownEvent(type: `sser.${string}`, json: string): Uint8Array {
  const head = text.encode(`event: ${type}\n`)
  const data = text.encode(json)
  const target = new Uint8Array(head.length + dataLinesLength(data) + 1)
  target.set(head)
  target[writeDataLines(target, head.length, data)] = LF
  return target
}

/** Everything in a frame but the `data:` lines. */
function overheadBytes({ key, type }: FrameFields): number {
  const idBytes = key.length === 0 ? ID_LINE_BYTES : 4 + key.length + 1 + ID_LINE_BYTES + 1
  const typeBytes = type.length === 0 ? 0 : 7 + type.length + 1
  return idBytes + typeBytes + 1
}

function writeIdLine(target: Uint8Array, position: number, id: string): number {
  if (id.length !== ID_CHARACTERS) throw new RangeError(`An id has ${ID_CHARACTERS} characters, not ${id.length}.`)
  target[position] = 105 // id
  target[position + 1] = 100
  target[position + 2] = COLON
  target[position + 3] = SPACE
  const at = position + 4
  for (let index = 0; index < ID_CHARACTERS; index++) target[at + index] = id.charCodeAt(index)
  target[at + ID_CHARACTERS] = LF
  return at + ID_CHARACTERS + 1
}

/** Writes an id or a type and its line end. Anything that would end the line early is sent as a space. */
function writeName(target: Uint8Array, position: number, name: Uint8Array): number {
  const length = name.length
  for (let index = 0; index < length; index++) {
    const byte = name[index]!
    target[position + index] = byte === LF || byte === CR || byte === 0 ? SPACE : byte
  }
  target[position + length] = LF
  return position + length + 1
}

function dataLinesLength(message: Uint8Array): number {
  const length = message.length
  let bytes = length + DATA_LINE_BYTES
  if (length > LOOP_BYTES_MAX && !hasLineEnd(message)) return bytes
  for (let index = 0; index < length; index++) {
    const byte = message[index]!
    if (byte > CR) continue
    // The LF of a CRLF belongs to the line end counted at its CR; neither byte is sent as it is.
    if (byte === CR) bytes += DATA_LINE_BYTES - 1
    else if (byte === LF) bytes += index > 0 && message[index - 1] === CR ? -1 : DATA_LINE_BYTES - 1
  }
  return bytes
}

function writeDataLines(target: Uint8Array, position: number, message: Uint8Array): number {
  const length = message.length
  let at = writeDataName(target, position)
  if (length > LOOP_BYTES_MAX && !hasLineEnd(message)) {
    target.set(message, at)
    at += length
  } else {
    for (let index = 0; index < length; index++) {
      const byte = message[index]!
      if (byte > CR || (byte !== CR && byte !== LF)) {
        target[at++] = byte
        continue
      }
      if (byte === CR && index + 1 < length && message[index + 1] === LF) index++
      target[at] = LF
      at = writeDataName(target, at + 1)
    }
  }
  target[at] = LF
  return at + 1
}

function writeDataName(target: Uint8Array, position: number): number {
  target[position] = 100 // data
  target[position + 1] = 97
  target[position + 2] = 116
  target[position + 3] = 97
  target[position + 4] = COLON
  target[position + 5] = SPACE
  return position + 6
}

function hasLineEnd(message: Uint8Array): boolean {
  return message.indexOf(LF) !== -1 || message.indexOf(CR) !== -1
}
