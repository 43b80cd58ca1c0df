/**
 * Real proxies (Debian's nginx, HAProxy and Caddy) before the server, with the configurations of docs/proxies.md, word by
 * word but for ports and folders.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect as connectHttp2 } from 'node:http2'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { Api } from '../support/api.ts'
import { Listener } from '../support/event-sources.ts'
import { freePort } from '../support/free-port.ts'
import { missingProgram } from '../support/programs.ts'
import { API_TOKEN, ROOT, ServerProcess } from '../support/server-process.ts'
import { SseClient } from '../support/sse-client.ts'
import { until } from '../support/until.ts'

const PAGE = readFileSync(join(ROOT, 'docs/proxies.md'), 'utf8')
const WAIT_MS = 60_000
/** One of this machine that is not loopback, which is never limited; what is sent to it does not leave the machine. */
const outside = Object.values(networkInterfaces())
  .flatMap((addresses) => addresses ?? [])
  .find(({ family, internal }) => family === 'IPv4' && !internal)?.address

interface Proxy {
  readonly name: string
  /** Its plain port; the configuration's own speaks TLS. */
  readonly port: number
  readonly securePort: number
  readonly child: ChildProcess
  /** What it said on its terminal. */
  said: string
}

const folder = mkdtempSync(join(tmpdir(), 'sser-proxies-'))
const proxies: Proxy[] = []
let server: ServerProcess
let api: Api

/** The blocks of that language, in the order of the page. */
function blocksOf(language: string): string[] {
  return [...PAGE.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'gm'))].map(([, text = '']) => text)
}

function replaced(text: string, replacements: readonly (readonly [from: string, to: string])[]): string {
  return replacements.reduce((done, [from, to]) => {
    assert(done.includes(from), `the page no longer says ${from}`)
    return done.replaceAll(from, to)
  }, text)
}

interface Place {
  readonly listens: readonly string[]
  readonly secure: number
}

const starters: Readonly<Record<string, (place: Place) => readonly string[]>> = {
  nginx({ listens, secure }) {
    const site = replaced(blocksOf('nginx')[0] ?? '', [
      ['127.0.0.1:8889', `127.0.0.1:${server.port}`],
      ['listen 443 ssl http2;', [`127.0.0.1:${secure} ssl http2`, ...listens].map((at) => `listen ${at};`).join(' ')],
      ['/etc/ssl/push.example.org', join(folder, 'push')],
      ['/var/log/nginx/sser', join(folder, 'nginx')],
    ])
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
      (name) => `${name}_temp_path ${folder}/nginx-${name};`,
    )
    const user = process.getuid?.() === 0 ? 'user root;\n' : ''
    const main = `${user}daemon off;\npid ${folder}/nginx.pid;\nworker_processes 1;\nerror_log ${folder}/nginx-main.log crit;
events { worker_connections 256; }\nhttp {\n${temporary.join('\n')}\naccess_log off;\n${site}}\n`
    writeFileSync(join(folder, 'nginx.conf'), main)
    return ['nginx', '-p', folder, '-c', join(folder, 'nginx.conf'), '-e', join(folder, 'nginx-main.log')]
  },
  haproxy({ listens, secure }) {
    writeFileSync(join(folder, 'sser-later.http'), blocksOf('http')[0] ?? '')
    const configuration = replaced(blocksOf('haproxy')[0] ?? '', [
      ['127.0.0.1:8889', `127.0.0.1:${server.port}`],
      ['bind :443', [...listens.map((at) => `bind ${at}`), `bind 127.0.0.1:${secure}`].join('\n    ')],
      ['/etc/haproxy/certs/push.example.org', join(folder, 'both')],
      ['/etc/haproxy/errors', folder],
      ['log /dev/log local0', 'log stdout format raw local0'],
      // A user of tests may open fewer files.
      ['maxconn 20000', 'maxconn 200'],
    ])
    writeFileSync(join(folder, 'haproxy.cfg'), configuration)
    return ['haproxy', '-db', '-f', join(folder, 'haproxy.cfg')]
  },
  caddy({ listens, secure }) {
    const text = replaced(blocksOf('caddy')[0] ?? '', [
      ['127.0.0.1:8889', `127.0.0.1:${server.port}`],
      ['/var/log/caddy/sser', join(folder, 'caddy')],
    ])
    const [options = '', site] = text.split('push.example.org {\n')
    assert(site !== undefined)
    const own = `admin off\nauto_https disable_redirects\nstorage file_system ${folder}/caddy-data`
    const hosts = listens.map((at) => at.replace(/:.*/, ''))
    const plain = `${listens.map((at) => `http://${at}`).join(', ')} {\nbind ${hosts.join(' ')}\n${site}`
    const encrypted = `https://localhost:${secure} {\nbind 127.0.0.1\ntls ${folder}/push.pem ${folder}/push.key\n${site}`
    writeFileSync(join(folder, 'Caddyfile'), [options.replace('{\n', `{\n${own}\n`), plain, encrypted].join('\n'))
    return ['caddy', 'run', '--config', join(folder, 'Caddyfile'), '--adapter', 'caddyfile']
  },
}

