/**
 * What can be said of certificates to whoever asks: the one that is shown, and how its renewal stands. Types only, as JSON
 * can carry them; times are milliseconds since 1970.
 */
export type CertificateSource = 'files' | 'acme' | 'self-signed'

export interface CertificateStatus {
  readonly source: CertificateSource
  /** Another one is to be ordered, and this one is shown until then. */
  readonly isInterim: boolean
  /** Where it lies with its key. */
  readonly files: readonly string[]
  readonly names: readonly string[]
  readonly issuer: string
  readonly notBeforeMs: number
  readonly notAfterMs: number
  /** SHA-256 in hex with colons. */
  readonly fingerprint: string
  /** It asks for an OCSP response in each handshake. */
  readonly mustStaple: boolean
  /** Until when the response holds that is stapled; undefined: there is none. */
  readonly stapledUntilMs: number | undefined
  /** Why clients will refuse it, in words. */
  readonly doubts: readonly string[]
}

export interface OrderStatus {
  readonly directoryUrl: string
  readonly names: readonly string[]
  /** When another certificate is due, by what is known; 0: at once. */
  readonly dueAtMs: number
  /** The next try, after what has failed. */
  readonly nextAtMs: number
  /** Of the orders since the last one that succeeded. */
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
  /** The authority wants to be left alone: for the reason that it gave. */
  | { readonly kind: 'asked-to-wait'; readonly words: string; readonly untilMs: number }
  /** Another process that shares the folder is ordering. */
  | { readonly kind: 'elsewhere' }
