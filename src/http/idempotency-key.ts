// The header that marks a request as one that may be repeated (draft-ietf-httpapi-idempotency-key-header). Knows nothing of
// how repeats are treated.
import type { IncomingMessage } from 'node:http'
import { DomainError } from '../domain/errors.ts'
import type { RequestKey } from '../domain/hub.ts'

const KEY_CHARACTERS_MAX = 256
/** A string of RFC 9651, as the draft requires: visible ASCII and spaces in quotes, with a backslash before quotes and itself. */
const quoted = /^"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])+)"$/
/** As many clients send it. */
const bare = /^[\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]+$/

/** Undefined where the request has no key. `body` must be the same in a repeat. Throws INVALID. */
export function requestKeyOf(request: IncomingMessage, body: Uint8Array): RequestKey | undefined {
  const header = request.headers['idempotency-key']
  if (header === undefined) return undefined
  const text = String(header)
  const inQuotes = quoted.exec(text)?.[1]?.replace(/\\(.)/g, '$1')
  const key = inQuotes ?? (bare.test(text) ? text : '')
  if (key !== '' && key.length <= KEY_CHARACTERS_MAX) return { key, body }
  throw mistake(
    `An Idempotency-Key is 1 to ${KEY_CHARACTERS_MAX} characters of ASCII in quotes, such as "8e03978e-40d5".`,
  )
}

/** 400 for a request with a key that does not support one. */
export function refuseRequestKey(request: IncomingMessage): void {
  if (request.headers['idempotency-key'] === undefined) return
  throw mistake('A stream of lines cannot have an Idempotency-Key. Give each line a dedupe of its own.')
}

function mistake(words: string): DomainError {
  return new DomainError('INVALID', words, { path: 'idempotency-key' })
}
