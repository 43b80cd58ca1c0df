/**
 * A disk that refuses: what fails, fails alone and is said; what was promised stays; service returns by itself where it
 * can, and ends where nobody can know any more what is durable.
 */

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, type TestContext } from 'node:test'
import { FaultyFiles, type Operation } from '../../storage-engine/faulty-files.ts'
import { FOOTER_BYTES, HEADER_BYTES } from '../../storage-engine/format.ts'
import { DiskFiles, inspectLog, Log, type LogOptions, Sequencer, StorageError } from '../../storage-engine/index.ts'
import { RESERVATION } from '../../storage-engine/sequencer.ts'
import {
  DIRECTORY,
  fingerprint,
  History,
  NOON_MS,
  type Opened,
  openLog,
  readAll,
  readWithGaps,
  smallLog,
  Watch,
} from '../support/engine-history.ts'
import { test } from '../support/unwatched.ts'

const oneSegment: Partial<LogOptions> = { segmentBytesMax: 64 * 1024 }
const isSegmentWrite = ({ operation, path }: Operation): boolean => operation === 'write' && path.endsWith('.log')

/** An open log with a few records. */
async function start(options: Partial<LogOptions> = oneSegment, files = new FaultyFiles()) {
  const history = new History()
  const opened = await openLog(files, options)
  await history.append(opened, [10, 11])
  await history.append(opened, [10])
  return { files, history, opened }
}

/** What is there after a crash that takes all it can, and after one that takes nothing. */
async function compareAfterCrashes(files: FaultyFiles, history: History, options = oneSegment): Promise<void> {
  for (const disk of [files.powerLoss(), files.afterCrash({ writes: 'kept', truncates: 'kept', names: 'kept' })]) {
    disk.capacityBytes += 40_000
    const opened = await openLog(disk, options)
    await history.copy().compare(opened)
    await opened.log.close()
  }
}

describe('a write that fails', () => {
  for (const code of ['EIO', 'ENOSPC', 'EDQUOT']) {
    test(`row 35: with ${code} once fails its batch alone, which is cut away for good`, async () => {
      const { files, history, opened } = await start()
      files.fail(isSegmentWrite, { code, writtenBytes: 50 })
      const error = await history.append(opened, [10, 11])
      assert.equal(error?.code, code === 'EIO' ? 'STORAGE_WRITE' : 'STORAGE_FULL')
      assert.equal(opened.log.status, 'open')
      assert.equal(await history.append(opened, [10]), undefined)
      await history.compare(opened)
      await compareAfterCrashes(files, history)
      await opened.log.close()
    })
  }

  test('row 80: bytes of a failed batch, whole on the disk, never come back behind a shorter one', async () => {
    const { files, history, opened } = await start()
    files.fail(isSegmentWrite, { code: 'EIO', done: true })
    assert.equal((await history.append(opened, [10, 11], { payloadBytes: 400 }))?.code, 'STORAGE_WRITE')
    assert.equal(await history.append(opened, [10], { payloadBytes: 8 }), undefined)
    await compareAfterCrashes(files, history)
    await opened.log.close()
  })

  test('row 36: a short write is cut back at every length of it', async () => {
    for (let writtenBytes = 0; writtenBytes < 170; writtenBytes += 7) {
      const { files, history, opened } = await start()
      files.fail(isSegmentWrite, { code: 'EIO', writtenBytes })
      assert.equal((await history.append(opened, [10], { payloadBytes: 60 }))?.code, 'STORAGE_WRITE')
      const { size, contentEnd } = sizes(files, opened)
      assert.equal(size, contentEnd)
      await compareAfterCrashes(files, history)
      await opened.log.close()
    }
  })

  test('rows 35 and 36: where cutting back fails, nothing more is written', async () => {
    for (const match of ['truncate', 'sync'] as const) {
      const { files, history, opened } = await start()
      files.fail(isSegmentWrite, { code: 'EIO', writtenBytes: 30 })
      files.fail(match, { code: 'EIO' })
      assert.equal((await history.append(opened, [10]))?.code, 'STORAGE_FAILED')
      assert.equal((await history.append(opened, [10]))?.code, 'STORAGE_FAILED')
      assert.equal(opened.log.status, 'failed')
      await opened.log.close()
      await compareAfterCrashes(files, history)
    }
  })
})

