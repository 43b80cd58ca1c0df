/**
 * A real Prometheus (Debian's) reads the server, with the files of config/prometheus, answers all that the dashboard of
 * config/grafana asks, and tells of a disk that fails.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Api } from '../support/api.ts'
import { freePort } from '../support/free-port.ts'
import { hasAttached, missingProgram } from '../support/programs.ts'
import { ServerProcess } from '../support/server-process.ts'
import { SseClient } from '../support/sse-client.ts'
import { until } from '../support/until.ts'

const rulesFolder = fileURLToPath(new URL('../../config/prometheus/', import.meta.url))
const dashboardPath = fileURLToPath(new URL('../../config/grafana/dashboards/sser.json', import.meta.url))
const timeoutMs = 180_000

test('Prometheus scrapes the server, knows all that the dashboard asks, and an alert fires when a sync fails', {
  timeout: timeoutMs,
  skip: missingProgram('prometheus') || missingProgram('strace'),
}, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sser-prometheus-'))
  const server = await ServerProcess.start({ settings: { limits: { topicsMax: 2 } } })
  const api = new Api(server)
  let prometheus: ChildProcess | undefined
  let tracer: ChildProcess | undefined
  try {
    const { id } = await api.createTopic()
    await api.publish(id, { message: 'before' })
    const port = await freePort()
    prometheus = startPrometheus(directory, port, new URL(server.url).host)
    const ask = (path: string) => asked(`http://127.0.0.1:${port}/api/v1/${path}`)
    await until('the server is scraped', async () => {
      const { result } = await ask('query?query=sser_events_published_total')
      return (result as { value: [number, string] }[] | undefined)?.[0]?.value[1] === '1'
    })
    const { groups } = await ask('rules')
    assert.equal((groups as unknown[]).length, 1)

    await doWhatIsCountedWhereItHappens(server, api, id)
    for (const expression of expressionsOfTheDashboard()) {
      await until(`${expression} has an answer`, async () => {
        const { result } = await ask(`query?query=${encodeURIComponent(expression)}`)
        return ((result as unknown[] | undefined)?.length ?? 0) > 0
      })
    }
    const instances = await ask('label/instance/values?match[]=sser_build_info')
    assert.deepEqual({ ...instances }, { 0: new URL(server.url).host })

    const inject = ['-e', 'trace=fdatasync', '-e', 'inject=fdatasync:error=EIO']
    tracer = spawn('strace', ['-f', '-o', '/dev/null', ...inject, '-p', String(server.pid)], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    const attached = await hasAttached(tracer)
    if (attached !== true) {
      t.skip(`strace may not attach here: ${attached}`)
      return
    }
    const failed = await api.call('POST', `/api/v1/pubsubs/${id}/events`, { event: { message: 'lost' } })
    assert.equal(failed.status, 503, failed.text)
    tracer.kill('SIGINT')
    await until('the alert fires', async () => {
      const { alerts } = await ask('alerts')
      return (alerts as { state: string; labels: { alertname: string } }[] | undefined)?.some(
        ({ state, labels }) => state === 'firing' && labels.alertname === 'SserLogFailed',
      )
    })
  } finally {
    tracer?.kill('SIGKILL')
    if (prometheus !== undefined) {
      const ended = once(prometheus, 'close')
      prometheus.kill('SIGKILL')
      await ended
    }
    api.close()
    await server.close()
    rmSync(directory, { recursive: true, force: true })
  }
})

/** Figures with labels are there from the first time on. */
async function doWhatIsCountedWhereItHappens(server: ServerProcess, api: Api, id: string): Promise<void> {
  const path = `/api/v1/pubsubs/${id}/events`
  const conflict = await api.call('POST', path, { expected_last_id: '00000000001', event: { message: 'no' } })
  let status: number = conflict.status
  assert(status === 409, conflict.text)
  while (status !== 503) status = (await api.call('POST', '/api/v1/pubsubs', {})).status
  const reader = await SseClient.connect(api.eventsUrl(id), { token: server.apiToken })
  await reader.close()
}

/** With what Grafana puts in for its variables. */
function expressionsOfTheDashboard(): string[] {
  const { panels } = JSON.parse(readFileSync(dashboardPath, 'utf8')) as {
    panels: { targets?: { expr: string }[] }[]
  }
  const expressions = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr))
  assert(expressions.length > 30)
  return expressions.map((each) => each.replaceAll('$instance', '.+').replaceAll('$__rate_interval', '10s'))
}

/** With the example of config/prometheus, but a target and a pace of its own. */
function startPrometheus(directory: string, port: number, target: string): ChildProcess {
  const example = readFileSync(join(rulesFolder, 'prometheus.yaml'), 'utf8')
  const isAuthorization = /^ {4}authorization:\n {6}credentials_file: .*\n/m
  assert(isAuthorization.test(example) && example.includes('localhost:8889'))
  const pace = 'global:\n  scrape_interval: 200ms\n  evaluation_interval: 200ms\n'
  // On the same machine no token is needed.
  const config = pace + example.replace(isAuthorization, '').replace('localhost:8889', target)
  copyFileSync(join(rulesFolder, 'sser.rules.yaml'), join(directory, 'sser.rules.yaml'))
  writeFileSync(join(directory, 'prometheus.yml'), config)
  return spawn(
    'prometheus',
    [
      `--config.file=${join(directory, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(directory, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ],
    { stdio: 'ignore' },
  )
}

/** What Prometheus answers; nothing while it does not listen yet. */
async function asked(url: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    const response = await fetch(url)
    return response.ok ? ((await response.json()) as { data: Record<string, unknown> }).data : {}
  } catch {
    return {}
  }
}
