/**
 * The commands that write: backup, restore, repair, compact; and those that a running server lets in. Over real folders and,
 * where a server runs, its control socket.
 */
import assert from 'node:assert/strict'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { startControlServer } from '../../src/control/control-server.ts'
import {
  EVENT_PUBLISHED,
  EVENTS_DROPPED,
  encodeEvent,
  encodeEventsDropped,
  encodeTopicChanged,
  encodeTopicDeleted,
  TOPIC_CHANGED,
  TOPIC_DELETED,
} from '../../src/domain/entry.ts'
import { parseEventId } from '../../src/domain/event-id.ts'
import {
  acquireDirectoryLock,
  CATALOG_STREAM,
  DiskFiles,
  Log,
  Sequencer,
  silentObserver,
} from '../../storage-engine/index.ts'
import { copyOf, linesOf, logFiles, type Made, makeData, newFolder, run, spoilEvent } from './log-fixture.ts'

const made = await makeData()

function openLog(directory: string): Promise<Log> {
  return Log.open(new DiskFiles(), new Sequencer(), silentObserver, directory, {
    sync: 'commit',
    syncIntervalMs: 1000,
    segmentBytesMax: 2048,
    batchBytesMax: 2 ** 20,
    pendingBytesMax: 2 ** 24,
    blockCacheBytesMax: 2 ** 20,
    pageCacheBytesMax: 2 ** 18,
    reserveBytes: 0,
    isDurable: true,
  })
}

async function publish(log: Log, { topic }: Made, text: string): Promise<void> {
  const payload = encodeEvent({ isString: true, type: Buffer.alloc(0), message: Buffer.from(text) })
  await log.append({ streamId: parseEventId(topic) as number, kind: EVENT_PUBLISHED, payload })
}

/** As a server has it: locked, open, and asked by its socket. */
async function withRunning(data: string, use: (log: Log) => Promise<void>): Promise<void> {
  const lock = await acquireDirectoryLock(data)
  const log = await openLog(join(data, 'log'))
  const control = await startControlServer(data)
  control.serveLog(log)
  try {
    await use(log)
  } finally {
    await control.close()
    await log.close()
    await lock.release()
  }
}

async function idsIn(directory: string): Promise<unknown[]> {
  const ran = await run(['dump', '--directory', directory])
  return linesOf(ran)
    .filter(({ kind }) => kind === 'event')
    .map(({ id }) => id)
}

test('a backup of a stopped log is restored to a log with the same events', async () => {
  const source = copyOf(made)
  const backup = newFolder()
  const before = logFiles(source.log)
  const copied = await run(['backup', backup, '--verify', '--json', '--directory', source.data])
  assert.deepEqual([copied.code, copied.err], [0, ''])
  assert.equal(linesOf(copied)[0]?.['verified'], true)
  assert.deepEqual(logFiles(source.log), before, 'nothing in the log was changed')
  const again = await run(['backup', backup, '--directory', source.data])
  assert.match(again.out, /^Copied 0 files, 0 bytes, to /)
  const data = newFolder()
  const restored = await run(['restore', backup, '--directory', data])
  assert.deepEqual([restored.code, restored.err], [0, ''])
  assert.deepEqual(await idsIn(data), made.ids)
  assert.equal((await run(['verify', '--directory', data])).code, 0)
  assert.equal((await run(['verify', '--directory', backup])).code, 0)
})

test('a backup that is copied into a data folder by hand opens as well', async () => {
  const backup = newFolder()
  assert.equal((await run(['backup', backup, '--directory', made.data])).code, 0)
  const data = newFolder()
  mkdirSync(data)
  cpSync(backup, join(data, 'log'), { recursive: true })
  const log = await openLog(join(data, 'log'))
  await log.close()
  assert.deepEqual(await idsIn(join(data, 'log')), made.ids)
})

