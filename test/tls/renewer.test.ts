/** When a certificate is ordered: what the authority asks for, and what the failures before say. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import forge from 'node-forge'
import { AcmeCache } from '../../src/tls/acme-cache.ts'
import type { Authority } from '../../src/tls/acme-order.ts'
import { makeSelfSigned } from '../../src/tls/certificate.ts'
import { renewalIdOf } from '../../src/tls/renewal-info.ts'
import { dueAtMs, Renewer, type RenewerOptions } from '../../src/tls/renewer.ts'

const hourMs = 3_600_000
const dayMs = 24 * hourMs
const names = ['push.acme.test']
const own = await makeSelfSigned(['127.0.0.1'], Date.now())

interface Fake {
  readonly authority: Authority
  readonly asked: string[]
}

/** An authority that has a directory, and answers everything else as it is told. `text`: what was sent. */
async function startFake(
  t: TestContext,
  answer: (path: string, response: ServerResponse, text: string) => void,
): Promise<Fake> {
  const asked: string[] = []
  const server = createServer({ key: own.key, cert: own.certificate }, async (request: IncomingMessage, response) => {
    let text = ''
    for await (const part of request.setEncoding('utf8')) text += part
    const path = request.url ?? ''
    asked.push(path)
    const base = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
    response.setHeader('replay-nonce', 'n')
    if (path === '/dir') {
      const calls = ['newNonce', 'newAccount', 'newOrder', 'renewalInfo'].map((call) => [call, `${base}/${call}`])
      response.end(JSON.stringify(Object.fromEntries(calls)))
    } else if (path === '/newNonce') response.end()
    else answer(path, response, text)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  const directoryUrl = `https://127.0.0.1:${(server.address() as AddressInfo).port}/dir`
  const authority = { directoryUrl, email: undefined, externalAccount: undefined, preferredChain: undefined }
  return { asked, authority: { ...authority, trusted: own.certificate } }
}

function refuse(response: ServerResponse, status: number, kind: string, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'application/problem+json', ...headers })
  response.end(JSON.stringify({ type: `urn:ietf:params:acme:error:${kind}`, detail: `this is ${kind}` }))
}

