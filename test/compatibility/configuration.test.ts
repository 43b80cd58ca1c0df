/**
 * The configuration of the Go service, with each of its keys as it ships it, in `_config` where the server is started:
 * understood in every environment, and nothing that everybody knows is taken for a secret or an address.
 */
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { ConfigError, type LoadedConfig, loadConfig } from '../../src/config/config.ts'
import { freePort } from '../support/free-port.ts'
import { ServerProcess } from '../support/server-process.ts'

const ORIGINAL = fileURLToPath(new URL('original', import.meta.url))
const TOKENS = {
  SSER_API_ACCESS_TOKEN: '0f1e2d3c4b5a69788796a5b4c3d2e1f0',
  SSER_METRICS_ACCESS_TOKEN: 'ffeeddccbbaa99887766554433221100',
}
/** SHA-256 of the API token that it ships. */
const PUBLISHED_HASH = 'sha256:f4b5f1b21c3191087d16ccdb379cfacda7fa4f962e9ed2933836343da65aaa6a'

/** As its container has it: the configuration with its folder for certificates, and the store beside. */
function folderOfTheOriginal(t: TestContext): string {
  const cwd = mkdtempSync(join(tmpdir(), 'sser-original-'))
  t.after(() => rmSync(cwd, { recursive: true }))
  cpSync(ORIGINAL, join(cwd, '_config'), { recursive: true })
  mkdirSync(join(cwd, '_config/certs'))
  mkdirSync(join(cwd, '_storage'))
  writeFileSync(join(cwd, '_config/certs/README.md'), '')
  return cwd
}

function load(t: TestContext, env: Readonly<Record<string, string>>): LoadedConfig {
  return loadConfig({ env, cwd: folderOfTheOriginal(t) })
}

function mistakenKeys(run: () => unknown): string[] {
  try {
    run()
  } catch (error) {
    assert(error instanceof ConfigError, String(error))
    return error.mistakes.map(({ key }) => key)
  }
  return []
}

test('with both tokens in the environment it means what it meant', (t) => {
  const { config } = load(t, { APP_ENV: 'production', ...TOKENS })
  const { addr, sslAddr, idleTimeoutMs, readTimeoutMs, writeTimeoutMs, maxRequestBodySize } = config.server
  assert.deepEqual([addr.port, sslAddr.port], [80, 443])
  assert.deepEqual([idleTimeoutMs, readTimeoutMs, writeTimeoutMs], [1_800_000, 60_000, 3_600_000])
  assert.equal(maxRequestBodySize, 16_000)
  assert.equal(config.pubsub.tickFrequencyMs, 4000)
  assert.equal(config.kv.enabled, false)
  assert.equal(load(t, { APP_ENV: 'production', PORT: ':81', ...TOKENS }).config.server.addr.port, 81)
  assert.equal(load(t, { SSER_PERSISTENT_STORE_ENABLED: 'true', ...TOKENS }).config.kv.enabled, true)
})

test('its static topics keep their numbers: 12 is the topic C', (t) => {
  const { config } = load(t, TOKENS)
  assert.deepEqual(
    config.pubsub.staticPubSubs.map(({ id }) => id),
    ['0000000000C'],
  )
})

test('what is known and not needed is told once, in one line for each reason', (t) => {
  for (const APP_ENV of ['development', 'staging', 'production']) {
    const { notices } = load(t, { APP_ENV, ...TOKENS })
    assert.deepEqual(
      notices.map((notice) => notice.slice(0, notice.indexOf(':'))),
      [
        'server.name, server.tcpKeepalivePeriod, server.tcpKeepalive, server.noDefaultDate, server.closeOnShutdown and server.disablePreParseMultipartForm are accepted but not needed',
        'pubsub.maxDurationForSubscriberToReceive is accepted but not needed',
        'kv.dsn is accepted but not needed',
        'app is accepted but not needed',
        'idgen is accepted but not needed',
      ],
    )
  }
})

test('the tokens that it ships count as missing, as they are and as their hashes', (t) => {
  const keys = ['pubsub.apiAccessToken', 'pubsub.metricsAccessToken']
  assert.deepEqual(
    mistakenKeys(() => load(t, { APP_ENV: 'production' })),
    keys,
  )
  const hashed = { ...TOKENS, SSER_API_ACCESS_TOKEN: PUBLISHED_HASH }
  assert.deepEqual(
    mistakenKeys(() => load(t, { APP_ENV: 'production', ...hashed })),
    keys.slice(0, 1),
  )
  for (const APP_ENV of ['development', 'staging']) {
    const { config, notices } = load(t, { APP_ENV })
    assert.equal(config.pubsub.apiAccessToken ?? config.pubsub.metricsAccessToken, undefined)
    assert.deepEqual(
      keys.map((key) => notices.filter((notice) => notice.startsWith(key)).length),
      [1, 1],
    )
  }
})

test('the addresses that stand in its files count as missing', (t) => {
  for (const env of [{}, { SSER_DOMAIN_NAME: 'yourdomain.com', SSER_LETSENCYRPT_EMAIL: 'your@email.com' }]) {
    for (const APP_ENV of ['development', 'staging', 'production']) {
      const { ssl } = load(t, { APP_ENV, ...TOKENS, ...env }).config.server
      assert.deepEqual([ssl.domainName, ssl.letsencryptEmail], [undefined, undefined], APP_ENV)
    }
  }
})

test('production, as it ships it, starts once there are tokens: HTTPS, and the plain port leads there', async (t) => {
  const folder = folderOfTheOriginal(t)
  const securePort = await freePort()
  const server = await ServerProcess.start({
    wrapper: ['sh', '-c', `cd '${folder}' && exec "$@"`, 'sh'],
    withoutWaiting: true,
    env: { APP_ENV: 'production', SSER_CONFIG_DIR: '', SSER_STORAGE_DIR: '', SSLPORT: `:${securePort}` },
  })
  t.after(() => server.close())
  await server.line(/The server is ready/)
  const ask = (method: string, path: string, body?: string) =>
    new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${server.apiToken}`, 'content-type': 'application/json' }
      const options = { method, headers, rejectUnauthorized: false }
      const asked = request(`https://localhost:${securePort}${path}`, options, (response) => {
        response.resume()
        resolve(response.statusCode)
      })
      asked.once('error', reject)
      asked.end(body)
    })
  assert.equal(await ask('GET', '/'), 200)
  assert.equal(await ask('POST', '/api/v1/pubsubs', '{}'), 201)
  // It ships with the store switched off.
  assert.equal(await ask('POST', '/api/v1/pubsubs', '{"pubsub":{"persist":true}}'), 400)
  const plain = await fetch(`http://localhost:${server.port}/api/v1/metrics?x=1`, { redirect: 'manual' })
  assert.equal(plain.status, 301)
  assert.equal(plain.headers.get('location'), `https://localhost:${securePort}/api/v1/metrics?x=1`)
})
