/** OCSP stapling for a certificate that asks for it (must-staple): against openssl's responder, seen by openssl and curl. */
import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { connect, type TLSSocket } from 'node:tls'
import { promisify } from 'node:util'
import { type Certificate, readPair } from '../../src/tls/certificate.ts'
import { encodeRequest, readResponse, subjectOf } from '../../src/tls/ocsp.ts'
import { Staple } from '../../src/tls/staple.ts'
import { openTls, type Tls } from '../../src/tls/tls.ts'
import { startSecureFixture } from '../http/secure-fixture.ts'
import { tellingTlsObserver } from '../support/certificates.ts'
import { type Issued, OcspAuthority } from '../support/ocsp-authority.ts'

const needsOpenssl = { skip: spawnSync('openssl', ['version']).status !== 0 && 'openssl is not here' }
const curlVersion = spawnSync('curl', ['--version'], { encoding: 'utf8' })
const never = 3_600_000
const dayMs = 86_400_000

interface Opened {
  readonly tls: Tls
  readonly told: string[]
}

async function open(t: TestContext, authority: OcspAuthority, { certFile, keyFile }: Issued): Promise<Opened> {
  const told: string[] = []
  const options = { domainNames: ['push.test'], certFile, keyFile, checkIntervalMs: never, acme: undefined }
  const tls = await openTls(
    { ...options, cacheDir: join(authority.folder, 'cache') },
    tellingTlsObserver((line) => told.push(line)),
  )
  t.after(() => tls.close())
  return { tls, told }
}

interface Stapled {
  readonly staple: Staple
  readonly told: string[]
}

function stapleFor(t: TestContext, authority: OcspAuthority, issued: Issued): Stapled {
  const told: string[] = []
  const staple = new Staple(certificateOf(issued), join(authority.folder, 'cache'), {
    stapled: (untilMs) => told.push(`stapled until ${new Date(untilMs).toISOString()}`),
    stapleFailed: (words) => told.push(words),
  })
  t.after(() => staple.close())
  return { staple, told }
}

