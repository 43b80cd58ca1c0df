import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Wheel } from '../../src/domain/wheel.ts'
import { FakeClock } from '../support/fake-clock.ts'

for (const [periodMs, turns, turnMs] of [
  [100, 16, 6],
  [1600, 64, 25],
  [4000, 160, 25],
  [300_000, 160, 1875],
] as const) {
  test(`each member is visited once in a period of ${periodMs} ms, one of ${turns} shares at a time`, () => {
    const clock = new FakeClock()
    const wheel = new Wheel(clock, periodMs)
    assert.equal(wheel.turnsOfPeriod, turns)
    const visits = new Map<number, number>()
    const members = Array.from({ length: turns * 10 }, (_, i) => {
      const member = { slot: wheel.nextSlot(), visit: () => visits.set(i, (visits.get(i) ?? 0) + 1) }
      wheel.add(member)
      return member
    })
    for (let turn = 1; turn <= turns; turn++) {
      clock.advance(turnMs)
      assert.equal(visits.size, turn * 10)
    }
    wheel.remove(members[0]!)
    clock.advance(turns * turnMs)
    assert.equal(visits.get(0), 1)
    assert.equal(visits.get(1), 2)
    wheel.close()
    assert.equal(clock.timerCount, 0)
  })
}

test('a member may take itself out while it is visited', () => {
  const clock = new FakeClock()
  const wheel = new Wheel(clock, 1600)
  let visits = 0
  const member = {
    slot: wheel.nextSlot(),
    visit: () => {
      visits++
      wheel.remove(member)
    },
  }
  wheel.add(member)
  clock.advance(5000)
  assert.equal(visits, 1)
  wheel.close()
})
