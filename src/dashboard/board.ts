// The overview: figures, chart, health and log, from the feed. Lives as long as the page, even while another view is shown.
import type { LogFigures, Quantiles, Row, Sample } from '../http/dashboard-sample.ts'
import { makeChart } from './chart.ts'
import { element, make, show } from './dom.ts'
import type { FigureNews } from './figures.ts'
import { bytesText, clockText, msText, rateText, shareText, spanText, wholeText } from './format.ts'
import { addRows, growthOf, rateBetween, rowOf, seriesOf } from './samples.ts'

export interface Board {
  /** Nothing has arrived since then: what is shown is out of date, and the server may be in trouble by now. */
  lost(timeMs: number): void
  take(news: Exclude<FigureNews, { kind: 'connection' }>): void
}

export function makeBoard(): Board {
  const chart = makeChart(element('chart'))
  const rows: Row[] = []

  function showSample(sample: Sample): void {
    addRows(rows, [rowOf(sample)])
    for (const [name, value] of Object.entries(sample.figures)) {
      if (document.getElementById(name) !== null) show(name, wholeText(value))
    }
    const [before, last] = rows.slice(-2)
    for (const [id, column] of [
      ['published-rate', 1],
      ['delivered-rate', 2],
    ] as const) {
      show(id, rateText(last === undefined ? null : rateBetween(before, last, column)))
    }
    showHealth(sample.health)
    showNotices(sample.notices)
    showQuantiles('publish', sample.latencies.publish)
    showQuantiles('delivery', sample.latencies.delivery)
    show('loop-lag', msText(sample.loop_lag_ms))
    showLog(sample.log, rows)
    const { active_topics = 0, static_topics = 0 } = sample.figures
    element('first-topic').hidden = active_topics > static_topics
  }

  return {
    lost(timeMs) {
      element('health').dataset['state'] = ''
      show('health', `Health unknown: no answer from the server since ${clockText(timeMs)}.`)
    },
    take(news) {
      if (news.kind !== 'sample') addRows(rows, news.rows)
      const sample = news.kind === 'rows' ? undefined : news.sample
      if (sample !== undefined) showSample(sample)
      chart.draw(seriesOf(rows))
    },
  }
}

function showHealth({ status: word, reason }: Sample['health']): void {
  const isWell = word === 'ready'
  element('health').dataset['state'] = isWell ? 'well' : 'ill'
  show('health', isWell ? 'Healthy: events are accepted, stored and delivered.' : `Not healthy: ${reason ?? word}.`)
}

/** Updated only where they differ, so as not to disturb a screen reader or a selection. */
function showNotices(notices: readonly string[]): void {
  const list = element('notices')
  const shown = [...list.children].map(({ textContent }) => textContent)
  if (notices.length === shown.length && notices.every((notice, i) => notice === shown[i])) return
  list.replaceChildren(...notices.map((notice) => make('li', {}, notice)))
  list.hidden = notices.length === 0
}

function showQuantiles(what: string, quantiles: Quantiles | null): void {
  show(`${what}-p50`, quantiles === null ? '–' : msText(quantiles.p50))
  show(`${what}-p99`, quantiles === null ? '–' : msText(quantiles.p99))
}

function showLog(log: LogFigures | null, rows: readonly Row[]): void {
  element('log').hidden = log === null
  if (log === null) return
  const { bytes, bytes_max: max, disk_free_bytes: free, compaction } = log
  show('log-size', bytesText(bytes))
  const lefts = [max === null ? null : Math.max(0, max - bytes), free].filter((left) => left !== null)
  const left = lefts.length === 0 ? undefined : Math.min(...lefts)
  show('log-left-label', max !== null && left === max - bytes ? 'Room left to its limit' : 'Room left on disk')
  show('log-left', left === undefined ? 'not known' : bytesText(left))
  showGrowth(growthOf(rows), left)
  const meter = element<HTMLMeterElement>('log-meter')
  meter.hidden = left === undefined
  if (left !== undefined) meter.value = bytes / Math.max(1, bytes + left)
  show('segments', wholeText(log.segments))
  show('damages', wholeText(log.damages))
  show(
    'compaction',
    compaction === null ? 'off' : compaction.running ? 'running' : `runs: ${wholeText(compaction.runs)}`,
  )
  show('dead-share', compaction === null ? '–' : shareText(compaction.dead_share))
}

/** Less than a KiB a minute counts as none: files grow in steps. */
function showGrowth(bytesPerSecond: number | undefined, left: number | undefined): void {
  const grows = bytesPerSecond !== undefined && bytesPerSecond >= 1024 / 60
  if (bytesPerSecond === undefined) show('log-growth', 'not known yet')
  else show('log-growth', grows ? `${bytesText(bytesPerSecond * 60)}/min` : 'none')
  show('log-full', grows && left !== undefined ? spanText(left / bytesPerSecond) : '–')
}
