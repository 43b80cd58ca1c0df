/**
 * What a start makes of folders in which compactions were cut off, whose files came back, or whose manifest is gone: every
 * record is there once, and nothing is removed that stands nowhere else.
 */

import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { crc32 } from 'node:zlib'
import { indexName, manifestName, segmentName } from '../../storage-engine/data-directory.ts'
import type { FaultyFiles } from '../../storage-engine/faulty-files.ts'
import { StorageError } from '../../storage-engine/index.ts'
import { decodeManifest, encodeManifest, type Manifest } from '../../storage-engine/manifest.ts'
import { test } from '../support/unwatched.ts'
import type { Known } from './small-log.ts'
import { readAll } from './small-log.ts'
import {
  compare,
  FOLDER,
  flipBit,
  folderOf,
  IN_CONTENT,
  knownOf,
  manifestOf,
  manifestPath,
  merged,
  pathOf,
  replacedBy,
  rolledRow,
  start,
  startAndCompare,
  subsets,
} from './written-folder.ts'
import { WrittenSegment } from './written-segment.ts'

const row = rolledRow(6)
const [one, two, three, four] = row as [WrittenSegment, WrittenSegment, WrittenSegment, WrittenSegment]
const everything = knownOf(row)
/** A run over the first two, and a later one over what it wrote and the third. */
const first = merged([one, two], 20)
const second = merged([first, three], 21)
const afterFirst = manifestOf(1, [first], replacedBy(first, [one, two]))
const afterSecond = manifestOf(2, [second], [...replacedBy(second, [one, two]), ...replacedBy(second, [first, three])])

function without(segments: readonly WrittenSegment[]): WrittenSegment[] {
  return row.filter((segment) => !segments.includes(segment))
}

interface State {
  readonly title: string
  readonly segments: readonly WrittenSegment[]
  readonly manifests: readonly Manifest[]
}

/** Between any two steps of both runs, with any of the removals undone. */
function* states(): Generator<State> {
  yield { title: 'before the first manifest', segments: [...row, first], manifests: [] }
  for (const left of subsets([one, two])) {
    const title = `after the first manifest, ${left.length} inputs left`
    const segments = [...without([one, two]), ...left, first]
    yield { title, segments, manifests: [afterFirst] }
    yield { title: `${title}, second output`, segments: [...segments, second], manifests: [afterFirst] }
  }
  for (const left of subsets([one, two, first, three])) {
    const segments = [...without([one, two, three]), ...left, second]
    for (const manifests of [[afterSecond], [afterFirst, afterSecond]]) {
      yield { title: `after the second manifest, ${left.length} left of ${manifests.length}`, segments, manifests }
    }
  }
}

async function namesOf(files: FaultyFiles): Promise<readonly string[]> {
  return (await files.list(FOLDER)).filter((name) => name.endsWith('.log') || name.startsWith('manifest-'))
}

async function newestManifest(files: FaultyFiles): Promise<Manifest> {
  const name = (await files.list(FOLDER)).findLast((one) => one.startsWith('manifest-')) as string
  const decoded = decodeManifest(Buffer.from(files.readFile(`${FOLDER}/${name}`)))
  assert.equal(decoded.kind, 'manifest')
  return (decoded as Extract<typeof decoded, { kind: 'manifest' }>).manifest
}

describe('a compaction that was cut off', () => {
  test('row 74: a crash between any two steps, with any of the removals undone, loses nothing and doubles nothing', async () => {
    for (const { title, segments, manifests } of states()) {
      const files = await folderOf(segments, manifests)
      assert.deepEqual(await startAndCompare(files, everything, title), [], title)
      assert.deepEqual(await startAndCompare(files, everything, `${title}, again`), [], title)
    }
  })

  test('row 74: the same where the newest manifest does not verify', async () => {
    for (const { title, segments, manifests } of states()) {
      const newest = manifests.at(-1)
      if (newest === undefined) continue
      const files = await folderOf(segments, manifests)
      flipBit(files, manifestPath(newest), 40)
      assert.deepEqual(await startAndCompare(files, everything, title), [manifestName(newest.number)], title)
      assert.deepEqual(await startAndCompare(files, everything, `${title}, again`), [], `${title}, again`)
    }
  })

  test('row 74: where the newest manifest does not verify, nothing goes before another one is durable', async () => {
    for (const { title, segments, manifests } of states()) {
      const newest = manifests.at(-1)
      if (newest === undefined) continue
      const files = await folderOf(segments, manifests)
      flipBit(files, manifestPath(newest), 40)
      const before = new Set(await namesOf(files))
      const release = files.fail(({ operation, path }) => operation === 'rename' && path.includes('manifest-'), {
        code: 'EIO',
      })
      await assert.rejects(start(files), title)
      release()
      const after = new Set(await namesOf(files))
      assert.deepEqual(
        [...before].filter((name) => !after.has(name)),
        [],
        title,
      )
    }
  })

  test('row 12: a start over any of these states that is killed at any step, and again at the next, ends the same', async () => {
    const chosen = [...states()].filter(({ segments, manifests }) => segments.length + manifests.length >= 9)
    for (const { title, segments, manifests } of chosen) {
      for (const isDamaged of [false, true]) {
        const original = await folderOf(segments, manifests)
        const newest = manifests.at(-1)
        if (isDamaged && newest === undefined) continue
        if (isDamaged) flipBit(original, manifestPath(newest as Manifest), 40)
        await killAtEveryStep(original, `${title}, ${isDamaged}`)
      }
    }
  })

  test('row 11: a replaced file that comes back is removed again, as long as the manifest names it', async () => {
    const files = await folderOf([...without([one, two]), first, one], [afterFirst])
    files.putFile(`${FOLDER}/${indexName(1)}`, Buffer.from('an old sidecar'))
    await startAndCompare(files, everything, 'one came back')
    const names = await files.list(FOLDER)
    assert.ok(!names.includes(segmentName(1)) && !names.includes(indexName(1)), names.join(', '))
  })

  test('a remnant of a run that no manifest knows goes, and older manifests go with it', async () => {
    const files = await folderOf(
      [...without([one, two]), first, merged([three, four], 22)],
      [afterFirst, { ...afterFirst, number: 2 }],
    )
    await startAndCompare(files, everything, 'remnant')
    const names = await namesOf(files)
    assert.ok(!names.includes(segmentName(22)), names.join(', '))
    assert.ok(!names.includes(manifestName(1)) && names.includes(manifestName(2)), names.join(', '))
  })
})

