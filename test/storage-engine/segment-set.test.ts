/** A compacted segment takes the place of what it was made from: in memory in one turn, on the disk step by step. */

import assert from 'node:assert/strict'
import { indexName, parseName, segmentName } from '../../storage-engine/data-directory.ts'
import { SyncFailure } from '../../storage-engine/errors.ts'
import type { FaultyFiles } from '../../storage-engine/faulty-files.ts'
import { FOOTER_BYTES } from '../../storage-engine/format.ts'
import { IndexDoubt } from '../../storage-engine/index-file.ts'
import { decodeManifest, type Manifest } from '../../storage-engine/manifest.ts'
import { recoverLog } from '../../storage-engine/recovery.ts'
import { scanSegment } from '../../storage-engine/scan.ts'
import { Segment } from '../../storage-engine/segment.ts'
import { SegmentSet } from '../../storage-engine/segment-set.ts'
import { test } from '../support/unwatched.ts'
import { contextOf, FOLDER, folderOf, knownOf, merged, pathOf, rolledRow, startAndCompare } from './written-folder.ts'
import { BytesSource, type WrittenSegment } from './written-segment.ts'

const row = rolledRow(6)
const everything = knownOf(row)
const first = merged(row.slice(0, 2), 20)
const second = merged([first, row[2]!], 21)
const limits = { segmentBytesMax: 2 ** 20, segmentRecordsMax: 2 ** 20, logBytesMax: undefined }

interface Opened {
  readonly files: FaultyFiles
  readonly segments: SegmentSet
}

async function open(): Promise<Opened> {
  const files = await folderOf(row)
  const context = contextOf(files)
  return { files, segments: new SegmentSet(context, await recoverLog(context), limits) }
}

/** Puts the output, durable, in the place of as many segments, from the first one on. */
async function replace({ files, segments }: Opened, output: WrittenSegment, count: number, floor = 0): Promise<void> {
  files.putFile(pathOf(output), output.bytes)
  const inputs = segments.all.slice(0, count)
  const segment = new Segment(segments.context, output.header, output.headerEnd, { crc: 0, last: 0 })
  const source = new BytesSource(output.bytes, segment.seed)
  for await (const item of scanSegment(source, segment.headerEnd, segment.chainBefore, segment.order)) {
    if (item.kind === 'batch') segment.accept(item.bytes, item.header, item.position)
  }
  segment.markSealed()
  await segments.replace(inputs, segment, floor)
}

function generations({ segments }: Opened): number[] {
  return segments.all.map(({ generation }) => generation)
}

async function manifests(files: FaultyFiles): Promise<Manifest[]> {
  const names = (await files.list(FOLDER)).filter((name) => name.startsWith('manifest-'))
  return names.map((name) => {
    const decoded = decodeManifest(Buffer.from(files.readFile(`${FOLDER}/${name}`)))
    assert.equal(decoded.kind, 'manifest')
    return (decoded as Extract<typeof decoded, { kind: 'manifest' }>).manifest
  })
}

async function untilGone(files: FaultyFiles, name: string): Promise<void> {
  while (await hasFile(files, name)) await new Promise(setImmediate)
}

async function hasFile(files: FaultyFiles, name: string): Promise<boolean> {
  return (await files.list(FOLDER)).includes(name)
}

test('the segment behind a number is the first that may hold a higher one', async () => {
  const { segments } = await open()
  // The start has left an empty one among them.
  const filled = segments.all.filter(({ recordCount }) => recordCount > 0)
  assert.equal(segments.segmentAfter(0), filled[0])
  for (const [i, segment] of filled.entries()) {
    assert.equal(segments.segmentAfter(segment.last - 1), segment)
    assert.equal(segments.segmentAfter(segment.last), filled[i + 1] ?? segments.active)
  }
  await segments.close()
})