test('row 53: info, verify, backup and compact reach a log that is in use; dump, restore and repair are refused', async () => {
  const source = copyOf(made)
  await withRunning(source.data, async (log) => {
    await publish(log, source, 'while it runs')
    const info = await run(['info', '--json', '--directory', source.data])
    assert.deepEqual([info.code, info.err], [0, ''])
    const [report] = linesOf(info)
    assert.equal((report?.['server'] as Record<string, unknown> | undefined)?.['pid'], process.pid)
    assert.equal(report?.['is_whole'], true)
    assert.match((await run(['info', '--directory', source.data])).out, /^Server +process \d+, running for /m)
    const verified = await run(['verify', '--directory', source.data])
    assert.equal(verified.code, 0)
    assert.match(verified.out, /every byte is as it was written/)
    const off = await run(['compact', '--directory', source.data])
    assert.equal(off.code, 78)
    assert.match(off.err, /switched off/)
    for (const args of [['dump'], ['restore', newFolder()], ['repair', '--yes']]) {
      const folder = args[1]
      if (args[0] === 'restore') await run(['backup', folder as string, '--directory', source.data])
      const ran = await run([...args, '--directory', source.data])
      assert.deepEqual([ran.code, ran.out], [75, ''], args[0])
      assert.match(ran.err, /in use by this very process/)
    }
  })
})

test('row 56: a backup while a log is written is a prefix of it that holds all that was acknowledged', async () => {
  const source = copyOf(made)
  const [backup, data] = [newFolder(), newFolder()]
  let acknowledged = 0
  let isThrough = false
  await withRunning(source.data, async (log) => {
    for (; acknowledged < 50; acknowledged += 1) await publish(log, source, `event ${acknowledged}`)
    const writing = (async () => {
      for (let i = acknowledged; !isThrough; i += 1) await publish(log, source, `event ${i}`)
    })()
    const ran = await run(['backup', backup, '--directory', source.data])
    isThrough = true
    await writing
    assert.deepEqual([ran.code, ran.err], [0, ''])
  })
  assert.equal((await run(['restore', backup, '--directory', data])).code, 0)
  const [all, held] = [await idsIn(source.data), await idsIn(data)]
  assert.deepEqual(held, all.slice(0, held.length))
  assert.ok(held.length >= made.ids.length + acknowledged, `${held.length}`)
})

test('a process that holds the lock without answering is told apart from a server', async () => {
  const source = copyOf(made)
  const lock = await acquireDirectoryLock(source.data)
  for (const args of [['info'], ['backup', newFolder()], ['compact']]) {
    const ran = await run([...args, '--directory', source.data])
    assert.equal(ran.code, 75)
    assert.match(ran.err, /in use by .* No server answers at the control socket/)
  }
  await lock.release()
})

test('a backup is not made in the data folder, nor where something else lies', async () => {
  const source = copyOf(made)
  const before = readdirSync(source.data)
  for (const folder of [source.data, source.log, join(source.data, 'backup')]) {
    const ran = await run(['backup', folder, '--directory', source.data])
    assert.equal(ran.code, 73, folder)
    assert.match(ran.err, /lies in the data folder itself/)
  }
  assert.deepEqual(
    readdirSync(source.data).filter((name) => !name.startsWith('LOCK')),
    before.filter((name) => !name.startsWith('LOCK')),
  )
  const strange = newFolder()
  mkdirSync(strange)
  writeFileSync(join(strange, 'letter.txt'), '')
  const ran = await run(['backup', strange, '--directory', source.data])
  assert.equal(ran.code, 73)
  assert.deepEqual(readdirSync(strange), ['letter.txt'])
})

test('nothing is restored into a folder that is in use or not empty, nor out of what is no whole backup', async () => {
  const backup = newFolder()
  await run(['backup', backup, '--directory', made.data])
  const used = newFolder()
  mkdirSync(used)
  const lock = await acquireDirectoryLock(used)
  assert.equal((await run(['restore', backup, '--directory', used])).code, 75)
  await lock.release()
  const full = copyOf(made)
  const before = logFiles(full.log)
  const refused = await run(['restore', backup, '--directory', full.data])
  assert.equal(refused.code, 73)
  assert.match(refused.err, /it holds log\/.* already/)
  assert.deepEqual(logFiles(full.log), before)
  rmSync(join(backup, 'backup.json'))
  const target = newFolder()
  const unfinished = await run(['restore', backup, '--directory', target])
  assert.equal(unfinished.code, 66)
  assert.ok(!existsSync(join(target, 'log')))
  assert.equal((await run(['restore', newFolder(), '--directory', target])).code, 66)
})

