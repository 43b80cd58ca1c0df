/** That each fault of the simulated disk is the fault that it says: what proves the log is proved itself first. */

import assert from 'node:assert/strict'
import { dirname } from 'node:path'
import { describe } from 'node:test'
import { systemCode } from '../../storage-engine/errors.ts'
import { type CrashOutcome, FaultyFiles, SimulatedCrash, type WriteFate } from '../../storage-engine/faulty-files.ts'
import type { DataFile } from '../../storage-engine/files.ts'
import { Random } from '../support/random.ts'
import { test } from '../support/unwatched.ts'

describe('after a loss of power', () => {
  test('what was synced is there, and what was not is gone, content and names', async () => {
    const files = await disk()
    const file = await create(files, '/d/a', 'abc')
    await file.sync()
    await files.syncDirectory('/d')
    await file.write(bytes('XYZ!'), 0)
    assert.equal(text(files.powerLoss(), '/d/a'), 'abc')
    await createUnsynced(files, '/d/b', 'new')
    assert.deepEqual(await files.powerLoss().list('/d'), ['a'])
    await files.syncDirectory('/d')
    assert.deepEqual(await files.powerLoss().list('/d'), ['a', 'b'])
    assert.equal(text(files.powerLoss(), '/d/b'), '')
  })

  test('a file that was synced, but whose name was not, is gone', async () => {
    const files = new FaultyFiles()
    await files.makeDirectory('/d')
    const file = await files.open('/d/a', 'create')
    await file.write(bytes('abc'), 0)
    await file.sync()
    assert.deepEqual(await files.powerLoss().list('/d'), [])
    assert.equal(text(files.afterCrash({ names: 'kept' }), '/d/a'), 'abc')
  })

  test('a rename without a sync of its folder is undone whole, or done whole', async () => {
    const files = await disk()
    const file = await create(files, '/d/a.tmp', 'new')
    await file.sync()
    files.putFile('/d/a', bytes('old'))
    await files.rename('/d/a.tmp', '/d/a')
    assert.deepEqual(await contents(files.powerLoss()), { a: 'old', 'a.tmp': 'new' })
    assert.deepEqual(await contents(files.afterCrash({ names: 'kept' })), { a: 'new' })
    await files.syncDirectory('/d')
    assert.deepEqual(await contents(files.powerLoss()), { a: 'new' })
  })

  test('a rename may be durable before the content that was not synced', async () => {
    const files = await disk()
    await create(files, '/d/a.tmp', 'content')
    await files.rename('/d/a.tmp', '/d/a')
    await files.syncDirectory('/d')
    assert.deepEqual(await contents(files.powerLoss()), { a: '' })
    assert.deepEqual(await contents(files.afterCrash({ writes: 'zeroed' })), { a: '\0'.repeat(7) })
  })

  test('a removal without a sync of its folder is undone, content and all', async () => {
    const files = await disk()
    files.putFile('/d/a', bytes('abc'))
    await files.remove('/d/a')
    assert.deepEqual(await contents(files.powerLoss()), { a: 'abc' })
    assert.deepEqual(await contents(files.afterCrash({ names: 'kept' })), {})
    await files.syncDirectory('/d')
    assert.deepEqual(await contents(files.powerLoss()), {})
  })

  test('a sync covers what was written before it was called, and nothing later', async () => {
    const files = await disk()
    const file = await create(files, '/d/a', 'a')
    const release = files.hold('sync')
    const synced = file.sync()
    await release.arrived
    await file.write(bytes('b'), 1)
    release()
    await synced
    assert.equal(text(files.powerLoss(), '/d/a'), 'a')
    assert.equal(text(files, '/d/a'), 'ab')
  })

  test('a truncate that was not synced is kept or lost by itself, and what it cut may come back', async () => {
    const files = await disk()
    const file = await create(files, '/d/a', 'abcdef')
    await file.sync()
    await file.truncate(3)
    await file.write(bytes('X'), 3)
    const outcome = (writes: WriteFate, truncates: 'lost' | 'kept') =>
      text(files.afterCrash({ writes, truncates }), '/d/a')
    assert.equal(outcome('lost', 'lost'), 'abcdef')
    assert.equal(outcome('lost', 'kept'), 'abc')
    assert.equal(outcome('kept', 'kept'), 'abcX')
    assert.equal(outcome('kept', 'lost'), 'abcXef')
  })

  test('a write is lost, kept, zeroed, torn, or one of content and size without the other', async () => {
    const files = await disk()
    const file = await create(files, '/d/a', 'abcd')
    await file.sync()
    await file.write(bytes('WXYZ'), 2)
    for (const [fate, expected] of [
      ['lost', 'abcd'],
      ['kept', 'abWXYZ'],
      ['zeroed', 'ab\0\0\0\0'],
      ['grown', 'abcd\0\0'],
      ['notGrown', 'abWX'],
      ['old', 'abcdab'],
      [{ tornAtByte: 0 }, 'abcd'],
      [{ tornAtByte: 1 }, 'abWd'],
      [{ tornAtByte: 3 }, 'abWXY'],
      [{ tornAtByte: 4 }, 'abWXYZ'],
    ] as const) {
      assert.equal(text(files.afterCrash({ writes: fate }), '/d/a'), expected, JSON.stringify(fate))
    }
  })

  test('sectors are torn at the multiples of 512 of the file, in any subset', async () => {
    const files = await disk()
    const file = await create(files, '/d/a', 'o'.repeat(600))
    await file.sync()
    // Touches four sectors: 12 bytes of the first, all of two, 100 bytes of the last.
    await file.write(bytes('n'.repeat(12 + 1024 + 100)), 500)
    const parts = [
      ['o'.repeat(12), 'n'.repeat(12)],
      ['o'.repeat(88) + '\0'.repeat(424), 'n'.repeat(512)],
      ['\0'.repeat(512), 'n'.repeat(512)],
      ['\0'.repeat(100), 'n'.repeat(100)],
    ] as const
    for (let mask = 0; mask < 16; mask++) {
      const expected = 'o'.repeat(500) + parts.map((part, bit) => part[(mask >> bit) & 1]).join('')
      for (const sectors of [mask, BigInt(mask), (sector: number) => ((mask >> sector) & 1) === 1]) {
        assert.equal(text(files.afterCrash({ writes: { sectors } }), '/d/a'), expected)
      }
    }
  })

  test('of two writes the later may be kept and the earlier lost, each chosen by itself', async () => {
    const files = await disk()
    const file = await create(files, '/d/a', 'ab')
    await file.sync()
    await file.write(bytes('11'), 2)
    await file.write(bytes('22'), 4)
    const seen: unknown[] = []
    const after = files.afterCrash({
      writes: (write, index, total) => {
        seen.push([write.path, write.position, write.length, index, total])
        return index === total - 1 ? 'kept' : 'lost'
      },
    })
    assert.equal(text(after, '/d/a'), 'ab\0\x0022')
    assert.deepEqual(seen, [
      ['/d/a', 2, 2, 0, 2],
      ['/d/a', 4, 2, 1, 2],
    ])
    assert.equal(text(files.powerLoss(), '/d/a'), 'ab')
  })

  test('names are kept as a prefix or as a subset, but of one name never a later change without the earlier', async () => {
    const files = await disk()
    for (const name of ['a', 'b', 'c']) await createUnsynced(files, `/d/${name}`, '')
    await files.rename('/d/a', '/d/z')
    assert.deepEqual(
      files.unsynced().names.map(({ change, path, to }) => `${change} ${path} ${to ?? ''}`.trim()),
      ['create /d/a', 'create /d/b', 'create /d/c', 'rename /d/a /d/z'],
    )
    const names = async (fate: NonNullable<CrashOutcome['names']>) =>
      (await files.afterCrash({ names: fate }).list('/d')).join('')
    assert.deepEqual(await Promise.all([0, 1, 2, 3, 4].map((prefix) => names({ prefix }))), [
      '',
      'a',
      'ab',
      'abc',
      'bcz',
    ])
    assert.equal(await names({ subset: 0b0101 }), 'ac')
    assert.equal(await names({ subset: 0b1001 }), 'z')
    assert.equal(await names({ subset: 0b1010 }), 'b')
    assert.equal(await names((change) => (change.path === '/d/c' ? 'lost' : 'kept')), 'bz')
  })

  test('a synced folder keeps a rename from another folder with the creation that it rests on', async () => {
    const files = await disk()
    await files.makeDirectory('/e')
    await (await createUnsynced(files, '/e/a', 'abc')).sync()
    await files.rename('/e/a', '/d/a')
    await files.syncDirectory('/d')
    for (const names of ['lost', 'kept'] as const) {
      const after = files.afterCrash({ names })
      assert.deepEqual(await after.list('/e'), [])
      assert.deepEqual(await contents(after), { a: 'abc' })
    }
  })

  test('what is left is durable, without faults, and apart from the disk that it came from', async () => {
    const files = await disk()
    const file = await create(files, '/d/a', 'abc')
    files.fail('write', { code: 'EIO', times: Number.POSITIVE_INFINITY })
    const after = files.afterCrash({ writes: 'kept', names: 'kept' })
    assert.deepEqual(after.unsynced(), { writes: [], truncates: [], names: [] })
    assert.equal(text(after.powerLoss(), '/d/a'), 'abc')
    const again = await after.open('/d/a', 'update')
    await again.write(bytes('X'), 0)
    assert.equal(text(after, '/d/a'), 'Xbc')
    assert.equal(text(after.powerLoss(), '/d/a'), 'abc')
    assert.equal(text(files, '/d/a'), 'abc')
    await file.close()
  })

  test('a random outcome is repeated by its seed, and every fate comes up', async () => {
    const files = await disk()
    const file = await create(files, '/d/a', 'o'.repeat(700))
    await file.sync()
    await files.syncDirectory('/d')
    await file.write(bytes('n'.repeat(1500)), 600)
    await createUnsynced(files, '/d/b', 'x')
    await files.rename('/d/b', '/d/c')
    const outcomes = new Set<string>()
    for (let seed = 0; seed < 400; seed++) {
      const outcome = JSON.stringify(await contents(files.afterCrash(new Random(seed))))
      assert.equal(outcome, JSON.stringify(await contents(files.afterCrash(new Random(seed)))), `seed ${seed}`)
      outcomes.add(outcome)
    }
    const first = [...outcomes].map((outcome) => JSON.parse(outcome).a as string)
    const names = new Set([...outcomes].map((outcome) => Object.keys(JSON.parse(outcome)).join('')))
    for (const name of ['a', 'ab', 'ac']) assert.ok(names.has(name), name)
    const old = 'o'.repeat(700)
    const fates = {
      lost: (a: string) => a === old,
      kept: (a: string) => a === 'o'.repeat(600) + 'n'.repeat(1500),
      zeroed: (a: string) => a === 'o'.repeat(600) + '\0'.repeat(1500),
      grown: (a: string) => a === old + '\0'.repeat(1400),
      notGrown: (a: string) => a === 'o'.repeat(600) + 'n'.repeat(100),
      old: (a: string) => a === old.repeat(3),
      torn: (a: string) => /^o{600}n+$/.test(a) && a.length > 700 && a.length < 2100,
      sectors: (a: string) => /n\0+n/.test(a),
    }
    for (const [name, is] of Object.entries(fates)) assert.ok(first.some(is), name)
  })
})

