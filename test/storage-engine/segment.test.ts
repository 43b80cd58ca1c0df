import assert from 'node:assert/strict'
import { test } from 'node:test'
import { indexName } from '../../storage-engine/data-directory.ts'
import { ORDER_BY_OFFSET, ORDER_BY_STREAM } from '../../storage-engine/format.ts'
import { WrittenLog } from './written-log.ts'
import { type NumberedRecord, WrittenSegment } from './written-segment.ts'

function rolledSegments(count: number): WrittenSegment[] {
  return Array.from({ length: count }, (_, i) => {
    const segment = new WrittenSegment(i + 1, 1000 * (i + 1))
    for (let batch = 0; batch < 5; batch += 1) {
      segment.add([7, 3, 5].map((streamId) => ({ streamId, kind: 1, payload: Buffer.alloc(50) })))
    }
    segment.seal(i + 2)
    return segment
  })
}

test('a compacted segment takes the place and the numbers of all that were rolled before it, whatever is left', async () => {
  const log = await WrittenLog.open(rolledSegments(4))
  const [rolled] = log.segments.all
  assert.deepEqual([rolled?.order, rolled?.placeFrom, rolled?.placeThrough, rolled?.coveredLast], [0, 1, 1, 0])
  assert.equal(rolled?.order, ORDER_BY_OFFSET)
  const isDead = ({ offset }: NumberedRecord) => offset >= 3000 || offset < 2000
  for (const [from, to] of [
    [1, 3],
    [0, 2],
  ] as const) {
    const { segment } = await log.compact(from, to, isDead)
    assert.equal(segment.order, ORDER_BY_STREAM)
    assert.deepEqual([segment.placeFrom, segment.placeThrough], [from + 1, 3])
    assert.deepEqual([segment.recordCount, segment.first, segment.last], [15, 2000, 2014])
    // The numbers of what was dropped are not free again.
    assert.deepEqual([segment.coveredLast, segment.chain.last], [3014, 3014])
  }
  const { segment: empty } = await log.compact(0, 2, () => true)
  assert.deepEqual([empty.recordCount, empty.first, empty.last, empty.chain.last], [0, 0, 0, 4014])
})

test('a segment takes as many bytes as its file and its sidecar', async () => {
  const log = await WrittenLog.open(rolledSegments(3))
  await log.compact(0, 2)
  for (const segment of log.segments.all.filter(({ isSealed }) => isSealed)) {
    const files = [segment.path, `/d/${indexName(segment.generation)}`]
    const sizes = await Promise.all(files.map(async (path) => (await log.files.open(path, 'read')).sizeBytes))
    assert.equal(segment.sizeBytes, sizes[0]! + sizes[1]!)
  }
  // In memory an index takes nothing on the disk.
  assert.equal(log.segments.active.sizeBytes, log.segments.active.sealedBytes)
})