async function killAtEveryStep(original: FaultyFiles, title: string): Promise<void> {
  for (let at = 1; at < 200; at += 2) {
    const disk = original.snapshot()
    disk.crashAt(disk.operations + at, 'after')
    const isThrough = await start(disk).then(
      async ({ log }) => {
        await log.close().catch(() => undefined)
        return !disk.crashed
      },
      () => false,
    )
    const again = disk.crashed ? disk.powerLoss() : disk.snapshot()
    await startAndCompare(again, everything, `${title}, killed at ${at}`)
    if (isThrough) return
  }
  assert.fail('a start has fewer steps')
}

describe('damage', () => {
  test('a compacted segment that does not verify is set aside while all that it was made from is there', async () => {
    for (const manifests of [[], [afterFirst]]) {
      const files = await folderOf([...row, first], manifests)
      flipBit(files, pathOf(first), IN_CONTENT)
      assert.deepEqual(await startAndCompare(files, everything, 'set aside'), [segmentName(20)])
      assert.ok((await namesOf(files)).includes(segmentName(1)))
    }
  })

  test('a compacted segment that does not verify, and stands for what is gone, keeps what is left of that', async () => {
    const files = await folderOf([...without([one, two]), two, first], [afterFirst])
    flipBit(files, pathOf(first), first.batches[1]!.position + 70)
    const { log, told } = await start(files)
    const concerned = await readAll(log, 0, 100)
    assert.ok(concerned.gaps.length > 0, 'a reader is told')
    const lost = everything.filter(ofStream(100)).length - concerned.records.length
    assert.equal(lost, 2, 'the two records of one batch')
    const records = everything.filter(ofStream(200))
    assert.deepEqual(await readAll(log, 0, 200), { records, gaps: [] }, 'others lose nothing')
    assert.ok(told.damages.some(({ file }) => file === segmentName(20)))
    await log.close()
    assert.ok((await namesOf(files)).includes(segmentName(2)), 'evidence stays')
  })

  test('row 19: each byte of the header of a compacted segment: all is read, by what the manifest says of it', async () => {
    const clean = await folderOf([...without([one, two]), first], [manifestOf(1, [first])])
    for (let at = 0; at < first.headerEnd; at += 1) {
      const files = clean.snapshot()
      flipBit(files, pathOf(first), at)
      const told = await startAndCompare(files, everything, `byte ${at}`)
      assert.deepEqual(told, [segmentName(20)], `byte ${at}`)
    }
  })

  test('a remnant without a header that verifies hides nothing of what a start copies past a torn tail', async () => {
    const files = await folderOf([...row, first], [manifestOf(1, [])])
    flipBit(files, pathOf(first), 40)
    files.putFile(pathOf(row[5]!), Buffer.concat([row[5]!.bytes, Buffer.alloc(100, 1)]))
    const told = await startAndCompare(files, everything, 'remnant')
    assert.deepEqual([...new Set(told)], [segmentName(20)])
  })

  test('row 22: each byte of the manifest: the headers say it instead, and a new one is written', async () => {
    const clean = await folderOf([...without([one, two, three]), two, second], [afterSecond])
    const size = clean.readFile(manifestPath(afterSecond)).length
    for (let at = 0; at < size; at += 1) {
      const files = clean.snapshot()
      flipBit(files, manifestPath(afterSecond), at)
      assert.deepEqual(await startAndCompare(files, everything, `byte ${at}`), [manifestName(2)], `byte ${at}`)
      const manifest = await newestManifest(files)
      assert.equal(manifest.number, 3)
      assert.deepEqual(
        manifest.compacted.map(({ generation, placeFrom, placeThrough }) => [generation, placeFrom, placeThrough]),
        [[21, 1, 3]],
      )
      assert.equal(manifest.checkpointFloor, second.header.coveredLast, 'what was dropped is not known any more')
    }
  })

  test('a manifest that is cut off at any length does not verify', async () => {
    const clean = await folderOf([...without([one, two]), first], [afterFirst])
    const whole = clean.readFile(manifestPath(afterFirst))
    for (let length = 0; length < whole.length; length += 7) {
      const files = clean.snapshot()
      files.putFile(manifestPath(afterFirst), whole.subarray(0, length))
      assert.deepEqual(await startAndCompare(files, everything, `length ${length}`), [manifestName(1)])
    }
  })
})

