/**
 * When a certificate authority wants a certificate renewed: ARI, RFC 9773. Authorities use it before revoking many at once, or to
 * spread their load. Knows nothing of how the answer is used.
 */
import { X509Certificate } from 'node:crypto'
import type { Agent } from 'node:https'
import type { Authority } from './acme-order.ts'
import type { Pair } from './certificate.ts'
import { type Answered, exchange, retryAfterMsOf, withAgent } from './exchange.ts'
import { authorityKeyIdentifierOf } from './extensions.ts'

export interface RenewalTime {
  /** The authority's identifier for the certificate. */
  readonly id: string
  /** Inside the suggested window, if one is suggested. */
  readonly atMs: number | undefined
  /** When to ask the authority again. */
  readonly retryAfterMs: number | undefined
}

interface Window {
  readonly start?: unknown
  readonly end?: unknown
}

/** Undefined where the authority gives no times. `chance`, from 0 to 1, is the position within the window. */
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
    const atMs = endMs >= startMs ? startMs + (endMs - startMs) * chance : undefined
    return { id, atMs, retryAfterMs: retryAfterMsOf(answered) }
  })
}

/** RFC 9773, section 4.1: the identifier of the authority's key and the serial number. */
export function renewalIdOf({ certificate }: Pair): string | undefined {
  const { serialNumber } = new X509Certificate(certificate)
  const keyIdentifier = authorityKeyIdentifierOf({ certificate })
  if (keyIdentifier === undefined) return undefined
  const serial = Buffer.from(serialNumber.padStart(serialNumber.length + (serialNumber.length % 2), '0'), 'hex')
  // In DER, a number whose first bit is set is preceded by a zero byte.
  const positive = serial[0]! >= 0x80 ? Buffer.concat([Buffer.alloc(1), serial]) : serial
  return `${keyIdentifier.toString('base64url')}.${positive.toString('base64url')}`
}

async function read(url: string, agent: Agent, signal: AbortSignal): Promise<{ answered: Answered; body: object }> {
  const answered = await exchange({ url, method: 'GET' }, agent, signal)
  const body: unknown = JSON.parse(answered.body.toString())
  if (answered.status !== 200 || typeof body !== 'object' || body === null) throw new Error('no answer to that')
  return { answered, body }
}
