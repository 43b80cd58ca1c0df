import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type Candidate, type Choice, type ChoiceLimits, chooseRun } from '../../storage-engine/compaction-choice.ts'
import { Random } from '../support/random.ts'

const LIMITS: ChoiceLimits = {
  inputBytesMax: 1000,
  outputBytesMax: 400,
  outputRecordsMax: 4000,
  sortedBytesMax: 100,
  deadShareMin: 0.5,
}

/** A segment whose records lie by number; ten records a hundred bytes. */
function rolled(liveBytes: number, bytes = liveBytes): Candidate {
  return { bytes, liveBytes, liveRecords: Math.ceil(liveBytes / 10), isStreamOrdered: false, isDamaged: false }
}

function ordered(liveBytes: number, bytes = liveBytes): Candidate {
  return { ...rolled(liveBytes, bytes), isStreamOrdered: true }
}

function damaged(candidate: Candidate): Candidate {
  return { ...candidate, isDamaged: true }
}

function inShort(choice: Choice | undefined): string | undefined {
  return choice === undefined ? undefined : `${choice.reason} ${choice.begin}-${choice.end}`
}

/** What a run makes of its inputs. */
function outputOf(inputs: readonly Candidate[]): Candidate {
  const sum = (value: (one: Candidate) => number) => inputs.reduce((total, one) => total + value(one), 0)
  return {
    ...ordered(sum(({ liveBytes }) => liveBytes)),
    liveRecords: sum(({ liveRecords }) => liveRecords),
  }
}

/** Runs until there is nothing more to do. Returns what was written. */
function settle(candidates: Candidate[], limits = LIMITS): number {
  let written = 0
  for (let runs = 0; ; runs += 1) {
    const choice = chooseRun(candidates, limits)
    if (choice === undefined) return written
    assert.ok(runs < 10_000, `no end: ${JSON.stringify(candidates)}`)
    const output = outputOf(candidates.slice(choice.begin, choice.end))
    candidates.splice(choice.begin, choice.end - choice.begin, output)
    written += output.bytes
  }
}

describe('which run is next', () => {
  const cases: readonly [title: string, candidates: readonly Candidate[], expected: string | undefined][] = [
    ['of a few full segments none is worth anything', [rolled(100), rolled(100), rolled(100)], undefined],
    ['nothing', [], undefined],
    ['what is dead goes first, with its neighbours', [rolled(10, 100), rolled(0, 100), rolled(0, 90)], 'dead 1-3'],
    ['the longer row of what is dead goes first', [rolled(0, 9), rolled(5), rolled(0, 9), rolled(0, 9)], 'dead 2-4'],
    ['a segment that is empty is left as it is', [ordered(100), ordered(0), ordered(100)], undefined],
    ['and is taken along where it is a neighbour', [ordered(0), ordered(40, 100), ordered(0)], 'sparse 0-3'],
    ['half dead is enough', [rolled(100), rolled(50, 100), rolled(100)], 'sparse 1-2'],
    ['less than half is not', [rolled(100), rolled(51, 100), rolled(100)], undefined],
    ['the sparsest is the seed', [ordered(40, 100), rolled(100), ordered(10, 100), ordered(30, 100)], 'sparse 2-4'],
    ['what is sorted at once is bounded', [rolled(50, 200), rolled(40, 200), rolled(61, 200)], 'sparse 0-2'],
    [
      'what is read is bounded, however much of it may be dead: an output of it all has room for its positions',
      [ordered(1, 400), ordered(2, 500), ordered(3, 200), ordered(4, 500)],
      'sparse 0-2',
    ],
    ['an output is bounded', [ordered(200, 500), ordered(150, 500), ordered(100, 500)], 'sparse 1-3'],
    [
      'four that lie by number: as many as can be sorted',
      [rolled(60), rolled(40), rolled(60), rolled(60)],
      'grouped 0-2',
    ],
    ['one that is too large to be sorted with others', Array(4).fill(rolled(100)), 'grouped 0-1'],
    ['four alike become one', Array(4).fill(ordered(100)), 'grouped 0-4'],
    ['so do two that fill an output', [ordered(190), ordered(190), ordered(190)], 'grouped 0-2'],
    ['a large one is not written again for small ones', [ordered(200), ordered(1), ordered(2), ordered(1)], undefined],
    ['those are merged without it', [ordered(300), ...Array(4).fill(ordered(1))], 'grouped 1-5'],
    ['damage is left alone', [damaged(rolled(0, 100)), damaged(rolled(10, 100))], undefined],
    ['and no run reaches over it', [ordered(9), ordered(9), damaged(ordered(9)), ordered(9), ordered(9)], undefined],
    ['not even for what is empty', [damaged(ordered(0)), ordered(10, 100), damaged(ordered(0))], 'sparse 1-2'],
  ]
  for (const [title, candidates, expected] of cases) {
    test(`${title}: ${expected ?? 'no run'}`, () => {
      assert.equal(inShort(chooseRun(candidates, LIMITS)), expected)
    })
  }

  test('where anything dead is worth it, it is', () => {
    assert.equal(inShort(chooseRun([rolled(99, 100)], { ...LIMITS, deadShareMin: 0 })), 'sparse 0-1')
    assert.equal(chooseRun([rolled(100)], { ...LIMITS, deadShareMin: 0 }), undefined)
  })

  test('no run has more than 64 inputs', () => {
    assert.equal(inShort(chooseRun(Array(200).fill(rolled(0, 1)), LIMITS)), 'dead 0-64')
    assert.equal(inShort(chooseRun(Array(200).fill(ordered(1)), LIMITS)), 'grouped 0-64')
  })
})

test('whatever a log is like, there is soon nothing more to do, and damage stays', () => {
  for (let seed = 1; seed <= 300; seed += 1) {
    const random = new Random(seed)
    const candidates = Array.from({ length: random.int(60) }, () => {
      const bytes = random.int(random.pick([2, 20, 120]))
      const liveBytes = random.chance(0.5) ? bytes : random.int(bytes + 1)
      const one = random.chance(0.5) ? rolled(liveBytes, bytes) : ordered(liveBytes, bytes)
      return random.chance(0.1) ? damaged(one) : one
    })
    const damages = candidates.filter(({ isDamaged }) => isDamaged)
    settle(candidates)
    assert.deepEqual(
      candidates.filter(({ isDamaged }) => isDamaged),
      damages,
      `seed ${seed}`,
    )
  }
})

test('a log that grows and loses nothing is written twice again, and not more, however long it becomes', () => {
  const candidates: Candidate[] = []
  let written = 0
  for (let i = 0; i < 2000; i += 1) {
    candidates.push(rolled(100))
    written += settle(candidates)
  }
  assert.ok(written <= 2 * 2000 * 100, `${written / 200_000} times`)
  assert.ok(candidates.length <= 2000 / 4 + 7, `${candidates.length} segments`)
})
