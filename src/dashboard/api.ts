// The server's API, as this page calls it. What goes wrong is an SserError, with the server's own words where it gave some.
import type { TopicDetails } from '../client/client.ts'
import { Connection } from '../client/connection.ts'
import { refusal, SserError } from '../client/errors.ts'

export interface TopicPage {
  readonly pubsubs: readonly TopicDetails[]
  readonly next: string | null
}

/** Resolves with the answer's body, undefined where it has none. Throws an SserError, and the reason of the signal. */
export async function call<Body>(
  token: string,
  method: string,
  path: string,
  body?: object,
  signal?: AbortSignal,
): Promise<Body> {
  return (await connectionWith(token).call(method, path, body, signal === undefined ? {} : { signal })) as Body
}

/** The number after which a stream of the topic would begin that is asked for now: no event up to it is still to come. */
export async function presentOf(token: string, topic: string, signal: AbortSignal): Promise<string> {
  const path = `${topicPath(topic)}/events`
  const response = await connectionWith(token).send(path, { method: 'HEAD', headers: {}, signal })
  if (!response.ok) {
    // Which has no words; the same by GET has.
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

/** With this status; without one: the server did not answer. */
export function isRefusal(error: unknown, status: number | undefined): boolean {
  return error instanceof SserError && error.status === status
}

/** For people: what went wrong. */
export function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
