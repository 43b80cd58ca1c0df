/** What others find at the port of HTTPS: scanners, and clients of HTTP/2 that are not Node's. */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { missingProgram } from '../support/programs.ts'
import { API_TOKEN } from './fixture.ts'
import { publishText, startSecureFixture } from './secure-fixture.ts'

const run = promisify(execFile)
const timeout = 120_000
const authorization = `authorization: Bearer ${API_TOKEN}`

test('nmap finds no protocol below TLS 1.2, and no suite without forward secrecy and authenticated encryption', {
  skip: missingProgram('nmap'),
}, async (t) => {
  const { securePort } = await startSecureFixture(t)
  const options = ['-Pn', '-n', '-p', String(securePort), '--script', 'ssl-enum-ciphers', '127.0.0.1']
  const { stdout } = await run('nmap', options, { timeout })
  const protocols = [...stdout.matchAll(/^\|\s+((?:SSL|TLS)v[\d.]+):/gm)].map(([, name]) => name)
  assert.deepEqual(protocols, ['TLSv1.2', 'TLSv1.3'])
  const found = [...stdout.matchAll(/(TLS_\w+).* - (\w)$/gm)]
  assert.deepEqual(new Set(found.map(([, , grade]) => grade)), new Set(['A']))
  const suites = new Set(found.map(([, suite]) => suite))
  assert.deepEqual(
    suites,
    new Set([
      'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256',
      'TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384',
      'TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256',
      'TLS_AKE_WITH_AES_128_GCM_SHA256',
      'TLS_AKE_WITH_AES_256_GCM_SHA384',
      'TLS_AKE_WITH_CHACHA20_POLY1305_SHA256',
    ]),
  )
  assert.doesNotMatch(stdout, /DEFLATE/)
})

test('h2load publishes over many streams of few connections, and every event is there', {
  skip: missingProgram('h2load'),
}, async (t) => {
  const { securePort, createTopic, hub } = await startSecureFixture(t)
  const { id } = await createTopic(true)
  const folder = mkdtempSync(join(tmpdir(), 'sser-h2load-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const body = join(folder, 'body.json')
  writeFileSync(body, '{"event":{"message":"hello"}}')
  const events = 500
  const load = ['-n', String(events), '-c', '5', '-m', '20', '-d', body, '-H', authorization]
  const url = `https://127.0.0.1:${securePort}/api/v1/pubsubs/${id}/events`
  const { stdout } = await run('h2load', [...load, '-H', 'content-type: application/json', url], { timeout })
  assert.match(stdout, /Application protocol: h2/)
  assert.match(stdout, new RegExp(`${events} succeeded, 0 failed, 0 errored, 0 timeout`))
  assert.match(stdout, new RegExp(`status codes: ${events} 2xx`))
  assert.equal((await hub.topicDetails(hub.topic(id)!)).events, events)
})

test('curl watches over HTTP/2', { skip: await lacksHttp2() }, async (t) => {
  const { securePort, createTopic, hub } = await startSecureFixture(t)
  const { id } = await createTopic()
  const url = `https://127.0.0.1:${securePort}/api/v1/pubsubs/${id}/events`
  const curl = spawn('curl', ['-skNi', '--http2', '-H', authorization, url], { timeout })
  t.after(() => curl.kill('SIGKILL'))
  let printed = ''
  curl.stdout.setEncoding('latin1').on('data', (text: string) => {
    printed += text
  })
  const until = async (text: string) => {
    while (!printed.includes(text)) {
      assert.equal(curl.exitCode, null, printed)
      await Promise.race([once(curl.stdout, 'data'), once(curl, 'exit')])
    }
  }
  await until('\nid: ')
  assert.match(printed, /^HTTP\/2 200 \r\n/)
  for (let index = 0; index < 10; index += 1) await publishText(hub, id, `${index}!`)
  await until('data: 9!')
  assert.equal(printed.match(/^data: \d!$/gm)?.length, 10)
})

async function lacksHttp2(): Promise<string | false> {
  const { stdout } = await run('curl', ['--version'])
  return /\bHTTP2\b/.test(stdout) ? false : 'this curl speaks no HTTP/2'
}
