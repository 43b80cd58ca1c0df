import assert from 'node:assert/strict'
import type { DataFile } from '../../storage-engine/files.ts'
import type { Log } from '../../storage-engine/log.ts'
import { MemoryFiles } from '../../storage-engine/memory-files.ts'
import { systemError } from '../../storage-engine/system-error.ts'
import { Random } from '../support/random.ts'
import { test } from '../support/unwatched.ts'
import { type Known, openSmall, readAll, readThrough } from './small-log.ts'
import { WrittenLog } from './written-log.ts'
import { type NumberedRecord, WrittenSegment } from './written-segment.ts'

const STREAMS = [100, 200, 300]

async function memoryLog(options: Parameters<typeof openSmall>[2] = {}): Promise<{ log: Log; files: RefusingFiles }> {
  const files = new RefusingFiles()
  return { log: await openSmall(files, '/d', options), files }
}

/** Files in memory whose reading can be refused. */
class RefusingFiles extends MemoryFiles {
  refusal: Error | undefined
  gate: Promise<void> | undefined

  override async open(path: string, mode: 'create' | 'read' | 'update'): Promise<DataFile> {
    const file = await super.open(path, mode)
    const read = file.read.bind(file)
    file.read = async (target, position) => {
      await this.gate
      if (this.refusal !== undefined) throw this.refusal
      return await read(target, position)
    }
    return file
  }
}

async function append(log: Log, streamId: number, text: string): Promise<Known> {
  const offset = await log.append({ streamId, kind: 1, payload: Buffer.from(text, 'latin1') })
  return { offset, streamId, text }
}

async function appendSome(log: Log, count: number, random: Random): Promise<Known[]> {
  const known: Known[] = []
  while (known.length < count) {
    const some = Array.from({ length: 1 + random.int(9) }, (_, i) => ({
      streamId: random.pick(STREAMS),
      text: `${known.length + i} `.padEnd(random.pick([0, 10, 300]), '.'),
    }))
    const records = some.map(({ streamId, text }) => ({ streamId, kind: 1, payload: Buffer.from(text, 'latin1') }))
    const offsets = await log.appendAll(records)
    known.push(...some.map((one, i) => ({ ...one, offset: offsets[i]! })))
  }
  return known
}

test('what was dropped ahead of a cursor is a gap, up to the last of it, though it was found already', async () => {
  const { log } = await memoryLog({ segmentBytesMax: 2 ** 20 })
  const known: Known[] = []
  for (let i = 0; i < 6; i += 1) known.push(await append(log, 100, 'x'.repeat(30_000)))
  const cursor = log.cursor(0, 100)
  const step = await cursor.next()
  assert(step !== undefined && 'records' in step)
  const [next, behind] = known.slice(step.records.length)
  assert(next !== undefined && behind !== undefined)
  const after = cursor.position
  log.dropped(100, next.offset)
  assert.deepEqual(await cursor.next(), { gap: { after, through: next.offset, reason: 'evicted' } })
  assert.equal((await readThrough(cursor)).records[0]?.offset, behind.offset)
  cursor.close()
  await log.close()
})

test('each stream, and everything, is read from any number as from a list, also after a new start', async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  const { log, files } = await memoryLog()
  const known = await appendSome(log, 400, random)
  assert(log.statistics().segments > 5)
  await compare(log, known, random)
  await log.close()
  const again = await openSmall(files, '/d')
  await compare(again, known, random)
  known.push(...(await appendSome(again, 50, random)))
  await compare(again, known, random)
  await again.close()
})

async function compare(log: Log, known: readonly Known[], random: Random): Promise<void> {
  for (let i = 0; i < 30; i += 1) {
    const after = random.chance(0.2) ? 0 : random.pick(known).offset + random.int(3) - 1
    for (const streamId of [...STREAMS, 999, undefined]) {
      const wanted = known.filter((one) => one.offset > after && (streamId === undefined || one.streamId === streamId))
      assert.deepEqual(await readAll(log, after, streamId), { records: wanted, gaps: [] })
    }
  }
}