function certificateOf({ certFile, keyFile }: Issued): Certificate {
  return readPair({ certificate: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8') }, 'the test')
}

function derOf({ certificate }: Issued): Buffer {
  return new X509Certificate(certificate).raw
}

/** What a handshake is given that asks; undefined: nothing. */
async function stapledIn(
  port: number,
  authority: OcspAuthority,
  maxVersion: 'TLSv1.2' | 'TLSv1.3',
): Promise<Buffer | undefined> {
  const options = { port, host: '127.0.0.1', servername: 'push.test', ca: authority.ca, maxVersion, requestOCSP: true }
  const socket: TLSSocket = connect({ ...options, ALPNProtocols: ['http/1.1'] })
  let stapled: Buffer | undefined
  socket.on('OCSPResponse', (response: Buffer | null) => {
    stapled = response ?? undefined
  })
  await once(socket, 'secureConnect')
  socket.destroy()
  return stapled
}

test('a certificate that asks for it is shown with a response that openssl and curl take', needsOpenssl, async (t) => {
  const authority = await OcspAuthority.start(t)
  const issued = authority.issue()
  const { tls, told } = await open(t, authority, issued)
  assert.deepEqual([told, tls.doubts], [['stapled', 'used: files'], []])
  assert.equal(authority.asked[0]!.headers['content-type'], 'application/ocsp-request')
  const { securePort } = await startSecureFixture(t, { certificates: tls })
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const response = await stapledIn(securePort, authority, version)
    assert.match(authority.judge(response!, issued), /judged\.pem: good/)
  }
  assert.equal(authority.asked.length, 1)
  const { certificate } = await tls.status()
  assert.equal(certificate!.mustStaple, true)
  assert(Math.abs(certificate!.stapledUntilMs! - Date.now() - 2 * dayMs) < 60_000)

  if (!/OpenSSL/.test(curlVersion.stdout)) return
  const where = ['--resolve', `push.test:${securePort}:127.0.0.1`, '--cacert', authority.caFile, '-sS']
  const asked = [...where, '--cert-status', `https://push.test:${securePort}/healthz`]
  const { stdout } = await promisify(execFile)('curl', asked, { timeout: 30_000 })
  assert.match(stdout, /ok/)
})

test('one that does not ask for it is shown without, and nobody is asked', needsOpenssl, async (t) => {
  const authority = await OcspAuthority.start(t)
  const { tls, told } = await open(t, authority, authority.issue({ mustStaple: false }))
  assert.deepEqual([told, tls.staple, authority.asked.length], [['used: files'], undefined, 0])
  const { securePort } = await startSecureFixture(t, { certificates: tls })
  assert.equal(await stapledIn(securePort, authority, 'TLSv1.3'), undefined)
})

test(
  'a responder that is not there ends nothing: it is told, and the response comes later',
  needsOpenssl,
  async (t) => {
    const authority = await OcspAuthority.start(t)
    authority.instead = () => 'cut'
    const issued = authority.issue()
    const { tls, told } = await open(t, authority, issued)
    assert.equal(told.length, 3)
    assert.match(
      told[0]!,
      /^not stapled: The responder http:\/\/127\.0\.0\.1:\d+\/ocsp could not be asked \(ECONNRESET\)/,
    )
    assert.equal(told[1], 'used: files')
    assert.match(told[2]!, /^doubtful: The certificate asks for OCSP stapling \(must-staple\), and .* \(ECONNRESET\)/)
    assert.equal(`doubtful: ${tls.doubts.join()}`, told[2])
    const { securePort } = await startSecureFixture(t, { certificates: tls })
    assert.equal(await stapledIn(securePort, authority, 'TLSv1.3'), undefined)
    // Nobody is asked again at once, nor is it told again.
    await tls.staple!.look()
    await tls.check()
    assert.deepEqual([authority.asked.length, told.length], [1, 3])

    authority.instead = undefined
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 61_000 })
    await tls.staple!.look()
    t.mock.timers.reset()
    assert.deepEqual([told.slice(3), tls.doubts], [['stapled'], []])
    assert(await stapledIn(securePort, authority, 'TLSv1.3'))
  },
)

test('a response is kept for the next start, for its owner only', needsOpenssl, async (t) => {
  const authority = await OcspAuthority.start(t)
  const issued = authority.issue()
  await (await open(t, authority, issued)).tls.close()
  const path = join(authority.folder, 'cache', 'ocsp-response.base64')
  assert.equal(statSync(path).mode & 0o777, 0o600)
  authority.instead = () => 'cut'
  const { tls, told } = await open(t, authority, issued)
  assert.deepEqual([told, authority.asked.length], [['stapled', 'used: files'], 1])
  assert(tls.staple!.responseFor(derOf(issued)))

  // Damaged, or of another certificate: asked anew.
  authority.instead = undefined
  for (const [asked, spoil] of [
    [2, () => writeFileSync(path, 'nonsense')],
    [3, () => undefined],
  ] as const) {
    spoil()
    const again = await open(t, authority, asked === 3 ? authority.issue() : issued)
    assert.deepEqual([again.told, authority.asked.length], [['stapled', 'used: files'], asked])
  }
})

test('a folder that cannot be written costs the next start a question, and no more', needsOpenssl, async (t) => {
  const authority = await OcspAuthority.start(t)
  writeFileSync(join(authority.folder, 'cache'), 'a file')
  const { told } = await open(t, authority, authority.issue())
  assert.deepEqual(told, ['stapled', 'used: files'])
})

