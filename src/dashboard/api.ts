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
  const headers: Record<string, string> = { authorization: `Bearer ${token}`, accept: 'application/json' }
  const init: RequestInit = { method, headers, cache: 'no-store' }
  if (body !== undefined) {
    headers['content-type'] = 'application/json'
    init.body = JSON.stringify(body)
  }
  if (signal !== undefined) init.signal = signal
  let response: Response
  let text: string
  try {
    response = await fetch(`/api/v1${path}`, init)
    text = await response.text()
  } catch (error) {
    signal?.throwIfAborted()
    throw new ApiError(0, `The server does not answer (${error instanceof Error ? error.message : error}).`)
  }
  if (response.ok) return (text === '' ? undefined : JSON.parse(text)) as Body
  throw new ApiError(response.status, messageOf(text) ?? `The server answered ${response.status}.`)
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