function folder(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'sser-renewer-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

interface Opened {
  readonly renewer: Renewer
  readonly failed: { readonly words: string; readonly nextAtMs: number }[]
}

function open(t: TestContext, directory: string, authority: Authority, options: Partial<RenewerOptions> = {}): Opened {
  const failed: Opened['failed'][number][] = []
  const lock = async () => ({ release: async () => undefined })
  const timing = { retryFirstMs: 120_000, retryMsMax: dayMs }
  const renewer = new Renewer(
    new AcmeCache(directory),
    { authority, names, keyType: 'P-256', ...timing, lock, ...options },
    { orderBegins: () => undefined, orderFailed: (words, nextAtMs) => failed.push({ words, nextAtMs }) },
  )
  t.after(() => renewer.close())
  return { renewer, failed }
}

const failuresOf = (directory: string) => JSON.parse(readFileSync(join(directory, 'acme-failures.json'), 'utf8'))

test('an authority that wants to be left alone is left alone, also by the next start', async (t) => {
  const directory = folder(t)
  const fake = await startFake(t, (_path, response) => refuse(response, 429, 'rateLimited', { 'retry-after': '7200' }))
  const { renewer, failed } = open(t, directory, fake.authority)
  await renewer.look()
  assert.match(failed[0]!.words, /^The authority was asked for too much.*It said: this is rateLimited$/)
  const waitMs = failed[0]!.nextAtMs - Date.now()
  assert(waitMs > 7_100_000 && waitMs <= 7_200_000, `${waitMs} ms`)
  const asked = fake.asked.length
  await renewer.look()
  await open(t, directory, fake.authority).renewer.look()
  assert.equal(fake.asked.length, asked)
})

test('no authority, and no clock, keeps an order waiting for longer than may be waited', async (t) => {
  const directory = folder(t)
  const headers = { 'retry-after': String((400 * dayMs) / 1000) }
  const fake = await startFake(t, (_path, response) => refuse(response, 429, 'rateLimited', headers))
  const { renewer, failed } = open(t, directory, fake.authority)
  await renewer.look()
  assert(failed[0]!.nextAtMs - Date.now() <= dayMs)
  // As it stands there after the clock was set back.
  const failures = { ...failuresOf(directory), lastAtMs: Date.now() + 400 * dayMs, nextAtMs: Date.now() + 401 * dayMs }
  writeFileSync(join(directory, 'acme-failures.json'), JSON.stringify(failures))
  const { nextAtMs } = await renewer.status()
  assert(nextAtMs - Date.now() <= dayMs)
})

test('what was ordered while it waited for the lock is not ordered again', async (t) => {
  const directory = folder(t)
  const fake = await startFake(t, (_path, response) => refuse(response, 500, 'serverInternal'))
  const lock = async () => {
    const pair = await makeSelfSigned(names, Date.now(), own.key)
    await new AcmeCache(directory).keepCertificate(fake.authority.directoryUrl, pair)
    return { release: async () => undefined }
  }
  const { renewer, failed } = open(t, directory, fake.authority, { lock })
  assert.equal(await renewer.look(), true, 'there is another one to be shown')
  assert.deepEqual(failed, [])
  assert(!fake.asked.includes('/newAccount'))
})

test('behind each failure is waited longer, up to a bound, and by chance a little less', async (t) => {
  const directory = folder(t)
  const fake = await startFake(t, (_path, response) => refuse(response, 500, 'serverInternal'))
  const waits: number[] = []
  for (let round = 0; round < 8; round += 1) {
    const { renewer, failed } = open(t, directory, fake.authority)
    await renewer.look()
    const told = failuresOf(directory)
    waits.push((failed[0]!.nextAtMs - told.lastAtMs) / 120_000)
    // So long ago that a start may try again.
    const failures = { ...told, lastAtMs: Date.now() - 120_000 }
    writeFileSync(join(directory, 'acme-failures.json'), JSON.stringify(failures))
  }
  const longest = [1, 3, 9, 27, 81, 243, 720, 720]
  for (const [index, wait] of waits.entries()) {
    assert(wait <= longest[index]! && wait >= longest[index]! * 0.79, `${wait} in place of ${longest[index]}`)
  }
})

test('a certificate that is there is tried for more often, the sooner it ends', async (t) => {
  const directory = folder(t)
  const fake = await startFake(t, (_path, response) => refuse(response, 500, 'serverInternal'))
  // Of 397 days, 10 hours are left.
  const pair = await makeSelfSigned(names, Date.now() - 396 * dayMs + 10 * hourMs, own.key)
  await new AcmeCache(directory).keepCertificate(fake.authority.directoryUrl, pair)
  const failures = { directoryUrl: fake.authority.directoryUrl, names, count: 9, lastAtMs: 0, nextAtMs: 0, words: '' }
  writeFileSync(join(directory, 'acme-failures.json'), JSON.stringify(failures))
  const { renewer, failed } = open(t, directory, fake.authority)
  await renewer.look()
  assert(failed[0]!.nextAtMs - Date.now() <= hourMs)
})

test('failures of other names, of another authority, and of a clock that ran ahead hold nobody up', async (t) => {
  const fake = await startFake(t, (_path, response) => refuse(response, 500, 'serverInternal'))
  const { directoryUrl } = fake.authority
  const nowMs = Date.now()
  const base = { directoryUrl, names, count: 3, lastAtMs: nowMs, nextAtMs: nowMs + hourMs, isAsked: true, words: '' }
  for (const [failures, isTried] of [
    [base, false],
    [{ ...base, names: ['other.acme.test'] }, true],
    [{ ...base, directoryUrl: 'https://elsewhere.test/' }, true],
    [{ ...base, isAsked: false, lastAtMs: nowMs - hourMs }, true],
    [{ ...base, count: 'many' }, true],
  ] as const) {
    const directory = folder(t)
    writeFileSync(join(directory, 'acme-failures.json'), JSON.stringify(failures))
    const { renewer, failed } = open(t, directory, fake.authority)
    await renewer.look()
    assert.equal(failed.length, isTried ? 1 : 0, JSON.stringify(failures))
  }
})

test('what stands in front of the authority, and what is none, is told', async (t) => {
  const directory = folder(t)
  const fake = await startFake(t, (_path, response) => response.writeHead(502).end('<html>Bad Gateway</html>'))
  const { renewer, failed } = open(t, directory, fake.authority)
  await renewer.look()
  assert.match(failed[0]!.words, /refused a call \(unknown\)\. It said: status 502/)
  const none = open(t, folder(t), { ...fake.authority, directoryUrl: fake.authority.directoryUrl.replace('dir', 'x') })
  await none.renewer.look()
  assert.match(none.failed[0]!.words, /status 502/)
})

test('a folder that cannot be used is told, and ends nothing', async (t) => {
  const directory = join(folder(t), 'file')
  writeFileSync(directory, 'a file')
  const fake = await startFake(t, (_path, response) => refuse(response, 500, 'serverInternal'))
  const { renewer, failed } = open(t, directory, fake.authority)
  await renewer.look()
  await renewer.look()
  assert.equal(failed.length, 1)
  assert.match(failed[0]!.words, /^The folder .*file cannot be used \(.*ENOTDIR/)
})

test('a certificate is due at two thirds of its life, the same for all who share it', async () => {
  const authority = { directoryUrl: 'https://ca.test/dir' } as Authority
  const options = { authority, names } as unknown as RenewerOptions
  const kept = {
    ...(await makeSelfSigned(names, Date.now(), own.key)),
    names,
    notBeforeMs: 0,
    notAfterMs: 90 * dayMs,
    issuer: 'CN=x',
    fingerprint: '80:00:00:00',
    directoryUrl: authority.directoryUrl,
  }
  const dueDays = (change: object) => dueAtMs({ ...kept, ...change }, options) / dayMs
  assert(Math.abs(dueDays({ fingerprint: '00:00:00:00' }) - 60) < 0.01)
  assert(dueDays({}) < 60 && dueDays({}) > 57)
  assert.equal(dueDays({ directoryUrl: 'https://other.test/dir' }), 0)
  assert.equal(dueAtMs(kept, { ...options, names: ['other.acme.test'] }), 0)
  assert.equal(dueAtMs(undefined, options), 0)
})

/** With what an authority puts into one, and node-forge does not of itself. */
async function issued(): Promise<{ key: string; certificate: string }> {
  const { key, certificate } = await makeSelfSigned(names, Date.now(), own.key)
  const made = forge.pki.certificateFromPem(certificate)
  made.serialNumber = '0087654321'
  const keyIdentifier = forge.util.hexToBytes('69885b6b87464041e1b37b847ba0ae2cde01c8d4')
  made.setExtensions([...made.extensions, { name: 'authorityKeyIdentifier', keyIdentifier }])
  made.sign(forge.pki.privateKeyFromPem(key), forge.md.sha256.create())
  return { key, certificate: forge.pki.certificateToPem(made) }
}

test('the identifier of a certificate is that of the example in RFC 9773', async () => {
  assert.equal(renewalIdOf(await issued()), 'aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE')
  assert.equal(renewalIdOf(own), undefined)
})

/** The payload of what acme-client signs. */
function payloadOf(text: string): { readonly replaces?: string; readonly csr?: string } {
  const { payload } = JSON.parse(text) as { payload: string }
  return JSON.parse(Buffer.from(payload, 'base64url').toString('utf8') || '{}')
}

test('an order says which certificate it replaces, and goes without that where the authority does not want to hear it', async (t) => {
  const id = 'aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE'
  for (const [kept, kind, isTold, expected] of [
    [await issued(), 'alreadyReplaced', true, [id, undefined]],
    [await issued(), 'rateLimited', true, [id]],
    // Of an authority that knows nothing of it, and of a certificate that has no such id.
    [await issued(), 'serverInternal', false, [undefined]],
    [await makeSelfSigned(names, Date.now(), own.key), 'serverInternal', true, [undefined]],
  ] as const) {
    const orders: (string | undefined)[] = []
    const fake = await startFake(t, (path, response, text) => {
      if (path === `/renewalInfo/${id}` && isTold) response.end('{}')
      else if (path === '/newAccount')
        response.writeHead(200, { location: `${fake.authority.directoryUrl}/1` }).end('{}')
      else if (path === '/dir/1') response.end('{}')
      else {
        if (path === '/newOrder') orders.push(payloadOf(text).replaces)
        refuse(response, 409, kind)
      }
    })
    const directory = folder(t)
    await new AcmeCache(directory).keepCertificate(fake.authority.directoryUrl, kept)
    const outcome = await open(t, directory, fake.authority).renewer.renew()
    assert.equal(outcome.kind, 'failed')
    assert.deepEqual(orders, expected, kind)
  }
})

/** What an authority makes of a request, in PEM; `change` is what it does wrong. */
function signed(csr: string, change: (made: forge.pki.Certificate) => void): string {
  const request = forge.asn1.fromDer(Buffer.from(csr, 'base64url').toString('latin1'))
  const made = forge.pki.createCertificate()
  made.publicKey = forge.pki.certificationRequestFromAsn1(request).publicKey as forge.pki.PublicKey
  made.serialNumber = '01'
  made.validity.notBefore = new Date(Date.now() - dayMs)
  made.validity.notAfter = new Date(Date.now() + dayMs)
  made.setIssuer([{ name: 'commonName', value: 'An authority' }])
  made.setExtensions([{ name: 'subjectAltName', altNames: [{ type: 2, value: names[0] }] }])
  change(made)
  made.sign(forge.pki.privateKeyFromPem(own.key), forge.md.sha256.create())
  return forge.pki.certificateToPem(made)
}

test('what an authority sends is kept only if it fits the key and the names, and has not ended', async (t) => {
  const wrong: readonly [RegExp | undefined, (made: forge.pki.Certificate) => void][] = [
    [undefined, () => undefined],
    [
      /^The authority has sent a certificate that ended at .*clock of this machine/,
      (made) => {
        made.validity.notAfter = new Date(Date.now() - 60_000)
      },
    ],
    [
      /does not fit what was ordered/,
      (made) => made.setExtensions([{ name: 'subjectAltName', altNames: [{ type: 2, value: 'other.acme.test' }] }]),
    ],
    [
      /does not fit what was ordered/,
      (made) => {
        made.publicKey = forge.pki.certificateFromPem(own.certificate).publicKey
      },
    ],
  ]
  for (const [words, change] of wrong) {
    let pem = ''
    const fake = await startFake(t, (path, response, text) => {
      const base = fake.authority.directoryUrl.replace('/dir', '')
      const order = { status: pem === '' ? 'ready' : 'valid', authorizations: [], finalize: `${base}/finalize` }
      if (path === '/finalize') pem = signed(payloadOf(text).csr ?? '', change)
      if (path === '/certificate') response.end(pem)
      else if (path === '/newAccount') response.writeHead(200, { location: `${base}/account` }).end('{}')
      else if (path === '/newOrder') response.writeHead(201, { location: `${base}/order` }).end(JSON.stringify(order))
      else response.end(JSON.stringify({ ...order, certificate: `${base}/certificate` }))
    })
    const directory = folder(t)
    const { renewer, failed } = open(t, directory, fake.authority, { keyType: 'RSA' })
    assert.equal(await renewer.look(), true)
    const kept = await new AcmeCache(directory).certificate()
    assert.equal(kept === undefined, words !== undefined)
    assert.match(failed[0]?.words ?? '', words ?? /^$/)
  }
})

test('whoever asks for an order is told of one elsewhere, of an authority that wants to wait, and of the folder', async (t) => {
  const directory = folder(t)
  const fake = await startFake(t, (_path, response) => refuse(response, 429, 'rateLimited', { 'retry-after': '7200' }))
  const elsewhere = open(t, directory, fake.authority, { lock: async () => undefined })
  assert.deepEqual(await elsewhere.renewer.renew(), { kind: 'elsewhere' })
  const { renewer, failed } = open(t, directory, fake.authority)
  assert.equal((await renewer.renew()).kind, 'failed')
  const asked = fake.asked.length
  const outcome = await renewer.renew()
  assert.equal(outcome.kind, 'asked-to-wait')
  assert.equal(fake.asked.length, asked)
  const { failure, nextAtMs } = await renewer.status()
  assert.deepEqual([failure?.words, nextAtMs], [failed[0]!.words, failed[0]!.nextAtMs])

  const denied = async () => {
    throw new Error('EACCES: permission denied')
  }
  const locked = open(t, folder(t), fake.authority, { lock: denied })
  await locked.renewer.look()
  await locked.renewer.look()
  assert.equal(locked.failed.length, 1, 'it is told, and not taken for an order elsewhere')
  assert.match(locked.failed[0]!.words, /^The folder .* cannot be used \(EACCES/)
  const status = await locked.renewer.status()
  assert.deepEqual([status.failure?.words, status.nextAtMs], [locked.failed[0]!.words, locked.failed[0]!.nextAtMs])
  assert.equal((await locked.renewer.renew()).kind, 'failed')
})

test('an authority that wants a certificate renewed early gets its order, and is not asked more often than it wants', async (t) => {
  const directory = folder(t)
  let startMs = Date.now() + 30 * dayMs
  const fake = await startFake(t, (path, response) => {
    if (path !== '/renewalInfo/aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE') return refuse(response, 500, 'serverInternal')
    response.setHeader('retry-after', '21600')
    const [start, end] = [startMs, startMs + hourMs].map((ms) => new Date(ms).toISOString())
    response.end(JSON.stringify({ suggestedWindow: { start, end } }))
  })
  await new AcmeCache(directory).keepCertificate(fake.authority.directoryUrl, await issued())
  const calm = open(t, directory, fake.authority)
  await calm.renewer.look()
  await calm.renewer.look()
  assert.deepEqual(fake.asked, ['/dir', '/renewalInfo/aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE'])
  startMs = Date.now() - 2 * hourMs
  const early = open(t, directory, fake.authority)
  await early.renewer.look()
  assert(fake.asked.includes('/newAccount'))
  assert.equal(early.failed.length, 1)
})