const missing = Object.keys(starters).filter((name) => missingProgram(name) !== false)
const none = missing.length === Object.keys(starters).length && `${missing.join(', ')} are not installed`

before(async () => {
  if (none !== false) return
  // The workers of some run as another user.
  chmodSync(folder, 0o755)
  const subject = ['-subj', '/CN=localhost', '-days', '2', '-nodes', '-newkey', 'ec', '-pkeyopt']
  const files = ['-keyout', join(folder, 'push.key'), '-out', join(folder, 'push.pem')]
  execFileSync('openssl', ['req', '-x509', ...subject, 'ec_paramgen_curve:prime256v1', ...files], { stdio: 'pipe' })
  const both = ['push.pem', 'push.key'].map((name) => readFileSync(join(folder, name), 'utf8')).join('')
  writeFileSync(join(folder, 'both.pem'), both)
  server = await ServerProcess.start({
    // No heartbeat pushes an event out of a buffer.
    settings: { server: { trustedProxies: ['127.0.0.1'], retry: '100ms' }, pubsub: { tickFrequency: '5m' } },
  })
  api = new Api(server)
  for (const [name, start] of Object.entries(starters)) {
    if (!missing.includes(name)) proxies.push(await started(name, start))
  }
})

after(async () => {
  for (const { child } of proxies) {
    if (child.exitCode !== null || child.signalCode !== null) continue
    const ended = once(child, 'close')
    child.kill('SIGTERM')
    const timer = setTimeout(() => child.kill('SIGKILL'), 5_000)
    await ended
    clearTimeout(timer)
  }
  api?.close()
  await server?.close()
  rmSync(folder, { recursive: true, force: true })
})

async function started(name: string, start: (place: Place) => readonly string[]): Promise<Proxy> {
  const [port, securePort] = [await freePort(), await freePort()]
  const hosts = ['127.0.0.1', ...(outside === undefined ? [] : [outside])]
  const [program = '', ...rest] = start({ listens: hosts.map((host) => `${host}:${port}`), secure: securePort })
  const child = spawn(program, rest, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, HOME: folder } })
  const proxy: Proxy = { name, port, securePort, child, said: '' }
  for (const channel of [child.stdout, child.stderr]) {
    channel.setEncoding('utf8').on('data', (text: string) => {
      proxy.said += text
    })
  }
  await until(`${name} answers`, async () => {
    assert(child.exitCode === null, `${name} ended: ${proxy.said}`)
    return (await fetch(`http://127.0.0.1:${port}/healthz`).catch(() => undefined))?.ok
  })
  return proxy
}

/** A test for each proxy that is here. */
function forEach(what: string, check: (proxy: Proxy) => Promise<void>, skip: string | false = false): void {
  for (const name of Object.keys(starters)) {
    test(`${name}: ${what}`, { skip: missingProgram(name) || skip, timeout: 2 * WAIT_MS }, async () => {
      const proxy = proxies.find((each) => each.name === name)
      assert(proxy !== undefined)
      await check(proxy)
    })
  }
}

