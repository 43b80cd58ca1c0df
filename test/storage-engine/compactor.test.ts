import assert from 'node:assert/strict'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { segmentName } from '../../storage-engine/data-directory.ts'
import { FaultyFiles } from '../../storage-engine/faulty-files.ts'
import { CATALOG_STREAM, StorageError } from '../../storage-engine/index.ts'
import { test } from '../support/unwatched.ts'
import { assertContent, CompactedLog, DIRECTORY } from './compacted-log.ts'
import { CREATED, DELETED, DROPPED } from './plain-judge.ts'
import { type Known, readThrough } from './small-log.ts'

const NOTHING = { runs: 0, bytesRead: 0, bytesWritten: 0 }

/** A log of twelve topics, of which little is alive. */
async function mostlyDead(world: CompactedLog, events = 800): Promise<void> {
  await world.create(12)
  await world.publishMany(events)
  for (const streamId of world.topics.slice(0, 8)) world.keep(streamId, 3)
  for (const streamId of world.topics.slice(8, 10)) await world.judge.delete(streamId)
}

test('a compacted log holds all that is alive, for every reader, and little else', async () => {
  const world = await CompactedLog.open()
  await mostlyDead(world)
  const before = world.log.statistics()
  world.start()
  const { runs } = await world.log.compact()
  assert.ok(runs >= 0)
  await assertContent(world)
  const after = world.log.statistics()
  assert.ok(after.bytes < before.bytes / 2, `${after.bytes} of ${before.bytes} bytes`)
  assert.ok(after.compaction !== undefined && after.compaction.runs > 0 && after.compaction.deadShare < 0.5)
  assert.equal(world.told.runs.length, after.compaction.runs)
  assert.deepEqual(await world.log.compact(), NOTHING, 'there is nothing more to do')
  await world.log.close()
  const again = await CompactedLog.open({}, world.files)
  for (const [streamId, known] of world.known) again.known.set(streamId, known)
  await assertContent(again)
  assert.equal(again.told.damages.length, 0)
  await again.log.close()
})

test('a key is found at its earliest record that is kept, and not where all are gone', async () => {
  const world = await CompactedLog.open()
  await world.create(3)
  const [first, second, third] = world.topics as [number, number, number]
  const offsets: number[] = []
  for (let i = 0; i < 120; i += 1) {
    offsets.push(await world.publish(first, 'one'.padEnd(80, '.'), `k${i % 4}`))
    await world.publish(second, 'two', 'k0')
    await world.publish(third, 'three', 'rare')
  }
  world.judge.trim(first, offsets[101] as number)
  world.keep(third, 0)
  await world.seal()
  world.start({ deadShareMin: 0 })
  await world.log.compact()
  const find = (streamId: number, key: string) => world.log.findKey(streamId, Buffer.from(key))
  assert.deepEqual([await find(first, 'k2'), await find(first, 'k1')], [offsets[102], offsets[105]])
  assert.equal(await find(second, 'k0'), world.known.get(second)?.[0]?.offset)
  assert.equal(await find(third, 'rare'), undefined)
  await world.log.close()
})

test('what is dead in full is not read', async () => {
  const files = new FaultyFiles()
  const world = await CompactedLog.open({}, files)
  await world.create(1)
  const streamId = world.topics[0] as number
  for (let i = 0; i < 200; i += 1) await world.publish(streamId, 'x'.repeat(100))
  world.keep(streamId, 0)
  await world.seal()
  const dead = world.log.statistics().segments - 2
  world.start()
  // The first segment holds the topic's creation.
  files.fail(({ operation, path }) => operation === 'read' && /0[2-9]\.log$/.test(path), {
    code: 'EIO',
    times: Number.POSITIVE_INFINITY,
  })
  await world.log.compact()
  assert.equal(world.log.damages.length, 0)
  assert.equal(world.told.runs[0]?.reason, 'dead')
  assert.equal(world.told.runs[0]?.inputs, dead)
  await world.log.close()
})