describe('a full disk', () => {
  test('row 37: refuses what is appended, and takes it again as soon as there is room', async () => {
    const { files, history, opened } = await start()
    files.capacityBytes = files.usedBytes + 20
    assert.equal((await history.append(opened, [10]))?.code, 'STORAGE_FULL')
    assert.equal((await history.append(opened, [11]))?.code, 'STORAGE_FULL')
    await history.compare(opened)
    files.capacityBytes += 10_000
    assert.equal(await history.append(opened, [10]), undefined)
    assert.deepEqual(opened.watch.fullness, [true, false])
    await compareAfterCrashes(files, history)
    await opened.log.close()
  })

  test('row 37: at any point of rolls and sidecars, costs what does not fit and nothing else', async () => {
    for (let room = 0; room < 6000; room += 150) {
      const { files, history, opened } = await start({})
      files.capacityBytes = files.usedBytes + room
      for (let i = 0; i < 12; i += 1) {
        const error = await history.append(opened, [10 + (i % 3)], { payloadBytes: 200 })
        assert(error === undefined || error.code === 'STORAGE_FULL', `${room}: ${error?.code}`)
      }
      await history.compare(opened)
      files.capacityBytes = Number.POSITIVE_INFINITY
      for (let i = 0; i < 3; i += 1) assert.equal(await history.append(opened, [10], { payloadBytes: 200 }), undefined)
      await history.compare(opened)
      await compareAfterCrashes(files, history, {})
      await opened.log.close()
      const again = await openLog(files)
      await history.compare(again)
      await again.log.close()
    }
  })

  test('row 86: topics can be deleted on it through the reserve, and publishing comes back (simulated)', async (context) => {
    context.mock.timers.enable({ apis: ['setInterval'] })
    const options = { ...oneSegment, reserveBytes: 4096 }
    const { files, history, opened } = await start(options)
    files.capacityBytes = files.usedBytes
    assert.equal((await history.append(opened, [10]))?.code, 'STORAGE_FULL')
    assert.equal(await history.append(opened, [11], { isUrgent: true }), undefined)
    assert.equal((await history.append(opened, [10]))?.code, 'STORAGE_FULL', 'the reserve is not for publishing')
    assert.equal(await history.append(opened, [11], { isUrgent: true }), undefined)
    await compareAfterCrashes(files, history, options)
    files.capacityBytes += 10_000
    const restored = files.hold(({ operation, path }) => operation === 'syncDirectory' && path === DIRECTORY)
    context.mock.timers.tick(1000)
    await restored.arrived
    restored()
    await settled()
    assert.equal(await history.append(opened, [10]), undefined)
    assert.deepEqual(opened.watch.fullness, [true, false])
    await opened.log.close()
  })

  test('row 86: a reserve that somebody has removed is none, and the disk is full for deletions as well', async () => {
    const { files, history, opened } = await start({ ...oneSegment, reserveBytes: 4096 })
    files.deleteFile(`${DIRECTORY}/reserve`)
    files.capacityBytes = files.usedBytes
    for (let i = 0; i < 2; i += 1) {
      assert.equal((await history.append(opened, [11], { isUrgent: true }))?.code, 'STORAGE_FULL')
    }
    files.capacityBytes += 1000
    assert.equal(await history.append(opened, [11], { isUrgent: true }), undefined)
    await history.compare(opened)
    await opened.log.close()
  })

  test('row 86: a log opens on a disk that is full to the last byte, by its reserve', async () => {
    const options = { ...oneSegment, reserveBytes: 8192 }
    const { files, history } = await start(options)
    const disk = files.powerLoss()
    disk.capacityBytes = disk.usedBytes
    const opened = await openLog(disk, options)
    await history.compare(opened)
    assert.equal((await history.append(opened, [10]))?.code, 'STORAGE_FULL')
    assert.equal(await history.append(opened, [10], { isUrgent: true }), undefined)
    await opened.log.close()
  })

  test('rows 39 and 86: where the folder cannot be synced when the reserve is given back, the log ends', async () => {
    const { files, history, opened } = await start({ ...oneSegment, reserveBytes: 4096 })
    files.capacityBytes = files.usedBytes
    files.fail('syncDirectory', { code: 'EIO' })
    assert.equal((await history.append(opened, [11], { isUrgent: true }))?.code, 'STORAGE_FAILED')
    await opened.log.close()
  })

  test('row 86: numbers that were all given while it was full can be given again when there is room', async () => {
    const { files, history, opened } = await start()
    files.capacityBytes = files.usedBytes
    await takeAll(opened)
    assert.equal((await history.append(opened, [10]))?.code, 'STORAGE_BUSY')
    await settled()
    assert.equal(opened.log.status, 'open')
    files.capacityBytes += 10_000
    // Whoever comes first is refused, and has more reserved thereby.
    assert.throws(() => opened.sequencer.take(), { code: 'STORAGE_EXHAUSTED' })
    await settled()
    history.take(opened)
    assert.equal(await history.append(opened, [10]), undefined)
    await history.compare(opened)
    await compareAfterCrashes(files, history)
    await opened.log.close()
  })

  test('row 86: numbers for what is kept in memory do not run out while it is full, by the reserve', async () => {
    const options = { ...oneSegment, reserveBytes: 4096 }
    const { files, history, opened } = await start(options)
    files.capacityBytes = files.usedBytes
    for (let taken = 0; taken < 4 * RESERVATION; taken += RESERVATION / 8) {
      opened.sequencer.take(RESERVATION / 8)
      await settled()
    }
    history.take(opened)
    await compareAfterCrashes(files, history, options)
    await opened.log.close()
  })

  test('row 86: on a real file system of 2 MB', async (context) => {
    const directory = mountTmpfs(context, 2)
    if (directory === undefined) return
    const options: LogOptions = {
      ...smallLog,
      segmentBytesMax: 256 * 1024,
      reserveBytes: 300 * 1024,
      now: () => NOON_MS,
    }
    const log = await Log.open(new DiskFiles(), new Sequencer(), new Watch(), join(directory, 'log'), options)
    const record = { streamId: 10, kind: 7, payload: Buffer.alloc(20_000, 'x') }
    let acknowledged = 0
    let refusal: unknown
    while (refusal === undefined) {
      await log.append(record).then(
        () => {
          acknowledged += 1
        },
        (error: unknown) => {
          refusal = error
        },
      )
    }
    assert(refusal instanceof StorageError)
    assert.equal(refusal.code, 'STORAGE_FULL')
    const filler = join(directory, 'filler')
    fillUp(filler)
    const deletion = { streamId: 11, kind: 9, payload: Buffer.from('deleted') }
    await log.append(deletion, { urgent: true })
    rmSync(filler, { force: true })
    await log.close()
    const again = await Log.open(new DiskFiles(), new Sequencer(), new Watch(), join(directory, 'log'), {
      ...options,
      reserveBytes: 0,
    })
    assert.equal((await readAll(again, 0, 10)).length, acknowledged)
    assert.equal((await readAll(again, 0, 11)).length, 1)
    assert.equal(again.damages.length, 0)
    await again.close()
  })
})

