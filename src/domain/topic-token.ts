/**
 * Further tokens of a topic, in addition to the one issued when it was created: each with its own rights, and optionally a
 * label and an expiry. Only the SHA-256 of the secret is kept. A token is identified by the number of the entry that issued
 * it.
 */

import type { Offset } from './ports.ts'
import { hashMatches } from './token.ts'
import type { Topic } from './topic.ts'

export type TopicRight = 'subscribe' | 'publish'
export const TOPIC_RIGHTS: readonly TopicRight[] = ['subscribe', 'publish']

/** What is requested when one is issued. */
export interface TokenRequest {
  /** At least one, no duplicates. */
  readonly rights: readonly TopicRight[]
  /** For humans. */
  readonly label: string | undefined
  /** ms since the epoch; undefined: it does not expire. */
  readonly expiresAtMs: number | undefined
}

export interface TopicToken extends TokenRequest {
  readonly number: Offset
  /** 32 bytes. */
  readonly sha256: Uint8Array
  /** ms since the epoch: informative only, never used for ordering. */
  readonly createdAtMs: number
}

/** The token by which a topic was opened; undefined: its own. */
export type TopicAccess = { readonly token: TopicToken | undefined }

const ownAccess: TopicAccess = { token: undefined }

/**
 * By the SHA-256 of what was presented. Undefined: it does not grant that right on this topic. Takes the same time whichever
 * token it is, and whether or not it is one.
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