describe('after the process was killed', () => {
  test('everything written is there, and the power may still take what was not synced', async () => {
    const files = await disk()
    const file = await create(files, '/d/a', 'abc')
    await file.sync()
    await file.write(bytes('def'), 3)
    await files.rename('/d/a', '/d/b')
    files.crash()
    const restarted = files.snapshot()
    assert.deepEqual(await contents(restarted), { b: 'abcdef' })
    assert.deepEqual(await contents(restarted.powerLoss()), { a: 'abc' })
    const again = await restarted.open('/d/b', 'update')
    await again.sync()
    await restarted.syncDirectory('/d')
    assert.deepEqual(await contents(restarted.powerLoss()), { b: 'abcdef' })
    assert.deepEqual(await contents(files.powerLoss()), { a: 'abc' }, 'the copy is not apart from its original')
  })

  test('what is written or cut on a copy is not seen on its original, nor the other way round', async () => {
    const files = await disk()
    const file = await create(files, '/d/a', 'abcdef')
    await file.sync()
    const [first, second] = [files.snapshot(), files.snapshot()]
    await (await first.open('/d/a', 'update')).write(bytes('X'), 0)
    const cut = await second.open('/d/a', 'update')
    await cut.truncate(2)
    await cut.truncate(4)
    await file.write(bytes('Y'), 5)
    assert.deepEqual(
      [files, first, second].map((each) => text(each, '/d/a')),
      ['abcdeY', 'Xbcdef', 'ab\0\0'],
    )
    assert.deepEqual(
      [files, first, second].map((each) => text(each.powerLoss(), '/d/a')),
      ['abcdef', 'abcdef', 'abcdef'],
    )
  })
})

