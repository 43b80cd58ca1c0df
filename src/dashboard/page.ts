/**
 * The page: signs in, then shows what the feed tells. The token is kept in this tab's session and nowhere else. Every
 * text goes into the document as text.
 */
import { makeChart } from './chart.ts'
import type { Connection, FeedNews } from './feed.ts'
import { addRows, type LogSample, type Row, rateBetween, rowOf, type Sample, seriesOf } from './samples.ts'
import { watchFigures } from './watch.ts'

const tokenKey = 'sser.metrics-token'
/** Samples come every second; after this what is shown is called old. */
const staleMs = 4000

const signIn = element<HTMLFormElement>('sign-in')
const tokenField = element<HTMLInputElement>('token')
const signInError = element('sign-in-error')
const board = element('board')
const signOut = element('sign-out')
const status = element('status')
const health = element('health')

function element<Kind extends HTMLElement = HTMLElement>(id: string): Kind {
  const found = document.getElementById(id)
  if (found === null) throw new Error(`The page has no #${id}.`)
  return found as Kind
}

/** Written only where it differs, so that a screen reader and a selection are left in peace. */
function show(id: string, text: string): void {
  const target = element(id)
  if (target.textContent !== text) target.textContent = text
}

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const rate = new Intl.NumberFormat('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 })
const share = new Intl.NumberFormat('en', { style: 'percent', maximumFractionDigits: 1 })

function bytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, count)) / 10))
  return `${(count / 1024 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`
}

function clock(timeMs: number): string {
  return new Date(timeMs).toLocaleTimeString()
}

function startBoard(token: string): () => void {
  signIn.hidden = true
  board.hidden = false
  signOut.hidden = false
  status.hidden = false
  const chart = makeChart(element('chart'))
  const rows: Row[] = []
  let shown: Sample | undefined
  let shownAtMs = 0
  let state: Connection = 'waiting'

  function take(news: FeedNews): void {
    if (news.kind === 'connection') {
      state = news.state
      if (state === 'refused') leave('The token does not open the figures.')
    } else if (news.kind === 'sample') {
      showSample(news.sample)
    } else {
      addRows(rows, news.rows)
      if (news.kind === 'begin' && news.sample !== undefined) showSample(news.sample)
      else chart.draw(seriesOf(rows))
    }
    showStatus()
  }

  function showSample(sample: Sample): void {
    addRows(rows, [rowOf(sample)])
    shown = sample
    shownAtMs = performance.now()
    chart.draw(seriesOf(rows))
    for (const [name, value] of Object.entries(sample.figures)) {
      if (document.getElementById(name) !== null) show(name, whole.format(value))
    }
    const [before, last] = rows.slice(-2)
    for (const [id, column] of [
      ['published-rate', 1],
      ['delivered-rate', 2],
    ] as const) {
      const value = last === undefined ? null : rateBetween(before, last, column)
      show(id, value === null ? '–' : rate.format(value))
    }
    showHealth(sample.health)
    show('loop-lag', `${rate.format(sample.loop_lag_ms)} ms`)
    showLog(sample.log)
    const { active_topics = 0, static_topics = 0 } = sample.figures
    element('first-topic').hidden = active_topics > static_topics
  }

  function showStatus(): void {
    const isStale = shown === undefined || performance.now() - shownAtMs > staleMs
    status.dataset['state'] = isStale || state !== 'open' ? 'stale' : 'live'
    if (shown === undefined) show('status', 'Connecting …')
    else if (isStale || state !== 'open') show('status', `Not connected; as of ${clock(shown.time)}`)
    else show('status', 'Live')
  }

  function leave(reason: string): void {
    sessionStorage.removeItem(tokenKey)
    sessionStorage.setItem('sser.sign-in-error', reason)
    location.reload()
  }

  const timer = setInterval(showStatus, 1000)
  const stop = watchFigures(token, take)
  return () => {
    clearInterval(timer)
    stop()
  }
}

function showHealth({ status: word, reason }: Sample['health']): void {
  const isWell = word === 'ready'
  health.dataset['state'] = isWell ? 'well' : 'ill'
  show('health', isWell ? 'Healthy: events are taken, kept and delivered.' : `Not healthy: ${reason ?? word}.`)
}

function showLog(log: LogSample | null): void {
  element('log').hidden = log === null
  if (log === null) return
  const { bytes_max: max, compaction } = log
  show('log-size', bytes(log.bytes))
  show('log-left', max === null ? 'no bound' : `${bytes(Math.max(0, max - log.bytes))} left`)
  const meter = element<HTMLMeterElement>('log-meter')
  meter.hidden = max === null
  if (max !== null) meter.value = log.bytes / max
  show('segments', whole.format(log.segments))
  show('damages', whole.format(log.damages))
  show(
    'compaction',
    compaction === null ? 'off' : compaction.running ? 'running' : `runs: ${whole.format(compaction.runs)}`,
  )
  show('dead-share', compaction === null ? '–' : share.format(compaction.dead_share))
}

signIn.addEventListener('submit', (event) => {
  event.preventDefault()
  const token = tokenField.value.trim()
  if (token === '') return
  tokenField.value = ''
  sessionStorage.setItem(tokenKey, token)
  startBoard(token)
})
signOut.addEventListener('click', () => {
  sessionStorage.removeItem(tokenKey)
  location.reload()
})

const kept = sessionStorage.getItem(tokenKey)
signInError.textContent = sessionStorage.getItem('sser.sign-in-error') ?? ''
sessionStorage.removeItem('sser.sign-in-error')
if (kept !== null) startBoard(kept)
else signIn.hidden = false
