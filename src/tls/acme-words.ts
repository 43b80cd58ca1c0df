/**
 * What went wrong with an order, in words that say what to do. Decides nothing: what to order, and when to retry, is decided
 * elsewhere.
 */
import type { Problem } from './acme-transport.ts'

/** A failed order. The message is for the operator. */
export class AcmeError extends Error {
  readonly code = 'ACME_FAILED'
  /** How long the authority asks to wait before the next one. */
  readonly retryAfterMs: number | undefined

  constructor(message: string, retryAfterMs?: number, cause?: unknown) {
    super(message, { cause })
    this.name = 'AcmeError'
    this.retryAfterMs = retryAfterMs
  }
}

/** Why the authority could not validate `name`. */
export function validationWords(name: string, { kind, detail }: Problem): string {
  switch (kind) {
    case 'connection':
      return `The authority could not reach http://${name}/ on port 80. Let that port through the firewall and the provider to the port of server.addr, and see whether the address of ${name} (A and AAAA) is that of this machine. It said: ${detail}`
    case 'dns':
      return `The name ${name} could not be resolved by the authority. Give it an A or AAAA record with the address of this machine. It said: ${detail}`
    case 'unauthorized':
    case 'incorrectResponse':
      return `Something else than this server answered for http://${name}/ on port 80. See where its A and AAAA records point, and what stands in front of this server. It said: ${detail}`
    case 'caa':
      return `A CAA record of ${name}, or of a name above it, does not allow this authority. Add it there, or take another authority. It said: ${detail}`
    default:
      return `The authority could not check the name ${name} (${kind}). It said: ${detail}`
  }
}

/** Why the authority refused a call. */
export function refusalWords({ kind, detail }: Problem): string {
  switch (kind) {
    case 'rateLimited':
      return `The authority was asked for too much and wants to be left alone for a while; no more is asked before that. It said: ${detail}`
    case 'rejectedIdentifier':
    case 'unsupportedIdentifier':
      return `The authority gives no certificate for one of the names of server.ssl.domainName. Take that out, or take another authority. It said: ${detail}`
    case 'externalAccountRequired':
      return `The authority wants an account that was made with it before. Give its key by server.ssl.acme.externalAccount. It said: ${detail}`
    case 'invalidContact':
    case 'unsupportedContact':
      return `The authority does not take the address of server.ssl.letsencryptEmail. Correct it, or leave it out. It said: ${detail}`
    case 'userActionRequired':
      return `The authority wants something to be agreed to by a person. Follow the address in its answer. It said: ${detail}`
    case 'badNonce':
      return `The authority did not take its own numbers again and again, as it does when it is busy; the next try may succeed. It said: ${detail}`
    case 'caa':
      return `A CAA record of one of the names does not allow this authority. Add it there, or take another authority. It said: ${detail}`
    default:
      return `The authority refused a call (${kind}). It said: ${detail}`
  }
}

/** Why the authority could not be reached at all. */
export function connectionWords(error: unknown, directoryUrl: string): string {
  const { code, name, message } = error as {
    readonly code?: unknown
    readonly name?: unknown
    readonly message?: unknown
  }
  const reason = name === 'TimeoutError' || name === 'AbortError' ? 'no answer in time' : String(code ?? message)
  const clock = /CERT|SELF_SIGNED|ISSUER|UNABLE/.test(reason)
    ? ' See whether the clock of this machine is right; an authority of your own is trusted by server.ssl.acme.trustedFile.'
    : ' See whether this machine reaches the internet and resolves names, and whether the authority works.'
  return `The authority at ${directoryUrl} could not be asked (${reason}).${clock}`
}