test('row 45: readers that follow the writer over every roll get everything once, in order', async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  const { log } = await memoryLog()
  let done = false
  const wake: (() => void)[] = []
  log.onCommit(() => {
    for (const resume of wake.splice(0)) resume()
  })
  const follow = async (streamId: number | undefined): Promise<Known[]> => {
    const cursor = log.cursor(0, streamId)
    const records: Known[] = []
    for (;;) {
      const isLast = done
      const through = await readThrough(cursor)
      assert.deepEqual(through.gaps, [])
      records.push(...through.records)
      if (isLast) break
      if (!done && cursor.position >= log.lastOffset) await new Promise<void>((resolve) => wake.push(resolve))
    }
    cursor.close()
    return records
  }
  const readers = [...STREAMS, ...STREAMS, undefined, undefined].map((streamId) => ({
    streamId,
    read: follow(streamId),
  }))
  const known = await appendSome(log, 1500, random)
  done = true
  for (const resume of wake.splice(0)) resume()
  assert(log.statistics().segments > 20)
  for (const { streamId, read } of readers) {
    assert.deepEqual(
      await read,
      known.filter((one) => streamId === undefined || one.streamId === streamId),
    )
  }
  await log.close()
})

test('a cursor that stands at the end is at the last number, whatever stream it reads, and sees what comes', async () => {
  const { log } = await memoryLog()
  const cursors = [log.cursor(0, 100), log.cursor(0, 999), log.cursor(0)]
  await append(log, 100, 'a')
  for (const cursor of cursors) {
    await readThrough(cursor)
    assert.equal(cursor.position, log.lastOffset)
  }
  const late = await append(log, 100, 'b')
  const [one, other, all] = cursors as [(typeof cursors)[0], (typeof cursors)[0], (typeof cursors)[0]]
  assert.deepEqual((await readThrough(one)).records, [late])
  assert.deepEqual((await readThrough(other)).records, [])
  assert.deepEqual((await readThrough(all)).records, [late])
  for (const cursor of cursors) assert.equal(cursor.position, late.offset)
  await log.close()
})

test('records larger than a block, than eight, than a segment and than a step are whole', async () => {
  const { log, files } = await memoryLog({ blockCacheBytesMax: 100_000, batchBytesMax: 2 ** 20 })
  const known: Known[] = []
  for (const length of [1, 32 * 1024 - 40, 32 * 1024, 70_000, 1, 300_000, 600_000, 3]) {
    known.push(await append(log, 100, String.fromCharCode(97 + known.length).repeat(length)))
    await append(log, 200, 'between')
  }
  assert.deepEqual((await readAll(log, 0, 100)).records, known)
  assert.equal((await readAll(log)).records.length, 16)
  await log.close()
  const again = await openSmall(files, '/d', { blockCacheBytesMax: 100_000 })
  assert.deepEqual((await readAll(again, 0, 100)).records, known)
  await again.close()
})

test('a step hands out some 64 KiB, and at least one record', async () => {
  const { log } = await memoryLog({ segmentBytesMax: 2 ** 22, blockCacheBytesMax: 2 ** 22 })
  for (let i = 0; i < 500; i += 1) await append(log, 100, 'x'.repeat(1000))
  await readAll(log, 0, 100)
  const cursor = log.cursor(0, 100)
  for (let step = await cursor.next(); step !== undefined; step = await cursor.next()) {
    assert('records' in step && step.records.length >= 1 && step.records.length <= 64)
  }
  await log.close()
})

test('row 47: what a bounded log drops ahead of a cursor is told as one gap, and everything behind it follows', async () => {
  const { log } = await memoryLog({ isDurable: false, logBytesMax: 40_000 })
  const known: Known[] = [await append(log, 100, 'first')]
  const cursor = log.cursor(0, 100)
  const quiet = log.cursor(0, 999)
  const all = log.cursor(0)
  const first = await cursor.next()
  assert(first !== undefined && 'records' in first)
  const dropped = new Map<number, number>()
  log.onEvict((gone) => {
    for (const { streamId, last } of gone) dropped.set(streamId, last)
  })
  for (let i = 0; i < 400; i += 1) known.push(await append(log, 100 + 100 * (i % 2), `${i}`.padEnd(500, '.')))
  assert(log.statistics().bytes <= 40_000)
  const through = dropped.get(100)!
  assert(through > known[100]!.offset)
  const read = await readThrough(cursor)
  assert.deepEqual(read.gaps, [{ after: known[0]!.offset, through, reason: 'evicted' }])
  assert.deepEqual(
    read.records,
    known.filter((one) => one.streamId === 100 && one.offset > through),
  )
  const everything = await readThrough(all)
  assert.deepEqual(everything.gaps, [{ after: 0, through: log.evictedThrough, reason: 'evicted' }])
  assert.deepEqual(
    everything.records,
    known.filter((one) => one.offset > log.evictedThrough),
  )
  assert.deepEqual(await readThrough(quiet), { records: [], gaps: [] })
  await log.close()
})