const eventsUrl = ({ port }: Proxy, id: string, query = '') =>
  `http://127.0.0.1:${port}/api/v1/pubsubs/${id}/events${query}`

async function subscribers(): Promise<number> {
  const { text } = await api.call('GET', '/api/v1/metrics')
  const { metrics } = JSON.parse(text) as { metrics: { name: string; value: number }[] }
  return metrics.find(({ name }) => name === 'active_subscribers')?.value ?? -1
}

forEach('an event arrives with nothing behind it, and a reader that leaves is gone', async (proxy) => {
  const { id, token } = await api.createTopic()
  for (const leave of ['close', 'cut'] as const) {
    const reader = await SseClient.connect(eventsUrl(proxy, id, `?access_token=${token}`))
    assert.deepEqual([reader.status, reader.headers.get('content-type')], [200, 'text/event-stream'])
    await reader.until(({ blocks }) => blocks.some((block) => block.id !== undefined))
    await api.publish(id, { message: leave })
    await reader.until(({ events }) => events.some(({ data }) => data === leave))
    assert.equal(await subscribers(), 1)
    reader[leave]()
    await until('the server notices', async () => (await subscribers()) === 0)
  }
})

forEach('a reader resumes after what it has seen', async (proxy) => {
  const { id, token } = await api.createTopic()
  const ids = []
  for (const message of ['one', 'two', 'three']) ids.push(await api.publish(id, { message }))
  const reader = await SseClient.connect(eventsUrl(proxy, id), { token, lastEventId: ids[0] })
  await reader.until(({ events }) => events.length === 2)
  assert.deepEqual(
    reader.events.map(({ data }) => data),
    ['two', 'three'],
  )
  await reader.close()
})

forEach('many streams share one connection over HTTP/2', async ({ securePort }) => {
  const { id, token } = await api.createTopic()
  const session = connectHttp2(`https://localhost:${securePort}`, { rejectUnauthorized: false })
  const path = `/api/v1/pubsubs/${id}/events?access_token=${token}`
  const texts = Array.from({ length: 20 }, () => {
    const stream = session.request({ ':path': path })
    const seen = { text: '' }
    stream.setEncoding('utf8').on('data', (text: string) => {
      seen.text += text
    })
    return seen
  })
  await until('all are open', () => texts.every(({ text }) => text.includes('id: ')))
  await api.publish(id, { message: 'to all' })
  await until('all have it', () => texts.every(({ text }) => text.includes('data: to all\n\n')))
  session.destroy()
  await until('the server notices', async () => (await subscribers()) === 0)
})

forEach('a body is bounded by the server, not by the proxy', async (proxy) => {
  const { id } = await api.createTopic()
  const publish = (bytes: number) =>
    fetch(eventsUrl(proxy, id), {
      method: 'POST',
      headers: { authorization: `Bearer ${API_TOKEN}`, 'content-type': 'application/json' },
      body: JSON.stringify({ event: { message: 'x'.repeat(bytes) } }),
    })
  assert.equal((await publish(1_000_000)).status, 201)
  const refused = await publish(1_100_000)
  assert.equal(refused.status, 413)
  assert.match(await refused.text(), /"max_bytes":1048576/)
})

async function presentWrongToken(host: string, port: number, forged: string): Promise<number> {
  const response = await fetch(`http://${host}:${port}/api/v1/pubsubs`, {
    method: 'POST',
    headers: { authorization: 'Bearer a-token-that-opens-nothing', 'x-forwarded-for': forged },
  })
  await response.arrayBuffer()
  return response.status
}

const onlyLoopback = outside === undefined && 'this machine has no address but loopback'

test('whoever is no trusted proxy is believed nothing: a client that forges addresses is the one that waits', {
  skip: none || onlyLoopback,
}, async () => {
  assert(outside !== undefined)
  const statuses = []
  for (let i = 0; i < 12; i += 1) statuses.push(await presentWrongToken(outside, server.port, `198.51.100.${i}`))
  assert.deepEqual([statuses[0], statuses.at(-1)], [401, 429])
})

