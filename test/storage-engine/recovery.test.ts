/**
 * What a start makes of the folder that it finds: after kills and losses of power in a row, after rot over what was
 * acknowledged, with files gone, with clocks that run backwards; and what readers see meanwhile.
 */

import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { BatchBuilder } from '../../storage-engine/batch-builder.ts'
import { indexName, segmentName } from '../../storage-engine/data-directory.ts'
import { FaultyFiles } from '../../storage-engine/faulty-files.ts'
import {
  aligned,
  BATCH_HEADER_BYTES,
  decodeHeader,
  encodeHeader,
  FOOTER_BYTES,
  HEADER_BYTES,
  RECORD_HEADER_BYTES,
  segmentSeed,
} from '../../storage-engine/format.ts'
import {
  Log,
  type LogOptions,
  MemoryFiles,
  type NewRecord,
  Sequencer,
  StorageError,
} from '../../storage-engine/index.ts'
import { recoverLog } from '../../storage-engine/recovery.ts'
import {
  DIRECTORY,
  fingerprint,
  History,
  MortalFiles,
  NOON_MS,
  type Opened,
  openLog,
  openUnlessDead,
  readAll,
  readWithGaps,
  smallLog,
  Watch,
} from '../support/engine-history.ts'
import { test } from '../support/unwatched.ts'
import { openSmall, readAll as readStream, Told } from './small-log.ts'
import { contextOf, folderOf, pathOf, rolledRow, start as startWritten } from './written-folder.ts'
import type { WrittenSegment } from './written-segment.ts'

const oneSegment: Partial<LogOptions> = { segmentBytesMax: 256 * 1024 }
const DAY_MS = 86_400_000

async function start(options: Partial<LogOptions> = {}, files = new FaultyFiles()) {
  const history = new History()
  const opened = await openLog(new MortalFiles(files), options)
  return { files, history, opened }
}

