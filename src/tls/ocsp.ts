/**
 * The Online Certificate Status Protocol, RFC 6960: the request to a responder, and what its response says, once the signature
 * is verified to be that of the authority or of a signer it has authorised. Promises that a response that passed can be shown to
 * any client. Has no access to the network, and knows the time only from its callers.
 */
import { createHash, createPublicKey, type KeyObject, verify, type X509Certificate } from 'node:crypto'
import {
  BasicOCSPResponse,
  CertID,
  id_pkix_ocsp_basic,
  OCSPRequest,
  OCSPResponse,
  OCSPResponseStatus,
  Request,
  type SingleResponse,
  TBSRequest,
} from '@peculiar/asn1-ocsp'
import { AsnConvert, OctetString } from '@peculiar/asn1-schema'
import {
  AlgorithmIdentifier,
  Certificate,
  ExtendedKeyUsage,
  id_ce_extKeyUsage,
  id_kp_OCSPSigning,
} from '@peculiar/asn1-x509'
import { certificatesIn } from './certificate.ts'

/** The subject of a request. */
export interface Subject {
  readonly leaf: X509Certificate
  /** The certificate whose key signed the leaf. */
  readonly issuer: X509Certificate
  /** The URL of the responder named in the leaf. */
  readonly responderUrl: string
}

/** The authority's statement that a certificate is good. */
export interface Assurance {
  /** In DER, as the responder sent it. */
  readonly response: Buffer
  readonly fromMs: number
  readonly untilMs: number
}

/** There is nothing to show to clients. The message is for the operator, and says what to do. */
export class OcspError extends Error {
  readonly code = 'OCSP_FAILED'

  constructor(message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'OcspError'
  }
}

const SHA1_OID = '1.3.14.3.2.26'
/** RFC 8017, RFC 5758 and RFC 8410: the type of the key, and the hash that is signed. Clients no longer accept SHA-1 for this. */
const SIGNATURES: Readonly<Record<string, readonly [keyType: string, digest: string | undefined]>> = {
  '1.2.840.113549.1.1.11': ['rsa', 'sha256'],
  '1.2.840.113549.1.1.12': ['rsa', 'sha384'],
  '1.2.840.113549.1.1.13': ['rsa', 'sha512'],
  '1.2.840.10045.4.3.2': ['ec', 'sha256'],
  '1.2.840.10045.4.3.3': ['ec', 'sha384'],
  '1.2.840.10045.4.3.4': ['ec', 'sha512'],
  '1.3.101.112': ['ed25519', undefined],
}
/** Tolerated difference between the clocks of two machines. */
const CLOCK_SKEW_MS = 5 * 60_000
/** For a response without an expiry: as long as Firefox accepts it. */
const OPEN_LIFE_MS = 24 * 3_600_000

/** `chain`: in PEM, the server's certificate first. Throws an OcspError if there is no responder to ask, or no issuer in the chain. */
export function subjectOf(chain: string): Subject {
  const [leaf, ...others] = certificatesIn(chain)
  const responderUrl = leaf && responderUrlOf(leaf)
  if (leaf === undefined || responderUrl === undefined)
    throw new OcspError('It names no responder that can be asked: order one that does, or one without must-staple.')
  const issuer = others.find((other) => leaf.checkIssued(other) && leaf.verify(other.publicKey))
  if (issuer === undefined)
    throw new OcspError(
      'The certificate of the authority that issued it is missing: put that behind it, into its file.',
    )
  return { leaf, issuer, responderUrl }
}

/** In DER. Without a nonce: responders serve responses prepared in advance (RFC 5019). */
export function encodeRequest(subject: Subject): Buffer {
  const requestList = [new Request({ reqCert: certIdOf(subject) })]
  return Buffer.from(AsnConvert.serialize(new OCSPRequest({ tbsRequest: new TBSRequest({ requestList }) })))
}

/** Throws an OcspError unless the response says that the certificate is good, and is valid now. */
export function readResponse(response: Buffer, subject: Subject, nowMs: number): Assurance {
  try {
    const basic = basicIn(response)
    const single = singleIn(basic, subject)
    // In this order: with a wrong clock everything else looks wrong, and before verification anyone on the path could claim "revoked".
    const life = lifeOf(single, nowMs)
    requireSigned(basic, subject, nowMs)
    requireGood(single)
    return { response, ...life }
  } catch (error) {
    if (error instanceof OcspError) throw error
    throw new OcspError('What the responder answered is no OCSP response: see what stands between.', error)
  }
}

function lifeOf({ thisUpdate, nextUpdate }: SingleResponse, nowMs: number): Omit<Assurance, 'response'> {
  const fromMs = thisUpdate.getTime()
  const untilMs = nextUpdate?.getTime() ?? fromMs + OPEN_LIFE_MS
  if (fromMs <= nowMs + CLOCK_SKEW_MS && nowMs < untilMs) return { fromMs, untilMs }
  throw new OcspError(
    `The answer holds from ${timeText(thisUpdate)} to ${timeText(new Date(untilMs))}: see whether the clock of this machine is right.`,
  )
}

