/**
 * A minimal client of event streams over a bare socket, for tests that must see every byte and decide when to read: it
 * can stop reading, be cut at any byte, and resume. It reads what the server of this project writes (line ends are LF)
 * and is strict about chunk framing. It shares no code with the server.
 */
import assert from 'node:assert/strict'
import { connect, type Socket } from 'node:net'

export interface SseClientOptions {
  readonly token?: string
  readonly lastEventId?: string | undefined
  readonly httpVersion?: '1.0' | '1.1'
  readonly headers?: Readonly<Record<string, string>>
  /** The connection ends, as if the network broke, after exactly so many bytes of the stream; what follows is not seen. */
  readonly cutAfterBytes?: number | undefined
  /** Begin without reading any of the stream; the head is read all the same. */
  readonly paused?: boolean
  readonly onBlock?: (block: SseBlock) => void
  /** Keep no blocks: only `onBlock` sees them. */
  readonly forgets?: boolean
}

/** What stands between two empty lines. */
export interface SseBlock {
  readonly id: string | undefined
  readonly type: string | undefined
  /** Lines joined by LF, as by the standard; undefined: dispatches nothing. */
  readonly data: string | undefined
  readonly retryMs: number | undefined
  readonly comment: string | undefined
}

/** Longer than anything in these tests should take on a busy machine. */
const WAIT_MS_MAX = 30_000
const NOTHING = Buffer.alloc(0)

export class SseClient {
  readonly socket: Socket
  status = 0
  /** Names in lower case. */
  readonly headers = new Map<string, string>()
  /** Every block, in order. */
  readonly blocks: SseBlock[] = []
  /** By the standard: also a block without data sets it. */
  lastEventId = ''
  /** Bytes of the stream so far, without HTTP's framing. */
  bytes = 0
  /** Resolves when the connection is over, for whatever reason; true: the stream was ended in an orderly way. */
  readonly closed: Promise<boolean>
  readonly #options: SseClientOptions
  #rest: Buffer = NOTHING
  #phase: 'head' | 'size' | 'chunk' | 'plain' | 'ended' = 'head'
  #chunkLeft = 0
  #text: Buffer = NOTHING
  #waiters = new Set<() => void>()
  #isOver = false
  #onHead: (() => void) | undefined

