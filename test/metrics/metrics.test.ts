/** What Prometheus is told: true figures, in a form that Prometheus takes, as docs/metrics.md describes them. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Metrics } from '../../src/metrics/metrics.ts'
import { METRICS_TABLE } from '../../src/metrics/table.ts'
import { Api } from '../support/api.ts'
import { METRICS_TOKEN, ServerProcess } from '../support/server-process.ts'
import { SseClient } from '../support/sse-client.ts'

const PAGE = fileURLToPath(new URL('../../docs/metrics.md', import.meta.url))
const promtool = spawnSync('promtool', ['--version']).status === 0
const isUpdating = process.env['SSER_UPDATE_METRICS'] === '1'

const silent = {
  version: '0',
  isReady: () => false,
  figures: () => undefined,
  log: () => undefined,
  lag: () => undefined,
  certificate: () => undefined,
}

/** name{labels} → value. */
function samplesOf(text: string): Map<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  )
}

test('docs/metrics.md describes each metric as it is', () => {
  const rows = METRICS_TABLE.map(({ name, type, help }) => `| \`${name}\` | ${type} | ${help} |`)
  const page = readFileSync(PAGE, 'utf8')
  const table = ['| metric | type | what |', '| --- | --- | --- |', ...rows].join('\n')
  const [before = '', rest = ''] = page.split('<!-- metrics -->\n')
  const [, after = ''] = rest.split('\n<!-- end -->')
  const made = `${before}<!-- metrics -->\n${table}\n<!-- end -->${after}`
  if (isUpdating) writeFileSync(PAGE, made)
  assert.equal(isUpdating ? made : page, made)
  for (const { name, type } of METRICS_TABLE) {
    assert.match(name, type === 'counter' ? /^sser_[a-z_]+_total$/ : /^sser_[a-z_]+(?<!_total)$/)
  }
})

for (const isOpenMetrics of [false, true]) {
  const form = isOpenMetrics ? 'OpenMetrics' : 'Prometheus'
  test(`a text in the form of ${form} has every metric by its name, whichever form was asked for before`, async () => {
    const metrics = new Metrics(silent)
    for (const before of [!isOpenMetrics, isOpenMetrics]) await metrics.scrape(before)
    const { text } = await metrics.scrape(isOpenMetrics)
    for (const { name, type, help } of METRICS_TABLE) {
      const family = isOpenMetrics && type === 'counter' ? name.replace(/_total$/, '') : name
      assert.ok(text.includes(`# HELP ${family} ${help}\n# TYPE ${family} ${type}\n`), name)
    }
    const samples = samplesOf(text)
    for (const name of ['sser_publishes_total', 'process_cpu_seconds_total', 'sser_ready', 'process_heap_bytes']) {
      assert.ok(samples.has(name), name)
    }
  })
}

test('a scrape asks for all figures once, so that they are of one moment', async () => {
  const asked: string[] = []
  const asking = (name: string) => () => {
    asked.push(name)
    return undefined
  }
  const metrics = new Metrics({
    ...{ version: '0', isReady: () => true },
    ...{ figures: asking('figures'), log: asking('log'), lag: asking('lag'), certificate: asking('certificate') },
  })
  await metrics.scrape(false)
  assert.deepEqual(asked.toSorted(), ['certificate', 'figures', 'lag', 'log'])
})

test('a scrape is written in slices, by the clock and by number, and one waits for another', async () => {
  for (const [passesMs, looksMax] of [
    [0, 33],
    [1, 3],
  ] as const) {
    let nowMs = 0
    let looks = 0
    const metrics = new Metrics(silent, () => {
      looks += 1
      nowMs += passesMs
      return nowMs
    })
    let isThrough = false
    const both = Promise.all([metrics.scrape(false), metrics.scrape(true)]).then(() => {
      isThrough = true
    })
    let turns = 0
    let most = 0
    while (!isThrough) {
      const before = looks
      await nextTurn()
      turns += 1
      most = Math.max(most, looks - before)
    }
    await both
    assert.ok(turns > (passesMs === 0 ? 4 : 100), `${turns} turns`)
    assert.ok(most <= looksMax, `${most} looks at the clock in one turn`)
  }
})

