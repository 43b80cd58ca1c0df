/**
 * Issues, lists and revokes further tokens of topics. Those of durable topics are entries of the catalogue, those of
 * in-memory topics end with the process, like the topics. Promises that a secret is shown once, in the answer that makes it.
 */

import assert from 'node:assert/strict'
import { CATALOG_STREAM, encodeTokenIssued, encodeTokenRevoked, TOKEN_ISSUED, TOKEN_REVOKED } from './entry.ts'
import { DomainError, fromStorageError, limitReached } from './errors.ts'
import type { Clock, NumberSource, Offset } from './ports.ts'
import { hashToken, makeToken } from './token.ts'
import type { HostedTopic } from './topic.ts'
import { hasExpired, type TokenRequest, type TopicToken } from './topic-token.ts'

export class TokenOffice {
  readonly #numbers: NumberSource
  readonly #clock: Clock
  readonly #tokensMax: number
  readonly #revoked: (token: TopicToken) => void
  /** Being issued, by topic. */
  readonly #issuing = new Map<HostedTopic, number>()

  /** `tokensMax` per topic. `revoked` is called for in-memory topics; for others the fold of the catalogue reports it. */
  constructor(numbers: NumberSource, clock: Clock, tokensMax: number, revoked: (token: TopicToken) => void) {
    this.#numbers = numbers
    this.#clock = clock
    this.#tokensMax = tokensMax
    this.#revoked = revoked
  }

  /** Throws a DomainError: LIMIT, INVALID, STATIC_TOPIC, or the store's failure. */
  async issue(topic: HostedTopic, request: TokenRequest): Promise<{ token: TopicToken; secret: string }> {
    refuseStatic(topic)
    const createdAtMs = this.#clock.wallMs()
    if (hasExpired(request, createdAtMs)) {
      throw new DomainError('INVALID', 'The token would already have expired. Give a time in the future.', {
        path: 'token.expires_at',
      })
    }
    const issuing = this.#issuing.get(topic) ?? 0
    if (this.list(topic).length + issuing >= this.#tokensMax) {
      const words = `The topic has ${this.#tokensMax} tokens already. Revoke one, or raise the limit.`
      throw limitReached('limits.tokensPerTopicMax', words)
    }
    const secret = makeToken()
    const fields = { ...request, sha256: hashToken(secret), createdAtMs }
    this.#issuing.set(topic, issuing + 1)
    try {
      return { token: await this.#add(topic, fields), secret }
    } catch (error) {
      throw fromStorageError(error)
    } finally {
      const left = (this.#issuing.get(topic) ?? 1) - 1
      if (left === 0) this.#issuing.delete(topic)
      else this.#issuing.set(topic, left)
    }
  }

  /** The valid ones, in the order in which they were issued. Expired ones are forgotten. */
  list(topic: HostedTopic): readonly TopicToken[] {
    const nowMs = this.#clock.wallMs()
    for (const token of topic.tokens) if (hasExpired(token, nowMs)) topic.forgetToken(token.number)
    return [...topic.tokens]
  }

  /** Resolves when no crash can bring it back. False: there is none with that number. Throws the store's failure. */
  async revoke(topic: HostedTopic, number: Offset): Promise<boolean> {
    const token = topic.furtherTokens?.get(number)
    if (token === undefined) return false
    if (!topic.persist) {
      topic.forgetToken(number)
      this.#revoked(token)
      return true
    }
    try {
      const payload = encodeTokenRevoked({ topic: topic.streamId, token: number })
      await topic.feed.log.append({ streamId: CATALOG_STREAM, kind: TOKEN_REVOKED, payload }, { urgent: true })
      return true
    } catch (error) {
      throw fromStorageError(error)
    }
  }

  async #add(topic: HostedTopic, fields: Omit<TopicToken, 'number'>): Promise<TopicToken> {
    if (!topic.persist) {
      const token = { ...fields, number: this.#numbers.take() }
      topic.addToken(token)
      return token
    }
    const payload = encodeTokenIssued({ topic: topic.streamId, token: fields })
    const number = await topic.feed.log.append({ streamId: CATALOG_STREAM, kind: TOKEN_ISSUED, payload })
    // The commit has been folded by now, unless the topic was deleted before it.
    const token = topic.furtherTokens?.get(number)
    if (token === undefined) throw new DomainError('TOPIC_UNKNOWN', 'There is no such topic, or no longer.')
    assert(token.number === number)
    return token
  }
}

function refuseStatic(topic: HostedTopic): void {
  if (!topic.isStatic) return
  throw new DomainError('STATIC_TOPIC', 'This topic is defined in the configuration, and so is its token.')
}