test('a new certificate is shown with its own response, and the one before it without', needsOpenssl, async (t) => {
  const authority = await OcspAuthority.start(t)
  const [first, second] = [authority.issue(), authority.issue()]
  const { tls, told } = await open(t, authority, first)
  const { securePort } = await startSecureFixture(t, { certificates: tls })
  const swapTo = async ({ certFile, key }: Issued): Promise<Buffer | undefined> => {
    writeFileSync(first.certFile, readFileSync(certFile))
    writeFileSync(first.keyFile, key)
    await tls.check()
    return await stapledIn(securePort, authority, 'TLSv1.3')
  }
  assert.match(authority.judge((await swapTo(second))!, second), /good/)
  assert.equal(tls.staple!.responseFor(derOf(first)), undefined)
  assert.equal(await swapTo(authority.issue({ mustStaple: false })), undefined)
  assert(await swapTo(second))
  // Each was there before its certificate was shown.
  const each = ['stapled', 'used: files']
  assert.deepEqual(told, [...each, ...each, 'used: files', ...each])
})

test(
  'the response is renewed at half of its life; what fails then leaves it until its end',
  needsOpenssl,
  async (t) => {
    const authority = await OcspAuthority.start(t)
    const issued = authority.issue()
    const { staple, told } = stapleFor(t, authority, issued)
    const startMs = Date.now()
    const at = async (ms: number): Promise<number> => {
      t.mock.timers.enable({ apis: ['Date'], now: startMs + ms })
      await staple.look()
      t.mock.timers.reset()
      return authority.asked.length
    }
    await staple.look()
    assert.equal(await at(0.99 * dayMs), 1)
    authority.instead = () => ({ status: 503, body: 'busy' })
    assert.equal(await at(1.01 * dayMs), 2)
    assert.match(told.at(-1)!, /answered with status 503/)
    assert(staple.responseFor(derOf(issued)) && staple.doubt === undefined)
    // Later and later: after one minute, two, four.
    assert.equal(await at(1.01 * dayMs + 61_000), 3)
    assert.equal(await at(1.01 * dayMs + 2 * 61_000), 3)
    assert.equal(await at(1.01 * dayMs + 3 * 61_000), 4)
    t.mock.timers.enable({ apis: ['Date'], now: startMs + 2.01 * dayMs })
    assert.equal(staple.responseFor(derOf(issued)), undefined)
    assert.match(staple.doubt!, /no response to staple: .* answered with status 503/)
  },
)