describe('a sync that fails', () => {
  for (const pages of ['dirty', 'cleanNew', 'cleanOld'] as const) {
    test(`row 38: once is final, though a second one would succeed (pages ${pages})`, async () => {
      const { files, history, opened } = await start()
      const seen: string[] = []
      opened.log.onCommit((records) => seen.push(...records.map((record) => Buffer.from(record.payload).toString())))
      const failures: StorageError[] = []
      opened.log.onFail((error) => failures.push(error))
      files.fail('sync', { code: 'EIO', pages })
      const errors = await Promise.all([history.append(opened, [10]), history.append(opened, [11])])
      assert.deepEqual(
        errors.map((error) => error?.code),
        ['STORAGE_FAILED', 'STORAGE_FAILED'],
      )
      assert.equal((await history.append(opened, [10]))?.code, 'STORAGE_FAILED')
      assert.deepEqual(seen, [], 'nothing above the watermark is delivered')
      assert.equal(failures.length, 1)
      assert.equal(opened.log.failure, failures[0])
      assert.equal(opened.watch.failures.length, 1)
      assert.equal((await readAll(opened.log)).length, 4, 'reads go on')
      await opened.log.close()
      await compareAfterCrashes(files, history)
      // Row 76: the next process sees what the page cache shows, goes on, and then the power goes.
      const next = files.snapshot()
      const restarted = await openLog(next, oneSegment)
      await history.compare(restarted)
      assert.equal(await history.append(restarted, [12]), undefined)
      await compareAfterCrashes(next, history)
      await restarted.log.close()
    })
  }

  test('row 38: with ENOSPC it is final as well', async () => {
    const { files, history, opened } = await start()
    files.fail('sync', { code: 'ENOSPC' })
    assert.equal((await history.append(opened, [10], { isUrgent: true }))?.code, 'STORAGE_FAILED')
    await opened.log.close()
  })

  test('row 38: in the background ends the log, and the batch that is being written is not taken', async (context) => {
    context.mock.timers.enable({ apis: ['setInterval'] })
    const options: Partial<LogOptions> = { ...oneSegment, sync: 'interval', syncIntervalMs: 100 }
    const { files, history, opened } = await start(options)
    const seen: number[] = []
    opened.log.onCommit((records) => seen.push(records.length))
    files.fail('sync', { code: 'EIO', pages: 'cleanNew' })
    const writing = files.hold(isSegmentWrite)
    const appended = history.append(opened, [10])
    await writing.arrived
    context.mock.timers.tick(100)
    await settled()
    assert.equal(opened.log.status, 'failed')
    writing()
    assert.equal((await appended)?.code, 'STORAGE_FAILED')
    assert.deepEqual(seen, [])
    await opened.log.close()
  })

  for (const [when, end] of [
    ['a roll', (opened: Opened, history: History) => history.append(opened, [10], { payloadBytes: 200 })],
    ['a stop', ({ log }: Opened) => log.close()],
  ] as const) {
    test(`row 38: in the background, beside ${when} whose own sync the system lets succeed, ends the log`, async (context) => {
      context.mock.timers.enable({ apis: ['setInterval'] })
      const { files, history, opened } = await start({ sync: 'interval', syncIntervalMs: 100 })
      const rolls = opened.watch.rolls.length
      let first: Operation | undefined
      const inBackground = (operation: Operation) => {
        if (operation.operation !== 'sync' || !operation.path.endsWith('.log')) return false
        first ??= operation
        return operation.count === first.count
      }
      files.fail(inBackground, { code: 'EIO' })
      const syncing = files.hold(inBackground)
      context.mock.timers.tick(100)
      await syncing.arrived
      const ending = end(opened, history)
      await settled()
      syncing()
      const error = await ending
      assert.equal(opened.log.status, 'failed')
      if (error !== undefined) assert.equal(error.code, 'STORAGE_FAILED')
      assert.equal(opened.watch.rolls.length, rolls, 'what may be lost is not sealed as if it were whole')
      await opened.log.close()
    })
  }

  test('row 39: that of the folder, at a roll, is final', async () => {
    const { files, history, opened } = await start({})
    files.fail('syncDirectory', { code: 'EIO' })
    const codes = new Set<string | undefined>()
    for (let i = 0; i < 8; i += 1) codes.add((await history.append(opened, [10], { payloadBytes: 200 }))?.code)
    codes.delete(undefined)
    assert.deepEqual(codes, new Set(['STORAGE_FAILED']))
    assert.equal(opened.log.status, 'failed')
    assert.equal((await readAll(opened.log, 0, 11)).length, 1)
    await opened.log.close()
    await compareAfterCrashes(files, history, {})
  })

  test('row 39: that of the folder, for a sidecar, lets no later segment count as durable', async () => {
    const { files, history, opened } = await start({})
    let renamed = false
    files.fail(
      ({ operation, to }) => {
        if (operation === 'rename' && to?.endsWith('.index')) renamed = true
        return operation === 'syncDirectory' && renamed
      },
      { code: 'EIO' },
    )
    let error: StorageError | undefined
    for (let i = 0; i < 30 && error === undefined; i += 1) {
      error = await history.append(opened, [10], { payloadBytes: 200 })
    }
    assert.equal(error?.code, 'STORAGE_FAILED')
    await opened.log.close()
    await compareAfterCrashes(files, history, {})
  })

  test('rows 38 and 39: at a stop is told, and all that was acknowledged is there', async () => {
    for (const match of ['sync', 'syncDirectory'] as const) {
      const { files, history, opened } = await start({})
      files.fail(match, { code: 'EIO' })
      await assert.rejects(opened.log.close(), { code: 'STORAGE_FAILED' })
      await compareAfterCrashes(files, history, {})
    }
  })

  test('rows 38 and 39: at a start keeps the log from opening, in words', async () => {
    for (const match of ['sync', 'syncDirectory'] as const) {
      const { files, history } = await start({})
      const disk = files.powerLoss()
      disk.fail(match, { code: 'EIO' })
      await assert.rejects(openLog(disk), (error) => error instanceof StorageError && error.code === 'STORAGE_FAILED')
      await compareAfterCrashes(disk, history, {})
    }
  })
})

