/**
 * What an operator should know about the current certificate although the server works, as sentences for the dashboard: that
 * browsers warn of it, that it expires soon, or that a new one could not be obtained. Decides nothing.
 */
import type { Tls, TlsObserver } from '../tls/tls.ts'

type Shown = Pick<Tls, 'source' | 'isInterim' | 'current' | 'doubts'>

const dayMs = 24 * 3_600_000
/** Well ahead of its expiry. One that is renewed automatically is replaced after two thirds of its life: by now that has failed for long. */
const soonMsMax = 14 * dayMs
const soonShare = 1 / 5

export class CertificateNotices {
  #failure: { readonly words: string; readonly nextAtMs: number } | undefined

  readonly observer: Partial<TlsObserver> = {
    certificateUsed: () => {
      this.#failure = undefined
    },
    orderFailed: (words, nextAtMs) => {
      this.#failure = { words, nextAtMs }
    },
  }

  of(shown: Shown, nowMs: number): readonly string[] {
    return [...selfSigned(shown), ...shown.doubts, ...endsSoon(shown, nowMs), ...this.#failed()]
  }

  #failed(): string[] {
    if (this.#failure === undefined) return []
    const { words, nextAtMs } = this.#failure
    return [`No certificate could be ordered; the next try is at ${timeText(nextAtMs)}. ${words}`]
  }
}

function selfSigned({ source, isInterim }: Shown): string[] {
  if (source !== 'self-signed') return []
  if (isInterim) return ['The certificate is self-signed until the first one has been ordered; browsers warn of it.']
  return ['The certificate is self-signed: connections are encrypted, and browsers warn of it.']
}

/** The server renews its self-signed certificate itself. An expired one is among the doubts. */
function endsSoon({ source, current: { notBeforeMs, notAfterMs } }: Shown, nowMs: number): string[] {
  const soonMs = Math.min(soonMsMax, (notAfterMs - notBeforeMs) * soonShare)
  if (source === 'self-signed' || nowMs > notAfterMs || nowMs < notAfterMs - soonMs) return []
  const remedy = source === 'files' ? ' Renew it, and put it in the place of its files.' : ''
  return [`The certificate ends at ${timeText(notAfterMs)}.${remedy}`]
}

function timeText(timeMs: number): string {
  return new Date(timeMs).toISOString().replace(/\.\d+Z$/, 'Z')
}
