/** The metrics for Prometheus: what was counted, and figures that other parts hold, collected on each scrape. */

import type { Histogram } from './histogram.ts'
import { METRICS_TABLE, type MetricRow, type Reading } from './table.ts'
import { Tally } from './tally.ts'
import { type Family, MetricsText, type Sample, type ScrapedText } from './text.ts'
import { Totals } from './totals.ts'

/** Called once per scrape, all in the same turn. */
export type MetricsSources = { readonly version: string } & {
  readonly [Name in Exclude<keyof Reading, 'tally' | 'build'>]: () => Reading[Name]
}

export class Metrics {
  readonly tally = new Tally()
  readonly #sources: MetricsSources
  readonly #build = new Totals('version')
  readonly #text: MetricsText

  constructor(sources: MetricsSources, monotonicMs = () => performance.now()) {
    this.#sources = sources
    this.#text = new MetricsText(monotonicMs)
    this.#build.add(sources.version)
  }

  /** `isOpenMetrics`: in the OpenMetrics 1.0 format; otherwise in Prometheus's own. */
  scrape(isOpenMetrics: boolean): Promise<ScrapedText> {
    return this.#text.write(() => this.#read(), isOpenMetrics)
  }

  #read(): readonly Family[] {
    const { tally } = this
    const { isReady, figures, log, lag, certificate } = this.#sources
    const now: Reading = {
      ...{ tally, build: this.#build, isReady: isReady() },
      ...{ figures: figures(), log: log(), lag: lag(), certificate: certificate() },
    }
    return METRICS_TABLE.map((row) => familyOf(row, now))
  }
}

function familyOf({ name, type, help, read }: MetricRow, now: Reading): Family {
  const value = read(now)
  if (typeof value === 'number') return { name, type, help, values: [{ labels: {}, value }] }
  return { name, type, help, values: value instanceof Totals ? [...value] : samplesOf(name, value) }
}

function samplesOf(name: string, { bounds, counts, sum }: Histogram): readonly Sample[] {
  let total = 0
  const buckets = [...counts].map((count, index) => {
    total += count
    return { metricName: `${name}_bucket`, labels: { le: bounds[index] ?? '+Inf' }, value: total }
  })
  const labels = {}
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: total },
  ]
}
