/**
 * The power goes before and after every operation of a run, and leaves whatever a disk may leave. What is recovered
 * must hold all that was acknowledged, nothing that was not written, and be a prefix; and a crash is never damage.
 */

import assert from 'node:assert/strict'
import { before, describe } from 'node:test'
import {
  type CrashOutcome,
  FaultyFiles,
  type UnsyncedWrite,
  type WriteFate,
} from '../../storage-engine/faulty-files.ts'
import { FOOTER_BYTES, HEADER_BYTES } from '../../storage-engine/format.ts'
import type { LogOptions } from '../../storage-engine/index.ts'
import {
  DIRECTORY,
  fingerprint,
  History,
  MortalFiles,
  openLog,
  readAll,
  WatchedFiles,
} from '../support/engine-history.ts'
import { Random } from '../support/random.ts'
import { test } from '../support/unwatched.ts'

/** A disk at one moment of a run, nothing unsynced of which is lost yet, and what had been promised by then. */
interface Moment {
  readonly disk: FaultyFiles
  readonly history: History
}

type Options = Partial<LogOptions>

/** Opens, publishes in batches of several kinds over several rolls, stops, starts and goes on: every step is kept. */
async function runScript(options: Options): Promise<Moment[]> {
  const files = new FaultyFiles()
  const history = new History()
  const moments: Moment[] = []
  const watched = new WatchedFiles(files, () => moments.push({ disk: files.snapshot(), history: history.copy() }))
  const first = await openLog(watched, options)
  await history.append(first, [10])
  await Promise.all([history.append(first, [10]), history.append(first, [11]), history.append(first, [12, 11])])
  history.take(first)
  await history.append(first, [10, 11, 10, 12])
  await history.append(first, [13], { payloadBytes: 1500 })
  for (let i = 0; i < 4; i += 1) await history.append(first, [10 + (i % 3)], { payloadBytes: 60 })
  await Promise.all([history.append(first, [10]), history.append(first, [11], { payloadBytes: 500 })])
  await history.append(first, [12], { payloadBytes: 300 })
  history.take(first)
  await history.append(first, [10])
  await first.log.close()
  const second = await openLog(watched, options)
  for (let i = 0; i < 5; i += 1) await history.append(second, [10 + (i % 4)], { payloadBytes: 150 })
  history.take(second)
  await history.append(second, [10, 11])
  moments.push({ disk: files.snapshot(), history: history.copy() })
  // What is still done in the background comes after the end.
  return [...moments]
}

/** Opens what the crash left, compares, publishes again, stops and starts once more. */
async function recoverAndGoOn(disk: FaultyFiles, history: History, options: Options): Promise<void> {
  const opened = await openLog(disk, options)
  const first = opened.sequencer.firstOfThisStart
  if (history.givenThrough > 0) assert(first > history.givenThrough, 'numbers are given twice')
  await history.compare(opened)
  assert.equal(await history.append(opened, [10, 12]), undefined)
  history.take(opened)
  assert.equal(await history.append(opened, [11]), undefined)
  await opened.log.close()
  const again = await openLog(disk, options)
  assert(again.sequencer.firstOfThisStart > history.givenThrough)
  await history.compare(again)
  await again.log.close()
}

/** Moments with outcomes, each `stride`th of their product; what gives the same disk and promises is tried once. */
async function sweep(
  moments: readonly Moment[],
  outcomes: Outcomes,
  options: Options,
  stride: number,
): Promise<number> {
  const tried = new Set<string>()
  for (const [at, { disk, history }] of moments.entries()) {
    for (const [i, [name, outcome]] of Object.entries(outcomes).entries()) {
      if ((at + i) % stride > 0) continue
      const left = disk.afterCrash(outcome)
      const promised = history.issued.map((one) => one.fate[0]).join('')
      const key = `${await fingerprint(left)} ${promised} ${history.givenThrough}`
      if (tried.has(key)) continue
      tried.add(key)
      try {
        await recoverAndGoOn(left, history.copy(), options)
      } catch (error) {
        throw new Error(`moment ${at} of ${moments.length}, ${name}: ${String(error)}`, { cause: error })
      }
    }
  }
  return tried.size
}

type Outcomes = Readonly<Record<string, CrashOutcome>>

const last =
  (fate: WriteFate, others: WriteFate = 'kept') =>
  (_write: UnsyncedWrite, index: number, total: number): WriteFate =>
    index === total - 1 ? fate : others

