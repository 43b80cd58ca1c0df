/** Since when a topic, or a set of topics, has been quiet: as far as is certain, for it may have been quiet for longer. */

import assert from 'node:assert/strict'
import type { Offset } from './ports.ts'

export class Quiet {
  #since: Offset

  /** Nothing is known of what was committed up to `since`. */
  constructor(since: Offset) {
    this.#since = since
  }

  /** There is no event above this number. */
  get since(): Offset {
    return this.#since
  }

  /** There is an event in the commit that ends with `through`. */
  spokeUntil(through: Offset): void {
    assert(through >= this.#since, 'commits come in the order of their numbers')
    this.#since = through
  }

  /** A reader of the log found no event above `after` and up to `through`. */
  learn(after: Offset, through: Offset): void {
    if (after < this.#since && through >= this.#since) this.#since = after
  }
}