test('damage at the end of a segment lies before the next one, up to the last number that it may have held', async () => {
  const files = await folderOf(row)
  // Its last batch, and the footer, by which the last number would be known all the same.
  const { bytes } = row[1]!
  files.patch(pathOf(row[1]!), bytes.length - FOOTER_BYTES - 20, Buffer.alloc(FOOTER_BYTES + 20))
  const context = contextOf(files)
  const segments = new SegmentSet(context, await recoverLog(context), limits)
  const [damage] = segments.all[1]!.unindexedDamages
  assert.ok(damage !== undefined && damage.after < damage.through)
  assert.equal(segments.segmentAfter(damage.after), segments.all[1])
  assert.equal(segments.segmentAfter(damage.through - 1), segments.all[1])
  assert.equal(segments.segmentAfter(damage.through), segments.all[2])
  await segments.close()
})

test('an output takes the place of its inputs, whose files and sidecars go, and a later manifest leaves them out', async () => {
  const opened = await open()
  const { files, segments } = opened
  assert.ok(await hasFile(files, indexName(1)))
  await replace(opened, first, 2, 1005)
  assert.deepEqual(generations(opened).slice(0, 2), [20, 3])
  assert.deepEqual(segments.manifest.replaced, [
    { generation: 1, by: 20 },
    { generation: 2, by: 20 },
  ])
  await replace(opened, second, 2, 1003)
  assert.deepEqual(generations(opened).slice(0, 2), [21, 4])
  await segments.close()
  const [newest, ...older] = await manifests(files)
  assert.deepEqual([newest?.number, older.length], [2, 0])
  assert.equal(newest?.checkpointFloor, 1005, 'the highest that any run has dropped')
  assert.deepEqual(
    newest?.compacted.map(({ generation, inputs }) => [generation, inputs]),
    [[21, [20, 3]]],
  )
  for (const generation of [1, 2, 3, 20]) {
    assert.ok(!(await hasFile(files, segmentName(generation))), `segment ${generation}`)
    assert.ok(!(await hasFile(files, indexName(generation))), `sidecar ${generation}`)
  }
  assert.deepEqual(await startAndCompare(files.powerLoss(), everything, 'after a loss of power'), [])
})

test('what the disk would not remove stays named as replaced, by what stands for it by then, and goes later', async () => {
  const opened = await open()
  const { files, segments } = opened
  files.fail(({ operation, path }) => operation === 'remove' && path.endsWith(segmentName(1)), { code: 'EIO' })
  await replace(opened, first, 2)
  await segments.sealActive()
  assert.deepEqual(segments.manifest.replaced, [{ generation: 1, by: 20 }])
  await replace(opened, second, 2)
  const [newest] = (await manifests(files)).slice(-1)
  assert.deepEqual(newest?.replaced, [
    { generation: 1, by: 21 },
    { generation: 20, by: 21 },
    { generation: 3, by: 21 },
  ])
  await segments.close()
  assert.ok(!(await hasFile(files, segmentName(1))), 'tried again')
})

test('while it is pinned no file of the log is removed, and afterwards what was replaced meanwhile goes', async () => {
  const opened = await open()
  const { files, segments } = opened
  const pins = [segments.pin(), segments.pin()]
  await replace(opened, first, 2)
  await segments.sealActive()
  pins[0]!.release()
  pins[0]!.release()
  await segments.sealActive()
  assert.ok(await hasFile(files, segmentName(1)), 'one pin is left')
  assert.equal(segments.manifest.replaced.length, 2)
  pins[1]!.release()
  await segments.close()
  assert.ok(!(await hasFile(files, segmentName(1))))
})

test('a manifest that cannot be written changes nothing; one whose sync fails is final', async () => {
  const opened = await open()
  const { files, segments } = opened
  const before = generations(opened)
  files.fail(({ operation, path }) => operation === 'write' && path.includes('manifest'), { code: 'ENOSPC' })
  await assert.rejects(replace(opened, first, 2), { code: 'ENOSPC' })
  assert.deepEqual([generations(opened), segments.manifest.number], [before, 0])
  files.deleteFile(pathOf(first))
  files.fail(({ operation, path }) => operation === 'sync' && path.includes('manifest'), { code: 'EIO' })
  await assert.rejects(replace(opened, first, 2), SyncFailure)
  assert.deepEqual(generations(opened), before)
  files.deleteFile(pathOf(first))
  await assert.rejects(replace(opened, first, 2), SyncFailure)
  await segments.close()
})

