/**
 * What deploys the server: the Dockerfile, its scripts, Compose with Prometheus and Grafana, and the unit for systemd. No
 * container is run here; linters read the files, and the scripts are run by hand.
 */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname, join, resolve } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { DCLinter } from 'dclint'
import { validate } from 'dockerfile-utils'
import { parse } from 'yaml'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const ENTRYPOINT = join(ROOT, 'config/docker/entrypoint.sh')
const HEALTHCHECK = join(ROOT, 'config/docker/healthcheck.mjs')
const isRoot = process.getuid?.() === 0
const hasSystemd = spawnSync('systemd-analyze', ['--version']).status === 0

test('the Dockerfile has no mistake that a linter knows, and copies what is there', () => {
  const dockerfile = readFileSync(join(ROOT, 'Dockerfile'), 'utf8')
  assert.deepEqual(validate(dockerfile), [])
  const copied = [...dockerfile.matchAll(/^COPY --from=build (.*) \S+$/gm)].flatMap(([, paths = '']) =>
    paths.split(' '),
  )
  const made = ['/build/node_modules', '/build/dist']
  const missing = copied.filter((path) => !made.includes(path) && !existsSync(join(ROOT, path.replace('/build/', ''))))
  assert.deepEqual([copied.length > 3, missing], [true, []])
  for (const [, path = ''] of dockerfile.matchAll(/\/sser\/(config\/\S+?)["\s]/g))
    assert.ok(existsSync(join(ROOT, path)), path)
})

test('what is built into the image is what a build needs, and nothing of this checkout besides', () => {
  const ignored = readFileSync(join(ROOT, '.dockerignore'), 'utf8').trim().split('\n')
  for (const needed of [
    'src',
    'storage-engine',
    'config',
    'package.json',
    'package-lock.json',
    'tsconfig.build.json',
  ]) {
    assert.ok(!ignored.includes(needed), needed)
  }
  for (const secret of ['.env', '**/.env', '_storage', '_config', '.git']) assert.ok(ignored.includes(secret), secret)
})

test('the entrypoint runs a command as whoever started it, where that is not root', (t) => {
  const command = isRoot ? ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] : []
  const out = execFileSync('/usr/bin/env', [...command, 'sh', ENTRYPOINT, 'echo', 'a b', '$HOME'], { encoding: 'utf8' })
  assert.equal(out, 'a b $HOME\n')
  t.diagnostic('as root it was read, and not run: it changes the owner of a folder')
  assert.equal(spawnSync('sh', ['-n', ENTRYPOINT]).status, 0)
})

test('the health check tells a server that answers from one that does not', async () => {
  let status = 200
  const server = createServer((request, response) =>
    response.writeHead(request.url === '/healthz' ? status : 404).end(),
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const check = async (PORT: string): Promise<number | null> => {
    const { spawn } = await import('node:child_process')
    const child = spawn(process.execPath, [HEALTHCHECK], { env: { PATH: process.env['PATH'], PORT } })
    return await new Promise((resolve) => child.once('exit', resolve))
  }
  for (const text of [String(port), `:${port}`, `127.0.0.1:${port}`]) assert.equal(await check(text), 0, text)
  status = 301
  assert.equal(await check(String(port)), 0)
  status = 503
  assert.equal(await check(String(port)), 1)
  await new Promise((resolve) => server.close(resolve))
  assert.equal(await check(String(port)), 1)
})

interface LintResult {
  readonly messages: readonly { readonly message: string; readonly line: number }[]
}

const COMPOSE = join(ROOT, 'config/compose/compose.yaml')

test('the Compose file has no mistake that a linter knows', () => {
  const results = new DCLinter({
    recursive: false,
    quiet: false,
    debug: false,
    disableColor: true,
    exclude: [],
    rules: {},
  })
    .lintFiles([COMPOSE], false)
    .flatMap(({ messages }: LintResult) => messages.map(({ message, line }) => `${line}: ${message}`))
  assert.deepEqual(results, [])
})

interface ComposeFile {
  readonly services: Readonly<
    Record<string, { readonly volumes: readonly string[]; readonly ports: readonly string[] }>
  >
  readonly volumes: Readonly<Record<string, unknown>>
}

test('what Compose mounts is there, what it publishes is for this machine, and Grafana finds all of it', () => {
  const { services, volumes } = parse(readFileSync(COMPOSE, 'utf8')) as ComposeFile
  assert.deepEqual(Object.keys(services), ['grafana', 'prometheus', 'sser'])
  const inside = new Map<string, string>()
  for (const [name, service] of Object.entries(services)) {
    for (const volume of service.volumes) {
      const [from = '', to = ''] = volume.split(':')
      if (from.startsWith('.')) inside.set(`${name}:${to}`, resolve(dirname(COMPOSE), from))
      else assert.ok(from in volumes, volume)
    }
    for (const port of service.ports) assert.match(port, /^127\.0\.0\.1:/)
  }
  for (const path of inside.values()) assert.ok(existsSync(path), path)
  const provisioning = inside.get('grafana:/etc/grafana/provisioning') ?? ''
  const read = (path: string) => parse(readFileSync(join(provisioning, path), 'utf8'))
  assert.equal(read('datasources/prometheus.yaml').datasources[0].url, 'http://prometheus:9090')
  const dashboards = inside.get(`grafana:${read('dashboards/sser.yaml').providers[0].options.path}`) ?? ''
  assert.ok(existsSync(join(dashboards, 'sser.json')))
})

test('the Prometheus of Compose reads what the example reads, from the container of the server', () => {
  const read = (path: string) => parse(readFileSync(join(ROOT, 'config', path), 'utf8'))
  const { global: pace, ...ours } = read('compose/prometheus.yaml')
  assert.deepEqual(Object.keys(pace), ['scrape_interval', 'evaluation_interval'])
  const example = read('prometheus/prometheus.yaml')
  example.scrape_configs[0].authorization.credentials_file = '/run/secrets/metrics-token'
  example.scrape_configs[0].static_configs[0].targets = ['sser:8889']
  assert.deepEqual(ours, example)
})

interface Panel {
  readonly id: number
  readonly title: string
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
}

test('no two panels of the dashboard lie over each other, or have one number', () => {
  const { panels } = JSON.parse(readFileSync(join(ROOT, 'config/grafana/dashboards/sser.json'), 'utf8')) as {
    panels: Panel[]
  }
  assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length)
  const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
    Array.from({ length: w * h }, (_, index) => `${x + (index % w)},${y + Math.floor(index / w)}`),
  )
  assert.equal(new Set(cells).size, cells.length)
  assert.ok(panels.every(({ gridPos: { x, w } }) => x + w <= 24))
})

test('the unit is one that systemd understands, and is well hardened', {
  skip: !hasSystemd && 'systemd-analyze is not here',
}, () => {
  const unit = join(ROOT, 'config/systemd/sser.service')
  const { stdout, stderr } = spawnSync('systemd-analyze', ['security', '--offline=true', '--threshold=30', unit], {
    encoding: 'utf8',
  })
  const exposure = /Overall exposure level for .*: ([\d.]+)/.exec(stdout)?.[1]
  assert.ok(exposure !== undefined && Number(exposure) < 3, `${stdout.slice(-500)}${stderr}`)
})