test('compact takes the events of a deleted topic out of a stopped log, and leaves all others', async () => {
  const source = copyOf(made)
  const log = await openLog(source.log)
  const topic = parseEventId(source.other) as number
  await log.append({ streamId: CATALOG_STREAM, kind: TOPIC_DELETED, payload: encodeTopicDeleted({ topic }) })
  await log.close()
  const ran = await run(['compact', '--json', '--directory', source.data])
  assert.deepEqual([ran.code, ran.err], [0, ''])
  assert.ok(Number(linesOf(ran)[0]?.['runs']) > 0)
  assert.deepEqual(
    await idsIn(source.data),
    source.ids.filter((_, i) => i % 3 !== 0),
  )
  assert.equal((await run(['verify', '--directory', source.data])).code, 0)
})

test('a damaged segment is replaced out of a backup, after a question, and what was there is kept', async () => {
  const source = copyOf(made)
  const backup = newFolder()
  await run(['backup', backup, '--directory', source.data])
  const name = spoilEvent(source, 8)
  const damaged = readFileSync(join(source.log, name))
  assert.equal((await run(['verify', '--directory', source.data])).code, 1)
  const before = logFiles(source.log)
  const unasked = await run(['repair', '--backup', backup, '--directory', source.data])
  assert.equal(unasked.code, 64)
  assert.match(unasked.err, new RegExp(`${name}: .* replaced by the same file out of the backup`))
  const questions: string[] = []
  const ask = async (question: string) => {
    questions.push(question)
    return 'n'
  }
  await run(['repair', '--backup', backup, '--directory', source.data], { ask })
  assert.equal(questions.length, 1)
  assert.deepEqual(logFiles(source.log), before, 'nothing was changed')
  const done = await run(['repair', '--backup', backup, '--yes', '--json', '--directory', source.data])
  assert.equal(done.code, 0)
  const [report] = linesOf(done)
  assert.deepEqual(readFileSync(join(String(report?.['kept_in']), name)), damaged)
  assert.equal((await run(['verify', '--directory', source.data])).code, 0)
  assert.deepEqual(await idsIn(source.data), source.ids)
})

test('what keeps a server from starting is moved away, and damage that nothing mends stays and is named', async () => {
  const source = copyOf(made)
  const other = await makeData()
  const foreign = 'segment-0000000000000099.log'
  cpSync(join(other.log, 'segment-0000000000000001.log'), join(source.log, foreign))
  const name = spoilEvent(source, 8)
  const index = readdirSync(source.log).find((one) => one.endsWith('.index') && !name.startsWith(one.slice(0, 24)))!
  writeFileSync(join(source.log, index), Buffer.alloc(100))
  await assert.rejects(openLog(source.log), /belongs to another log/)
  const ran = await run(['repair', '--yes', '--directory', source.data])
  assert.equal(ran.code, 1)
  assert.match(ran.out, /^Repaired 2 files\./)
  assert.match(ran.out, new RegExp(`^damage: ${name} `, 'm'))
  const away = readdirSync(source.data).find((one) => one.startsWith('repair-'))!
  assert.deepEqual(readdirSync(join(source.data, away)).sort(), [foreign, index].sort())
  await (await openLog(source.log)).close()
  const left = await run(['repair', '--yes', '--directory', source.data])
  assert.match(left.out, /^There is nothing that can be repaired\./)
})

test('dump says what became of a topic: its limits, and what was dropped from it', async () => {
  const source = copyOf(made)
  const log = await openLog(source.log)
  const topic = parseEventId(source.topic) as number
  const through = parseEventId(source.ids[4] as string) as number
  const retention = { maxAgeMs: 5000, maxBytes: undefined, maxEvents: 7 }
  const changed = encodeTopicChanged({ topic, name: 'invoices', retention })
  await log.append({ streamId: CATALOG_STREAM, kind: TOPIC_CHANGED, payload: changed })
  const dropped = encodeEventsDropped({ topic, through })
  await log.append({ streamId: CATALOG_STREAM, kind: EVENTS_DROPPED, payload: dropped })
  await log.close()
  const lines = linesOf(await run(['dump', '--directory', source.data])).slice(-2)
  assert.deepEqual(
    lines.map(({ id, time, ...rest }) => rest),
    [
      {
        topic: source.topic,
        kind: 'topic-changed',
        name: 'invoices',
        retention: { max_age_ms: 5000, max_events: 7 },
      },
      { topic: source.topic, kind: 'events-dropped', through: source.ids[4] },
    ],
  )
})