  private constructor(url: URL, options: SseClientOptions) {
    this.#options = options
    this.lastEventId = options.lastEventId ?? ''
    this.socket = connect({ host: url.hostname, port: Number(url.port), noDelay: true })
    this.socket.on('error', () => undefined)
    this.socket.on('data', (bytes: Buffer) => this.#onData(bytes))
    this.socket.on('end', () => {
      if (this.#phase === 'plain') this.#phase = 'ended'
      this.socket.end()
    })
    this.closed = new Promise((resolve) => {
      this.socket.once('close', () => {
        this.#isOver = true
        this.#wake()
        resolve(this.#phase === 'ended')
      })
    })
    const { token, lastEventId, httpVersion = '1.1', headers = {} } = options
    const lines = [
      `GET ${url.pathname}${url.search} HTTP/${httpVersion}`,
      `host: ${url.host}`,
      'accept: text/event-stream',
    ]
    if (token !== undefined) lines.push(`authorization: Bearer ${token}`)
    if (lastEventId !== undefined && lastEventId !== '') lines.push(`last-event-id: ${lastEventId}`)
    for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`)
    this.socket.write(`${lines.join('\r\n')}\r\n\r\n`)
  }

  /** Resolves with the answer's head; rejects where there is none. Any status: look at it. */
  static async connect(url: URL | string, options: SseClientOptions = {}): Promise<SseClient> {
    const client = new SseClient(new URL(url), options)
    await new Promise<void>((resolve, reject) => {
      client.#onHead = resolve
      void client.closed.then(() => reject(new Error('The connection ended before the head of an answer.')))
    })
    return client
  }

  /** Blocks with data. */
  get events(): readonly SseBlock[] {
    return this.blocks.filter((block) => block.data !== undefined)
  }

  get isOver(): boolean {
    return this.#isOver
  }

  /** The next bytes stay in the kernel, and in time the server's socket is full. */
  pause(): void {
    this.socket.pause()
  }

  resume(): void {
    this.socket.resume()
  }

  /** As if the network broke. */
  cut(): void {
    this.socket.resetAndDestroy()
  }

  async close(): Promise<void> {
    this.socket.destroy()
    await this.closed
  }

  /** Resolves when it is true; asked whenever something arrives. Rejects when the stream is over and it is not. */
  async until(isTrue: (client: SseClient) => boolean, waitMs = WAIT_MS_MAX): Promise<void> {
    const endsAt = performance.now() + waitMs
    while (!isTrue(this)) {
      if (this.#isOver) throw new Error(`The stream ended first, after ${this.bytes} bytes.`)
      const leftMs = endsAt - performance.now()
      if (leftMs <= 0) throw new Error(`It never came; ${this.blocks.length} blocks and ${this.bytes} bytes did.`)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(wake, leftMs)
        const waiters = this.#waiters
        function wake(): void {
          clearTimeout(timer)
          waiters.delete(wake)
          resolve()
        }
        waiters.add(wake)
      })
    }
  }

  #wake(): void {
    for (const wake of [...this.#waiters]) wake()
  }

  #onData(bytes: Buffer): void {
    let rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes])
    this.#rest = NOTHING
    for (;;) {
      const taken = this.#take(rest)
      if (taken === 0 || this.socket.destroyed) break
      rest = rest.subarray(taken)
    }
    if (rest.length > 0) this.#rest = Buffer.from(rest)
    this.#wake()
  }

  /** Returns how many bytes it understood; 0: it needs more. */
  #take(bytes: Buffer): number {
    if (bytes.length === 0) return 0
    switch (this.#phase) {
      case 'head':
        return this.#takeHead(bytes)
      case 'size': {
        const end = bytes.indexOf('\r\n')
        if (end === -1) return 0
        const size = bytes.toString('latin1', 0, end)
        assert.match(size, /^[0-9a-fA-F]{1,8}$/, 'a chunk begins with its size')
        this.#chunkLeft = Number.parseInt(size, 16)
        if (this.#chunkLeft === 0) {
          if (bytes.length < end + 4) return 0
          assert.equal(bytes.toString('latin1', end, end + 4), '\r\n\r\n', 'nothing follows the last chunk')
          this.#phase = 'ended'
          // The server may keep the connection for another request; this client has none.
          this.socket.end()
          return end + 4
        }
        this.#phase = 'chunk'
        return end + 2
      }
      case 'chunk': {
        if (this.#chunkLeft === 0) {
          if (bytes.length < 2) return 0
          assert.equal(bytes.toString('latin1', 0, 2), '\r\n', 'a chunk ends where it said')
          this.#phase = 'size'
          return 2
        }
        const length = Math.min(this.#chunkLeft, bytes.length)
        this.#chunkLeft -= length
        this.#takeBody(bytes.subarray(0, length))
        return length
      }
      case 'plain':
        this.#takeBody(bytes)
        return bytes.length
      case 'ended':
        return bytes.length
    }
  }

  #takeHead(bytes: Buffer): number {
    const end = bytes.indexOf('\r\n\r\n')
    if (end === -1) return 0
    const [statusLine = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n')
    this.status = Number(statusLine.split(' ')[1])
    for (const line of lines) {
      const colon = line.indexOf(':')
      this.headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim())
    }
    this.#phase = this.headers.get('transfer-encoding') === 'chunked' ? 'size' : 'plain'
    if (this.#options.paused) this.socket.pause()
    this.#onHead?.()
    return end + 4
  }

  #takeBody(bytes: Buffer): void {
    const { cutAfterBytes = Number.POSITIVE_INFINITY } = this.#options
    const seen = bytes.subarray(0, Math.max(0, Math.min(bytes.length, cutAfterBytes - this.bytes)))
    this.bytes += seen.length
    let text = this.#text.length === 0 ? seen : Buffer.concat([this.#text, seen])
    for (;;) {
      const end = text.indexOf('\n\n')
      if (end === -1) break
      this.#takeBlock(text.toString('utf8', 0, end))
      text = text.subarray(end + 2)
    }
    this.#text = text.length === 0 ? NOTHING : Buffer.from(text)
    if (this.bytes >= cutAfterBytes) this.cut()
  }

  #takeBlock(text: string): void {
    let id: string | undefined
    let type: string | undefined
    let data: string | undefined
    let retryMs: number | undefined
    let comment: string | undefined
    for (const line of text.split('\n')) {
      assert(!line.includes('\r'), 'line ends are LF')
      const colon = line.indexOf(':')
      assert(colon !== -1, `a line has a field: ${line}`)
      const name = line.slice(0, colon)
      const value = line.slice(colon + (line[colon + 1] === ' ' ? 2 : 1))
      if (name === 'id') id = value
      else if (name === 'event') type = value
      else if (name === 'data') data = data === undefined ? value : `${data}\n${value}`
      else if (name === 'retry') retryMs = Number(value)
      else if (name === '') comment = value
      else assert.fail(`an unknown field: ${line}`)
    }
    if (id !== undefined) this.lastEventId = id
    const block = { id, type, data, retryMs, comment }
    if (!this.#options.forgets) this.blocks.push(block)
    this.#options.onBlock?.(block)
  }
}