test('what a responder may say instead is not stapled, and told with what to do', needsOpenssl, async (t) => {
  const authority = await OcspAuthority.start(t)
  const issued = authority.issue()
  const good = authority.answer(encodeRequest(subjectOf(readFileSync(issued.certFile, 'utf8'))))
  const other = authority.answer(encodeRequest(subjectOf(readFileSync(authority.issue().certFile, 'utf8'))))
  const spoilt = Buffer.from(good)
  spoilt[spoilt.indexOf('push') > 0 ? spoilt.indexOf('push') : 60]! ^= 1
  // SEQUENCE { ENUMERATED tryLater }: RFC 6960, section 4.2.1.
  const tryLater = Buffer.from([0x30, 0x03, 0x0a, 0x01, 0x03])
  const answered = (status: number, body: string | Buffer) => () => {
    authority.instead = () => ({ status, body })
  }
  const signedBy = (signer: OcspAuthority['signer']) => () => {
    authority.instead = undefined
    authority.signer = signer
  }
  const cases: readonly (readonly [() => void, RegExp])[] = [
    [answered(404, 'nobody'), /answered with status 404/],
    [answered(200, '<html>'), /is no OCSP response/],
    [answered(200, ''), /is no OCSP response/],
    [answered(200, good.subarray(0, 100)), /is no OCSP response/],
    [answered(200, Buffer.alloc(2 ** 21)), /could not be asked \(an answer of more than/],
    [answered(200, tryLater), /refused to answer \(tryLater\)/],
    [answered(200, other), /about another certificate/],
    [answered(200, spoilt), /not signed by the authority|no OCSP response|about another certificate/],
    [signedBy('stranger'), /not signed by the authority/],
    [signedBy('foreigner'), /not signed by the authority/],
    [() => authority.states.set(issued.serial, 'R'), /not signed by the authority/],
    [signedBy('ca'), /has revoked it at 2025-11-01T12:00:00\.000Z: order another one/],
    [() => authority.states.delete(issued.serial), /does not know it/],
  ]
  for (const [spoil, words] of cases) {
    spoil()
    const { staple, told } = stapleFor(t, authority, issued)
    await staple.ready()
    assert.equal(told.length, 1)
    assert.match(told[0]!, words)
    assert.equal(staple.responseFor(derOf(issued)), undefined)
    assert(staple.doubt!.endsWith(told[0]!))
  }
})

test(
  'a certificate whose responder or authority is not known is told, and nobody is asked',
  needsOpenssl,
  async (t) => {
    const authority = await OcspAuthority.start(t)
    const alone = authority.issue()
    writeFileSync(alone.certFile, alone.certificate)
    const cases: readonly (readonly [Issued, RegExp])[] = [
      [authority.issue({ responder: '' }), /names no responder/],
      [authority.issue({ responder: 'ldap://127.0.0.1/x' }), /names no responder/],
      [alone, /The certificate of the authority that issued it is missing/],
    ]
    for (const [issued, words] of cases) {
      const { told, tls } = await open(t, authority, issued)
      assert.match(told[0]!, words)
      assert.match(tls.doubts.join(), words)
    }
    assert.equal(authority.asked.length, 0)
  },
)

test('answers hold from when to when they say, with a little room for clocks', needsOpenssl, async (t) => {
  const authority = await OcspAuthority.start(t)
  const subject = subjectOf(readFileSync(authority.issue().certFile, 'utf8'))
  const nowMs = Date.now()
  const dated = authority.answer(encodeRequest(subject))
  for (const [ms, words] of [
    [-6 * 60_000, /whether the clock/],
    [2.01 * dayMs, /whether the clock/],
  ] as const)
    assert.throws(() => readResponse(dated, subject, nowMs + ms), words)
  assert(readResponse(dated, subject, nowMs - 4 * 60_000))
  // Without an end: for a day, as in Firefox.
  authority.options = []
  const open = authority.answer(encodeRequest(subject))
  const { fromMs, untilMs } = readResponse(open, subject, nowMs)
  assert.equal(untilMs - fromMs, dayMs)
  // Who signs for the authority may do so for its own life only.
  authority.options = ['-ndays', '30']
  const long = authority.answer(encodeRequest(subject))
  assert(readResponse(long, subject, nowMs + 19 * dayMs))
  assert.throws(() => readResponse(long, subject, nowMs + 21 * dayMs), /not signed by the authority/)
})

test('keys of every usual kind sign, directly or by a delegate', needsOpenssl, async (t) => {
  for (const kind of ['EC', 'RSA', 'ED25519'] as const) {
    const authority = await OcspAuthority.start(t, kind)
    for (const signer of ['ca', 'delegate'] as const) {
      authority.signer = signer
      const subject = subjectOf(
        readFileSync(authority.issue({ serial: signer === 'ca' ? '01' : 'ff00' }).certFile, 'utf8'),
      )
      assert(readResponse(authority.answer(encodeRequest(subject)), subject, Date.now()), `${kind}, ${signer}`)
    }
    // Clients have stopped to take SHA-1.
    if (kind === 'ED25519') continue
    authority.options = ['-ndays', '2', '-rmd', 'sha1']
    const subject = subjectOf(readFileSync(authority.issue().certFile, 'utf8'))
    const answer = authority.answer(encodeRequest(subject))
    assert.throws(() => readResponse(answer, subject, Date.now()), /not signed/)
  }
})

test('closing breaks off a question that nobody answers', needsOpenssl, async (t) => {
  const authority = await OcspAuthority.start(t)
  const issued = authority.issue()
  let arrived!: () => void
  const asked = new Promise<void>((resolve) => {
    arrived = resolve
  })
  authority.instead = () => {
    arrived()
    return 'silence'
  }
  const { staple, told } = stapleFor(t, authority, issued)
  const ready = staple.ready()
  await asked
  await staple.close()
  await ready
  assert.deepEqual(told, [])
})
