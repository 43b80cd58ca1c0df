/** The lock of a data folder, between real processes, each way by itself and both together. */

import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { connect, type Socket } from 'node:net'
import { hostname, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, test } from 'node:test'
import { acquireDirectoryLock, type LockWay } from '../../storage-engine/directory-lock.ts'
import { builtMain } from '../support/server-process.ts'

const HOLDER = new URL('../support/lock-holder.mjs', import.meta.url).pathname
/** What the other processes run: as it was built, since one of them starts for each round of a race. */
const MODULE = join(dirname(builtMain()), '..', 'storage-engine', 'directory-lock.js')
const RACE_ROUNDS = Number(process.env['SSER_RACE_ROUNDS'] ?? 50)
/** Each costs the start of a process, so the combination of both ways, which is no third one, gets fewer. */
const RACE_ROUNDS_OF_BOTH = 10
const hasFlock = spawnSync('flock', ['--help']).error === undefined

const sets: readonly (readonly LockWay[])[] = [['flock'], ['socket'], ['flock', 'socket']]
for (const ways of sets) {
  const skip = ways.includes('flock') && !hasFlock ? 'the program flock is not installed here' : false

  describe(`the lock by ${ways.join(' and ')}`, { skip }, () => {
    test('row 53: a second holder is refused, in this process and in another, and told who the first is', async () => {
      await inFolder(async (folder) => {
        const lock = await acquireDirectoryLock(folder, { ways })
        assert.deepEqual(lock.ways, ways)
        await assert.rejects(acquireDirectoryLock(folder, { ways }), {
          name: 'StorageError',
          code: 'STORAGE_LOCKED',
          message: new RegExp(`this very process, ${process.pid}, started .*stop that one first`),
        })
        const other = await startHolder(folder, ways)
        assert.equal(other.said.code, 'STORAGE_LOCKED')
        assert.match(other.said.message ?? '', new RegExp(`in use by process ${process.pid} on this host`))
        assert.ok(other.said.message?.includes(join(folder, 'LOCK')))
        await other.ended
        await lock.release()
        await lock.release()
        await (await acquireDirectoryLock(folder, { ways })).release()
      })
    })

    test('what the file says is its holder, and only its owner may read it', async () => {
      await inFolder(async (folder) => {
        const lock = await acquireDirectoryLock(folder, { ways })
        const said = JSON.parse(readFileSync(join(folder, 'LOCK'), 'utf8'))
        assert.equal(said.pid, process.pid)
        assert.equal(said.host, hostname())
        assert.ok(Date.parse(said.startedAt) <= Date.now())
        assert.equal(statSync(join(folder, 'LOCK')).mode & 0o777, 0o600)
        await lock.release()
        assert.equal(readFileSync(join(folder, 'LOCK'), 'utf8'), '')
      })
    })

    test('row 54: kill -9 frees it', async () => {
      await inFolder(async (folder) => {
        const holder = await startHolder(folder, ways)
        assert.deepEqual(holder.said.held, ways)
        await assert.rejects(acquireDirectoryLock(folder, { ways }), { code: 'STORAGE_LOCKED' })
        await holder.kill()
        const lock = await acquireDirectoryLock(folder, { ways })
        await lock.release()
      })
    })

    test('a lock that nobody refers to is not collected', async () => {
      await inFolder(async (folder) => {
        const script = `
          const { acquireDirectoryLock } = await import(${JSON.stringify(MODULE)})
          const options = { ways: ${JSON.stringify(ways)} }
          await acquireDirectoryLock(process.argv[1], options)
          for (let i = 0; i < 5; i++) { gc(); await new Promise((resolve) => setImmediate(resolve)) }
          await acquireDirectoryLock(process.argv[1], options).then(() => console.log('twice'), (error) => console.log(error.code))
        `
        const flags = ['--expose-gc', '--input-type=module', '-e', script, folder]
        // That it ends by itself also shows that the lock does not keep a process alive.
        assert.equal(execFileSync(process.execPath, flags, { encoding: 'utf8' }).trim(), 'STORAGE_LOCKED')
      })
    })

    const rounds = ways.length > 1 ? RACE_ROUNDS_OF_BOTH : RACE_ROUNDS
    test(`row 85: of two processes that start on a lock left by kill -9, exactly one wins, ${rounds} times`, async () => {
      await inFolder(async (folder) => {
        // Who loses tries again in the next round; who wins is killed, and another takes its place.
        const start = () => startHolder(folder, ways, '--wait')
        let starters: readonly StartedHolder[] = await Promise.all([start(), start()])
        let spare = start()
        for (let round = 0; round < rounds; round++) {
          const said = await Promise.all(starters.map((starter) => starter.ask()))
          assert.equal(said.filter(({ held }) => held !== undefined).length, 1, JSON.stringify(said))
          assert.equal(said.filter(({ code }) => code === 'STORAGE_LOCKED').length, 1, JSON.stringify(said))
          const winner = said.findIndex(({ held }) => held !== undefined)
          await starters[winner]?.kill()
          starters = [...starters.filter((_, index) => index !== winner), await spare]
          spare = start()
        }
        await Promise.all([...starters, await spare].map((starter) => starter.kill()))
      })
    })

    test(`of several that race in one process on a lock left dead, exactly one wins, ${RACE_ROUNDS} times`, async () => {
      await inFolder(async (folder) => {
        for (let round = 0; round < RACE_ROUNDS; round++) {
          const starters = Array.from({ length: 2 + (round % 4) })
          const results = await Promise.allSettled(starters.map(() => acquireDirectoryLock(folder, { ways })))
          const won = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
          const lost = results.flatMap((result) => (result.status === 'rejected' ? [result.reason] : []))
          assert.equal(won.length, 1)
          for (const error of lost) assert.equal(error.code, 'STORAGE_LOCKED', String(error))
          await won[0]?.release()
        }
        // Neither dead claims nor the sockets of those who lost pile up.
        assert.ok(readdirSync(folder).length <= 6, readdirSync(folder).join(' '))
      })
    })

    test('a holder in another pid namespace is not taken for dead', async (context) => {
      if (spawnSync('unshare', ['--pid', '--fork', '--mount-proc', 'true']).status !== 0) {
        context.skip('unshare is not permitted here')
        return
      }
      await inFolder(async (folder) => {
        const holder = await startHolder(folder, ways, '--until-end', ['unshare', '--pid', '--fork', '--mount-proc'])
        assert.deepEqual(holder.said.held, ways)
        await assert.rejects(acquireDirectoryLock(folder, { ways }), {
          code: 'STORAGE_LOCKED',
          message: /process 1 on host .*another container or machine/,
        })
        holder.child.stdin?.end()
        await holder.ended
        await (await acquireDirectoryLock(folder, { ways })).release()
      })
    })

    test('a starter in another pid namespace is refused, and wins once the holder was killed', async (context) => {
      if (spawnSync('unshare', ['--pid', '--fork', '--mount-proc', 'true']).status !== 0) {
        context.skip('unshare is not permitted here')
        return
      }
      await inFolder(async (folder) => {
        const away = ['unshare', '--pid', '--fork', '--mount-proc']
        const holder = await startHolder(folder, ways)
        assert.equal((await startHolder(folder, ways, '--until-end', away)).said.code, 'STORAGE_LOCKED')
        await holder.kill()
        const next = await startHolder(folder, ways, '--until-end', away)
        assert.deepEqual(next.said.held, ways)
        next.child.stdin?.end()
        await next.ended
      })
    })

    test('a path longer than the address of a socket may be is as good as any', {
      skip: process.platform !== 'linux',
    }, async () => {
      await inFolder(async (folder) => {
        const long = join(folder, 'x'.repeat(100), 'y'.repeat(100))
        mkdirSync(long, { recursive: true })
        const lock = await acquireDirectoryLock(long, { ways })
        assert.deepEqual(lock.ways, ways)
        await assert.rejects(acquireDirectoryLock(long, { ways }), { code: 'STORAGE_LOCKED' })
        await lock.release()
        await (await acquireDirectoryLock(long, { ways })).release()
      })
    })

    test('it is taken by a process whose standard streams are closed, and leaves no zombie', async () => {
      await inFolder(async (folder) => {
        const out = join(folder, 'out')
        const script = `
          const { acquireDirectoryLock } = await import(${JSON.stringify(MODULE)})
          const { readFileSync, readdirSync, writeFileSync } = await import('node:fs')
          const lock = await acquireDirectoryLock(process.argv[1], { ways: ${JSON.stringify(ways)} })
          const children = process.platform === 'linux' ? readFileSync('/proc/self/task/' + process.pid + '/children', 'utf8') : ''
          const left = children.trim().split(' ').filter(Boolean).map((pid) => readFileSync('/proc/' + pid + '/stat', 'utf8'))
          writeFileSync(process.argv[2], JSON.stringify({ ways: lock.ways, zombies: left.filter((stat) => / Z /.test(stat)) }))
          await lock.release()
        `
        const flags = ['--input-type=module', '-e', script, folder, out]
        const closed = ['-c', 'exec "$0" "$@" <&- >&- 2>&-', process.execPath, ...flags]
        assert.equal(spawnSync('sh', closed).status, 0)
        assert.deepEqual(JSON.parse(readFileSync(out, 'utf8')), { ways, zombies: [] })
      })
    })

    test('a folder that is missing, and a LOCK that is no file, are told in words', async () => {
      await inFolder(async (folder) => {
        const missing = join(folder, 'missing')
        await assert.rejects(acquireDirectoryLock(missing, { ways }), {
          code: 'STORAGE_MISSING',
          message: /missing\/LOCK/,
        })
        mkdirSync(join(folder, 'a', 'LOCK'), { recursive: true })
        mkdirSync(join(folder, 'b'))
        writeFileSync(join(folder, 'target'), 'precious')
        symlinkSync(join(folder, 'target'), join(folder, 'b', 'LOCK'))
        for (const name of ['a', 'b']) {
          const refusal = { code: 'STORAGE_PERMISSION', message: /not a regular file/ }
          await assert.rejects(acquireDirectoryLock(join(folder, name), { ways }), refusal)
        }
        assert.equal(readFileSync(join(folder, 'target'), 'utf8'), 'precious')
      })
    })

    test('rubbish in the file, and a claim that is no socket, do not keep anybody out', async () => {
      await inFolder(async (folder) => {
        writeFileSync(join(folder, 'LOCK'), '{"pid": 1, "host"')
        writeFileSync(join(folder, 'LOCK.0000000041'), 'copied by a backup')
        await (await acquireDirectoryLock(folder, { ways })).release()
      })
    })
  })
}