test('row 47: segments dropped in the middle of reading them: told or handed out, nothing in silence', async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  const { log } = await memoryLog({ isDurable: false, logBytesMax: 30_000, blockCacheBytesMax: 32 * 1024 })
  const known = await appendSome(log, 100, random)
  const seen = [100, undefined].map((streamId) => ({
    streamId,
    cursor: log.cursor(0, streamId),
    covered: [] as number[][],
  }))
  for (let round = 0; round < 200; round += 1) {
    const appending = appendSome(log, 1 + random.int(10), random)
    for (const { cursor, covered } of seen) {
      const step = await cursor.next()
      if (step === undefined) continue
      if ('gap' in step) covered.push([step.gap.after + 1, step.gap.through])
      else covered.push(...step.records.map(({ offset }) => [offset, offset]))
    }
    known.push(...(await appending))
  }
  for (const { streamId, cursor, covered } of seen) {
    const rest = await readThrough(cursor)
    covered.push(...rest.gaps.map(({ after, through }) => [after + 1, through]))
    covered.push(...rest.records.map(({ offset }) => [offset, offset]))
    for (const { offset } of known.filter((one) => streamId === undefined || one.streamId === streamId)) {
      assert(
        covered.some(([from, to]) => from! <= offset && offset <= to!),
        `${offset} went in silence (${streamId})`,
      )
    }
  }
  await log.close()
})

test('row 40: a record that the disk cannot read is a gap for its reader, told once to the log, and what follows is read', async () => {
  const { log, files } = await memoryLog({ blockCacheBytesMax: 0 })
  const [one, two, three] = [await append(log, 100, 'a'), await append(log, 200, 'b'), await append(log, 100, 'c')]
  const cursor = log.cursor(0, 100)
  files.refusal = systemError('EIO', 'read')
  const step = await cursor.next()
  assert.deepEqual(step, { gap: { after: 0, through: one.offset, reason: 'damaged' } })
  files.refusal = undefined
  assert.deepEqual(await readThrough(cursor), { records: [three], gaps: [] })
  assert.equal(log.damages.length, 1)
  assert.equal(log.damages[0]?.reason, 'cannot be read')
  assert.deepEqual((await readAll(log, 0, 200)).records, [two])
  await log.close()
})

test('row 42: a want of descriptors is no damage: the reading fails, and can be tried again', async () => {
  const { log: earlier, files } = await memoryLog()
  const one = await append(earlier, 100, 'a')
  await earlier.close()
  const log = await openSmall(files, '/d', { blockCacheBytesMax: 0, pageCacheBytesMax: 0 })
  for (const streamId of [100, undefined]) {
    const cursor = log.cursor(0, streamId)
    files.refusal = systemError('EMFILE', 'open')
    await assert.rejects(cursor.next())
    files.refusal = undefined
    assert.deepEqual(await readThrough(cursor), { records: [one], gaps: [] })
  }
  const two = await append(log, 100, 'b')
  for (const streamId of [100, undefined]) {
    files.refusal = systemError('EMFILE', 'open')
    await assert.rejects(log.cursor(one.offset, streamId).next(), { code: 'STORAGE_READ' })
    files.refusal = undefined
    assert.deepEqual(await readAll(log, one.offset, streamId), { records: [two], gaps: [] })
  }
  assert.deepEqual(log.damages, [])
  await log.close()
})

