/** Certificates for tests: made by the code that makes them for the server, without its folder. */
import { type Certificate, makeSelfSigned, readPair } from '../../src/tls/certificate.ts'
import type { TlsObserver } from '../../src/tls/tls.ts'

export async function testCertificate(...names: readonly string[]): Promise<Certificate> {
  const all = names.length === 0 ? ['localhost', '127.0.0.1'] : names
  return readPair(await makeSelfSigned(all, Date.now()), 'the test')
}

/** In the place of what keeps certificates: shows the first until it is told to show another. */
export class SwappedCertificates {
  readonly source = 'files'
  readonly isInterim = false
  readonly staple = undefined
  readonly proofs = new Map<string, string>()
  current: Certificate
  #onChange: (() => void) | undefined

  constructor(first: Certificate) {
    this.current = first
  }

  onChange(listener: () => void): void {
    this.#onChange = listener
  }

  async proofFor(token: string): Promise<string | undefined> {
    return this.proofs.get(token)
  }

  swap(next: Certificate): void {
    this.current = next
    this.#onChange?.()
  }
}

/** Tells each event of a Tls in a line. */
export function tellingTlsObserver(tell: (line: string) => void): TlsObserver {
  return {
    certificateUsed: (source, _certificate, isInterim) => tell(`used: ${source}${isInterim ? ', interim' : ''}`),
    certificateDoubtful: (words) => tell(`doubtful: ${words}`),
    certificateRefused: (words) => tell(`refused: ${words}`),
    orderBegins: () => tell('order'),
    orderFailed: (words) => tell(`failed: ${words}`),
    stapled: () => tell('stapled'),
    stapleFailed: (words) => tell(`not stapled: ${words}`),
  }
}
