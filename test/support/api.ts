/** The calls of the HTTP API that tests and benchmarks make, over connections that are kept. Knows no server but its address. */
import assert from 'node:assert/strict'
import { Agent, request } from 'node:http'
import { request as requestSecurely, Agent as SecureAgent } from 'node:https'

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly text: string
}

export interface CreatedTopic {
  readonly id: string
  readonly token: string
}

export interface PublishedEvent {
  readonly id?: string
  readonly type?: string
  readonly message: unknown
}

export class Api {
  readonly url: string
  readonly #token: string
  readonly #agent: Agent

  constructor(server: { readonly url: string; readonly apiToken: string }) {
    this.url = server.url
    this.#token = server.apiToken
    const options = { keepAlive: true, maxSockets: 256 }
    // A server of the tests makes its certificate for itself.
    this.#agent = this.#isSecure ? new SecureAgent({ ...options, rejectUnauthorized: false }) : new Agent(options)
  }

  get #isSecure(): boolean {
    return this.url.startsWith('https:')
  }

  /** Where a topic's events are published and watched. */
  eventsUrl(topicId: string, query = ''): string {
    return `${this.url}/api/v1/pubsubs/${topicId}/events${query}`
  }

  async createTopic(persist = true): Promise<CreatedTopic> {
    const { pubsub } = await this.#expect(201, 'POST', '/api/v1/pubsubs', { pubsub: { persist } })
    return pubsub as CreatedTopic
  }

  /** Resolves with the server's number of the event, when it was answered 201. */
  async publish(topicId: string, event: PublishedEvent): Promise<string> {
    const answer = await this.#expect(201, 'POST', `/api/v1/pubsubs/${topicId}/events`, { event })
    return (answer['event'] as { readonly id: string }).id
  }

  async deleteTopic(topicId: string): Promise<void> {
    const { status, text } = await this.call('DELETE', `/api/v1/pubsubs/${topicId}`)
    assert.equal(status, 204, text)
  }

  /** Any call; rejects only where there is no answer. */
  call(method: string, path: string, body?: unknown): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const text = body === undefined ? undefined : JSON.stringify(body)
      const headers: Record<string, string | number> = { authorization: `Bearer ${this.#token}` }
      if (text !== undefined) {
        headers['content-type'] = 'application/json'
        headers['content-length'] = Buffer.byteLength(text)
      }
      const options = { method, agent: this.#agent, headers }
      const outgoing = (this.#isSecure ? requestSecurely : request)(`${this.url}${path}`, options, (response) => {
        let received = ''
        response.setEncoding('utf8')
        response.on('data', (part: string) => {
          received += part
        })
        response.once('error', reject)
        response.once('end', () => {
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text: received })
        })
      })
      outgoing.once('error', reject)
      outgoing.end(text)
    })
  }

  close(): void {
    this.#agent.destroy()
  }

  async #expect(status: number, method: string, path: string, body: unknown): Promise<Record<string, unknown>> {
    const answer = await this.call(method, path, body)
    assert.equal(answer.status, status, answer.text)
    return JSON.parse(answer.text)
  }
}
