/**
 * A sink that keeps what it is given, decodes it, and is full or not as the test says. It checks the chunk framing of
 * everything, and that nothing is written after its end.
 */

import assert from 'node:assert/strict'
import type { CloseReason, SharedBytes, Sink } from '../../src/domain/ports.ts'
import { createDecoder, type SseEvent } from '../../src/sse/decode.ts'

export class FakeSink implements Sink {
  /** While true, every write is answered with false. */
  refuses = false
  /** While true, nothing that is written counts as accepted by the peer. */
  isStuck = false
  isClosed = false
  bytesAccepted = 0
  readonly events: SseEvent[] = []
  /** Every last event id that a client would have had, in order; an event's own number comes right behind its key. */
  readonly ids: string[] = []
  readonly comments: string[] = []
  readonly retries: number[] = []
  readonly writes: Uint8Array[] = []
  closeReason: CloseReason | undefined
  /** Called by each write, before it answers. */
  onWrite: (() => void) | undefined
  #waitingBytes = 0
  #closeListener: (() => void) | undefined
  #drainWaiters: (() => void)[] = []
  #watchers = new Set<() => void>()
  readonly #endsByItself: boolean
  readonly #decoder = createDecoder({
    onEvent: (event) => this.events.push(event),
    onId: (id) => this.ids.push(id),
    onComment: (text) => this.comments.push(text),
    onRetry: (delayMs) => this.retries.push(delayMs),
    bufferBytesMax: 16 * 1024 * 1024,
  })

  /** `endsByItself` false: after `close` the test has to call `end`. */
  constructor(options: { readonly endsByItself?: boolean } = {}) {
    this.#endsByItself = options.endsByItself ?? true
  }

  /** Messages of the events, without those of the server's own. */
  get messages(): string[] {
    return this.events.filter(({ type }) => !type.startsWith('sser.')).map(({ data }) => data)
  }

  get gaps(): { requested?: string; resumes_after: string; reason: string }[] {
    return this.events.filter(({ type }) => type === 'sser.gap').map(({ data }) => JSON.parse(data))
  }

  get text(): string {
    return Buffer.concat(this.writes).toString('utf8')
  }

  write(bytes: SharedBytes): boolean {
    assert(!this.isClosed, 'nothing is written to a sink that is closed')
    this.#receive(bytes)
    this.onWrite?.()
    return !this.refuses
  }

  drained(): Promise<void> {
    if (this.isClosed || !this.refuses) return Promise.resolve()
    return new Promise((resolve) => {
      this.#drainWaiters.push(resolve)
      this.#changed()
    })
  }

  get isWaitedFor(): boolean {
    return this.#drainWaiters.length > 0
  }

  /** Wants bytes again. */
  drain(): void {
    this.refuses = false
    this.#takeWaiting()
    for (const resolve of this.#drainWaiters.splice(0)) resolve()
  }

  /** The peer reads on. */
  unstick(): void {
    this.isStuck = false
    this.#takeWaiting()
  }

  close(reason: CloseReason, last?: SharedBytes): void {
    if (this.isClosed) {
      if (reason === 'write-timeout') this.end()
      return
    }
    if (last !== undefined) this.#receive(last)
    this.isClosed = true
    this.closeReason = reason
    for (const resolve of this.#drainWaiters.splice(0)) resolve()
    if (this.#endsByItself || reason === 'write-timeout') queueMicrotask(() => this.end())
    this.#changed()
  }

  onClose(listener: () => void): void {
    assert(this.#closeListener === undefined, 'one listener')
    this.#closeListener = listener
  }

  /** The socket is closed: by the peer, or after `close`. */
  end(): void {
    this.isClosed = true
    for (const resolve of this.#drainWaiters.splice(0)) resolve()
    const listener = this.#closeListener
    this.#closeListener = undefined
    listener?.()
    this.#changed()
  }

  /** Resolves when the condition holds, which is looked at after each write and at the end. */
  async until(condition: (sink: this) => boolean): Promise<void> {
    while (!condition(this)) {
      await new Promise<void>((resolve) => {
        const watcher = () => {
          this.#watchers.delete(watcher)
          resolve()
        }
        this.#watchers.add(watcher)
      })
    }
  }

  #receive({ plain, chunked }: SharedBytes): void {
    const head = `${plain.length.toString(16)}\r\n`
    assert(Buffer.from(chunked).equals(Buffer.concat([Buffer.from(head), plain, Buffer.from('\r\n')])), 'one chunk')
    this.writes.push(Uint8Array.from(plain))
    this.#waitingBytes += plain.length
    if (!this.isStuck) this.#takeWaiting()
    this.#decoder.feed(plain)
    this.#changed()
  }

  #takeWaiting(): void {
    this.bytesAccepted += this.#waitingBytes
    this.#waitingBytes = 0
  }

  #changed(): void {
    for (const watcher of [...this.#watchers]) watcher()
  }
}
