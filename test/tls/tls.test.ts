/** Which certificate is shown: of files, watched and swapped, or one that the server makes for itself and keeps. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { coversName, makeSelfSigned, readPair, TlsError } from '../../src/tls/certificate.ts'
import { openTls, type Tls, type TlsOptions } from '../../src/tls/tls.ts'
import { tellingTlsObserver } from '../support/certificates.ts'

const hasOpenssl = spawnSync('openssl', ['version']).status === 0
/** Nothing is looked at by itself: the tests ask. */
const never = 3_600_000
const first = await makeSelfSigned(['push.test'], Date.now())
const second = await makeSelfSigned(['push.test'], Date.now())

interface Opened {
  readonly tls: Tls
  readonly told: string[]
  readonly directory: string
}

function folder(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'sser-tls-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

async function open(t: TestContext, directory: string, options: Partial<TlsOptions> = {}): Promise<Opened> {
  const told: string[] = []
  const tls = await openTls(
    {
      domainNames: ['push.test'],
      certFile: undefined,
      keyFile: undefined,
      cacheDir: join(directory, 'cache'),
      checkIntervalMs: never,
      acme: undefined,
      ...options,
    },
    tellingTlsObserver((line) => told.push(line)),
  )
  t.after(() => tls.close())
  return { tls, told, directory }
}

function filesIn(directory: string, { key, certificate } = first): { certFile: string; keyFile: string } {
  const [certFile, keyFile] = [join(directory, 'cert.pem'), join(directory, 'key.pem')]
  writeFileSync(certFile, certificate)
  writeFileSync(keyFile, key)
  return { certFile, keyFile }
}

test('without files there is a self-signed certificate at once, for the names and for this machine', async (t) => {
  const { tls, told } = await open(t, folder(t), { domainNames: ['push.test', '10.1.2.3'] })
  assert.equal(tls.source, 'self-signed')
  for (const name of ['push.test', '10.1.2.3', 'localhost', '127.0.0.1', '::1'])
    assert(coversName(tls.current, name), name)
  assert.equal(coversName(tls.current, 'other.test'), false)
  assert.deepEqual(told, ['used: self-signed'])
  const days = (tls.current.notAfterMs - tls.current.notBeforeMs) / 86_400_000
  assert(days <= 398 && tls.current.notBeforeMs < Date.now(), `${days} days`)
})

test('the self-signed certificate is kept for its owner only, and shown again by later starts', async (t) => {
  const directory = folder(t)
  mkdirSync(join(directory, 'cache'), { mode: 0o755 })
  const { tls } = await open(t, directory)
  const path = tls.selfSignedFile!
  assert.equal(statSync(path).mode & 0o777, 0o600)
  assert.equal(statSync(join(directory, 'cache')).mode & 0o777, 0o700)
  chmodSync(path, 0o644)
  const again = await open(t, directory)
  assert.equal(again.tls.current.fingerprint, tls.current.fingerprint)
  assert.equal(statSync(path).mode & 0o777, 0o600)
})

test('a kept one that is not for a new name, is damaged, or has less than a third of its life left, is made anew', async (t) => {
  const directory = folder(t)
  const { tls } = await open(t, directory)
  const path = tls.selfSignedFile!
  const other = await open(t, directory, { domainNames: ['new.test'] })
  assert.notEqual(other.tls.current.fingerprint, tls.current.fingerprint)
  const text = readFileSync(path, 'utf8')
  for (const damaged of ['', text.slice(0, 2000)]) {
    writeFileSync(path, damaged)
    const { tls: mended } = await open(t, directory, { domainNames: ['new.test'] })
    assert.notEqual(mended.current.fingerprint, other.tls.current.fingerprint)
  }
  const old = await makeSelfSigned(
    ['push.test', 'localhost', '127.0.0.1', '::1'],
    Date.now() - 300 * 86_400_000,
    first.key,
  )
  writeFileSync(path, old.key + old.certificate)
  const { tls: renewed } = await open(t, directory)
  assert.notEqual(renewed.current.certificate, old.certificate)
})

test('a cache folder that cannot be used is told in words', async (t) => {
  const directory = folder(t)
  writeFileSync(join(directory, 'cache'), 'a file')
  await assert.rejects(open(t, directory), (error: unknown) => {
    assert(error instanceof TlsError)
    assert.match(error.message, /cannot be kept in .*cache.*server\.ssl\.cacheDir/)
    return true
  })
})

test('files are shown as they are, and a new pair takes their place when both fit', async (t) => {
  const directory = folder(t)
  const files = filesIn(directory)
  const { tls, told } = await open(t, directory, files)
  let changes = 0
  tls.onChange(() => {
    changes += 1
  })
  assert.deepEqual([tls.source, tls.selfSignedFile, told], ['files', undefined, ['used: files']])
  await tls.check()
  assert.equal(changes, 0)

  // What renews them writes one after the other.
  writeFileSync(files.certFile, second.certificate)
  await tls.check()
  await tls.check()
  assert.equal(tls.current.certificate, first.certificate)
  assert.equal(told.length, 2)
  assert.match(told[1]!, /^refused: The key does not belong to the certificate/)
  assert.equal(`refused: ${tls.doubts.join()}`, told[1])
  writeFileSync(`${files.keyFile}.new`, second.key)
  renameSync(`${files.keyFile}.new`, files.keyFile)
  await tls.check()
  assert.equal(tls.current.certificate, second.certificate)
  assert.deepEqual([changes, told.slice(2), tls.doubts], [1, ['used: files'], []])
})

test('what lies in the files later and cannot be used changes nothing, and is told once', async (t) => {
  const directory = folder(t)
  const files = filesIn(directory)
  const { tls, told } = await open(t, directory, files)
  const spoilt: readonly (readonly [() => void, RegExp])[] = [
    [() => rmSync(files.certFile), /cannot be read \(ENOENT\)/],
    [() => writeFileSync(files.certFile, ''), /There is no certificate in/],
    [
      () => writeFileSync(files.certFile, first.certificate.replace(/^(.{80}).{40}/s, '$1')),
      /cannot be read: the file is damaged|no certificate/,
    ],
  ]
  for (const [spoil, words] of spoilt) {
    const before = told.length
    spoil()
    await tls.check()
    await tls.check()
    assert.equal(told.length, before + 1)
    assert.match(told.at(-1)!, words)
    assert.equal(tls.current.certificate, first.certificate)
  }
  filesIn(directory)
  await tls.check()
  assert.equal(tls.current.certificate, first.certificate)
})

test('files are looked at by themselves', async (t) => {
  const directory = folder(t)
  const files = filesIn(directory)
  const { tls } = await open(t, directory, { ...files, checkIntervalMs: 20 })
  const changed = new Promise<void>((resolve) => tls.onChange(resolve))
  // The server's timers keep no process alive.
  const alive = setInterval(() => undefined, never)
  t.after(() => clearInterval(alive))
  filesIn(directory, second)
  await changed
  assert.equal(tls.current.certificate, second.certificate)
})

test('a start with files that cannot be used fails with words, and shows nothing of a key', async (t) => {
  const directory = folder(t)
  const files = filesIn(directory)
  const body = first.key.split('\n')[5]!
  const wrong: readonly (readonly [string, string, RegExp])[] = [
    [first.certificate, second.key, /does not belong to the certificate/],
    [first.certificate, 'nonsense', /no private key in .*cert\.pem and .*key\.pem/],
    [first.certificate, first.key.slice(0, 400), /no private key/],
    [first.key, first.key, /There is no certificate/],
  ]
  for (const [certificate, key, words] of wrong) {
    filesIn(directory, { certificate, key })
    await assert.rejects(open(t, directory, files), (error: unknown) => {
      assert(error instanceof TlsError)
      assert.match(error.message, words)
      assert(!error.message.includes(body))
      return true
    })
  }
})

test('an expired certificate, one of the future, and one for other names are shown all the same, and told once', async (t) => {
  const directory = folder(t)
  const day = 86_400_000
  const doubtful: readonly (readonly [number, string, RegExp])[] = [
    [Date.now() - 500 * day, 'push.test', /^doubtful: The certificate has expired/],
    [Date.now() + 500 * day, 'push.test', /^doubtful: The certificate is valid from/],
    [Date.now(), 'other.test', /^doubtful: The certificate is not for push\.test;/],
  ]
  for (const [madeMs, name, words] of doubtful) {
    const files = filesIn(directory, await makeSelfSigned([name], madeMs, first.key))
    const { tls, told } = await open(t, directory, files)
    await tls.check()
    assert.equal(told.length, 2)
    assert.match(told[1]!, words)
  }
})

test('a cache folder that cannot be written any more ends no start: what lies there is shown, and told', async (t) => {
  const directory = folder(t)
  const cacheDir = join(directory, 'cache')
  mkdirSync(cacheDir)
  const mount = (...args: string[]) => spawnSync('mount', [...args, cacheDir]).status === 0
  if (process.getuid?.() !== 0 || !mount('-t', 'tmpfs', '-o', 'size=1m', 'tmpfs')) {
    t.skip('a folder cannot be mounted here for reading only: that needs root')
    return
  }
  try {
    const kept = await open(t, directory)
    await kept.tls.close()
    assert(mount('-o', 'remount,ro'))
    const same = await open(t, directory)
    assert.deepEqual(same.told, ['used: self-signed'])
    const other = await open(t, directory, { domainNames: ['new.test'] })
    await other.tls.check()
    assert.equal(other.tls.current.fingerprint, kept.tls.current.fingerprint)
    const [used, wrongName, folderWords, ...more] = other.told
    assert.deepEqual([used, more], ['used: self-signed', []])
    assert.match(wrongName!, /^doubtful: The certificate is not for new\.test;/)
    assert.match(folderWords!, /^doubtful: .*cannot be kept in .*EROFS/)
  } finally {
    spawnSync('umount', [cacheDir])
  }
})

test('the addresses of a certificate are told as people write them', async () => {
  const pair = await makeSelfSigned(['Push.test', '127.0.0.1', '::1', '2001:db8:0:0:1:0:0:1'], Date.now())
  assert.deepEqual(readPair(pair, 'x').names, ['push.test', '127.0.0.1', '::1', '2001:db8::1:0:0:1'])
})

test('keys of openssl in every usual form are taken, encrypted and weak ones refused', {
  skip: !hasOpenssl && 'openssl is not here',
}, (t) => {
  const directory = folder(t)
  const run = (...args: string[]) => execFileSync('openssl', args, { cwd: directory, stdio: 'pipe' })
  const subject = ['-subj', '/CN=push.test', '-addext', 'subjectAltName=DNS:push.test', '-days', '2']
  const make = (name: string, ...how: string[]) => {
    run('req', '-x509', ...how, '-keyout', `${name}.key`, '-out', `${name}.pem`, ...subject)
    return read(`${name}.key`, `${name}.pem`)
  }
  const read = (key: string, certificate: string) => ({
    key: readFileSync(join(directory, key), 'utf8'),
    certificate: readFileSync(join(directory, certificate), 'utf8'),
  })
  const rsa = make('rsa', '-newkey', 'rsa:2048', '-nodes')
  const ec = make('ec', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes')
  run('pkey', '-in', 'rsa.key', '-traditional', '-out', 'rsa1.key')
  run('pkey', '-in', 'ec.key', '-traditional', '-out', 'ec1.key')
  for (const pair of [rsa, ec, read('rsa1.key', 'rsa.pem'), read('ec1.key', 'ec.pem')]) {
    assert.deepEqual(readPair(pair, 'x').names, ['push.test'])
  }
  // With the authorities behind it, the first one is the server's.
  assert.equal(readPair({ ...rsa, certificate: rsa.certificate + ec.certificate }, 'x').names.length, 1)
  run('pkey', '-in', 'rsa.key', '-aes256', '-passout', 'pass:abcd', '-out', 'locked.key')
  run('pkey', '-in', 'rsa.key', '-aes256', '-passout', 'pass:abcd', '-traditional', '-out', 'locked1.key')
  for (const locked of ['locked.key', 'locked1.key']) {
    assert.throws(() => readPair(read(locked, 'rsa.pem'), 'x'), /is encrypted.*openssl pkey/)
  }
  const weak = make('weak', '-newkey', 'rsa:1024', '-nodes')
  assert.throws(() => readPair(weak, 'x'), /too weak/)
})

test('a certificate whose issuer has no name is taken', { skip: !hasOpenssl && 'openssl is not here' }, (t) => {
  const make = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'key.pem', '-out', 'cert.pem', '-subj', '/']
  const cwd = folder(t)
  execFileSync('openssl', [...make, '-addext', 'subjectAltName=DNS:push.test'], { cwd, stdio: 'pipe' })
  const [key, certificate] = ['key.pem', 'cert.pem'].map((name) => readFileSync(join(cwd, name), 'utf8'))
  const { names, issuer } = readPair({ key: key!, certificate: certificate! }, 'x')
  assert.deepEqual([names, issuer], [['push.test'], 'an issuer without a name'])
})

test('openssl finds nothing wrong with the self-signed certificate', {
  skip: !hasOpenssl && 'openssl is not here',
}, (t) => {
  const directory = folder(t)
  writeFileSync(join(directory, 'c.pem'), first.certificate)
  const verify = ['verify', '-x509_strict', '-purpose', 'sslserver', '-partial_chain', '-CAfile', 'c.pem', 'c.pem']
  assert.match(execFileSync('openssl', verify, { cwd: directory, encoding: 'utf8' }), /^c\.pem: OK/)
  assert.equal(new X509Certificate(first.certificate).serialNumber.length, 32)
})
