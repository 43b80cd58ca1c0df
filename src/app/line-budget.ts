/** Keeps lines that outsiders can cause at will from flooding the server's log: a number of lines per period, the rest only counted. */
export class LineBudget {
  readonly #monotonicMs: () => number
  readonly #linesMax: number
  readonly #whileMs: number
  #left: number
  #beganAtMs = Number.NEGATIVE_INFINITY
  #unsaid = 0

  constructor(monotonicMs: () => number, linesMax: number, whileMs: number) {
    this.#monotonicMs = monotonicMs
    this.#linesMax = linesMax
    this.#whileMs = whileMs
    this.#left = linesMax
  }

  /** How many lines were suppressed before this one, which may be written; undefined: suppress it. */
  spend(): number | undefined {
    const nowMs = this.#monotonicMs()
    if (nowMs - this.#beganAtMs >= this.#whileMs) {
      this.#beganAtMs = nowMs
      this.#left = this.#linesMax
    }
    if (this.#left === 0) {
      this.#unsaid += 1
      return undefined
    }
    this.#left -= 1
    const unsaid = this.#unsaid
    this.#unsaid = 0
    return unsaid
  }
}
