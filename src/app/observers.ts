/**
 * What the parts report about themselves, in the words of the server's log: one line per event, for the operator. Decides the
 * level of each, and nothing else. No token, message or topic content ever comes this way.
 */
import { type StorageError, type StorageObserver, silentObserver } from '../../storage-engine/index.ts'
import { type HubObserver, silentHubObserver } from '../domain/ports.ts'
import { type HttpObserver, silentHttpObserver } from '../http/errors.ts'
import type { Service } from '../http/service.ts'
import type { Logger } from '../logger.ts'
import type { TlsObserver } from '../tls/tls.ts'
import { LineBudget } from './line-budget.ts'
import { recoveryProgress } from './recovery-progress.ts'

/** For a person waiting at a terminal. */
export type OnRecovering = (bytesDone: number, bytesTotal: number) => void

type Listener = (...told: never[]) => void

/** An observer that calls the second after the first. */
export function telling<Observer extends object>(first: Observer, second: Partial<Observer>): Observer {
  const both = { ...first } as Record<string, Listener>
  for (const [name, listener] of Object.entries(second as Record<string, Listener>)) {
    const before = both[name]
    both[name] = (...told) => {
      before?.(...told)
      listener(...told)
    }
  }
  return both as Observer
}

const MINUTE_MS = 60_000
/** Lines per minute about addresses that have to wait. */
const THROTTLED_LINES_MAX = 10

export function httpObserver(logger: Logger, monotonicMs: () => number = () => performance.now()): HttpObserver {
  const throttledLines = new LineBudget(monotonicMs, THROTTLED_LINES_MAX, MINUTE_MS)
  /** By limit: there are about a dozen. */
  const limitLines = new Map<string, LineBudget>()
  const proxyLines = new LineBudget(monotonicMs, 1, MINUTE_MS)
  return {
    ...silentHttpObserver,
    throttled(address, wrongTokens) {
      const unsaid = throttledLines.spend()
      if (unsaid === undefined) return
      const others = unsaid === 0 ? {} : { addressesBefore: unsaid }
      logger.warn({ address, wrongTokens, ...others }, 'An address has to wait: it has sent too many wrong tokens.')
    },
    limitReached(limit) {
      // The line above says more.
      if (limit === 'limits.wrongTokensMax') return
      const lines = limitLines.get(limit) ?? new LineBudget(monotonicMs, 1, MINUTE_MS)
      limitLines.set(limit, lines)
      const unsaid = lines.spend()
      if (unsaid === undefined) return
      const before = unsaid === 0 ? {} : { timesBefore: unsaid }
      logger.warn({ limit, ...before }, 'A limit was reached: a client was refused, or told to come back later.')
    },
    proxyRefused(proxy, reason) {
      const unsaid = proxyLines.spend()
      if (unsaid === undefined) return
      const before = unsaid === 0 ? {} : { timesBefore: unsaid }
      logger.warn(
        { proxy, reason, ...before },
        'A trusted proxy was cut off: it did not begin with a PROXY protocol header.',
      )
    },
    requestFailed({ error, ...fields }) {
      // 503 and 507 are states, whose causes have been logged already; a 500 is a bug.
      if (fields.status === 500) logger.error({ ...fields, error }, 'A request failed inside the server.')
      else logger.debug(fields, 'A request could not be served.')
    },
  }
}

