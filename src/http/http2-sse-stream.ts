// A Sink over one stream of an HTTP/2 connection. Node and nghttp2 know how much the client takes on this stream and on the
// connection; what it does not take waits here, in order, so that a slow stream holds no other one and what waits for it
// is known to the byte. Promises to hand on a piece only when the one before it has gone, by which progress is seen.
// Knows nothing of topics, events and SSE.
import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import type { Http2ServerResponse, ServerHttp2Stream } from 'node:http2'
import type { CloseReason, SharedBytes, Sink } from '../domain/ports.ts'
import type { FlatHeaders } from './cors.ts'
import { abruptReasons, SseStream, streamHeaders } from './sse-stream.ts'

/** A client that takes this much in the time that a write may take is slow, and not gone. Also the size of a frame. */
const pieceBytes = 16 * 1024

/** The sink for a response, of whichever version of HTTP. See the constructors for what is asked of it. */
export function openStream(response: ServerResponse, headers: FlatHeaders, waitingBytesMax: number): Sink & Beginning {
  if (response.req.httpVersionMajor === 1) return new SseStream(response, headers, waitingBytesMax)
  return new Http2SseStream(response as unknown as Http2ServerResponse, headers, waitingBytesMax)
}

interface Beginning {
  /** Sends the head, if it is not sent yet. */
  begin(): void
}

export class Http2SseStream implements Sink {
  readonly #response: Http2ServerResponse
  readonly #stream: ServerHttp2Stream
  readonly #waitingBytesMax: number
  #head: FlatHeaders | undefined
  /** What was not handed to node yet. The first of it may have been handed over in part: from `#offset` on it was not. */
  readonly #queue: Uint8Array[] = []
  #offset = 0
  #waitingBytes = 0
  #acceptedBytes = 0
  /** Of the piece that node has; 0: it has none. */
  #writingBytes = 0
  #isClosed = false
  #hasEnded = false
  #onClose: (() => void) | undefined
  #onDrained: (() => void) | undefined
  #drained: Promise<void> | undefined

  /** `headers` beside `streamHeaders`. `waitingBytesMax`: above so many bytes that wait, `write` says false. */
  constructor(response: Http2ServerResponse, headers: FlatHeaders, waitingBytesMax: number) {
    assert(!response.headersSent, 'a stream begins on a response that has no head yet')
    this.#response = response
    this.#stream = response.stream
    this.#waitingBytesMax = waitingBytesMax
    this.#head = headers
    // hapi's listeners hold the whole request for as long as the response lives, and have nothing more to do.
    response.removeAllListeners('close')
    this.#stream.once('close', () => this.#ended())
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  get bytesAccepted(): number {
    return this.#acceptedBytes
  }

  begin(): void {
    const headers = this.#head
    if (headers === undefined) return
    this.#head = undefined
    this.#response.writeHead(200, [...headers, ...streamHeaders] as never)
  }

  write({ plain }: SharedBytes): boolean {
    // A client that has reset its stream takes nothing any more.
    if (this.#isClosed || this.#stream.closed || plain.length === 0) return true
    this.begin()
    this.#waitingBytes += plain.length
    if (this.#writingBytes === 0 && plain.length <= pieceBytes) {
      // Nothing waits before it, as with nearly all that is live.
      this.#writingBytes = plain.length
      this.#stream.write(plain, this.#written)
    } else {
      this.#queue.push(plain)
      this.#handOver()
    }
    return this.#waitingBytes <= this.#waitingBytesMax
  }

  drained(): Promise<void> {
    if (this.#isClosed || this.#waitingBytes === 0) return Promise.resolve()
    this.#drained ??= new Promise((resolve) => {
      this.#onDrained = () => {
        this.#onDrained = undefined
        this.#drained = undefined
        resolve()
      }
    })
    return this.#drained
  }

  close(reason: CloseReason, last?: SharedBytes): void {
    if (reason === 'write-timeout') this.#stream.destroy()
    if (this.#isClosed) return
    if (abruptReasons.has(reason)) {
      this.#stream.destroy()
    } else {
      if (last !== undefined) this.write(last)
      this.begin()
    }
    this.#isClosed = true
    this.#onDrained?.()
    this.#handOver()
  }

  onClose(listener: () => void): void {
    assert(this.#onClose === undefined, 'a stream has one listener to its end')
    if (this.#hasEnded) listener()
    else this.#onClose = listener
  }

  /** One piece at a time; behind the last one of a stream that was closed, its end. */
  #handOver(): void {
    if (this.#writingBytes > 0 || this.#stream.destroyed) return
    if (this.#queue.length === 0) {
      if (this.#isClosed) this.#response.end()
      return
    }
    const pieces = this.#takePiece()
    this.#writingBytes = pieces.reduce((sum, { length }) => sum + length, 0)
    const last = pieces.pop()!
    this.#stream.cork()
    for (const piece of pieces) this.#stream.write(piece)
    this.#stream.write(last, this.#written)
    this.#stream.uncork()
  }

  /** Of all pieces the same function: node calls it for each, and one is on its way at a time. */
  readonly #written = (error?: Error | null): void => {
    const bytes = this.#writingBytes
    this.#writingBytes = 0
    if (error) return
    this.#waitingBytes -= bytes
    this.#acceptedBytes += bytes
    if (this.#waitingBytes === 0) this.#onDrained?.()
    this.#handOver()
  }

  #takePiece(): Uint8Array[] {
    const pieces: Uint8Array[] = []
    let room = pieceBytes
    while (room > 0 && this.#queue.length > 0) {
      const first = this.#queue[0]!
      const piece = first.subarray(this.#offset, this.#offset + room)
      pieces.push(piece)
      room -= piece.length
      this.#offset += piece.length
      if (this.#offset < first.length) break
      this.#queue.shift()
      this.#offset = 0
    }
    return pieces
  }

  #ended(): void {
    this.#isClosed = true
    this.#hasEnded = true
    this.#queue.length = 0
    this.#onDrained?.()
    const listener = this.#onClose
    this.#onClose = undefined
    listener?.()
  }
}
