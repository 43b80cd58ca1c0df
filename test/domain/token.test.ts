import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { hashToken, makeToken, tokenMatches } from '../../src/domain/token.ts'

test('a token is 64 characters of base62, and no two are equal', () => {
  const tokens = Array.from({ length: 1000 }, makeToken)
  for (const token of tokens) assert.match(token, /^[0-9A-Za-z]{64}$/)
  assert.equal(new Set(tokens).size, tokens.length)
})

test('no character is favoured', () => {
  const counts = new Map<string, number>()
  const tokens = 2000
  for (let index = 0; index < tokens; index++) {
    for (const character of makeToken()) counts.set(character, (counts.get(character) ?? 0) + 1)
  }
  assert.equal(counts.size, 62)
  // Expected 2,065 each, with a deviation of 45. A byte taken modulo 62 would give the first eight 2,500.
  const expected = (tokens * 64) / 62
  for (const [character, count] of counts) assert.ok(Math.abs(count - expected) < 360, `${character}: ${count}`)
})

test('the hash is the SHA-256 of the UTF-8', () => {
  assert.deepEqual(Buffer.from(hashToken('é')), createHash('sha256').update('é').digest())
})

test('only the token itself matches', () => {
  const token = makeToken()
  const sha256 = hashToken(token)
  assert.equal(tokenMatches(token, sha256), true)
  const other = (token[0] === 'a' ? 'b' : 'a') + token.slice(1)
  for (const wrong of ['', token.slice(1), `${token} `, other, token.toLowerCase() + token]) {
    assert.equal(tokenMatches(wrong, sha256), false)
  }
})