test('a server tells what it did, to whoever asks on its own machine, and to others with the token', async (t) => {
  const server = await ServerProcess.start()
  t.after(() => server.close())
  const api = new Api(server)
  t.after(() => api.close())
  const { id } = await api.createTopic()
  for (let i = 0; i < 3; i += 1) await api.publish(id, { message: i })
  const scrape = (headers: Record<string, string> = {}) => fetch(`http://127.0.0.1:${server.port}/metrics`, { headers })
  const answer = await scrape()
  assert.equal(answer.status, 200)
  assert.match(answer.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/)
  const text = await answer.text()
  const samples = samplesOf(text)
  for (const [name, value] of [
    ['sser_ready', 1],
    ['sser_topics', 2],
    ['sser_events_published_total', 3],
    ['sser_subscribers', 0],
    ['sser_log_failed', 0],
    ['sser_log_damaged_ranges', 0],
    ['sser_compaction_running', 0],
  ] as const) {
    assert.equal(samples.get(name), value, name)
  }
  assert.ok((samples.get('sser_log_commits_total') ?? 0) >= 4)
  assert.equal(samples.get('sser_log_sync_duration_seconds_count'), samples.get('sser_log_commits_total'))
  assert.ok((samples.get('sser_log_size_bytes') ?? 0) > 0 && (samples.get('process_resident_memory_bytes') ?? 0) > 0)
  assert.ok(!text.includes(id), 'no topic is named')
  for (const headers of [{ 'x-forwarded-for': '127.0.0.1' }, { via: '1.1 proxy' }, { forwarded: 'for=127.0.0.1' }]) {
    assert.equal((await scrape(headers)).status, 401)
    assert.equal((await scrape({ ...headers, authorization: `Bearer ${METRICS_TOKEN}` })).status, 200)
  }
  assert.equal((await scrape({ authorization: 'Bearer wrong' })).status, 401)
  const accept = 'application/openmetrics-text; version=1.0.0'
  const open = await scrape({ accept })
  assert.match(open.headers.get('content-type') ?? '', /^application\/openmetrics-text/)
  assert.match(await open.text(), /\n# EOF\n$/)
  if (!promtool) return t.diagnostic('promtool is not here: whether Prometheus takes the text was not asked')
  assert.ok(!/nodejs_active_|open_fds/.test(text), 'nothing looks at every socket')
  execFileSync('promtool', ['check', 'metrics'], { input: text })
})

test('deliveries, refusals and the ends of streams are told', async (t) => {
  const server = await ServerProcess.start()
  t.after(() => server.close())
  const api = new Api(server)
  t.after(() => api.close())
  const { id, token } = await api.createTopic()
  const scrape = async () => samplesOf(await (await fetch(`http://127.0.0.1:${server.port}/metrics`)).text())
  const until = async (name: string, value: number) => {
    const endsAt = performance.now() + 30_000
    while ((await scrape()).get(name) !== value) assert.ok(performance.now() < endsAt, `${name} is never ${value}`)
  }
  const reader = await SseClient.connect(api.eventsUrl(id), { token })
  await until('sser_live_subscribers', 1)
  await api.publish(id, { message: 1 })
  await reader.until(({ events }) => events.length === 1)
  const path = `/api/v1/pubsubs/${id}/events`
  const refused = await api.call('POST', path, { expected_last_id: '00000000001', event: { message: 2 } })
  assert.equal(refused.status, 409)
  assert.equal((await fetch(`${server.url}${path}`, { headers: { authorization: 'Bearer wrong' } })).status, 401)
  const samples = await scrape()
  const route = 'route="/api/v1/pubsubs/{id}/events"'
  for (const [name, value] of [
    ['sser_publishes_total', 1],
    ['sser_publish_duration_seconds_count', 1],
    ['sser_publish_duration_seconds_bucket{le="+Inf"}', 1],
    ['sser_publish_failures_total{code="CONFLICT"}', 1],
    ['sser_delivery_latency_seconds_count', 1],
    ['sser_catching_up_subscribers', 0],
    ['sser_slowest_subscriber_lag_events', 0],
    ['sser_auth_failures_total', 1],
    [`sser_http_requests_total{method="post",${route},status="201"}`, 1],
    [`sser_http_requests_total{method="post",${route},status="409"}`, 1],
    [`sser_http_requests_total{method="get",${route},status="401"}`, 1],
    [`sser_http_requests_total{method="get",${route},status="200"}`, 1],
  ] as const) {
    assert.equal(samples.get(name), value, name)
  }
  assert.ok((samples.get('sser_sent_bytes_total') ?? 0) > 0)
  await reader.close()
  await until('sser_streams_ended_total{reason="client"}', 1)
  await until('sser_live_subscribers', 0)
})

test('the rules for Prometheus load, and fire when they should', { skip: !promtool && 'promtool is not here' }, () => {
  const cwd = fileURLToPath(new URL('../../config/prometheus/', import.meta.url))
  execFileSync('promtool', ['check', 'rules', 'sser.rules.yaml'], { cwd })
  execFileSync('promtool', ['test', 'rules', 'sser.rules.test.yaml'], { cwd })
})

test('each metric that a rule names is there', () => {
  const rules = readFileSync(new URL('../../config/prometheus/sser.rules.yaml', import.meta.url), 'utf8')
  const described = new Set(METRICS_TABLE.map(({ name }) => name))
  const named = [...rules.matchAll(/\bsser_[a-z_]+/g)].map(([name]) => name.replace(/_(?:bucket|sum|count)$/, ''))
  assert.ok(named.length > 5)
  assert.deepEqual(
    named.filter((name) => !described.has(name)),
    [],
  )
})
