/** `sser config check` and `sser config show`: where each value was found, and that no secret is printed. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { runProgram } from '../../src/cli/program.ts'
import { settingDescriptions } from '../../src/config/check.ts'
import { loadConfig } from '../../src/config/config.ts'
import { silentHost } from './silent-host.ts'

interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** In a folder with these files. */
async function run(
  context: TestContext,
  files: Readonly<Record<string, string>>,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Ran & { readonly cwd: string }> {
  const cwd = mkdtempSync(join(tmpdir(), 'sser-config-'))
  context.after(() => rmSync(cwd, { recursive: true }))
  mkdirSync(join(cwd, '_config'))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(cwd, name), text)
  const stdout = new PassThrough().setEncoding('utf8')
  let [out, err] = ['', '']
  stdout.on('data', (text: string) => {
    out += text
  })
  const stderr = {
    write(text: string) {
      err += text
    },
  }
  const code = await runProgram(['config', ...args], silentHost({ cwd, env, stdout, stderr }))
  return { code, out, err, cwd }
}

const BASE = `# A comment.
server:
  addr: ":\${LISTEN:9000}"
  retry: 3s
  trustedProxies: [10.0.0.0/8]
pubsub:
  apiTokens:
    - name: press
      token: a-token-of-the-configuration
      rights: [publish]
log:
  maxBytes: 1GiB
storage:
  directory: /srv/\${FOLDER_TOKEN}
`
const ENV = { SSER_API_ACCESS_TOKEN: 'a-token-of-the-environment', FOLDER_TOKEN: 'confidential' }
const FILES = {
  '_config/base.yaml': BASE,
  '_config/staging.yaml': 'server:\n  retry: 4s\n',
  '.env': '# Variables\nSSER_METRICS_ACCESS_TOKEN=a-token-of-the-dot-env\nPORT=1\nSSER_SSL_ENABLED=false\n',
}

test('a right configuration is told with the files that it was read from, and with what a start would remark on', async (context) => {
  const notice = { ...FILES, '_config/base.yaml': `${BASE}kv:\n  dsn: file://x\n` }
  const words = await run(context, notice, ['check'], ENV)
  assert.deepEqual([words.code, words.err], [0, ''])
  assert.match(
    words.out,
    /^The configuration is right \(APP_ENV is development\)\. Read: .*\.env, .*base\.yaml\.\nkv\.dsn is/,
  )
  const { code, out } = await run(context, FILES, ['check', '--env', 'staging', '--json'], ENV)
  const { is_right, app_env, files } = JSON.parse(out) as { is_right: boolean; app_env: string; files: string[] }
  assert.deepEqual([code, is_right, app_env, files.length], [0, true, 'staging', 3])
})

test('every mistake is told with its key, and its file and line or its variable', async (context) => {
  const files = {
    '_config/base.yaml':
      'server:\n  adr: ":80"\n  retry: soon\npubsub:\n  staticPubSubs:\n    - id: "1"\n      token: short\nlog: { maxBytes: "$' +
      '{9}" }\n',
    '_config/staging.yaml': 'limits:\n\n  topicsMax: many\n',
    '.env': 'A=1\nSSER_SSL_ENABLED=perhaps\n',
  }
  const env = { APP_ENV: 'staging', PORT: 'http' }
  const ran = await run(context, files, ['check'], env)
  assert.deepEqual([ran.code, ran.out], [78, ''])
  for (const [key, place] of [
    ['server.adr', '_config/base.yaml:2'],
    ['server.retry', '_config/base.yaml:3'],
    ['pubsub.staticPubSubs[0].token', '_config/base.yaml:7'],
    ['pubsub.staticPubSubs[0].name', '_config/base.yaml:6'],
    ['log.maxBytes', '_config/base.yaml:8'],
    ['limits.topicsMax', '_config/staging.yaml:3'],
  ] as const) {
    assert.ok(ran.err.includes(`  ${key}, ${join(ran.cwd, place)}: found `), `${key}\n${ran.err}`)
  }
  assert.match(ran.err, / server\.addr \(environment variable PORT\): found "http"/)
  assert.match(ran.err, / server\.ssl\.enabled \(environment variable SSER_SSL_ENABLED\), .*\/\.env:2: found "perhaps"/)

  const port = (await mistakesOf(context, files, env)).find(({ key }) => key === 'server.addr')
  assert.deepEqual([port?.['environment'], port?.['file'], port?.['line']], ['PORT', null, null])
  const [syntax] = await mistakesOf(context, { '_config/base.yaml': 'server:\n  addr: {\n' }, {})
  assert.match(String(syntax?.['file']), /base\.yaml$/)
  assert.ok(Number(syntax?.['line']) >= 2)
})

