/** The whole server, started as its users start it: the composition root in this process, and the program in another. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, open, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { type App, type Logger, startApp } from '../../src/app/app.ts'
import { startFailureWords } from '../../src/cli/start-failure.ts'
import { loadConfig } from '../../src/config/config.ts'
import { askCertificate, askInfo } from '../../src/control/control-client.ts'
import { createLogger } from '../../src/logger.ts'
import { freePort } from '../support/free-port.ts'
import { builtMain, ROOT } from '../support/server-process.ts'

const WAIT_MS = 30_000
const apiToken = 'an-api-token-for-app-tests'

async function folder(context: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'sser-app-'))
  context.after(() => rm(path, { recursive: true, force: true }))
  return path
}

interface Started {
  readonly app: App
  readonly api: string
  readonly log: () => string
}

async function start(directory: string, env: Record<string, string> = {}): Promise<Started> {
  const started = await startUnready(directory, env)
  await started.app.ready
  return started
}

/** It listens, and may still read its log. */
async function startUnready(directory: string, env: Record<string, string> = {}): Promise<Started> {
  let text = ''
  const config = loadConfig({
    env: {
      PORT: '127.0.0.1:0',
      SSER_STORAGE_DIR: directory,
      SSER_API_ACCESS_TOKEN: apiToken,
      SSER_LOG_LEVEL: 'debug',
      ...env,
    },
    cwd: directory,
  }).config
  const destination = {
    write(line: string) {
      text += line
    },
  }
  const logger: Logger = createLogger({ level: config.logging.level, destination, pretty: false })
  const app = await startApp(config, logger)
  return { app, api: `http://127.0.0.1:${app.address.port}/api/v1`, log: () => text }
}

const headers = { authorization: `Bearer ${apiToken}`, 'content-type': 'application/json' }

async function createTopic(api: string, persist: boolean): Promise<{ id: string; token: string }> {
  const response = await fetch(`${api}/pubsubs`, {
    method: 'POST',
    headers,
    body: JSON.stringify({ pubsub: { persist } }),
  })
  assert.equal(response.status, 201)
  return ((await response.json()) as { pubsub: { id: string; token: string } }).pubsub
}

async function publish(api: string, id: string, message: unknown): Promise<void> {
  const body = JSON.stringify({ event: { message } })
  const response = await fetch(`${api}/pubsubs/${id}/events`, { method: 'POST', headers, body })
  assert.equal(response.status, 201)
}

async function readUntil(url: string, token: string, text: string): Promise<string> {
  const abort = new AbortController()
  const response = await fetch(url, { headers: { authorization: `Bearer ${token}` }, signal: abort.signal })
  assert.equal(response.status, 200)
  let received = ''
  for await (const chunk of response.body!) {
    received += Buffer.from(chunk as Uint8Array).toString('utf8')
    if (received.includes(text)) break
  }
  abort.abort()
  return received
}

test('what was published to a persistent topic is there after a stop and a start, and what was in memory is not', async (t) => {
  const directory = await folder(t)
  const first = await start(directory)
  const durable = await createTopic(first.api, true)
  const volatile = await createTopic(first.api, false)
  for (const message of ['one', { two: 2 }]) await publish(first.api, durable.id, message)
  await publish(first.api, volatile.id, 'gone')
  await first.app.close()
  await first.app.close()
  await assert.rejects(fetch(first.api))

  const second = await start(directory)
  const url = `${second.api}/pubsubs/${durable.id}/events?since=earliest`
  assert.match(await readUntil(url, durable.token, '{"two":2}'), /data: one\n\n[\s\S]*data: \{"two":2\}\n\n/)
  assert.equal((await fetch(`${second.api}/pubsubs/${volatile.id}/events`, { headers })).status, 404)
  await second.app.close()
})

