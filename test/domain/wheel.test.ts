import assert from 'node:assert/strict'
import { test } from 'node:test'
import { WHEEL_SLOTS, Wheel } from '../../src/domain/wheel.ts'
import { FakeClock } from '../support/fake-clock.ts'

test('each member is visited once in a period, a share of them at a time', () => {
  const clock = new FakeClock()
  const wheel = new Wheel(clock, 1600)
  const visits = new Map<number, number>()
  const members = Array.from({ length: 160 }, (_, i) => {
    const member = { slot: wheel.nextSlot(), visit: () => visits.set(i, (visits.get(i) ?? 0) + 1) }
    wheel.add(member)
    return member
  })
  for (let slot = 1; slot <= WHEEL_SLOTS; slot++) {
    clock.advance(100)
    assert.equal(visits.size, slot * 10)
  }
  wheel.remove(members[0]!)
  clock.advance(1600)
  assert.equal(visits.get(0), 1)
  assert.equal(visits.get(1), 2)
  wheel.close()
  assert.equal(clock.timerCount, 0)
})

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