describe('a crash', () => {
  test('comes before or after the effect of the operation of that number, and nothing works from then on', async () => {
    // The operations of the script: create 1, write 2, sync 3, syncDirectory 4, rename 5, truncate 6, remove 7.
    const script = async (files: FaultyFiles) => {
      const file = await files.open('/d/a', 'create')
      await file.write(bytes('abc'), 0)
      await file.sync()
      await files.syncDirectory('/d')
      await files.rename('/d/a', '/d/b')
      await file.truncate(1)
      await files.remove('/d/b')
    }
    const expected: readonly (readonly [kept: Record<string, string>, lost: Record<string, string>])[] = [
      [{}, {}],
      [{ a: '' }, {}],
      [{ a: 'abc' }, {}],
      [{ a: 'abc' }, {}],
      [{ a: 'abc' }, { a: 'abc' }],
      [{ b: 'abc' }, { a: 'abc' }],
      [{ b: 'a' }, { a: 'abc' }],
      [{}, { a: 'abc' }],
    ]
    for (let count = 1; count <= 7; count++) {
      for (const when of ['before', 'after'] as const) {
        const files = await disk()
        const offset = files.operations
        files.crashAt(offset + count, when)
        await assert.rejects(script(files), SimulatedCrash)
        assert.ok(files.crashed)
        assert.equal(files.crashedAt?.count, offset + count)
        const [kept, lost] = expected[when === 'after' ? count : count - 1] ?? assert.fail()
        assert.deepEqual(await contents(files.snapshot()), kept, `${count} ${when}, killed`)
        assert.deepEqual(await contents(files.powerLoss()), lost, `${count} ${when}, power lost`)
        await assert.rejects(files.list('/d'), SimulatedCrash)
        await assert.rejects(files.open('/d/a', 'read'), SimulatedCrash)
      }
    }
  })

  test('is told with the operation that it came at, and only a close still works', async () => {
    const files = await disk()
    const file = await create(files, '/d/a', 'abc')
    files.crashAt(files.operations + 1)
    const message = /lost its power before operation \d+ \(write \/d\/a at 3, 2 bytes\)/
    await assert.rejects(file.write(bytes('de'), 3), { name: 'SimulatedCrash', message })
    await assert.rejects(file.read(new Uint8Array(1), 0), SimulatedCrash)
    await assert.rejects(file.sync(), SimulatedCrash)
    await file.close()
  })

  test('ends what is held', async () => {
    const files = await disk()
    const file = await create(files, '/d/a', 'abc')
    const release = files.hold('sync')
    const synced = file.sync()
    await release.arrived
    files.crash()
    await assert.rejects(synced, SimulatedCrash)
    assert.equal(text(files.powerLoss(), '/d/a'), '')
    release()
  })

  test('counts only what changes something', async () => {
    const files = await disk()
    const file = await create(files, '/d/a', 'abc')
    const before = files.operations
    await file.read(new Uint8Array(1), 0)
    await files.list('/d')
    await (await files.open('/d/a', 'read')).close()
    assert.equal(files.operations, before)
    await file.sync()
    assert.equal(files.operations, before + 1)
  })
})

