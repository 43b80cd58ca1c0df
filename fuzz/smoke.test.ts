import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { test } from 'node:test'
import { fuzz } from './run.ts'
import { targets } from './targets.ts'

const ROUNDS = 400
const seed = randomInt(2 ** 32)

for (const target of targets) {
  if (target.name === 'canary') continue
  test(`fuzzing ${target.name} for ${ROUNDS} rounds finds nothing`, async (t) => {
    t.diagnostic(`seed ${seed}`)
    const failure = await fuzz(target, seed, { rounds: ROUNDS })
    if (failure !== undefined) {
      const again = `npm run fuzz -- ${target.name} --seed ${seed} --round ${failure.round}`
      throw new Error(`Found in round ${failure.round} of seed ${seed}; again: ${again}`, { cause: failure.error })
    }
  })
}

test('the canary is found, and its round alone finds it again', async (t) => {
  t.diagnostic(`seed ${seed}`)
  const canary = targets.find((target) => target.name === 'canary')
  assert.ok(canary !== undefined)
  const failure = await fuzz(canary, seed, { rounds: ROUNDS })
  assert.ok(failure !== undefined, `the canary lives after ${ROUNDS} rounds of seed ${seed}`)
  const again = await fuzz(canary, seed, { from: failure.round, rounds: 1 })
  assert.deepEqual(again, failure)
})

test('the names of the targets are unique', () => {
  assert.equal(new Set(targets.map((target) => target.name)).size, targets.length)
})
