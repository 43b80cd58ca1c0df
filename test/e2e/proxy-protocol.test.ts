/**
 * Debian's HAProxy, which hands on bytes and says by the PROXY protocol whose they are, with the configuration of
 * docs/proxies.md, word by word but for ports and the addresses of clients.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { connect as connectHttp2 } from 'node:http2'
import { request as requestSecurely } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { startFixture } from '../http/fixture.ts'
import { certificate, startSecureFixture } from '../http/secure-fixture.ts'
import { freePort } from '../support/free-port.ts'
import { missingProgram } from '../support/programs.ts'
import { ROOT } from '../support/server-process.ts'
import { until } from '../support/until.ts'

const page = readFileSync(join(ROOT, 'docs/proxies.md'), 'utf8')
const section = page.slice(page.indexOf('## A proxy that hands on bytes'))
const [, configuration = ''] = /^```haproxy\n([\s\S]*?)^```$/m.exec(section) ?? []
/** Found on the page, so that the page is what is tested. */
const [, proxyHost = ''] = / source (\S+) /.exec(configuration) ?? []
/** Whoever asks HAProxy on this machine is one that no limit holds for; so it is told that others do. */
const clientOf = (host: number) => `\n    tcp-request connection set-src ipv4(203.0.113.${host})`

async function startHaproxy(t: TestContext, replacements: readonly (readonly [from: string, to: string])[]) {
  const folder = mkdtempSync(join(tmpdir(), 'sser-haproxy-'))
  const file = join(folder, 'haproxy.cfg')
  writeFileSync(join(folder, 'own.pem'), certificate.certificate + certificate.key)
  const text = replacements.reduce((done, [from, to]) => {
    assert(done.includes(from), `the page no longer says ${from}`)
    return done.replace(from, to)
  }, configuration)
  writeFileSync(file, text)
  const child = spawn('haproxy', ['-db', '-f', file], { stdio: ['ignore', 'pipe', 'pipe'], cwd: folder })
  const proxy = { said: '' }
  for (const channel of [child.stdout, child.stderr]) {
    channel.setEncoding('utf8').on('data', (more: string) => {
      proxy.said += more
    })
  }
  const ended = once(child, 'close')
  t.after(async () => {
    child.kill('SIGKILL')
    await ended
    rmSync(folder, { recursive: true, force: true })
  })
  return { proxy, isRunning: () => child.exitCode === null && child.signalCode === null }
}

const headers = { authorization: 'Bearer wrong' }

async function http1(port: number, isSecure: boolean): Promise<number | undefined> {
  const options = { host: '127.0.0.1', port, path: '/metrics', headers, agent: false }
  const asked = isSecure ? requestSecurely({ ...options, rejectUnauthorized: false }) : request(options)
  const [response] = await once(asked.end(), 'response')
  response.resume()
  return response.statusCode
}

async function http2(port: number): Promise<number | undefined> {
  const session = connectHttp2(`https://localhost:${port}`, { rejectUnauthorized: false })
  try {
    const [answer] = await once(session.request({ ':path': '/metrics', ...headers }), 'response')
    return answer[':status']
  } finally {
    session.destroy()
  }
}

test('HAProxy says whose the bytes are that it hands on, with TLS in them and without', {
  skip: missingProgram('haproxy'),
  timeout: 120_000,
}, async (t) => {
  const http = {
    trustedProxies: [{ address: proxyHost, prefix: 32, family: 'ipv4' as const }],
    proxyHeaderTimeoutMs: 60_000,
    wrongTokensMax: 2,
    wrongTokenWaitMsMax: 600_000,
  }
  const secure = await startSecureFixture(t, {}, { http })
  const plain = await startFixture(t, { http })
  const [securePort, plainPort] = [await freePort(), await freePort()]
  const { proxy, isRunning } = await startHaproxy(t, [
    ['127.0.0.1:8888', `127.0.0.1:${secure.securePort}`],
    ['127.0.0.1:8889', `127.0.0.1:${plain.port}`],
    ['bind :443', `bind 127.0.0.1:${securePort}${clientOf(7)}`],
    ['bind :80', `bind 127.0.0.1:${plainPort}${clientOf(8)}`],
    ['maxconn 20000', 'maxconn 200'],
    // So that HAProxy also speaks for itself while the test goes on.
    ['check', 'check inter 100ms'],
  ])
  await until('HAProxy answers', async () => {
    assert(isRunning(), `HAProxy ended: ${proxy.said}`)
    return (await http1(plainPort, false).catch(() => undefined)) === 401
  })
  assert.deepEqual([await http1(plainPort, false), await http1(plainPort, false)], [401, 429])
  assert.deepEqual([await http1(securePort, true), await http2(securePort)], [401, 401])
  assert.deepEqual([await http2(securePort), await http1(securePort, true)], [429, 429])
  assert.deepEqual([secure.proxiesRefused, plain.proxiesRefused], [[], []])
})

test('HAProxy that takes the TLS off says so, and its clients are not sent to HTTPS again', {
  skip: missingProgram('haproxy'),
  timeout: 120_000,
}, async (t) => {
  const http = {
    trustedProxies: [{ address: proxyHost, prefix: 32, family: 'ipv4' as const }],
    proxyHeaderTimeoutMs: 60_000,
  }
  const { port, securePort, proxiesRefused } = await startSecureFixture(t, {}, { http })
  const [tlsPort, plainPort] = [await freePort(), await freePort()]
  const { proxy, isRunning } = await startHaproxy(t, [
    ['bind :443\n    default_backend sser_https', `bind 127.0.0.1:${plainPort}\n    default_backend sser_http`],
    ['127.0.0.1:8888', `127.0.0.1:${securePort}`],
    ['127.0.0.1:8889 send-proxy-v2', `127.0.0.1:${port} send-proxy-v2-ssl`],
    ['bind :80', `bind 127.0.0.1:${tlsPort} ssl crt own.pem`],
    ['maxconn 20000', 'maxconn 200'],
  ])
  await until('HAProxy answers', async () => {
    assert(isRunning(), `HAProxy ended: ${proxy.said}`)
    return (await http1(tlsPort, true).catch(() => undefined)) === 401
  })
  assert.equal(await http1(plainPort, false), 301)
  assert.deepEqual(proxiesRefused, [])
})