test('row 47: a segment that is dropped just when it is to be read is a gap, and no damage', async () => {
  for (const streamId of [100, undefined]) {
    const { log, files } = await memoryLog({ isDurable: false, logBytesMax: 20_000, blockCacheBytesMax: 0 })
    const known: Known[] = []
    for (let i = 0; i < 10; i += 1) known.push(await append(log, 100, `${i}`.padEnd(900, '.')))
    const cursor = log.cursor(0, streamId)
    let open = () => {}
    files.gate = new Promise((resolve) => {
      open = resolve
    })
    const step = cursor.next()
    await new Promise((resolve) => setImmediate(resolve))
    for (let i = 0; i < 50; i += 1) known.push(await append(log, 100, `${i}`.padEnd(900, '.')))
    files.refusal = systemError('ENOENT', 'open')
    open()
    const first = await step
    files.refusal = undefined
    const rest = await readThrough(cursor)
    const gaps = first !== undefined && 'gap' in first ? [first.gap, ...rest.gaps] : rest.gaps
    assert.deepEqual(
      gaps.map(({ after, reason }) => [after, reason]),
      [[0, 'evicted']],
    )
    assert.deepEqual(
      rest.records,
      known.filter(({ offset }) => offset > gaps[0]!.through),
    )
    assert.deepEqual(log.damages, [])
    await log.close()
  }
})

test('a cursor that is closed hands out nothing more, and closing the log under one is no damage', async () => {
  const { log } = await memoryLog({ blockCacheBytesMax: 0 })
  await append(log, 100, 'a')
  const closed = log.cursor(0, 100)
  closed.close()
  assert.equal(await closed.next(), undefined)
  const cursors = [log.cursor(0, 100), log.cursor(0)]
  const steps = cursors.map((cursor) => cursor.next().catch(() => undefined))
  await log.close()
  await Promise.all(steps)
  assert.deepEqual(log.damages, [])
})

/** Rolled segments of some records each, as if they had been written one after the other. */
function rolledSegments(random: Random, count: number, lengths = [0, 10, 300]): WrittenSegment[] {
  const segments: WrittenSegment[] = []
  let next = 1000
  for (let generation = 1; generation <= count; generation += 1) {
    const segment = new WrittenSegment(generation, next)
    for (let rest = 1 + random.int(12); rest > 0; rest -= 1) {
      segment.add(
        Array.from({ length: random.int(9) }, (_, i) => ({
          streamId: random.pick(STREAMS),
          kind: 1,
          payload: Buffer.from(`${next + i} `.padEnd(random.pick(lengths), '.'), 'latin1'),
        })),
        generation,
      )
    }
    // Numbers have holes.
    next = (segment.batches.at(-1)?.last ?? next) + 1 + random.int(100)
    segment.seal(generation + 1)
    segments.push(segment)
  }
  return segments
}

function knownOf(segments: readonly WrittenSegment[]): Known[] {
  return segments.flatMap(({ records }) =>
    records.map(({ offset, streamId, payload }) => ({
      offset,
      streamId,
      text: Buffer.from(payload).toString('latin1'),
    })),
  )
}

function ofStream(known: readonly Known[], streamId: number | undefined, after = 0): Known[] {
  return known.filter((one) => one.offset > after && (streamId === undefined || one.streamId === streamId))
}

test('segments that lie by stream are read from any number as from a list, stream by stream and all by number', async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  for (const lengths of [
    [0, 10, 300],
    [1, 40_000, 300_000],
  ]) {
    const rolled = rolledSegments(random, 9, lengths)
    const known = knownOf(rolled)
    const log = await WrittenLog.open(rolled, random.pick([0, 2 ** 20]))
    await log.compact(0, 3)
    await log.compact(2, 6)
    await log.compact(0, 2)
    for (let i = 0; i < 30; i += 1) {
      const after = random.chance(0.2) ? 0 : random.pick(known).offset + random.int(3) - 1
      for (const streamId of [...STREAMS, 999, undefined]) {
        const cursor = log.cursor(after, streamId)
        assert.deepEqual(await readThrough(cursor), { records: ofStream(known, streamId, after), gaps: [] })
        assert.ok(cursor.position >= known.at(-1)!.offset, 'the cursor stands at the end')
      }
    }
    assert.deepEqual(log.told.damages, [])
  }
})

