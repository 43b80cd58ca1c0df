// The server's API, as this page calls it. A refusal is an ApiError with the server's own words.

export class ApiError extends Error {
  /** 0: there was no answer. */
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

export interface Place {
  readonly id: string
  readonly time: string
}

export interface TopicDetails {
  readonly id: string
  readonly name: string | null
  readonly persist: boolean
  readonly static: boolean
  readonly retention: {
    readonly max_age: string | null
    readonly max_bytes: number | null
    readonly max_events: number | null
  }
  readonly created_at: string
  readonly events: number
  readonly bytes: number
  readonly earliest: Place | null
  readonly latest: Place | null
  readonly subscribers: number
}

export interface TopicPage {
  readonly pubsubs: readonly TopicDetails[]
  readonly next: string | null
}

export interface StoredEvent {
  readonly id: string
  readonly publisher_id?: string
  readonly type?: string
  readonly time: string
  readonly message: unknown
}

export interface HistoryPage {
  readonly events: readonly StoredEvent[]
  readonly next: string | null
  readonly gaps?: readonly { readonly reason: string }[]
}

export interface TopicToken {
  readonly id: string
  readonly label: string | null
  readonly rights: readonly string[]
  readonly expires_at: string | null
}

/** Resolves with the answer's body, undefined where it has none. Throws an ApiError, and the reason of the signal. */
export async function call<Body>(
  token: string,
  method: string,
  path: string,
  body?: unknown,
  signal?: AbortSignal,
): Promise<Body> {
  const headers: Record<string, string> = { accept: 'application/json' }
  const init: RequestInit = { method, headers }
  if (body !== undefined) {
    headers['content-type'] = 'application/json'
    init.body = JSON.stringify(body)
  }
  const { text } = await answerOf(token, path, init, signal)
  return (text === '' ? undefined : JSON.parse(text)) as Body
}

/** The number after which a stream of the topic would begin that is asked for now: no event up to it is still to come. */
export async function presentOf(token: string, topic: string, signal: AbortSignal): Promise<string> {
  const { response } = await answerOf(token, `${topicPath(topic)}/events`, { method: 'HEAD' }, signal)
  return response.headers.get('sser-resumed-from') ?? ''
}

async function answerOf(
  token: string,
  path: string,
  { headers, ...init }: RequestInit,
  signal: AbortSignal | undefined,
): Promise<{ readonly response: Response; readonly text: string }> {
  const answer = async () => {
    const authorized = { authorization: `Bearer ${token}`, ...(headers as Record<string, string>) }
    const bounds = signal === undefined ? {} : { signal }
    const response = await fetch(`/api/v1${path}`, { ...init, ...bounds, headers: authorized, cache: 'no-store' })
    return { response, text: await response.text() }
  }
  try {
    const answered = await answer()
    if (answered.response.ok) return answered
    const { status } = answered.response
    throw new ApiError(status, messageOf(answered.text) ?? `The server answered ${status}.`)
  } catch (error) {
    if (error instanceof ApiError) throw error
    signal?.throwIfAborted()
    throw new ApiError(0, `The server does not answer (${wordsOf(error)}).`)
  }
}

function messageOf(text: string): string | undefined {
  try {
    return String(JSON.parse(text).error.message)
  } catch {
    // What stands between may answer in a form of its own.
    return undefined
  }
}

export function topicPath(id: string): string {
  return `/pubsubs/${encodeURIComponent(id)}`
}

/** For people: what went wrong. */
export function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
