import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { configurationPage } from '../../src/cli/config-docs.ts'
import { settingDescriptions } from '../../src/config/check.ts'
import { type Config, ConfigError, type ConfigMistake, type LoadedConfig, loadConfig } from '../../src/config/config.ts'
import { namesToOrder } from '../../src/config/schema.ts'
import { MIB_BYTES, parseAddress, parseBytes, parseDuration, parseTopicId } from '../../src/config/values.ts'

const TOKEN = '0f1e2d3c4b5a69788796a5b4c3d2e1f0'
const OTHER_TOKEN = 'ffeeddccbbaa99887766554433221100'
const PACKAGE = fileURLToPath(new URL('../..', import.meta.url))
type Files = Readonly<Record<string, string>>
type Env = Readonly<Record<string, string>>

function folderWith(t: TestContext, files: Files): string {
  const cwd = mkdtempSync(join(tmpdir(), 'sser-config-'))
  t.after(() => rmSync(cwd, { recursive: true }))
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(cwd, name)), { recursive: true })
    writeFileSync(join(cwd, name), text)
  }
  return cwd
}

function load(t: TestContext, files: Files = {}, env: Env = {}): LoadedConfig {
  return loadConfig({ env, cwd: folderWith(t, files) })
}

/** With one base.yaml in the folder that is found by itself. */
function loadBase(t: TestContext, yaml: string, env: Env = {}): LoadedConfig {
  return load(t, { '_config/base.yaml': yaml }, env)
}

function mistakesOf(run: () => unknown): readonly ConfigMistake[] {
  try {
    run()
  } catch (error) {
    assert(error instanceof ConfigError, String(error))
    assert.equal(error.code, 'CONFIG_INVALID')
    for (const { key, found, allowed } of error.mistakes) {
      for (const part of [key, found, allowed]) assert(error.message.includes(part), `${part} is not told`)
    }
    return error.mistakes
  }
  return assert.fail('the configuration was accepted')
}

function keysOf(mistakes: readonly ConfigMistake[]): string[] {
  return mistakes.map(({ key }) => key)
}

test('without any file or variable the defaults are those that the documentation names', (t) => {
  const cwd = folderWith(t, { '_config/base.yaml': '' })
  const expected: Config = {
    appEnv: 'development',
    production: false,
    server: {
      addr: { host: undefined, port: 8889 },
      sslAddr: { host: undefined, port: 8888 },
      idleTimeoutMs: 1_800_000,
      readTimeoutMs: 15_000,
      writeTimeoutMs: 60_000,
      maxRequestBodySize: MIB_BYTES,
      maxStreamAgeMs: 3_600_000,
      shutdownGraceMs: 10_000,
      retryMs: 2000,
      sendBufferBytes: 262_144,
      maxConnections: 60_000,
      corsCredentialOrigins: [],
      trustedProxies: [],
      proxyProtocol: false,
      ssl: {
        enabled: false,
        cacheDir: join(cwd, '_storage', 'certificates'),
        checkIntervalMs: 10_000,
        handshakeTimeoutMs: 10_000,
        streamsPerConnectionMax: 250,
        streamResetsMax: 500,
        strictTransportMs: 0,
        acme: {
          directoryUrl: 'https://acme-v02.api.letsencrypt.org/directory',
          keyType: 'P-256',
          externalAccount: {},
          retryFirstMs: 120_000,
          retryMaxMs: 86_400_000,
        },
      },
    },
    pubsub: {
      tickFrequencyMs: 4000,
      ticketLifetimeMs: 120_000,
      idempotencyWindowMs: 120_000,
      apiTokens: [],
      staticPubSubs: [],
    },
    metrics: { openLocally: true },
    kv: { enabled: true },
    storage: { directory: join(cwd, '_storage') },
    log: {
      sync: 'commit',
      syncIntervalMs: 1000,
      segmentBytes: 32 * MIB_BYTES,
      batchBytesMax: 8 * MIB_BYTES,
      pendingBytesMax: 64 * MIB_BYTES,
      readCacheBytes: 16 * MIB_BYTES,
      indexCacheBytes: 4 * MIB_BYTES,
      reserve: true,
      maxBytes: 16 * 1024 * MIB_BYTES,
      whenFull: 'refuse',
      checkpointIntervalMs: 300_000,
      compaction: { enabled: true, intervalMs: 30_000, bytesPerSecond: 16 * MIB_BYTES, deadShare: 0.5 },
      recordBytesMax: MIB_BYTES + 65_536,
    },
    retention: {},
    memory: { maxBytes: 64 * MIB_BYTES },
    hub: { recentFramesBytes: 8 * MIB_BYTES },
    limits: {
      topicsMax: 100_000,
      subscribersMax: 50_000,
      connectionsPerAddressMax: 1_000,
      eventIdBytesMax: 256,
      eventTypeBytesMax: 256,
      eventsPerRequestMax: 10_000,
      historyEventsMax: 1_000,
      topicsPerStreamMax: 100,
      tokensPerTopicMax: 100,
      ticketsMax: 50_000,
      idempotencyKeysMax: 100_000,
      wrongTokensMax: 10,
      wrongTokenWaitMaxMs: 300_000,
      throttledClientsMax: 20_000,
    },
    logging: { level: 'info' },
  }
  assert.deepEqual(loadConfig({ env: {}, cwd }).config, expected)
})

