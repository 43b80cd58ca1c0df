import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sortInSlices } from '../../storage-engine/sort-in-slices.ts'
import { Random } from '../support/random.ts'

test('the rows of any column come in the order of its numbers, those of equal ones in their own', async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  for (const count of [0, 1, 2, 3, 255, 1000, 16 * 1024, 50_001]) {
    const [lowest, bound] = random.pick([
      [0, 2],
      [0, 100],
      [0, 2 ** 53],
      [2 ** 53 - 5000, 5000],
      [2 ** 31 - 7, 2 ** 11],
    ] as const)
    const column = Float64Array.from({ length: count }, () => lowest + random.int(bound))
    const before = column.slice()
    const rows = await sortInSlices(column)
    const wanted = [...column.keys()].sort((a, b) => column[a]! - column[b]! || a - b)
    assert.deepEqual([...rows], wanted)
    assert.deepEqual(column, before)
  }
})

test('while a large column is sorted, other work gets its turn again and again', async () => {
  let turns = 0
  let isSorted = false
  const others = (async () => {
    while (!isSorted) {
      await new Promise((resolve) => setImmediate(resolve))
      turns += 1
    }
  })()
  const count = 2 ** 17
  await sortInSlices(Float64Array.from({ length: count }, (_, i) => (i * 7919) % count))
  isSorted = true
  await others
  // Two digits, each counted and then sorted by, at most 16,384 rows in a turn.
  assert.ok(turns >= 32, `${turns} turns`)
})

test('every number that can be has its place, however far they lie apart', async () => {
  const powers = Array.from({ length: 53 }, (_, i) => 2 ** i)
  const numbers = powers.flatMap((power) => [2 * power - 1, power, power - 1]).reverse()
  const rows = await sortInSlices(Float64Array.from(numbers))
  assert.deepEqual(
    [...rows].map((row) => numbers[row]),
    numbers.toSorted((one, another) => one - another),
  )
})

test('whoever has a pace of its own ends the slices, and may leave off', async () => {
  const column = Float64Array.from({ length: 2 ** 16 }, (_, i) => (i * 7919) % 2 ** 16)
  let slices = 0
  const endSlice = () => {
    slices += 1
    return slices === 3 ? Promise.reject(new Error('stopped')) : undefined
  }
  await assert.rejects(sortInSlices(column, endSlice), /stopped/)
  assert.equal(slices, 3)
})
