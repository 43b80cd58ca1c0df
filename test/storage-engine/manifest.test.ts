/** The bytes of a manifest, and how it gets to the disk. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { manifestName } from '../../storage-engine/data-directory.ts'
import { SyncFailure } from '../../storage-engine/errors.ts'
import { FaultyFiles } from '../../storage-engine/faulty-files.ts'
import {
  decodeManifest,
  encodeManifest,
  type Manifest,
  noManifest,
  readNewestManifest,
  writeManifest,
} from '../../storage-engine/manifest.ts'
import { IDENTITY } from './written-segment.ts'

const DIRECTORY = '/d'
const manifest: Manifest = {
  identity: IDENTITY,
  number: 7,
  checkpointFloor: 2 ** 40 + 5,
  compacted: [
    { generation: 30, placeFrom: 1, placeThrough: 9, coveredLast: 2 ** 41, ceiling: 2 ** 42, inputs: [20, 8, 9] },
    { generation: 31, placeFrom: 10, placeThrough: 10, coveredLast: 2 ** 41 + 1, ceiling: 2 ** 42, inputs: [10] },
  ],
  replaced: [{ generation: 20, by: 30 }],
}

async function folder(): Promise<FaultyFiles> {
  const files = new FaultyFiles()
  await files.makeDirectory(DIRECTORY)
  files.settle()
  return files
}

test('a manifest is what it was before it was written', () => {
  for (const one of [manifest, { ...noManifest(IDENTITY), number: 1 }]) {
    assert.deepEqual(decodeManifest(encodeManifest(one)), { kind: 'manifest', manifest: one })
  }
})

test('row 22: no byte of a manifest can be another, none be missing, and none too much', () => {
  const bytes = encodeManifest(manifest)
  for (let at = 0; at < bytes.length; at += 1) {
    const spoiled = Buffer.from(bytes)
    spoiled[at]! ^= 1
    assert.equal(decodeManifest(spoiled).kind, 'damaged', `byte ${at}`)
    assert.equal(decodeManifest(bytes.subarray(0, at)).kind, 'damaged', `length ${at}`)
  }
  assert.equal(decodeManifest(Buffer.concat([bytes, Buffer.alloc(8)])).kind, 'damaged')
})

test('the newest manifest is read, also where it does not verify and an older one does', async () => {
  const files = await folder()
  assert.equal(await readNewestManifest(files, DIRECTORY, await files.list(DIRECTORY)), undefined)
  await writeManifest(files, DIRECTORY, manifest)
  await writeManifest(files, DIRECTORY, { ...manifest, number: 12 })
  const read = await readNewestManifest(files, DIRECTORY, await files.list(DIRECTORY))
  assert.equal(read?.number, 12)
  files.patch(`${DIRECTORY}/${manifestName(12)}`, 50, Uint8Array.of(9))
  const again = await readNewestManifest(files, DIRECTORY, await files.list(DIRECTORY))
  assert.deepEqual([again?.number, again?.decoded.kind], [12, 'damaged'])
})

test('a manifest that the disk cannot read is one that does not verify', async () => {
  const files = await folder()
  await writeManifest(files, DIRECTORY, manifest)
  files.failReads(`${DIRECTORY}/${manifestName(7)}`)
  const read = await readNewestManifest(files, DIRECTORY, await files.list(DIRECTORY))
  assert.equal(read?.decoded.kind, 'damaged')
})

test('a manifest is durable when it is written, and is not there in part at any step before', async () => {
  const before = await folder()
  for (let at = 1; at < 20; at += 1) {
    const files = before.snapshot()
    files.crashAt(files.operations + at, 'after')
    const isWritten = await writeManifest(files, DIRECTORY, manifest).then(
      () => true,
      () => false,
    )
    const lost = isWritten ? files.powerLoss() : files.afterCrash({ writes: 'lost', names: 'kept' })
    const read = await readNewestManifest(lost, DIRECTORY, await lost.list(DIRECTORY))
    if (read !== undefined) assert.deepEqual(read.decoded, { kind: 'manifest', manifest }, `step ${at}`)
    if (!isWritten) continue
    assert.equal(read?.number, 7)
    return
  }
  assert.fail('it is written in fewer steps')
})

test('a write that fails leaves nothing behind, and a sync that fails is told as such', async () => {
  const files = await folder()
  for (const operation of ['write', 'rename'] as const) {
    files.fail((one) => one.operation === operation, { code: 'ENOSPC' })
    await assert.rejects(writeManifest(files, DIRECTORY, manifest), { code: 'ENOSPC' })
    assert.deepEqual(await files.list(DIRECTORY), [])
  }
  files.fail((one) => one.operation === 'sync', { code: 'EIO' })
  await assert.rejects(writeManifest(files, DIRECTORY, manifest), SyncFailure)
})
