/**
 * The secrets that open topics. Only their SHA-256 is kept; a plain hash is enough, because a token is 64 random
 * characters (381 bits) and cannot be guessed from a list. Comparing takes the same time whatever was presented.
 */

import assert from 'node:assert/strict'
import { hash, randomBytes, timingSafeEqual } from 'node:crypto'

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const TOKEN_CHARACTERS = 64
const SHA256_BYTES = 32
/** The largest multiple of 62 in a byte. Bytes from here on are thrown away: they would favour the first letters. */
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

/** SHA-256 of the token's UTF-8, 32 bytes. */
export function hashToken(token: string): Uint8Array {
  return hash('sha256', token, 'buffer')
}

/** Whether the presented token is the one with this SHA-256. */
export function tokenMatches(presented: string, sha256: Uint8Array): boolean {
  assert(sha256.length === SHA256_BYTES, 'a SHA-256 has 32 bytes')
  return timingSafeEqual(hashToken(presented), sha256)
}
