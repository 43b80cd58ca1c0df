/**
 * A certificate with its key: parsed from text and checked, or made by this machine for itself. Promises that a pair that passed
 * can be used for TLS, and that no message reveals anything of a key. Knows no files, and no clock but the time that it is
 * given.
 */
import { createPrivateKey, generateKeyPair, type KeyObject, randomBytes, X509Certificate } from 'node:crypto'
import { isIP, isIPv6 } from 'node:net'
import { promisify } from 'node:util'
import forge from 'node-forge'

/** The input for TLS: text in PEM. `certificate` may be followed by those of the authorities between it and a root. */
export interface Pair {
  readonly key: string
  readonly certificate: string
}

export type KeyType = 'P-256' | 'RSA'

export interface Certificate extends Pair {
  /** Host names and addresses, in lower case; a leading `*.` stands for one label. */
  readonly names: readonly string[]
  readonly notBeforeMs: number
  readonly notAfterMs: number
  readonly issuer: string
  /** SHA-256 of the certificate, hex with colons, as browsers show it. */
  readonly fingerprint: string
}

/** An unusable pair. The message is for the operator, says what to do, and reveals nothing of the key. */
export class TlsError extends Error {
  readonly code = 'TLS_INVALID'

  constructor(message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'TlsError'
  }
}

const DAY_MS = 24 * 3_600_000
/** Together with the day before, 397: the maximum that browsers accept. */
const SELF_SIGNED_DAYS = 396
const RSA_BITS = 2048
const RSA_BITS_MIN = 2048
/** OpenSSL refuses weaker curves at its usual security level. */
const CURVE_BITS_MIN = 224
/** Clients' clocks may be behind ours. */
const BACKDATED_MS = DAY_MS

/** `source` says where the two came from, for the messages. */
export function readPair(pair: Pair, source: string): Certificate {
  const leaf = readLeaf(pair.certificate, source)
  const key = readKey(pair.key, source)
  requireStrength(key, source)
  if (!leaf.checkPrivateKey(key)) {
    throw new TlsError(
      `The key does not belong to the certificate of ${source}. Give the two that were made together; the certificate of the server itself stands first in its file.`,
    )
  }
  return {
    ...pair,
    names: namesOf(leaf),
    notBeforeMs: Date.parse(leaf.validFrom),
    notAfterMs: Date.parse(leaf.validTo),
    issuer: issuerName(leaf),
    fingerprint: leaf.fingerprint256,
  }
}

/** All certificates of a text in PEM, in its order. Throws Node's error if one of them is damaged. */
export function certificatesIn(text: string): X509Certificate[] {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? []
  return blocks.map((block) => new X509Certificate(block))
}

/** In one line. */
export function issuerName(certificate: X509Certificate): string {
  // Undefined for a name without any part, against Node's types.
  const { issuer } = certificate as { readonly issuer: string | undefined }
  return issuer?.replaceAll('\n', ', ') ?? 'an issuer without a name'
}

/** Whether a browser that requests this name or address accepts the certificate for it. */
export function coversName({ certificate }: Pair, name: string): boolean {
  const leaf = new X509Certificate(certificate)
  return (isIP(name) === 0 ? leaf.checkHost(name, { subject: 'never' }) : leaf.checkIP(name)) !== undefined
}

/**
 * A certificate that nobody vouches for: it encrypts, but browsers warn. `names` are host names and addresses. `key`, a new one
 * by default, must be RSA: node-forge signs with nothing else. It expires after that many `days`.
 */