test('the package’s own folder is used where there is no other, and states nothing but the defaults', (t) => {
  const cwd = folderWith(t, {})
  const { config, notices, files } = loadConfig({ env: {}, cwd })
  assert.deepEqual(files, [join(PACKAGE, 'config/base.yaml'), join(PACKAGE, 'config/development.yaml')])
  assert.deepEqual(notices, [])
  mkdirSync(join(cwd, 'empty'))
  const bare = loadConfig({ env: { SSER_CONFIG_DIR: 'empty' }, cwd })
  assert.deepEqual(config, bare.config)
  assert.match(bare.notices.join(), /neither a base\.yaml nor a development\.yaml/)
})

test('every variable of the schema reaches its setting, through base.yaml and without it', (t) => {
  const env = {
    PORT: '81',
    SSLPORT: ':444',
    SSER_API_ACCESS_TOKEN: TOKEN,
    SSER_METRICS_ACCESS_TOKEN: OTHER_TOKEN,
    SSER_DOMAIN_NAME: 'push.acme.org',
    SSER_SSL_ENABLED: 'false',
    SSER_ACME_DIRECTORY: 'https://acme.acme.org/directory',
    SSER_SSL_CERT_FILE: '/etc/cert.pem',
    SSER_SSL_KEY_FILE: '/etc/key.pem',
    SSER_LETSENCYRPT_EMAIL: 'ops@acme.org',
    SSER_PERSISTENT_STORE_ENABLED: 'false',
    SSER_STORAGE_DIR: '/var/lib/sser',
    SSER_LOG_LEVEL: 'debug',
  }
  const known = settingDescriptions.flatMap(({ environment }) => environment ?? [])
  assert.deepEqual(known.toSorted(), Object.keys(env).toSorted())
  const base = readFileSync(join(PACKAGE, 'config/base.yaml'), 'utf8')
  for (const name of known) assert(base.includes(`\${${name}:`), `${name} does not stand in base.yaml`)
  for (const files of [{}, { '_config/base.yaml': '' }]) {
    const { config } = load(t, files, env)
    assert.equal(config.server.addr.port, 81)
    assert.equal(config.server.sslAddr.port, 444)
    assert.equal(config.pubsub.apiAccessToken, TOKEN)
    assert.equal(config.pubsub.metricsAccessToken, OTHER_TOKEN)
    assert.deepEqual(config.server.ssl.domainName, ['push.acme.org'])
    assert.equal(config.server.ssl.letsencryptEmail, 'ops@acme.org')
    assert.equal(config.server.ssl.acme.directoryUrl, 'https://acme.acme.org/directory')
    assert.equal(config.server.ssl.certFile, '/etc/cert.pem')
    assert.equal(config.server.ssl.keyFile, '/etc/key.pem')
    assert.equal(config.server.ssl.cacheDir, '/var/lib/sser/certificates')
    assert.equal(config.kv.enabled, false)
    assert.equal(config.storage.directory, '/var/lib/sser')
    assert.equal(config.logging.level, 'debug')
  }
})