describe('reading', () => {
  test('row 40: an unreadable range is told to who crosses it, once as damage, and all else is served', async () => {
    const options: Partial<LogOptions> = { blockCacheBytesMax: 0, segmentBytesMax: 40_000 }
    const { files, history, opened } = await start(options)
    for (let i = 0; i < 8; i += 1) await history.append(opened, [10 + (i % 2)], { payloadBytes: 12_000 })
    await opened.log.close()
    const again = await openLog(files, options)
    const before = await readAll(again.log)
    const [victim] = (await readAll(again.log, 0, 11)).slice(1)
    assert(victim !== undefined)
    const path = `${DIRECTORY}/segment-0000000000000001.log`
    const position = files.readFile(path).length - FOOTER_BYTES - 12_000
    assert(position > 0)
    const heal = files.failReads(path, position, position + 1)
    const { records, gaps } = await readWithGaps(again.log)
    assert.equal(gaps.length, 1)
    assert(records.length < before.length && records.length >= before.length - 3)
    const damages = again.log.damages.length
    assert.equal(damages, 1)
    await readWithGaps(again.log)
    assert.equal(again.log.damages.length, damages, 'told once')
    const later = records.at(-1)?.offset
    assert.equal(later, before.at(-1)?.offset, 'what is behind stays readable')
    assert.equal(await history.append(again, [12]), undefined)
    heal()
    await again.log.close()
  })

  test('row 40: what a start cannot read at the end of the log is damage, never cut away, and there again later', async () => {
    const path = `${DIRECTORY}/segment-0000000000000001.log`
    const { length } = await crashed().then(({ disk }) => disk.readFile(path))
    // The last batch, those from the middle on, all behind the header, and all; and one whose successors can be read.
    for (const [from, to] of [
      [length - 50, length],
      [length / 2, length],
      [HEADER_BYTES, length],
      [0, length],
      [length / 2, length / 2 + 8],
    ] as const) {
      const { history, disk } = await crashed()
      const heal = disk.failReads(path, from, to)
      const [found] = (await inspectLog(disk, DIRECTORY, { depth: 'full' })).findings
      assert.equal(found?.kind, from === 0 ? 'headless' : 'damage')
      // Where nothing tells which log it is, a start is refused.
      for (let life = 0; life < 2 && from > 0; life += 1) {
        const opened = await openLog(disk, oneSegment)
        assert.deepEqual(opened.watch.tailCuts, [])
        assert.deepEqual(
          opened.watch.damages.map(({ file, reason }) => ({ file: `${DIRECTORY}/${file}`, reason })),
          [{ file: path, reason: 'cannot be read' }],
        )
        assert.equal((await readWithGaps(opened.log, 0, 10)).gaps.length, 1)
        assert.equal(await history.append(opened, [10]), undefined)
        await opened.log.close()
      }
      heal()
      await compareAfterCrashes(disk, history)
    }
  })

  test('row 40: a footer that a start cannot read costs nothing when it can be read again', async () => {
    for (const withSidecar of [true, false]) {
      const { files, history, opened } = await start()
      await opened.log.close()
      const path = `${DIRECTORY}/segment-0000000000000001.log`
      if (!withSidecar) files.deleteFile(path.replace('.log', '.index'))
      const { length } = files.readFile(path)
      const heal = files.failReads(path, length - FOOTER_BYTES, length)
      const ill = await openLog(files, oneSegment)
      assert.equal((await readWithGaps(ill.log, 0, 10)).records.length, 2)
      assert.equal(await history.append(ill, [10]), undefined)
      await ill.log.close()
      heal()
      await compareAfterCrashes(files, history)
    }
  })

  test('row 40: a header can be read though what lies behind it cannot', async () => {
    const { history, disk } = await crashed()
    const path = `${DIRECTORY}/segment-0000000000000001.log`
    disk.failReads(path, disk.readFile(path).length - 50)
    const opened = await openLog(disk, oneSegment)
    assert(opened.watch.damages.every(({ position }) => position > 0))
    assert.equal((await readWithGaps(opened.log, 0, 10)).records.length, 4)
    assert.equal(history.issued.length, 5)
    await opened.log.close()
  })

  test('row 42: no descriptor for a segment is an error of the moment, not damage', async () => {
    const { files, history, opened } = await start({})
    // More segments than descriptors are kept.
    for (let i = 0; i < 200; i += 1) await history.append(opened, [10], { payloadBytes: 400 })
    await opened.log.close()
    const again = await openLog(files, { blockCacheBytesMax: 0 })
    assert(again.log.statistics().segments > 100)
    const stop = files.fail(({ operation, path }) => operation === 'open' && path.endsWith('.log'), {
      code: 'EMFILE',
      times: Number.POSITIVE_INFINITY,
    })
    for (const streamId of [10, undefined]) await assert.rejects(readWithGaps(again.log, 0, streamId))
    assert.equal(again.log.damages.length, 0)
    stop()
    await history.compare(again)
    await again.log.close()
  })

  test('row 42: no descriptor for a sidecar never makes an index of half a segment', async () => {
    const { files, history, opened } = await start({})
    for (let i = 0; i < 8; i += 1) await history.append(opened, [10], { payloadBytes: 200 })
    await opened.log.close()
    const again = await openLog(files, { pageCacheBytesMax: 0 })
    const stop = files.fail('open', { code: 'EMFILE', times: 20 })
    await readWithGaps(again.log, 0, 10).catch((error: unknown) => assert(error instanceof StorageError))
    stop()
    await again.log.close()
    const healed = await openLog(files.powerLoss(), { pageCacheBytesMax: 0 })
    await history.compare(healed)
    await healed.log.close()
  })
})

