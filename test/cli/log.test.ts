/**
 * `sser log info`, `verify` and `dump` over real folders: what they print, what they leave alone, and how they end. What
 * counts as damage is tested with the engine.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chownSync, cpSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Writable } from 'node:stream'
import { test } from 'node:test'
import { acquireDirectoryLock, StorageError } from '../../storage-engine/index.ts'
import { builtMain, ServerProcess } from '../support/server-process.ts'
import {
  copyOf,
  HUGE,
  linesOf,
  logFiles,
  type Made,
  makeData,
  root,
  run,
  spoilEvent,
  TOKEN_HASH,
} from './log-fixture.ts'

const made = await makeData()

function copyOfMade(): Made {
  return copyOf(made)
}

test('info tells what a log consists of, in words and as JSON', async () => {
  const before = logFiles(made.log)
  const words = await run(['info', '--directory', made.log])
  assert.equal(words.code, 0)
  assert.equal(words.err, '')
  for (const one of [
    /^Topics +2, and 1 deleted one$/m,
    /^Reserve +4\.0 KiB$/m,
    /No damage is known/,
    / 45 records in /,
  ]) {
    assert.match(words.out, one)
  }
  const json = await run(['info', '--directory', made.log, '--json'])
  const [report] = linesOf(json)
  assert.deepEqual(
    { ...report, identity_sha256: '', bytes: 0, segments: [], first_id: '', ceiling: '' },
    {
      directory: made.log,
      identity_sha256: '',
      bytes: 0,
      records: 45,
      topics: 2,
      topics_deleted: 1,
      first_id: '',
      last_id: made.ids.at(-1),
      first_time: '2026-01-01T00:00:00.000Z',
      last_time: '2026-01-02T15:00:00.000Z',
      ceiling: '',
      reserve_bytes: 4096,
      server: null,
      is_whole: true,
      segments: [],
      findings: [],
    },
  )
  const segments = report?.['segments'] as Record<string, unknown>[]
  assert(segments.length > 2)
  assert.deepEqual(Object.keys(segments[0]!), [
    'file',
    'state',
    'bytes',
    'records',
    'first_id',
    'last_id',
    'first_time',
    'last_time',
    'created_at',
    'index',
  ])
  assert.deepEqual(segments.map(({ state }) => state).slice(-2), ['sealed', 'open'])
  assert(String(report?.['ceiling']) > made.ids.at(-1)!)
  // Who knows the identity can forge a log.
  const identity = readFileSync(join(made.log, 'segment-0000000000000001.log')).subarray(24, 40)
  assert(!`${words.out}${json.out}`.includes(identity.toString('hex')))
  assert.deepEqual(logFiles(made.log), before, 'nothing was changed')
})

test('verify of a whole log ends with 0, and says that every byte was read', async () => {
  const words = await run(['verify', '--directory', made.data])
  assert.deepEqual([words.code, words.err], [0, ''])
  assert.match(words.out, /every byte is as it was written\.\n$/)
  const [report] = linesOf(await run(['verify', '--directory', made.data, '--json']))
  assert.equal(report?.['is_whole'], true)
})

test('verify names a damage with its file, its place, its topic and its event', async () => {
  const spoiled = copyOfMade()
  const name = spoilEvent(spoiled, 8)
  const before = logFiles(spoiled.log)
  const words = await run(['verify', '--directory', spoiled.log])
  assert.equal(words.code, 1)
  assert.match(words.out, new RegExp(`^damage: ${name} at \\d+, \\d+ bytes: does not verify\\.$`, 'm'))
  assert.match(words.out, new RegExp(`^  Topic ${made.topic}: ${made.ids[8]}\\.$`, 'm'))
  assert.match(words.out, /: 1 damage\.\n$/)
  const json = await run(['verify', '--directory', spoiled.log, '--json'])
  assert.equal(json.code, 1)
  const [report] = linesOf(json)
  const findings = report?.['findings'] as Record<string, unknown>[]
  assert.equal(findings.length, 1)
  assert.equal(findings[0]?.['severity'], 'damage')
  assert.equal(findings[0]?.['file'], name)
  assert.deepEqual(findings[0]?.['lost'], [{ topic: made.topic, id: made.ids[8] }])
  assert.equal(report?.['is_whole'], false)
  assert.deepEqual(logFiles(spoiled.log), before, 'nothing was changed')
})

test('a torn tail is told apart from damage, and is none', async () => {
  const torn = copyOfMade()
  // Into the open segment, behind its header: what the last write before a crash may leave.
  const name = readdirSync(torn.log).findLast((one) => one.endsWith('.log'))!
  writeFileSync(join(torn.log, name), Buffer.concat([readFileSync(join(torn.log, name)), Buffer.alloc(100, 7)]))
  const ran = await run(['verify', '--directory', torn.log])
  assert.equal(ran.code, 0)
  assert.match(ran.out, new RegExp(`^torn-tail: ${name} at 128, 100 bytes: `, 'm'))
})

test('a segment of another log ends with 2, and the rest is read all the same', async () => {
  const mixed = copyOfMade()
  const other = await makeData()
  cpSync(join(other.log, 'segment-0000000000000001.log'), join(mixed.log, 'segment-0000000000000099.log'))
  for (const command of ['info', 'verify', 'dump']) {
    const ran = await run([command, '--directory', mixed.log])
    assert.equal(ran.code, 2, command)
    assert.match(ran.out + ran.err, /foreign: segment-0000000000000099\.log: it belongs to another log/)
    assert(ran.out.includes(made.ids.at(-1)!) || command === 'verify')
  }
})

test('dump prints every record on a line, with what it means and without the hash of a token', async () => {
  const ran = await run(['dump', '--directory', made.log])
  assert.deepEqual([ran.code, ran.err], [0, ''])
  const lines = linesOf(ran)
  assert.equal(lines.length, 45)
  const kinds = lines.map(({ kind }) => kind)
  const created = ['topic-created', 'topic-created', 'topic-created']
  assert.deepEqual(kinds.slice(0, 6), ['start', ...created, 'topic-deleted', 'event'])
  assert.deepEqual([lines[1]?.['topic'], lines[1]?.['name']], [made.topic, 'orders'])
  assert.deepEqual(lines[5], {
    id: made.ids[0],
    topic: made.other,
    kind: 'event',
    time: '2026-01-01T00:00:00.000Z',
    type: 'greeting',
    publisher_id: 'mine-0',
    message: 'Hello 0, "you"',
  })
  assert.deepEqual(
    lines.slice(5).map(({ id }) => id),
    made.ids,
  )
  assert(ran.out.includes(`"message":${HUGE}}`), 'a number stays as it was published')
  assert(!ran.out.includes(TOKEN_HASH.toString('hex')))
})

test('dump keeps to its bounds, its topic, and leaves messages out where that is wanted', async () => {
  const ids = async (...args: string[]) =>
    linesOf(await run(['dump', '--directory', made.log, ...args])).map(({ id }) => id)
  assert.deepEqual(await ids('--from', made.ids[10]!, '--to', made.ids[12]!), made.ids.slice(10, 13))
  assert.deepEqual(
    await ids('--from', '2026-01-01T05:00:00Z', '--to', '2026-01-01T08:30:00+01:00'),
    made.ids.slice(5, 8),
  )
  assert.deepEqual(await ids('--from', '2026-01-02'), made.ids.slice(24))
  const ofTopic = made.ids.filter((_, i) => i % 3 === 0)
  assert.deepEqual(await ids('--topic', made.other), ofTopic)
  assert.deepEqual(await ids('--topic', made.other.replace(/^0+/, ''), '--from', made.ids[20]!), ofTopic.slice(7))
  const without = await run(['dump', '--directory', made.log, '--no-payloads', '--from', made.ids[0]!])
  assert(!without.out.includes('Hello') && !without.out.includes('"message"'))
  assert.equal(linesOf(without)[0]?.['message_bytes'], 14)
})

test('dump says on a line of its own what is damaged between the records', async () => {
  const spoiled = copyOfMade()
  spoilEvent(spoiled, 20)
  for (const args of [[], ['--topic', made.topic]]) {
    const ran = await run(['dump', '--directory', spoiled.log, ...args])
    assert.equal(ran.code, 1)
    const damages = linesOf(ran).filter((line) => 'damage' in line)
    assert.equal(damages.length, 1)
    const [{ lost }] = damages.map(({ damage }) => damage as Record<string, unknown>) as [Record<string, unknown>]
    assert.deepEqual(lost, [{ topic: made.topic, id: made.ids[20] }])
    assert(!ran.out.includes(`{"id":"${made.ids[20]}"`))
  }
  const unconcerned = await run(['dump', '--directory', spoiled.log, '--topic', made.other])
  assert.equal(unconcerned.code, 0)
})

test('while a process holds the folder, every command is refused with 75', async () => {
  const held = copyOfMade()
  const lock = await acquireDirectoryLock(held.data)
  try {
    for (const command of ['info', 'verify', 'dump']) {
      const ran = await run([command, '--directory', held.log])
      assert.deepEqual([ran.code, ran.out], [75, ''])
      assert.match(ran.err, /The data folder is in use by this very process/)
    }
  } finally {
    await lock.release()
  }
  assert.equal((await run(['info', '--directory', held.log])).code, 0)
  const next = await acquireDirectoryLock(held.data)
  await next.release()
})

test('a real server that runs keeps dump out, and lets it in when it has stopped', async () => {
  const server = await ServerProcess.start()
  try {
    const ask = (path: string, body: unknown) =>
      fetch(`${server.url}/api/v1/pubsubs${path}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${server.apiToken}`, 'content-type': 'application/json' },
        body: JSON.stringify(body),
      })
    const created = (await (await ask('', { pubsub: { persist: true } })).json()) as { pubsub: { id: string } }
    const { id } = created.pubsub
    await ask(`/${id}/events`, { event: { type: 'greeting', message: 'Hello' } })
    const sser = (...args: string[]) =>
      spawnSync(process.execPath, [builtMain(), 'log', ...args], {
        encoding: 'utf8',
        cwd: root,
        env: { PATH: process.env['PATH'], SSER_STORAGE_DIR: server.directory },
      })
    const refused = sser('dump')
    assert.deepEqual([refused.status, refused.stdout], [75, ''])
    assert.match(refused.stderr, new RegExp(`in use by process ${server.pid} on this host`))
    await server.kill('SIGTERM')
    const allowed = sser('verify')
    assert.deepEqual([allowed.status, allowed.stderr], [0, ''])
    const dumped = sser('dump', '--topic', id)
    assert.deepEqual([dumped.status, JSON.parse(dumped.stdout).message], [0, 'Hello'])
    await server.restart()
  } finally {
    await server.close()
  }
})

test('without a lock file, or where none may be taken, it reads and says so', async () => {
  const copy = copyOfMade()
  rmSync(join(copy.data, 'LOCK'))
  const unlocked = await run(['info', '--directory', copy.log])
  assert.equal(unlocked.code, 0)
  assert.match(unlocked.err, /has no lock file, as a copy has none/)
  assert.deepEqual(readdirSync(copy.data), ['log'], 'none is made')
  const acquireLock = async () => {
    const cause = Object.assign(new Error('EROFS: read-only file system'), { code: 'EROFS' })
    throw new StorageError('STORAGE_PERMISSION', 'read-only', cause)
  }
  const readOnly = await run(['info', '--directory', made.log], { acquireLock })
  assert.equal(readOnly.code, 0)
  assert.match(readOnly.err, /the folder may not be written/)
  const strange = copyOfMade()
  rmSync(join(strange.data, 'LOCK'))
  mkdirSync(join(strange.data, 'LOCK'))
  assert.equal((await run(['info', '--directory', strange.log])).code, 77)
})

const isRoot = process.getuid?.() === 0

test("a lock that root has taken does not keep the folder's owner out", {
  skip: !isRoot && 'only root can try',
}, async () => {
  const owned = copyOfMade()
  for (const path of [owned.data, join(owned.data, 'LOCK')]) chownSync(path, 65534, 65534)
  assert.equal((await run(['info', '--directory', owned.log])).code, 0)
  const locks = readdirSync(owned.data).filter((name) => name.startsWith('LOCK'))
  assert(locks.length > 1)
  for (const name of locks) assert.equal(lstatSync(join(owned.data, name)).uid, 65534, name)
})

test('without --directory the configured folder is read, and a wrong configuration is told with 78', async () => {
  const env = { SSER_STORAGE_DIR: made.data }
  const ran = await run(['info', '--json'], { env })
  assert.equal(linesOf(ran)[0]?.['directory'], made.log)
  const wrong = await run(['info'], { env: { APP_ENV: 'nonsense' } })
  assert.equal(wrong.code, 78)
  assert.match(wrong.err, /APP_ENV.*\n.*--directory/s)
})

test('where there is no log it says so, with 66, and makes no folder', async () => {
  const nowhere = join(root, 'nowhere')
  const ran = await run(['verify', '--directory', nowhere])
  assert.deepEqual([ran.code, ran.out], [66, ''])
  assert.match(ran.err, /there is no log in .*nowhere/)
  assert(!readdirSync(root).includes(basename(nowhere)))
})

test('wrong use is told with 64 and a word about the help, and reads nothing', async () => {
  for (const args of [
    [],
    ['repaint'],
    ['info', '--nonsense'],
    ['info', 'extra'],
    ['backup'],
    ['backup', 'one', 'two'],
    ['restore', ''],
    ['repair', '--backup', ''],
    ['compact', '--yes'],
    ['restore', 'one', '--verify'],
    ['info', '--directory'],
    ['info', '--directory', ''],
    ['verify', '--from', made.ids[0]!],
    ['dump', '--from', 'yesterday'],
    ['dump', '--to', '2026-13-01'],
    ['dump', '--topic', 'no/topic'],
  ]) {
    const ran = await run(args)
    assert.deepEqual([ran.code, ran.out], [64, ''], args.join(' '))
    assert.match(ran.err, args.length === 0 ? /^Usage: sser log / : /^sser( log)?: .+\n\(--help says more\)\n$/s)
  }
})

test('a bar is drawn on a terminal only, and is taken away again', async () => {
  const ran = await run(['verify', '--directory', made.log], { isTTY: true })
  assert.match(ran.err, /^\rReading \[[#.]{30}\] \d+ % of /)
  assert(ran.err.endsWith('\r\x1b[K'))
  assert(!ran.out.includes('\r'))
})

test('a reader that goes away ends a dump without a complaint', async () => {
  let writes = 0
  const stdout = new Writable({
    write(_chunk, _encoding, done) {
      writes += 1
      done(writes < 3 ? null : Object.assign(new Error('EPIPE: broken pipe, write'), { code: 'EPIPE' }))
    },
  })
  const { code, err } = await run(['dump', '--directory', made.log], { stdout })
  assert.deepEqual([code, err, writes], [0, '', 3])
})