test('row 46: cursors in segments that compaction replaces get every record once, in order, and no gap', async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  for (let round = 0; round < 30; round += 1) {
    const rolled = rolledSegments(random, 12, random.pick([[10], [10, 5000], [0, 70_000]]))
    const known = knownOf(rolled)
    const log = await WrittenLog.open(rolled, random.pick([0, 0, 64 * 1024]))
    const readers = [...STREAMS, 999, undefined, undefined].map((streamId) => ({
      streamId,
      cursor: log.cursor(0, streamId),
      records: [] as Known[],
    }))
    while (log.count > 1) {
      // Steps and replacements at once: some are replaced between the index's answer and the reading of the record.
      const steps = readers.map(async ({ cursor, records }) => {
        const step = random.chance(0.5) ? await cursor.next() : undefined
        assert.ok(step === undefined || 'records' in step, 'nothing is lost')
        for (const { offset, streamId, payload } of step?.records ?? []) {
          records.push({ offset, streamId, text: Buffer.from(payload).toString('latin1') })
        }
      })
      const from = random.int(log.count)
      await log.compact(from, Math.min(log.count, from + 1 + random.int(4)))
      await Promise.all(steps)
    }
    for (const { streamId, cursor, records } of readers) {
      const rest = await readThrough(cursor)
      assert.deepEqual(rest.gaps, [])
      assert.deepEqual([...records, ...rest.records], ofStream(known, streamId))
    }
    assert.deepEqual(log.told.damages, [])
    assert.deepEqual(log.told.rebuilt, [])
  }
})

test('row 46: what the compaction has dropped does not keep a cursor from what it has kept', async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  const rolled = rolledSegments(random, 8)
  const known = knownOf(rolled)
  const log = await WrittenLog.open(rolled)
  const cursors = [...STREAMS, undefined].map((streamId) => ({ streamId, cursor: log.cursor(0, streamId) }))
  const isDead = ({ streamId }: NumberedRecord) => streamId === 200
  await log.compact(0, 3, isDead)
  await log.compact(1, 6, () => true)
  const kept = known.filter(({ offset, streamId }) => {
    const at = rolled.findIndex(({ records }) => records.some((one) => one.offset === offset))
    return at < 3 ? streamId !== 200 : false
  })
  for (const { streamId, cursor } of cursors) {
    assert.deepEqual(await readThrough(cursor), { records: ofStream(kept, streamId), gaps: [] })
    assert.ok(cursor.position >= known.at(-1)!.offset, 'the cursor stands at the end')
  }
  // Also one in the middle of what is gone altogether.
  assert.equal(await log.cursor(known.at(-2)!.offset, 100).next(), undefined)
})

test('row 46: a segment that is replaced while its record, its sidecar or its batches are read is no damage', async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  for (const streamId of [100, undefined]) {
    for (const isCompacted of [false, true]) {
      const rolled = rolledSegments(random, 3, [300])
      const known = knownOf(rolled)
      for (let turns = 0; turns < 12; turns += 1) {
        const log = await WrittenLog.open(rolled)
        if (isCompacted) await log.compact(0, 3)
        const cursor = log.cursor(0, streamId)
        const step = cursor.next()
        for (let turn = 0; turn < turns; turn += 1) await new Promise((resolve) => setImmediate(resolve))
        let open = () => {}
        log.files.gate = new Promise((resolve) => {
          open = resolve
        })
        const replaced = log.compact(0, log.count)
        // The output is written and loaded in the meantime; only reading waits.
        await new Promise((resolve) => setImmediate(resolve))
        open()
        log.files.gate = undefined
        await replaced
        const first = await step
        const rest = await readThrough(cursor)
        assert.deepEqual(rest.gaps, [])
        assert.ok(first !== undefined && 'records' in first, 'nothing is lost')
        assert.deepEqual(
          [...first.records.map(({ offset }) => offset), ...rest.records.map(({ offset }) => offset)],
          ofStream(known, streamId).map(({ offset }) => offset),
        )
        assert.deepEqual(log.told.damages, [])
        assert.deepEqual(log.told.rebuilt, [])
      }
    }
  }
})

