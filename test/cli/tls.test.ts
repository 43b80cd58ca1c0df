/** `sser tls`: certificates made, seen, renewed and checked, with a server and without, and with a real authority. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { Resolver } from 'node:dns/promises'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { connect } from 'node:tls'
import { type App, startApp } from '../../src/app/app.ts'
import type { CliCommand } from '../../src/cli/cli-command.ts'
import type { CliHost } from '../../src/cli/host.ts'
import { programOf, runProgram } from '../../src/cli/program.ts'
import { check } from '../../src/cli/tls/check/check.ts'
import { loadConfig } from '../../src/config/config.ts'
import { createLogger } from '../../src/logger.ts'
import { makeSelfSigned } from '../../src/tls/certificate.ts'
import { OcspAuthority } from '../support/ocsp-authority.ts'
import { type Pebble, preparePebble, withoutPebble } from '../support/pebble.ts'
import { silentHost } from './silent-host.ts'

const DAY_MS = 86_400_000
const names = ['push.acme.test', 'www.acme.test']
/** RSA keys take their time. */
const own = await makeSelfSigned(names, Date.now())

/** Of --json, as far as the tests look into it. */
interface Told {
  readonly server_pid: number | null
  readonly certificate: { readonly source: string; readonly fingerprint: string } | null
  readonly order: { readonly due_at: string | null } | null
  readonly result: string
  readonly by: string
  readonly names: readonly string[]
  readonly fingerprint: string
}

interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
  json(): Told
}

type Run = (...args: string[]) => Promise<Ran>

/** By their folders: a server ends before its folder goes. */
const apps = new Map<string, App>()

function folder(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'sser-cli-tls-'))
  t.after(async () => {
    await apps.get(directory)?.close()
    rmSync(directory, { recursive: true, force: true })
  })
  return directory
}

/** In this folder, with these variables. */
function runnerIn(cwd: string, env: Readonly<Record<string, string>> = {}, parts: Partial<CliHost> = {}): Run {
  mkdirSync(join(cwd, '_config'), { recursive: true })
  return async (...args) => {
    let [out, err] = ['', '']
    const stdout = new PassThrough().setEncoding('utf8').on('data', (text: string) => {
      out += text
    })
    const write = (text: string) => {
      err += text
    }
    const code = await runProgram(['tls', ...args], silentHost({ cwd, env, stdout, stderr: { write }, ...parts }))
    return { code, out, err, json: () => JSON.parse(out) }
  }
}

async function startServer(cwd: string, env: Readonly<Record<string, string>>): Promise<App> {
  const { config } = loadConfig({ cwd, env })
  const app = await startApp(config, createLogger({ level: 'silent' }))
  apps.set(cwd, app)
  await app.ready
  return app
}

/** What a new connection is shown. */
function fingerprintOf({ secureAddress }: App): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port: secureAddress!.port, rejectUnauthorized: false }, () => {
      resolve(socket.getPeerX509Certificate()!.fingerprint256)
      socket.destroy()
    })
    socket.once('error', reject)
  })
}

test('self-signed writes a pair that a server takes, its key for this user only, and writes over nothing', async (t) => {
  const cwd = folder(t)
  const run = runnerIn(cwd)
  const made = await run('self-signed', 'Push.Acme.test', '10.0.0.7', '::1', '--days', '30')
  assert.deepEqual([made.code, made.err], [0, ''])
  const leaf = new X509Certificate(readFileSync(join(cwd, 'cert.pem')))
  assert.match(
    made.out,
    new RegExp(`push\\.acme\\.test, 10\\.0\\.0\\.7, ::1, until .*\n${leaf.fingerprint256}\n$`, 's'),
  )
  assert.ok(leaf.checkHost('push.acme.test') && leaf.checkIP('10.0.0.7') && leaf.checkIP('::1'))
  const leftDays = (Date.parse(leaf.validTo) - Date.now()) / DAY_MS
  assert.ok(leftDays > 29.9 && leftDays < 30.1, `${leftDays} days`)
  const modes = ['key.pem', 'cert.pem'].map((name) => statSync(join(cwd, name)).mode & 0o777)
  assert.deepEqual(modes, [0o600, 0o644])

  const refused = await run('self-signed', 'push.acme.test')
  assert.deepEqual([refused.code, refused.out], [73, ''])
  assert.match(refused.err, /cert\.pem is there already\..*--force/)
  assert.equal(new X509Certificate(readFileSync(join(cwd, 'cert.pem'))).fingerprint256, leaf.fingerprint256)
  rmSync(join(cwd, 'cert.pem'))
  assert.equal((await run('self-signed', 'push.acme.test')).code, 73, 'the key alone')
  assert.deepEqual(readdirSync(cwd), ['_config', 'key.pem'])
  const forced = (await run('self-signed', 'push.acme.test', '--force', '--json')).json()
  assert.deepEqual(forced.names, ['push.acme.test'])

  const env = { SSER_SSL_ENABLED: 'true', SSER_SSL_CERT_FILE: 'cert.pem', SSER_SSL_KEY_FILE: 'key.pem' }
  const app = await startServer(cwd, { ...env, PORT: '127.0.0.1:0', SSLPORT: '127.0.0.1:0' })
  assert.equal(await fingerprintOf(app), forced.fingerprint)
})

