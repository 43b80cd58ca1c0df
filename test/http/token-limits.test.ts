/** What one token may do at a time, by itself. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hashToken } from '../../src/domain/token.ts'
import { TokenLimits } from '../../src/http/token-limits.ts'
import { FakeClock } from '../support/fake-clock.ts'

const one = hashToken('one')
const other = hashToken('other')

function limitsOf(clock: FakeClock, streamsPerTokenMax?: number, eventsPerSecondPerTokenMax?: number): TokenLimits {
  return new TokenLimits(() => clock.monotonicMs(), { streamsPerTokenMax, eventsPerSecondPerTokenMax })
}

test('without limits a token does as it likes', () => {
  const limits = limitsOf(new FakeClock())
  for (let times = 0; times < 1000; times += 1) limits.enterStream([one])
  const rate = limits.rateOf(one)
  rate.publishing(1e9)
  assert.equal(rate.waitMs(), 0)
  rate.assertMayPublish()
})

test('a token has so many streams and no more, each token its own, and each that ends counts once', () => {
  const limits = limitsOf(new FakeClock(), 2)
  const leave = limits.enterStream([one])
  limits.enterStream([one, one])
  assert.throws(() => limits.enterStream([one]), { message: /2 streams/ })
  // One of several is enough; the others are not counted then.
  assert.throws(() => limits.enterStream([other, one]), { message: /2 streams/ })
  limits.enterStream([other])
  limits.enterStream([other])
  assert.throws(() => limits.enterStream([other]))
  leave()
  leave()
  limits.enterStream([one])
  assert.throws(() => limits.enterStream([one]))
})

test('a token publishes a second’s worth at once, and then at its rate', () => {
  const clock = new FakeClock()
  const limits = limitsOf(clock, undefined, 5)
  const rate = limits.rateOf(one)
  for (let times = 0; times < 5; times += 1) {
    rate.assertMayPublish()
    rate.publishing(1)
  }
  assert.throws(() => rate.assertMayPublish(), { message: /5 events a second/ })
  assert.equal(limits.rateOf(other).waitMs(), 0)
  let published = 5
  for (let tenth = 0; tenth < 100; tenth += 1) {
    clock.advance(100)
    while (rate.waitMs() === 0) {
      rate.publishing(1)
      published += 1
    }
  }
  assert.equal(published, 5 + 50, 'five in each of ten seconds')
  clock.advance(3_600_000)
  let atOnce = 0
  for (; rate.waitMs() === 0; atOnce += 1) rate.publishing(1)
  assert.equal(atOnce, 5, 'an hour of silence is worth a second')
})

test('a list is taken whole, and waited for afterwards', () => {
  const clock = new FakeClock()
  const rate = limitsOf(clock, undefined, 100).rateOf(one)
  rate.publishing(1000)
  assert.equal(rate.waitMs(), 9000)
  clock.advance(8999)
  assert.ok(rate.waitMs() > 0)
  clock.advance(2)
  assert.equal(rate.waitMs(), 0)
})

test('tokens are remembered that have something open, or have published lately, and no others', () => {
  const clock = new FakeClock()
  const limits = limitsOf(clock, 1, 1)
  limits.enterStream([one])()
  assert.equal(limits.size, 0)
  for (let number = 0; number < 20_000; number += 1) {
    limits.rateOf(hashToken(`token ${number}`)).publishing(1)
    clock.advance(10)
    assert.ok(limits.size <= 1000, `${limits.size}`)
  }
})
