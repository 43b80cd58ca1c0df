import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Pace } from '../../src/domain/pace.ts'

test('what is spent in one turn is there again in the next', async () => {
  const pace = new Pace()
  assert.equal(pace.isSpent, false)
  pace.spend(300 * 1024)
  assert.equal(pace.isSpent, true)
  await pace.turn()
  assert.equal(pace.isSpent, false)
})

test('small writes draw on the budget as well', () => {
  const pace = new Pace()
  for (let i = 0; i < 1000; i++) pace.spend(1)
  assert.equal(pace.isSpent, true)
})

test('those who wait are let on in their order, some in each turn', async () => {
  const pace = new Pace()
  const turns: number[] = []
  let turn = 0
  let isCounting = true
  const count = () => {
    turn++
    if (isCounting) setImmediate(count)
  }
  setImmediate(count)
  const order: number[] = []
  await Promise.all(
    Array.from({ length: 40 }, async (_, i) => {
      await pace.turn()
      order.push(i)
      turns.push(turn)
    }),
  )
  isCounting = false
  assert.deepEqual(
    order,
    Array.from({ length: 40 }, (_, i) => i),
  )
  assert.ok(new Set(turns).size >= 5, `${new Set(turns).size} turns for forty`)
})