test('who has only sockets is kept out by who has both, and the other way round', { skip: !hasFlock }, async () => {
  await inFolder(async (folder) => {
    const both = await acquireDirectoryLock(folder)
    assert.deepEqual(both.ways, ['flock', 'socket'])
    await assert.rejects(acquireDirectoryLock(folder, { ways: ['socket'] }), { code: 'STORAGE_LOCKED' })
    await both.release()
    const sockets = await acquireDirectoryLock(folder, { ways: ['socket'] })
    await assert.rejects(acquireDirectoryLock(folder), { code: 'STORAGE_LOCKED' })
    await sockets.release()
    await (await acquireDirectoryLock(folder)).release()
  })
})

test('a holder that is stopped, and whose queue of connections is full, is not taken for dead', async () => {
  await inFolder(async (folder) => {
    const holder = await startHolder(folder, ['socket'])
    holder.child.kill('SIGSTOP')
    const claim = readdirSync(folder).find((name) => name.startsWith('LOCK.')) ?? ''
    const sockets: Socket[] = []
    try {
      for (let refused = false; !refused; ) {
        const socket = connect(join(folder, claim))
        sockets.push(socket)
        refused = await new Promise((resolve) => {
          socket.once('connect', () => resolve(false))
          socket.once('error', () => resolve(true))
        })
      }
      await assert.rejects(acquireDirectoryLock(folder, { ways: ['socket'] }), {
        code: 'STORAGE_LOCKED',
        message: new RegExp(`process ${holder.child.pid} on this host`),
      })
    } finally {
      for (const socket of sockets) socket.on('error', () => {}).destroy()
      await holder.kill()
    }
    await (await acquireDirectoryLock(folder, { ways: ['socket'] })).release()
  })
})