test('the file of APP_ENV lies over base.yaml: sections merge, lists are replaced, an empty value says nothing', (t) => {
  const files = {
    '_config/base.yaml': `
server: { addr: ":1", retry: 3s, corsCredentialOrigins: ["https://a.org", "https://b.org"] }
limits: { topicsMax: 7 }
kv: { enabled: false }`,
    '_config/staging.yaml': `
server:
  addr: :2
  retry:
  corsCredentialOrigins: ["https://c.org"]
limits:
kv: { enabled: '\${NOT_SET:}' }`,
  }
  const { config, files: read } = load(t, files, { APP_ENV: 'staging' })
  assert.equal(config.appEnv, 'staging')
  assert.deepEqual([config.server.addr.port, config.server.retryMs, config.limits.topicsMax], [2, 3000, 7])
  assert.deepEqual(config.server.corsCredentialOrigins, ['https://c.org'])
  assert.equal(config.kv.enabled, false)
  assert.equal(read.length, 2)
})

test('SSER_CONFIG_DIR wins over ./_config, and has to be there', (t) => {
  const files = { '_config/base.yaml': 'server: { addr: ":1" }', 'own/base.yaml': 'server: { addr: ":2" }' }
  assert.equal(load(t, files, { SSER_CONFIG_DIR: 'own' }).config.server.addr.port, 2)
  assert.equal(load(t, files).config.server.addr.port, 1)
  assert.deepEqual(keysOf(mistakesOf(() => load(t, files, { SSER_CONFIG_DIR: 'none' }))), ['SSER_CONFIG_DIR'])
})

test('.env counts as environment, and the real environment wins over it', (t) => {
  const files = { '.env': 'PORT=:1\nAPP_ENV=staging\nSSER_API_ACCESS_TOKEN="0f1e2d3c4b5a69788796"\n' }
  const { config, files: read } = load(t, files, { PORT: ':2' })
  assert.deepEqual([config.appEnv, config.server.addr.port], ['staging', 2])
  assert.equal(config.pubsub.apiAccessToken, '0f1e2d3c4b5a69788796')
  assert(read[0]?.endsWith('/.env'))
})

test('references are replaced inside of texts and lists, with colons in their defaults', (t) => {
  const yaml = `
server: { addr: "\${HOST:127.0.0.1}:\${P:1234}", corsCredentialOrigins: ["\${ORIGIN:https://a.org:8443}"] }
storage: { directory: "/data/\${NAME}/x" }`
  const { config } = loadBase(t, yaml, { NAME: 'n', P: '' })
  assert.deepEqual(config.server.addr, { host: '127.0.0.1', port: 1234 })
  assert.deepEqual(config.server.corsCredentialOrigins, ['https://a.org:8443'])
  assert.equal(config.storage.directory, '/data/n/x')
  for (const wrong of ['{PORT', '{1A:x}', '{}', '{A-B}']) {
    const mistakes = mistakesOf(() => loadBase(t, `server: { retry: 3s, addr: '$${wrong}' }`))
    assert.deepEqual(keysOf(mistakes), ['server.addr'])
    assert.match(mistakes[0]?.allowed ?? '', /NAME:default/)
  }
})

test('proxies are trusted by address or by network, and what is neither is refused', (t) => {
  const yaml = `server: { trustedProxies: ["10.0.0.0/8", 192.0.2.1, "2001:db8::/32", "::1"] }`
  assert.deepEqual(loadBase(t, yaml).config.server.trustedProxies, [
    { address: '10.0.0.0', prefix: 8, family: 'ipv4' },
    { address: '192.0.2.1', prefix: 32, family: 'ipv4' },
    { address: '2001:db8::', prefix: 32, family: 'ipv6' },
    { address: '::1', prefix: 128, family: 'ipv6' },
  ])
  const wrong = [
    '10.0.0.0/33',
    '10.0.0',
    '300.1.1.1',
    '::1/129',
    '::ffff:10.0.0.1',
    'proxy.example.org',
    '10.0.0.0/',
    '*',
  ]
  const list = wrong.map((text) => JSON.stringify(text)).join(', ')
  const mistakes = mistakesOf(() => loadBase(t, `server: { trustedProxies: [${list}] }`))
  assert.deepEqual(
    keysOf(mistakes),
    wrong.map((_, index) => `server.trustedProxies[${index}]`),
  )
})