for (const [title, isApart] of [
  ['row 82: a deletion goes with the creation that it covers', false],
  ['row 82: it stays as long as the creation lies in a segment that cannot be rewritten', true],
] as const) {
  test(title, async () => {
    const files = new FaultyFiles()
    const world = await CompactedLog.open({}, files)
    await world.create(2)
    const [gone, kept] = world.topics as [number, number]
    await world.publish(gone, 'to be forgotten')
    await world.seal()
    await world.judge.delete(gone)
    for (let i = 0; i < 60; i += 1) await world.publish(kept, 'x'.repeat(100))
    world.keep(kept, 0)
    await world.seal()
    if (isApart) {
      const path = `${DIRECTORY}/${segmentName(1)}`
      files.patch(path, Buffer.from(files.readFile(path)).indexOf('to be forgotten'), Buffer.from('T'))
    }
    world.start({ deadShareMin: 0 })
    await world.log.compact()
    assert.equal(world.log.damages.length, isApart ? 1 : 0)
    assert.deepEqual(await kindsInCatalog(world), isApart ? [CREATED, CREATED, DELETED, DROPPED] : [CREATED, DROPPED])
    await world.log.close()
    const again = await CompactedLog.open({}, files)
    assert.deepEqual([...again.judge.topics.keys()], [kept])
    await again.log.close()
  })
}

async function kindsInCatalog({ log }: CompactedLog): Promise<number[]> {
  const kinds: number[] = []
  const cursor = log.cursor(0, CATALOG_STREAM)
  for (let step = await cursor.next(); step !== undefined; step = await cursor.next()) {
    if ('records' in step) kinds.push(...step.records.map(({ kind }) => kind))
  }
  cursor.close()
  return kinds
}

test('row 46: readers of everything and of one stream see neither hole nor twin while compaction replaces what they read', async () => {
  const world = await CompactedLog.open({}, new FaultyFiles({ pause: () => nextTurn() }))
  await world.create(6)
  await world.publishMany(600)
  const all = [...world.known.values()].flat().sort((a, b) => a.offset - b.offset)
  const readers = [undefined, ...world.topics].flatMap((streamId) =>
    [0, 0.3, 0.7].map((share) => {
      const known = all.filter((one) => streamId === undefined || one.streamId === streamId)
      const skipped = Math.floor(known.length * share)
      const cursor = world.log.cursor(known[skipped - 1]?.offset ?? 0, streamId)
      return { cursor, expected: known.slice(skipped), seen: [] as Known[] }
    }),
  )
  let stepsDuringRuns = 0
  const reading = readers.map(async ({ cursor, seen }, i) => {
    for (let step = await cursor.next(); step !== undefined; step = await cursor.next()) {
      assert.ok('records' in step, 'no gap is told')
      for (const { offset, streamId, payload } of step.records) {
        if (streamId > 1) seen.push({ offset, streamId, text: Buffer.from(payload).toString() })
      }
      if (world.told.runs.length > 0) stepsDuringRuns += 1
      // Some are fast, some are slow.
      for (let turns = 0; turns < 2 ** i % 127; turns += 1) await nextTurn()
    }
  })
  world.start()
  await world.log.compact()
  await Promise.all(reading)
  assert.ok(
    world.told.runs.length > 0 && stepsDuringRuns > 0,
    `${world.told.runs.length} runs, ${stepsDuringRuns} steps`,
  )
  for (const { seen, expected } of readers) assert.deepEqual(seen, expected)
  await world.log.close()
})