test('self-signed refuses what can be no certificate, and a folder that is not there', async (t) => {
  const cwd = folder(t)
  const run = runnerIn(cwd)
  const wrong: readonly (readonly [args: string[], code: number, words: RegExp])[] = [
    [['no host'], 64, /"no host" is neither the name of a host nor an address/],
    [['a.test,b.test'], 64, /neither/],
    [['a.test', '--days', '0'], 64, /--days takes a whole number from 1 on/],
    [['a.test', '--days', '4000'], 64, /3650 at most/],
    [['a.test', '--cert', 'x', '--key', './x'], 64, /a file each/],
    [['a.test', '--key', 'none/key.pem'], 74, /ENOENT/],
  ]
  for (const [args, code, words] of wrong) {
    const ran = await run('self-signed', ...args)
    assert.deepEqual([ran.code, ran.out], [code, ''], args.join(' '))
    assert.match(ran.err, words)
  }
  assert.deepEqual(readdirSync(cwd), ['_config'])
})

test('status tells what a start would show, and makes nothing', async (t) => {
  const cwd = folder(t)
  const off = await runnerIn(cwd)('status')
  assert.deepEqual([off.code, off.out], [0, 'No server runs in the data folder. HTTPS is off (server.ssl.enabled).\n'])
  const none = await runnerIn(cwd, { SSER_SSL_ENABLED: 'true' })('status')
  assert.match(none.out, /There is no certificate yet; a start makes one/)
  assert.equal(none.code, 0)
  const pair = await makeSelfSigned(['push.acme.test'], Date.now() - 500 * DAY_MS, own.key)
  writeFileSync(join(cwd, 'cert.pem'), pair.certificate)
  writeFileSync(join(cwd, 'key.pem'), pair.key)
  const files = { SSER_SSL_ENABLED: 'true', SSER_SSL_CERT_FILE: 'cert.pem', SSER_SSL_KEY_FILE: 'key.pem' }
  const doubtful = await runnerIn(cwd, { ...files, SSER_DOMAIN_NAME: names.join() })('status')
  assert.equal(doubtful.code, 1)
  for (const words of [
    /^source +given in files$/m,
    /^names +push\.acme\.test$/m,
    /\(expired\)$/m,
    /^doubt +The certificate has expired/m,
    /^doubt +The certificate is not for www\.acme\.test;/m,
  ])
    assert.match(doubtful.out, words)
  writeFileSync(join(cwd, 'key.pem'), 'nothing')
  const broken = await runnerIn(cwd, files)('status')
  assert.deepEqual([broken.code, broken.out], [1, ''])
  assert.match(broken.err, /^sser tls: There is no private key in /)
  const wrong = await runnerIn(cwd, { SSER_SSL_ENABLED: 'perhaps' })('status')
  assert.equal(wrong.code, 78)
  assert.deepEqual(readdirSync(cwd), ['_config', 'cert.pem', 'key.pem'])
})

test('renew says why there is nothing to order', async (t) => {
  const cwd = folder(t)
  const on = { SSER_SSL_ENABLED: 'true' }
  const cases: readonly (readonly [env: Record<string, string>, words: RegExp])[] = [
    [{}, /HTTPS is off: set server\.ssl\.enabled/],
    [on, /no name that an authority vouches for/],
    [{ ...on, SSER_DOMAIN_NAME: 'push.test' }, /no name that an authority vouches for/],
    [{ ...on, SSER_SSL_CERT_FILE: 'c.pem', SSER_SSL_KEY_FILE: 'k.pem' }, /whoever writes that file renews it/],
  ]
  for (const [env, words] of cases) {
    const ran = await runnerIn(cwd, env)('renew')
    assert.deepEqual([ran.code, ran.out], [78, ''])
    assert.match(ran.err, words)
  }
})

