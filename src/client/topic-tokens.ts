/** Further tokens of topics, each with its own rights, label and expiry. */

import { type CallOptions, type Connection, memberOf } from './connection.ts'

export interface NewToken {
  /** `["subscribe"]` by default. */
  readonly rights?: readonly ('subscribe' | 'publish')[]
  readonly label?: string
  /** RFC 3339. */
  readonly expires_at?: string
}

export interface TokenDetails {
  readonly id: string
  readonly label: string | null
  readonly rights: readonly string[]
  readonly created_at: string
  readonly expires_at: string | null
}

export interface IssuedToken extends TokenDetails {
  /** The secret, shown only this once. */
  readonly token: string
}

export class TopicTokens {
  readonly #connection: Connection

  constructor(connection: Connection) {
    this.#connection = connection
  }

  async create(topicId: string, token: NewToken = {}, options: CallOptions = {}): Promise<IssuedToken> {
    return memberOf<IssuedToken>(await this.#connection.call('POST', tokensPath(topicId), { token }, options), 'token')
  }

  async list(topicId: string, options: CallOptions = {}): Promise<readonly TokenDetails[]> {
    const body = await this.#connection.call('GET', tokensPath(topicId), undefined, options)
    return memberOf<readonly TokenDetails[]>(body, 'tokens')
  }

  /** Ends the streams that it opened. Also resolves where there is no such token. */
  async revoke(topicId: string, tokenId: string, options: CallOptions = {}): Promise<void> {
    const path = `${tokensPath(topicId)}/${encodeURIComponent(tokenId)}`
    await this.#connection.call('DELETE', path, undefined, options)
  }
}

function tokensPath(topicId: string): string {
  return `/pubsubs/${encodeURIComponent(topicId)}/tokens`
}
