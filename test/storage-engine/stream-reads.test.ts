/** What the indexes tell of a stream, where the log is not whole. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openWithLostFooter } from './lost-footer.ts'

test('what a stream has is counted to its end behind a segment of which the end is lost', async () => {
  const { log, offsets, streamId } = await openWithLostFooter()
  for (const [i, after] of [0, ...offsets].entries()) {
    const found: number[] = []
    for await (const page of log.postings(streamId, after)) found.push(...page.map(({ offset }) => offset))
    assert.deepEqual(found, offsets.slice(i))
    assert.equal((await log.streamTotalsOf(streamId, after)).count, offsets.length - i)
  }
  await log.close()
})