test('a header of the PROXY protocol is expected of trusted proxies, and not where there are none', (t) => {
  const yaml = 'server: { trustedProxies: [10.0.0.0/8], proxyProtocol: true }'
  assert.equal(loadBase(t, yaml).config.server.proxyProtocol, true)
  const [mistake, ...others] = mistakesOf(() => loadBase(t, 'server: { proxyProtocol: true }'))
  assert.deepEqual([mistake?.key, others], ['server.proxyProtocol', []])
  assert.match(mistake?.allowed ?? '', /as long as `server\.trustedProxies` names no proxy/)
})

test('items that must differ are told by what they have in common', (t) => {
  const yaml = `
pubsub:
  staticPubSubs: [{ id: "1", name: x, token: ${TOKEN} }, { id: "01", name: y, token: ${TOKEN} }]
  apiTokens:
    - { name: press, token: ${TOKEN}, rights: [publish, publish] }
    - { name: press, token: ${OTHER_TOKEN}, rights: [publish] }`
  const mistakes = mistakesOf(() => loadBase(t, yaml))
  assert.deepEqual(mistakes.map(({ key, found }) => `${key}: ${found}`).toSorted(), [
    'pubsub.apiTokens[0].rights[1]: the same as an earlier item',
    'pubsub.apiTokens[1].name: the name of an earlier item',
    'pubsub.staticPubSubs[1].id: the id of an earlier item',
  ])
})

test('all mistakes are told at once, each with its key, what was found and what is allowed', (t) => {
  const yaml = `
server: { addr: "80a", tickFrequency: 4s, writeTimeout: 60, maxRequestBodySize: 1MB, ssl: yes }
pubsub: { tickFrequency: 1ms, staticPubSubs: [{ id: "a_b", name: x, token: ${TOKEN} }, { id: "1", tokn: ${TOKEN} }] }
log: { sync: sometimes, segmentBytes: 64GiB, reserve: maybe }
limits: { topicsMax: 1.5, subscribersMax: -1 }
hub: [1]
sever: { addr: ":80" }`
  const mistakes = mistakesOf(() => loadBase(t, yaml))
  assert.deepEqual(keysOf(mistakes).toSorted(), [
    'hub',
    'limits.subscribersMax',
    'limits.topicsMax',
    'log.reserve',
    'log.segmentBytes',
    'log.sync',
    'pubsub.staticPubSubs[0].id',
    'pubsub.staticPubSubs[1].name',
    'pubsub.staticPubSubs[1].token',
    'pubsub.staticPubSubs[1].tokn',
    'pubsub.tickFrequency',
    'server.addr',
    'server.maxRequestBodySize',
    'server.ssl',
    'server.tickFrequency',
    'server.writeTimeout',
    'sever',
  ])
  const of = (key: string) => mistakes.find((mistake) => mistake.key === key)
  assert.equal(of('server.addr')?.found, '"80a"')
  assert.equal(of('log.sync')?.found, '"sometimes"')
  assert.match(of('log.sync')?.allowed ?? '', /`commit`, `interval`, `never`/)
  assert.match(of('log.segmentBytes')?.allowed ?? '', /64KiB to 1GiB/)
  assert.match(of('pubsub.tickFrequency')?.allowed ?? '', /100ms to 5m/)
  assert.match(of('limits.topicsMax')?.allowed ?? '', /whole number from 1 to 10000000/)
  assert.match(of('sever')?.allowed ?? '', /`server`/)
  assert.match(of('server.tickFrequency')?.allowed ?? '', /`pubsub\.tickFrequency`/)
  assert.match(of('pubsub.staticPubSubs[1].tokn')?.allowed ?? '', /`pubsub\.staticPubSubs\[\]\.token`/)
  assert.equal(of('hub')?.found, 'a list of 1 item')
  assert.equal(of('pubsub.staticPubSubs[1].name')?.found, 'nothing')
})

test('a key that is far from all known ones is a mistake without a guess', (t) => {
  const [mistake] = mistakesOf(() => loadBase(t, 'colourOfTheLogo: { hue: 7 }'))
  assert.equal(mistake?.key, 'colourOfTheLogo')
  assert.match(mistake?.allowed ?? '', /docs\/configuration\.md/)
})

test('a key that every object of JavaScript has is as unknown as any other', (t) => {
  for (const key of ['__proto__', 'constructor', 'toString']) {
    assert.deepEqual(keysOf(mistakesOf(() => loadBase(t, `server: { ${key}: { addr: x } }`))), [`server.${key}`])
    assert.deepEqual(keysOf(mistakesOf(() => loadBase(t, `${key}: x`))), [key])
  }
})

