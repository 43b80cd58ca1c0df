// `sser tls self-signed`: a pair of files with which a server can be started. Promises that only this user can read the key, and
// that nothing is overwritten unless requested.
import { access, chmod } from 'node:fs/promises'
import { resolve } from 'node:path'
import { parseHosts } from '../../config/values.ts'
import { makeSelfSigned, readPair } from '../../tls/certificate.ts'
import { writePrivateFile } from '../../tls/private-file.ts'
import { type CliHost, CommandFailure, exitCannotCreate, exitWhole, print, systemCodeOf, UsageError } from '../host.ts'
import { wholeNumber } from '../whole-number.ts'
import type { SelfSignedOptions } from './commands.ts'
import { failedWith } from './failure.ts'

/** A longer-lived one would outlive its maker. */
const DAYS_MAX = 3650
const PUBLIC_MODE = 0o644

/** Resolves with the exit code. */
export async function selfSigned(names: readonly string[], options: SelfSignedOptions, host: CliHost): Promise<number> {
  const days = wholeNumber('--days', options.days)
  if (days > DAYS_MAX) throw new UsageError(`--days takes ${DAYS_MAX} at most.`)
  const hosts = [...new Set(names.map(hostOf))]
  const [certFile, keyFile] = [resolve(host.cwd, options.cert), resolve(host.cwd, options.key)]
  if (certFile === keyFile) throw new UsageError('The certificate and its key need a file each.')
  try {
    if (options.force !== true) for (const path of [certFile, keyFile]) await refuseOver(path)
    const pair = await makeSelfSigned(hosts, Date.now(), undefined, days)
    await writePrivateFile(keyFile, pair.key)
    await writePrivateFile(certFile, pair.certificate)
    await chmod(certFile, PUBLIC_MODE)
    const { notAfterMs, fingerprint } = readPair(pair, certFile)
    const expires = new Date(notAfterMs).toISOString()
    const json = { cert_file: certFile, key_file: keyFile, names: hosts, expires_at: expires, fingerprint }
    const words =
      `The certificate is in ${certFile}, its key in ${keyFile}.\n` +
      `It is for ${hosts.join(', ')}, until ${expires}; its fingerprint (SHA-256) is\n${fingerprint}\n`
    await print(host, options.json === true ? `${JSON.stringify(json)}\n` : words)
    return exitWhole
  } catch (error) {
    return failedWith(error, host)
  }
}

/** As names are written in certificates. */
function hostOf(name: string): string {
  const [host, ...others] = parseHosts(name) ?? []
  if (host !== undefined && others.length === 0) return host
  throw new UsageError(`${JSON.stringify(name)} is neither the name of a host nor an address.`)
}

async function refuseOver(path: string): Promise<void> {
  try {
    await access(path)
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return
    throw error
  }
  throw new CommandFailure(
    exitCannotCreate,
    `${path} is there already. Name another file by --cert and --key, or write over it by --force.`,
  )
}