test('where there is no program flock, the sockets do', async () => {
  await inFolder(async (folder) => {
    const path = process.env['PATH']
    try {
      process.env['PATH'] = folder
      const lock = await acquireDirectoryLock(folder)
      assert.deepEqual(lock.ways, ['socket'])
      await lock.release()
      // With neither way nothing can be said of other holders, so the answer is no, and how to get to a yes.
      const refusal = { code: 'STORAGE_LOCKED', message: /cannot be decided.*flock cannot be run \(ENOENT\).*rm -f/ }
      await assert.rejects(acquireDirectoryLock(folder, { ways: ['flock'] }), refusal)
    } finally {
      process.env['PATH'] = path
    }
  })
})

test('a program flock that says yes without a lock is not believed', async () => {
  await inFolder(async (folder) => {
    const path = process.env['PATH']
    try {
      mkdirSync(join(folder, 'bin'))
      writeFileSync(join(folder, 'bin', 'flock'), '#!/bin/sh\nexit 0\n', { mode: 0o755 })
      process.env['PATH'] = join(folder, 'bin')
      const refusal = { code: 'STORAGE_LOCKED', message: /does not honour flock/ }
      await assert.rejects(acquireDirectoryLock(folder, { ways: ['flock'] }), refusal)
      writeFileSync(join(folder, 'bin', 'flock'), '#!/bin/sh\necho "flock: 3: No locks available" >&2\nexit 1\n')
      const complaint = { code: 'STORAGE_LOCKED', message: /cannot be decided.*No locks available/ }
      await assert.rejects(acquireDirectoryLock(folder, { ways: ['flock'] }), complaint)
    } finally {
      process.env['PATH'] = path
    }
  })
})