describe('a failure', () => {
  test('hits the matching operation as often as it was told to, without effect', async () => {
    const files = await disk()
    const file = await create(files, '/d/a', 'abc')
    files.fail('write', { code: 'EIO', times: 2 })
    for (let i = 0; i < 2; i++) await rejectsWith('EIO', file.write(bytes('X'), 0))
    await file.write(bytes('Y'), 1)
    assert.equal(text(files, '/d/a'), 'aYc')
    const cancel = files.fail((operation) => operation.operation === 'rename' && operation.to === '/d/c', {
      code: 'ENOSPC',
      times: Number.POSITIVE_INFINITY,
    })
    await rejectsWith('ENOSPC', files.rename('/d/a', '/d/c'))
    await files.rename('/d/a', '/d/b')
    await rejectsWith('ENOSPC', files.rename('/d/b', '/d/c'))
    cancel()
    await files.rename('/d/b', '/d/c')
    assert.deepEqual(await contents(files), { c: 'aYc' })
  })

  test('can be had of every operation, and names the file as it is called now', async () => {
    const files = await disk()
    const file = await create(files, '/d/a', 'abc')
    await files.rename('/d/a', '/d/b')
    const seen: string[] = []
    files.fail(
      ({ operation, path }) => {
        seen.push(`${operation} ${path}`)
        return false
      },
      { code: 'EIO' },
    )
    const attempts: readonly (readonly [name: string, attempt: () => Promise<unknown>])[] = [
      ['create', () => files.open('/d/new', 'create')],
      ['open', () => files.open('/d/b', 'read')],
      ['read', () => file.read(new Uint8Array(1), 0)],
      ['write', () => file.write(bytes('x'), 0)],
      ['truncate', () => file.truncate(0)],
      ['sync', () => file.sync()],
      ['rename', () => files.rename('/d/b', '/d/c')],
      ['remove', () => files.remove('/d/b')],
      ['list', () => files.list('/d')],
      ['syncDirectory', () => files.syncDirectory('/d')],
      ['makeDirectory', () => files.makeDirectory('/d/deep')],
    ]
    for (const [name, attempt] of attempts) {
      files.fail(({ operation }) => operation === name, { code: 'EMFILE' })
      await rejectsWith('EMFILE', attempt())
    }
    assert.deepEqual(
      seen.filter((line) => !line.startsWith('list')),
      [
        'create /d/new',
        'open /d/b',
        'read /d/b',
        'write /d/b',
        'truncate /d/b',
        'sync /d/b',
        'rename /d/b',
        'remove /d/b',
        'syncDirectory /d',
        'makeDirectory /d/deep',
      ],
    )
    assert.deepEqual(await contents(files), { b: 'abc' })
  })

  test('of a write can come after some of its bytes', async () => {
    const files = await disk()
    const file = await create(files, '/d/a', 'ab')
    files.fail('write', { code: 'EIO', writtenBytes: 2 })
    await rejectsWith('EIO', file.write(bytes('wxyz'), 2))
    assert.equal(text(files, '/d/a'), 'abwx')
    assert.equal(file.sizeBytes, 4)
    assert.equal(text(files.powerLoss(), '/d/a'), '')
    await file.sync()
    assert.equal(text(files.powerLoss(), '/d/a'), 'abwx')
  })

  test('can be told of what was done all the same', async () => {
    const files = await disk()
    await create(files, '/d/a', 'ab')
    files.fail('rename', { code: 'EIO', done: true })
    await rejectsWith('EIO', files.rename('/d/a', '/d/b'))
    assert.deepEqual(await contents(files), { b: 'ab' })
  })

  test('of a sync leaves its pages dirty, or clean with the new content, or clean with the old', async () => {
    for (const [pages, seen, afterSync, afterMore] of [
      ['dirty', 'abNEW', 'abNEW', 'abNEWx'],
      ['cleanNew', 'abNEW', 'abc', 'abc\0\0x'],
      ['cleanOld', 'abc', 'abc', 'abc\0\0x'],
    ] as const) {
      const files = await disk()
      const file = await create(files, '/d/a', 'abc')
      await file.sync()
      await file.write(bytes('NEW'), 2)
      files.fail('sync', { code: 'EIO', pages })
      await rejectsWith('EIO', file.sync())
      assert.equal(text(files, '/d/a'), seen, pages)
      assert.equal(text(files.snapshot(), '/d/a'), seen, pages)
      assert.equal(text(files.powerLoss(), '/d/a'), 'abc', pages)
      await file.sync()
      assert.equal(text(files.powerLoss(), '/d/a'), afterSync, pages)
      await file.write(bytes('x'), 5)
      await file.sync()
      assert.equal(text(files.powerLoss(), '/d/a'), afterMore, pages)
      assert.equal(text(files.afterCrash({ writes: 'kept', truncates: 'kept' }), '/d/a'), afterMore, pages)
    }
  })

  test('of a folder leaves its names unsynced', async () => {
    const files = await disk()
    await createUnsynced(files, '/d/a', '')
    files.fail('syncDirectory', { code: 'EIO' })
    await rejectsWith('EIO', files.syncDirectory('/d'))
    assert.deepEqual(await files.powerLoss().list('/d'), [])
    await files.syncDirectory('/d')
    assert.deepEqual(await files.powerLoss().list('/d'), ['a'])
  })

  test('of reads keeps to its range, under every name of the file', async () => {
    const files = await disk()
    const file = await create(files, '/d/a', 'abcdef')
    const cancel = files.failReads('/d/a', 2, 4)
    await files.rename('/d/a', '/d/b')
    const other = await files.open('/d/b', 'read')
    for (const [position, length, fails] of [
      [0, 2, false],
      [0, 3, true],
      [3, 1, true],
      [3, 3, true],
      [4, 2, false],
    ] as const) {
      const read = other.read(new Uint8Array(length), position)
      if (fails) await rejectsWith('EIO', read)
      else assert.equal(await read, length)
    }
    cancel()
    assert.equal(await file.read(new Uint8Array(6), 0), 6)
  })
})

