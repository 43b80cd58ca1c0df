// The server's API, as this page calls it. Failures are SserErrors, with the server's own words where it sent some.
import type { TopicDetails } from '../client/client.ts'
import { Connection } from '../client/connection.ts'
import { refusal, SserError } from '../client/errors.ts'

export interface TopicPage {
  readonly pubsubs: readonly TopicDetails[]
  readonly next: string | null
}

/** Resolves with the answer's body, or undefined where it has none. Throws an SserError, or the signal's reason. */
export async function call<Body>(
  token: string,
  method: string,
  path: string,
  body?: object,
  signal?: AbortSignal,
): Promise<Body> {
  return (await connectionWith(token).call(method, path, body, signal === undefined ? {} : { signal })) as Body
}

/** The number after which a stream of the topic would start now: no event up to it is still to come. */
export async function presentOf(token: string, topic: string, signal: AbortSignal): Promise<string> {
  const path = `${topicPath(topic)}/events`
  const response = await connectionWith(token).send(path, { method: 'HEAD', headers: {}, signal })
  if (!response.ok) {
    // HEAD's answer has no words; that of GET does.
    await call(token, 'GET', `${path}?limit=1`, undefined, signal)
    throw await refusal(response)
  }
  return response.headers.get('sser-resumed-from') ?? ''
}

function connectionWith(token: string): Connection {
  return new Connection({
    url: location.origin,
    token,
    fetch: (input, init) => fetch(input, { ...init, cache: 'no-store' }),
  })
}

export function topicPath(id: string): string {
  return `/pubsubs/${encodeURIComponent(id)}`
}

/** The error with this status; without one: the server did not answer. */
export function isRefusal(error: unknown, status: number | undefined): boolean {
  return error instanceof SserError && error.status === status
}

/** For humans: what went wrong. */
export function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