test('a sidecar that is made again while its segment is replaced does not stay behind', async () => {
  const opened = await open()
  const { files, segments } = opened
  const held = files.hold(({ operation, path }) => operation === 'sync' && path.includes(indexName(1)))
  const mended = segments.mendIndex(segments.all[0] as Segment, new IndexDoubt(indexName(1), 'page 1 does not verify'))
  await held.arrived
  await replace(opened, first, 2)
  await untilGone(files, segmentName(1))
  held()
  await mended
  assert.ok(!(await hasFile(files, indexName(1))))
  await segments.close()
})

test('what cannot be read of a segment that was replaced meanwhile is no damage', async () => {
  const opened = await open()
  const { files, segments } = opened
  const held = files.hold(({ operation, path }) => operation === 'open' && path.endsWith(segmentName(1)))
  const doubt = new IndexDoubt(indexName(1), 'page 1 does not verify')
  const mended = segments.mendIndex(segments.all[0] as Segment, doubt)
  await held.arrived
  await replace(opened, first, 2)
  await untilGone(files, segmentName(1))
  held()
  await assert.rejects(mended, doubt)
  assert.deepEqual(segments.damages, [])
  await segments.close()
})

test('files that were removed do not come back behind a manifest that does not name them any more', async () => {
  const opened = await open()
  const { files, segments } = opened
  await replace(opened, first, 2)
  while (segments.manifest.replaced.length > 0) await new Promise(setImmediate)
  const held = files.hold('syncDirectory')
  const replaced = replace(opened, second, 2)
  await held.arrived
  // The manifest has its name; of all that the folder has not been synced since, only removals are undone.
  const names = ({ change }: { readonly change: string }) => (change === 'remove' ? 'lost' : 'kept')
  const disk = files.afterCrash({ writes: 'kept', truncates: 'kept', names })
  assert.deepEqual(await startAndCompare(disk, everything, 'behind the second manifest'), [])
  assert.ok(!(await hasFile(disk, segmentName(1))))
  held()
  await replaced
  await segments.close()
})

test('bytes on the disk are those of segments and sidecars, and generations are never given twice', async () => {
  const opened = await open()
  const { files, segments } = opened
  await segments.sealActive()
  await segments.close()
  let bytes = 0
  for (const name of await files.list(FOLDER)) {
    if (name.startsWith('segment-')) bytes += files.readFile(`${FOLDER}/${name}`).length
  }
  // The one that is written has no footer yet.
  assert.equal(segments.bytesOnDisk - 96, bytes)
  const used = new Set([...generations(opened), segments.newGeneration()])
  assert.ok(!used.has(segments.newGeneration()))
})

test('row 1: the power goes at any step of a replacement, and nothing is lost and nothing twice', async () => {
  for (let at = 1; at < 80; at += 1) {
    const opened = await open()
    const { files, segments } = opened
    files.settle()
    files.crashAt(files.operations + at, 'after')
    const isThrough = await replace(opened, first, 2).then(
      () => true,
      () => false,
    )
    await segments.close().catch(() => undefined)
    const isWhole = isThrough && !files.crashed
    for (const disk of [files.powerLoss(), files.afterCrash({ writes: 'kept', truncates: 'kept', names: 'kept' })]) {
      assert.deepEqual(await startAndCompare(disk, everything, `killed at ${at}`), [])
      const names = await disk.list(FOLDER)
      for (const parsed of names.map(parseName)) {
        const isAlone = parsed.kind === 'index' && !names.includes(segmentName(parsed.generation))
        assert.ok(!isAlone, `killed at ${at}: a sidecar that nothing names any more`)
      }
    }
    if (isWhole) return
  }
  assert.fail('a replacement has fewer steps')
})