/** Writes a configuration for the names of this file; the variables are those of a server of it. */
function configured(cwd: string, pebble: Pebble, acme: { readonly directoryUrl: string }): Record<string, string> {
  writeFileSync(join(cwd, 'ca.pem'), pebble.trusted)
  mkdirSync(join(cwd, '_config'), { recursive: true })
  const ssl = { acme: { ...acme, trustedFile: join(cwd, 'ca.pem'), retryFirst: '1h' } }
  writeFileSync(join(cwd, '_config', 'base.yaml'), JSON.stringify({ server: { ssl } }))
  return {
    SSER_SSL_ENABLED: 'true',
    SSER_DOMAIN_NAME: names.join(),
    PORT: `127.0.0.1:${pebble.httpPort}`,
    SSLPORT: '127.0.0.1:0',
  }
}

/** As `sser tls check`, in the world of these name servers; its findings in lines. */
async function checkedIn(
  cwd: string,
  env: Readonly<Record<string, string>>,
  pebble: Pebble,
  proofPort = pebble.httpPort,
): Promise<{ readonly code: number; readonly lines: readonly string[] }> {
  const resolver = new Resolver({ timeout: 5000, tries: 2 })
  resolver.setServers([`127.0.0.1:${pebble.dnsPort}`])
  let out = ''
  const stdout = new PassThrough().setEncoding('utf8').on('data', (text: string) => {
    out += text
  })
  const code = await check({}, silentHost({ cwd, env, stdout }), { resolver, proofPort })
  return { code, lines: out.trimEnd().split('\n') }
}

function assertLines(lines: readonly string[], expected: readonly RegExp[]): void {
  for (const words of expected)
    assert(
      lines.some((line) => words.test(line)),
      `${words}\n${lines.join('\n')}`,
    )
}

/** Of a command of `sser tls`, its examples. */
function examplesOf(name: string): string[][] {
  const below = (command: CliCommand): CliCommand[] => [command, ...command.subcommands.flatMap(below)]
  const found = below(programOf(silentHost())).find(({ path }) => path === `sser tls ${name}`)
  return (found?.examples ?? []).map((line) => line.split(' ').slice(2))
}