export async function makeSelfSigned(
  names: readonly string[],
  nowMs: number,
  key?: string,
  days = SELF_SIGNED_DAYS,
): Promise<Pair> {
  const privateKey = key ?? (await makeKey('RSA'))
  const signer = forge.pki.privateKeyFromPem(privateKey)
  const made = forge.pki.createCertificate()
  made.publicKey = forge.pki.setRsaPublicKey(signer.n, signer.e)
  made.serialNumber = positiveSerial()
  made.validity.notBefore = new Date(nowMs - BACKDATED_MS)
  made.validity.notAfter = new Date(nowMs + days * DAY_MS)
  // The common name holds at most 64 characters; clients read the alternative names.
  const subject = [
    { name: 'commonName', value: (names[0] ?? '').slice(0, 64) },
    { name: 'organizationName', value: 'sser, self-signed' },
  ]
  made.setSubject(subject)
  made.setIssuer(subject)
  made.setExtensions([
    { name: 'basicConstraints', cA: false, critical: true },
    { name: 'keyUsage', digitalSignature: true, keyEncipherment: true, critical: true },
    { name: 'extKeyUsage', serverAuth: true },
    { name: 'subjectAltName', altNames: names.map(altName) },
    { name: 'subjectKeyIdentifier' },
  ])
  made.sign(signer, forge.md.sha256.create())
  return { key: privateKey, certificate: forge.pki.certificateToPem(made).replaceAll('\r\n', '\n') }
}

/** In PEM. In a separate thread: an RSA key takes up to a second. */
export async function makeKey(type: KeyType): Promise<string> {
  const make = promisify(generateKeyPair)
  const { privateKey } =
    type === 'RSA' ? await make('rsa', { modulusLength: RSA_BITS }) : await make('ec', { namedCurve: 'P-256' })
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
}

function readLeaf(text: string, source: string): X509Certificate {
  const [leaf] = readChain(text, source)
  if (leaf !== undefined) return leaf
  throw new TlsError(
    `There is no certificate in ${source}. It has to be text in PEM, which begins with -----BEGIN CERTIFICATE-----.`,
  )
}

function readChain(text: string, source: string): X509Certificate[] {
  try {
    return certificatesIn(text)
  } catch (error) {
    throw new TlsError(`A certificate of ${source} cannot be read: the file is damaged, or was cut off.`, error)
  }
}

function readKey(text: string, source: string): KeyObject {
  if (/-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m.test(text)) {
    throw new TlsError(
      `The key of ${source} is encrypted, and nobody could type its password at a start. Write it without one, for this user's eyes only: openssl pkey -in KEY -out NEWKEY && chmod 600 NEWKEY.`,
    )
  }
  try {
    return createPrivateKey(text)
  } catch {
    // OpenSSL's reason says nothing to an operator, and might quote from the key.
    throw new TlsError(
      `There is no private key in ${source} that can be read. It has to be text in PEM, which begins with -----BEGIN PRIVATE KEY-----, or the same with EC or RSA.`,
    )
  }
}

/** Such a key would pass here and fail in every handshake. */
function requireStrength({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject, source: string): void {
  const { modulusLength, namedCurve } = asymmetricKeyDetails ?? {}
  const curveBits = Number(/\d{3}/.exec(namedCurve ?? '')?.[0] ?? CURVE_BITS_MIN)
  const isStrong = asymmetricKeyType === 'rsa' ? (modulusLength ?? 0) >= RSA_BITS_MIN : curveBits >= CURVE_BITS_MIN
  if (isStrong && ['rsa', 'ec', 'ed25519'].includes(asymmetricKeyType ?? '')) return
  throw new TlsError(
    `The key of ${source} is too weak, or of a kind that browsers do not take: use P-256, or RSA of 2048 bits or more.`,
  )
}

function namesOf(leaf: X509Certificate): string[] {
  const listed = leaf.subjectAltName?.split(', ') ?? []
  return listed.flatMap((each) => {
    const [, name] = /^(?:DNS|IP Address):(.+)$/.exec(each) ?? []
    return name === undefined ? [] : [isIPv6(name) ? shortAddress(name) : name.toLowerCase()]
  })
}

/** As people write it: Node shows all eight groups of a certificate's address. */
function shortAddress(address: string): string {
  return new URL(`http://[${address}]`).hostname.slice(1, -1)
}

function altName(name: string): { type: 2; value: string } | { type: 7; ip: string } {
  return isIP(name) === 0 ? { type: 2, value: name } : { type: 7, ip: name }
}

/** 16 bytes with the first bit clear, since serial numbers are positive, and the second set, so that it is never 0. */
function positiveSerial(): string {
  const bytes = randomBytes(16)
  bytes[0] = (bytes[0]! & 0x3f) | 0x40
  return bytes.toString('hex')
}
