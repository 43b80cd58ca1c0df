// The answer to a request whose body is consumed while it is still arriving: lines that each report the progress so far.
// Promises that while the client does not read, at most one line is queued, the newest, which covers those before it; so the
// server never waits for the client to read, and buffers nothing for it. Knows nothing of where the numbers come from.
import type { ServerResponse } from 'node:http'

export class CumulativeAnswer {
  readonly #response: ServerResponse
  readonly #begin: () => void
  /** The socket has not taken the last line yet. */
  #isWriting = false
  #waiting: string | undefined
  #last = ''

  /** `begin` writes the head, before the first line. */
  constructor(response: ServerResponse, begin: () => void) {
    this.#response = response
    this.#begin = begin
  }

  get hasBegun(): boolean {
    return this.#response.headersSent
  }

  tell(line: string): void {
    if (this.#response.destroyed) return
    if (this.#isWriting) this.#waiting = line
    else this.#write(line)
  }

  /** The last line, unless it was already sent. A client that does not take it in time is cut off. */
  end(line: string, writeTimeoutMs: number): void {
    const response = this.#response
    if (response.destroyed) return
    if (!this.hasBegun) this.#begin()
    const patience = setTimeout(() => response.destroy(), writeTimeoutMs)
    patience.unref()
    response.once('close', () => clearTimeout(patience))
    response.end(line === this.#last ? '' : line, 'latin1', () => clearTimeout(patience))
  }

  #write(line: string): void {
    if (!this.hasBegun) this.#begin()
    this.#isWriting = true
    this.#last = line
    this.#response.write(line, 'latin1', () => {
      this.#isWriting = false
      const newer = this.#waiting
      this.#waiting = undefined
      if (newer !== undefined && !this.#response.writableEnded) this.tell(newer)
    })
  }
}