test('a folder that may not be written is told with its path and what to do', async (context) => {
  await inFolder(async (folder) => {
    chmodSync(folder, 0o755)
    mkdirSync(join(folder, 'data'), { mode: 0o555 })
    // Root may write everywhere, so the attempt is another user's.
    const drop = process.getuid?.() === 0 ? ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] : []
    if (
      drop.length > 0 &&
      spawnSync(drop[0] ?? '', [
        ...drop.slice(1),
        process.execPath,
        '-e',
        `for (const path of ${JSON.stringify([HOLDER, MODULE])}) require('fs').statSync(path)`,
      ]).status !== 0
    ) {
      context.skip('this checkout cannot be read by another user, and root may write everywhere')
      return
    }
    const holder = await startHolder(join(folder, 'data'), ['flock', 'socket'], '--until-end', drop)
    assert.equal(holder.said.code, 'STORAGE_PERMISSION')
    assert.match(holder.said.message ?? '', /data\/LOCK may not be read and written by the user with id \d+\..*chown/)
    await holder.ended
  })
})

test('a read-only file system is told as one', async (context) => {
  await inFolder(async (folder) => {
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'ro', 'tmpfs', folder]).status !== 0) {
      context.skip('mounting is not permitted here')
      return
    }
    try {
      const refusal = { code: 'STORAGE_PERMISSION', message: /LOCK is on a file system that is mounted read-only/ }
      await assert.rejects(acquireDirectoryLock(folder), refusal)
    } finally {
      execFileSync('umount', [folder])
    }
  })
})

test('a disk that is full to the last byte can be locked', { skip: !hasFlock }, async (context) => {
  await inFolder(async (folder) => {
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k,nr_inodes=3', 'tmpfs', folder]).status !== 0) {
      context.skip('mounting is not permitted here')
      return
    }
    try {
      writeFileSync(join(folder, 'LOCK'), '')
      assert.throws(() => writeFileSync(join(folder, 'full'), new Uint8Array(2 ** 20)), { code: 'ENOSPC' })
      const lock = await acquireDirectoryLock(folder)
      assert.deepEqual(lock.ways, ['flock'])
      await assert.rejects(acquireDirectoryLock(folder), { code: 'STORAGE_LOCKED' })
      await lock.release()
    } finally {
      execFileSync('umount', [folder])
    }
  })
})

interface Said {
  readonly held?: readonly LockWay[]
  readonly code?: string
  readonly message?: string
}

interface StartedHolder {
  readonly child: ChildProcess
  /** What it said first: of one that waits, that it is ready. */
  readonly said: Said
  readonly ended: Promise<unknown>
  /** Lets one that waits go on, and tells how it went. */
  ask(): Promise<Said>
  kill(): Promise<void>
}

async function startHolder(
  folder: string,
  ways: readonly LockWay[],
  flag = '',
  before: readonly string[] = [],
): Promise<StartedHolder> {
  const [program = '', ...args] = [...before, process.execPath, HOLDER, MODULE, folder, ways.join(','), flag]
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = once(child, 'exit')
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  const next = async (): Promise<Said> => {
    const line = await lines.next()
    assert.ok(line.done !== true, `the holder ended without a word: ${child.exitCode ?? child.signalCode}`)
    return JSON.parse(line.value)
  }
  return {
    child,
    said: await next(),
    ended,
    ask() {
      child.stdin.write('go\n')
      return next()
    },
    async kill() {
      child.kill('SIGKILL')
      await ended
    },
  }
}

async function inFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'sser-lock-'))
  try {
    await use(folder)
  } finally {
    assert.ok(existsSync(folder))
    rmSync(folder, { recursive: true })
  }
}
