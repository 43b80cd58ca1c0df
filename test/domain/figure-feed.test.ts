import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FigureFeed } from '../../src/domain/figure-feed.ts'
import type { PublishInput } from '../../src/domain/publish-input.ts'
import { FakeClock } from '../support/fake-clock.ts'

function place(publish: (text: string) => Promise<unknown>) {
  const clock = new FakeClock()
  const feed = new FigureFeed(clock, (event: PublishInput) => publish(Buffer.from(event.message).toString()))
  return { clock, feed }
}

test('the changes of a figure within one interval become one event, in the words of the original', () => {
  const told: string[] = []
  const { clock, feed } = place(async (text) => told.push(text))
  feed.changed('topics', 1)
  feed.changed('message_sent', 1000)
  feed.changed('message_sent', 500)
  assert.deepEqual(told, [])
  clock.advance(100)
  assert.deepEqual(told, ['{"val": 1, "metric": "topics"}', '{"val": 1500, "metric": "message_sent"}'])
  feed.changed('active_topics', -1)
  clock.advance(100)
  assert.equal(told.at(-1), '{"val": -1, "metric": "active_topics"}')
  feed.close()
  assert.equal(clock.timerCount, 0)
})

test('what comes to nothing is not told, and nothing is told twice', () => {
  const told: string[] = []
  const { clock, feed } = place(async (text) => told.push(text))
  feed.changed('active_subscribers', 1)
  feed.changed('active_subscribers', -1)
  clock.advance(1000)
  assert.deepEqual(told, [])
})

test('a publish that fails does no harm', async () => {
  const { clock, feed } = place(() => Promise.reject(new Error('the store has failed')))
  feed.changed('topics', 1)
  clock.advance(100)
  await new Promise((resolve) => setImmediate(resolve))
})
