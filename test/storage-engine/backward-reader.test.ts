/** Reading backward gives what reading forward gives, the other way round: through rolls, compaction and damage. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { segmentName } from '../../storage-engine/data-directory.ts'
import type { Log } from '../../storage-engine/log.ts'
import { MemoryFiles } from '../../storage-engine/memory-files.ts'
import { Random } from '../support/random.ts'
import { openWithLostFooter } from './lost-footer.ts'
import { openSmall, readAll } from './small-log.ts'

const STREAMS = [100, 200, 300]
const judge = {
  marks: async (streams: readonly unknown[]) => streams.map(() => 0),
  floors: async (streams: readonly unknown[]) => streams.map(() => 0),
  isNeeded: async () => true,
  drop: async () => {},
}

async function fill(log: Log, random: Random, count: number): Promise<void> {
  for (let i = 0; i < count; i += 1) {
    const payload = Buffer.alloc(random.int(random.chance(0.01) ? 100_000 : 200), i % 256)
    await log.append({ streamId: random.pick(STREAMS), kind: 3, payload })
  }
}

async function backward(log: Log, streamId: number, before: number): Promise<{ offsets: number[]; gaps: unknown[] }> {
  const offsets: number[] = []
  const gaps: unknown[] = []
  for await (const items of log.backward(streamId, before)) {
    assert(items.length > 0)
    for (const item of items) {
      if ('gap' in item) gaps.push(item.gap)
      else {
        assert.equal(item.record.streamId, streamId)
        offsets.push(item.record.offset)
      }
    }
  }
  return { offsets, gaps }
}

async function assertReversed(log: Log, random: Random): Promise<void> {
  for (const streamId of STREAMS) {
    const forward = (await readAll(log, 0, streamId)).records.map(({ offset }) => offset)
    for (const before of [log.lastOffset + 1, random.pick(forward), (forward[0] ?? 0) + 1, 0]) {
      const expected = forward.filter((offset) => offset < before).reverse()
      assert.deepEqual(await backward(log, streamId, before), { offsets: expected, gaps: [] })
    }
  }
}

test('backward is forward reversed, from any number, before, while and after segments are compacted', async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  const files = new MemoryFiles()
  const log = await openSmall(files, '/log', { segmentBytesMax: 256 * 1024 })
  await fill(log, random, 3000)
  await assertReversed(log, random)
  log.startCompaction({ judge, bytesPerSecondMax: 2 ** 40, deadShareMin: 0.5, intervalMs: 2 ** 30 })
  const compacting = log.compact()
  await assertReversed(log, random)
  await compacting
  assert((log.statistics().compaction?.runs ?? 0) > 0, 'something was compacted')
  await assertReversed(log, random)
  await log.close()
  const again = await openSmall(files, '/log')
  await assertReversed(again, random)
  await again.close()
})

for (const withIndex of [true, false]) {
  test(`a record that cannot be read is a gap in its place, ${withIndex ? 'with' : 'without'} a sidecar`, async () => {
    const files = new MemoryFiles()
    const log = await openSmall(files, '/log')
    const offsets: number[] = []
    for (let i = 0; i < 9; i += 1) {
      offsets.push(await log.append({ streamId: 100, kind: 3, payload: Buffer.from(`payload ${i}`) }))
    }
    await log.close()
    const path = `/log/${segmentName(1)}`
    const file = await files.open(path, 'update')
    const bytes = Buffer.alloc(file.sizeBytes)
    await file.read(bytes, 0)
    await file.write(Buffer.from('P'), bytes.indexOf('payload 4'))
    await file.close()
    if (!withIndex) await files.remove(path.replace('.log', '.index'))
    const again = await openSmall(files, '/log')
    const { offsets: found, gaps } = await backward(again, 100, Number.MAX_SAFE_INTEGER)
    assert.deepEqual(found, offsets.toSpliced(4, 1).reverse())
    assert.equal(gaps.length, 1)
    const [{ after, through }] = gaps as [{ after: number; through: number }]
    assert(after >= offsets[3]! && after < offsets[4]! && through >= offsets[4]! && through < offsets[5]!)
    await again.close()
  })
}

test('what the lost end of a segment may have held is a gap, told once, for whoever begins behind it or within it', async () => {
  const { log, offsets, streamId, damage } = await openWithLostFooter()
  const { after, through } = damage
  const older = offsets.slice(0, 3).reverse()
  const gapTo = (end: number) => [{ after, through: end, reason: 'damaged' }]
  for (const before of [Number.MAX_SAFE_INTEGER, offsets[3]!, through + 1]) {
    const newer = offsets.slice(3).filter((offset) => offset < before)
    const expected = { offsets: [...newer.reverse(), ...older], gaps: gapTo(through) }
    assert.deepEqual(await backward(log, streamId, before), expected)
  }
  assert.deepEqual(await backward(log, streamId, through - 5), { offsets: older, gaps: gapTo(through - 6) })
  assert.deepEqual(await backward(log, streamId, after + 1), { offsets: older, gaps: [] })
  await log.close()
})
