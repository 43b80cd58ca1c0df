/** Where an entry of the catalogue lies that another one takes back. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { catalogElsewhere } from '../../storage-engine/compaction-floors.ts'
import { CATALOG_STREAM, FOOTER_BYTES } from '../../storage-engine/format.ts'
import { recoverLog } from '../../storage-engine/recovery.ts'
import { SegmentSet } from '../../storage-engine/segment-set.ts'
import { contextOf, folderOf, pathOf } from './written-folder.ts'
import { WrittenSegment } from './written-segment.ts'

/** Segments 1 to 4, each with an entry of the catalogue at its generation times 1000, and one of a topic behind it. */
function row(): WrittenSegment[] {
  const segments: WrittenSegment[] = []
  for (let generation = 1; generation <= 4; generation += 1) {
    const segment = new WrittenSegment(generation, generation * 1000, {}, segments.at(-1)?.batches.at(-1)?.crc ?? 0)
    for (const streamId of [CATALOG_STREAM, 100]) segment.add([{ streamId, kind: 1, payload: Buffer.from('x') }])
    if (generation < 4) segment.seal(generation + 1)
    segments.push(segment)
  }
  return segments
}

test('an entry is elsewhere where another segment has it, or may have had it where that is damaged', async () => {
  const written = row()
  const files = await folderOf(written)
  const { bytes } = written[1]!
  files.patch(pathOf(written[1]!), bytes.length - FOOTER_BYTES - 20, Buffer.alloc(FOOTER_BYTES + 20))
  const context = contextOf(files)
  const segments = new SegmentSet(context, await recoverLog(context), {
    segmentBytesMax: 2 ** 20,
    segmentRecordsMax: 2 ** 20,
    logBytesMax: undefined,
  })
  const [first, damaged] = segments.all
  const [damage] = damaged?.unindexedDamages ?? []
  assert(first !== undefined && damage !== undefined)
  const isElsewhere = catalogElsewhere(segments, [first])
  assert.equal(await isElsewhere(1000), false, 'it is rewritten with the one that takes it back')
  assert.equal(await isElsewhere(2000), true)
  assert.equal(await isElsewhere(damage.after + 1), true)
  assert.equal(await isElsewhere(damage.through), true)
  assert.equal(await isElsewhere(3000), true)
  assert.equal(await isElsewhere(3001), false, 'an event')
  await segments.close()
})
