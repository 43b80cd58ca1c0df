// `sser tls status`: the certificate and the state of its renewal, of the running server, or as a start would find them.
import { tlsOptions } from '../../app/tls.ts'
import type { CertificateStatus, OrderStatus, TlsStatus } from '../../tls/status.ts'
import { readTlsStatus } from '../../tls/tls.ts'
import type { ConfigOptions } from '../config/commands.ts'
import { loadNamed } from '../config/load.ts'
import { type CliHost, exitFailed, exitWhole, print } from '../host.ts'
import { failedWith } from './failure.ts'
import { liveCertificate } from './live.ts'

/** Resolves with the exit code. */
export async function status(options: ConfigOptions, host: CliHost): Promise<number> {
  try {
    const { config } = loadNamed(options, host)
    const live = await liveCertificate(config.storage.directory)
    const { ssl } = config.server
    const found =
      live?.tls ?? (live === undefined && ssl.enabled ? await readTlsStatus(await tlsOptions(ssl)) : undefined)
    const text = options.json === true ? `${JSON.stringify(jsonOf(live?.pid, found))}\n` : wordsOf(live?.pid, found)
    await print(host, text)
    return found === undefined || isWell(found) ? exitWhole : exitFailed
  } catch (error) {
    return failedWith(error, host)
  }
}

function isWell({ certificate, order }: TlsStatus): boolean {
  return (certificate?.doubts.length ?? 0) === 0 && order?.failure === undefined
}

function jsonOf(pid: number | undefined, found: TlsStatus | undefined): object {
  const { certificate, order } = found ?? {}
  return {
    enabled: found !== undefined,
    server_pid: pid ?? null,
    certificate: certificate === undefined ? null : certificateJson(certificate),
    order: order === undefined ? null : orderJson(order),
  }
}

function certificateJson(certificate: CertificateStatus): object {
  const { source, isInterim, files, names, issuer, notBeforeMs, notAfterMs, fingerprint, doubts } = certificate
  const { mustStaple, stapledUntilMs } = certificate
  return {
    source,
    interim: isInterim,
    files,
    names,
    issuer,
    valid_from: timeText(notBeforeMs),
    expires_at: timeText(notAfterMs),
    fingerprint,
    must_staple: mustStaple,
    stapled_until: stapledUntilMs === undefined ? null : timeText(stapledUntilMs),
    doubts,
  }
}

function orderJson({ directoryUrl, names, dueAtMs, nextAtMs, failure }: OrderStatus): object {
  return {
    directory: directoryUrl,
    names,
    due_at: dueAtMs === 0 ? null : timeText(dueAtMs),
    next_at: nextAtMs === 0 ? null : timeText(nextAtMs),
    failure: failure === undefined ? null : { at: timeText(failure.atMs), count: failure.count, reason: failure.words },
  }
}

function wordsOf(pid: number | undefined, found: TlsStatus | undefined): string {
  const who = pid === undefined ? 'No server runs in the data folder.' : `A server runs (process ${pid}).`
  if (found === undefined) return `${who} HTTPS is off (server.ssl.enabled).\n`
  const { certificate, order } = found
  const shown = pid === undefined ? 'A start would show this certificate:' : 'It shows this certificate:'
  const none = `There is no certificate yet; a start makes one.`
  const lines = [
    `${who} ${certificate === undefined ? none : shown}`,
    ...(certificate === undefined ? [] : certificateLines(certificate)),
    ...(order === undefined ? [] : orderLines(order)),
  ]
  return lines.map((line) => `${line}\n`).join('')
}

const SOURCE_WORDS = { files: 'given in files', acme: 'ordered', 'self-signed': 'self-signed' } as const

function certificateLines(certificate: CertificateStatus): string[] {
  const { source, isInterim, files, names, issuer, notBeforeMs, notAfterMs, fingerprint, doubts } = certificate
  return [
    line('source', `${SOURCE_WORDS[source]}${isInterim ? ', until the first order is through' : ''}`),
    line('files', files.join(', ')),
    line('names', names.join(', ')),
    line('issuer', issuer),
    line('valid', `${timeText(notBeforeMs)} to ${timeText(notAfterMs)} (${leftText(notAfterMs)})`),
    line('sha-256', fingerprint),
    ...staplingLines(certificate),
    ...doubts.map((words) => line('doubt', words)),
  ]
}

function staplingLines({ mustStaple, stapledUntilMs }: CertificateStatus): string[] {
  if (!mustStaple) return []
  const held = stapledUntilMs === undefined ? 'none is stapled' : `one is stapled until ${timeText(stapledUntilMs)}`
  return [line('ocsp', `the certificate asks for a response (must-staple); ${held}`)]
}

function orderLines({ directoryUrl, dueAtMs, nextAtMs, failure }: OrderStatus): string[] {
  return [
    line('authority', directoryUrl),
    line('renewal', dueAtMs <= Date.now() ? 'is due' : `due at ${timeText(dueAtMs)}`),
    ...(failure === undefined
      ? []
      : [
          line('failed', `at ${timeText(failure.atMs)}, ${failure.count} times in a row: ${failure.words}`),
          line('next try', nextAtMs <= Date.now() ? 'at once' : timeText(nextAtMs)),
        ]),
  ]
}

function line(name: string, text: string): string {
  return `${name.padEnd(10)} ${text}`
}

const DAY_MS = 24 * 3_600_000

function leftText(notAfterMs: number): string {
  const leftMs = notAfterMs - Date.now()
  if (leftMs < 0) return 'expired'
  return leftMs < 2 * DAY_MS
    ? `${Math.floor(leftMs / 3_600_000)} hours left`
    : `${Math.floor(leftMs / DAY_MS)} days left`
}

export function timeText(timeMs: number): string {
  return new Date(timeMs).toISOString()
}
