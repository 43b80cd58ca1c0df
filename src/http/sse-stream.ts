// A Sink over one HTTP/1 response. The head is written with the first bytes; from then on, chunks framed once for all
// subscribers go straight to the socket, bypassing node's response, which only does its bookkeeping and writes the end.
// Promises a bound on what waits in the socket, and that nothing of the request is kept alive beyond what node itself keeps.
// Knows nothing of topics, events or SSE.
import assert from 'node:assert/strict'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { CloseReason, SharedBytes, Sink } from '../domain/ports.ts'
import type { FlatHeaders } from './cors.ts'

/** The headers of every event stream, whatever the request: proxies must not cache, compress or delay it. */
export const streamHeaders: FlatHeaders = Object.freeze([
  'content-type',
  'text/event-stream',
  'cache-control',
  'no-cache, no-transform',
  'x-accel-buffering',
  'no',
  'x-content-type-options',
  'nosniff',
])

/** Reasons after which nothing more is worth sending: the peer would never take it. */
export const abruptReasons: ReadonlySet<CloseReason> = new Set(['client', 'write-timeout'])

/** libuv's counters of a socket; node itself measures a write's progress by them (net.Socket's timeout). */
interface CountingHandle {
  readonly bytesWritten?: number
  readonly writeQueueSize?: number
}

export class SseStream implements Sink {
  readonly #response: ServerResponse<IncomingMessage>
  readonly #socket: Socket
  readonly #waitingBytesMax: number
  #head: FlatHeaders | undefined
  #isChunked = false
  #isClosed = false
  #hasEnded = false
  #onClose: (() => void) | undefined
  #onDrained: (() => void) | undefined
  #drained: Promise<void> | undefined

  /**
   * `headers` in addition to `streamHeaders`. `waitingBytesMax`: with more bytes waiting in the socket, `write` returns false.
   * The response must be first in its connection's queue, with nothing written yet.
   */
  constructor(response: ServerResponse<IncomingMessage>, headers: FlatHeaders, waitingBytesMax: number) {
    const { socket } = response
    assert(
      socket !== null && !response.headersSent,
      'a stream begins on a response that has its socket and no head yet',
    )
    this.#response = response
    this.#socket = socket
    // Below the socket's own high-water mark it would never emit 'drain'.
    this.#waitingBytesMax = Math.max(waitingBytesMax, socket.writableHighWaterMark)
    this.#head = headers
    // hapi's listeners have nothing left to do, but keep the whole request alive as long as the response.
    response.removeAllListeners('close')
    response.once('close', () => this.#ended())
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  get bytesAccepted(): number {
    const handle = (this.#socket as unknown as { readonly _handle?: CountingHandle | null })._handle
    if (handle?.bytesWritten !== undefined && handle.writeQueueSize !== undefined) {
      return handle.bytesWritten - handle.writeQueueSize
    }
    return this.#socket.bytesWritten - this.#socket.writableLength
  }

  /** Sends the head, if it has not been sent yet. */
  begin(): void {
    const headers = this.#head
    if (headers === undefined) return
    this.#head = undefined
    this.#response.writeHead(200, [...headers, ...streamHeaders])
    this.#response.flushHeaders()
    this.#isChunked = this.#response.chunkedEncoding
  }

  write(bytes: SharedBytes): boolean {
    const socket = this.#socket
    // When the client closes its side, node ends ours: writing after that would be an error.
    if (this.#isClosed || !socket.writable) return true
    if (this.#head !== undefined) {
      socket.cork()
      this.begin()
      socket.write(this.#isChunked ? bytes.chunked : bytes.plain)
      socket.uncork()
    } else {
      socket.write(this.#isChunked ? bytes.chunked : bytes.plain)
    }
    return socket.writableLength <= this.#waitingBytesMax
  }

  drained(): Promise<void> {
    if (this.#isClosed || !this.#socket.writableNeedDrain) return Promise.resolve()
    this.#drained ??= new Promise((resolve) => {
      const settle = () => {
        this.#socket.off('drain', settle)
        this.#onDrained = undefined
        this.#drained = undefined
        resolve()
      }
      this.#onDrained = settle
      this.#socket.on('drain', settle)
    })
    return this.#drained
  }

  close(reason: CloseReason, last?: SharedBytes): void {
    if (reason === 'write-timeout') this.#socket.destroy()
    if (this.#isClosed) return
    if (abruptReasons.has(reason)) {
      this.#socket.destroy()
    } else {
      if (last !== undefined) this.write(last)
      this.begin()
      this.#response.end()
    }
    this.#isClosed = true
    this.#onDrained?.()
  }

  onClose(listener: () => void): void {
    assert(this.#onClose === undefined, 'a stream has one listener to its end')
    if (this.#hasEnded) listener()
    else this.#onClose = listener
  }

  #ended(): void {
    this.#isClosed = true
    this.#hasEnded = true
    this.#onDrained?.()
    const listener = this.#onClose
    this.#onClose = undefined
    listener?.()
  }
}
