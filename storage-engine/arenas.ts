/**
 * Large buffers in which compaction sorts segments, reused from run to run within a round. Leaving each one to the
 * garbage collector would bring its next full collection, which stalls the event loop, that much closer.
 */

export class Arenas {
  readonly #free: Buffer[] = []

  /** Of at least that size; what is in it may be anything. Memory that is never written to is never taken. */
  take(bytes: number): Buffer {
    const at = this.#free.findIndex(({ length }) => length >= bytes)
    if (at !== -1) return this.#free.splice(at, 1)[0] as Buffer
    // Segments are about as large as each other: what is too small for one would hardly serve another.
    this.#free.pop()
    return Buffer.allocUnsafeSlow(bytes)
  }

  /** Nobody looks at it any more. */
  giveBack(arena: Buffer): void {
    this.#free.push(arena)
  }

  /** To the system. */
  clear(): void {
    this.#free.length = 0
  }
}
