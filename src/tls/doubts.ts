/**
 * Why clients will refuse an otherwise usable certificate: in words for the operator, with what to do. Decides nothing.
 */
import { type Certificate, coversName } from './certificate.ts'

/** `names`: what it should be valid for. */
export function doubtsOf(certificate: Certificate, names: readonly string[], nowMs: number): string[] {
  const { notBeforeMs, notAfterMs } = certificate
  const doubts: string[] = []
  if (nowMs > notAfterMs)
    doubts.push(`The certificate has expired at ${timeText(notAfterMs)}; browsers refuse it. Renew it.`)
  if (nowMs < notBeforeMs) {
    doubts.push(`The certificate is valid from ${timeText(notBeforeMs)} on only; see whether the clock is right.`)
  }
  const missing = names.filter((name) => !coversName(certificate, name))
  if (missing.length > 0) {
    doubts.push(
      `The certificate is not for ${missing.join(', ')}; browsers that ask for that refuse it. Give one that names it, or correct server.ssl.domainName.`,
    )
  }
  return doubts
}

function timeText(timeMs: number): string {
  return new Date(timeMs).toISOString()
}
