/**
 * An incremental decoder of event streams according to the HTML standard (section 9.2.6, "Interpreting an event stream"). Chunks
 * may be split anywhere, even inside a UTF-8 sequence or between CR and LF. What is incomplete at the end of a stream is
 * dropped, as the standard says: simply feed nothing more.
 *
 * It promises to hold no more than a bounded amount of text. It knows nothing of HTTP, of reconnecting, or of what the
 * events mean. It imports nothing and runs wherever TextDecoder exists.
 */

export interface SseEvent {
  /** `message` where the stream names no type. */
  readonly type: string
  readonly data: string
  /** The last event id as it stands after this event. */
  readonly lastEventId: string
}

export interface DecoderOptions {
  /** `namesId`: the event's own block has an id, so `lastEventId` is not from an earlier block. */
  readonly onEvent: (event: SseEvent, namesId: boolean) => void
  /** A comment's text, without the colon and one space after it. */
  readonly onComment?: (text: string) => void
  /** The new reconnection time, in ms. */
  readonly onRetry?: (delayMs: number) => void
  /** Called at the end of each block that has an id; before its `onEvent`, or `alone` if the block has no data. */
  readonly onId?: (id: string, alone: boolean) => void
  /** Bound on each line and on the data of each event, in bytes of UTF-8. Beyond it `feed` throws. */
  readonly bufferBytesMax: number
  /** The last event id from an earlier connection; '' by default. */
  readonly lastEventId?: string
}

export interface Decoder {
  /**
   * Takes the next chunk and calls back for everything that it completes. Strings and bytes must not be mixed within one stream.
   * Throws an SseDecodeError; after that, or after a callback has thrown, the decoder accepts nothing more.
   */
  feed(chunk: Uint8Array | string): void
  /** The last event id by the standard: that of the latest complete block that had one. */
  readonly lastEventId: string
}

export type SseDecodeErrorCode =
  | 'SSE_TOO_LARGE' // a line, or the data of an event, over the bound
  | 'SSE_DECODER_ENDED' // fed again after it threw, or from inside a callback

export class SseDecodeError extends Error {
  readonly code: SseDecodeErrorCode

  constructor(code: SseDecodeErrorCode, message: string) {
    super(message)
    this.name = 'SseDecodeError'
    this.code = code
  }
}

const LF = 10
const BYTE_ORDER_MARK = 0xfeff
const STREAMING = { stream: true }

export function createDecoder(options: DecoderOptions): Decoder {
  const { onEvent, onComment, onRetry, onId, bufferBytesMax } = options
  // The standard's "UTF-8 decode" strips one byte order mark; that is done below, for strings as well.
  const utf8 = new TextDecoder('utf-8', { ignoreBOM: true })
  let usable = true
  let atStart = true
  let afterCr = false
  let pendingLine = ''
  let pendingBytes = 0

  let lastEventId = options.lastEventId ?? ''
  let namedId: string | undefined
  let type = ''
  let data: string | undefined
  let dataBytes = 0

  function feed(chunk: Uint8Array | string): void {
    if (!usable) throw new SseDecodeError('SSE_DECODER_ENDED', 'This decoder has ended. Make one for each stream.')
    const text = typeof chunk === 'string' ? chunk : utf8.decode(chunk, STREAMING)
    if (text.length === 0) return
    usable = false
    takeText(text)
    usable = true
  }

  function takeText(text: string): void {
    let start = 0
    if (atStart && text.charCodeAt(0) === BYTE_ORDER_MARK) start = 1
    atStart = false
    if (afterCr) {
      if (text.charCodeAt(0) === LF) start = 1
      afterCr = false
    }
    // Only the new text is searched, and each search continues where the last one ended: the work is linear in the length of the
    // stream, however it is split.
    let cr = text.indexOf('\r', start)
    let lf = text.indexOf('\n', start)
    while (cr !== -1 || lf !== -1) {
      const endsInCr = lf === -1 || (cr !== -1 && cr < lf)
      const end = endsInCr ? cr : lf
      takeLineEnd(text.slice(start, end))
      start = end + 1
      if (endsInCr) {
        if (lf === start) {
          start++
          lf = text.indexOf('\n', start)
        } else if (start === text.length) {
          afterCr = true
        }
        cr = text.indexOf('\r', start)
      } else {
        lf = text.indexOf('\n', start)
      }
    }
    if (start < text.length) {
      const rest = text.slice(start)
      pendingLine += rest
      pendingBytes = bounded(pendingBytes + utf8Length(rest), 'A line')
    }
  }

  function takeLineEnd(rest: string): void {
    const bytes = bounded(pendingBytes + utf8Length(rest), 'A line')
    const line = pendingLine + rest
    pendingLine = ''
    pendingBytes = 0
    takeLine(line, bytes)
  }

  function takeLine(line: string, lineBytes: number): void {
    if (line === '') {
      endBlock()
      return
    }
    const colon = line.indexOf(':')
    if (colon === 0) {
      onComment?.(line.slice(line.charCodeAt(1) === 32 ? 2 : 1))
      return
    }
    const name = colon === -1 ? line : line.slice(0, colon)
    const valueStart = colon === -1 ? line.length : line.charCodeAt(colon + 1) === 32 ? colon + 2 : colon + 1
    const value = line.slice(valueStart)
    switch (name) {
      case 'data':
        // The field's name, colon and space are ASCII, so what precedes the value has as many bytes as characters.
        dataBytes = bounded(dataBytes + (data === undefined ? 0 : 1) + lineBytes - valueStart, 'The data of an event')
        data = data === undefined ? value : `${data}\n${value}`
        return
      case 'event':
        type = value
        return
      case 'id':
        if (!value.includes('\0')) namedId = value
        return
      case 'retry':
        if (/^[0-9]+$/.test(value)) onRetry?.(Math.min(Number(value), Number.MAX_SAFE_INTEGER))
        return
      default:
        return
    }
  }

  function endBlock(): void {
    const finishedType = type
    const finishedData = data
    type = ''
    data = undefined
    dataBytes = 0
    const namesId = namedId !== undefined
    if (namedId !== undefined) {
      lastEventId = namedId
      namedId = undefined
      onId?.(lastEventId, finishedData === undefined)
    }
    if (finishedData === undefined) return
    onEvent({ type: finishedType === '' ? 'message' : finishedType, data: finishedData, lastEventId }, namesId)
  }

  function bounded(bytes: number, what: string): number {
    if (bytes <= bufferBytesMax) return bytes
    throw new SseDecodeError('SSE_TOO_LARGE', `${what} is longer than ${bufferBytesMax} bytes; raise bufferBytesMax.`)
  }

  return {
    feed,
    get lastEventId() {
      return lastEventId
    },
  }
}

function utf8Length(text: string): number {
  let bytes = text.length
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index)
    if (unit < 0x80) continue
    // Each half of a surrogate pair counts for two of the pair's four bytes.
    bytes += unit < 0x800 || (unit >= 0xd800 && unit < 0xe000) ? 1 : 2
  }
  return bytes
}
