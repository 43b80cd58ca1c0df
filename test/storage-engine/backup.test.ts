/**
 * Copies of a log: that they open, what a second one costs, where none is made, that one which was cut off never counts,
 * and the way back.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  copyLog,
  type LogListing,
  listPinned,
  listStopped,
  readBackup,
  restoreLog,
} from '../../storage-engine/backup.ts'
import type { DataFile, Files } from '../../storage-engine/files.ts'
import type { Log } from '../../storage-engine/log.ts'
import { MemoryFiles } from '../../storage-engine/memory-files.ts'
import { systemError } from '../../storage-engine/system-error.ts'
import { NOW_MS, openSmall, readAll, SMALL } from './small-log.ts'

const LOG = '/data/log'
const BACKUP = '/backup'
const STREAM = 1000

async function append(log: Log, count: number): Promise<void> {
  for (let i = 0; i < count; i += 1) {
    await log.append({ streamId: STREAM + (i % 3), kind: 3, payload: Buffer.from(`${i} ${'x'.repeat(200)}`) })
  }
}

async function backUp(files: Files, log: Log, target = BACKUP) {
  const pin = await log.pin()
  try {
    return await copyLog(files, LOG, await listPinned(files, LOG, pin), target, { nowMs: NOW_MS })
  } finally {
    pin.release()
  }
}

async function restored(files: Files, to: string, from = BACKUP): Promise<Log> {
  await restoreLog(files, from, await readBackup(files, from), to, SMALL)
  return await openSmall(files, to)
}

async function textsOf(log: Log): Promise<string[]> {
  return (await readAll(log)).records.map(({ text }) => text)
}

test('a copy of a log that is written opens, and holds all that was acknowledged before', async () => {
  const files = new MemoryFiles()
  const log = await openSmall(files, LOG)
  await append(log, 100)
  const before = await textsOf(log)
  const writing = append(log, 50)
  await backUp(files, log)
  await writing
  const all = await textsOf(log)
  const copy = await restored(files, '/restored/log')
  const held = await textsOf(copy)
  assert.deepEqual(held, all.slice(0, held.length), 'it is a prefix')
  assert.ok(held.length >= before.length)
  await Promise.all([log.close(), copy.close()])
})

test('a second copy into the same folder copies what is new, and is no other than a first one', async () => {
  const files = new MemoryFiles()
  const log = await openSmall(files, LOG)
  await append(log, 200)
  const first = await backUp(files, log)
  assert.equal(first.filesKept, 0)
  await append(log, 20)
  const second = await backUp(files, log)
  assert.ok(second.bytesCopied < first.bytesCopied / 2, `${second.bytesCopied} of ${first.bytesCopied}`)
  // Indexes are made in the background: what is there is settled when the log is closed.
  await log.close()
  const listing = (await listStopped(files, LOG)) as LogListing
  await copyLog(files, LOG, listing, BACKUP, { nowMs: NOW_MS })
  const again = await copyLog(files, LOG, listing, BACKUP, { nowMs: NOW_MS })
  assert.deepEqual([again.filesCopied, again.bytesCopied], [0, 0])
  await copyLog(files, LOG, listing, '/fresh', { nowMs: NOW_MS })
  assert.deepEqual(await contentOf(files, BACKUP), await contentOf(files, '/fresh'))
})

test('a file of the same name and size that is not the same is copied again', async () => {
  const files = new MemoryFiles()
  // So large that its beginning, which is compared, is not all of it.
  const log = await openSmall(files, LOG, { segmentBytesMax: 64 * 1024 })
  await append(log, 100)
  const texts = await textsOf(log)
  await log.close()
  const listing = (await listStopped(files, LOG)) as LogListing
  await copyLog(files, LOG, listing, BACKUP, { nowMs: NOW_MS })
  const name = 'segment-0000000000000001.log'
  const file = await files.open(`${BACKUP}/${name}`, 'update')
  await file.write(Buffer.from([1, 2, 3, 4]), file.sizeBytes - 8)
  await file.close()
  const { filesCopied } = await copyLog(files, LOG, listing, BACKUP, { nowMs: NOW_MS })
  assert.equal(filesCopied, 1)
  const copy = await restored(files, '/restored/log')
  assert.deepEqual(await textsOf(copy), texts)
  await copy.close()
})

test('a copy of files that may have gone away meanwhile is not called whole', async () => {
  const files = new MemoryFiles()
  const log = await openSmall(files, LOG)
  await append(log, 10)
  await log.close()
  const listing = (await listStopped(files, LOG)) as LogListing
  const confirm = () => {
    throw new Error('the pin has ended')
  }
  await assert.rejects(copyLog(files, LOG, listing, BACKUP, { nowMs: NOW_MS, confirm }), /the pin has ended/)
  await assert.rejects(readBackup(files, BACKUP), /was not finished/)
})

test('what the log does not consist of any more goes from the copy, when the new one is whole', async () => {
  const files = new MemoryFiles()
  const log = await openSmall(files, LOG)
  await append(log, 100)
  await backUp(files, log)
  const listing = await listPinned(files, LOG, await log.pin())
  const [oldest] = listing.files
  const without: LogListing = { ...listing, files: listing.files.slice(1) }
  const { filesRemoved } = await copyLog(files, LOG, without, BACKUP, { nowMs: NOW_MS })
  assert.equal(filesRemoved, 1)
  assert.ok(!(await files.list(BACKUP)).includes(oldest?.name ?? ''))
  await log.close()
})

test('the log of a stopped server is copied as it lies there', async () => {
  const files = new MemoryFiles()
  const log = await openSmall(files, LOG)
  await append(log, 60)
  const all = await textsOf(log)
  await log.close()
  const listing = await listStopped(files, LOG)
  assert.ok(listing !== undefined)
  await copyLog(files, LOG, listing, BACKUP, { nowMs: NOW_MS })
  const copy = await restored(files, '/restored/log')
  assert.deepEqual(await textsOf(copy), all)
  await copy.close()
})

test('no copy is made in a folder that holds something else, another log, or the backup of another', async () => {
  const files = new MemoryFiles()
  const log = await openSmall(files, LOG)
  await append(log, 10)
  const other = await openSmall(files, '/other')
  await other.close()
  await files.makeDirectory('/strange')
  await (await files.open('/strange/letter.txt', 'create')).close()
  const pin = await other.close().then(() => listStopped(files, '/other'))
  await copyLog(files, '/other', pin as LogListing, '/backup-of-other', { nowMs: NOW_MS })
  for (const [target, words] of [
    ['/strange', /it holds something else \(letter\.txt\)/],
    ['/other', /it holds something else|a log that is no backup/],
    ['/backup-of-other', /the backup of another log/],
  ] as const) {
    const before = await contentOf(files, target)
    await assert.rejects(backUp(files, log, target), words)
    assert.deepEqual(await contentOf(files, target), before)
  }
  await log.close()
})

test('a copy that was cut off at any operation does not count, and the next one is whole', async () => {
  const files = new MemoryFiles()
  const log = await openSmall(files, LOG)
  await append(log, 40)
  await backUp(files, log, '/whole')
  await append(log, 40)
  const pin = await log.pin()
  const listing = await listPinned(files, LOG, pin)
  let cuts = 0
  for (let operations = 0; ; operations += 1) {
    const target = `/cut-${operations}`
    await copyFolder(files, '/whole', target)
    const failing = new FailingFiles(files, operations)
    const isDone = await copyLog(failing, LOG, listing, target, { nowMs: NOW_MS }).then(
      () => true,
      () => false,
    )
    if (isDone) break
    cuts += 1
    // Either the older one, of which nothing was touched, or none, or the new one whole.
    if ((await files.list(target)).includes('backup.json')) {
      const { files: held } = await readBackup(files, target)
      const [older, now] = [await contentOf(files, '/whole'), await contentOf(files, target)]
      const isOlder = older.every((file) => now.includes(file))
      const isNewer =
        held.length === listing.files.length && held.every(({ name }, i) => name === listing.files[i]?.name)
      assert.ok(isOlder || isNewer, `after ${operations} operations`)
    }
    await copyLog(files, LOG, listing, target, { nowMs: NOW_MS })
    await readBackup(files, target)
    assert.deepEqual(
      (await files.list(target)).filter((name) => name !== 'backup.json'),
      listing.files.map(({ name }) => name).sort(),
    )
  }
  assert.ok(cuts > 20, `${cuts}`)
  pin.release()
  await log.close()
})

test('a backup that is not whole is not restored', async () => {
  const files = new MemoryFiles()
  const log = await openSmall(files, LOG)
  await append(log, 50)
  await backUp(files, log)
  await files.remove(`${BACKUP}/segment-0000000000000001.log`)
  await assert.rejects(readBackup(files, BACKUP), /segment-0000000000000001\.log is missing/)
  await files.rename(`${BACKUP}/backup.json`, `${BACKUP}/backup.unfinished.json`)
  await assert.rejects(readBackup(files, BACKUP), /was not finished/)
  await assert.rejects(readBackup(files, LOG), /is no backup/)
  await log.close()
})

test('row 84: a restored log skips the numbers that the copied one may have given since', async () => {
  const files = new MemoryFiles()
  const log = await openSmall(files, LOG)
  await append(log, 10)
  const known = log.lastOffset
  await backUp(files, log)
  await append(log, 10)
  const lost = log.lastOffset
  await log.close()
  const copy = await restored(files, '/restored/log')
  assert.ok(
    copy.skippedRanges.some(({ from, to }) => from <= lost && lost < to),
    'a number that was lost is skipped',
  )
  assert.ok(
    copy.skippedRanges.every(({ from, to }) => known < from || known >= to),
    'one that is kept is not',
  )
  const next = await copy.append({ streamId: STREAM, kind: 3, payload: Buffer.from('next') })
  assert.ok(next > lost + 2 ** 39)
  await copy.close()
})

async function contentOf(files: Files, directory: string): Promise<string[]> {
  const content: string[] = []
  for (const name of await files.list(directory)) {
    const file = await files.open(`${directory}/${name}`, 'read')
    const bytes = Buffer.alloc(file.sizeBytes)
    await file.read(bytes, 0)
    await file.close()
    content.push(`${name} ${bytes.toString('base64')}`)
  }
  return content
}

async function copyFolder(files: Files, from: string, to: string): Promise<void> {
  await files.makeDirectory(to)
  for (const name of await files.list(from)) {
    const [source, target] = [await files.open(`${from}/${name}`, 'read'), await files.open(`${to}/${name}`, 'create')]
    const bytes = Buffer.alloc(source.sizeBytes)
    await source.read(bytes, 0)
    await target.write(bytes, 0)
    await Promise.all([source.close(), target.close()])
  }
}

/** Changes nothing any more after so many changes. */
class FailingFiles implements Files {
  readonly #files: Files
  #left: number

