/**
 * The steps of the Dockerfile, one by one, in folders instead of layers; then the server as its container starts it: by the
 * entrypoint, as a user who may write into the data folder only, in the layout of the original's `docker run` line, and
 * asked by its health check. There is no isolation and no other base than this machine. It downloads all packages, so it runs
 * when asked for: SSER_DOCKER_STEPS=1.
 */
import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { freePort } from './support/free-port.ts'
import { ROOT } from './support/server-process.ts'
import { until } from './support/until.ts'

const isWanted = process.env['SSER_DOCKER_STEPS'] === '1'
const isRoot = process.getuid?.() === 0
/** nobody */
const USER = 65_534
const ORIGINAL = join(ROOT, 'test/compatibility/original')

interface Step {
  readonly instruction: string
  readonly rest: string
}

/** Instructions, lines that go on joined, comments left out. */
function stepsOf(dockerfile: string): Step[] {
  const lines = dockerfile.replace(/\\\n\s*/g, ' ').split('\n')
  return lines.flatMap((line) => {
    const [, instruction, rest] = /^([A-Z]+) (.*)$/.exec(line) ?? []
    return instruction === undefined || rest === undefined ? [] : [{ instruction, rest }]
  })
}

/** What git knows and .dockerignore lets through, as `COPY . .` takes it out of a fresh clone. */
function contextFiles(): string[] {
  const ignored = readFileSync(join(ROOT, '.dockerignore'), 'utf8').trim().split('\n')
  const listed = execFileSync('git', ['ls-files', '-coz', '--exclude-standard'], { cwd: ROOT, encoding: 'utf8' })
  return listed.split('\0').filter((path) => {
    return path !== '' && existsSync(join(ROOT, path)) && !ignored.includes(path.split('/')[0] ?? '')
  })
}

/** Carries the steps out below `root`; resolves with what the image would start with. */
function build(root: string): Readonly<Record<string, string>> {
  const below = (text: string) => text.replaceAll(/(^|[\s"])\/(?=(?:build|sser|usr|_storage)\b)/g, `$1${root}/`)
  const meta: Record<string, string> = {}
  let workdir = root
  for (const { instruction, rest } of stepsOf(readFileSync(join(ROOT, 'Dockerfile'), 'utf8'))) {
    if (instruction === 'WORKDIR') {
      workdir = join(root, rest)
      mkdirSync(workdir, { recursive: true })
    } else if (instruction === 'RUN') {
      mkdirSync(join(root, 'usr/local/bin'), { recursive: true })
      execFileSync('sh', ['-ec', below(rest)], { cwd: workdir, stdio: 'pipe', env: { PATH: process.env['PATH'] } })
    } else if (instruction === 'COPY' && rest === '. .') {
      for (const path of contextFiles()) {
        mkdirSync(dirname(join(workdir, path)), { recursive: true })
        cpSync(join(ROOT, path), join(workdir, path))
      }
    } else if (instruction === 'COPY') {
      const [to = '', ...from] = below(rest.replace('--from=build ', '')).split(' ').reverse()
      for (const path of from) {
        const target = to.endsWith('/') ? join(to, path.slice(path.lastIndexOf('/'))) : to
        cpSync(path, target, { recursive: true, verbatimSymlinks: true })
      }
    } else {
      meta[instruction] = below(rest)
    }
  }
  return meta
}

test('the steps of the Dockerfile make a server that its entrypoint starts and its health check finds', {
  skip: isWanted ? !isRoot && 'only root can hand the server over to another user' : 'asked for by SSER_DOCKER_STEPS=1',
  timeout: 600_000,
}, async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'sser-image-'))
  t.after(() => rmSync(root, { recursive: true, force: true }))
  chmodSync(root, 0o755)
  const image = build(root)
  const kilobytes = Number(execFileSync('du', ['-sk', join(root, 'sser')], { encoding: 'utf8' }).split('\t')[0])
  t.diagnostic(`/sser takes ${Math.round(kilobytes / 1024)} MiB`)
  for (const absent of ['typescript', 'playwright-core', '@biomejs/biome']) {
    assert.ok(!existsSync(join(root, 'sser/node_modules', absent)), absent)
  }

  cpSync(ORIGINAL, join(root, '_config'), { recursive: true })
  // As the entrypoint does where it begins as root: there is no user `node` here.
  const theirs = ['_storage', '_config/certs'].map((path) => join(root, path))
  for (const path of theirs) {
    mkdirSync(path)
    chownSync(path, USER, USER)
  }
  const [port, securePort] = [await freePort(), await freePort()]
  const env = {
    PATH: `${join(root, 'usr/local/bin')}:${process.env['PATH']}`,
    NODE_ENV: 'production',
    APP_ENV: 'production',
    PORT: `:${port}`,
    SSLPORT: `:${securePort}`,
    SSER_API_ACCESS_TOKEN: '0f1e2d3c4b5a69788796a5b4c3d2e1f0',
    SSER_METRICS_ACCESS_TOKEN: 'ffeeddccbbaa99887766554433221100',
    SSER_PERSISTENT_STORE_ENABLED: 'true',
  }
  const asUser = ['setpriv', `--reuid=${USER}`, `--regid=${USER}`, '--clear-groups']
  const [entrypoint = ''] = JSON.parse(image['ENTRYPOINT'] ?? '[]') as string[]
  const command = JSON.parse(image['CMD'] ?? '[]') as string[]
  const server = spawn('/usr/bin/env', [...asUser, entrypoint, ...command], { cwd: root, env, stdio: 'pipe' })
  let said = ''
  for (const channel of [server.stdout, server.stderr]) channel.on('data', (bytes: Buffer) => (said += String(bytes)))
  const check = () => {
    const [program = '', script = ''] = JSON.parse(/\[.*\]$/.exec(image['HEALTHCHECK'] ?? '')?.[0] ?? '[]') as string[]
    return spawnSync(program, [script], { env }).status
  }
  try {
    assert.equal(check(), 1)
    await until('the server is ready', () => {
      assert(server.exitCode === null, said)
      return said.includes('The server is ready.')
    })
    assert.equal(check(), 0)
  } finally {
    const ended = once(server, 'exit')
    server.kill(image['STOPSIGNAL'] as NodeJS.Signals)
    assert.deepEqual(await ended, [0, null], said)
  }
  const elsewhere = theirs.flatMap((path) => ['-not', '-path', `${path}*`])
  const written = execFileSync('find', [root, '-user', String(USER), ...elsewhere])
  assert.equal(String(written), '')
})
