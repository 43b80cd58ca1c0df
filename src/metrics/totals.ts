/**
 * Counts by the values of up to three labels, which are few and known to the code. Counting is one look-up per label, and
 * allocates nothing; samples are made when scraped.
 */

type Value = string | number

export class Totals {
  readonly #labels: readonly string[]
  readonly #counts = new Map<Value, Map<Value, Map<Value, number>>>()

  /** One to three names. */
  constructor(...labels: readonly string[]) {
    this.#labels = labels
  }

  /** Counts one more with these values, as many as there are labels, in the same order. */
  add(first: Value, second: Value = '', third: Value = ''): void {
    const counts = ensured(ensured(this.#counts, first), second)
    counts.set(third, (counts.get(third) ?? 0) + 1)
  }

  *[Symbol.iterator](): Generator<{ readonly labels: Readonly<Record<string, Value>>; readonly value: number }> {
    for (const [first, seconds] of this.#counts) {
      for (const [second, thirds] of seconds) {
        for (const [third, value] of thirds) {
          const values = [first, second, third]
          yield { labels: Object.fromEntries(this.#labels.map((label, index) => [label, values[index]!])), value }
        }
      }
    }
  }
}

function ensured<Inner>(map: Map<Value, Map<Value, Inner>>, key: Value): Map<Value, Inner> {
  let inner = map.get(key)
  if (inner === undefined) {
    inner = new Map()
    map.set(key, inner)
  }
  return inner
}
