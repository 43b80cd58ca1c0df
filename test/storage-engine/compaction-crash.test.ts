/**
 * The power goes before and after every operation of compaction, and leaves whatever a disk may leave. What is recovered
 * must be alive as before, nothing damaged, and compacted again it must be the same.
 */

import assert from 'node:assert/strict'
import { before, describe } from 'node:test'
import { type CrashOutcome, FaultyFiles } from '../../storage-engine/faulty-files.ts'
import { fingerprint, WatchedFiles } from '../support/engine-history.ts'
import { test } from '../support/unwatched.ts'
import { assertContent, CompactedLog } from './compacted-log.ts'

const DIRECTORY = '/log'
const OUTCOMES: Readonly<Record<string, CrashOutcome>> = {
  lost: {},
  kept: { writes: 'kept', truncates: 'kept', names: 'kept' },
  'writes kept, names lost': { writes: 'kept', truncates: 'kept' },
  'writes lost, names kept': { names: 'kept' },
}

interface Moment {
  readonly disk: FaultyFiles
  readonly label: string
}

/** A log with much that is dead, as it is at each step of being compacted. */
async function compactUnderWatch(): Promise<{ readonly world: CompactedLog; readonly moments: readonly Moment[] }> {
  const disk = new FaultyFiles()
  const moments: Moment[] = []
  let isCompacting = false
  const watched = new WatchedFiles(disk, () => {
    if (isCompacting) moments.push({ disk: disk.snapshot(), label: `moment ${moments.length}` })
  })
  const world = await CompactedLog.open({ segmentBytesMax: 2048 }, watched, DIRECTORY)
  await world.create(5)
  await world.publishMany(90)
  for (const streamId of world.topics.slice(0, 3)) world.keep(streamId, 2)
  await world.judge.delete(world.topics[4] as number)
  await world.seal()
  isCompacting = true
  world.start()
  await world.log.compact()
  moments.push({ disk: disk.snapshot(), label: 'the end' })
  isCompacting = false
  return { world, moments }
}

/** Opens what is there, compares it, compacts it twice, and opens it again. */
async function goOn(left: FaultyFiles, world: CompactedLog, damages = 0): Promise<void> {
  const opened = await CompactedLog.open({ segmentBytesMax: 2048 }, left, DIRECTORY)
  for (const [streamId, known] of world.known) opened.known.set(streamId, known)
  const topics = [...opened.judge.topics.keys()]
  assert.deepEqual(topics, world.topics.slice(0, 4), 'a topic is gone, or back')
  assert.equal(opened.log.damages.length, damages, JSON.stringify(opened.log.damages))
  assert.deepEqual(opened.told.unknown, [])
  await assertContent(opened)
  opened.start({ deadShareMin: 0 })
  await opened.log.compact()
  await assertContent(opened)
  assert.equal((await opened.log.compact()).runs, 0)
  await opened.log.close()
  const again = await CompactedLog.open({ segmentBytesMax: 2048 }, left, DIRECTORY)
  for (const [streamId, known] of world.known) again.known.set(streamId, known)
  assert.deepEqual([...again.judge.topics.keys()], topics)
  assert.deepEqual(again.log.damages, [])
  await assertContent(again)
  await again.log.close()
}

describe('compaction', () => {
  let world: CompactedLog
  let moments: readonly Moment[]

  before(async () => {
    const watched = await compactUnderWatch()
    world = watched.world
    moments = watched.moments
  })

  test('row 69: killed at every step and run again, compaction leaves the same content', async (t) => {
    const tried = new Set<string>()
    for (const { disk, label } of moments) {
      for (const [name, outcome] of Object.entries(OUTCOMES)) {
        const left = disk.afterCrash(outcome)
        const key = await fingerprint(left)
        if (tried.has(key)) continue
        tried.add(key)
        try {
          await goOn(left, world)
        } catch (error) {
          throw new Error(`${label} of ${moments.length}, ${name}: ${String(error)}`, { cause: error })
        }
      }
    }
    t.diagnostic(`${moments.length} moments, ${tried.size} disks`)
    assert.ok(moments.length > 50 && tried.size > 20, `${moments.length} moments, ${tried.size} disks`)
  })

  test('where the newest manifest cannot be read after that, nothing is gone and nothing there twice', async (t) => {
    const tried = new Set<string>()
    for (const { disk, label } of moments) {
      const left = disk.afterCrash({ writes: 'kept', truncates: 'kept', names: 'kept' })
      const newest = (await left.list(DIRECTORY)).findLast((name) => /^manifest-\d+$/.test(name))
      if (newest === undefined) continue
      const path = `${DIRECTORY}/${newest}`
      left.patch(path, 40, Buffer.of((left.readFile(path)[40] as number) ^ 0x40))
      const key = await fingerprint(left)
      if (tried.has(key)) continue
      tried.add(key)
      try {
        await goOn(left, world, 1)
      } catch (error) {
        throw new Error(`${label} of ${moments.length}: ${String(error)}`, { cause: error })
      }
    }
    t.diagnostic(`${tried.size} disks`)
    assert.ok(tried.size > 5, `${tried.size} disks`)
  })
})
