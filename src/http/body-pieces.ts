// A request's body in pieces, for consumers that stream it: each piece is read on demand, so that the client is slowed down
// to the pace of the consumer. Promises that silence is bounded while a piece is awaited, and that waiting can be ended from
// outside. The total size is neither bounded nor looked at.
import type { IncomingMessage } from 'node:http'
import { httpError } from './errors.ts'

export class BodyPieces {
  readonly #request: IncomingMessage
  readonly #silenceMsMax: number
  /** Why there will be no more pieces. */
  #failure: Error | undefined
  #wake: (() => void) | undefined

  constructor(request: IncomingMessage, silenceMsMax: number) {
    this.#request = request
    this.#silenceMsMax = silenceMsMax
    request.on('readable', this.#onChange)
    request.on('end', this.#onChange)
    request.on('close', this.#onClose)
    request.on('error', this.#onClose)
  }

  get hasFailed(): boolean {
    return this.#failure !== undefined
  }

  /** Undefined: that was all. Rejects with 408, with 400 where the client went away, or with what `fail` was given. */
  async next(): Promise<Buffer | undefined> {
    const request = this.#request
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure
      const piece = request.read() as Buffer | null
      if (piece !== null) return piece
      if (request.readableEnded) return undefined
      await this.#change()
    }
  }

  /** There will be no more pieces. The first reason counts. */
  fail(reason: Error): void {
    this.#failure ??= reason
    this.#wake?.()
  }

  /** Stops listening to the request. */
  close(): void {
    const request = this.#request
    request.off('readable', this.#onChange)
    request.off('end', this.#onChange)
    request.off('close', this.#onClose)
    request.off('error', this.#onClose)
    request.on('error', () => undefined)
  }

  readonly #onChange = (): void => this.#wake?.()

  readonly #onClose = (): void => {
    // What happens after a complete body does not concern its reader.
    if (this.#request.complete) this.#wake?.()
    else this.fail(httpError(400, 'The client went away before its body was complete.'))
  }

  async #change(): Promise<void> {
    let silence: NodeJS.Timeout | undefined
    await new Promise<void>((resolve) => {
      this.#wake = resolve
      silence = setTimeout(() => {
        const seconds = this.#silenceMsMax / 1000
        this.fail(httpError(408, `The body stalled: nothing came for ${seconds} s.`))
      }, this.#silenceMsMax)
    })
    clearTimeout(silence)
    this.#wake = undefined
  }
}
