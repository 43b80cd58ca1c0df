/**
 * One request and one response over HTTP or HTTPS, bounded in time and bytes. Retries nothing, follows no redirects, and
 * interprets nothing of the content.
 */
import { request as requestHttp } from 'node:http'
import { Agent, request as requestHttps } from 'node:https'

export interface Asking {
  readonly url: string
  readonly method: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Buffer
}

export interface Answered {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
}

const timeoutMs = 30_000
const answerBytesMax = 1024 * 1024

/** `agent`: for HTTPS only. Rejects with the system's error, with one of the name TimeoutError, or with the signal's reason. */
export function exchange(
  { url, method, headers = {}, body }: Asking,
  agent: Agent | undefined,
  signal: AbortSignal,
): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const ending = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
    const request = new URL(url).protocol === 'http:' ? requestHttp : requestHttps
    const asking = request(url, { method, headers, agent, signal: ending })
    asking.once('error', reject)
    asking.once('response', (response) => {
      const parts: Buffer[] = []
      let bytes = 0
      response.on('data', (part: Buffer) => {
        parts.push(part)
        bytes += part.length
        if (bytes > answerBytesMax) asking.destroy(new Error(`an answer of more than ${answerBytesMax} bytes`))
      })
      response.once('error', reject)
      response.once('end', () => {
        const pairs = Object.entries(response.headers).map(([name, value]) => [name, String(value)])
        resolve({ status: response.statusCode ?? 0, headers: Object.fromEntries(pairs), body: Buffer.concat(parts) })
      })
    })
    asking.end(body)
  })
}

/** In seconds, or as a date. */
export function retryAfterMsOf({ headers }: Answered): number | undefined {
  const header = headers['retry-after']
  if (header === undefined) return undefined
  const waitMs = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now()
  return Number.isNaN(waitMs) ? undefined : Math.max(0, waitMs)
}

/** An agent for the duration of some work. `trusted`: CA certificates in PEM, instead of those that Node trusts. */
export async function withAgent<Result>(
  trusted: string | undefined,
  work: (agent: Agent) => Promise<Result>,
): Promise<Result> {
  const agent = new Agent({ keepAlive: true, ...(trusted !== undefined && { ca: trusted }) })
  return await work(agent).finally(() => agent.destroy())
}