async function mistakesOf(
  context: TestContext,
  files: Readonly<Record<string, string>>,
  env: Readonly<Record<string, string>>,
) {
  const { code, out, err } = await run(context, files, ['check', '--json'], env)
  assert.deepEqual([code, err], [78, ''])
  return (JSON.parse(out) as { mistakes: readonly Readonly<Record<string, unknown>>[] }).mistakes
}

test('show prints every setting with what holds, and where it comes from', async (context) => {
  const { code, out, err } = await run(context, FILES, ['show', '--env', 'staging'], ENV)
  assert.deepEqual([code, err], [0, ''])
  for (const line of [
    /^ {2}addr: ":9000" +# _config\/base\.yaml:3$/m,
    /^ {2}retry: 4s +# _config\/staging\.yaml:2$/m,
    /^ {2}idleTimeout: 30m +# default$/m,
    /^ {2}trustedProxies: \["10\.0\.0\.0\/8"\] +# _config\/base\.yaml:5$/m,
    /^ {2}# apiAccessToken: given, not shown +# SSER_API_ACCESS_TOKEN$/m,
    /^ {2}# metricsAccessToken: given, not shown +# SSER_METRICS_ACCESS_TOKEN, \.env:2$/m,
    /^ {4}- name: press\n {6}# token: given, not shown\n {6}rights: \["publish"\]$/m,
    /^ {2}# directory: given, not shown +# _config\/base\.yaml:14$/m,
    /^ {4}enabled: false +# SSER_SSL_ENABLED, \.env:4$/m,
  ]) {
    assert.match(out, line)
  }
  const json = (await run(context, FILES, ['show', '--json'], ENV)).out.trimEnd().split('\n')
  const settings = json.map((line) => JSON.parse(line) as { key: string; value: unknown })
  const keys = settingDescriptions.filter(({ key, unneeded }) => unneeded === undefined && !key.includes('[]'))
  assert.deepEqual(
    settings.map(({ key }) => key),
    keys.map(({ key }) => key),
  )
  assert.equal(settings.find(({ key }) => key === 'log.maxBytes')?.value, '1GiB')
  assert.equal(settings.find(({ key }) => key === 'pubsub.apiAccessToken')?.value, null)
})

test('no secret is printed, wherever it stands and whatever is wrong beside it', async (context) => {
  const broken = {
    ...FILES,
    '_config/base.yaml': `${BASE}  directorry: \${FOLDER_TOKEN}\nlimits: { topicsMax: \${FOLDER_TOKEN} }\n`,
  }
  for (const files of [FILES, broken]) {
    for (const args of [['show'], ['show', '--json'], ['check'], ['check', '--json']]) {
      const { out, err } = await run(context, files, args, ENV)
      assert.doesNotMatch(out + err, /confidential|a-token-of/, args.join(' '))
    }
  }
})

test('what show prints is a configuration that comes to the same', async (context) => {
  const { out } = await run(context, { '_config/base.yaml': BASE.replace('FOLDER_TOKEN', 'PLACE:x') }, ['show'])
  const again = mkdtempSync(join(tmpdir(), 'sser-config-'))
  context.after(() => rmSync(again, { recursive: true }))
  mkdirSync(join(again, '_config'))
  writeFileSync(
    join(again, '_config', 'base.yaml'),
    out.replace('# token: given, not shown', 'token: a-token-of-the-configuration'),
  )
  const { config } = loadConfig({ env: {}, cwd: again })
  assert.deepEqual(
    [config.server.addr, config.server.retryMs, config.server.trustedProxies, config.log.maxBytes],
    [{ host: undefined, port: 9000 }, 3000, [{ address: '10.0.0.0', prefix: 8, family: 'ipv4' }], 2 ** 30],
  )
  assert.equal(config.storage.directory, '/srv/x')
})
