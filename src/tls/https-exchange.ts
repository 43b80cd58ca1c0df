/**
 * One request and one answer over HTTPS, in bounded time and bytes. Tries nothing again, follows nothing, and understands
 * nothing of what is said.
 */
import { Agent, request } from 'node:https'

export interface Asking {
  readonly url: string
  readonly method: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

export interface Answered {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly text: string
}

const timeoutMs = 30_000
const answerBytesMax = 1024 * 1024

export function exchange(
  { url, method, headers = {}, body }: Asking,
  agent: Agent,
  signal: AbortSignal,
): Promise<Answered> {
  return new Promise((resolve, reject) => {
    const ending = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
    const asking = request(url, { method, headers, agent, signal: ending })
    asking.once('error', reject)
    asking.once('response', (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (part: string) => {
        text += part
        if (text.length > answerBytesMax) asking.destroy(new Error(`an answer of more than ${answerBytesMax} bytes`))
      })
      response.once('error', reject)
      response.once('end', () => {
        const pairs = Object.entries(response.headers).map(([name, value]) => [name, String(value)])
        resolve({ status: response.statusCode ?? 0, headers: Object.fromEntries(pairs), text })
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

/** An agent for the length of some work. `trusted`: certificates in PEM, in the place of those that Node trusts. */
export async function withAgent<Result>(
  trusted: string | undefined,
  work: (agent: Agent) => Promise<Result>,
): Promise<Result> {
  const agent = new Agent({ keepAlive: true, ...(trusted !== undefined && { ca: trusted }) })
  return await work(agent).finally(() => agent.destroy())
}
