// Whether a name leads to this machine, as far as that can be seen from here, and whether its owner allows the authority to issue
// certificates for it (CAA, RFC 8659).
import type { CaaRecord } from 'node:dns'
import type { Resolver } from 'node:dns/promises'
import { networkInterfaces } from 'node:os'
import { systemCodeOf } from '../../host.ts'
import type { CheckedAuthority } from './authority.ts'
import type { World } from './check.ts'
import { doubt, type Finding, good, problem } from './finding.ts'
import { asked, type Probe } from './ports.ts'

const NOTHING_THERE = ['ENODATA', 'ENOTFOUND']

export async function checkName(
  name: string,
  { resolver, proofPort }: World,
  probe: Probe,
  { caaIdentities }: CheckedAuthority,
): Promise<Finding[]> {
  const [four, six] = await Promise.all([answersOf(resolver.resolve4(name)), answersOf(resolver.resolve6(name))])
  const failure = four.failure ?? six.failure
  const addresses = [...four.answers, ...six.answers]
  if (failure !== undefined)
    return [
      problem(
        name,
        `It cannot be resolved (${failure}). See whether its name servers answer, and those of this machine.`,
      ),
    ]
  if (addresses.length === 0)
    return [problem(name, 'It has neither an A nor an AAAA record. Give it one with the address of this machine.')]
  const findings = await Promise.all(
    addresses.map(async (address) => addressFinding(name, address, await asked(address, proofPort, name, probe))),
  )
  const refusal = await caaRefusal(name, resolver, caaIdentities)
  return refusal === undefined ? findings : [...findings, refusal]
}

function addressFinding(name: string, address: string, outcome: string): Finding {
  const subject = `${name}, ${address}`
  if (outcome === 'answered') return good(subject, 'It leads here, and a proof is found there.')
  if (outcome === 'other')
    return problem(
      subject,
      'Something else answers there on port 80. See where the record points, what stands in front of this server, and whether port 80 leads to the port of server.addr (PORT).',
    )
  if (isOwn(address))
    return problem(
      subject,
      `It is an address of this machine, and nobody answers there on port 80 (${outcome}). Let port 80 lead to the port of server.addr (PORT), and through the firewall.`,
    )
  return doubt(
    subject,
    `Nobody answers there on port 80 when asked from here (${outcome}). Either the record or a firewall is wrong, or a router does not lead this machine to itself: see from another network whether curl -I http://${name}/ reaches it.`,
  )
}

function isOwn(address: string): boolean {
  return Object.values(networkInterfaces()).some((list) => list?.some((own) => own.address === address))
}

interface Answers<Answer> {
  readonly answers: readonly Answer[]
  /** The system's error code, where it is unknown whether there are any. */
  readonly failure: string | undefined
}

async function answersOf<Answer>(asking: Promise<readonly Answer[]>): Promise<Answers<Answer>> {
  try {
    return { answers: await asking, failure: undefined }
  } catch (error) {
    const code = systemCodeOf(error)
    if (code === undefined) throw error
    return { answers: [], failure: NOTHING_THERE.includes(code) ? undefined : code }
  }
}

/** Determined by the closest name, going upwards, that has records. */
async function caaRefusal(
  name: string,
  resolver: Resolver,
  identities: readonly string[],
): Promise<Finding | undefined> {
  if (identities.length === 0) return undefined
  for (let labels = name.split('.'); labels.length > 0; labels = labels.slice(1)) {
    const at = labels.join('.')
    const { answers, failure } = await answersOf<CaaRecord>(resolver.resolveCaa(at))
    if (failure !== undefined)
      return doubt(
        name,
        `Its CAA records cannot be asked for (${failure}); an authority that cannot either refuses it.`,
      )
    if (answers.length === 0) continue
    const issuers = answers.flatMap(({ issue }) => (issue === undefined ? [] : [issue.split(';')[0]!.trim()]))
    if (issuers.length === 0 || issuers.some((issuer) => identities.includes(issuer))) return undefined
    return problem(
      name,
      `A CAA record of ${at} does not allow this authority. Add ${identities.join(' or ')} there, or take another authority.`,
    )
  }
  return undefined
}
