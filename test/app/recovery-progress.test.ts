import assert from 'node:assert/strict'
import { test } from 'node:test'
import { recoveryProgress } from '../../src/app/recovery-progress.ts'

test('the time that is left follows from the pace so far', () => {
  const progress = recoveryProgress(300, 1200, 2_000)
  assert.deepEqual(progress, { share: 0.25, bytes_done: 300, bytes_total: 1200, seconds_left: 6 })
})

test('no time is foretold before there is a pace', () => {
  assert.equal(recoveryProgress(300, 1200, 10).seconds_left, null)
  assert.equal(recoveryProgress(0, 1200, 5_000).seconds_left, null)
})

test('an empty log, and one that turns out larger than was told, have a share between 0 and 1', () => {
  assert.equal(recoveryProgress(0, 0, 0).share, 0)
  assert.deepEqual(recoveryProgress(20, 10, 1_000), { share: 1, bytes_done: 20, bytes_total: 10, seconds_left: 0 })
})