test('a cursor that is behind what was dropped tells a gap, and goes on behind it', async () => {
  const world = await CompactedLog.open()
  await world.create(2)
  await world.publishMany(200)
  const streamId = world.topics[0] as number
  const cursor = world.log.cursor(0, streamId)
  const other = world.log.cursor(0, world.topics[1] as number)
  world.keep(streamId, 5)
  const mark = world.judge.topics.get(streamId)?.mark as number
  const { records, gaps } = await readThrough(cursor)
  assert.deepEqual(gaps, [{ after: 0, through: mark, reason: 'evicted' }])
  assert.deepEqual(records, world.living(streamId))
  assert.deepEqual((await readThrough(other)).gaps, [])
  await world.log.close()
})

test('a segment that turns out damaged is told, stays as it is, and the others are compacted', async () => {
  const files = new FaultyFiles()
  const world = await CompactedLog.open({}, files)
  await mostlyDead(world)
  const path = `${DIRECTORY}/${segmentName(2)}`
  const before = files.readFile(path)
  files.patch(path, 700, Buffer.of((before[700] as number) ^ 1))
  world.start()
  await world.log.compact()
  assert.equal(world.log.damages.length, 1)
  assert.deepEqual([world.told.damages[0]?.file, world.told.damages.length], [segmentName(2), 1])
  assert.equal(files.readFile(path).length, before.length)
  assert.deepEqual(await world.log.compact(), NOTHING)
  assert.ok(world.told.runs.length > 0)
  await world.log.close()
})

test('row 37: without room for its output compaction leaves the log as it is, and is through when there is room', async () => {
  const files = new FaultyFiles()
  const world = await CompactedLog.open({}, files)
  await mostlyDead(world, 300)
  await world.seal()
  files.capacityBytes = await usedBytes(files)
  world.start()
  await assert.rejects(world.log.compact(), { code: 'STORAGE_FULL' })
  assert.deepEqual(
    (await files.list(DIRECTORY)).filter((name) => name.endsWith('.tmp')),
    [],
  )
  assert.equal(world.log.status, 'open')
  await assertContent(world)
  files.capacityBytes = Number.POSITIVE_INFINITY
  await world.log.compact()
  assert.ok(world.told.runs.length > 0)
  await assertContent(world)
  await world.log.close()
})

test('on a disk that is full to the last byte, compaction makes room with what is kept aside', async () => {
  const files = new FaultyFiles()
  const world = await CompactedLog.open({ reserveBytes: 64 * 1024 }, files)
  await mostlyDead(world, 300)
  await world.seal()
  const before = await usedBytes(files)
  files.capacityBytes = before
  world.start()
  await world.log.compact()
  await world.log.close()
  assert.ok((await usedBytes(files)) < before / 2)
  await assertReopened(world)
})

test('a sync that fails while an output is written is final for the log, and nothing is lost', async () => {
  const files = new FaultyFiles()
  const world = await CompactedLog.open({}, files)
  await mostlyDead(world, 300)
  files.fail(({ operation, path }) => operation === 'sync' && path.endsWith('.log.tmp'), { code: 'EIO' })
  const failed = new Promise<StorageError>((resolve) => world.log.onFail(resolve))
  world.start()
  assert.equal((await failed).code, 'STORAGE_FAILED')
  await assert.rejects(world.publish(world.topics[0] as number, 'too late'), { code: 'STORAGE_FAILED' })
  await assertContent(world)
  await world.log.close()
  await assertReopened(world)
})

test('closing a log in the middle of a run takes away what the run has begun', async () => {
  const files = new FaultyFiles()
  const world = await CompactedLog.open({}, files)
  await mostlyDead(world, 300)
  const held = files.hold(({ operation, path }) => operation === 'write' && path.endsWith('.log.tmp'))
  world.start()
  await held.arrived
  const closed = world.log.close()
  held()
  await closed
  assert.deepEqual(
    (await files.list(DIRECTORY)).filter((name) => name.endsWith('.tmp')),
    [],
  )
  assert.equal(world.told.runs.length, 0)
  await assertReopened(world)
})

