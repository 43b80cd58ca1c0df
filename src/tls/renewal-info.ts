/**
 * When a certificate authority wants a certificate renewed: ARI, RFC 9773. It asks for that before it revokes many at once,
 * or to spread its load. Knows nothing of what becomes of it.
 */
import { X509Certificate } from 'node:crypto'
import type { Agent } from 'node:https'
import forge from 'node-forge'
import type { Authority } from './acme-order.ts'
import type { Pair } from './certificate.ts'
import { type Answered, exchange, retryAfterMsOf, withAgent } from './https-exchange.ts'

export interface RenewalTime {
  /** In the window that it suggests. */
  readonly atMs: number
  /** When it wants to be asked again. */
  readonly retryAfterMs: number | undefined
}

interface Window {
  readonly start?: unknown
  readonly end?: unknown
}

const keyIdentifierOid = '2.5.29.35'

/** Undefined where the authority does not say. `chance`, from 0 to 1, is the place in the window. */
export async function renewalTime(
  { directoryUrl, trusted }: Authority,
  pair: Pair,
  chance: number,
  signal: AbortSignal,
): Promise<RenewalTime | undefined> {
  const id = renewalIdOf(pair)
  return await withAgent(trusted, async (agent) => {
    const { renewalInfo } = (await read(directoryUrl, agent, signal)).body as { readonly renewalInfo?: unknown }
    if (typeof renewalInfo !== 'string' || id === undefined) return undefined
    const { answered, body } = await read(`${renewalInfo}/${id}`, agent, signal)
    const { start, end } = (body as { readonly suggestedWindow?: Window }).suggestedWindow ?? {}
    const startMs = Date.parse(String(start))
    const endMs = Date.parse(String(end))
    const retryAfterMs = retryAfterMsOf(answered)
    return endMs >= startMs ? { atMs: startMs + (endMs - startMs) * chance, retryAfterMs } : undefined
  })
}

/** RFC 9773, section 4.1: the identifier of the authority's key and the serial number. */
export function renewalIdOf({ certificate }: Pair): string | undefined {
  const { raw, serialNumber } = new X509Certificate(certificate)
  const keyIdentifier = keyIdentifierIn(raw)
  if (keyIdentifier === undefined) return undefined
  const serial = Buffer.from(serialNumber.padStart(serialNumber.length + (serialNumber.length % 2), '0'), 'hex')
  // In DER a number whose first bit is set has a zero before it.
  const positive = serial[0]! >= 0x80 ? Buffer.concat([Buffer.alloc(1), serial]) : serial
  return `${keyIdentifier.toString('base64url')}.${positive.toString('base64url')}`
}

function keyIdentifierIn(raw: Buffer): Buffer | undefined {
  const oid = forge.asn1.oidToDer(keyIdentifierOid).getBytes()
  const extension = find(forge.asn1.fromDer(raw.toString('binary')), (children) => children[0]?.value === oid)
  const inner = extension?.at(-1)?.value
  if (typeof inner !== 'string') return undefined
  const [first] = forge.asn1.fromDer(inner).value as readonly forge.asn1.Asn1[]
  return typeof first?.value === 'string' && (first.type as number) === 0
    ? Buffer.from(first.value, 'binary')
    : undefined
}

type Asn1s = readonly forge.asn1.Asn1[]

/** The first list for which it holds, from the outside to the inside. */
function find(node: forge.asn1.Asn1, holds: (children: Asn1s) => boolean): Asn1s | undefined {
  const { value } = node
  if (!Array.isArray(value)) return undefined
  if (holds(value)) return value
  for (const child of value) {
    const found = find(child, holds)
    if (found !== undefined) return found
  }
  return undefined
}

async function read(url: string, agent: Agent, signal: AbortSignal): Promise<{ answered: Answered; body: object }> {
  const answered = await exchange({ url, method: 'GET' }, agent, signal)
  const body: unknown = JSON.parse(answered.text)
  if (answered.status !== 200 || typeof body !== 'object' || body === null) throw new Error('no answer to that')
  return { answered, body }
}
