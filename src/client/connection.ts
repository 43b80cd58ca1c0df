/** Requests to one server: its URL, its token, JSON in and out. Knows no call by name. */

import { isRecord, refusal, SserError } from './errors.ts'

export interface ClientOptions {
  /** Where the server is, such as `https://events.example.com`; a path in front of `/api/v1` is kept. */
  readonly url: string | URL
  /** Sent as `Authorization: Bearer`; calls that need no token work without. */
  readonly token?: string
  /** Replaces the global `fetch`. */
  readonly fetch?: typeof globalThis.fetch
}

export interface CallOptions {
  readonly signal?: AbortSignal
}

export class Connection {
  /** Of the server, without the path of its API. */
  readonly #url: string
  readonly #token: string | undefined
  readonly #fetch: typeof globalThis.fetch

  /** Throws a TypeError for an invalid URL. */
  constructor({ url, token, fetch }: ClientOptions) {
    const { origin, pathname } = new URL(url)
    this.#url = `${origin}${pathname.replace(/\/+$/, '')}`
    this.#token = token
    this.#fetch = fetch ?? globalThis.fetch.bind(globalThis)
  }

  /**
   * `body`: an object, or its JSON. Resolves with the answer's JSON, or undefined where the answer has no body. Rejects with an
   * SserError, or the signal's reason.
   */
  async call(
    method: string,
    path: string,
    body: object | string | undefined,
    { signal }: CallOptions,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<unknown> {
    const type = body === undefined ? {} : { 'content-type': 'application/json' }
    const response = await this.send(path, {
      method,
      headers: { accept: 'application/json', ...type, ...headers },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      ...(signal === undefined ? {} : { signal }),
    })
    if (!response.ok) throw await refusal(response)
    const text = await textOf(response, this.#url, signal)
    try {
      return text === '' ? undefined : JSON.parse(text)
    } catch (error) {
      throw new SserError('SSER_PROTOCOL', `The answer of ${this.#url} is not JSON: is there an sser server?`, {
        status: response.status,
        cause: error,
      })
    }
  }

  /** Resolves with any response. Rejects with an SserError where there is none, or with the signal's reason. */
  async send(path: string, request: RequestInit & { headers: Record<string, string> }): Promise<Response> {
    const authorization = this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` }
    try {
      return await this.#fetch(`${this.#url}/api/v1${path}`, {
        ...request,
        headers: { ...request.headers, ...authorization },
      })
    } catch (error) {
      if (request.signal?.aborted === true) throw request.signal.reason
      throw new SserError('SSER_UNREACHABLE', `No answer from ${this.#url}.`, { cause: error })
    }
  }
}

async function textOf(response: Response, url: string, signal: AbortSignal | undefined): Promise<string> {
  try {
    return await response.text()
  } catch (error) {
    if (signal?.aborted === true) throw signal.reason
    throw new SserError('SSER_UNREACHABLE', `The answer of ${url} broke off.`, { cause: error })
  }
}

/** The member of that name in the answer. Throws an SserError where the answer is not from this server. */
export function memberOf<Value>(body: unknown, name: string): Value {
  if (isRecord(body) && name in body) return body[name] as Value
  throw new SserError('SSER_PROTOCOL', `The answer has no ${name}: is there an sser server at this address?`)
}
