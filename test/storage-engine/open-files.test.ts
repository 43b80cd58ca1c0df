import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DataFile, Files } from '../../storage-engine/files.ts'
import { MemoryFiles } from '../../storage-engine/memory-files.ts'
import { isShortage, OpenFiles } from '../../storage-engine/open-files.ts'
import { systemError } from '../../storage-engine/system-error.ts'

/** Files in memory that count handles, and can refuse to open or to read. */
class CountingFiles extends MemoryFiles implements Files {
  opened = 0
  closed = 0
  handlesMax = Number.POSITIVE_INFINITY
  readError: Error | undefined
  reading: Promise<void> | undefined

  get handles(): number {
    return this.opened - this.closed
  }

  override async open(path: string, mode: 'create' | 'read' | 'update'): Promise<DataFile> {
    if (mode !== 'read') return await super.open(path, mode)
    if (this.handles >= this.handlesMax) throw systemError('EMFILE', 'open', path)
    const file = await super.open(path, mode)
    this.opened += 1
    const files = this
    return {
      path,
      sizeBytes: file.sizeBytes,
      write: (bytes, position) => file.write(bytes, position),
      truncate: (size) => file.truncate(size),
      sync: () => file.sync(),
      async read(target, position) {
        await files.reading
        if (files.readError !== undefined) throw files.readError
        return await file.read(target, position)
      },
      async close() {
        files.closed += 1
        await file.close()
      },
    }
  }
}

async function withFiles(count: number): Promise<CountingFiles> {
  const files = new CountingFiles()
  await files.makeDirectory('/d')
  for (let i = 0; i < count; i += 1) {
    const file = await files.open(`/d/${i}`, 'create')
    await file.write(Buffer.from([i]), 0)
    await file.close()
  }
  return files
}

async function firstByte(open: OpenFiles, i: number): Promise<number | undefined> {
  const target = Buffer.alloc(1)
  return (await open.read(`/d/${i}`, target, 0)) === 1 ? target[0] : undefined
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

test('a hundred files are read with four handles', async () => {
  const files = await withFiles(100)
  const open = new OpenFiles(files, 4)
  for (let round = 0; round < 3; round += 1) {
    for (let i = 0; i < 100; i += 1) {
      assert.equal(await firstByte(open, i), i)
      await turn()
      assert(files.handles <= 4, `${files.handles} handles`)
    }
  }
  await open.close()
  assert.equal(files.handles, 0)
})

test('a file that is read again and again is opened once', async () => {
  const files = await withFiles(20)
  const open = new OpenFiles(files, 4)
  for (let i = 1; i < 20; i += 1) {
    await Promise.all([firstByte(open, 0), firstByte(open, 0), firstByte(open, i)])
  }
  assert.equal(files.opened, 20)
  await open.close()
})

test('a file that is being read from is not closed, neither as surplus nor when it is forgotten', async () => {
  const files = await withFiles(10)
  const open = new OpenFiles(files, 1)
  let go = () => {}
  files.reading = new Promise((resolve) => {
    go = resolve
  })
  const reads = Array.from({ length: 10 }, (_, i) => firstByte(open, i))
  await turn()
  open.forget('/d/3')
  await turn()
  assert.equal(files.closed, 0)
  go()
  assert.deepEqual(await Promise.all(reads), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  await turn()
  assert.equal(files.handles, 1)
  await open.close()
  assert.equal(files.handles, 0)
})

test('row 42: where no descriptor is left, those that nobody reads from are given up for the one that is wanted', async () => {
  const files = await withFiles(10)
  const open = new OpenFiles(files, 8)
  for (let i = 0; i < 5; i += 1) await firstByte(open, i)
  files.handlesMax = 5
  assert.equal(await firstByte(open, 7), 7)
  await turn()
  assert(files.handles <= 5)
  files.handlesMax = 0
  open.forget('/d/7')
  await assert.rejects(firstByte(open, 8), (error) => isShortage(error))
  files.handlesMax = 5
  assert.equal(await firstByte(open, 8), 8)
  await open.close()
  assert.equal(files.handles, 0)
})

test('a file that could not be opened or read is opened anew the next time', async () => {
  const files = await withFiles(1)
  const open = new OpenFiles(files, 4)
  await assert.rejects(firstByte(open, 5), { code: 'ENOENT' })
  const late = await files.open('/d/5', 'create')
  await late.write(Buffer.from([55]), 0)
  assert.equal(await firstByte(open, 5), 55)
  files.readError = systemError('EIO', 'read')
  await assert.rejects(firstByte(open, 5), { code: 'EIO' })
  files.readError = undefined
  assert.equal(await firstByte(open, 5), 55)
  await open.close()
  assert.equal(files.handles, 0)
})

test('after closing nothing is opened any more', async () => {
  const files = await withFiles(2)
  const open = new OpenFiles(files, 4)
  await firstByte(open, 0)
  await open.close()
  await assert.rejects(firstByte(open, 0), { code: 'EBADF' })
  await assert.rejects(firstByte(open, 1), { code: 'EBADF' })
  assert.equal(files.handles, 0)
})
