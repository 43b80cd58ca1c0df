import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { DataFile } from '../../storage-engine/files.ts'
import { Gathering } from '../../storage-engine/gathering.ts'
import { Log } from '../../storage-engine/log.ts'
import { MemoryFiles } from '../../storage-engine/memory-files.ts'
import { silentObserver } from '../../storage-engine/observer.ts'
import { Sequencer } from '../../storage-engine/sequencer.ts'
import { SMALL } from './small-log.ts'

/** Timers run, and time passes, only as the test says. */
function stoppedClock(t: TestContext) {
  let nowMs = 1000
  t.mock.method(performance, 'now', () => nowMs)
  t.mock.timers.enable({ apis: ['setTimeout'] })
  return (durationMs: number) => {
    nowMs += durationMs
    t.mock.timers.tick(durationMs)
  }
}

async function hasEnded(wait: Promise<void> | undefined): Promise<boolean> {
  let ended = false
  void wait?.then(() => {
    ended = true
  })
  await nextTurn()
  return ended
}

test('behind a commit that took long, a batch waits for as many appends as were answered, and no longer', async (t) => {
  stoppedClock(t)
  const gathering = new Gathering()
  gathering.committed(2, 8)
  const wait = gathering.wait()
  gathering.appended()
  assert.equal(await hasEnded(wait), false, 'one of two is there')
  gathering.appended()
  assert.equal(await hasEnded(wait), true, 'both are there')
  assert.equal(gathering.wait(), undefined)
})

test('it waits half the time that the commit took, and no longer than a hundredth of a second', async (t) => {
  const pass = stoppedClock(t)
  for (const [commitMs, waitMs] of [
    [8, 4],
    [60_000, 10],
  ] as const) {
    const gathering = new Gathering()
    gathering.committed(2, commitMs)
    const wait = gathering.wait()
    pass(waitMs - 1)
    assert.equal(await hasEnded(wait), false, `${waitMs - 1} ms behind a commit of ${commitMs}`)
    pass(1)
    assert.equal(await hasEnded(wait), true, `${waitMs} ms behind a commit of ${commitMs}`)
    // Who comes later has nobody to end a wait for.
    gathering.appended()
    assert.equal(gathering.wait(), undefined)
  }
})

test('behind a quick commit, behind one that answered nobody, and long behind a commit nothing waits', (t) => {
  const pass = stoppedClock(t)
  const gathering = new Gathering()
  assert.equal(gathering.wait(), undefined, 'before any commit')
  gathering.committed(2, 1.9)
  assert.equal(gathering.wait(), undefined, 'quick')
  gathering.committed(0, 100)
  assert.equal(gathering.wait(), undefined, 'nobody is answered')
  gathering.committed(2, 100)
  pass(10)
  assert.equal(gathering.wait(), undefined, 'long ago')
})

test('appends that came before the wait count', (t) => {
  stoppedClock(t)
  const gathering = new Gathering()
  gathering.committed(2, 100)
  gathering.appended()
  gathering.appended()
  assert.equal(gathering.wait(), undefined)
})

test('two publishers that wait for their answers come to share their commits, where handing one on takes long', async (t) => {
  const pass = stoppedClock(t)
  const { log, batches, onFirst } = await openSlowlyFollowedLog(pass)
  const publish = async () => {
    while (batches.length < 4) {
      await log.append({ streamId: 7, kind: 1, payload: Buffer.from('x') })
      await nextTurn()
    }
  }
  // The second one comes while the first one's commit is handed on, and would be one behind it for ever.
  const second = new Promise<void>((resolve) => onFirst(() => resolve(publish())))
  await Promise.all([publish(), second])
  assert.deepEqual(batches.slice(0, 4), [1, 2, 2, 2])
  await log.close()
})

test('a log that is closed while a batch waits for others commits it when that has waited long enough', async (t) => {
  const pass = stoppedClock(t)
  const { log, batches } = await openSlowlyFollowedLog(pass)
  const record = { streamId: 7, kind: 1, payload: Buffer.from('x') }
  await Promise.all([log.append(record), log.append(record)])
  const last = log.append(record)
  let isClosed = false
  const closing = log.close().then(() => {
    isClosed = true
  })
  for (let turn = 0; turn < 100; turn += 1) await nextTurn()
  assert.equal(isClosed, false, 'one of two is still waited for')
  pass(10)
  await closing
  assert.equal(await last, log.lastOffset)
  assert.deepEqual(batches, [2, 1])
})

/** A publisher that was answered is back long before a batch has been synced. */
class SlowFiles extends MemoryFiles {
  override async open(path: string, mode: 'create' | 'read' | 'update'): Promise<DataFile> {
    const file = await super.open(path, mode)
    const sync = file.sync.bind(file)
    file.sync = async () => {
      for (let turn = 0; turn < 5; turn += 1) await nextTurn()
      await sync()
    }
    return file
  }
}

/** Handing on a commit takes 20 ms. `batches`: how many records each commit had. */
async function openSlowlyFollowedLog(pass: (durationMs: number) => void) {
  const batches: number[] = []
  const log = await Log.open(new SlowFiles(), new Sequencer(), silentObserver, '/log', SMALL)
  let onFirst = (): void => undefined
  log.onCommit((records) => {
    if (batches.push(records.length) === 1) onFirst()
    pass(20)
  })
  return { log, batches, onFirst: (listener: () => void) => (onFirst = listener) }
}
