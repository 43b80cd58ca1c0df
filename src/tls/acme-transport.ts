/**
 * How acme-client reaches a certificate authority: with Node's own HTTPS, one attempt per request, bounded in time and bytes. Its
 * own transport retries by itself for minutes or hours, and loses the reason; when to retry is decided elsewhere, by the reason.
 * The authority's last refusal is kept for whoever puts it into words. Knows nothing of orders.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import type { Agent } from 'node:https'
import { axios } from 'acme-client'
import { exchange, retryAfterMsOf, withAgent } from './exchange.ts'

/** A problem document, RFC 8555, section 6.7. */
export interface Problem {
  /** The last part of its URN, such as `rateLimited`. */
  readonly kind: string
  readonly detail: string
}

/** The state between `begin` and `end` of one order. */
export interface Talk {
  readonly signal: AbortSignal
  /** From the previous answer: how long the authority asks to wait. */
  retryAfterMs: number | undefined
  /** The authority's last refusal. */
  problem: Problem | undefined
}

interface Line extends Talk {
  readonly agent: Agent
}

/** The exchange in progress: acme-client shares one transport among all its clients. */
const lines = new AsyncLocalStorage<Line>()

type Adapter = Extract<NonNullable<typeof axios.defaults.adapter>, (...asked: never[]) => unknown>
type Asked = Parameters<Adapter>[0]

axios.defaults.adapter = (asked: Asked) => {
  const line = lines.getStore()
  if (line === undefined) throw new Error('acme-client is used outside of an order')
  return ask(asked, line)
}

/** `trusted`: CA certificates in PEM, instead of those that Node knows. */
export async function talking<Result>(
  trusted: string | undefined,
  signal: AbortSignal,
  talk: (line: Talk) => Promise<Result>,
): Promise<Result> {
  return await withAgent(trusted, (agent) => {
    const line: Line = { signal, agent, retryAfterMs: undefined, problem: undefined }
    return lines.run(line, () => talk(line))
  })
}

async function ask(asked: Asked, line: Line): ReturnType<Adapter> {
  const { url = '', method = 'get', data } = asked
  line.problem = undefined
  line.retryAfterMs = undefined
  const pairs = Object.entries(asked.headers.toJSON()).map(([name, value]) => [name, String(value)])
  const asking = {
    url,
    method: method.toUpperCase(),
    headers: Object.fromEntries(pairs),
    ...(typeof data === 'string' && { body: data }),
  }
  const answered = await exchange(asking, line.agent, line.signal)
  const { status, headers } = answered
  const text = answered.body.toString()
  line.retryAfterMs = retryAfterMsOf(answered)
  if (status >= 400) line.problem = problemOf(text, status)
  return { data: text, status, statusText: '', headers, config: asked, request: null }
}

function problemOf(text: string, status: number): Problem {
  try {
    return readProblem(JSON.parse(text))
  } catch {
    // The answer is not from the authority itself, but from something in front of it.
    return { kind: 'unknown', detail: `status ${status}` }
  }
}

/** As far as it is one. */
export function readProblem(value: unknown): Problem {
  const { type, detail } = (value ?? {}) as { readonly type?: unknown; readonly detail?: unknown }
  return {
    kind: typeof type === 'string' ? (type.split(':').at(-1) ?? '') : 'unknown',
    detail: typeof detail === 'string' ? detail.replace(/\s+/g, ' ').slice(0, 500) : 'without a reason',
  }
}
