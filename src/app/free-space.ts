/** Free disk space for the data folder. Read often but measured seldom: the value may be a few seconds old. */

import { statfs } from 'node:fs/promises'

const AGE_MS_MAX = 5_000

export class FreeSpace {
  readonly #path: string
  #bytes: number | undefined
  #lookedAtMs = -AGE_MS_MAX

  constructor(path: string) {
    this.#path = path
  }

  /** Undefined until the first measurement, and where the system does not say. */
  get bytes(): number | undefined {
    const nowMs = performance.now()
    if (nowMs - this.#lookedAtMs >= AGE_MS_MAX) {
      this.#lookedAtMs = nowMs
      this.#look()
    }
    return this.#bytes
  }

  #look(): void {
    statfs(this.#path).then(
      ({ bavail, bsize }) => {
        this.#bytes = bavail * bsize
      },
      () => {
        this.#bytes = undefined
      },
    )
  }
}