test('a log that is over its quota refuses events, takes deletions, and comes back when compaction has made room', async () => {
  const world = await CompactedLog.open({ quotaBytes: 400_000 })
  await world.create(2)
  const [one, other] = world.topics as [number, number]
  const fill = async () => {
    for (;;) await world.publish(one, 'x'.repeat(300))
  }
  await assert.rejects(fill(), (error) => error instanceof StorageError && error.code === 'STORAGE_QUOTA')
  const { bytesOnDisk } = world.log.statistics()
  // Sidecars are made when a segment is sealed.
  assert.ok(bytesOnDisk <= 430_000 && bytesOnDisk > 390_000, `${bytesOnDisk} bytes`)
  world.start()
  await world.log.compact()
  await world.judge.delete(one)
  await world.log.compact()
  await world.publish(other, 'there is room again')
  assert.ok(world.log.statistics().bytesOnDisk < 100_000)
  await assertContent(world)
  await world.log.close()
})

test('near its quota a log rewrites what is little dead, and drops its oldest records where that is wanted', async () => {
  const world = await CompactedLog.open({ quotaBytes: 400_000, segmentBytesMax: 16 * 1024, whenFull: 'dropOldest' })
  await world.create(2)
  world.start()
  for (let i = 0; i < 3000; i += 1) {
    await world.publish(world.topics[i % 2] as number, 'x'.repeat(300))
    if (i % 40 === 0) await world.log.compact()
  }
  await world.log.compact()
  assert.ok(world.log.statistics().bytesOnDisk <= 400_000)
  for (const streamId of world.topics) {
    const { length } = world.living(streamId)
    assert.ok(length > 100 && length < 1500, `${length} records are kept`)
  }
  await assertContent(world)
  await world.log.close()
})

test('who waits for room is not refused by a log that drops its oldest, however fast it publishes', async () => {
  const files = new FaultyFiles({ pause: () => nextTurn() })
  const options = { quotaBytes: 4_000_000, segmentBytesMax: 64 * 1024, whenFull: 'dropOldest' } as const
  const world = await CompactedLog.open(options, files)
  await world.create(20)
  world.start({ bytesPerSecondMax: 2 ** 20 })
  let waits = 0
  const publisher = async (): Promise<void> => {
    for (let i = 0; i < 1000; i += 1) {
      for (let { room } = world.log; room !== undefined; { room } = world.log) {
        waits += 1
        await room
      }
      await world.publish(world.random.pick(world.topics), 'x'.repeat(2000))
    }
  }
  await Promise.all(Array.from({ length: 8 }, publisher))
  assert.ok(waits > 0, 'somebody had to wait')
  assert.ok(world.log.statistics().bytesOnDisk <= options.quotaBytes)
  await world.log.close()
})

test('nobody waits for room where nothing can be dropped, or nothing is to be', async () => {
  for (const whenFull of ['dropOldest', 'refuse'] as const) {
    const world = await CompactedLog.open({ quotaBytes: 400_000, segmentBytesMax: 1_000_000, whenFull })
    await world.create(1)
    world.start()
    const fill = async (): Promise<void> => {
      for (;;) {
        for (let { room } = world.log; room !== undefined; { room } = world.log) await room
        await world.publish(world.topics[0] as number, 'x'.repeat(2000))
      }
    }
    await assert.rejects(fill(), (error) => error instanceof StorageError && error.code === 'STORAGE_QUOTA')
    await world.log.close()
  }
})

