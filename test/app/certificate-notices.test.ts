import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CertificateNotices } from '../../src/app/certificate-notices.ts'
import type { Certificate } from '../../src/tls/tls.ts'

const dayMs = 24 * 3_600_000
const beganMs = Date.UTC(2026, 0, 1)

type Shown = Parameters<CertificateNotices['of']>[0]

function shown(source: Shown['source'], days: number, more: Partial<Shown> = {}): Shown {
  const current = { notBeforeMs: beganMs, notAfterMs: beganMs + days * dayMs } as Certificate
  return { source, isInterim: false, current, doubts: [], ...more }
}

const after = (days: number) => beganMs + days * dayMs

test('a certificate that is well is not worth a word', () => {
  const notices = new CertificateNotices()
  assert.deepEqual(notices.of(shown('acme', 90), after(60)), [])
  assert.deepEqual(notices.of(shown('files', 365), after(300)), [])
})

test('a self-signed one is told, and whether it is there for a while only', () => {
  const notices = new CertificateNotices()
  assert.match(notices.of(shown('self-signed', 398), after(397)).join('\n'), /^The certificate is self-signed: .*$/)
  assert.match(notices.of(shown('self-signed', 398, { isInterim: true }), after(1)).join('\n'), /self-signed until/)
})

test('one that ends soon is told with its time, by its own life; one that has ended by its doubts', () => {
  const notices = new CertificateNotices()
  const words = 'The certificate ends at 2026-04-01T00:00:00Z.'
  assert.deepEqual(notices.of(shown('acme', 90), after(75)), [])
  assert.deepEqual(notices.of(shown('acme', 90), after(77)), [words])
  assert.match(notices.of(shown('files', 90), after(77)).join('\n'), /^The certificate ends .* Renew it/)
  assert.deepEqual(notices.of(shown('acme', 6), after(4.5)), [])
  assert.equal(notices.of(shown('acme', 6), after(5)).length, 1)
  assert.deepEqual(notices.of(shown('acme', 90, { doubts: ['It has ended.'] }), after(91)), ['It has ended.'])
})

test('an order that failed is told with its reason and the next try, until another certificate is shown', () => {
  const notices = new CertificateNotices()
  const certificate = shown('acme', 90)
  notices.observer.orderFailed?.('The name could not be resolved.', after(61))
  assert.deepEqual(notices.of(certificate, after(60)), [
    'No certificate could be ordered; the next try is at 2026-03-03T00:00:00Z. The name could not be resolved.',
  ])
  notices.observer.certificateUsed?.('acme', certificate.current, false)
  assert.deepEqual(notices.of(certificate, after(60)), [])
})