test('no log line holds a token, a query or a body', async (t) => {
  const { app, api, log } = await start(await folder(t))
  const { id, token } = await createTopic(api, true)
  await publish(api, id, 'secret-of-the-body')
  await readUntil(
    `${api}/pubsubs/${id}/events?access_token=${token}&since=earliest&note=secret-query`,
    token,
    'secret-of-the-body',
  )
  await fetch(`${api}/pubsubs/${id}/events?access_token=secret-query`)
  await fetch(`${api}/pubsubs/${id}/events`, { method: 'POST', headers, body: '{"secret-of-the-body' })
  const wish = JSON.stringify({
    ticket: {
      topics: [
        { id, token },
        { id, token: 'secret-guess' },
      ],
    },
  })
  await fetch(`${api}/tickets`, { method: 'POST', headers, body: wish })
  const answer = await fetch(`${api}/tickets`, { method: 'POST', headers, body: wish.replace('secret-guess', token) })
  const { ticket } = (await answer.json()) as { ticket: { token: string } }
  await readUntil(`${api}/pubsubs/${id}/events?access_token=${ticket.token}`, ticket.token, 'id: ')
  await fetch(`${api}/secret-query/%ff?access_token=secret-guess`, {
    headers: { authorization: 'Bearer secret-guess' },
  })
  await app.close()
  assert.match(log(), /"The server is ready\."/)
  for (const secret of [
    ticket.token,
    'secret-guess',
    token,
    apiToken,
    app.tokens.metricsAccessToken,
    'secret-of-the-body',
    'secret-query',
    'access_token',
  ]) {
    assert(!log().includes(secret), `${secret} stands in ${log()}`)
  }
})

test('without the persistent store topics are in memory only, and persist is a 400', async (t) => {
  const { app, api } = await start(await folder(t), { SSER_PERSISTENT_STORE_ENABLED: 'false' })
  const body = '{"pubsub":{"persist":true}}'
  assert.equal((await fetch(`${api}/pubsubs`, { method: 'POST', headers, body })).status, 400)
  const { id, token } = await createTopic(api, false)
  await publish(api, id, 'light')
  assert.match(await readUntil(`${api}/pubsubs/${id}/events?since=earliest`, token, 'light'), /data: light\n\n/)
  await app.close()
})

test('the metrics topic and the topics of the configuration are there, with their tokens', async (t) => {
  const directory = await folder(t)
  await writeFile(
    join(directory, 'base.yaml'),
    'pubsub:\n  staticPubSubs:\n    - id: "7"\n      name: news\n      token: a-token-of-the-news-topic\n',
  )
  const { app, api } = await start(directory, { SSER_CONFIG_DIR: directory })
  await publish(api, '7', 'static')
  await readUntil(`${api}/pubsubs/7/events?since=earliest`, 'a-token-of-the-news-topic', 'data: static')
  await readUntil(`${api}/pubsubs/0/events`, app.tokens.metricsAccessToken, 'retry: ')
  assert.equal((await fetch(`${api}/pubsubs/7`, { method: 'DELETE', headers })).status, 400)
  await app.close()
})

test('a second server on the same data is refused, and one whose start failed leaves nothing behind', async (t) => {
  const directory = await folder(t)
  const taken = createServer()
  taken.listen(0, '127.0.0.1')
  await once(taken, 'listening')
  const { port } = taken.address() as { port: number }
  await assert.rejects(start(directory, { PORT: `127.0.0.1:${port}` }), { code: 'EADDRINUSE' })
  taken.close()
  const first = await start(directory)
  await assert.rejects(start(directory), { code: 'STORAGE_LOCKED' })
  await first.app.close()
  await (await start(directory)).app.close()
})

interface Program {
  readonly child: ChildProcess
  /** Standard output and error, as they came. */
  readonly said: () => string
  until(text: string): Promise<void>
  ended(): Promise<number | null>
}

function run(
  context: TestContext,
  directory: string,
  args: readonly string[],
  env: Record<string, string> = {},
  standardOutput: 'pipe' | number = 'pipe',
): Program {
  const child = spawn(process.execPath, [builtMain(), ...args], {
    cwd: ROOT,
    env: { PATH: process.env['PATH'], PORT: '127.0.0.1:0', SSER_STORAGE_DIR: directory, ...env },
    stdio: ['ignore', standardOutput, 'pipe'],
  })
  context.after(() => child.kill('SIGKILL'))
  let text = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
  }
  const exit = once(child, 'close')
  return {
    child,
    said: () => text,
    async until(wanted) {
      const deadline = AbortSignal.timeout(WAIT_MS)
      while (!text.includes(wanted)) {
        assert(child.exitCode === null, `it ended before it said ${wanted}: ${text}`)
        assert(child.stdout !== null)
        await once(child.stdout, 'data', { signal: deadline })
      }
    },
    ended: async () => ((await exit) as [number | null])[0],
  }
}