test('no mistake and no notice shows a secret', (t) => {
  const secret = 'hidden-0123456789'
  const yamls = [
    `pubsub: { apiAccessToken: "${secret} with space" }`,
    `pubsub: { apiAccesToken: ${secret} }`,
    `pubsub: ${secret}`,
    `pubsub: { staticPubSubs: ${secret} }`,
    `pubsub: { staticPubSubs: [${secret}] }`,
    `pubsub: { staticPubSubs: [{ id: "1", name: n, token: "${secret} x" }] }`,
    `pubsub: { apiAccessToken: { ${'x'}: ${secret} } }`,
    `pubsub:\n  apiAccessToken: "${secret}\n x: [`,
    `pubsub: ${secret}: ${secret}`,
    `pubsub: { tickFrequency: 4s }} ${secret}`,
    `pubsub: { apiAccessToken: *${secret} }`,
    `- ${secret}`,
    secret,
    `server: { addr: "\${MY_TOKEN}" }`,
    `kv: { dsn: [${secret}] }`,
  ]
  for (const yaml of yamls) {
    const env: Env = yaml.includes('MY_TOKEN') ? { MY_TOKEN: secret } : {}
    const mistakes = mistakesOf(() => loadBase(t, yaml, env))
    assert(!JSON.stringify(mistakes).includes(secret), `${yaml} gave ${JSON.stringify(mistakes)}`)
  }
  const { notices } = loadBase(t, `kv: { dsn: ${secret} }\npubsub: { apiAccessToken: default-${secret} }`)
  assert.equal(notices.length, 2)
  assert(!notices.join().includes(secret))
})

test('a file that is no YAML, or cannot be read, is a mistake with its place', (t) => {
  const [mistake] = mistakesOf(() => loadBase(t, 'server:\n  addr: ":80"\n  addr: ":81"\n'))
  assert.match(mistake?.key ?? '', /_config\/base\.yaml$/)
  assert.match(mistake?.found ?? '', /line 3/)
  assert.match(mistakesOf(() => load(t, { '_config/base.yaml/x': '' }))[0]?.found ?? '', /EISDIR/)
  assert.equal(mistakesOf(() => loadBase(t, 'server: *nowhere')).length, 1)
})

test('what the original knows and ours does not need is told once and accepted', (t) => {
  const yaml = `
server: { addr: "\${PORT::8889}", sslAddr: "\${SSLPORT::8888}", idleTimeout: 1800s, readTimeout: 15s, writeTimeout: 60s,
  maxRequestBodySize: 1048576, ssl: { enabled: "\${SSER_SSL_ENABLED:false}", domainName: "\${SSER_DOMAIN_NAME:example.com}",
  letsencryptEmail: "\${SSER_LETSENCYRPT_EMAIL:you@example.com}", cacheDir: ./_storage/certs } }
pubsub: { apiAccessToken: "\${SSER_API_ACCESS_TOKEN:default-api-token}", metricsAccessToken: "\${SSER_METRICS_ACCESS_TOKEN:changeme}",
  tickFrequency: 4s, maxDurationForSubscriberToReceive: 3s, staticPubSubs: [] }
kv: { enabled: "\${SSER_PERSISTENT_STORE_ENABLED:false}", dsn: ./_storage/kv }`
  const { config, notices } = loadBase(t, yaml)
  assert.equal(config.server.ssl.domainName, undefined)
  assert.equal(config.server.ssl.letsencryptEmail, undefined)
  assert.deepEqual(config.pubsub, {
    apiTokens: [],
    tickFrequencyMs: 4000,
    ticketLifetimeMs: 120_000,
    idempotencyWindowMs: 120_000,
    staticPubSubs: [],
  })
  assert.deepEqual(config.kv, { enabled: false })
  const told = ['pubsub.apiAccessToken', 'pubsub.metricsAccessToken', 'pubsub.maxDuration', 'kv.dsn']
  assert.deepEqual(
    notices.map((notice) => told.findIndex((key) => notice.startsWith(key))),
    [0, 1, 2, 3],
  )
})

