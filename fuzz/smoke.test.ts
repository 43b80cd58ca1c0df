import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { test } from '../test/support/unwatched.ts'
import { corpusOf } from './corpus.ts'
import { fuzz, playCorpus } from './run.ts'
import { plantedTargets } from './target.ts'
import { targets } from './targets.ts'

const ROUNDS = 300
/** What is planted must be found from this seed, so that the test says the same every time. */
const CANARY_SEED = 5
const CANARY_ROUNDS = 3000
const seed = randomInt(2 ** 32)

for (const target of targets) {
  const { name } = target

  test(`fuzzing ${name}, the corpus first, for ${ROUNDS} rounds finds nothing`, async (t) => {
    t.diagnostic(`seed ${seed}`)
    assert.ok(corpusOf(name).length > 0, 'there is a corpus')
    const known = await playCorpus(target)
    if (known !== undefined) throw new Error(`Found by the corpus, ${known.entry.name}`, { cause: known.error })
    const failure = await fuzz(target, seed, { rounds: ROUNDS })
    if (failure !== undefined) {
      const again = `npm run fuzz -- ${name} --seed ${seed} --round ${failure.round}`
      throw new Error(`Found in round ${failure.round} of seed ${seed}; again: ${again}`, { cause: failure.error })
    }
  })

  test(`fuzzing ${name} finds each mistake that is planted, and the round alone finds it again`, async () => {
    assert.ok(target.planted.length > 0, 'something is planted')
    for (const planted of plantedTargets(target)) {
      const failure = await fuzz(planted, CANARY_SEED, { rounds: CANARY_ROUNDS })
      assert.ok(failure !== undefined, `${planted.about}: it lives after ${CANARY_ROUNDS} rounds`)
      const again = await fuzz(planted, CANARY_SEED, { from: failure.round, rounds: 1 })
      assert.equal(String(again?.error), String(failure.error), planted.about)
    }
  })
}

test('the names of the targets are unique', () => {
  assert.equal(new Set(targets.map((target) => target.name)).size, targets.length)
})
