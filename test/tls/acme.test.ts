/** Certificates ordered from a real authority (Debian's pebble): the first, the next, and everything that goes wrong. */
import assert from 'node:assert/strict'
import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import type { Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { lockFolder } from '../../src/app/tls.ts'
import { makeRedirector } from '../../src/http/redirect.ts'
import { coversName, makeSelfSigned } from '../../src/tls/certificate.ts'
import { openTls, type Tls, type TlsOptions } from '../../src/tls/tls.ts'
import { tellingTlsObserver } from '../support/certificates.ts'
import { type Pebble, preparePebble, withoutPebble } from '../support/pebble.ts'

const names = ['push.acme.test', 'www.acme.test']
const skip = withoutPebble
/** Only a failure takes so long. */
const waitMs = 60_000

const interim = await makeSelfSigned([...names, 'localhost', '127.0.0.1', '::1'], Date.now())
const mine = await makeSelfSigned(names, Date.now(), interim.key)
const old = await makeSelfSigned(names, Date.now() - 500 * 86_400_000, interim.key)
const other = await makeSelfSigned(['other.acme.test'], Date.now(), interim.key)

type Acme = NonNullable<TlsOptions['acme']>

interface Opened {
  readonly tls: Tls
  readonly told: readonly string[]
  /** Resolves when something like that has been told, `times` over. */
  until(words: RegExp, times?: number): Promise<string>
}

function folder(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'sser-acme-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

async function open(
  t: TestContext,
  cacheDir: string,
  pebble: Pebble,
  { authority, ...acme }: Partial<Omit<Acme, 'authority'>> & { authority?: Partial<Acme['authority']> } = {},
  domainNames: readonly string[] = names,
): Promise<Opened> {
  const told: string[] = []
  let onTold: (() => void) | undefined
  const tell = (words: string) => {
    told.push(words)
    onTold?.()
  }
  const options: TlsOptions = {
    domainNames,
    certFile: undefined,
    keyFile: undefined,
    cacheDir,
    checkIntervalMs: 50,
    acme: {
      authority: {
        directoryUrl: pebble.directoryUrl,
        email: 'ops@acme.test',
        externalAccount: undefined,
        preferredChain: undefined,
        trusted: pebble.trusted,
        ...authority,
      },
      keyType: 'P-256',
      retryFirstMs: 100,
      retryMsMax: 500,
      lock: lockFolder,
      ...acme,
    },
  }
  // RSA keys take their time, and no test needs one of its own.
  const selfSigned = join(cacheDir, 'self-signed.pem')
  if (!existsSync(selfSigned)) writeFileSync(selfSigned, interim.key + interim.certificate)
  // The server's timers keep no process alive.
  const alive = setInterval(() => undefined, waitMs)
  const tls = await openTls(options, tellingTlsObserver(tell))
  t.after(async () => {
    clearInterval(alive)
    await tls.close()
  })
  return {
    tls,
    told,
    async until(words, times = 1) {
      const endsAtMs = performance.now() + waitMs
      for (;;) {
        const found = told.filter((each) => words.test(each))
        if (found.length >= times) return found[times - 1]!
        assert(performance.now() < endsAtMs, `${words} was not told: ${told.join('\n').slice(-2000)}`)
        await new Promise<void>((resolve) => {
          const patience = setTimeout(resolve, 1000)
          onTold = () => {
            clearTimeout(patience)
            resolve()
          }
        })
      }
    },
  }
}

/** The port that authorities ask. `tls` may be another one later. */
async function showProofs(t: TestContext, pebble: Pebble, tls: () => Pick<Tls, 'proofFor'>): Promise<Server> {
  const server = makeRedirector(
    {},
    () => 443,
    (token) => tls().proofFor(token),
  )
  server.listen(pebble.httpPort, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return server
}

async function start(t: TestContext, ...options: Parameters<Pebble['start']>): Promise<Pebble> {
  const pebble = await preparePebble(t)
  await pebble.start(...options)
  return pebble
}

const leftChallenges = (directory: string) => readdirSync(directory).filter((name) => name.includes('challenge'))

describe('certificates of an authority', { skip, concurrency: 4 }, () => {
  test('the first order, for several names: self-signed until it is through, and kept for the next start', {
    skip,
  }, async (t) => {
    const [pebble, directory] = [await start(t), folder(t)]
    const { tls, told, until } = await open(t, directory, pebble)
    assert.deepEqual([tls.source, tls.isInterim], ['self-signed', true])
    await showProofs(t, pebble, () => tls)
    await until(/^used: acme$/)
    assert.deepEqual([tls.source, tls.isInterim, tls.selfSignedFile], ['acme', false, undefined])
    for (const name of names) assert(coversName(tls.current, name), name)
    assert.equal(new X509Certificate(tls.current.certificate).publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1')
    // With those of the authorities behind it, up to the root.
    const chain = tls.current.certificate.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
    assert(chain.length >= 2)
    assert(new X509Certificate(chain.at(-1)!).verify(new X509Certificate(await pebble.root()).publicKey))
    assert.deepEqual(leftChallenges(directory), [])
    for (const name of readdirSync(directory).filter((each) => each.endsWith('.pem')))
      assert.equal(statSync(join(directory, name)).mode & 0o777, 0o600, name)
    assert.deepEqual(told, ['used: self-signed, interim', 'order', 'used: acme'])

    await tls.close()
    await pebble.stop()
    const again = await open(t, directory, pebble)
    assert.equal(again.tls.current.fingerprint, tls.current.fingerprint)
    await again.tls.check()
    assert.deepEqual(again.told, ['used: acme'])
  })

  test('a certificate of a short life is renewed before it ends, and one key is not used twice', async (t) => {
    const pebble = await start(t, { config: { certificateValidityPeriod: 6 } })
    const { tls, until } = await open(t, folder(t), pebble)
    await showProofs(t, pebble, () => tls)
    await until(/^used: acme$/)
    const first = tls.current
    await until(/^used: acme$/, 2)
    assert.notEqual(tls.current.key, first.key)
    assert(tls.current.notAfterMs > first.notAfterMs)
    assert(tls.current.notBeforeMs - first.notBeforeMs >= 2000, 'it was not renewed at once')
  })

  test('an authority that rejects every second of its own nonces is asked until it gives one', async (t) => {
    const pebble = await start(t, { env: { PEBBLE_WFE_NONCEREJECT: '50' } })
    const { tls, until } = await open(t, folder(t), pebble)
    await showProofs(t, pebble, () => tls)
    await until(/^used: acme$/)
  })

  test('a failed proof is told in words, and the order succeeds when the reason has gone', async (t) => {
    const [pebble, directory] = [await start(t), folder(t)]
    const { tls, until } = await open(t, directory, pebble)
    const failed = await until(/^failed: The authority could not reach http:/)
    for (const name of names) assert(failed.includes(`http://${name}/ on port 80`), failed)
    let answering: Pick<Tls, 'proofFor'> = { proofFor: async () => 'something else' }
    await showProofs(t, pebble, () => answering)
    await until(/^failed: Something else than this server answered for http:/)
    await pebble.names('set-servfail', { host: 'push.acme.test' })
    await until(/^failed: .*The authority could not reach http:\/\/push\.acme\.test\/.*could not resolve/)
    assert.equal(tls.source, 'self-signed')
    const { words, count } = JSON.parse(readFileSync(join(directory, 'acme-failures.json'), 'utf8'))
    assert(count >= 3 && words.includes('could not resolve'))
    answering = tls
    await pebble.names('clear-servfail', { host: 'push.acme.test' })
    await until(/^used: acme$/)
    // A look at the folder may find the certificate before the order has forgotten its failures.
    while (readdirSync(directory).includes('acme-failures.json')) await nextTurn()
  })

  test('an authority that is down at the start, and later, keeps nobody from being served', async (t) => {
    const pebble = await preparePebble(t)
    const { tls, until } = await open(t, folder(t), pebble)
    await showProofs(t, pebble, () => tls)
    await until(/^failed: The authority at https:\/\/127\.0\.0\.1:\d+\/dir could not be asked \(ECONNREFUSED\)/, 2)
    await pebble.start({ config: { certificateValidityPeriod: 3 } })
    await until(/^used: acme$/)
    await pebble.stop()
    const kept = tls.current
    await until(/^failed: .*ECONNREFUSED/, 3)
    await until(/^doubtful: The certificate has expired/)
    assert.equal(tls.current, kept)
    await pebble.start()
    await until(/^used: acme$/, 2)
    assert.notEqual(tls.current.fingerprint, kept.fingerprint)
  })

  test('an authority that nothing vouches for is not asked for anything', async (t) => {
    const pebble = await start(t)
    const { until } = await open(t, folder(t), pebble, { authority: { trusted: undefined } })
    await until(/^failed: .*could not be asked \(DEPTH_ZERO_SELF_SIGNED_CERT\).*clock.*trustedFile/)
  })

  test('an order that is cut in the middle leaves nothing behind, and the next start orders anew', {
    skip,
  }, async (t) => {
    // The authority takes its time to look for proofs.
    const pebble = await start(t, { env: { PEBBLE_VA_NOSLEEP: '0', PEBBLE_VA_SLEEPTIME: '3' } })
    const directory = folder(t)
    const cut = await open(t, directory, pebble)
    await cut.until(/^order$/)
    while (leftChallenges(directory).length === 0) await new Promise((resolve) => setImmediate(resolve))
    await cut.tls.close()
    assert.deepEqual(leftChallenges(directory), [])
    assert(!cut.told.some((words) => words.startsWith('failed')))
    // A process that was killed cannot clean up.
    writeFileSync(join(directory, `acme-challenge-${'x'.repeat(43)}`), 'left behind')
    await pebble.start()
    const { tls, until } = await open(t, directory, pebble)
    await showProofs(t, pebble, () => tls)
    await until(/^used: acme$/)
    assert.deepEqual(leftChallenges(directory), [])
  })

  test('a cache that holds something else is not shown, or replaced', async (t) => {
    const [pebble, directory] = [await start(t), folder(t)]
    const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
      type: 'pkcs8',
      format: 'pem',
    })
    const line = `directory: ${pebble.directoryUrl}\n`
    let current: Pick<Tls, 'proofFor'> = { proofFor: async () => undefined }
    await showProofs(t, pebble, () => current)
    const cases: readonly (readonly [string, string])[] = [
      ['nonsense', 'self-signed, interim'],
      [line + stranger + mine.certificate, 'self-signed, interim'],
      [line + other.key + other.certificate, 'self-signed, interim'],
      [`directory: https://elsewhere.test/\n${mine.key}${mine.certificate}`, 'acme'],
      // An expired one that there is says who the server was; a self-signed one does not.
      [line + old.key + old.certificate, 'acme'],
    ]
    for (const [text, shown] of cases) {
      writeFileSync(join(directory, 'acme-certificate.pem'), text)
      const { tls, told, until } = await open(t, directory, pebble)
      current = tls
      assert.equal(told[0], `used: ${shown}`)
      await until(/^used: acme$/, shown === 'acme' ? 2 : 1)
      assert(coversName(tls.current, 'www.acme.test'))
      assert.match(tls.current.issuer, /Pebble/)
      await tls.close()
    }
  })

  test('two servers on one folder order once, and both show what was ordered', async (t) => {
    const [pebble, directory] = [await start(t), folder(t)]
    const both = await Promise.all([open(t, directory, pebble), open(t, directory, pebble)])
    // The authority may come to either of them.
    await showProofs(t, pebble, () => both[Math.random() < 0.5 ? 0 : 1].tls)
    await Promise.all(both.map(({ until }) => until(/^used: acme$/)))
    assert.equal(both.flatMap(({ told }) => told).filter((words) => words === 'order').length, 1)
    assert.equal(both[0].tls.current.fingerprint, both[1].tls.current.fingerprint)
  })

  test('a new name is ordered for, while the certificate without it is shown', async (t) => {
    const [pebble, directory] = [await start(t), folder(t)]
    const first = await open(t, directory, pebble, {}, ['push.acme.test'])
    let current = first.tls
    await showProofs(t, pebble, () => current)
    await first.until(/^used: acme$/)
    await first.tls.close()
    const { tls, told, until } = await open(t, directory, pebble, { keyType: 'RSA' })
    current = tls
    await until(/^used: acme$/, 2)
    assert.match(
      told.join('\n'),
      /^used: acme\ndoubtful: The certificate is not for www\.acme\.test;.*\norder\nused: acme$/,
    )
    assert.equal(new X509Certificate(tls.current.certificate).publicKey.asymmetricKeyType, 'rsa')
  })

  test('an authority that wants an account of its own gets it, and one that forbids a name is told', {
    skip,
  }, async (t) => {
    const hmacKey = Buffer.alloc(32, 7).toString('base64url')
    const pebble = await start(t, {
      config: {
        externalAccountBindingRequired: true,
        externalAccountMACKeys: { 'kid-1': hmacKey },
        domainBlocklist: ['forbidden.acme.test'],
      },
    })
    const without = await open(t, folder(t), pebble)
    await without.until(/^failed: The authority wants an account that was made with it before\./)
    const authority = { externalAccount: { keyId: 'kid-1', hmacKey } }
    const forbidden = await open(t, folder(t), pebble, { authority }, ['forbidden.acme.test'])
    await forbidden.until(/^failed: The authority gives no certificate for one of the names/)
    const { tls, until } = await open(t, folder(t), pebble, { authority })
    await showProofs(t, pebble, () => tls)
    await until(/^used: acme$/)
  })

  test('of several chains the preferred one is taken', async (t) => {
    const pebble = await start(t, { env: { PEBBLE_ALTERNATE_ROOTS: '2', PEBBLE_CHAIN_LENGTH: '2' } })
    const [, preferredChain] = /^CN=(.*)$/m.exec(new X509Certificate(await pebble.root(2)).subject) ?? []
    const { tls, until } = await open(t, folder(t), pebble, { authority: { preferredChain: preferredChain! } })
    await showProofs(t, pebble, () => tls)
    await until(/^used: acme$/)
    assert(tls.current.certificate.includes('BEGIN CERTIFICATE'))
    const chain = tls.current.certificate.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
    assert.match(new X509Certificate(chain.at(-1)!).issuer, new RegExp(preferredChain!.replace(/[()]/g, '.')))
  })
})