const rows: readonly { readonly title: string; readonly outcomes: Outcomes }[] = [
  {
    title: 'row 1: after a crash at any operation the log is a prefix that holds all that was acknowledged',
    outcomes: {
      lost: {},
      kept: { writes: 'kept', truncates: 'kept', names: 'kept' },
      'writes kept, names lost': { writes: 'kept', truncates: 'kept' },
      'writes lost, names kept': { names: 'kept' },
    },
  },
  {
    title: 'row 4: the last write replaced by zeros',
    outcomes: {
      zeroed: { writes: last('zeroed'), names: 'kept' },
      'all zeroed': { writes: 'zeroed', names: 'kept', truncates: 'kept' },
    },
  },
  {
    title: 'row 5: the last write replaced by old content of the file',
    outcomes: { old: { writes: last('old'), names: 'kept' }, 'all old': { writes: 'old', names: 'kept' } },
  },
  {
    title: 'row 6: of two unsynced writes the later one is kept and the earlier one lost',
    outcomes: {
      'earlier lost': { writes: last('kept', 'lost'), names: 'kept' },
      'earlier zeroed': { writes: last('kept', 'zeroed'), names: 'kept' },
      'earlier old': { writes: last('kept', 'old'), names: 'kept' },
      'every second one': { writes: (_write, index) => (index % 2 === 0 ? 'grown' : 'kept'), names: 'kept' },
    },
  },
  {
    title: 'row 7: the size of the file has grown, and the content is not there',
    outcomes: { grown: { writes: 'grown', names: 'kept' }, 'last grown': { writes: last('grown'), names: 'kept' } },
  },
  {
    title: 'row 8: the content is there, and the size of the file has not grown',
    outcomes: { 'not grown': { writes: 'notGrown', names: 'kept' } },
  },
  {
    title: 'row 9: a rename is durable before the content of the file',
    outcomes: {
      'names kept': { names: 'kept' },
      'names kept, content zeroed': { names: 'kept', writes: 'zeroed' },
      'only renames kept': { names: ({ change }) => (change === 'remove' ? 'lost' : 'kept') },
    },
  },
  {
    title: 'row 10: the file is there, and its entry in the folder is lost',
    outcomes: {
      'names lost': { writes: 'kept', truncates: 'kept', names: 'lost' },
      'first name kept': { writes: 'kept', names: { prefix: 1 } },
      'two names kept': { writes: 'kept', names: { prefix: 2 } },
      'rename undone': { writes: 'kept', names: ({ change }) => (change === 'rename' ? 'lost' : 'kept') },
    },
  },
  {
    title: 'row 11: removals are undone',
    outcomes: {
      'removals undone': { writes: 'kept', names: ({ change }) => (change === 'remove' ? 'lost' : 'kept') },
      'and truncates undone': { names: ({ change }) => (change === 'remove' ? 'lost' : 'kept') },
    },
  },
]

for (const sync of ['commit', 'interval', 'never'] as const) {
  describe(`sync: ${sync}`, () => {
    const options: Options = { sync }
    // Every operation for the mode that promises most; the others differ from it in few places.
    const stride = sync === 'commit' ? 1 : 12
    let moments: Moment[] = []

    before(async () => {
      moments = await runScript(options)
      if (sync === 'commit') return
      // Without a sync of its batch an acknowledged record may be lost, as that choice says; all else holds.
      for (const { history } of moments) for (const one of history.issued) one.fate = 'pending'
    })

    for (const { title, outcomes } of rows) {
      test(title, async () => {
        await sweep(moments, outcomes, options, stride)
      })
    }

    test('rows 1 to 11: any mixture of what a disk may leave, at random', async (context) => {
      const random = new Random(seedOf())
      context.diagnostic(`SSER_SEED=${random.seed}`)
      for (let at = random.int(stride); at < moments.length; at += stride) {
        const { disk, history } = moments[at] as Moment
        try {
          await recoverAndGoOn(disk.afterCrash(random), history.copy(), options)
        } catch (error) {
          throw new Error(`seed ${random.seed}, moment ${at}: ${String(error)}`, { cause: error })
        }
      }
    })

    test('row 12: recovery itself is crashed at every operation, up to five times in a row', async (context) => {
      const random = new Random(seedOf())
      context.diagnostic(`SSER_SEED=${random.seed}`)
      const rounds = sync === 'commit' ? 4 : 2
      for (let round = 0; round < rounds * seedsFactor(); round += 1) {
        const at = random.int(moments.length)
        const { disk, history } = moments[at] as Moment
        try {
          await crashRecovery(sever(disk, random), history.copy(), options, random)
        } catch (error) {
          throw new Error(`seed ${random.seed}, moment ${at}: ${String(error)}`, { cause: error })
        }
      }
    })
  })
}