test('in production a missing or well-known token stops the start and says how to make one', (t) => {
  const production = { APP_ENV: 'production' }
  const missing = mistakesOf(() => load(t, {}, production))
  assert.deepEqual(keysOf(missing), ['pubsub.apiAccessToken', 'pubsub.metricsAccessToken'])
  assert.match(missing[0]?.allowed ?? '', /SSER_API_ACCESS_TOKEN.*openssl rand -hex 32/)
  assert.match(missing[1]?.allowed ?? '', /SSER_METRICS_ACCESS_TOKEN/)
  for (const token of [
    'short',
    'default-api-access-token',
    'ChangeMe0123456789',
    'a-secret-that-all-know',
    'your_token_of_the_api',
  ]) {
    const tokens = { SSER_API_ACCESS_TOKEN: token, SSER_METRICS_ACCESS_TOKEN: TOKEN }
    const mistakes = mistakesOf(() => load(t, {}, { ...production, ...tokens }))
    assert.deepEqual(keysOf(mistakes), ['pubsub.apiAccessToken'], token)
  }
  const { config } = load(
    t,
    {},
    { ...production, SSER_API_ACCESS_TOKEN: TOKEN, SSER_METRICS_ACCESS_TOKEN: OTHER_TOKEN },
  )
  assert.equal(config.production, true)
  assert.equal(config.server.sslAddr.port, 443)
})

test('an APP_ENV that is none of the three stops the start, and no other mistake is made of it', (t) => {
  assert.deepEqual(keysOf(mistakesOf(() => load(t, {}, { APP_ENV: 'prod' }))), ['APP_ENV'])
})

test('the domain decides whether a certificate is ordered', (t) => {
  const orderedFor = (env: Record<string, string>) => {
    const { server } = load(t, {}, { SSER_SSL_ENABLED: 'true', ...env }).config
    return namesToOrder(server.ssl).join()
  }
  const own = { SSER_ACME_DIRECTORY: 'https://ca.acme.org/directory' }
  const files = { SSER_SSL_CERT_FILE: 'tls/cert.pem', SSER_SSL_KEY_FILE: '/etc/key.pem' }
  for (const [name, usual, atOwn] of [
    ['', '', ''],
    ['localhost', '', ''],
    ['10.0.0.7', '', ''],
    ['::1', '', ''],
    ['example.com', '', ''],
    ['push.test', '', 'push.test'],
    ['Push.Local', '', 'push.local'],
    ['push.localhost', '', ''],
    ['intranet', '', 'intranet'],
    ['Push.acme.org,localhost, 10.0.0.7', 'push.acme.org', 'push.acme.org'],
    ['push.acme.org,www.acme.org', 'push.acme.org,www.acme.org', 'push.acme.org,www.acme.org'],
  ] as const) {
    assert.equal(orderedFor({ SSER_DOMAIN_NAME: name }), usual, name)
    assert.equal(orderedFor({ SSER_DOMAIN_NAME: name, ...own }), atOwn, name)
    assert.equal(orderedFor({ SSER_DOMAIN_NAME: name, ...own, ...files }), '', name)
  }
  const { ssl } = load(t, {}, { SSER_SSL_ENABLED: 'true', SSER_DOMAIN_NAME: 'push.acme.org', ...files }).config.server
  assert.match(ssl.certFile ?? '', /^\/.*\/tls\/cert\.pem$/)
  assert.equal(ssl.keyFile, '/etc/key.pem')
})

test('the address for the authority is read under its right spelling, too', (t) => {
  const { config, notices } = load(t, {}, { SSER_LETSENCRYPT_EMAIL: 'ops@acme.org' })
  assert.equal(config.server.ssl.letsencryptEmail, 'ops@acme.org')
  assert.deepEqual(notices, [])
  const both = { SSER_LETSENCRYPT_EMAIL: 'ops@acme.org', SSER_LETSENCYRPT_EMAIL: 'old@acme.org' }
  assert.equal(load(t, {}, both).config.server.ssl.letsencryptEmail, 'old@acme.org')
})

