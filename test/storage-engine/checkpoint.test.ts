/** Checkpoints: whole or passed over, whatever happens to the file or to the process that writes it. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CHUNK_BYTES_LIMIT, CheckpointDoubt, openCheckpoint, writeCheckpoint } from '../../storage-engine/checkpoint.ts'
import { CheckpointStore } from '../../storage-engine/checkpoint-store.ts'
import { checkpointName } from '../../storage-engine/data-directory.ts'
import { FaultyFiles } from '../../storage-engine/faulty-files.ts'
import type { Files } from '../../storage-engine/files.ts'
import type { Log } from '../../storage-engine/log.ts'
import { MemoryFiles } from '../../storage-engine/memory-files.ts'
import { WatchedFiles } from '../support/engine-history.ts'
import { Random } from '../support/random.ts'
import { openSmall, Told } from './small-log.ts'

const DIRECTORY = '/log'
const identity = Buffer.alloc(16, 7)

async function* pieces(...texts: readonly string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield Buffer.from(text)
}

async function textOf(checkpoint: { chunks(): AsyncIterable<Buffer> } | undefined): Promise<string | undefined> {
  if (checkpoint === undefined) return undefined
  let text = ''
  for await (const chunk of checkpoint.chunks()) text += chunk.toString()
  return text
}

async function emptyFolder(): Promise<MemoryFiles> {
  const files = new MemoryFiles()
  await files.makeDirectory(DIRECTORY)
  return files
}

async function change(files: Files, name: string, spoil: (bytes: Buffer) => Buffer): Promise<void> {
  const path = `${DIRECTORY}/${name}`
  const file = await files.open(path, 'update')
  const bytes = Buffer.alloc(file.sizeBytes)
  await file.read(bytes, 0)
  const spoiled = spoil(bytes)
  await file.truncate(0)
  await file.write(spoiled, 0)
  await file.close()
}

async function numbers(files: Files): Promise<string[]> {
  return (await files.list(DIRECTORY)).filter((name) => name.startsWith('checkpoint-'))
}

test('a checkpoint is read as it was written, piece by piece, also without any', async () => {
  const files = await emptyFolder()
  const large = 'x'.repeat(CHUNK_BYTES_LIMIT)
  for (const [number, texts] of [['a', '', 'b'], [], [large, 'c']].entries()) {
    await writeCheckpoint(files, DIRECTORY, { identity, number, offset: 2 ** 52 + number }, pieces(...texts))
    const checkpoint = await openCheckpoint(files, DIRECTORY, number)
    assert.equal(checkpoint.offset, 2 ** 52 + number)
    assert.deepEqual(checkpoint.identity, Uint8Array.from(identity))
    assert.equal(await textOf(checkpoint), texts.join(''))
  }
})

test('row 22: a checkpoint with any byte changed, cut at any place or longer than it was is in doubt', async () => {
  const files = await emptyFolder()
  const name = checkpointName(1)
  await writeCheckpoint(files, DIRECTORY, { identity, number: 1, offset: 5 }, pieces('first', 'second'))
  let whole = Buffer.alloc(0)
  await change(files, name, (bytes) => {
    whole = Buffer.from(bytes)
    return bytes
  })
  const doubted = async (bytes: Buffer, what: string) => {
    await change(files, name, () => bytes)
    await assert.rejects(openCheckpoint(files, DIRECTORY, 1), CheckpointDoubt, what)
  }
  for (let at = 0; at < whole.length; at += 1) {
    // The header's last eight bytes are reserved, and covered all the same.
    for (const bit of [0, 7]) {
      const spoiled = Buffer.from(whole)
      spoiled[at] = (spoiled[at] as number) ^ (1 << bit)
      await doubted(spoiled, `byte ${at}, bit ${bit}`)
    }
    await doubted(whole.subarray(0, at), `cut at ${at}`)
  }
  await doubted(Buffer.concat([whole, Buffer.alloc(1)]), 'longer')
  await change(files, name, () => whole)
  assert.equal(await textOf(await openCheckpoint(files, DIRECTORY, 1)), 'firstsecond')
})

test('a checkpoint under the name of another one is in doubt', async () => {
  const files = await emptyFolder()
  await writeCheckpoint(files, DIRECTORY, { identity, number: 1, offset: 5 }, pieces('x'))
  await files.rename(`${DIRECTORY}/${checkpointName(1)}`, `${DIRECTORY}/${checkpointName(2)}`)
  await assert.rejects(openCheckpoint(files, DIRECTORY, 2), CheckpointDoubt)
})

async function filled(files: Files, told = new Told()): Promise<Log> {
  const log = await openSmall(files, DIRECTORY, {}, told)
  for (let i = 0; i < 5; i += 1) await log.append({ streamId: 100, kind: 1, payload: Buffer.from(`${i}`) })
  return log
}

test('the newest two are kept, and of those the newest that can be believed is loaded', async () => {
  const files = new MemoryFiles()
  const log = await filled(files)
  for (let i = 1; i <= 4; i += 1) await log.saveCheckpoint(log.lastOffset, pieces(`state ${i}`))
  assert.deepEqual(await numbers(files), [checkpointName(3), checkpointName(4)])
  assert.equal(await textOf(await log.loadCheckpoint()), 'state 4')
  await log.close()
  await change(files, checkpointName(4), (bytes) => bytes.subarray(0, bytes.length - 1))
  const told = new Told()
  const again = await openSmall(files, DIRECTORY, {}, told)
  assert.equal(await textOf(await again.loadCheckpoint()), 'state 3')
  assert.deepEqual(told.doubtful, [checkpointName(4)])
  await again.saveCheckpoint(again.lastOffset, pieces('state 5'))
  assert.deepEqual(await numbers(files), [checkpointName(4), checkpointName(5)])
  await again.close()
})

test('a checkpoint that is ahead of the log, of another log or older than a compaction is passed over', async () => {
  const files = await emptyFolder()
  const told = new Told()
  const context = { files, directory: DIRECTORY, observer: told } as unknown as ConstructorParameters<
    typeof CheckpointStore
  >[0]
  await writeCheckpoint(files, DIRECTORY, { identity, number: 1, offset: 50 }, pieces('x'))
  const store = new CheckpointStore(context, identity)
  assert.equal((await store.load(50, 50))?.offset, 50)
  assert.equal(await store.load(0, 49), undefined)
  assert.equal(await store.load(51, 100), undefined)
  assert.equal(await new CheckpointStore(context, Buffer.alloc(16, 8)).load(0, 100), undefined)
  assert.equal(told.doubtful.length, 3)
})

test('what fails while a checkpoint is written leaves the older one, and the log goes on', async () => {
  const files = new MemoryFiles()
  const log = await filled(files)
  await log.saveCheckpoint(log.lastOffset, pieces('old'))
  async function* failing(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('new')
    throw new Error('the fold has failed')
  }
  await assert.rejects(log.saveCheckpoint(log.lastOffset, failing()), /the fold has failed/)
  await log.append({ streamId: 100, kind: 1, payload: Buffer.from('more') })
  assert.equal(await textOf(await log.loadCheckpoint()), 'old')
  await log.saveCheckpoint(log.lastOffset, pieces('new'))
  assert.equal(await textOf(await log.loadCheckpoint()), 'new')
  await log.close()
})

test('whenever the power fails while a checkpoint is written, the next start finds the last whole one', async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  const disks: FaultyFiles[] = []
  const files = new FaultyFiles()
  let isWatched = false
  const watched = new WatchedFiles(files, () => {
    if (isWatched) disks.push(files.snapshot())
  })
  const log = await filled(watched)
  await log.saveCheckpoint(log.lastOffset, pieces('1'))
  await log.saveCheckpoint(log.lastOffset, pieces('2'))
  isWatched = true
  await log.saveCheckpoint(log.lastOffset, pieces('3', ''))
  assert.ok(disks.length > 5)
  for (const [moment, disk] of [...disks, files].entries()) {
    for (const survivors of [disk.powerLoss(), disk.afterCrash(random), disk.afterCrash(random)]) {
      const again = await openSmall(survivors, DIRECTORY)
      const text = await textOf(await again.loadCheckpoint())
      assert.ok(text === '3' || (moment < disks.length && text === '2'), `moment ${moment}: ${text}`)
      assert.ok(!(await survivors.list(DIRECTORY)).some((name) => name.endsWith('.tmp')))
      await again.close()
    }
  }
})
