import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { formatEventId, parseEventId, parseTopicId } from '../../src/domain/event-id.ts'

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** The plain way, to compare with. */
function base62(number: bigint): string {
  let text = ''
  for (let rest = number, digit = 0; digit < 11; digit++, rest /= 62n) text = ALPHABET[Number(rest % 62n)] + text
  return text
}

test('numbers are written as 11 characters of base62, and read back', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (number) => {
      assert.equal(formatEventId(number), base62(BigInt(number)))
      assert.equal(parseEventId(formatEventId(number)), number)
    }),
  )
})

test('the numbers next to each power of 62 and next to the parts that a number is split into are right', () => {
  for (let power = 0; power < 9; power++) {
    for (let factor = 1; factor < 62; factor++) {
      for (const step of [-1, 0, 1]) {
        const number = 62 ** power * factor + step
        if (number <= Number.MAX_SAFE_INTEGER) assert.equal(formatEventId(number), base62(BigInt(number)))
      }
    }
  }
  const last = Math.floor(Number.MAX_SAFE_INTEGER / 62 ** 5)
  for (let high = last - 2000; high <= last; high++) {
    assert.equal(formatEventId(high * 62 ** 5 - 1), base62(BigInt(high * 62 ** 5 - 1)))
  }
})

test('the order of the ids as text is the order of the numbers', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), fc.maxSafeNat(), (a, b) => {
      assert.equal(formatEventId(a) < formatEventId(b), a < b)
    }),
  )
})

test('the last number is 2^53 - 1, and one more is refused', () => {
  assert.equal(formatEventId(Number.MAX_SAFE_INTEGER), base62(2n ** 53n - 1n))
  assert.equal(parseEventId(base62(2n ** 53n - 1n)), Number.MAX_SAFE_INTEGER)
  assert.equal(parseEventId(base62(2n ** 53n)), undefined)
  assert.equal(parseEventId('zzzzzzzzzzz'), undefined)
  for (const number of [-1, 0.5, 2 ** 53, Number.NaN]) assert.throws(() => formatEventId(number))
})

test('a shorter id means the same number', () => {
  assert.equal(parseEventId('0'), 0)
  assert.equal(parseEventId('z'), 61)
  assert.equal(parseEventId('10'), 62)
  assert.equal(parseTopicId('0'), '00000000000')
  assert.equal(parseTopicId('Q72zvO87K'), '00Q72zvO87K')
})

test('what is empty, too long or not base62 is no id', () => {
  for (const text of ['', '000000000000', '0-1', ' 1', '1 ', '1.0', 'é', '😀', '1\0', '\u0130']) {
    assert.equal(parseEventId(text), undefined, JSON.stringify(text))
    assert.equal(parseTopicId(text), undefined, JSON.stringify(text))
  }
})

test('topic ids reach to 2^63 - 1 and no further', () => {
  assert.equal(parseTopicId(base62(2n ** 63n - 1n)), base62(2n ** 63n - 1n))
  assert.equal(parseTopicId(base62(2n ** 63n)), undefined)
  fc.assert(
    fc.property(fc.bigInt(0n, 2n ** 64n), (number) => {
      assert.equal(parseTopicId(base62(number)), number < 2n ** 63n ? base62(number) : undefined)
    }),
  )
})
