// `sser tls check`: whether a server with this configuration would get a certificate that its clients accept, and the ports that
// it needs. Promises to leave everything unchanged.
import { Resolver } from 'node:dns/promises'
import { tlsOptions } from '../../../app/tls.ts'
import type { Config } from '../../../config/config.ts'
import { namesToOrder } from '../../../config/schema.ts'
import type { ConfigOptions } from '../../config/commands.ts'
import { loadNamed } from '../../config/load.ts'
import { type CliHost, exitFailed, exitWhole, print } from '../../host.ts'
import { failedWith } from '../failure.ts'
import { liveCertificate } from '../live.ts'
import { checkAuthority } from './authority.ts'
import { checkCertificate, checkFolder } from './certificate.ts'
import { doubt, type Finding, good, problem } from './finding.ts'
import { checkName } from './name.ts'
import { checkPlainPort, checkSecurePort } from './ports.ts'

/** The world outside of this machine; tests have their own. */
export interface World {
  readonly resolver: Resolver
  /** The port on which authorities look for proofs. */
  readonly proofPort: number
}

const DNS_TIMEOUT_MS = 5000

/** Resolves with the exit code. */
export async function check(options: ConfigOptions, host: CliHost, world = realWorld()): Promise<number> {
  try {
    const { config } = loadNamed(options, host)
    const findings = await findingsOf(config, world)
    const isReady = !findings.some(({ level }) => level === 'problem')
    const json = `${JSON.stringify({ is_ready: isReady, findings })}\n`
    await print(host, options.json === true ? json : findings.map(lineOf).join(''))
    return isReady ? exitWhole : exitFailed
  } catch (error) {
    return failedWith(error, host)
  }
}

function realWorld(): World {
  return { resolver: new Resolver({ timeout: DNS_TIMEOUT_MS, tries: 2 }), proofPort: 80 }
}

async function findingsOf({ server, storage }: Config, world: World): Promise<Finding[]> {
  const { ssl } = server
  const options = await tlsOptions(ssl)
  const live = await liveCertificate(storage.directory)
  const findings = [switchFinding(ssl), namesFinding(ssl)]
  findings.push(...(await checkCertificate(options, live)))
  if (ssl.certFile === undefined) findings.push(await checkFolder(ssl.cacheDir))
  findings.push(await checkSecurePort(server.sslAddr, live))
  const plain = await checkPlainPort(server.addr, ssl.cacheDir)
  try {
    findings.push(plain.finding)
    if (options.acme === undefined) return findings
    const authority = await checkAuthority(options.acme.authority)
    findings.push(...authority.findings)
    for (const name of options.domainNames) findings.push(...(await checkName(name, world, plain.probe, authority)))
    return findings
  } finally {
    await plain.close()
  }
}

function switchFinding({ enabled }: Config['server']['ssl']): Finding {
  if (enabled) return good('HTTPS', 'It is on.')
  return problem(
    'HTTPS',
    'It is off: set server.ssl.enabled (SSER_SSL_ENABLED=true). What follows is as if it were on.',
  )
}

function namesFinding(ssl: Config['server']['ssl']): Finding {
  const { domainName = [], certFile, acme } = ssl
  const ordered = namesToOrder(ssl)
  if (certFile !== undefined) return good('source', `The certificate is that of ${certFile}.`)
  if (ordered.length === 0)
    return good('source', 'The server makes a certificate for itself, of which browsers warn; nothing is ordered.')
  const left = domainName.filter((name) => !ordered.includes(name))
  const words = `A certificate for ${ordered.join(', ')} is ordered from ${acme.directoryUrl}.`
  if (left.length === 0) return good('source', words)
  return doubt('source', `${words} No authority vouches for ${left.join(', ')}: that is left out.`)
}

const MARKS = { good: 'good', doubt: 'doubt', problem: 'PROBLEM' } as const

function lineOf({ level, subject, words }: Finding): string {
  return `${MARKS[level].padEnd(7)}  ${subject}: ${words}\n`
}
