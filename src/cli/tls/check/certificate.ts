// The existing certificate, its key, its chain, and the folder for certificates that the server obtains.
import { X509Certificate } from 'node:crypto'
import { constants } from 'node:fs'
import { access, readFile, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { rootCertificates } from 'node:tls'
import type { LiveCertificate } from '../../../control/protocol.ts'
import { certificatesIn, issuerName, TlsError } from '../../../tls/certificate.ts'
import { OcspError, subjectOf } from '../../../tls/ocsp.ts'
import { askResponder } from '../../../tls/staple.ts'
import type { TlsStatus } from '../../../tls/status.ts'
import { readTlsStatus, type TlsOptions } from '../../../tls/tls.ts'
import { systemCodeOf } from '../../host.ts'
import { doubt, type Finding, good, problem } from './finding.ts'

/** Permissions of the group and of others. */
const WIDER_MODE = 0o077

export async function checkCertificate(options: TlsOptions, live: LiveCertificate | undefined): Promise<Finding[]> {
  let found: TlsStatus
  try {
    found = live?.tls ?? (await readTlsStatus(options))
  } catch (error) {
    if (!(error instanceof TlsError)) throw error
    return [problem('certificate', error.message)]
  }
  const { certificate, order } = found
  const findings: Finding[] = []
  if (order?.failure !== undefined) findings.push(doubt('order', `The last one failed. ${order.failure.words}`))
  if (certificate === undefined) return [...findings, good('certificate', 'There is none yet; a start makes one.')]
  const { source, names, notAfterMs, doubts } = certificate
  // The server renews by itself what it obtained by itself.
  const told = source === 'files' ? problem : doubt
  findings.push(...doubts.map((words) => told('certificate', words)))
  if (doubts.length === 0) {
    const until = new Date(notAfterMs).toISOString()
    findings.push(good('certificate', `It is for ${names.join(', ')}, until ${until}, and its key fits.`))
  }
  const { certFile, keyFile } = options
  if (certFile === undefined || keyFile === undefined) return findings
  const chain = await readFile(certFile, 'utf8')
  findings.push(chainFinding(chain))
  if (certificate.mustStaple) findings.push(await staplingFinding(chain))
  if (((await stat(keyFile)).mode & WIDER_MODE) !== 0)
    findings.push(doubt('key', `Others than its owner may read ${keyFile}: chmod 600, or 640 for a group of its own.`))
  return findings
}

/** Clients follow the chain from each certificate to the next in the file, and look up the last one's issuer among those they know. */
function chainFinding(text: string): Finding {
  const chain = certificatesIn(text)
  for (const [index, above] of chain.slice(1).entries()) {
    if (chain[index]!.checkIssued(above)) continue
    return problem(
      'chain',
      `Certificate ${index + 2} of the file is not the issuer of the one before it. Put the server's first, then each behind the one that it vouches for.`,
    )
  }
  const last = chain.at(-1)!
  if (chain.length === 1 && last.checkIssued(last))
    return doubt('chain', 'The certificate is self-signed: clients have to be given it, and browsers warn.')
  if (last.checkIssued(last) || rootCertificates.some((root) => last.checkIssued(new X509Certificate(root))))
    return good('chain', `It has ${chain.length} certificates, in order.`)
  return doubt(
    'chain',
    `It ends with one of ${issuerName(last)}, which Node.js does not know. Unless that is an authority of your own, certificates are missing: give the file that has all of them, often called fullchain.pem.`,
  )
}

/** The same query that a server makes before it uses the certificate. */
async function staplingFinding(chain: string): Promise<Finding> {
  try {
    const { untilMs } = await askResponder(subjectOf(chain), new AbortController().signal)
    const until = new Date(untilMs).toISOString()
    return good('stapling', `The certificate asks for an OCSP response (must-staple); one is given until ${until}.`)
  } catch (error) {
    if (!(error instanceof OcspError)) throw error
    return problem('stapling', `The certificate asks for an OCSP response (must-staple). ${error.message}`)
  }
}

/** Whether it exists or could be created. */
export async function checkFolder(directory: string): Promise<Finding> {
  const subject = 'folder'
  for (let folder = directory; ; folder = dirname(folder)) {
    try {
      await access(folder, constants.W_OK | constants.X_OK)
      if (!(await stat(folder)).isDirectory()) return problem(subject, `${folder} is a file. Move it away.`)
      return good(subject, `Certificates can be kept in ${directory}.`)
    } catch (error) {
      const code = systemCodeOf(error)
      if (code === 'ENOENT' && folder !== dirname(folder)) continue
      return problem(
        subject,
        `Nothing can be kept in ${directory} (${code}). Give the folder to the user that runs the server, or name another one by server.ssl.cacheDir.`,
      )
    }
  }
}