describe('the rest', () => {
  test('row 41: a rename that fails costs a batch at most', async () => {
    for (let times = 1; times < 5; times += 1) {
      const { files, history, opened } = await start({})
      files.fail('rename', { code: 'EIO', times })
      for (let i = 0; i < 10; i += 1) {
        const error = await history.append(opened, [10], { payloadBytes: 200 })
        assert(error === undefined || error.code === 'STORAGE_WRITE')
      }
      assert.equal(opened.log.status, 'open')
      assert.equal(await history.append(opened, [10], { payloadBytes: 200 }), undefined)
      await history.compare(opened)
      await compareAfterCrashes(files, history, {})
      await opened.log.close()
    }
  })

  test('rows 41 and 42: a new segment that cannot be opened is no damage to the next start', async () => {
    const { files, history, opened } = await start({})
    files.fail(({ operation, path }) => operation === 'open' && path.endsWith('2.log'), { code: 'EMFILE' })
    for (let i = 0; i < 10; i += 1) {
      const error = await history.append(opened, [10], { payloadBytes: 200 })
      assert(error === undefined || error.code === 'STORAGE_WRITE')
    }
    await compareAfterCrashes(files, history, {})
    await opened.log.close()
    const again = await openLog(files)
    await history.compare(again)
    await again.log.close()
  })

  test('row 43: while a sync takes its time, publishers wait and readers do not', async () => {
    const { files, history, opened } = await start()
    const slow = files.hold('sync')
    let isAnswered = false
    const appended = history.append(opened, [10]).then((error) => {
      isAnswered = true
      return error
    })
    await slow.arrived
    const first = opened.log.watermark
    assert.equal((await readAll(opened.log, 0, 10)).length, 2)
    const late = history.append(opened, [11])
    await settled()
    assert.equal(isAnswered, false)
    assert.equal(opened.log.watermark, first, 'what is not settled is above the watermark')
    slow()
    assert.equal(await appended, undefined)
    assert.equal(await late, undefined)
    assert(opened.log.watermark > first)
    await opened.log.close()
  })

  test('row 44: a read-only file system, or a folder that is not ours, is told, and nothing is touched', async () => {
    for (const code of ['EROFS', 'EACCES', 'EPERM']) {
      const { files, history, opened } = await start()
      await opened.log.close()
      const disk = files.powerLoss()
      const before = await fingerprint(disk)
      const changes = ({ operation }: Operation) => !['open', 'read', 'list', 'makeDirectory'].includes(operation)
      const stop = disk.fail(changes, { code, times: Number.POSITIVE_INFINITY })
      const update = disk.fail(({ operation }) => operation === 'open', { code, times: 0 })
      await assert.rejects(openLog(disk), (error) => {
        return error instanceof StorageError && error.code === 'STORAGE_PERMISSION' && error.message.includes(DIRECTORY)
      })
      assert.equal(await fingerprint(disk), before)
      stop()
      update()
      const again = await openLog(disk, oneSegment)
      await history.compare(again)
      await again.log.close()
    }
  })

  test('a log that is closed writes nothing more, though its reserve was being made again', async (context) => {
    context.mock.timers.enable({ apis: ['setInterval'] })
    const { files, history, opened } = await start({ ...oneSegment, reserveBytes: 4096 })
    files.capacityBytes = files.usedBytes
    assert.equal(await history.append(opened, [11], { isUrgent: true }), undefined)
    files.capacityBytes += 10_000
    const release = files.hold(({ operation, path }) => operation === 'write' && path.endsWith('reserve'))
    context.mock.timers.tick(1000)
    await release.arrived
    let isClosed = false
    const closing = opened.log.close().then(() => {
      isClosed = true
    })
    await settled()
    assert.equal(isClosed, false, 'what is under way is waited for')
    release()
    await closing
    const { operations } = files
    context.mock.timers.tick(10_000)
    await settled()
    assert.equal(files.operations, operations)
  })

  test('an empty append writes nothing, and one without numbers leaves nothing behind', async () => {
    const { files, history, opened } = await start()
    assert.deepEqual(await opened.log.appendAll([]), [])
    const slow = files.hold('sync')
    void history.append(opened, [10])
    await slow.arrived
    // In-memory records take all the numbers that are reserved.
    await takeAll(opened)
    const { log } = opened
    const watermark = log.watermark
    assert.equal((await history.append(opened, [10, 11]))?.code, 'STORAGE_BUSY')
    assert.equal(log.watermark, watermark)
    slow()
    await settled()
    while ((await history.append(opened, [10, 12])) !== undefined) await settled()
    await history.compare(opened)
    await compareAfterCrashes(files, history)
    await opened.log.close()
    const again = await openLog(files, oneSegment)
    await history.compare(again)
    await again.log.close()
  })
})

