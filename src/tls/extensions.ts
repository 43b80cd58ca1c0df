/**
 * The parts of a certificate that node does not parse: its extensions, by their numbers. Knows nothing of their use.
 */
import { X509Certificate } from 'node:crypto'
import forge from 'node-forge'
import type { Pair } from './certificate.ts'

const keyIdentifierOid = '2.5.29.35'
const tlsFeatureOid = '1.3.6.1.5.5.7.1.24'
/** RFC 6066 and RFC 6961: the numbers of the extensions by which a client asks for OCSP. */
const stapled: readonly string[] = ['\x05', '\x11']

type Asn1 = forge.asn1.Asn1

/** The identifier of the authority's key, as the authority wrote it. */
export function authorityKeyIdentifierOf({ certificate }: Pick<Pair, 'certificate'>): Buffer | undefined {
  const [first] = listIn(certificate, keyIdentifierOid)
  return typeof first?.value === 'string' && (first.type as number) === 0
    ? Buffer.from(first.value, 'binary')
    : undefined
}

/** RFC 7633, "must-staple": clients refuse the certificate without an OCSP response in the handshake. */
export function asksForStapling({ certificate }: Pick<Pair, 'certificate'>): boolean {
  return listIn(certificate, tlsFeatureOid).some(({ value }) => typeof value === 'string' && stapled.includes(value))
}

/** The content of an extension that holds a list; empty where there is none. */
function listIn(certificate: string, oid: string): readonly Asn1[] {
  const { raw } = new X509Certificate(certificate)
  const wanted = forge.asn1.oidToDer(oid).getBytes()
  const extension = find(forge.asn1.fromDer(raw.toString('binary')), (children) => children[0]?.value === wanted)
  const inner = extension?.at(-1)?.value
  if (typeof inner !== 'string') return []
  const { value } = forge.asn1.fromDer(inner)
  return Array.isArray(value) ? value : []
}

/** The first list that satisfies the test, from the outside to the inside. */
function find({ value }: Asn1, holds: (children: readonly Asn1[]) => boolean): readonly Asn1[] | undefined {
  if (!Array.isArray(value)) return undefined
  if (holds(value)) return value
  for (const child of value) {
    const found = find(child, holds)
    if (found !== undefined) return found
  }
  return undefined
}