test('row 88: a damaged record of a segment that lies by stream is a gap for whoever reads it, and for nobody else', async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  const rolled = rolledSegments(random, 6)
  const known = knownOf(rolled)
  for (let round = 0; round < 20; round += 1) {
    const log = await WrittenLog.open(rolled, random.pick([0, 2 ** 20]))
    const { segment } = await log.compact(0, 6)
    const lost = random.pick(known)
    const [posting] = await (await segment.index.seek(lost.streamId, lost.offset - 1)).next(1)
    await log.damage(segment.path, posting!.position + random.int(posting!.length))
    for (const streamId of [...STREAMS, undefined]) {
      const own = ofStream(known, streamId)
      const after = own.findLast(({ offset }) => offset < lost.offset)?.offset ?? 0
      const gaps = own.includes(lost) ? [{ after, through: lost.offset, reason: 'damaged' }] : []
      const records = own.filter((one) => one !== lost)
      assert.deepEqual(await readThrough(log.cursor(0, streamId)), { records, gaps })
    }
    assert.deepEqual(
      log.told.damages.map(({ file, position, reason }) => [file, position, reason]),
      [[segment.name, posting!.position, 'does not verify']],
    )
  }
})

test('row 40: where the disk cannot read a stretch of a segment that lies by stream, each record in it is a gap', async () => {
  const rolled = rolledSegments(new Random(7), 6)
  const known = knownOf(rolled)
  const log = await WrittenLog.open(rolled)
  const { segment } = await log.compact(0, 6)
  const bad = { from: 3000, to: 5000 }
  log.files.refuse = (path, begin, end) => path === segment.path && begin < bad.to && end > bad.from
  const { records, gaps } = await readThrough(log.cursor(0))
  const lost = new Set(gaps.map(({ through }) => through))
  assert.ok(lost.size > 1 && records.length > lost.size, `${lost.size} records lost, ${records.length} read`)
  assert.deepEqual(
    records,
    known.filter(({ offset }) => !lost.has(offset)),
  )
  for (const { position, bytes, reason } of log.told.damages) {
    assert.equal(reason, 'cannot be read')
    assert.ok(position < bad.to && position + bytes > bad.from, `${position} lies in what cannot be read`)
  }
})

test('row 42: a want of descriptors while a key is looked up is told, and says nothing of the key', async () => {
  const { log: earlier, files } = await memoryLog()
  await append(earlier, 100, 'a')
  const key = Buffer.from('key')
  await earlier.append({ streamId: 200, kind: 1, key, payload: Buffer.alloc(0) })
  const offset = await earlier.append({ streamId: 100, kind: 1, key, payload: Buffer.alloc(0) })
  await earlier.close()
  const log = await openSmall(files, '/d', { blockCacheBytesMax: 0 })
  // The page of the sidecar is in memory then.
  assert.equal(await log.findKey(100, key), offset)
  files.refusal = systemError('EMFILE', 'open')
  await assert.rejects(log.findKey(100, key), { code: 'STORAGE_READ' })
  files.refusal = undefined
  assert.equal(await log.findKey(100, key), offset)
  await log.close()
})

test('row 42: whoever goes on where an index could not be read for want of memory gets no record twice', async () => {
  const { log, files } = await memoryLog({ segmentBytesMax: 256 * 1024 })
  const known: Known[] = []
  for (let i = 0; i < 1000; i += 1) known.push(await append(log, 100, `${i}`))
  await log.close()
  const again = await openSmall(files, '/d', { pageCacheBytesMax: 0 })
  const cursor = again.cursor(0, 100)
  const refusing = {
    get position() {
      return cursor.position
    },
    close: () => cursor.close(),
    next: async () => {
      files.refusal = systemError('ENOMEM', 'read')
      // What is at hand is given all the same.
      const step = await cursor.next().catch((error: unknown) => {
        assert.match(String(error), /ENOMEM/)
        return undefined
      })
      files.refusal = undefined
      return step ?? (await cursor.next())
    },
  }
  assert.deepEqual(await readThrough(refusing), { records: known, gaps: [] })
  await again.close()
})
