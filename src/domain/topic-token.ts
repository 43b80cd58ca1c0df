/**
 * Further tokens of a topic, beside the one that was given when it was made: each with rights of its own, perhaps a label
 * and an end. Of the secret only its SHA-256 is kept. A token is known by the number of the entry that issued it.
 */

import type { Offset } from './ports.ts'
import { hashMatches } from './token.ts'
import type { Topic } from './topic.ts'

export type TopicRight = 'subscribe' | 'publish'
export const TOPIC_RIGHTS: readonly TopicRight[] = ['subscribe', 'publish']

/** What is asked for when one is issued. */
export interface TokenRequest {
  /** At least one, none twice. */
  readonly rights: readonly TopicRight[]
  /** For people. */
  readonly label: string | undefined
  /** ms since the epoch; undefined: it does not end by itself. */
  readonly expiresAtMs: number | undefined
}

export interface TopicToken extends TokenRequest {
  readonly number: Offset
  /** 32 bytes. */
  readonly sha256: Uint8Array
  /** ms since the epoch: a remark, never an order. */
  readonly createdAtMs: number
}

/** By which token a topic was opened: its own, or a further one. */
export type TopicAccess = { readonly token: TopicToken | undefined }

const ownAccess: TopicAccess = { token: undefined }

/**
 * By the SHA-256 of what was presented. Undefined: it does not open this topic for that. Takes the same time whichever
 * token it is, and whether it is one.
 */
export function accessTo(topic: Topic, sha256: Uint8Array, right: TopicRight, nowMs: number): TopicAccess | undefined {
  let access: TopicAccess | undefined
  for (const token of topic.tokens) {
    const isMeant = hashMatches(sha256, token.sha256)
    if (isMeant && token.rights.includes(right) && !hasExpired(token, nowMs)) access = { token }
  }
  const isOwn = hashMatches(sha256, topic.tokenSha256)
  return isOwn && right === 'subscribe' ? ownAccess : access
}

export function hasExpired({ expiresAtMs }: TokenRequest, nowMs: number): boolean {
  return expiresAtMs !== undefined && expiresAtMs <= nowMs
}