function requireGood({ certStatus: { revoked, good } }: SingleResponse): void {
  if (revoked !== undefined)
    throw new OcspError(`The authority has revoked it at ${timeText(revoked.revocationTime)}: order another one.`)
  if (good === undefined) throw new OcspError('The responder does not know it: order another one.')
}

function timeText(time: Date): string {
  return time.toISOString()
}

function responderUrlOf(leaf: X509Certificate): string | undefined {
  const { infoAccess } = leaf.toLegacyObject() as { readonly infoAccess?: NodeJS.Dict<string[]> }
  return infoAccess?.['OCSP - URI']?.find((url) => /^https?:\/\//i.test(url) && URL.canParse(url))
}

/** RFC 6960, section 4.1.1. With SHA-1, which every responder supports; it only identifies the authority. */
function certIdOf({ leaf, issuer }: Subject): CertID {
  const { tbsCertificate } = AsnConvert.parse(leaf.raw, Certificate)
  const { subjectPublicKey } = AsnConvert.parse(issuer.raw, Certificate).tbsCertificate.subjectPublicKeyInfo
  return new CertID({
    hashAlgorithm: new AlgorithmIdentifier({ algorithm: SHA1_OID, parameters: null }),
    issuerNameHash: new OctetString(sha1(AsnConvert.serialize(tbsCertificate.issuer))),
    issuerKeyHash: new OctetString(sha1(subjectPublicKey)),
    serialNumber: tbsCertificate.serialNumber,
  })
}

function sha1(bytes: ArrayBuffer): Buffer {
  return createHash('sha1').update(Buffer.from(bytes)).digest()
}

function basicIn(response: Buffer): BasicOCSPResponse {
  const { responseStatus, responseBytes } = AsnConvert.parse(response, OCSPResponse)
  if (responseStatus === OCSPResponseStatus.successful && responseBytes?.responseType === id_pkix_ocsp_basic)
    return AsnConvert.parse(responseBytes.response, BasicOCSPResponse)
  const reason = OCSPResponseStatus[responseStatus] ?? responseStatus
  throw new OcspError(`The responder refused to answer (${reason}); it may do so later.`)
}

function singleIn({ tbsResponseData }: BasicOCSPResponse, subject: Subject): SingleResponse {
  const wanted = Buffer.from(AsnConvert.serialize(certIdOf(subject)))
  const single = tbsResponseData.responses.find(({ certID }) =>
    wanted.equals(Buffer.from(AsnConvert.serialize(certID))),
  )
  if (single === undefined) throw new OcspError('The responder answered about another certificate.')
  return single
}

function requireSigned(basic: BasicOCSPResponse, { issuer }: Subject, nowMs: number): void {
  const { tbsResponseDataRaw, signatureAlgorithm, signature } = basic
  const keys = [issuer.publicKey, ...delegatedKeys(basic, issuer.publicKey, nowMs)]
  if (keys.some((key) => isSigned(tbsResponseDataRaw, signatureAlgorithm, signature, key))) return
  throw new OcspError('The answer of the responder is not signed by the authority, nor by whom it lets sign.')
}

/** RFC 6960, section 4.2.2.2: the signers that the authority itself has authorised, and that are valid now. */
function delegatedKeys({ certs = [] }: BasicOCSPResponse, issuerKey: KeyObject, nowMs: number): KeyObject[] {
  return certs.flatMap(({ tbsCertificate, tbsCertificateRaw, signatureAlgorithm, signatureValue }) => {
    const { extensions = [], validity, subjectPublicKeyInfo } = tbsCertificate
    const usage = extensions.find(({ extnID }) => extnID === id_ce_extKeyUsage)
    const isDelegated =
      usage !== undefined && AsnConvert.parse(usage.extnValue, ExtendedKeyUsage).includes(id_kp_OCSPSigning)
    const fromMs = validity.notBefore.getTime().getTime() - CLOCK_SKEW_MS
    const isNow = nowMs >= fromMs && nowMs <= validity.notAfter.getTime().getTime()
    if (!isDelegated || !isNow || !isSigned(tbsCertificateRaw, signatureAlgorithm, signatureValue, issuerKey)) return []
    const key = Buffer.from(AsnConvert.serialize(subjectPublicKeyInfo))
    return [createPublicKey({ key, format: 'der', type: 'spki' })]
  })
}

function isSigned(
  bytes: ArrayBuffer | undefined,
  { algorithm }: AlgorithmIdentifier,
  signature: ArrayBuffer,
  key: KeyObject,
): boolean {
  const [keyType, digest] = SIGNATURES[algorithm] ?? []
  if (bytes === undefined || key.asymmetricKeyType !== keyType) return false
  return verify(digest, Buffer.from(bytes), key, Buffer.from(signature))
}
