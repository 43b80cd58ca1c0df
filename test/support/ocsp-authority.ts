/**
 * An authority of openssl's for tests: gives certificates that ask for OCSP stapling, and answers for them over HTTP by
 * openssl's own responder, as well or as badly as a test says. Everything lies in one temporary folder.
 */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'

export type KeyKind = 'EC' | 'RSA' | 'ED25519'
/** Who signs the responses: the authority; whom it lets sign; whom it has not let; whom another authority lets. */
export type Signer = 'ca' | 'delegate' | 'stranger' | 'foreigner'

export interface Answer {
  readonly status: number
  readonly body: string | Buffer
}

export interface IssueOptions {
  readonly mustStaple?: boolean
  readonly responder?: string | undefined
  readonly serial?: string
}

export interface Issued {
  readonly certFile: string
  readonly keyFile: string
  readonly serial: string
  /** Without the certificate of the authority. */
  readonly certificate: string
  readonly key: string
}

export class OcspAuthority {
  readonly folder: string
  readonly url: string
  /** Of each certificate by its number: V for valid, R for revoked; others are unknown. */
  readonly states = new Map<string, 'V' | 'R'>()
  /** Of the responder. */
  signer: Signer = 'delegate'
  options: readonly string[] = ['-ndays', '2']
  /** Given: this is answered in the place of what openssl says. */
  instead: (() => Answer | 'cut' | 'silence') | undefined
  readonly asked: IncomingMessage[] = []
  #count = 0

  private constructor(folder: string, url: string) {
    this.folder = folder
    this.url = url
  }

  static async start(t: TestContext, keys: KeyKind = 'EC'): Promise<OcspAuthority> {
    const folder = mkdtempSync(join(tmpdir(), 'sser-ocsp-'))
    const server = createServer()
    t.after(() => {
      server.close()
      server.closeAllConnections()
      rmSync(folder, { recursive: true, force: true })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const authority = new OcspAuthority(folder, `http://127.0.0.1:${port}/ocsp`)
    server.on('request', async (request, response) => {
      authority.asked.push(request)
      const body = Buffer.concat(await request.toArray())
      const given =
        authority.instead === undefined ? { status: 200, body: authority.answer(body) } : authority.instead()
      if (given === 'silence') return
      if (given === 'cut') request.socket.destroy()
      else response.writeHead(given.status, { 'content-type': 'application/ocsp-response' }).end(given.body)
    })
    authority.#make(keys)
    return authority
  }

  get caFile(): string {
    return join(this.folder, 'ca.pem')
  }

  get ca(): string {
    return readFileSync(this.caFile, 'utf8')
  }

  /** For push.test and 127.0.0.1, with the certificate of the authority behind it in `certFile`. */
  issue({ mustStaple = true, responder = this.url, serial }: IssueOptions = {}): Issued {
    this.#count += 1
    const name = `leaf-${this.#count}`
    const number = serial ?? `8f${String(this.#count).padStart(4, '0')}`
    const extensions = ['subjectAltName=DNS:push.test,IP:127.0.0.1']
    if (mustStaple) extensions.push('tlsfeature=status_request')
    if (responder !== '') extensions.push(`authorityInfoAccess=OCSP;URI:${responder}`)
    const certificate = this.#sign(name, 'push.test', extensions, number)
    this.states.set(number, 'V')
    const certFile = join(this.folder, `${name}.chain.pem`)
    writeFileSync(certFile, certificate + this.ca)
    const keyFile = join(this.folder, `${name}.key`)
    return { certFile, keyFile, certificate, serial: number, key: readFileSync(keyFile, 'utf8') }
  }

  /** What openssl's responder answers, in DER. */
  answer(request: Buffer): Buffer {
    const states = [...this.states].map(([serial, state]) => {
      const revoked = state === 'R' ? '251101120000Z' : ''
      return `${state}\t351101120000Z\t${revoked}\t${serial.toUpperCase()}\tunknown\t/CN=${serial}\n`
    })
    writeFileSync(join(this.folder, 'index.txt'), states.join(''))
    writeFileSync(join(this.folder, 'request.der'), request)
    const responder = [
      'ocsp',
      '-index',
      'index.txt',
      '-CA',
      'ca.pem',
      '-reqin',
      'request.der',
      '-respout',
      'answer.der',
    ]
    this.#openssl(...responder, '-rsigner', `${this.signer}.pem`, '-rkey', `${this.signer}.key`, ...this.options)
    return readFileSync(join(this.folder, 'answer.der'))
  }

  /** What openssl says of a response to a certificate. */
  judge(response: Buffer, { certificate }: Pick<Issued, 'certificate'>): string {
    writeFileSync(join(this.folder, 'judged.der'), response)
    writeFileSync(join(this.folder, 'judged.pem'), certificate)
    const judged = ['ocsp', '-respin', 'judged.der', '-issuer', 'ca.pem', '-cert', 'judged.pem', '-CAfile', 'ca.pem']
    return this.#openssl(...judged, '-no_nonce')
  }

  #make(keys: KeyKind): void {
    this.#selfSign('ca', keys)
    this.#selfSign('other', keys)
    this.#sign('delegate', 'Delegate', ['extendedKeyUsage=OCSPSigning'], '10', keys)
    this.#sign('stranger', 'Stranger', ['extendedKeyUsage=clientAuth'], '11', keys)
    this.#sign('foreigner', 'Foreigner', ['extendedKeyUsage=OCSPSigning'], '12', keys, 'other')
  }

  #selfSign(name: string, keys: KeyKind): void {
    const extensions = [
      '-addext',
      'basicConstraints=critical,CA:TRUE',
      '-addext',
      'keyUsage=keyCertSign,digitalSignature',
    ]
    const subject = ['-subj', `/O=Tests é/CN=${name}`, '-utf8', '-days', '30', ...extensions]
    this.#openssl(
      'req',
      '-x509',
      ...newKey(keys),
      '-nodes',
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.pem`,
      ...subject,
    )
  }

  #sign(
    name: string,
    subject: string,
    extensions: readonly string[],
    serial: string,
    keys: KeyKind = 'EC',
    ca = 'ca',
  ): string {
    const request = ['-nodes', '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${subject}`]
    this.#openssl('req', '-new', ...newKey(keys), ...request)
    writeFileSync(join(this.folder, `${name}.ext`), extensions.join('\n'))
    const by = ['-CA', `${ca}.pem`, '-CAkey', `${ca}.key`, '-set_serial', `0x${serial}`, '-days', '20']
    this.#openssl('x509', '-req', '-in', `${name}.csr`, ...by, '-extfile', `${name}.ext`, '-out', `${name}.pem`)
    return readFileSync(join(this.folder, `${name}.pem`), 'utf8')
  }

  #openssl(...args: string[]): string {
    return execFileSync('openssl', args, { cwd: this.folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  }
}

function newKey(kind: KeyKind): string[] {
  if (kind === 'RSA') return ['-newkey', 'rsa:2048']
  return kind === 'EC' ? ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'] : ['-newkey', 'ed25519']
}
