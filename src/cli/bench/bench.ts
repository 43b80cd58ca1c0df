// `sser bench`: makes a topic of its own, measures, and reports in words or as JSON.
import type { SserClient } from '../../client/index.ts'
import { type CliHost, exitFailed, exitWhole, print } from '../host.ts'
import { type BenchPlan, type Measured, measure, type Percentiles } from './measure.ts'

/** Resolves with the exit code. */
export async function bench(client: SserClient, plan: BenchPlan, asJson: boolean, host: CliHost): Promise<number> {
  const signal = host.stopSignal()
  const { id } = await client.topics.create({ persist: plan.isPersistent, name: 'sser bench' }, { signal })
  const { stderr } = host
  const isDrawn = stderr.isTTY === true
  let measured: Measured
  try {
    measured = await measure(client, id, plan, signal, (second) => {
      if (isDrawn) stderr.write(`\rMeasuring: ${second} of ${plan.seconds} s\x1b[K`)
    })
  } finally {
    if (isDrawn) stderr.write('\r\x1b[K')
    await client.topics.delete(id)
  }
  await print(host, asJson ? `${JSON.stringify(jsonOf(plan, measured))}\n` : wordsOf(plan, measured))
  signal.throwIfAborted()
  return measured.failed === 0 && measured.missing === 0 ? exitWhole : exitFailed
}

function jsonOf(plan: BenchPlan, measured: Measured): object {
  return {
    publishers: plan.publishers,
    subscribers: plan.subscribers,
    seconds: plan.seconds,
    message_bytes: plan.messageBytes,
    batch: plan.batch,
    rate: plan.perSecond ?? null,
    persist: plan.isPersistent,
    published: measured.published,
    published_per_second: perSecond(measured.published, measured.publishedMs),
    requests: measured.requests,
    failed_requests: measured.failed,
    failure: measured.failure ?? null,
    answered_ms: measured.answeredMs ?? null,
    delivered: measured.delivered,
    delivered_per_second: perSecond(measured.delivered, measured.deliveredMs),
    missing: measured.missing,
    gaps: measured.gaps,
    arrived_ms: measured.arrivedMs ?? null,
  }
}

function wordsOf(plan: BenchPlan, measured: Measured): string {
  const { published, publishedMs, failed, failure, delivered, deliveredMs, missing, gaps } = measured
  const failures = failed === 0 ? '' : `, ${failed} requests failed: ${failure}`
  const lost = missing === 0 ? 'none missing' : `${missing} missing`
  const holes = gaps === 0 ? '' : `, ${gaps} gaps told`
  const lines = [
    `Published  ${published} events, ${perSecond(published, publishedMs)} a second${failures}`,
    percentileLine('answered after', measured.answeredMs),
    ...(plan.subscribers === 0
      ? []
      : [
          `Delivered  ${delivered} events, ${perSecond(delivered, deliveredMs)} a second, ${lost}${holes}`,
          percentileLine('arrived after', measured.arrivedMs),
        ]),
  ]
  return lines.map((line) => `${line}\n`).join('')
}

function percentileLine(title: string, percentiles: Percentiles | undefined): string {
  if (percentiles === undefined) return `  ${title}: nothing came`
  const { p50, p90, p99, p999, max } = percentiles
  const figures = Object.entries({ p50, p90, p99, 'p99.9': p999, max }).map(([name, ms]) => `${name} ${ms.toFixed(1)}`)
  return `  ${title.padEnd(14)}  ${figures.join('   ')} ms`
}

function perSecond(events: number, timeMs: number): number {
  return timeMs === 0 ? 0 : Math.round((events * 1000) / timeMs)
}