test('in the background, what was sealed is compacted at once, and what has died at the next look', async () => {
  const world = await CompactedLog.open()
  await world.create(4)
  world.start({ intervalMs: 20 })
  await world.publishMany(400)
  while (!world.told.runs.some(({ reason }) => reason === 'grouped')) await nextTurn()
  for (const streamId of world.topics) world.keep(streamId, 1)
  while (!world.told.runs.some(({ reason }) => reason !== 'grouped')) {
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  await assertContent(world)
  await world.log.close()
})

test('what has died is looked for in its time, also where segments are sealed all the while', async () => {
  const world = await CompactedLog.open()
  await world.create(2)
  const [trimmed, busy] = world.topics as [number, number]
  for (let i = 0; i < 100; i += 1) await world.publish(trimmed, 'x'.repeat(100))
  await world.seal()
  world.start({ intervalMs: 30 })
  await world.log.compact()
  world.told.runs.length = 0
  world.keep(trimmed, 0)
  while (!world.told.runs.some(({ reason }) => reason !== 'grouped')) await world.publish(busy, 'y'.repeat(2000))
  await assertContent(world)
  await world.log.close()
})

test('row 55: publishing, dropping, pinning and compacting at once lose nothing', async () => {
  const files = new FaultyFiles({ pause: () => nextTurn() })
  const world = await CompactedLog.open({}, files)
  await world.create(5)
  world.start({ intervalMs: 1, deadShareMin: 0.3 })
  let isDone = false
  const pinning = (async () => {
    while (!isDone) {
      const pinned = await world.log.pin()
      for (let i = 0; i < 20; i += 1) await nextTurn()
      const names = await files.list(DIRECTORY)
      for (const { name, sizeBytes } of pinned.segments) {
        assert.ok(names.includes(name), `${name} is pinned, and gone`)
        assert.equal(files.readFile(`${DIRECTORY}/${name}`).length, sizeBytes)
      }
      pinned.release()
    }
  })()
  for (let i = 0; i < 40; i += 1) {
    await world.publishMany(15)
    world.keep(world.random.pick(world.topics), 10)
  }
  isDone = true
  await pinning
  await world.log.compact()
  await assertContent(world)
  await world.log.close()
  await assertReopened(world)
})

test('what is pinned, and copied with the beginning of its tail, is the log as it was, with higher numbers', async () => {
  const files = new FaultyFiles()
  const world = await CompactedLog.open({}, files)
  await mostlyDead(world, 300)
  world.start()
  await world.log.compact()
  await world.publish(world.topics[10] as number, 'the last one')
  const last = world.log.lastOffset
  const pinned = await world.log.pin()
  await world.log.append({ streamId: world.topics[10] as number, kind: 3, payload: Buffer.from('too late') })
  for (const streamId of world.topics.slice(0, 8)) world.keep(streamId, 1)
  const copy = new FaultyFiles()
  await copy.makeDirectory(DIRECTORY)
  for (const name of [...pinned.segments.map((one) => one.name), ...pinned.sidecars]) {
    copy.putFile(`${DIRECTORY}/${name}`, files.readFile(`${DIRECTORY}/${name}`))
  }
  copy.putFile(`${DIRECTORY}/${pinned.tail.name}`, pinned.tail.header)
  assert.ok(pinned.manifest !== undefined)
  copy.putFile(`${DIRECTORY}/${pinned.manifest.name}`, pinned.manifest.bytes)
  pinned.release()
  await world.log.close()
  const restored = await CompactedLog.open({ raiseCeilingBy: 2 ** 40 }, copy)
  for (const [streamId, known] of world.known) restored.known.set(streamId, known)
  await assertContent(restored)
  assert.deepEqual(restored.log.damages, [])
  assert.ok(restored.log.lastOffset > last + 2 ** 39)
  await restored.log.close()
})

async function usedBytes(files: FaultyFiles): Promise<number> {
  const names = await files.list(DIRECTORY)
  return names.reduce((sum, name) => sum + files.readFile(`${DIRECTORY}/${name}`).length, 0)
}

/** After a clean stop or not, a new start finds the same. */
async function assertReopened(world: CompactedLog): Promise<void> {
  const again = await CompactedLog.open({}, world.files)
  for (const [streamId, known] of world.known) again.known.set(streamId, known)
  await assertContent(again)
  assert.deepEqual(again.log.damages, [])
  await again.log.close()
}
