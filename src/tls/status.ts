/**
 * What can be said about certificates: the current one, and the state of its renewal. Types only, as JSON can carry them; times
 * are milliseconds since 1970.
 */
export type CertificateSource = 'files' | 'acme' | 'self-signed'

export interface CertificateStatus {
  readonly source: CertificateSource
  /** Another one is to be ordered, and this one is used until then. */
  readonly isInterim: boolean
  /** Where it is stored with its key. */
  readonly files: readonly string[]
  readonly names: readonly string[]
  readonly issuer: string
  readonly notBeforeMs: number
  readonly notAfterMs: number
  /** SHA-256 in hex with colons. */
  readonly fingerprint: string
  /** It requires an OCSP response in each handshake. */
  readonly mustStaple: boolean
  /** Until when the stapled response is valid; undefined: there is none. */
  readonly stapledUntilMs: number | undefined
  /** Why clients will refuse it, in words. */
  readonly doubts: readonly string[]
}

export interface OrderStatus {
  readonly directoryUrl: string
  readonly names: readonly string[]
  /** When another certificate is due, as far as known; 0: at once. */
  readonly dueAtMs: number
  /** The next attempt after a failure. */
  readonly nextAtMs: number
  /** About the orders since the last successful one. */
  readonly failure: { readonly words: string; readonly atMs: number; readonly count: number } | undefined
}

export interface TlsStatus {
  /** Undefined where there is none yet. */
  readonly certificate: CertificateStatus | undefined
  /** Undefined where certificates are not ordered. */
  readonly order: OrderStatus | undefined
}

export type OrderOutcome =
  | { readonly kind: 'ordered' }
  | { readonly kind: 'failed'; readonly words: string; readonly nextAtMs: number }
  /** The authority has asked to wait, for the reason that it gave. */
  | { readonly kind: 'asked-to-wait'; readonly words: string; readonly untilMs: number }
  /** Another process that shares the folder is ordering. */
  | { readonly kind: 'elsewhere' }
