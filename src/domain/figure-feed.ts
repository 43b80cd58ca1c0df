/**
 * Publishes changes of the figures on topic 0, as the original does: `{"val": 1, "metric": "topics"}`. Changes of one figure
 * within a tenth of a second are merged into one event, so that a busy server does not report every delivery. Knows nothing
 * of topics; its owner decides where it publishes.
 */

import type { Clock, FigureName } from './ports.ts'
import type { PublishInput } from './publish-input.ts'

const INTERVAL_MS = 100
const NOTHING = new Uint8Array(0)

export class FigureFeed {
  readonly #publish: (event: PublishInput) => Promise<unknown>
  readonly #timer: { close(): void }
  readonly #changes = new Map<FigureName, number>()

  /** `publish` may fail: `GET /api/v1/metrics` still has figures that could not be published. */
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
