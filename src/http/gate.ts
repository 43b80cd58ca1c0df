// What a presented token opens: an API token of the configuration whatever it has rights for, a topic's own and further
// tokens that topic, a ticket the streams of its topics. Tokens are compared by their SHA-256, in the same time whatever was
// presented. Clients that keep presenting wrong ones have to wait. Knows no routes.
import type { Request } from '@hapi/hapi'
import type { Ticket, Topic, TopicRight, TopicToken } from '../domain/hub.ts'
import { hashMatches, hashToken } from '../domain/token.ts'
import type { ClientAddresses } from './client-address.ts'
import { httpError } from './errors.ts'
import type { Service } from './service.ts'
import type { TokenThrottle } from './token-throttle.ts'

/** `topics`: to create, inspect, change, empty and delete them, and to issue their tokens. */
export type ApiRight = 'topics' | 'publish' | 'subscribe' | 'metrics'

export interface ApiToken {
  /** SHA-256, 32 bytes. */
  readonly sha256: Uint8Array
  readonly rights: readonly ApiRight[]
}

/** What handlers may need to know about the caller. */
export interface Credentials {
  /** SHA-256 of the token that per-token limits count this under. */
  readonly countedAs: Uint8Array
  /** The further token of the topic that opened it; undefined: the topic's own token, or an API token. */
  readonly token: TopicToken | undefined
  /** The ticket that opened it, on the authority of that token. */
  readonly ticket?: Ticket | undefined
  /** For several topics: what opened each of them. */
  readonly each?: readonly Credentials[] | undefined
}

export const anybody: Credentials = Object.freeze({ countedAs: new Uint8Array(), token: undefined })

/** The token was not checked: there had been too many wrong ones. */
export interface Refusal {
  readonly waitMs: number
}

/** Headers of a 401. */
export const challenge = { 'www-authenticate': 'Bearer' }

export class Gate {
  readonly #service: Service
  readonly #apiTokens: readonly ApiToken[]
  readonly #clients: ClientAddresses
  readonly #throttle: TokenThrottle

  constructor(service: Service, apiTokens: readonly ApiToken[], clients: ClientAddresses, throttle: TokenThrottle) {
    this.#service = service
    this.#apiTokens = apiTokens
    this.#clients = clients
    this.#throttle = throttle
  }

  /** Throws a 401, like all of these. */
  api(request: Request, presented: string, right: ApiRight): Credentials | Refusal {
    const sha256 = hashToken(presented)
    return this.#examined(request, sha256, () => (this.#isAllowed(sha256, right) ? known(sha256) : undefined))
  }

  /** `topicOf` is called only where the presented token does not open all topics. */
  topic(
    request: Request,
    presented: string,
    right: TopicRight,
    topicOf: () => Topic | undefined,
  ): Credentials | Refusal {
    const sha256 = hashToken(presented)
    return this.#examined(request, sha256, () => this.#byToken(sha256, right, topicOf))
  }

  /** As `topic`, for a stream of its events, which a ticket can also open. */
  stream(request: Request, presented: string, topicOf: () => Topic): Credentials | Refusal {
    return this.#stream(request, hashToken(presented), topicOf)
  }

  /** As `stream`, for several topics: `presented` is one token that opens all of them, or one for each, in the same order. */
  streams(request: Request, presented: readonly string[], topics: readonly Topic[]): Credentials | Refusal {
    const hashes = presented.map(hashToken)
    const each: Credentials[] = []
    for (const [i, topic] of topics.entries()) {
      const outcome = this.#stream(request, hashes[hashes.length === 1 ? 0 : i] as Uint8Array, () => topic)
      if ('waitMs' in outcome) return outcome
      each.push(outcome)
    }
    return { ...anybody, each }
  }

  #stream(request: Request, sha256: Uint8Array, topicOf: () => Topic): Credentials | Refusal {
    return this.#examined(
      request,
      sha256,
      () => this.#byToken(sha256, 'subscribe', topicOf) ?? this.#byTicket(sha256, topicOf()),
    )
  }

  #byToken(sha256: Uint8Array, right: TopicRight, topicOf: () => Topic | undefined): Credentials | undefined {
    if (this.#isAllowed(sha256, right)) return known(sha256)
    const topic = topicOf()
    const access = topic === undefined ? undefined : this.#service.hub.accessTo(topic, sha256, right)
    return access && known(sha256, access.token)
  }

  /** Depends on what its issuer's token opens now: revoking that token revokes the ticket. */
  #byTicket(sha256: Uint8Array, topic: Topic): Credentials | undefined {
    const ticket = this.#service.hub.tickets.find(sha256)
    const authority = ticket?.authorityFor(topic.id)
    const credentials = authority && this.#byToken(authority, 'subscribe', () => topic)
    if (authority === undefined || credentials === undefined) return undefined
    // A holder of one topic's token must not get around its limits with tickets. Tickets issued with an API token are meant for
    // a different client each.
    const countedAs = this.#isAllowed(authority, 'subscribe') ? sha256 : authority
    return { ...credentials, countedAs, ticket }
  }

  /** All tokens are compared, whatever the first comparison says. */
  #isAllowed(presentedSha256: Uint8Array, right: ApiRight): boolean {
    const allowing = this.#apiTokens.filter(
      ({ sha256, rights }) => hashMatches(presentedSha256, sha256) && rights.includes(right),
    )
    return allowing.length > 0
  }

  /** The outcome of `check`; undefined means a wrong token. What it throws says nothing about the token. */
  #examined(request: Request, sha256: Uint8Array, check: () => Credentials | undefined): Credentials | Refusal {
    const client = this.#clients.limitedAs(request.raw.req)
    const waitMs = client === undefined ? 0 : this.#throttle.waitMs(client, sha256)
    if (waitMs > 0) return { waitMs }
    const credentials = check()
    if (client !== undefined && credentials !== undefined) this.#throttle.right(client, sha256)
    if (credentials !== undefined) return credentials
    if (client !== undefined) this.#throttle.wrong(client, sha256)
    throw httpError(401, 'The token does not grant access to this.', undefined, challenge)
  }
}

function known(countedAs: Uint8Array, token?: TopicToken): Credentials {
  return { countedAs, token }
}

export function tooManyWrongTokens({ waitMs }: Refusal): Error {
  const seconds = Math.ceil(waitMs / 1000)
  const words = `Too many wrong tokens have come from this address. Wait ${seconds} s before you try another one.`
  return httpError(429, words, { limit: 'limits.wrongTokensMax' }, { 'retry-after': String(seconds) })
}
