/**
 * Publishes the changes of the figures on topic 0, as the original does: `{"val": 1, "metric": "topics"}`. Changes of one
 * figure within a tenth of a second become one event, so that a busy server does not tell of each delivery. Knows
 * nothing of topics; whom it publishes to is its owner's affair.
 */

import type { Clock, FigureName } from './ports.ts'
import type { PublishInput } from './publish-input.ts'

const INTERVAL_MS = 100
const NOTHING = new Uint8Array(0)

export class FigureFeed {
  readonly #publish: (event: PublishInput) => Promise<unknown>
  readonly #timer: { close(): void }
  readonly #changes = new Map<FigureName, number>()

  /** `publish` may fail: figures that could not be told are told by `GET /api/v1/metrics` all the same. */
  constructor(clock: Clock, publish: (event: PublishInput) => Promise<unknown>) {
    this.#publish = publish
    this.#timer = clock.every(INTERVAL_MS, () => this.#flush())
  }

  changed(name: FigureName, change: number): void {
    this.#changes.set(name, (this.#changes.get(name) ?? 0) + change)
  }

  close(): void {
    this.#timer.close()
  }

  #flush(): void {
    for (const [metric, change] of this.#changes) {
      this.#changes.delete(metric)
      if (change === 0) continue
      const message = Buffer.from(`{"val": ${change}, "metric": "${metric}"}`)
      this.#publish({ key: NOTHING, type: NOTHING, isString: false, message }).catch(() => undefined)
    }
  }
}
