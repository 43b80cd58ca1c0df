// Whether the authority can be reached, and what its directory says about it (RFC 8555, section 7.1.1).
import type { Authority } from '../../../tls/acme-order.ts'
import { connectionWords } from '../../../tls/acme-words.ts'
import { exchange, withAgent } from '../../../tls/exchange.ts'
import { doubt, type Finding, good, problem } from './finding.ts'

export interface CheckedAuthority {
  readonly findings: readonly Finding[]
  /** Its name in CAA records; empty where it does not say. */
  readonly caaIdentities: readonly string[]
}

interface Directory {
  readonly newOrder?: unknown
  readonly meta?: {
    readonly externalAccountRequired?: unknown
    readonly caaIdentities?: unknown
    readonly termsOfService?: unknown
  }
}

/** Short-lived certificates tolerate this much; the signatures of requests do not depend on time. */
const CLOCK_OFF_MS_MAX = 5 * 60_000

export async function checkAuthority({ directoryUrl, trusted, externalAccount }: Authority): Promise<CheckedAuthority> {
  const none = (finding: Finding) => ({ findings: [finding], caaIdentities: [] })
  try {
    const { status, headers, body } = await withAgent(trusted, (agent) =>
      exchange({ url: directoryUrl, method: 'GET' }, agent, new AbortController().signal),
    )
    const directory = directoryIn(body.toString())
    if (status !== 200 || typeof directory?.newOrder !== 'string')
      return none(
        problem(
          'authority',
          `${directoryUrl} is not the directory of an authority (status ${status}). Correct server.ssl.acme.directoryUrl.`,
        ),
      )
    const { externalAccountRequired, caaIdentities, termsOfService } = directory.meta ?? {}
    const terms = typeof termsOfService === 'string' ? ` Ordering agrees to its terms: ${termsOfService}` : ''
    const findings = [good('authority', `It answers.${terms}`)]
    if (externalAccountRequired === true && externalAccount === undefined) {
      const words = 'It wants an account that was made with it before. Give its key by server.ssl.acme.externalAccount.'
      findings.push(problem('authority', words))
    }
    const clock = clockDoubt(headers['date'])
    if (clock !== undefined) findings.push(clock)
    const identities = Array.isArray(caaIdentities) ? caaIdentities.map(String) : []
    return { findings, caaIdentities: identities }
  } catch (error) {
    return none(problem('authority', connectionWords(error, directoryUrl)))
  }
}

function clockDoubt(date: string | undefined): Finding | undefined {
  const offMs = Date.now() - Date.parse(date ?? '')
  if (!(Math.abs(offMs) > CLOCK_OFF_MS_MAX)) return undefined
  const minutes = Math.round(Math.abs(offMs) / 60_000)
  return doubt(
    'clock',
    `It is ${minutes} minutes ${offMs > 0 ? 'ahead of' : 'behind'} that of the authority. Set it, best by NTP.`,
  )
}

function directoryIn(text: string): Directory | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}