/** The process dies, and with it the machine or not. */
function sever(disk: FaultyFiles, random: Random): FaultyFiles {
  return random.chance(0.5) ? disk.snapshot() : disk.afterCrash(random)
}

/** Each operation of one recovery is the last one; from there on four more recoveries are cut anywhere. */
async function crashRecovery(disk: FaultyFiles, history: History, options: Options, random: Random): Promise<void> {
  for (const step of await stepsOfRecovery(disk, options)) {
    let left = sever(step, random)
    for (let round = random.int(4); round > 0; round -= 1) {
      const steps = await stepsOfRecovery(left, options)
      left = sever(random.pick(steps), random)
    }
    await recoverAndGoOn(left.afterCrash(random), history.copy(), options)
  }
}

/** The disk before and after each operation of opening what is on it; all of them before anything was served. */
async function stepsOfRecovery(disk: FaultyFiles, options: Options): Promise<FaultyFiles[]> {
  const files = disk.snapshot()
  const steps: FaultyFiles[] = []
  const watched = new WatchedFiles(files, () => steps.push(files.snapshot()))
  await openLog(watched, options)
  return [...steps]
}

describe('the last write, torn', () => {
  test('row 2: at every byte', async () => {
    const { moments } = await unsyncedWrites([60, 120])
    let torn = 0
    for (const { disk, history } of moments) {
      const { writes } = disk.unsynced()
      const write = writes.at(-1)
      if (write === undefined || write.path.includes('.index')) continue
      for (let tornAtByte = 0; tornAtByte <= write.length; tornAtByte += 1) {
        for (const fate of ['kept', 'grown'] as const) {
          if (fate === 'grown' && writes.length === 1) continue
          const left = disk.afterCrash({ writes: last({ tornAtByte }, fate), names: 'kept' })
          await recoverOnly(left, history.copy())
          torn += 1
        }
      }
    }
    assert(torn > 500)
  })

  test('row 3: at sectors, any subset of which is new', async () => {
    const { moments } = await unsyncedWrites([2000])
    let torn = 0
    for (const { disk, history } of moments) {
      const write = disk.unsynced().writes.at(-1)
      if (write === undefined || write.path.includes('.index')) continue
      const sectors = Math.ceil((write.position + write.length) / 512) - Math.floor(write.position / 512)
      for (let subset = 0; subset < 2 ** sectors; subset += 1) {
        await recoverOnly(disk.afterCrash({ writes: last({ sectors: subset }), names: 'kept' }), history.copy())
        torn += 1
      }
    }
    assert(torn > 32)
  })

  /** A short run, of which the moments with something unsynced in them are kept. */
  async function unsyncedWrites(sizes: readonly number[]): Promise<{ readonly moments: readonly Moment[] }> {
    const files = new FaultyFiles()
    const history = new History()
    const moments: Moment[] = []
    const watched = new WatchedFiles(files, () => {
      if (files.unsynced().writes.length > 0) moments.push({ disk: files.snapshot(), history: history.copy() })
    })
    const opened = await openLog(watched, { segmentBytesMax: 600 })
    for (const payloadBytes of sizes) await history.append(opened, [10, 11], { payloadBytes })
    await opened.log.close()
    // Two moments that differ in no unsynced write tear alike.
    const seen = new Set<string>()
    const distinct = moments.filter(({ disk }) => {
      const key = JSON.stringify(disk.unsynced().writes)
      return !seen.has(key) && seen.add(key)
    })
    return { moments: distinct }
  }
})

async function recoverOnly(disk: FaultyFiles, history: History): Promise<void> {
  const opened = await openLog(disk)
  await history.compare(opened)
}