async function tellsItsClient({ port }: Proxy): Promise<void> {
  assert(outside !== undefined)
  // That address has to wait, since the test before; nobody else has.
  assert.equal(await presentWrongToken(outside, port, '198.51.100.99'), 429)
  assert.equal(await presentWrongToken('127.0.0.1', port, '127.0.0.1'), 401)
}
forEach('it tells the address that its client has, whatever that one says', tellsItsClient, onlyLoopback)

test('HAProxy and Caddy ask for /healthz by themselves', { skip: none }, async () => {
  if (missing.includes('haproxy') && missing.includes('caddy')) return
  const asked = async () => {
    const { text } = await api.call('GET', '/metrics')
    return Number(/^sser_http_requests_total\{method="get",route="\/healthz",status="200"\} (\d+)$/m.exec(text)?.[1])
  }
  const before = await asked()
  await until('it is asked for', async () => (await asked()) > before)
})

test('while the server is away browsers are sent back to wait, and come back; all others are told', {
  skip: none,
  timeout: 3 * WAIT_MS,
}, async () => {
  const { id, token } = await api.createTopic()
  const listeners = proxies.map((proxy) => new Listener('undici', eventsUrl(proxy, id, `?access_token=${token}`)))
  try {
    for (const listener of listeners) await listener.until(({ opened }) => opened === 1)
    await api.publish(id, { message: 'before' })
    for (const listener of listeners) await listener.until(({ events }) => events.length === 1)
    await server.kill('SIGKILL')
    await Promise.all(proxies.map((proxy) => isAway(proxy, id, token)))
    await Promise.all(
      listeners.map((listener, index) =>
        until(`${proxies[index]?.name} sends its reader back`, () => listener.opened > 1 || listener.isClosed),
      ),
    )
    assert.deepEqual(
      listeners.map(({ isClosed }) => isClosed),
      listeners.map(() => false),
    )
    await server.restart()
    await api.publish(id, { message: 'after' })
    for (const listener of listeners) await listener.until(({ events }) => events.length === 2)
    assert.deepEqual(
      listeners.map(({ events }) => events.map(({ data }) => data)),
      listeners.map(() => ['before', 'after']),
    )
  } finally {
    for (const listener of listeners) listener.close()
  }
})

async function isAway(proxy: Proxy, id: string, token: string): Promise<void> {
  const streams = ['text/event-stream', '*/*', 'text/event-stream, application/json'].map(async (accept) => {
    const response = await fetch(eventsUrl(proxy, id, `?access_token=${token}`), { headers: { accept } })
    assert.deepEqual([response.status, response.headers.get('content-type')], [200, 'text/event-stream'], proxy.name)
    assert.equal(response.headers.get('access-control-allow-origin'), '*')
    assert.match(await response.text(), /^retry: \d{4}\n\n$/, proxy.name)
  })
  const calls = [
    ['POST', '*/*'],
    ['GET', 'application/json'],
    ['GET', 'application/x-ndjson'],
    ['DELETE', 'text/event-stream'],
  ] as const
  const others = calls.map(async ([method, accept]) => {
    const { status } = await fetch(eventsUrl(proxy, id), { method, headers: { accept } })
    assert.ok(status === 502 || status === 503, `${proxy.name}: ${method} ${accept} got ${status}`)
  })
  await Promise.all([...streams, ...others])
}

forEach('it logs requests, and no token', async (proxy) => {
  const logs = readdirSync(folder).filter((file) => file.startsWith(proxy.name) && file.endsWith('.log'))
  const said = () => [proxy.said, ...logs.map((file) => readFileSync(join(folder, file), 'utf8'))].join('\n')
  await until('it has logged', () => /\/api\/v1\/pubsubs\/[0-9A-Za-z]{11}\/events/.test(said()))
  assert.doesNotMatch(said(), /access_token|[0-9A-Za-z]{64}/)
})
