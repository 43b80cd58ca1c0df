/** The room that is kept for a full disk: taken whole, and given whenever it is asked for. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FaultyFiles } from '../../storage-engine/faulty-files.ts'
import { Reserve } from '../../storage-engine/reserve.ts'

const DIRECTORY = '/log'

async function makeReserve(sizeBytes: number) {
  const files = new FaultyFiles()
  await files.makeDirectory(DIRECTORY)
  return { files, reserve: new Reserve(files, DIRECTORY, sizeBytes) }
}

test('room that is asked for while it is being taken again is given when that is done', async () => {
  const { files, reserve } = await makeReserve(8192)
  const held = files.hold('sync')
  const restoring = reserve.restore()
  await held.arrived
  const releasing = reserve.release()
  held()
  assert.equal(await restoring, true)
  assert.equal(await releasing, true)
  assert.equal(reserve.isWhole, false)
  assert.deepEqual(await files.list(DIRECTORY), [])
  assert.equal(await reserve.release(), false, 'there is no more of it')
})

test('every byte of it is written: a file with holes keeps no room', async () => {
  const sizeBytes = 5 * 2 ** 19 + 1
  const { files, reserve } = await makeReserve(sizeBytes)
  let writtenBytes = 0
  files.fail(
    ({ operation, length = 0 }) => {
      if (operation === 'write') writtenBytes += length
      return false
    },
    { code: 'EIO' },
  )
  assert.equal(await reserve.restore(), true)
  assert.equal(writtenBytes, sizeBytes)
  assert.equal(files.usedBytes, sizeBytes)
})
