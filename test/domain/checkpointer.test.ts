import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Checkpointer } from '../../src/domain/checkpointer.ts'
import { FakeClock } from '../support/fake-clock.ts'

const INTERVAL_MS = 300_000

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

function begun(write: () => Promise<void> = async () => undefined) {
  const clock = new FakeClock()
  const failures: unknown[] = []
  let writes = 0
  const counted = () => {
    writes += 1
    return write()
  }
  const checkpointer = new Checkpointer(clock, INTERVAL_MS, counted, (error) => failures.push(error))
  return { clock, checkpointer, failures, writes: () => writes }
}

test('a checkpoint is written at every interval and at the end', async () => {
  const { clock, checkpointer, writes } = begun()
  for (let i = 1; i <= 3; i += 1) {
    clock.advance(INTERVAL_MS)
    await turn()
    assert.equal(writes(), i)
  }
  await checkpointer.close()
  assert.equal(writes(), 4)
  assert.equal(clock.timerCount, 0)
})

test('a roll brings one forward, but not right behind another', async () => {
  const { clock, checkpointer, writes } = begun()
  checkpointer.rolled()
  assert.equal(writes(), 0)
  clock.advance(INTERVAL_MS / 10)
  checkpointer.rolled()
  await turn()
  checkpointer.rolled()
  assert.equal(writes(), 1)
})

test('while one is written no other begins, and the last one waits for it', async () => {
  const waiting: (() => void)[] = []
  const { clock, checkpointer, writes } = begun(() => new Promise((resolve) => waiting.push(resolve)))
  clock.advance(INTERVAL_MS * 3)
  assert.equal(writes(), 1)
  const closed = checkpointer.close()
  await turn()
  assert.equal(writes(), 1)
  waiting.shift()?.()
  await turn()
  assert.equal(writes(), 2)
  waiting.shift()?.()
  await closed
})

test('one that fails is told, and the next is tried', async () => {
  const { clock, checkpointer, failures, writes } = begun(() => Promise.reject(new Error('no room')))
  clock.advance(INTERVAL_MS)
  await turn()
  clock.advance(INTERVAL_MS)
  await turn()
  assert.deepEqual([failures.length, writes()], [2, 2])
  await checkpointer.close()
  assert.equal(failures.length, 3)
})
