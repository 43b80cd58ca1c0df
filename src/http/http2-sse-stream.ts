// A Sink over one stream of an HTTP/2 connection. Node and nghttp2 know how much the client takes on this stream and on the
// connection; the rest waits here, in order, so that a slow stream does not hold up others and its backlog is known to the
// byte. Promises to hand over each piece only when the previous one is gone, which makes progress visible. Knows nothing of
// topics, events or SSE.
import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import type { Http2ServerResponse, ServerHttp2Stream } from 'node:http2'
import type { CloseReason, SharedBytes, Sink } from '../domain/ports.ts'
import type { FlatHeaders } from './cors.ts'
import { abruptReasons, SseStream, streamHeaders } from './sse-stream.ts'

/** A client that takes this much within the write timeout is slow, not gone. Also the size of a frame. */
const pieceBytes = 16 * 1024

/** The sink for a response, whichever its HTTP version. The constructors say what they require of it. */
export function openStream(response: ServerResponse, headers: FlatHeaders, waitingBytesMax: number): Sink & Beginning {
  if (response.req.httpVersionMajor === 1) return new SseStream(response, headers, waitingBytesMax)
  return new Http2SseStream(response as unknown as Http2ServerResponse, headers, waitingBytesMax)
}

interface Beginning {
  /** Sends the head, if it has not been sent yet. */
  begin(): void
}

export class Http2SseStream implements Sink {
  readonly #response: Http2ServerResponse
  readonly #stream: ServerHttp2Stream
  readonly #waitingBytesMax: number
  #head: FlatHeaders | undefined
  /** Not handed to node yet. The first one may have been handed over in part, up to `#offset`. */
  readonly #queue: Uint8Array[] = []
  #offset = 0
  #waitingBytes = 0
  #acceptedBytes = 0
  /** Size of the piece that node has; 0: none. */
  #writingBytes = 0
  #isClosed = false
  #hasEnded = false
  #onClose: (() => void) | undefined
  #onDrained: (() => void) | undefined
  #drained: Promise<void> | undefined

  /** `headers` in addition to `streamHeaders`. `waitingBytesMax`: with more bytes waiting, `write` returns false. */
  constructor(response: Http2ServerResponse, headers: FlatHeaders, waitingBytesMax: number) {
    assert(!response.headersSent, 'a stream begins on a response that has no head yet')
    this.#response = response
    this.#stream = response.stream
    this.#waitingBytesMax = waitingBytesMax
    this.#head = headers
    // hapi's listeners have nothing left to do, but keep the whole request alive as long as the response.
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
    // A client that has reset its stream takes nothing more.
    if (this.#isClosed || this.#stream.closed || plain.length === 0) return true
    this.begin()
    this.#waitingBytes += plain.length
    if (this.#writingBytes === 0 && plain.length <= pieceBytes) {
      // Nothing is queued, which is the usual case for live events.
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

  /** One piece at a time; after the last piece of a closed stream, its end. */
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

  /** One function for all pieces: node calls it for each, and only one is in flight at a time. */
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
