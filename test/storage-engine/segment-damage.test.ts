import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Random } from '../support/random.ts'
import { readThrough } from './small-log.ts'
import { WrittenLog } from './written-log.ts'
import { type NumberedRecord, WrittenSegment } from './written-segment.ts'

const STREAMS = [1, 20, 300, 4000, 50_000]
const RECORDS_PER_BATCH = 3

function rolledSegment(random: Random, generation: number): WrittenSegment {
  const segment = new WrittenSegment(generation, 1000 * generation)
  for (let rest = 4 + random.int(30); rest > 0; rest -= 1) {
    segment.add([{ streamId: random.pick(STREAMS), kind: 1, payload: Buffer.alloc(random.int(200), 'x') }])
  }
  segment.seal(generation + 1)
  return segment
}

/** Whether the stream's records may be among the lost ones, by what lies around those. */
function mayHaveLost(streamId: number, records: readonly NumberedRecord[], lost: ReadonlySet<NumberedRecord>): boolean {
  return records.some((record, i) => {
    if (!lost.has(record)) return false
    const before = records.slice(0, i).findLast((one) => !lost.has(one))
    const behind = records.slice(i).find((one) => !lost.has(one))
    return streamId >= (before?.streamId ?? 0) && streamId <= (behind?.streamId ?? Number.POSITIVE_INFINITY)
  })
}

test('damage in a segment that lies by stream and has no sidecar is told to the streams around it, and costs none of them more than is lost', async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  let spared = 0
  for (let round = 0; round < 60; round += 1) {
    const rolled = [1, 2, 3].map((generation) => rolledSegment(random, generation))
    const log = await WrittenLog.open(rolled)
    const { segment, written } = await log.compact(1, 2, () => false, RECORDS_PER_BATCH)
    const lost = new Set<NumberedRecord>()
    for (const [i, { position, end }] of written.batches.entries()) {
      if (!random.chance(0.2)) continue
      await log.damage(segment.path, position + random.int(end - position))
      for (const record of written.records.slice(RECORDS_PER_BATCH * i, RECORDS_PER_BATCH * (i + 1))) lost.add(record)
    }
    await log.removeIndex(segment)
    for (const streamId of STREAMS) {
      const own = rolled.flatMap(({ records }) => records.filter((one) => one.streamId === streamId))
      const isLost = ({ offset }: NumberedRecord) => [...lost].some((one) => one.offset === offset)
      const { records, gaps } = await readThrough(log.cursor(0, streamId))
      assert.deepEqual(
        records.map(({ offset }) => offset),
        own.filter((one) => !isLost(one)).map(({ offset }) => offset),
      )
      for (const { offset } of own.filter(isLost)) {
        assert.ok(
          gaps.some(({ after, through }) => after < offset && offset <= through),
          `${offset} went in silence`,
        )
      }
      if (mayHaveLost(streamId, written.records, lost)) continue
      assert.deepEqual(gaps, [])
      if (lost.size > 0) spared += 1
    }
    assert.equal(log.told.damages.length > 0, lost.size > 0)
  }
  assert.ok(spared > 0, 'no stream was ever spared')
})
