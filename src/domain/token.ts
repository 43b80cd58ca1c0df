/**
 * The secrets that open topics. Only their SHA-256 is kept; a plain hash is enough, because a token is 64 random characters
 * (381 bits) and cannot be found with a list of guesses. Comparisons take the same time whatever was presented.
 */

import assert from 'node:assert/strict'
import { hash, randomBytes, timingSafeEqual } from 'node:crypto'

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const TOKEN_CHARACTERS = 64
const SHA256_BYTES = 32
/** The largest multiple of 62 in a byte. Bytes from here on are discarded: they would favour the first letters. */
const FAIR_BYTES_MAX = 248

/** A new token: 64 characters of base62, each equally likely. */
export function makeToken(): string {
  let token = ''
  while (token.length < TOKEN_CHARACTERS) {
    for (const byte of randomBytes(TOKEN_CHARACTERS)) {
      if (byte < FAIR_BYTES_MAX && token.length < TOKEN_CHARACTERS) token += ALPHABET[byte % ALPHABET.length]
    }
  }
  return token
}

/** How a configuration gives a token without the secret: this, followed by its SHA-256 as 64 lower-case hex digits. */
export const HASHED_PREFIX = 'sha256:'
const HASHED = /^sha256:[0-9a-f]{64}$/

/** Whether a configuration gives only the hash, so that the token is not known here. */
export function isHashed(token: string): boolean {
  return HASHED.test(token)
}

/** SHA-256 of a token as given in a configuration, which may already be the hash. */
export function configuredSha256(token: string): Uint8Array {
  return isHashed(token) ? Buffer.from(token.slice(HASHED_PREFIX.length), 'hex') : hashToken(token)
}

/** SHA-256 of the token's UTF-8, 32 bytes. */
export function hashToken(token: string): Uint8Array {
  return hash('sha256', token, 'buffer')
}

/** A SHA-256 as a key of maps: a string of one character per byte, which takes little memory. */
export function hashKey(sha256: Uint8Array): string {
  return Buffer.from(sha256.buffer, sha256.byteOffset, sha256.byteLength).toString('latin1')
}

/** Whether the presented token is the one with this SHA-256. */
export function tokenMatches(presented: string, sha256: Uint8Array): boolean {
  return hashMatches(hashToken(presented), sha256)
}

/** Whether both are the SHA-256 of the same token. */
export function hashMatches(presented: Uint8Array, sha256: Uint8Array): boolean {
  assert(sha256.length === SHA256_BYTES, 'a SHA-256 has 32 bytes')
  return timingSafeEqual(presented, sha256)
}