async function fill(history: History, opened: Opened, count: number, payloadBytes = 200): Promise<void> {
  for (let i = 0; i < count; i += 1) {
    assert.equal(await history.append(opened, [10 + (i % 3)], { payloadBytes }), undefined)
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof StorageError ? error.code : undefined
}

async function segments(files: FaultyFiles): Promise<string[]> {
  return (await files.list(DIRECTORY)).filter((name) => name.endsWith('.log'))
}

function isSealed(files: FaultyFiles, name: string): boolean {
  return Buffer.from(files.readFile(`${DIRECTORY}/${name}`))
    .toString('latin1')
    .slice(-FOOTER_BYTES)
    .startsWith('SEND')
}

const everythingKept = { writes: 'kept', truncates: 'kept', names: 'kept' } as const

describe('crashes in a row', () => {
  test('row 73: a crash between a roll and everything after it loses nothing', async () => {
    const { files, history, opened: first } = await start()
    await fill(history, first, 3)
    // With all sidecars made, so that the one that is held is that of the next roll: another roll would wait for it.
    await first.log.close()
    const opened = await openLog(new MortalFiles(files))
    const rolls = opened.watch.rolls.length
    const held = files.hold(({ path }) => path.endsWith('.index.tmp'))
    while (opened.watch.rolls.length === rolls) await fill(history, opened, 1)
    await held.arrived
    for (const outcome of [{}, everythingKept, { names: 'kept' }] as const) {
      const disk = files.afterCrash(outcome)
      const again = await openLog(disk)
      await history.copy().compare(again)
      assert.equal(await history.copy().append(again, [10]), undefined)
      await again.log.close()
    }
    files.crash()
  })

  test('row 75: what was served after the process was killed is there when the power goes after that', async () => {
    for (const sync of ['commit', 'interval', 'never'] as const) {
      const { files, history, opened } = await start({ sync, segmentBytesMax: 4000 })
      await fill(history, opened, 4)
      const held = files.hold(({ operation }) => operation === 'sync')
      void history.append(opened, [10, 11])
      await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
      // Written, and not synced; killed.
      const disk = files.snapshot()
      assert(disk.unsynced().writes.length > 0)
      const again = await openLog(disk, { sync })
      const served = await history.compare(again)
      assert.equal(served.length, 6, 'what the page cache shows is served')
      const lost = await openLog(disk.powerLoss(), { sync })
      await history.compare(lost)
      files.crash()
      held()
    }
  })

  test('row 75: kill after kill, and then the power, at every operation of the first recovery', async () => {
    const { files, history, opened } = await start()
    await fill(history, opened, 5)
    await opened.log.close()
    const again = await openLog(files)
    await fill(history, again, 1, 20)
    const killed = files.snapshot()
    const operations = killed.operations
    for (let at = 1; at < 60; at += 1) {
      const disk = killed.snapshot()
      disk.crashAt(operations + at, 'after')
      const isWhole = await openUnlessDead(disk)
      const second = disk.snapshot()
      const restarted = await openLog(second)
      const copy = history.copy()
      await copy.compare(restarted)
      assert.equal(await copy.append(restarted, [12]), undefined)
      await copy.compare(await openLog(second.powerLoss()))
      await copy.compare(await openLog(second.afterCrash(everythingKept)))
      if (isWhole) return
    }
    assert.fail('a recovery has fewer operations')
  })

  test('row 76: a failed sync whose page is marked clean, a restart, more batches, and then the power: no hole', async () => {
    const { files, history, opened } = await start(oneSegment)
    await fill(history, opened, 3)
    files.fail('sync', { code: 'EIO', pages: 'cleanNew' })
    assert.equal((await history.append(opened, [10]))?.code, 'STORAGE_FAILED')
    await opened.log.close()
    const disk = files.snapshot()
    const again = await openLog(disk, oneSegment)
    await history.compare(again)
    await fill(history, again, 2)
    const lost = await openLog(disk.powerLoss(), oneSegment)
    await history.compare(lost)
  })

  test('row 76: the footer on a page that a failed sync marked clean is no footer when the power goes', async () => {
    const { files, history, opened } = await start(oneSegment)
    await fill(history, opened, 2)
    files.fail(({ operation }) => operation === 'sync' && files.unsynced().writes.some(({ length }) => length === 96), {
      code: 'EIO',
      pages: 'cleanNew',
    })
    await assert.rejects(opened.log.close())
    const disk = files.snapshot()
    const again = await openLog(disk, oneSegment)
    await fill(history, again, 2)
    await history.compare(await openLog(disk.powerLoss(), oneSegment))
  })

  test('row 79: under interval and never, later batches valid behind a lost one are cut, and are not damage', async () => {
    for (const sync of ['interval', 'never'] as const) {
      const { files, history, opened } = await start({ ...oneSegment, sync })
      await fill(history, opened, 6)
      assert.equal(files.unsynced().writes.length, 6)
      for (let lost = 0; lost < 6; lost += 1) {
        for (const fate of ['grown', 'old', 'zeroed'] as const) {
          const disk = files.afterCrash({ writes: (_write, index) => (index === lost ? fate : 'kept') })
          const copy = history.copy()
          for (const one of copy.issued) one.fate = 'pending'
          const again = await openLog(disk, { ...oneSegment, sync })
          assert.equal((await copy.compare(again)).length, lost)
          assert.equal(again.watch.tailCuts.length, 1)
          await fill(copy, again, 2)
          await again.log.close()
        }
      }
      await opened.log.close()
    }
  })

  test('a spare segment that was made ahead is neither damage nor lost room after a recovery that was cut', async () => {
    const { files, history, opened } = await start()
    await fill(history, opened, 2)
    while ((await segments(files)).length === opened.log.statistics().segments) await fill(history, opened, 1, 60)
    const held = files.hold(({ operation, path }) => operation === 'write' && path.endsWith('.log'))
    void history.append(opened, [10])
    await held.arrived
    const killed = files.snapshot()
    const { operations } = killed
    for (let at = 1; ; at += 1) {
      const disk = killed.snapshot()
      disk.crashAt(operations + at, 'after')
      const isWhole = await openUnlessDead(disk)
      const left = disk.afterCrash(everythingKept)
      const again = await openLog(left)
      await history.copy().compare(again)
      await again.log.close()
      if (isWhole) break
    }
    files.crash()
  })
})

describe('damage at the end of the log', () => {
  const wiped: readonly (readonly [string, number])[] = [
    ['a zeroed sector', 512],
    ['zeroed 64 KiB', 65_536],
  ]
  for (const [what, bytes] of wiped) {
    test(`row 77: ${what} over acknowledged batches of the open segment is damage, and what is behind stays`, async () => {
      const { files, history, opened } = await start(oneSegment)
      await fill(history, opened, 3)
      const [first] = await readAll(opened.log, 0, 10)
      assert(first !== undefined)
      for (let i = 0; i < Math.ceil((bytes * 1.5) / 1000); i += 1)
        await history.append(opened, [10], { payloadBytes: 1000 })
      await fill(history, opened, 3)
      const before = await readAll(opened.log)
      const disk = files.powerLoss()
      disk.patch(`${DIRECTORY}/segment-0000000000000001.log`, 1536, new Uint8Array(bytes))
      for (let round = 0; round < 3; round += 1) {
        const again = await openLog(disk, oneSegment)
        assert.equal(again.log.damages.length, 1)
        const [damage] = again.log.damages
        assert(damage !== undefined && damage.position <= 1536 && damage.position + damage.bytes >= 1536 + bytes)
        const all = await readWithGaps(again.log)
        assert.equal(all.gaps.length, 1)
        const offsets = new Set(all.records.map((record) => record.offset))
        for (const { offset } of before) {
          const isLost: boolean = offset > damage.after && offset <= damage.through
          assert.equal(offsets.has(offset), !isLost)
        }
        assert(offsets.has(before.at(-1)?.offset ?? 0), 'the last one before the crash is there')
        const stream = await readWithGaps(again.log, 0, 10)
        assert.equal(stream.gaps.length, 1)
        await history.append(again, [12])
        if (round === 1) await again.log.close()
      }
    })
  }

  test('row 77: damage to the last batch of a sealed segment does not spread to the next one', async () => {
    for (const keepsIndex of [true, false]) {
      const { files, history, opened } = await start()
      await fill(history, opened, 4)
      const before = await readAll(opened.log)
      await opened.log.close()
      const again = await openLog(files)
      await fill(history, again, 1)
      const after = await readAll(again.log)
      const disk = files.powerLoss()
      const names = await segments(disk)
      const victim = names.findLast((name) => isSealed(disk, name)) as string
      const size = disk.readFile(`${DIRECTORY}/${victim}`).length
      disk.patch(`${DIRECTORY}/${victim}`, size - 96 - 30, Buffer.from('rot'))
      if (!keepsIndex) disk.deleteFile(`${DIRECTORY}/${victim.replace('.log', '.index')}`)
      for (let round = 0; round < 3; round += 1) {
        const damaged = await openLog(disk)
        const { records, gaps } = await readWithGaps(damaged.log)
        assert.equal(gaps.length, 1, `index ${keepsIndex}, round ${round}`)
        const offsets = new Set(records.map(({ offset }) => offset))
        for (const { offset } of after) assert.equal(offsets.has(offset), offset !== before.at(-1)?.offset)
        const one = await readWithGaps(damaged.log, 0, 10)
        assert(one.gaps.every(({ through }) => through < (after.at(-1)?.offset ?? 0)))
        await history.append(damaged, [11])
        if (round === 1) await damaged.log.close()
      }
    }
  })

  test('row 78: the last segment vanished: told to every reader, and the log goes on', async () => {
    const { files, history, opened } = await start()
    await fill(history, opened, 5)
    const before = await readAll(opened.log)
    const disk = files.powerLoss()
    const names = await segments(disk)
    const last = names.filter((name) => disk.readFile(`${DIRECTORY}/${name}`).length > HEADER_BYTES).at(-1) as string
    disk.deleteFile(`${DIRECTORY}/${last}`)
    for (let round = 0; round < 3; round += 1) {
      const again = await openLog(disk)
      assert.equal(again.log.damages.filter(({ file }) => file === last).length, 1)
      const { records, gaps } = await readWithGaps(again.log)
      assert.equal(gaps.length, 1)
      const missing = before.filter(({ offset }) => !records.some((record) => record.offset === offset))
      assert(missing.length > 0)
      for (const { offset } of missing)
        assert(gaps[0] !== undefined && offset > gaps[0].after && offset <= gaps[0].through)
      assert.equal((await readWithGaps(again.log, 0, 10)).gaps.length, 1)
      const offset = await again.log.append({ streamId: 12, kind: 7, payload: Buffer.from('after') })
      assert(offset > (before.at(-1)?.offset ?? 0))
      if (round === 1) await again.log.close()
    }
  })

  test('row 28: a segment missing in the middle is told, and what is on both sides stays readable', async () => {
    const { files, history, opened } = await start()
    await fill(history, opened, 8)
    const before = await readAll(opened.log)
    await opened.log.close()
    for (const keepsIndex of [true, false]) {
      const disk = files.powerLoss()
      const names = await segments(disk)
      const victim = names[Math.floor(names.length / 2)] as string
      disk.deleteFile(`${DIRECTORY}/${victim}`)
      if (!keepsIndex)
        for (const name of await disk.list(DIRECTORY))
          if (name.endsWith('.index')) disk.deleteFile(`${DIRECTORY}/${name}`)
      const again = await openLog(disk)
      assert.equal(again.log.damages.length, 1)
      for (const streamId of [undefined, 10, 11, 12]) {
        const { records, gaps } = await readWithGaps(again.log, 0, streamId)
        assert.equal(gaps.length, 1)
        const read = new Set(records.map(({ offset }) => offset))
        for (const record of before) {
          if (streamId !== undefined && record.streamId !== streamId) continue
          const inGap = record.offset > (gaps[0]?.after ?? 0) && record.offset <= (gaps[0]?.through ?? 0)
          assert(read.has(record.offset) || inGap, `${record.offset} is neither read nor told`)
        }
        if (streamId === undefined) assert((records.at(-1)?.offset ?? 0) > (gaps[0]?.through ?? 0))
      }
      await again.log.close()
    }
  })

  test('row 29: the oldest segment missing is told', async () => {
    const { files, history, opened } = await start()
    await fill(history, opened, 6)
    await opened.log.close()
    const disk = files.powerLoss()
    disk.deleteFile(`${DIRECTORY}/${(await segments(disk))[0]}`)
    const again = await openLog(disk)
    assert.equal(again.log.damages.length, 1)
    const { gaps, records } = await readWithGaps(again.log)
    assert.equal(gaps.length, 1)
    assert(records.length >= 4)
    await again.log.close()
  })

  test('a segment that was cut short from outside is damage, and the batches of the next one stay', async () => {
    const { files, history, opened } = await start()
    await fill(history, opened, 4)
    const before = await readAll(opened.log)
    const disk = files.powerLoss()
    const names = (await segments(disk)).filter((name) => disk.readFile(`${DIRECTORY}/${name}`).length > HEADER_BYTES)
    const victim = `${DIRECTORY}/${names.at(-2)}`
    const whole = disk.readFile(victim)
    disk.putFile(victim, whole.subarray(0, HEADER_BYTES))
    const again = await openLog(disk)
    assert(again.log.damages.length > 0)
    const { records } = await readWithGaps(again.log)
    assert(records.some(({ offset }) => offset === before.at(-1)?.offset))
    assert((await segments(disk)).includes(names.at(-1) as string))
    await again.log.close()
  })

  test('row 15: a header that cannot be read leaves its file in place, and its number unused', async () => {
    const { files, history, opened } = await start()
    await fill(history, opened, 1, 600)
    while ((await segments(files)).length === opened.log.statistics().segments) await fill(history, opened, 1, 20)
    const disk = files.powerLoss()
    const spare = `${DIRECTORY}/${(await segments(disk)).at(-1)}`
    disk.patch(spare, 40, Buffer.from([0xff]))
    const evidence = disk.readFile(spare)
    const again = await openLog(disk)
    assert.equal(again.log.damages.length, 1)
    await fill(history, again, 6)
    assert.deepEqual(disk.readFile(spare), evidence)
    await again.log.close()
  })
})

describe('what a damaged end must not hide', () => {
  /** Segment 2 ends with its second batch, and has no footer. */
  async function shortened() {
    const row = rolledRow(4)
    const files = await folderOf(row)
    const short = row[1] as WrittenSegment
    files.putFile(pathOf(short), short.bytes.subarray(0, short.batches[1]?.end))
    return { files, row, last: short.batches[1]?.last as number }
  }

  test('a cursor at the last record of a segment is told what was lost behind it', async () => {
    const { files, last } = await shortened()
    const { log } = await startWritten(files)
    for (const cursor of [log.cursor(last, 100), log.cursor(last)]) {
      assert.deepEqual(await cursor.next(), { gap: { after: last, through: 2999, reason: 'damaged' } })
      cursor.close()
    }
    await log.close()
  })

  test('a segment that is shorter than its header says was durable is not sealed, and told at every start', async () => {
    const row = rolledRow(3)
    const files = await folderOf(row)
    const short = row[2] as WrittenSegment
    const header = encodeHeader({ ...short.header, contentEnd: short.end })
    const content = short.bytes.subarray(short.headerEnd, short.batches[1]?.end)
    files.putFile(pathOf(short), Buffer.concat([header, content]))
    for (const round of [1, 2]) {
      const { log, told } = await startWritten(files)
      await log.append({ streamId: 100, kind: 1, payload: Buffer.from('behind') })
      await log.close()
      const reasons = told.damages.map(({ file, reason }) => `${file}: ${reason}`)
      assert.deepEqual(reasons, [`${segmentName(3)}: the file is shorter than it was`], `start ${round}`)
      assert.ok(!Buffer.from(files.readFile(pathOf(short))).includes('SEND'), 'a footer would hide it')
    }
  })

  test('a sealed segment that was cut between two batches, footer and all, is damage by the word of its sidecar', async () => {
    const files = new FaultyFiles()
    const log = await openSmall(files, '/log')
    const offsets: number[] = []
    for (const text of ['one', 'two', 'three']) {
      offsets.push(await log.append({ streamId: 100, kind: 1, payload: Buffer.from(text) }))
    }
    await log.close()
    const [path, size] = [`/log/${segmentName(1)}`, files.readFile(`/log/${segmentName(1)}`).length]
    const lastBatchBytes = BATCH_HEADER_BYTES + aligned(RECORD_HEADER_BYTES + 'three'.length)
    files.putFile(path, files.readFile(path).subarray(0, size - FOOTER_BYTES - lastBatchBytes))
    for (const round of [1, 2]) {
      const told = new Told()
      const again = await openSmall(files, '/log', {}, told)
      const { records, gaps } = await readStream(again, 0, 100)
      assert.deepEqual(
        records.map(({ offset }) => offset),
        offsets.slice(0, 2),
      )
      assert.ok(
        gaps.some(({ after, through }) => after >= offsets[1]! && through >= offsets[2]!),
        `start ${round}`,
      )
      const reasons = told.damages.map(({ file, reason }) => `${file}: ${reason}`)
      assert.deepEqual(reasons, [`${segmentName(1)}: the file is shorter than it was`], `start ${round}`)
      await again.close()
    }
  })

  test('numbers that lost batches may have reserved are not given', async () => {
    const [whole, damaged] = [rolledRow(3), rolledRow(3)]
    damaged[2]?.seal(4)
    const { ceiling } = await recoverLog(contextOf(await folderOf(whole)))
    const recovered = await recoverLog(contextOf(await folderOf(damaged)))
    assert.ok(recovered.ceiling >= ceiling + 2 ** 40, 'segment 4 is missing, and its ceilings with it')
    assert.ok(ceiling < 2 ** 40)
  })

  test('a generation that the name of any file bears is not used again', async () => {
    for (const name of [indexName(40), segmentName(40)]) {
      const row = rolledRow(3)
      const files = await folderOf(row)
      files.putFile(`/log/${name}`, Buffer.alloc(8))
      files.putFile(pathOf(row[2] as WrittenSegment), Buffer.concat([row[2]?.bytes as Buffer, Buffer.alloc(100, 1)]))
      const { newestGeneration, segments } = await recoverLog(contextOf(files))
      assert.equal(segments.at(-1)?.generation, 41, name)
      assert.equal(newestGeneration, 41, name)
    }
  })
})

describe('numbers', () => {
  test('row 83: restarts within a second, a day back, and at the same moment give no number twice', async () => {
    const files = new FaultyFiles()
    let nowMs = NOON_MS
    const history = new History()
    let disk = files
    let given = 0
    for (const [i, step] of [0, 100, -DAY_MS, 0, 0, 500, -DAY_MS, 1000, DAY_MS, 0, -2 * DAY_MS].entries()) {
      nowMs += step
      const opened = await openLog(disk, { now: () => nowMs })
      assert(opened.sequencer.firstOfThisStart > given, 'a number is given twice')
      await history.compare(opened)
      for (let j = 0; j < 5; j += 1) {
        given = history.take(opened)
        assert.equal(await history.append(opened, [10, 11]), undefined)
      }
      // Many in memory, far beyond what one reservation covers, while the log is quiet.
      for (let j = 0; j < 400_000; j += 1) given = opened.sequencer.take()
      history.givenThrough = given
      if (i % 3 === 0) await opened.log.close()
      disk = disk.powerLoss()
    }
  })

  test('row 83: a segment that holds only a reservation keeps it over a clean stop', async () => {
    const { files, history, opened } = await start()
    await fill(history, opened, 2)
    await opened.log.close()
    const quiet = await openLog(files)
    const commits = quiet.watch.commits
    let given = 0
    while (quiet.watch.commits === commits) {
      for (let i = 0; i < 100_000; i += 1) given = quiet.sequencer.take()
      await new Promise((resolve) => setImmediate(resolve))
    }
    await quiet.log.close()
    const late = await openLog(files, { now: () => NOON_MS - DAY_MS })
    assert(late.sequencer.firstOfThisStart > given)
    const [range] = late.log.skippedRanges.slice(-1)
    assert(range !== undefined && range.from > history.givenThrough && range.to === late.sequencer.firstOfThisStart)
    await history.compare(late)
    await late.log.close()
  })

  test('row 64: numbers near 2^53 are refused in words', () => {
    const sequencer = new Sequencer()
    assert.throws(() => sequencer.begin(2 ** 53 - 1000, NOON_MS), { code: 'STORAGE_EXHAUSTED' })
    const near = new Sequencer()
    near.begin(2 ** 53 - 2 ** 22 - 3, NOON_MS)
    assert(near.wantedCeiling <= 2 ** 53 - 2 ** 22)
  })

  test('row 84: a copy of the folder of files skips the numbers that were given after it', async () => {
    const { files, history, opened } = await start(oneSegment)
    await fill(history, opened, 3)
    await opened.log.close()
    const copy = files.powerLoss()
    const last = (await readAll(opened.log).catch(() => [])).at(-1)?.offset ?? history.givenThrough
    const later = await openLog(files, oneSegment)
    const ahead = await later.log.append({ streamId: 10, kind: 7, payload: Buffer.from('lost by the copy') })
    await later.log.close()
    const restored = await openLog(copy, { ...oneSegment, now: () => NOON_MS + 10_000 })
    const isSkipped = (offset: number) =>
      restored.log.skippedRanges.some(({ from, to }) => offset >= from && offset < to)
    assert(isSkipped(ahead), 'a client that was ahead can be told')
    assert(!isSkipped(last), 'one that was not is not')
    assert((await restored.log.append({ streamId: 10, kind: 7, payload: Buffer.from('new') })) > ahead)
    await restored.log.close()
  })

  test('skipped ranges ascend, begin behind the last record, and end where a start began', async () => {
    const files = new FaultyFiles()
    const firsts: number[] = []
    for (let i = 0; i < 4; i += 1) {
      const opened = await openLog(files, { now: () => NOON_MS + i * 5000 })
      firsts.push(opened.sequencer.firstOfThisStart)
      const ranges = opened.log.skippedRanges
      assert.deepEqual(
        ranges.map(({ to }) => to),
        firsts,
      )
      for (const [j, { from }] of ranges.entries()) assert(j === 0 || from > (firsts[j - 1] ?? 0))
      await opened.log.append({ streamId: 10, kind: 7, payload: Buffer.from('x') })
      await opened.log.close()
    }
  })
})

describe('two logs, one order', () => {
  test('row 87: a log in memory goes on while a durable batch is held or fails', async () => {
    const files = new FaultyFiles()
    const { log: durable, sequencer } = await openLog(files, oneSegment)
    const memory = await Log.open(new MemoryFiles(), sequencer, new Watch(), DIRECTORY, {
      ...smallLog,
      sync: 'never',
      isDurable: false,
      logBytesMax: 100_000,
    })
    const record: NewRecord = { streamId: 10, kind: 7, payload: Buffer.from('x') }
    const before = await durable.append(record)
    assert(durable.watermark > before && memory.watermark > before)
    const held = files.hold('sync')
    const waiting = durable.append(record)
    await held.arrived
    const inMemory = await memory.append({ ...record, streamId: 20 })
    assert(durable.watermark < inMemory, 'a stream that mixes both waits')
    assert(memory.watermark > inMemory, 'one in memory does not')
    assert.deepEqual(
      (await readAll(memory, 0, 20)).map(({ offset }) => offset),
      [inMemory],
    )
    held()
    const between = await waiting
    assert(between < inMemory && durable.watermark > inMemory)
    // A write that fails is settled as soon as it is cut away: what comes behind it goes on.
    files.fail(({ operation }) => operation === 'write', { code: 'ENOSPC' })
    const refused = durable.append(record).catch((error: unknown) => error)
    const behind = await memory.append({ ...record, streamId: 20 })
    assert.equal(codeOf(await refused), 'STORAGE_FULL')
    assert(durable.watermark > behind)
    // A sync that fails is never settled.
    files.fail('sync', { code: 'EIO' })
    const lost = durable.append(record).catch((error: unknown) => error)
    const last = await memory.append({ ...record, streamId: 20 })
    assert.equal(codeOf(await lost), 'STORAGE_FAILED')
    assert.equal((await readAll(memory, 0, 20)).at(-1)?.offset, last)
    assert(durable.watermark <= last, 'a stream that mixes both stops before what nobody knows')
    assert.equal((await memory.append({ ...record, streamId: 20 })) > last, true)
    await durable.close()
    await memory.close()
  })
})

describe('readers', () => {
  test('row 45: a reader that tails the log while it rolls misses nothing and sees nothing twice', async () => {
    const { files, history, opened } = await start()
    const cursors = [opened.log.cursor(0, 10), opened.log.cursor(0)]
    const seen: number[][] = [[], []]
    for (let i = 0; i < 40; i += 1) {
      const appended = fill(history, opened, 1 + (i % 3), 100)
      for (const [j, cursor] of cursors.entries()) {
        const step = await cursor.next()
        if (step !== undefined && 'records' in step) seen[j]?.push(...step.records.map(({ offset }) => offset))
      }
      await appended
    }
    for (const [j, cursor] of cursors.entries()) {
      for (let step = await cursor.next(); step !== undefined; step = await cursor.next()) {
        assert('records' in step)
        seen[j]?.push(...step.records.map(({ offset }) => offset))
      }
      cursor.close()
    }
    assert(opened.watch.rolls.length > 5)
    assert.deepEqual(
      seen[0],
      (await readAll(opened.log, 0, 10)).map(({ offset }) => offset),
    )
    assert.deepEqual(
      seen[1],
      (await readAll(opened.log)).map(({ offset }) => offset),
    )
    await opened.log.close()
    assert(files.operations > 0)
  })

  test('row 47: a cursor in a segment that a bounded log drops is told a gap, once', async () => {
    const sequencer = new Sequencer()
    sequencer.beginUnreserved(NOON_MS)
    const log = await Log.open(new MemoryFiles(), sequencer, new Watch(), DIRECTORY, {
      ...smallLog,
      sync: 'never',
      isDurable: false,
      logBytesMax: 4000,
    })
    const record: NewRecord = { streamId: 10, kind: 7, payload: Buffer.alloc(200, 'x') }
    const offsets: number[] = []
    for (let i = 0; i < 6; i += 1) offsets.push(await log.append(record))
    const cursors = [log.cursor(0, 10), log.cursor(0)]
    for (const cursor of cursors) await cursor.next()
    for (let i = 0; i < 40; i += 1) offsets.push(await log.append(record))
    for (const cursor of cursors) {
      const from = cursor.position
      const read: number[] = []
      const gaps: { after: number; through: number }[] = []
      for (let step = await cursor.next(); step !== undefined; step = await cursor.next()) {
        if ('gap' in step) {
          assert.equal(step.gap.reason, 'evicted')
          gaps.push(step.gap)
        } else read.push(...step.records.map(({ offset }) => offset))
      }
      assert.equal(gaps.length, 1)
      for (const offset of offsets.filter((one) => one > from)) {
        const inGap = offset > (gaps[0]?.after ?? 0) && offset <= (gaps[0]?.through ?? 0)
        assert.equal(read.filter((one) => one === offset).length, inGap ? 0 : 1)
      }
      cursor.close()
    }
    await log.close()
  })

  test('row 50: a cursor that races commits and the switch to live has no hole and no twin', async () => {
    const { history, opened } = await start()
    const { log } = opened
    const got: number[] = []
    let isLive = false
    log.onCommit((records) => {
      if (isLive) got.push(...records.filter(({ streamId }) => streamId === 10).map(({ offset }) => offset))
    })
    const publishing = (async () => {
      for (let i = 0; i < 60; i += 1) await history.append(opened, i % 4 === 0 ? [10, 11, 10] : [10])
    })()
    const cursor = log.cursor(0, 10)
    while (!isLive) {
      const step = await cursor.next()
      if (step === undefined) {
        // In this very turn nothing can be committed.
        assert.equal(cursor.position, log.lastOffset)
        isLive = got.length > 20
        if (!isLive) await new Promise((resolve) => setImmediate(resolve))
        continue
      }
      assert('records' in step)
      got.push(...step.records.map(({ offset }) => offset))
    }
    cursor.close()
    await publishing
    assert.deepEqual(
      got,
      (await readAll(log, 0, 10)).map(({ offset }) => offset),
    )
    await log.close()
  })

  test('row 52: closing while batches are in flight keeps all that was acknowledged, and answers the rest', async () => {
    for (let turns = 0; turns < 4; turns += 1) {
      const { files, history, opened } = await start()
      const held = files.hold('sync')
      const answers = Promise.all(Array.from({ length: 20 }, () => history.append(opened, [10], { payloadBytes: 90 })))
      for (let i = 0; i < turns; i += 1) await new Promise((resolve) => setImmediate(resolve))
      const closing = opened.log.close()
      const late = await history.append(opened, [11])
      assert.equal(late?.code, 'STORAGE_CLOSED')
      held()
      for (const error of await answers) assert(error === undefined || error.code === 'STORAGE_CLOSED')
      await closing
      assert.equal(await opened.log.close(), undefined, 'a second close does nothing')
      const again = await openLog(files)
      await history.compare(again)
      await again.log.close()
    }
  })

  test('a search by time that races a commit does not pass over what is committed meanwhile', async () => {
    let nowMs = NOON_MS
    const { history, opened } = await start({ now: () => nowMs })
    await fill(history, opened, 6)
    const { log } = opened
    nowMs += 10_000
    const finding = log.findTime(10, NOON_MS + 5000)
    const offset = await log.append({ streamId: 10, kind: 7, payload: Buffer.from('at the time') })
    assert((await finding) < offset)
    assert.equal(await log.findTime(10, NOON_MS + 5000), offset - 1)
    assert.equal(await log.findTime(10, NOON_MS + 20_000), log.lastOffset)
    assert((await log.findTime(10, 0)) < ((await readAll(log, 0, 10))[0]?.offset ?? 0))
    await log.close()
  })
})

describe('content', () => {
  async function roundTrip(records: readonly NewRecord<Uint8Array>[], options: Partial<LogOptions> = {}) {
    const files = new FaultyFiles()
    const opened = await openLog(files, options)
    const offsets: number[] = []
    for (const record of records) offsets.push(await opened.log.append(record))
    const crashed = await openLog(files.powerLoss(), options)
    await opened.log.close()
    const stopped = await openLog(files, options)
    for (const { log } of [crashed, stopped]) {
      const read = (await readAll(log)).filter(({ streamId }) => streamId > 1)
      assert.deepEqual(
        read.map(({ offset }) => offset),
        offsets,
      )
      for (const [i, record] of read.entries()) {
        assert(Buffer.compare(record.payload, records[i]!.payload) === 0)
        assert(Buffer.compare(record.key, records[i]!.key ?? Buffer.alloc(0)) === 0)
      }
    }
    return { log: stopped.log, offsets }
  }

  test('row 57: an empty payload is a payload', async () => {
    await roundTrip([
      { streamId: 10, kind: 1, payload: new Uint8Array(0) },
      { streamId: 10, kind: 255, key: Buffer.from('k'), payload: new Uint8Array(0) },
    ])
  })

  test('row 58: the largest that is allowed is taken, and one byte more is refused', async () => {
    const largest = 64 * 1024 * 1024 - 64 - 40
    const options: Partial<LogOptions> = { ...oneSegment, pendingBytesMax: 2 ** 27 }
    const { opened, files } = await start(options)
    const tooLarge: NewRecord<Buffer> = { streamId: 10, kind: 1, payload: Buffer.alloc(largest + 1) }
    await assert.rejects(opened.log.append(tooLarge), { code: 'STORAGE_TOO_LARGE' })
    const key = { streamId: 10, kind: 1, key: Buffer.alloc(65_536), payload: Buffer.alloc(0) }
    await assert.rejects(opened.log.append(key), { code: 'STORAGE_TOO_LARGE' })
    const offset = await opened.log.append({ ...tooLarge, payload: tooLarge.payload.subarray(1) })
    await opened.log.append({ ...key, key: key.key.subarray(1) })
    await opened.log.close()
    const again = await openLog(files, options)
    const [first, second] = await readAll(again.log, 0, 10)
    assert.equal(first?.offset, offset)
    assert.equal(first?.payload.length, largest)
    assert.equal(second?.key.length, 65_535)
    await again.log.close()
  })

  test('row 59: many streams of one record, and one stream of many (scaled)', async () => {
    const options: Partial<LogOptions> = { segmentBytesMax: 200_000, pendingBytesMax: 2 ** 26 }
    const { opened, files } = await start(options)
    const payload = Buffer.from('x')
    const streams = Array.from({ length: 4000 }, (_, i): NewRecord => ({ streamId: 1000 + i, kind: 1, payload }))
    const stream = Array.from({ length: 10_000 }, (): NewRecord => ({ streamId: 7, kind: 1, payload }))
    await opened.log.appendAll(streams)
    await Promise.all([0, 2000, 4000, 6000, 8000].map((at) => opened.log.appendAll(stream.slice(at, at + 2000))))
    await opened.log.close()
    const again = await openLog(files, options)
    assert.equal((await readAll(again.log, 0, 7)).length, 10_000)
    for (const streamId of [1000, 2999, 4999]) assert.equal((await readAll(again.log, 0, streamId)).length, 1)
    await again.log.close()
  })

  test('row 60: a batch of 10,000 records, and one larger than a segment, count whole or not at all', async () => {
    const options: Partial<LogOptions> = { pendingBytesMax: 2 ** 26 }
    const { opened, files, history } = await start(options)
    await fill(history, opened, 1)
    const records = Array.from(
      { length: 10_000 },
      (): NewRecord => ({ streamId: 20, kind: 1, payload: Buffer.from('x') }),
    )
    const held = files.hold('sync')
    const offsets = opened.log.appendAll(records)
    await held.arrived
    for (const share of [0, 0.3, 0.999, 1]) {
      const disk = files.afterCrash({
        names: 'kept',
        writes: ({ length }) => ({ tornAtByte: Math.floor(length * share) }),
      })
      const again = await openLog(disk, options)
      const count = (await readAll(again.log, 0, 20)).length
      assert(count === 0 || count === 10_000)
      assert.equal(again.log.damages.length, 0)
      await again.log.close()
    }
    held()
    assert.equal((await offsets).length, 10_000)
    await opened.log.close()
  })

  test('row 61: keys that repeat, are empty, long, equal in two streams, or collide are found as they were used first', async () => {
    const long = 'k'.repeat(256)
    const use = (streamId: number, key: string): NewRecord<Uint8Array> => ({
      streamId,
      kind: 1,
      key: Buffer.from(key),
      payload: Buffer.from(key),
    })
    const records = [
      use(10, 'a'),
      use(11, 'a'),
      use(10, ''),
      use(10, long),
      use(10, 'a'),
      use(11, 'b'),
      use(10, 'b'),
      use(10, 'a'),
    ]
    const { log, offsets } = await roundTrip(records)
    const find = (streamId: number, key: string) => log.findKey(streamId, Buffer.from(key))
    assert.equal(await find(10, 'a'), offsets[0])
    assert.equal(await find(11, 'a'), offsets[1])
    assert.equal(await find(10, long), offsets[3])
    assert.equal(await find(11, 'b'), offsets[5])
    assert.equal(await find(10, 'b'), offsets[6])
    assert.equal(await find(10, ''), undefined)
    assert.equal(await find(12, 'a'), undefined)
    // Where every key collides, none is found wrongly.
    const collided = await roundTrip(records, { keyHash: () => 7 })
    for (const { streamId, key } of records) {
      const found = await collided.log.findKey(streamId, key ?? Buffer.alloc(0))
      const same = records.findIndex(
        (one) => one.streamId === streamId && Buffer.compare(one.key ?? Buffer.alloc(0), key ?? Buffer.alloc(0)) === 0,
      )
      if (found !== undefined) assert.equal(found, collided.offsets[same])
    }
  })

  test('row 62: keys are found over restarts, as they were used first', async () => {
    const files = new FaultyFiles()
    const first = new Map<string, number>()
    for (let i = 0; i < 4; i += 1) {
      const { log } = await openLog(files)
      for (const key of ['a', 'b', `only ${i}`]) {
        const offset = await log.append({ streamId: 10, kind: 1, key: Buffer.from(key), payload: Buffer.alloc(150) })
        if (!first.has(key)) first.set(key, offset)
      }
      for (const [key, offset] of first) assert.equal(await log.findKey(10, Buffer.from(key)), offset)
      await log.close()
    }
  })

  test('row 63: a clock that goes a day back, a day forward, or stands still changes no order', async () => {
    const files = new FaultyFiles()
    const history = new History()
    let nowMs = NOON_MS
    const opened = await openLog(files, { now: () => nowMs })
    for (const step of [0, -DAY_MS, DAY_MS, 0, 2 * DAY_MS, -3 * DAY_MS]) {
      nowMs += step
      assert.equal(await history.append(opened, [10, 11]), undefined)
    }
    await history.compare(opened)
    const records = await readAll(opened.log, 0, 10)
    for (const { timeMs } of records) {
      const after = await opened.log.findTime(10, timeMs)
      const earliest = records.find((record) => record.timeMs >= timeMs)
      const [next] = await readAll(opened.log, after, 10)
      assert.equal(next?.offset, earliest?.offset)
    }
    const again = await openLog(files.powerLoss(), { now: () => nowMs })
    await history.compare(again)
    await opened.log.close()
  })

  test('row 65: payloads that look like batches, footers and headers are payloads, also behind damage', async () => {
    const { files, opened } = await start(oneSegment)
    await opened.log.append({ streamId: 10, kind: 1, payload: Buffer.from('x') })
    const own = files.readFile(`${DIRECTORY}/segment-0000000000000001.log`)
    assert.equal(decodeHeader(Buffer.from(own)).kind, 'header')
    for (let shift = 0; shift < 8; shift += 1) {
      await opened.log.append({ streamId: 11, kind: 1, payload: Buffer.concat([Buffer.alloc(shift), own]) })
    }
    const tail = files.hold('sync')
    const last = opened.log.append({ streamId: 11, kind: 1, payload: Buffer.concat([own, own]) })
    await tail.arrived
    for (let tornAtByte = 0; tornAtByte < own.length * 2; tornAtByte += 40) {
      const disk = files.afterCrash({ writes: { tornAtByte } })
      const again = await openLog(disk, oneSegment)
      assert.equal(again.log.damages.length, 0)
      assert.equal((await readAll(again.log)).filter(({ streamId }) => streamId > 1).length, 9)
    }
    tail()
    await last
    await opened.log.close()
  })
})

describe('forgery', () => {
  test('row 81: a message that holds a batch, valid but for its place, is a message', async () => {
    const { files, opened, history } = await start(oneSegment)
    await fill(history, opened, 2)
    const path = `${DIRECTORY}/segment-0000000000000001.log`
    const decoded = decodeHeader(Buffer.from(files.readFile(path)))
    assert(decoded.kind === 'header')
    const seed = segmentSeed(decoded.header.identity, 1)
    const position = files.readFile(path).length
    const builder = new BatchBuilder()
    builder.add({ streamId: 99, kind: 7, payload: Buffer.from('forged') }, opened.sequencer.next + 1000, NOON_MS)
    const place = { previousCrc: 0, ceiling: 0, syncedGeneration: 1, syncedPosition: position + 1000 }
    const { bytes } = builder.seal(seed, position, place)
    const held = files.hold('sync')
    const appended = opened.log.append({ streamId: 10, kind: 7, payload: Buffer.concat([bytes, bytes]) })
    await held.arrived
    // The head of the batch that holds it is lost, so that recovery searches in the message.
    const disk = files.afterCrash({ writes: 'kept' })
    disk.patch(path, position, new Uint8Array(64))
    const again = await openLog(disk, oneSegment)
    await history.compare(again)
    held()
    await appended
    await opened.log.close()
  })
})

describe('what is refused', () => {
  test('row 15: where no header verifies, nothing is changed', async () => {
    const { files, history, opened } = await start(oneSegment)
    await fill(history, opened, 2)
    const disk = files.powerLoss()
    for (const name of await segments(disk)) disk.patch(`${DIRECTORY}/${name}`, 40, Buffer.from([0xff, 0xff]))
    disk.putFile(`${DIRECTORY}/segment-0000000000000077.log.tmp`, Buffer.from('x'))
    const before = await fingerprint(disk)
    await assert.rejects(openLog(disk), (error) => error instanceof StorageError && error.code === 'STORAGE_DAMAGED')
    assert.equal(await fingerprint(disk), before)
    await opened.log.close()
  })
})