test('before the log is read commands are answered by the server all the same, as far as they need none', async (t) => {
  const directory = await folder(t)
  // Nothing that could be read: the server goes no further.
  await writeFile(join(directory, 'log'), '')
  const { app } = await startUnready(directory)
  await assert.rejects(app.ready)
  assert.deepEqual(await askCertificate(directory), { pid: process.pid })
  await assert.rejects(askInfo(directory), { code: 'BUSY' })
  await app.close()
  await assert.rejects(askCertificate(directory), { code: 'ABSENT' })
})

test('the program says where it listens, its lines work when pasted, and a signal ends it with 0', async (t) => {
  const directory = await folder(t)
  const program = run(t, directory, [])
  await program.until('since=earliest')
  assert.match(
    program.said(),
    /\nsser \d+\.\d+\.\d+ listens on http:\/\/127\.0\.0\.1:\d+\n\nDashboard: http:\/\/127\.0\.0\.1:\d+\/ \(sign in with .*\)\nData: /,
  )
  assert(program.said().includes(directory))
  assert.equal((await stat(join(directory, 'tokens.json'))).mode & 0o777, 0o600)
  assert.equal((await stat(directory)).mode & 0o777, 0o700)
  const lines = program
    .said()
    .split('\n')
    .filter((line) => /^(TOPIC=\$\(curl|curl) /.test(line))
  assert.equal(lines.length, 3)
  const [create, send, watch] = lines
  const shell = spawn('sh', ['-c', `${create}\n${send}\necho\n${watch} --max-time 1`], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [shell.stdout, shell.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk
    })
  }
  await once(shell, 'close')
  assert.match(output, /TOPIC=[0-9A-Za-z]{11}\n/)
  assert.match(output, /\{"event":\{"id":"[0-9A-Za-z]{11}"\}\}/)
  assert.match(output, /data: Hello\n\n/)
  program.child.kill('SIGTERM')
  assert.equal(await program.ended(), 0)
})

test('a second signal ends the program at once', async (t) => {
  const directory = await folder(t)
  const program = run(t, directory, ['serve'])
  await program.until('since=earliest')
  const [, port] = /listens on http:\/\/127\.0\.0\.1:(\d+)/.exec(program.said()) ?? []
  const { apiAccessToken } = JSON.parse(
    await (await import('node:fs/promises')).readFile(join(directory, 'tokens.json'), 'utf8'),
  )
  // A request without an end keeps the first signal from ending it.
  const body = new ReadableStream({ start: (controller) => controller.enqueue(new TextEncoder().encode('{')) })
  const url = `http://127.0.0.1:${port}/api/v1/pubsubs`
  const pending = fetch(url, {
    method: 'POST',
    headers: { ...headers, authorization: `Bearer ${apiAccessToken}` },
    body,
    duplex: 'half',
  } as RequestInit).catch(() => undefined)
  await fetch(`http://127.0.0.1:${port}/healthz`)
  program.child.kill('SIGINT')
  await program.until('The server is stopping')
  program.child.kill('SIGTERM')
  assert.equal(await program.ended(), 130)
  await pending
})

test('a signal in the middle of the start ends the program with 0', async (t) => {
  const program = run(t, await folder(t), [])
  await program.until('The server listens')
  program.child.kill('SIGTERM')
  assert.equal(await program.ended(), 0)
})

