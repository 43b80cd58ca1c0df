import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RESERVATION, Sequencer } from '../../storage-engine/sequencer.ts'
import { Random } from '../support/random.ts'

const NOW_MS = Date.UTC(2026, 5, 1)
const exhausted = { code: 'STORAGE_EXHAUSTED' }

/** A start with a ceiling that is durable at once, as the log does it. */
function started(ceiling: number, nowMs = NOW_MS): Sequencer {
  const sequencer = new Sequencer()
  sequencer.begin(ceiling, nowMs)
  sequencer.raise(sequencer.wantedCeiling)
  return sequencer
}

test('numbers ascend one by one behind that of the start', () => {
  const sequencer = started(0)
  const first = sequencer.firstOfThisStart
  assert.deepEqual([sequencer.take(), sequencer.take(), sequencer.take()], [first + 1, first + 2, first + 3])
  assert.equal(sequencer.next, first + 4)
})

test('nothing is given before a ceiling is durable, nor above it', () => {
  const sequencer = new Sequencer()
  sequencer.begin(0, NOW_MS)
  assert.throws(() => sequencer.take(), exhausted)
  const wanted = sequencer.wantedCeiling
  sequencer.raise(wanted)
  const last = sequencer.firstOfThisStart + RESERVATION
  while (sequencer.next < wanted) sequencer.take()
  assert.equal(sequencer.next, last + 1)
  assert.throws(() => sequencer.take(), exhausted)
  // A lower one than is known takes nothing back.
  sequencer.raise(5)
  assert.equal(sequencer.ceiling, wanted)
})

test('row 83: no number is given twice over restarts, with the clock running, standing still or jumping back', (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  let durable = 0
  let highest = 0
  let nowMs = NOW_MS
  for (let round = 0; round < 500; round += 1) {
    nowMs += random.pick([0, 1, 500, 60_000, -1, -86_400_000])
    const sequencer = new Sequencer()
    const first = sequencer.begin(durable, nowMs)
    assert(first > highest, `${first} was perhaps given before: ${highest}`)
    durable = sequencer.wantedCeiling
    sequencer.raise(durable)
    highest = first
    for (let taken = random.int(2000); taken > 0; taken -= 1) {
      const number = sequencer.take()
      assert(number > highest)
      highest = number
    }
  }
})

test('the listener is asked once when half of what is reserved is used, and again after the ceiling was raised', () => {
  const sequencer = started(0)
  let asked = 0
  sequencer.onLow(() => {
    asked += 1
  })
  const half = sequencer.ceiling - RESERVATION / 2
  while (sequencer.next <= half) {
    assert.equal(asked, 0)
    sequencer.take()
  }
  for (let i = 0; i < 10; i += 1) sequencer.take()
  assert.equal(asked, 1)
  // The batch failed: nothing is raised, but it must be asked for again.
  sequencer.raise(0)
  sequencer.take()
  assert.equal(asked, 2)
  sequencer.raise(sequencer.wantedCeiling)
  sequencer.take()
  assert.equal(asked, 2)
})

test('while enough is left no more is wanted', () => {
  const sequencer = started(0)
  assert.equal(sequencer.wantedCeiling, sequencer.ceiling)
})

test('without a durable log the clock alone decides, and a later start is above an earlier one', () => {
  const [one, two] = [new Sequencer(), new Sequencer()]
  one.beginUnreserved(NOW_MS)
  for (let i = 0; i < 1000; i += 1) one.take()
  two.beginUnreserved(NOW_MS + 1000)
  assert(two.take() > one.next)
})

test('a clock before all time gives numbers all the same', () => {
  for (const nowMs of [0, -1e15, 1]) assert(started(0, nowMs).take() > 0)
})

test('row 64: numbers near 2^53 are refused in words, and none is ever above it', () => {
  const tooFar = () => started(2 ** 53 - 2 ** 21)
  assert.throws(tooFar, { code: 'STORAGE_EXHAUSTED', message: /numbers/ })
  const sequencer = started(2 ** 53 - 2 ** 22 - 100)
  const given: number[] = []
  assert.throws(() => {
    for (;;) given.push(sequencer.take())
  }, exhausted)
  assert(given.length > 50)
  assert(given.every((number) => Number.isSafeInteger(number)))
  assert.throws(() => started(0, Number.MAX_SAFE_INTEGER), exhausted)
})

test('several numbers are given in a row, or none of them', () => {
  const sequencer = started(0)
  const first = sequencer.take(1000)
  assert.equal(sequencer.next, first + 1000)
  const left = sequencer.ceiling - sequencer.next
  assert.throws(() => sequencer.take(left + 1), exhausted)
  assert.equal(sequencer.next, first + 1000)
  assert.equal(sequencer.take(left), first + 1000)
  assert.throws(() => sequencer.take(), exhausted)
})