  constructor(files: Files, changes: number) {
    this.#files = files
    this.#left = changes
  }

  #change(): void {
    if (this.#left === 0) throw systemError('EIO', 'write')
    this.#left -= 1
  }

  async open(path: string, mode: 'create' | 'read' | 'update'): Promise<DataFile> {
    if (mode === 'read') return await this.#files.open(path, mode)
    this.#change()
    const file = await this.#files.open(path, mode)
    return {
      path,
      get sizeBytes() {
        return file.sizeBytes
      },
      write: async (bytes, position) => {
        this.#change()
        await file.write(bytes, position)
      },
      read: (target, position) => file.read(target, position),
      truncate: (sizeBytes) => file.truncate(sizeBytes),
      sync: async () => {
        this.#change()
        await file.sync()
      },
      close: () => file.close(),
    }
  }

  list(directory: string): Promise<readonly string[]> {
    return this.#files.list(directory)
  }

  makeDirectory(directory: string): Promise<void> {
    return this.#files.makeDirectory(directory)
  }

  async rename(from: string, to: string): Promise<void> {
    this.#change()
    await this.#files.rename(from, to)
  }

  async remove(path: string): Promise<void> {
    this.#change()
    await this.#files.remove(path)
  }

  async syncDirectory(directory: string): Promise<void> {
    this.#change()
    await this.#files.syncDirectory(directory)
  }
}
