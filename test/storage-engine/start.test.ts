/** What a start reads, and that it finds the same whatever was kept of the indexes. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseName } from '../../storage-engine/data-directory.ts'
import { FaultyFiles } from '../../storage-engine/faulty-files.ts'
import type { DataFile, Files } from '../../storage-engine/files.ts'
import type { Log } from '../../storage-engine/log.ts'
import { DIRECTORY, openLog, readAll } from '../support/engine-history.ts'

const STREAMS = 5
const ROUNDS = 60
const RECORDS_PER_ROUND = 100
const SEGMENTS = { segmentBytesMax: 128 * 1024 }

/** The same disk, and a count of the bytes that are read of segments. */
function counting(disk: FaultyFiles): { readonly files: Files; readonly read: () => number } {
  let bytesRead = 0
  const files: Files = {
    list: (directory) => disk.list(directory),
    makeDirectory: (directory) => disk.makeDirectory(directory),
    rename: (from, to) => disk.rename(from, to),
    remove: (path) => disk.remove(path),
    syncDirectory: (directory) => disk.syncDirectory(directory),
    async open(path, mode) {
      const file = await disk.open(path, mode)
      if (!path.endsWith('.log')) return file
      const counted: DataFile = {
        path,
        get sizeBytes() {
          return file.sizeBytes
        },
        async read(target, position) {
          const length = await file.read(target, position)
          bytesRead += length
          return length
        },
        write: (bytes, position) => file.write(bytes, position),
        truncate: (sizeBytes) => file.truncate(sizeBytes),
        sync: () => file.sync(),
        close: () => file.close(),
      }
      return counted
    },
  }
  return { files, read: () => bytesRead }
}

async function filled(): Promise<FaultyFiles> {
  const disk = new FaultyFiles()
  const { log } = await openLog(disk, SEGMENTS)
  for (let round = 0; round < ROUNDS; round += 1) {
    const records = Array.from({ length: RECORDS_PER_ROUND }, (_, i) => ({
      streamId: 100 + (i % STREAMS),
      kind: 3,
      key: Buffer.from(`key ${i % 50}`),
      payload: Buffer.alloc(100, round),
    }))
    await log.appendAll(records)
  }
  await log.close()
  return disk
}

async function stateOf(log: Log): Promise<unknown> {
  const streams: unknown[] = []
  for (let stream = 100; stream < 100 + STREAMS; stream += 1) {
    const records = await readAll(log, 0, stream)
    streams.push(records.map(({ offset, timeMs }) => [offset, timeMs]))
    streams.push(await log.findKey(stream, Buffer.from('key 7')))
  }
  return streams
}

test('row 66: a start after a clean stop reads the ends of its segments, and not what is in them', async () => {
  const disk = await filled()
  const names = (await disk.list(DIRECTORY)).filter((name) => parseName(name).kind === 'segment')
  const bytes = names.reduce((sum, name) => sum + disk.readFile(`${DIRECTORY}/${name}`).length, 0)
  const { files, read } = counting(disk)
  const { log } = await openLog(files, SEGMENTS)
  // Of each segment the header and the footer, of the last one a batch; the blocks that the start's entries lie in.
  const isLittle = read() < bytes / 4
  await log.close()
  assert(names.length > 5)
  assert(isLittle, `${read()} bytes were read of ${bytes} in ${names.length} segments`)
})

test('row 67: a start without any index, or without some of them, finds the same', async () => {
  const disk = await filled()
  const whole = await openLog(disk.snapshot(), SEGMENTS)
  const expected = await stateOf(whole.log)
  await whole.log.close()
  for (const keeps of [() => false, (i: number) => i % 2 === 0]) {
    const copy = disk.snapshot()
    const indexes = (await copy.list(DIRECTORY)).filter((name) => parseName(name).kind === 'index')
    assert(indexes.length > 5)
    for (const [i, name] of indexes.entries()) if (!keeps(i)) copy.deleteFile(`${DIRECTORY}/${name}`)
    const { log } = await openLog(copy, SEGMENTS)
    assert.deepEqual(await stateOf(log), expected)
    assert.deepEqual(log.damages, [])
    await log.close()
  }
})
