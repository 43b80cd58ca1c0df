/** The rules of resuming that need a log with a past; what they mean for a stream stands in hub-suite.ts. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { formatEventId } from '../../src/domain/event-id.ts'
import { Feed } from '../../src/domain/feed.ts'
import { resolveResume } from '../../src/domain/resume.ts'
import { unlimited } from '../../src/domain/retention.ts'
import { HostedTopic } from '../../src/domain/topic.ts'
import { FakeLog } from '../support/fake-log.ts'
import { lastEventId } from '../support/hub-events.ts'

const NOTHING = new Uint8Array(0)

/** Events of stream 100 at 110, 120, 130 (times 11, 12, 13), as an earlier process and this one left them. */
function place(
  options: {
    floor?: number
    next?: number
    /** The number that the next append takes. */
    pending?: number
    isDurable?: boolean
    isStatic?: boolean
    keys?: Record<number, string>
  } = {},
) {
  const { floor = 0, next = 1000, pending = next, isDurable = true, isStatic = !isDurable, keys = {} } = options
  const records = [110, 120, 130].map((offset) => ({
    offset,
    streamId: 100,
    kind: 3,
    length: 40,
    timeMs: offset / 10,
    key: Buffer.from(keys[offset] ?? ''),
    payload: NOTHING,
  }))
  const skippedRanges = isDurable
    ? [
        { from: 1, to: 90 },
        { from: 121, to: 128 },
      ]
    : []
  const log = new FakeLog({ take: () => pending, next }, { records, skippedRanges, commits: 'manual' })
  const id = isStatic ? formatEventId(100) : undefined
  const fields = { id, streamId: 100, name: undefined, retention: unlimited, createdAtMs: 0 }
  const topic = new HostedTopic(new Feed(log, isDurable, floor), { ...fields, tokenSha256: NOTHING })
  const numbers = { take: () => next, next, firstOfThisStart: floor }
  const resolve = async (text: string) => {
    const { after, gap, live } = await resolveResume(topic, numbers, lastEventId(text))
    assert.equal(gap === undefined || gap.resumesAfter === after, true)
    return [after, gap === undefined ? '' : 'gap', ...(live ? ['live'] : [])]
  }
  return { topic, log, numbers, resolve }
}

test('a number resumes after itself, whether or not an event of the topic bears it', async () => {
  const { resolve } = place()
  for (const number of [100, 109, 110, 115, 120, 128, 129, 130]) {
    assert.deepEqual(await resolve(formatEventId(number)), [number, ''])
  }
})

test('a number above one that may still be committed here resumes after what is settled', async () => {
  const { log, resolve } = place({ pending: 300 })
  assert.deepEqual(await resolve(formatEventId(500)), [500, ''], 'a number of the other log, or a hole')
  void log.append({ streamId: 100, kind: 3, payload: NOTHING })
  assert.deepEqual(await resolve(formatEventId(500)), [299, ''])
})

test('a number in a skipped range resumes where the range begins, with a gap', async () => {
  const { resolve } = place()
  for (const number of [121, 124, 127]) assert.deepEqual(await resolve(formatEventId(number)), [120, 'gap'])
})

test('a number from before the durable topic can have lost nothing of it', async () => {
  const { resolve } = place()
  for (const text of ['0', '00000000000', formatEventId(5), formatEventId(99)]) {
    assert.equal((await resolve(text))[1], '', text)
  }
})

test('a number that was never given, and an id that is not found, resume after the mark with a gap', async () => {
  for (const floor of [0, 105]) {
    const { resolve } = place({ floor, isDurable: floor === 0 })
    for (const text of [formatEventId(1000), 'zzzzzzzzzzz', 'AzL8n0Y58m7', 'no such', 'x'.repeat(256)]) {
      assert.deepEqual(await resolve(text), [floor, 'gap'], text)
    }
  }
})

test('below the mark of a static topic in memory is a gap, at the mark is none', async () => {
  const { resolve, topic } = place({ floor: 105, isDurable: false })
  assert.deepEqual(await resolve(formatEventId(104)), [105, 'gap'])
  assert.deepEqual(await resolve(formatEventId(105)), [105, ''])
  topic.dropped = 110
  assert.deepEqual(await resolve(formatEventId(109)), [110, 'gap'])
  assert.deepEqual(await resolve(formatEventId(110)), [110, ''])
})

test('a number from before a topic in memory that this process made can have lost nothing of it', async () => {
  const { resolve, topic } = place({ floor: 95, isDurable: false, isStatic: false })
  for (const text of ['0', formatEventId(94), formatEventId(99)]) assert.equal((await resolve(text))[1], '', text)
  topic.dropped = 110
  assert.deepEqual(await resolve(formatEventId(99)), [110, 'gap'])
})

test('nothing, and nothing but white space, is no cursor', async () => {
  const { resolve } = place()
  for (const text of ['', ' ', ' \t ']) assert.deepEqual(await resolve(text), [130, '', 'live'])
})

test("a publisher's id of eleven characters is read both ways where it may be a number of ours", async () => {
  // The key of 120 reads as the number 115: earlier than its use. The key of 130 reads as one that was never given.
  const { resolve } = place({ keys: { 120: formatEventId(115), 130: 'order000001' } })
  assert.deepEqual(await resolve(formatEventId(115)), [115, ''])
  assert.deepEqual(await resolve('order000001'), [130, ''])
  // The key of 110 reads as 125, in a skipped range that begins later than its use.
  const other = place({ keys: { 110: formatEventId(125), 120: '7', 130: '00000000007' } })
  assert.deepEqual(await other.resolve(formatEventId(125)), [110, ''])
  assert.deepEqual(await other.resolve('7'), [120, ''], 'never a flood for an id that is merely short')
  assert.deepEqual(await other.resolve('00000000007'), [130, ''], 'nor for one that is padded')
  // The first number that any stream of a topic in the configuration is given lies before the topic's own.
  const configured = place({ floor: 95, isDurable: false, keys: { 120: formatEventId(95), 130: formatEventId(96) } })
  assert.deepEqual(await configured.resolve(formatEventId(95)), [95, ''])
  assert.deepEqual(await configured.resolve(formatEventId(96)), [130, ''])
})

test('a time is a gap only where what was dropped may have been late enough', async () => {
  const { topic, numbers, log } = place({ floor: 50, isDurable: false })
  const at = async (timeMs: number) => {
    const { after, gap } = await resolveResume(topic, numbers, { kind: 'time', timeMs })
    return [after, gap?.requested]
  }
  assert.deepEqual(await at(0), [109, undefined])
  log.onEvict((dropped) => {
    topic.dropped = dropped.at(-1)?.last ?? 0
  })
  log.evict(110)
  assert.deepEqual(await at(11), [119, '1970-01-01T00:00:00.011Z'])
  assert.deepEqual(await at(13), [129, undefined])
})

test('an id of nothing but inner blanks, however many, is refused at once', { timeout: 10_000 }, async () => {
  const { resolve } = place({ keys: { 120: 'a b' } })
  assert.deepEqual(await resolve(' \t a b\t '), [120, ''])
  await assert.rejects(resolve(`a${' \t'.repeat(500_000)}b`), { code: 'INVALID' })
})