async function isReady(port: number): Promise<void> {
  const deadline = Date.now() + WAIT_MS
  for (;;) {
    const response = await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined)
    if (response?.ok) return
    assert(Date.now() < deadline, 'it is not ready')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

test('a full disk below the log file does not end the program, and neither does a reader that leaves', async (t) => {
  const full = await open('/dev/full', 'w')
  t.after(() => full.close())
  for (const standardOutput of [full.fd, 'pipe'] as const) {
    const port = await freePort()
    const env = { PORT: `127.0.0.1:${port}`, SSER_API_ACCESS_TOKEN: apiToken, SSER_LOG_LEVEL: 'debug' }
    const program = run(t, await folder(t), [], env, standardOutput)
    program.child.stdout?.destroy()
    await isReady(port)
    const { id } = await createTopic(`http://127.0.0.1:${port}/api/v1`, true)
    await publish(`http://127.0.0.1:${port}/api/v1`, id, 'still here')
    program.child.kill('SIGTERM')
    assert.equal(await program.ended(), 0, program.said())
  }
})

test('what the system says of ports and folders is told in words, with what to do', async (t) => {
  const directory = await folder(t)
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  const { port } = taken.address() as { port: number }
  const occupied = run(t, directory, [], { PORT: `127.0.0.1:${port}` })
  assert.equal(await occupied.ended(), 1)
  assert.match(occupied.said(), new RegExp(`^sser cannot start: Port ${port} is taken: .* PORT`, 'm'))
  taken.close()
  await writeFile(join(directory, 'a-file'), '')
  const inTheWay = run(t, directory, [], { SSER_STORAGE_DIR: join(directory, 'a-file') })
  assert.equal(await inTheWay.ended(), 1)
  assert.match(inTheWay.said(), /^sser cannot start: .*a-file: a file stands in its place\. .* SSER_STORAGE_DIR/m)

  const words = (fields: object) => startFailureWords(Object.assign(new Error('as it came'), fields))
  assert.match(words({ code: 'EACCES', syscall: 'listen', port: 80 }), /may not listen on port 80\..* PORT/)
  assert.match(
    words({ code: 'EADDRNOTAVAIL', syscall: 'listen', address: '192.0.2.1', port: 80 }),
    /no address 192\.0\.2\.1/,
  )
  assert.match(
    words({ code: 'ENOTFOUND', syscall: 'getaddrinfo', hostname: 'nowhere' }),
    /The host nowhere .* is not known/,
  )
  assert.match(words({ code: 'EACCES', syscall: 'mkdir', path: '/x' }), /\/x: this user may not write there\./)
  assert.match(words({ code: 'EROFS', syscall: 'mkdir', path: '/x' }), /can only be read/)
  assert.match(words({ code: 'ENOENT', syscall: 'mkdir', path: '/proc/x' }), /\/proc\/x: ENOENT/)
  assert.equal(words({ code: 'STORAGE_LOCKED' }), 'as it came')
  assert.match(words({}), /as it came\n\s+at /)
})

test('the program explains what it cannot do, with an exit code of its own', async (t) => {
  const directory = await folder(t)
  const wrong = run(t, directory, [], { PORT: 'nowhere', APP_ENV: 'production' })
  assert.equal(await wrong.ended(), 78)
  assert.match(wrong.said(), /pubsub\.apiAccessToken[\s\S]*server\.addr/)
  assert.doesNotMatch(wrong.said(), /\n\s+at /)

  const first = await start(directory)
  const second = run(t, directory, [])
  assert.equal(await second.ended(), 1)
  assert.match(second.said(), /^sser cannot start: The data folder is in use/m)
  assert.doesNotMatch(second.said(), /\n\s+at /)
  await first.app.close()

  const help = run(t, directory, ['--help'])
  assert.equal(await help.ended(), 0)
  assert.match(help.said(), /^Usage: sser /)
  const version = run(t, directory, ['--version'])
  assert.equal(await version.ended(), 0)
  assert.match(version.said(), /^\d+\.\d+\.\d+\n$/)
  const unknown = run(t, directory, ['sevre'])
  assert.equal(await unknown.ended(), 64)
  assert.match(unknown.said(), /^sser: unknown command 'sevre'/)
})

test('each change of a figure is an event on topic 0, opened with the metrics token', async (t) => {
  const { app, api } = await start(await folder(t))
  try {
    const { metricsAccessToken } = app.tokens
    const watched = readUntil(
      `${api}/pubsubs/0/events?since=earliest`,
      metricsAccessToken,
      '"metric": "active_topics"}',
    )
    await createTopic(api, true)
    const text = await watched
    assert.match(text, /\ndata: \{"val": 1, "metric": "topics"\}\n\n/)
    assert.match(text, /\ndata: \{"val": 1, "metric": "active_topics"\}\n\n/)
  } finally {
    await app.close()
  }
})
