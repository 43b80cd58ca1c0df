/** Tests that a test of `unwatched.ts` runs in a process of its own, most of which fail. */
import assert from 'node:assert/strict'
import { executionAsyncId } from 'node:async_hooks'
import { describe, test as nodeTest } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { test } from './unwatched.ts'

/** What a promise's turn is known by; 0 where nobody looks at promises. */
async function turn(): Promise<number> {
  await undefined
  return executionAsyncId()
}

describe('a suite', () => {
  test('its promises are not looked at', async () => assert.equal(await turn(), 0))
  nodeTest('those of the next test are', async () => assert.notEqual(await turn(), 0))
  test('fails at once', () => assert.fail('at once'))
  test('fails later', async () => {
    await delay(1)
    assert.fail('later')
  })
  test('is failed by a timer', async () => {
    setTimeout(() => assert.fail('by a timer'))
    await delay(60_000, undefined, { ref: false })
  })
  test('is failed by a promise that nobody awaits', async () => {
    void Promise.reject(new Error('that nobody awaits'))
    await delay(60_000, undefined, { ref: false })
  })
  test('is left out', { skip: 'for a reason' }, () => assert.fail('it ran'))
  test('has a context', (context) => context.diagnostic('as it was given'))
})
test('outside of the suite', async () => assert.equal(await turn(), 0))