export function tlsObserver(logger: Logger): TlsObserver {
  return {
    certificateUsed(source, { names, notAfterMs, issuer, fingerprint }, isInterim) {
      const fields = { names, expires: new Date(notAfterMs).toISOString(), issuer, fingerprint }
      if (source === 'files') logger.info(fields, 'New connections get the certificate from the configured files.')
      else if (source === 'acme') logger.info(fields, 'New connections get the certificate that was ordered.')
      else if (isInterim)
        logger.warn(fields, 'The certificate is self-signed until the first order succeeds; browsers warn of it.')
      else logger.warn(fields, 'The certificate is self-signed: connections are encrypted, and browsers warn of it.')
    },
    orderBegins: (names, directory) =>
      logger.info({ names, directory }, 'A certificate is being ordered, which accepts the terms of the authority.'),
    orderFailed: (reason, nextAtMs) =>
      logger.error(
        { reason, next: new Date(nextAtMs).toISOString() },
        'No certificate could be ordered; the current one stays in use.',
      ),
    stapled: (untilMs) =>
      logger.info({ until: new Date(untilMs).toISOString() }, 'An OCSP response is stapled to the certificate.'),
    stapleFailed: (reason, nextAtMs, untilMs) =>
      logger.warn(
        {
          reason,
          next: new Date(nextAtMs).toISOString(),
          ...(untilMs !== undefined && { until: new Date(untilMs).toISOString() }),
        },
        'No new OCSP response could be obtained for the certificate, which requires one.',
      ),
    certificateDoubtful: (reason) => logger.error({ reason }, 'The certificate is doubtful.'),
    certificateRefused: (reason) =>
      logger.error({ reason }, 'A new certificate cannot be used; the previous one stays.'),
  }
}

export function hubObserver(logger: Logger): HubObserver {
  return {
    ...silentHubObserver,
    streamEnded: (topic, reason) => logger.debug({ topic, reason }, 'A stream has ended.'),
    gapTold: (topic, reason) => logger.debug({ topic, reason }, 'A subscriber was told of a gap.'),
    deliveryFailed: (topic, error) => logger.error({ topic, error }, 'A stream failed; its clients may resume.'),
    catalogDamaged: ({ after, through, reason }) =>
      logger.error({ after, through, reason }, 'Topics may be missing: the log is damaged where they were created.'),
    checkpointRefused: (reason) => logger.warn({ reason }, 'A checkpoint cannot be used; the log is read instead.'),
  }
}

export function storageObserver(
  logger: Logger,
  service: Service,
  onRecovering: OnRecovering | undefined,
): StorageObserver {
  const beganAtMs = performance.now()
  return {
    ...silentObserver,
    damaged: ({ file, position, bytes, reason }) =>
      logger.error({ file, position, bytes, reason }, 'The log is damaged; everything else in it stays readable.'),
    tailCut: (file, position, bytes) =>
      logger.info(
        { file, position, bytes },
        'What a crash left unfinished was cut off; none of it had been acknowledged.',
      ),
    indexRebuilt: (file, reason) => logger.info({ file, reason }, 'An index was rebuilt.'),
    checkpointDoubtful: (file, reason) =>
      logger.warn({ file, reason }, 'A checkpoint is skipped; the log is read instead.'),
    unknownFile: (name) =>
      logger.warn({ name }, 'The folder of the log contains a file that is not part of it; it is left alone.'),
    compacted: (run) => logger.debug({ ...run }, 'Segments were compacted.'),
    rolled: (file) => logger.debug({ file }, 'The log continues in a new file.'),
    recovering(bytesDone, bytesTotal) {
      service.progress({ ...recoveryProgress(bytesDone, bytesTotal, performance.now() - beganAtMs) })
      onRecovering?.(bytesDone, bytesTotal)
    },
    recovered: (durationMs, segments, bytes) =>
      logger.info({ durationMs: Math.round(durationMs), segments, bytes }, 'The log is recovered.'),
    full(isFull) {
      if (isFull) logger.error({}, 'The disk is full: publishers to persistent topics get 507 until there is room.')
      else logger.info({}, 'The disk has room again.')
    },
    failed(error) {
      logger.error({ error }, 'The durable log has failed: it accepts no more writes until the server is restarted.')
      service.fail(failureReason(error))
    },
  }
}

/** For /readyz, which anyone may call: the kind of failure, without paths of this machine. */
export function failureReason(error: StorageError | undefined): string {
  const cause = error?.cause
  const code = cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? ` (${cause.code})` : ''
  return `The durable log could not be synced${code} and accepts no more writes. See the server's log, fix the disk, and restart.`
}