describe('the end of the log', () => {
  /** A log of two segments: a sealed one, and one whose first batch is not written yet. */
  async function rolled() {
    const files = new FaultyFiles()
    const history = new History()
    const opened = await openLog(new MortalFiles(files), { segmentBytesMax: 600 })
    await history.append(opened, [10], { payloadBytes: 200 })
    await history.append(opened, [11], { payloadBytes: 200 })
    return { files, history, opened }
  }

  test('row 13: a crash right after a roll, before the first record', async () => {
    const { files, history, opened } = await rolled()
    const held = files.hold(({ operation, path, position }) => {
      return operation === 'write' && position === HEADER_BYTES && path.endsWith('.log')
    })
    const rollsBefore = opened.watch.rolls.length
    void history.append(opened, [12], { payloadBytes: 300 })
    await held.arrived
    assert.equal(opened.watch.rolls.length, rollsBefore + 1)
    for (const outcome of [{}, { writes: 'kept', names: 'kept' }] satisfies CrashOutcome[]) {
      await recoverAndGoOn(files.afterCrash(outcome), history.copy(), {})
    }
    files.crash()
  })

  test('row 14: an empty last segment is where the log goes on', async () => {
    const { files, history, opened } = await rolled()
    await opened.log.close()
    const names = (await files.list(DIRECTORY)).filter((name) => name.endsWith('.log'))
    const again = await openLog(files)
    await history.compare(again)
    await history.append(again, [10])
    assert.deepEqual(
      (await files.list(DIRECTORY)).filter((name) => name.endsWith('.log')),
      names,
    )
    await again.log.close()
  })

  test('row 15: a segment whose header is damaged under its final name is damage, not a tail', async () => {
    const { files, history, opened } = await rolled()
    await history.append(opened, [12], { payloadBytes: 300 })
    await history.append(opened, [12], { payloadBytes: 20 })
    const names = (await files.list(DIRECTORY)).filter((name) => name.endsWith('.log'))
    const name = names[1] as string
    const disk = files.powerLoss()
    disk.patch(`${DIRECTORY}/${name}`, 40, Buffer.from([0xff]))
    const damaged = await openLog(disk)
    assert.equal(damaged.log.damages.length, 1)
    assert.equal(damaged.log.damages[0]?.file, name)
    assert.equal(damaged.log.damages[0]?.position, 0)
    const records = (await readAll(damaged.log)).filter((record) => record.streamId === 12)
    assert.equal(records.length, 2, 'the batches behind the header are readable all the same')
    await history.append(damaged, [10])
    await damaged.log.close()
    const again = await openLog(disk)
    assert.equal((await readAll(again.log)).filter((record) => record.streamId > 1).length, 5)
    assert((await disk.list(DIRECTORY)).includes(name), 'the file stays, as evidence')
  })

  test('row 15: a file under its temporary name is removed, whatever is in it', async () => {
    const { files, history, opened } = await rolled()
    const temporary = `${DIRECTORY}/segment-0000000000000099.log.tmp`
    const disk = files.powerLoss()
    disk.putFile(temporary, Buffer.from('half a header'))
    const again = await openLog(disk)
    await history.compare(again)
    assert(!(await disk.list(DIRECTORY)).includes('segment-0000000000000099.log.tmp'))
    await again.log.close()
    await opened.log.close()
  })

  test('row 16: a footer that is torn at any byte was never there', async () => {
    const { files, history, opened } = await rolled()
    const isFooter = ({ length }: UnsyncedWrite) => length === FOOTER_BYTES
    const closing = files.hold(({ operation }) => operation === 'sync' && files.unsynced().writes.some(isFooter))
    void opened.log.close()
    await closing.arrived
    assert.equal(files.unsynced().writes.length, 1)
    for (let tornAtByte = 0; tornAtByte <= FOOTER_BYTES; tornAtByte += 1) {
      for (const first of ['lost', 'grown'] as const) {
        const outcome: CrashOutcome = { writes: { tornAtByte }, names: first === 'grown' ? 'kept' : 'lost' }
        await recoverAndGoOn(files.afterCrash(outcome), history.copy(), {})
      }
    }
    files.crash()
  })

  test('row 17: a crash between sealing and the sidecar costs the sidecar only', async () => {
    const { files, history, opened } = await rolled()
    const held = files.hold(({ path }) => path.endsWith('.index.tmp'))
    void opened.log.close()
    await held.arrived
    for (const outcome of [{}, { writes: 'kept', names: 'kept' }, { names: 'kept' }] satisfies CrashOutcome[]) {
      const disk = files.afterCrash(outcome)
      const again = await openLog(disk)
      await history.copy().compare(again)
      assert.equal(again.watch.rebuilt.length, 1)
      await again.log.close()
    }
    files.crash()
  })
})

/** SSER_SEEDS asks for so many times the usual work. */
function seedsFactor(): number {
  return Number(process.env['SSER_SEEDS'] ?? 1)
}

function seedOf(): number | undefined {
  const seed = process.env['SSER_SEED']
  return seed === undefined ? undefined : Number(seed)
}