test('an authority wants HTTPS, and an account of its own both parts', (t) => {
  const wrong = (yaml: string) => keysOf(mistakesOf(() => loadBase(t, `server: { ssl: { acme: ${yaml} } }`)))
  assert.deepEqual(wrong('{ directoryUrl: "http://ca.acme.org" }'), ['server.ssl.acme.directoryUrl'])
  assert.deepEqual(wrong('{ keyType: P-521 }'), ['server.ssl.acme.keyType'])
  assert.deepEqual(wrong('{ externalAccount: { keyId: a } }'), ['server.ssl.acme.externalAccount.hmacKey'])
  const secret = 'not base64url, and secret'
  const [mistake] = mistakesOf(() =>
    loadBase(t, `server: { ssl: { acme: { externalAccount: { keyId: a, hmacKey: "${secret}" } } } }`),
  )
  assert(mistake !== undefined && !mistake.found.includes(secret))
})

test('a certificate without a key, a name that is none, and one port for both are refused', (t) => {
  const wrong: readonly (readonly [Record<string, string>, string])[] = [
    [{ SSER_SSL_CERT_FILE: 'cert.pem' }, 'server.ssl.keyFile'],
    [{ SSER_SSL_KEY_FILE: 'key.pem' }, 'server.ssl.keyFile'],
    [{ SSER_DOMAIN_NAME: 'a.test,-b.test' }, 'server.ssl.domainName'],
    [{ SSER_DOMAIN_NAME: 'a.test,,b.test' }, 'server.ssl.domainName'],
    [{ SSER_SSL_ENABLED: 'true', PORT: '8888' }, 'server.sslAddr'],
  ]
  for (const [env, key] of wrong) assert.deepEqual(keysOf(mistakesOf(() => load(t, {}, env))), [key], key)
})

test('static topics are accepted with ids in full length, and refused when two share one', (t) => {
  const topic = (id: string, name: string) => `{ id: ${id}, name: ${name}, token: ${TOKEN} }`
  const { config } = loadBase(t, `pubsub: { staticPubSubs: [${topic('1e5', 'a')}, ${topic('00Q72zvO87K', 'b')}] }`)
  assert.deepEqual(config.pubsub.staticPubSubs[0], { id: '000000001e5', name: 'a', token: TOKEN })
  assert.equal(config.pubsub.staticPubSubs[1]?.id, '00Q72zvO87K')
  const idOf = (id: string) =>
    loadBase(t, `pubsub:\n  staticPubSubs:\n    - id: ${id}\n      name: a\n      token: ${TOKEN}`).config.pubsub
      .staticPubSubs[0]?.id
  const decimals = ['12', `\${NEWS_ID:13}`, '9223372036854775807'].map(idOf)
  assert.deepEqual(decimals, ['0000000000C', '0000000000D', 'AzL8n0Y58m7'])
  for (const id of ['"12"', '012', '00000000012']) assert.equal(idOf(id), '00000000012', id)
  const tooLarge = `pubsub: { staticPubSubs: [${topic('9223372036854775808', 'a')}] }`
  assert.deepEqual(keysOf(mistakesOf(() => loadBase(t, tooLarge))), ['pubsub.staticPubSubs[0].id'])
  const twins = mistakesOf(() => loadBase(t, `pubsub: { staticPubSubs: [${topic('1', 'a')}, ${topic('001', 'b')}] }`))
  assert.deepEqual(keysOf(twins), ['pubsub.staticPubSubs[1].id'])
  const known = `pubsub: { staticPubSubs: [{ id: "1", name: a, token: example-static-token }] }`
  assert.deepEqual(keysOf(mistakesOf(() => loadBase(t, known))), ['pubsub.staticPubSubs[0].token'])
})

test('settings that contradict each other are mistakes, unless one of them is wrong by itself', (t) => {
  const of = (yaml: string) => keysOf(mistakesOf(() => loadBase(t, yaml)))
  assert.deepEqual(of('log: { batchBytesMax: 1MiB }'), ['log.batchBytesMax'])
  assert.deepEqual(of('log: { pendingBytesMax: 2MiB }'), ['log.pendingBytesMax'])
  assert.deepEqual(of('memory: { maxBytes: 1MiB }'), ['memory.maxBytes'])
  assert.deepEqual(of('{ server: { maxRequestBodySize: huge }, memory: { maxBytes: 1MiB } }'), [
    'server.maxRequestBodySize',
  ])
  assert.deepEqual(of('{ server: huge, memory: { maxBytes: 1MiB } }'), ['server'])
  const { config } = loadBase(t, 'server: { maxRequestBodySize: 16MiB }')
  assert.equal(config.log.batchBytesMax, config.log.recordBytesMax)
})