test('a held operation goes on when it is let, others meanwhile', async () => {
  const files = await disk()
  const slow = await create(files, '/d/slow', 'abc')
  const quick = await create(files, '/d/quick', 'abc')
  const release = files.hold(({ operation, path }) => operation === 'sync' && path === '/d/slow')
  let done = false
  const synced = slow.sync().then(() => {
    done = true
  })
  assert.equal((await release.arrived).path, '/d/slow')
  await quick.sync()
  assert.equal(await slow.read(new Uint8Array(9), 0), 3)
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(done, false)
  release()
  await synced
  await slow.sync()
})

test('a close waits for what is held', async () => {
  const files = await disk()
  const file = await create(files, '/d/a', 'abc')
  const release = files.hold('sync')
  const ended: string[] = []
  const synced = file.sync().then(() => ended.push('sync'))
  const closed = file.close().then(() => ended.push('close'))
  await release.arrived
  release()
  await Promise.all([synced, closed])
  assert.deepEqual(ended, ['sync', 'close'])
})

test('a full disk takes what fits and says ENOSPC, and takes more when there is room', async () => {
  const files = await disk({ capacityBytes: 10 })
  const file = await create(files, '/d/a', '12345678')
  await rejectsWith('ENOSPC', file.write(bytes('abcd'), 8))
  assert.equal(text(files, '/d/a'), '12345678ab')
  assert.equal(files.usedBytes, 10)
  await file.write(bytes('X'), 0)
  await file.truncate(8)
  const other = await create(files, '/d/b', 'zz')
  await rejectsWith('ENOSPC', file.write(bytes('a'), 8))
  await files.remove('/d/b')
  await rejectsWith('ENOSPC', file.write(bytes('a'), 8))
  await other.close()
  await file.write(bytes('a'), 8)
  files.capacityBytes = 5
  await rejectsWith('ENOSPC', file.write(bytes('b'), 9))
  files.capacityBytes = 20
  await file.write(bytes('b'), 9)
  assert.equal(files.powerLoss().capacityBytes, 20)
})