describe('what is missing', () => {
  test('a compacted segment that the manifest names, and that is gone with its inputs, is told to every reader', async () => {
    const files = await folderOf(without([one, two]), [manifestOf(1, [first])])
    for (const round of [1, 2]) {
      const { log, told } = await start(files)
      const missing = told.damages.find(({ file }) => file === segmentName(20))
      assert.deepEqual([missing?.after, missing?.through, round], [0, first.header.coveredLast, round])
      const { records, gaps } = await readAll(log, 0, 100)
      assert.deepEqual(gaps, [{ after: 0, through: first.header.coveredLast, reason: 'damaged' }])
      assert.deepEqual(records, knownOf(without([one, two])).filter(ofStream(100)))
      await log.close()
    }
  })

  test('one that is gone while its inputs are there is no loss', async () => {
    assert.deepEqual(await startAndCompare(await folderOf(row, [afterFirst]), everything, 'inputs'), [])
  })

  test('the segment behind the last compacted one is told as missing, and the log goes on', async () => {
    const files = await folderOf([merged(row.slice(0, 5), 20)], [manifestOf(1, [merged(row.slice(0, 5), 20)])])
    const { log, told } = await start(files)
    assert.deepEqual(
      told.damages.map(({ reason }) => reason),
      ['the segment behind it is missing'],
    )
    const appended = await log.append({ streamId: 100, kind: 1, payload: Buffer.from('on') })
    const { records } = await readAll(log, 0, 100)
    assert.equal(records.at(-1)?.offset, appended)
    await log.close()
    await start(files).then(async ({ log }) => {
      assert.equal((await readAll(log, 0, 100)).records.at(-1)?.offset, appended)
      await log.close()
    })
  })

  test('generations that lie in the place of a compacted segment are not missing', async () => {
    const files = await folderOf([row[5]!, merged(row.slice(0, 5), 20)], [manifestOf(1, [merged(row.slice(0, 5), 20)])])
    assert.deepEqual(await startAndCompare(files, everything, 'place'), [])
  })

  test('a manifest without any segment is no new log', async () => {
    await assert.rejects(start(await folderOf([], [afterFirst])), (error) => {
      return error instanceof StorageError && error.code === 'STORAGE_MISSING'
    })
  })
})

describe('what is refused', () => {
  test('a manifest of another log, a copy of one, and one of a newer version, before anything is changed', async () => {
    const foreign = { ...afterFirst, identity: Buffer.alloc(16, 7) }
    const cases: [string, (files: FaultyFiles) => void][] = [
      ['STORAGE_FOREIGN', (files) => files.putFile(manifestPath(foreign), encodeManifest(foreign))],
      ['STORAGE_FOREIGN', (files) => files.putFile(`${FOLDER}/${manifestName(9)}`, encodeManifest(afterFirst))],
      [
        'STORAGE_NEWER_FORMAT',
        (files) => files.putFile(manifestPath(afterFirst), ofVersion(2, encodeManifest(afterFirst))),
      ],
    ]
    for (const [code, spoil] of cases) {
      const files = await folderOf([...row, first], [afterFirst])
      spoil(files)
      const before = await namesOf(files)
      await assert.rejects(start(files), (error) => error instanceof StorageError && error.code === code)
      assert.deepEqual(await namesOf(files), before)
    }
  })
})

describe('order', () => {
  test('a log goes on behind compacted segments, and numbers stay above all that they ever held', async () => {
    const plain = merged(row.slice(0, 5), 20)
    const ceiling = 2 ** 45
    const output = new WrittenSegment(20, 0, { ...plain.header, ceiling })
    output.addNumbered(plain.records)
    output.seal(0)
    const { log } = await start(await folderOf([row[5]!, output]))
    const appended = await log.append({ streamId: 100, kind: 1, payload: Buffer.from('on') })
    assert.ok(appended >= ceiling, 'batches that are gone may have reserved these numbers')
    await compare(log, [...everything, { offset: appended, streamId: 100, text: 'on' }], 'behind')
    await log.close()
  })
})

/** As a later version might write it. */
function ofVersion(version: number, manifest: Buffer): Buffer {
  manifest.writeUInt32LE(version, 8)
  manifest.writeUInt32LE(crc32(manifest.subarray(16), crc32(manifest.subarray(0, 12))), 12)
  return manifest
}

function ofStream(streamId: number): (known: Known) => boolean {
  return (known) => known.streamId === streamId
}