test('a misspelt variable of ours is told, a foreign one that looks alike is not', (t) => {
  const env = {
    SSER_DOMAIN_NAMES: 'a.org',
    SSER_SERVICE_HOST: '10.0.0.1',
    SSER_PORT_80_TCP: 'x',
    SSER_TOPIC_1: TOKEN,
  }
  const { notices } = loadBase(t, `storage: { directory: "\${SSER_STORAGE_DIRS:x}" }`, {
    ...env,
    SSER_STORAGE_DIRS: 'y',
  })
  assert.deepEqual(notices, ['The environment variable SSER_DOMAIN_NAMES is not read; SSER_DOMAIN_NAME is.'])
})

test('nothing in the configuration can be changed', (t) => {
  const { config } = loadBase(t, `pubsub: { staticPubSubs: [{ id: "1", name: a, token: ${TOKEN} }] }`)
  const unfrozen = (value: unknown, path: string): string[] =>
    typeof value !== 'object' || value === null
      ? []
      : [
          ...(Object.isFrozen(value) ? [] : [path]),
          ...Object.entries(value).flatMap(([name, child]) => unfrozen(child, `${path}.${name}`)),
        ]
  assert.deepEqual(unfrozen(config, 'config'), [])
})

test('durations, sizes, addresses and ids are read in all their forms and refused in all others', () => {
  const durations = ['4s', '1800s', '500ms', '2m', '1h', '1h30m', '1.5s', '0s'].map(parseDuration)
  assert.deepEqual(durations, [4000, 1_800_000, 500, 120_000, 3_600_000, 5_400_000, 1500, 0])
  for (const text of ['', '4', 's', '4 s', '-4s', '4S', '4d', '1e3s', '4s.'])
    assert.equal(parseDuration(text), undefined, text)
  assert.deepEqual(['0', '4096', '64KiB', '1 MiB', '2GiB', '7B'].map(parseBytes), [
    0,
    4096,
    65_536,
    1_048_576,
    2 ** 31,
    7,
  ])
  for (const text of ['', '-1', '1.5MiB', '1MB', '1k', 'MiB', '1e3']) assert.equal(parseBytes(text), undefined, text)
  assert.deepEqual(parseAddress('80'), { host: undefined, port: 80 })
  assert.deepEqual(parseAddress(':0'), { host: undefined, port: 0 })
  assert.deepEqual(parseAddress('[::1]:8889'), { host: '::1', port: 8889 })
  assert.deepEqual(parseAddress('localhost:65535'), { host: 'localhost', port: 65_535 })
  for (const text of ['', ':', 'a', ':65536', '::1', '::1:80', 'http://a:1', '-1', '8 0'])
    assert.equal(parseAddress(text), undefined, text)
  assert.equal(parseTopicId('1'), '00000000001')
  assert.equal(parseTopicId('AzL8n0Y58m7'), 'AzL8n0Y58m7')
  for (const text of ['', '0', '00000000000', 'AzL8n0Y58m8', 'zzzzzzzzzzz', '000000000001', 'a-b']) {
    assert.equal(parseTopicId(text), undefined, text)
  }
})

test('docs/configuration.md is what the schema generates', () => {
  const path = join(PACKAGE, 'docs/configuration.md')
  assert.equal(readFileSync(path, 'utf8'), configurationPage(), 'run `npm run docs`')
})

test('more API tokens, and tokens as their hashes', (t) => {
  const sha256 = `sha256:${'0123456789abcdef'.repeat(4)}`
  const { config } = loadBase(
    t,
    `
pubsub: { apiAccessToken: "${sha256}", apiTokens: [{ name: press, token: "${sha256}", rights: [publish, subscribe] }] }`,
  )
  assert.equal(config.pubsub.apiAccessToken, sha256)
  assert.deepEqual(config.pubsub.apiTokens, [{ name: 'press', token: sha256, rights: ['publish', 'subscribe'] }])
  assert.throws(
    () =>
      loadBase(
        t,
        `
pubsub: { apiAccessToken: "sha256:0123456789abcdef", apiTokens: [{ name: press, token: changeme, rights: [all] }] }`,
      ),
    (error: Error) =>
      ['pubsub.apiAccessToken', 'pubsub.apiTokens[0].token', 'pubsub.apiTokens[0].rights'].every((key) =>
        error.message.includes(key),
      ),
  )
})