test('renew orders without a server and by one that runs, and status tells of both and of what failed', {
  skip: withoutPebble,
}, async (t) => {
  const [cwd, pebble] = [folder(t), await preparePebble(t)]
  await pebble.start()
  const env = configured(cwd, pebble, { directoryUrl: pebble.directoryUrl })
  const run = runnerIn(cwd, env)

  const before = (await run('status', '--json')).json()
  assert.deepEqual([before.certificate, before.order?.due_at], [null, null])
  const first = await checkedIn(cwd, env, pebble)
  assert.equal(first.code, 0, first.lines.join('\n'))
  assertLines(first.lines, [
    /^good +source: A certificate for push\.acme\.test, www\.acme\.test is ordered from https:/,
    /^good +certificate: There is none yet/,
    /^good +folder: Certificates can be kept in/,
    /^good +port \d+ of 127\.0\.0\.1: It is free/,
    /^good +authority: It answers\. Ordering agrees to its terms: /,
    /^good +push\.acme\.test, 127\.0\.0\.1: It leads here, and a proof is found there\.$/,
  ])
  assert.deepEqual(readdirSync(cwd).toSorted(), ['_config', 'ca.pem'])
  const [example = []] = examplesOf('renew')
  assert.deepEqual(example, ['renew'])
  const alone = await run(...example)
  assert.deepEqual([alone.code, alone.err], [0, ''])
  assert.match(alone.out, /the next start shows it\. No server runs/)
  const kept = (await run('status', '--json')).json()
  assert.deepEqual([kept.server_pid, kept.certificate?.source], [null, 'acme'])

  const app = await startServer(cwd, env)
  assert.equal(await fingerprintOf(app), kept.certificate?.fingerprint)
  const running = await run('status')
  assert.match(
    running.out,
    new RegExp(`^A server runs \\(process ${process.pid}\\)\\. It shows this certificate:$`, 'm'),
  )
  assert.match(running.out, /^renewal +due at 20/m)
  assert.equal(running.code, 0)

  const beside = await checkedIn(cwd, { ...env, SSLPORT: `127.0.0.1:${app.secureAddress!.port}` }, pebble)
  assert.equal(beside.code, 0, beside.lines.join('\n'))
  assertLines(beside.lines, [
    /^good +port \d+ of 127\.0\.0\.1: The server that runs has it, and shows its certificate/,
    /^good +port \d+ of 127\.0\.0\.1: The server that runs has it\.$/,
    /^good +www\.acme\.test, 127\.0\.0\.1: It leads here/,
  ])
  assert.deepEqual(
    readdirSync(join(cwd, '_storage', 'certificates')).filter((name) => name.includes('challenge')),
    [],
  )

  const [one, other] = await Promise.all([run('renew', '--json'), run('renew', '--json')])
  assert.deepEqual([one.code, one.json().result, one.json().by], [0, 'ordered', 'server'])
  assert.equal(other.code, 0, 'an order that is under way is the one that is meant')
  const renewed = (await run('status', '--json')).json().certificate
  assert.notEqual(renewed?.fingerprint, kept.certificate?.fingerprint)
  assert.equal(await fingerprintOf(app), renewed?.fingerprint)

  await pebble.stop()
  const failed = await run('renew')
  assert.equal(failed.code, 1)
  assert.match(failed.out, /^No certificate could be ordered; the one that is there stays\. .*ECONNREFUSED/)
  const after = await run('status')
  assert.equal(after.code, 1)
  assert.match(after.out, /^failed +at 20.*, 1 times in a row: The authority at .* could not be asked/m)
  assert.match(after.out, /^next try +20/m)
  assert.equal(await fingerprintOf(app), renewed?.fingerprint)
  await app.close()
  assert.equal((await run('renew')).code, 1, 'without a server and an authority')

  const [key = '', ...chain] = readFileSync(
    join(cwd, '_storage', 'certificates', 'acme-certificate.pem'),
    'utf8',
  ).match(/-----BEGIN [\s\S]+?-----END [A-Z ]+-----\n/g)!
  const stranger = (await makeSelfSigned(['other.test'], Date.now(), own.key)).certificate
  writeFileSync(join(cwd, 'key.pem'), key, { mode: 0o600 })
  const files = { ...env, SSER_SSL_CERT_FILE: 'cert.pem', SSER_SSL_KEY_FILE: 'key.pem' }
  const cases: readonly (readonly [certificates: readonly string[], code: number, words: RegExp])[] = [
    [chain, 0, /^doubt +chain: It ends with one of CN=Pebble Root.*fullchain\.pem/],
    [chain.slice(0, 1), 0, /^doubt +chain: It ends with one of CN=Pebble Intermediate.*fullchain\.pem/],
    [[chain[0]!, stranger, ...chain.slice(1)], 1, /^PROBLEM +chain: Certificate 2 of the file is not the issuer/],
    [[stranger], 1, /^PROBLEM +certificate: The key does not belong/],
  ]
  for (const [certificates, code, words] of cases) {
    writeFileSync(join(cwd, 'cert.pem'), certificates.join(''))
    const ran = await checkedIn(cwd, files, pebble)
    assert.equal(ran.code, code, ran.lines.join('\n'))
    assertLines(ran.lines, [words])
  }
  chmodSync(join(cwd, 'key.pem'), 0o644)
  writeFileSync(join(cwd, 'cert.pem'), chain.join(''))
  assertLines((await checkedIn(cwd, files, pebble)).lines, [/^doubt +key: Others than its owner may read .*key\.pem/])
  const wrongName = await checkedIn(cwd, { ...files, SSER_DOMAIN_NAME: 'new.acme.test' }, pebble)
  assert.equal(wrongName.code, 1)
  assertLines(wrongName.lines, [/^PROBLEM +certificate: The certificate is not for new\.acme\.test/])
})