/** Gives all numbers that are reserved to something that is kept in memory. */
async function takeAll({ sequencer }: Opened): Promise<void> {
  for (let count = RESERVATION / 4; count >= 1; ) {
    try {
      sequencer.take(count)
    } catch (error) {
      assert(error instanceof StorageError && error.code === 'STORAGE_EXHAUSTED')
      count /= 2
    }
    // What asks for more, and fails, has done so.
    await settled()
  }
}

/** A disk whose process was killed, with one segment of five batches. */
async function crashed(): Promise<{ readonly history: History; readonly disk: FaultyFiles }> {
  const history = new History()
  const files = new FaultyFiles()
  const opened = await openLog(files, oneSegment)
  for (let i = 0; i < 5; i += 1) await history.append(opened, [10], { payloadBytes: 200 })
  return { history, disk: files.snapshot() }
}

function sizes(files: FaultyFiles, { log }: Opened): { readonly size: number; readonly contentEnd: number } {
  const size = files.readFile(`${DIRECTORY}/segment-0000000000000001.log`).length
  return { size, contentEnd: log.statistics().bytes }
}

/** Everything that can go on without the disk has gone on. */
async function settled(): Promise<void> {
  for (let i = 0; i < 20; i += 1) await new Promise((resolve) => setImmediate(resolve))
}

/** A file system of its own, or undefined where this user may not mount one. */
function mountTmpfs(context: TestContext, megabytes: number): string | undefined {
  const directory = mkdtempSync(join(tmpdir(), 'sser-full-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', directory], { stdio: 'ignore' })
  } catch {
    rmdirSync(directory)
    context.skip('only root may mount a small file system; run the tests as root to have this one, too')
    return undefined
  }
  context.after(() => {
    execFileSync('umount', [directory], { stdio: 'ignore' })
    rmdirSync(directory)
  })
  return directory
}

function fillUp(path: string): void {
  for (const bytes of [65_536, 4096, 512]) {
    for (;;) {
      try {
        writeFileSync(path, Buffer.alloc(bytes), { flag: 'a' })
      } catch (error) {
        assert(error instanceof Error && 'code' in error && error.code === 'ENOSPC')
        break
      }
    }
  }
}
