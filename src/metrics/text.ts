/**
 * The response to a scrape: the server's own metrics and those of its process, formatted by prom-client in one of two formats.
 * A hundred of them can take some milliseconds, so the work is done in slices, between which everything else gets its turn.
 */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { collectDefaultMetrics, type Metric, Registry, type RegistryContentType } from 'prom-client'

export interface ScrapedText {
  readonly contentType: string
  readonly text: string
}

export interface Sample {
  /** Where it differs from the family's. */
  readonly metricName?: string
  readonly labels: Readonly<Record<string, string | number>>
  readonly value: number
}

/** All samples of one metric. */
export interface Family {
  readonly name: string
  readonly type: string
  readonly help: string
  readonly values: readonly Sample[]
}

/** Metrics of prom-client that walk over every socket on each scrape: with 10,000 streams that blocks the event loop. */
const WALKING_METRICS: readonly string[] = [
  'process_open_fds',
  'nodejs_active_resources',
  'nodejs_active_resources_total',
  'nodejs_active_handles',
  'nodejs_active_handles_total',
  'nodejs_active_requests',
  'nodejs_active_requests_total',
]

const SLICE_MS = 0.5
/** Whatever the clock says. */
const FAMILIES_AT_ONCE = 32

export class MetricsText {
  readonly #process = new Registry()
  readonly #monotonicMs: () => number
  #busy: Promise<unknown> = Promise.resolve()

  constructor(monotonicMs: () => number) {
    this.#monotonicMs = monotonicMs
    collectDefaultMetrics({ register: this.#process })
    for (const name of WALKING_METRICS) this.#process.removeSingleMetric(name)
  }

  /** Scrapes wait for each other, so that even many of them block nobody. `own` is called when this one begins. */
  write(own: () => readonly Family[], isOpenMetrics: boolean): Promise<ScrapedText> {
    const written = this.#busy.then(() => this.#write(own, isOpenMetrics))
    this.#busy = written.catch(() => undefined)
    return written
  }

  async #write(own: () => readonly Family[], isOpenMetrics: boolean): Promise<ScrapedText> {
    // In a turn apart from the request's, and from the previous scrape.
    await nextTurn()
    const registry = new Registry<RegistryContentType>()
    if (isOpenMetrics) registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE)
    const all = [...own(), ...(this.#process.getMetricsAsArray() as unknown as readonly Collected[])]
    const texts: string[] = []
    let untilMs = this.#monotonicMs() + SLICE_MS
    for (const [index, each] of all.entries()) {
      if (index > 0 && (index % FAMILIES_AT_ONCE === 0 || this.#monotonicMs() >= untilMs)) {
        await nextTurn()
        untilMs = this.#monotonicMs() + SLICE_MS
      }
      const family = 'get' in each ? await each.get() : each
      texts.push(await textOf(family, registry, isOpenMetrics))
    }
    const text = isOpenMetrics ? `${texts.join('\n')}\n# EOF\n` : `${texts.join('\n\n')}\n`
    return { contentType: registry.contentType, text }
  }
}

/** A metric of prom-client itself, whose samples are collected on demand. */
interface Collected {
  get(): Promise<Family>
}

/**
 * OpenMetrics names a counter without the `_total` of its samples. A registry that formats all of its metrics itself strips that
 * from the metric permanently, and so from every later text in the other format.
 */
function textOf(family: Family, registry: Registry<RegistryContentType>, isOpenMetrics: boolean): Promise<string> {
  const isShortened = isOpenMetrics && family.type === 'counter'
  const name = isShortened ? family.name.replace(/_total$/, '') : family.name
  registry.registerMetric({ name, get: async () => ({ ...family, name }) } as unknown as Metric)
  return registry.getSingleMetricAsString(name)
}