test('check tells what is wrong with names, ports, the folder and the authority, each with what to do', {
  skip: withoutPebble,
}, async (t) => {
  const [cwd, pebble] = [folder(t), await preparePebble(t)]
  const ca = await makeSelfSigned(['127.0.0.1'], Date.now(), own.key)
  const meta = { caaIdentities: ['ca.test'], externalAccountRequired: true }
  let directory: object = { newOrder: 'https://127.0.0.1/', meta }
  const authority = createSecureServer({ key: ca.key, cert: ca.certificate }, (_request, response) => {
    response.setHeader('date', new Date(Date.now() - 3_600_000).toUTCString())
    response.end(JSON.stringify(directory))
  })
  const taken = createServer((_request, response) => response.end('something else'))
  for (const each of [authority, taken]) {
    each.listen(0, '127.0.0.1')
    await once(each, 'listening')
    t.after(() => {
      each.close()
      each.closeAllConnections()
    })
  }
  const { port } = authority.address() as AddressInfo
  const { port: takenPort } = taken.address() as AddressInfo
  const env = configured(cwd, { ...pebble, trusted: ca.certificate }, { directoryUrl: `https://127.0.0.1:${port}/` })
  await pebble.names('set-default-ipv4', { ip: '' })
  await pebble.names('add-a', { host: 'www.acme.test', addresses: ['127.0.0.1'] })
  await pebble.names('add-caa', { host: 'acme.test', policies: [{ tag: 'issue', value: 'other.test' }] })

  const broken = await checkedIn(cwd, { ...env, SSLPORT: `127.0.0.1:${takenPort}` }, pebble, 1)
  assert.equal(broken.code, 1)
  assertLines(broken.lines, [
    /^PROBLEM +port \d+ of 127\.0\.0\.1: Another program has it\./,
    /^PROBLEM +push\.acme\.test: It has neither an A nor an AAAA record\./,
    /^PROBLEM +www\.acme\.test, 127\.0\.0\.1: It is an address of this machine, and nobody .*\(ECONNREFUSED\)/,
    /^PROBLEM +www\.acme\.test: A CAA record of acme\.test does not allow this authority\. Add ca\.test there/,
    /^PROBLEM +authority: It wants an account that was made with it before\./,
    /^doubt +clock: It is 60 minutes ahead of that of the authority/,
  ])

  directory = {}
  await pebble.names('set-servfail', { host: 'push.acme.test' })
  await pebble.names('clear-caa', { host: 'acme.test' })
  writeFileSync(join(cwd, 'a file'), '')
  const settings = JSON.parse(readFileSync(join(cwd, '_config', 'base.yaml'), 'utf8'))
  settings.server.ssl.cacheDir = 'a file/certificates'
  writeFileSync(join(cwd, '_config', 'base.yaml'), JSON.stringify(settings))
  const off = { ...env, SSER_SSL_ENABLED: 'false', PORT: `127.0.0.1:${takenPort}` }
  const worse = await checkedIn(cwd, { ...off, SSER_DOMAIN_NAME: `${names.join()},10.0.0.1` }, pebble, takenPort)
  assert.equal(worse.code, 1)
  assertLines(worse.lines, [
    /^PROBLEM +HTTPS: It is off/,
    /^doubt +source: .*No authority vouches for 10\.0\.0\.1/,
    /^PROBLEM +folder: Nothing can be kept in .*\(ENOTDIR\)/,
    /^PROBLEM +push\.acme\.test: It cannot be resolved \(ESERVFAIL\)/,
    /^PROBLEM +www\.acme\.test, 127\.0\.0\.1: Something else answers there on port 80/,
    /^PROBLEM +authority: .* is not the directory of an authority/,
    /^PROBLEM +port \d+ of 127\.0\.0\.1: Another program has it/,
  ])
  authority.close()
  authority.closeAllConnections()
  assertLines((await checkedIn(cwd, env, pebble)).lines, [
    /^PROBLEM +authority: The authority at .* could not be asked \(ECONNREFUSED\)/,
  ])
  const json = await runnerIn(cwd, { SSER_SSL_ENABLED: 'perhaps' })('check', '--json')
  assert.equal(json.code, 78)
})

test('status and check tell whether a certificate that asks for an OCSP response gets one', {
  skip: spawnSync('openssl', ['version']).status !== 0 && 'openssl is not here',
}, async (t) => {
  const [authority, cwd] = [await OcspAuthority.start(t), folder(t)]
  const { certFile, keyFile } = authority.issue()
  const env = {
    ...{ PORT: '127.0.0.1:0', SSLPORT: '127.0.0.1:0', SSER_SSL_ENABLED: 'true', SSER_DOMAIN_NAME: 'push.test' },
    ...{ SSER_SSL_CERT_FILE: certFile, SSER_SSL_KEY_FILE: keyFile },
  }
  const run = runnerIn(cwd, env)
  const words = /^ocsp +the certificate asks for a response \(must-staple\); /m
  const before = await run('status')
  assert.equal(before.code, 0)
  assert.match(before.out, new RegExp(`${words.source}none is stapled$`, 'm'))
  await startServer(cwd, env)
  const running = await run('status')
  assert.equal(running.code, 0)
  assert.match(running.out, new RegExp(`${words.source}one is stapled until 20`, 'm'))
  const { certificate } = JSON.parse((await run('status', '--json')).out)
  assert.equal(certificate.must_staple, true)
  assert(Date.parse(certificate.stapled_until) > Date.now())
  assert.match((await run('check')).out, /^good +stapling: .* one is given until 20/m)

  authority.instead = () => 'cut'
  const checked = await run('check')
  assert.equal(checked.code, 1)
  assert.match(checked.out, /^PROBLEM +stapling: .*could not be asked \(ECONNRESET\): let this machine ask there\./m)
})