test('the bytes of a write are those that the buffer held when it took effect, whatever becomes of it', async () => {
  const files = await disk()
  const file = await create(files, '/d/a', '')
  const buffer = bytes('abc')
  await file.write(buffer, 0)
  buffer.fill(0)
  await file.sync()
  assert.equal(text(files, '/d/a'), 'abc')
  assert.equal(text(files.powerLoss(), '/d/a'), 'abc')
})

test('others run while an operation is under way, if the disk was told to pause', async () => {
  let pauses = 0
  const files = new FaultyFiles({
    pause: () => {
      pauses++
      return new Promise((resolve) => setImmediate(resolve))
    },
  })
  await files.makeDirectory('/d')
  const file = await files.open('/d/a', 'create')
  const written = file.write(bytes('abc'), 0)
  assert.equal(text(files, '/d/a'), '')
  await written
  assert.equal(text(files, '/d/a'), 'abc')
  assert.equal(pauses, 3)
})

test('a test may edit, put and take away stored files, and that is durable and not counted', async () => {
  const files = await disk()
  const before = files.operations
  files.putFile('/d/a', bytes('abc'))
  files.patch('/d/a', 1, bytes('XYZ'))
  assert.equal(text(files.powerLoss(), '/d/a'), 'aXYZ')
  files.putFile('/d/b', files.readFile('/d/a'))
  files.deleteFile('/d/a')
  assert.deepEqual(await contents(files.powerLoss()), { b: 'aXYZ' })
  assert.equal(files.operations, before)
  await create(files, '/d/c', 'ccc')
  await files.rename('/d/c', '/d/b')
  files.settle()
  assert.deepEqual(await contents(files.powerLoss()), { b: 'ccc' })
})

async function disk(options: { capacityBytes?: number } = {}): Promise<FaultyFiles> {
  const files = new FaultyFiles(options)
  await files.makeDirectory('/d')
  return files
}

/** A file with a durable name, and with content that is not. */
async function create(files: FaultyFiles, path: string, content: string): Promise<DataFile> {
  const file = await createUnsynced(files, path, content)
  await files.syncDirectory(dirname(path))
  return file
}

async function createUnsynced(files: FaultyFiles, path: string, content: string): Promise<DataFile> {
  const file = await files.open(path, 'create')
  await file.write(bytes(content), 0)
  return file
}

/** Of all files in /d. */
async function contents(files: FaultyFiles): Promise<Record<string, string>> {
  const names = await files.list('/d')
  return Object.fromEntries(names.map((name) => [name, text(files, `/d/${name}`)]))
}

function text(files: FaultyFiles, path: string): string {
  return Buffer.from(files.readFile(path)).toString('latin1')
}

function bytes(content: string): Buffer {
  return Buffer.from(content, 'latin1')
}

async function rejectsWith(code: string, promise: Promise<unknown>): Promise<void> {
  await assert.rejects(promise, (error) => systemCode(error) === code || assert.fail(`${code} expected, got ${error}`))
}
