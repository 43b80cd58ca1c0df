/**
 * What a stream of several topics misses because it was dropped ahead of it: by limits, by purges, or by the bound on the
 * in-memory log. What was dropped before the stream began is dealt with where it begins.
 */

import type { Offset } from './ports.ts'
import type { HostedTopic } from './topic.ts'

export class DropWatch {
  readonly #topics: readonly HostedTopic[]
  readonly #known: Offset[]

  constructor(topics: readonly HostedTopic[]) {
    this.#topics = topics
    this.#known = topics.map(({ dropped }) => dropped)
  }

  /** A topic of which events above `position` were dropped since the last call, or undefined. A different one on each call. */
  next(position: Offset): HostedTopic | undefined {
    for (const [i, topic] of this.#topics.entries()) {
      const { dropped } = topic
      if (dropped === this.#known[i]) continue
      this.#known[i] = dropped
      if (dropped > position) return topic
    }
    return undefined
  }
}
