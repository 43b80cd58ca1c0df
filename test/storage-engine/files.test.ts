/**
 * What every implementation of `Files` has to do, run over each of them. What only the disk can do (symbolic links,
 * modes, other kinds of files) stands below.
 */

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { DiskFiles } from '../../storage-engine/disk-files.ts'
import { systemCode } from '../../storage-engine/errors.ts'
import { FaultyFiles } from '../../storage-engine/faulty-files.ts'
import type { DataFile, Files } from '../../storage-engine/files.ts'
import { MemoryFiles } from '../../storage-engine/memory-files.ts'

const MIB = 2 ** 20

filesSuite('disk', async (use) => {
  const directory = mkdtempSync(join(tmpdir(), 'sser-files-'))
  try {
    await use(new DiskFiles(), directory)
  } finally {
    rmSync(directory, { recursive: true })
  }
})

for (const [name, make] of [
  ['memory', () => new MemoryFiles()],
  ['simulated disk without faults', () => new FaultyFiles()],
] as const) {
  filesSuite(name, async (use) => {
    const files = make()
    await files.makeDirectory('/data')
    await use(files, '/data')
  })
}

function filesSuite(
  name: string,
  withFiles: (use: (files: Files, directory: string) => Promise<void>) => Promise<void>,
): void {
  const check = (title: string, use: (files: Files, directory: string) => Promise<void>) =>
    test(title, () => withFiles(use))

  describe(name, () => {
    check('what was written is read, wherever it lies', async (files, directory) => {
      const file = await files.open(join(directory, 'a'), 'create')
      await file.write(bytes('hello'), 0)
      await file.write(bytes('world'), 10)
      assert.equal(file.sizeBytes, 15)
      assert.deepEqual(await content(file), bytes('hello\0\0\0\0\0world'))
      await file.write(bytes('LO, W'), 3)
      assert.equal(file.sizeBytes, 15)
      assert.deepEqual(await content(file), bytes('helLO, W\0\0world'))
      await file.sync()
      await file.close()
    })

    check('a read takes what there is, and nothing behind the end', async (files, directory) => {
      const file = await files.open(join(directory, 'a'), 'create')
      await file.write(bytes('abc'), 0)
      const target = new Uint8Array(5).fill(7)
      assert.equal(await file.read(target, 1), 2)
      assert.deepEqual([...target], [98, 99, 7, 7, 7])
      assert.equal(await file.read(target, 3), 0)
      assert.equal(await file.read(target, 1000), 0)
      assert.equal(await file.read(new Uint8Array(0), 0), 0)
      await file.close()
    })

    check('an empty write changes nothing, behind the end too', async (files, directory) => {
      const file = await files.open(join(directory, 'a'), 'create')
      await file.write(new Uint8Array(0), 100)
      assert.equal(file.sizeBytes, 0)
      assert.equal(await file.read(new Uint8Array(1), 0), 0)
      await file.close()
    })

    check('bytes over the edges of a mebibyte come back as they were', async (files, directory) => {
      const file = await files.open(join(directory, 'a'), 'create')
      const written = randomBytes(3 * MIB + 17)
      await file.write(written.subarray(0, 5000), 0)
      await file.write(written.subarray(5000, MIB + 1), 5000)
      await file.write(written.subarray(MIB + 1), MIB + 1)
      assert.ok(written.equals(await content(file)))
      const middle = new Uint8Array(MIB + 2)
      assert.equal(await file.read(middle, MIB - 1), MIB + 2)
      assert.ok(written.subarray(MIB - 1, 2 * MIB + 1).equals(middle))
      await file.close()
    })

    check('what a truncate cut off is zeros when the file grows again', async (files, directory) => {
      const file = await files.open(join(directory, 'a'), 'create')
      await file.write(bytes('abcdef'), 0)
      await file.truncate(2)
      assert.equal(file.sizeBytes, 2)
      await file.truncate(4)
      assert.deepEqual(await content(file), bytes('ab\0\0'))
      await file.write(bytes('z'), 5)
      assert.deepEqual(await content(file), bytes('ab\0\0\0z'))
      await file.truncate(0)
      assert.equal(file.sizeBytes, 0)
      assert.equal(await file.read(new Uint8Array(1), 0), 0)
      await file.close()
    })

    check('a name is created once, and opened only when it is there', async (files, directory) => {
      const path = join(directory, 'a')
      await rejectsWith('ENOENT', files.open(path, 'read'))
      await rejectsWith('ENOENT', files.open(path, 'update'))
      await (await files.open(path, 'create')).close()
      await rejectsWith('EEXIST', files.open(path, 'create'))
      await rejectsWith('ENOENT', files.open(join(directory, 'missing', 'a'), 'create'))
      await rejectsWith('ENOTDIR', files.open(join(path, 'b'), 'create'))
    })

    check('a file opened to be read refuses writes', async (files, directory) => {
      const path = join(directory, 'a')
      const writer = await files.open(path, 'create')
      await writer.write(bytes('abc'), 0)
      const reader = await files.open(path, 'read')
      assert.equal(reader.sizeBytes, 3)
      await rejectsWith('EBADF', reader.write(bytes('x'), 0))
      await rejectsWith('EINVAL', reader.truncate(0))
      assert.deepEqual(await content(reader), bytes('abc'))
      await reader.close()
      await writer.close()
    })

    check(
      'a second handle sees what the first one writes, but keeps the size that it knew',
      async (files, directory) => {
        const path = join(directory, 'a')
        const writer = await files.open(path, 'create')
        const other = await files.open(path, 'update')
        await writer.write(bytes('abc'), 0)
        assert.equal(other.sizeBytes, 0)
        const target = new Uint8Array(3)
        assert.equal(await other.read(target, 0), 3)
        assert.deepEqual(target, new Uint8Array(bytes('abc')))
        await other.write(bytes('x'), 0)
        assert.equal(other.sizeBytes, 1)
        assert.deepEqual(await content(writer), bytes('xbc'))
        await writer.close()
        await other.close()
      },
    )

    check('a closed file refuses everything but being closed again', async (files, directory) => {
      const file = await files.open(join(directory, 'a'), 'create')
      await file.close()
      await file.close()
      await rejectsWith('EBADF', file.write(bytes('x'), 0))
      await rejectsWith('EBADF', file.read(new Uint8Array(1), 0))
      await rejectsWith('EBADF', file.truncate(0))
      await rejectsWith('EBADF', file.sync())
    })

    check('a close lets what is under way end first', async (files, directory) => {
      const file = await files.open(join(directory, 'a'), 'create')
      const ended: string[] = []
      // Large, so that a close that did not wait would be the first to end.
      const written = file.write(new Uint8Array(32 * MIB), 0).then(() => ended.push('write'))
      const closed = file.close().then(() => ended.push('close'))
      await Promise.all([written, closed])
      assert.deepEqual(ended, ['write', 'close'])
    })

    check('a hole reads as zeros, whatever the target held', async (files, directory) => {
      const file = await files.open(join(directory, 'a'), 'create')
      await file.write(bytes('ab'), 0)
      await file.write(bytes('z'), 3 * MIB)
      for (const position of [2, 4090, 2 * MIB - 5]) {
        const target = new Uint8Array(5000).fill(7)
        assert.equal(await file.read(target, position), 5000)
        assert.ok(target.every((byte) => byte === 0))
      }
      await file.close()
    })

    check('a listing is sorted and names everything in the folder, by name only', async (files, directory) => {
      for (const name of ['b', 'a', '10', '9', 'é']) await (await files.open(join(directory, name), 'create')).close()
      await files.makeDirectory(join(directory, 'aa', 'deep'))
      assert.deepEqual(await files.list(directory), ['10', '9', 'a', 'aa', 'b', 'é'])
      assert.deepEqual(await files.list(join(directory, 'aa')), ['deep'])
      await rejectsWith('ENOENT', files.list(join(directory, 'missing')))
      await rejectsWith('ENOTDIR', files.list(join(directory, 'a')))
    })

    check('a folder is made with all above it, and again without harm', async (files, directory) => {
      const deep = join(directory, 'x', 'y', 'z')
      await files.makeDirectory(deep)
      await files.makeDirectory(deep)
      await files.syncDirectory(deep)
      assert.deepEqual(await files.list(join(directory, 'x', 'y')), ['z'])
      await (await files.open(join(directory, 'file'), 'create')).close()
      await rejectsWith('EEXIST', files.makeDirectory(join(directory, 'file')))
      await rejectsWith('ENOTDIR', files.makeDirectory(join(directory, 'file', 'below')))
      await rejectsWith('ENOENT', files.syncDirectory(join(directory, 'missing')))
    })

    check('a rename replaces what stood there, and open handles keep what they had', async (files, directory) => {
      const [from, to] = [join(directory, 'from'), join(directory, 'to')]
      const old = await files.open(to, 'create')
      await old.write(bytes('old'), 0)
      const fresh = await files.open(from, 'create')
      await fresh.write(bytes('new'), 0)
      await files.rename(from, to)
      assert.deepEqual(await files.list(directory), ['to'])
      assert.deepEqual(await content(old), bytes('old'))
      await fresh.write(bytes('!'), 3)
      const opened = await files.open(to, 'read')
      assert.deepEqual(await content(opened), bytes('new!'))
      for (const file of [old, fresh, opened]) await file.close()
      await files.rename(to, to)
      assert.deepEqual(await files.list(directory), ['to'])
      await rejectsWith('ENOENT', files.rename(from, to))
      await rejectsWith('ENOENT', files.rename(to, join(directory, 'missing', 'to')))
    })

    check('a removed file is gone by name, and there for who has it open', async (files, directory) => {
      const path = join(directory, 'a')
      const file = await files.open(path, 'create')
      await file.write(bytes('abc'), 0)
      await files.remove(path)
      assert.deepEqual(await files.list(directory), [])
      await rejectsWith('ENOENT', files.open(path, 'read'))
      await rejectsWith('ENOENT', files.remove(path))
      assert.deepEqual(await content(file), bytes('abc'))
      await (await files.open(path, 'create')).close()
      assert.deepEqual(await content(file), bytes('abc'))
      await file.close()
    })

    check('a folder is not taken for a file', async (files, directory) => {
      const folder = join(directory, 'folder')
      await files.makeDirectory(folder)
      await rejectsWith('EISDIR', files.open(folder, 'read'))
      await rejectsWith('EISDIR', files.open(folder, 'update'))
      await rejectsWith('EEXIST', files.open(folder, 'create'))
      await rejectsWith('EISDIR', files.remove(folder))
      await (await files.open(join(directory, 'a'), 'create')).close()
      await rejectsWith('EISDIR', files.rename(join(directory, 'a'), folder))
    })
  })
}

test('the disk: a symbolic link, a FIFO and a device are refused, in words', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sser-files-'))
  try {
    const files = new DiskFiles()
    writeFileSync(join(directory, 'target'), 'x')
    symlinkSync(join(directory, 'target'), join(directory, 'link'))
    execFileSync('mkfifo', [join(directory, 'fifo')])
    for (const mode of ['read', 'update'] as const) {
      await assert.rejects(files.open(join(directory, 'link'), mode), /ELOOP: a symbolic link.*link'/)
      await assert.rejects(files.open(join(directory, 'fifo'), mode), /EINVAL: not a regular file.*fifo'/)
    }
    await assert.rejects(files.open('/dev/null', 'update'), /EINVAL: not a regular file/)
    await rejectsWith('EEXIST', files.open(join(directory, 'link'), 'create'))
  } finally {
    rmSync(directory, { recursive: true })
  }
})

test('the disk: files are for their owner only, and so are folders', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sser-files-'))
  try {
    const files = new DiskFiles()
    await files.makeDirectory(join(directory, 'x', 'y'))
    await (await files.open(join(directory, 'x', 'y', 'a'), 'create')).close()
    assert.equal(statSync(join(directory, 'x')).mode & 0o777, 0o700)
    assert.equal(statSync(join(directory, 'x', 'y')).mode & 0o777, 0o700)
    assert.equal(statSync(join(directory, 'x', 'y', 'a')).mode & 0o777, 0o600)
    mkdirSync(join(directory, 'theirs'), { mode: 0o755 })
    await files.makeDirectory(join(directory, 'theirs'))
    assert.equal(statSync(join(directory, 'theirs')).mode & 0o777, 0o755)
  } finally {
    rmSync(directory, { recursive: true })
  }
})

test('the disk: an error on a descriptor says which file it was', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sser-files-'))
  try {
    const path = join(directory, 'a')
    const files = new DiskFiles()
    await (await files.open(path, 'create')).close()
    const reader = await files.open(path, 'read')
    await assert.rejects(reader.write(bytes('x'), 0), { code: 'EBADF', path })
    await reader.close()
  } finally {
    rmSync(directory, { recursive: true })
  }
})

test('memory: appending to a file copies nothing that is already there', async () => {
  const files = new MemoryFiles()
  const file = await files.open('/a', 'create')
  const block = new Uint8Array(64 * 1024)
  await file.write(block, 64 * MIB)
  const before = process.memoryUsage().arrayBuffers
  for (let at = 0; at < 8 * MIB; at += block.length) await file.write(block, 64 * MIB + block.length + at)
  // Copying the whole file even once would take 64 MiB; what is allocated is what was appended, and one chunk.
  assert.ok(process.memoryUsage().arrayBuffers - before <= 10 * MIB)
  await file.close()
})

test('memory: a small file takes little, and a removed one nothing once its last handle is closed', () => {
  // In a process of its own, because the garbage collector has to be called.
  const script = `
    const { MemoryFiles } = await import(${JSON.stringify(new URL('../../storage-engine/memory-files.ts', import.meta.url).href)})
    const used = () => { gc(); return process.memoryUsage().arrayBuffers }
    const settle = () => new Promise((resolve) => setImmediate(resolve))
    const files = new MemoryFiles()
    const start = used()
    for (let i = 0; i < 100; i++) await (await files.open('/' + i, 'create')).write(new Uint8Array(100), 0)
    await settle()
    if (used() - start > 100 * 8192) throw new Error('100 small files take ' + (used() - start))
    const file = await files.open('/big', 'create')
    for (let i = 0; i < 32; i++) await file.write(new Uint8Array(1 << 20), i << 20)
    await files.remove('/big')
    await settle()
    if (used() - start < 32 << 20) throw new Error('freed under an open handle')
    await file.close()
    await settle()
    used()
    await settle()
    if (used() - start > 8 << 20) throw new Error('not freed: ' + (used() - start))
    globalThis.kept = [files, file]
  `
  execFileSync(process.execPath, ['--expose-gc', '--import', 'tsx', '--input-type=module', '-e', script], {
    cwd: new URL('../..', import.meta.url).pathname,
    stdio: ['ignore', 'inherit', 'pipe'],
  })
})

function bytes(text: string): Buffer {
  return Buffer.from(text, 'latin1')
}

/** All of the file as it is now, found by reading to its end. */
async function content(file: DataFile): Promise<Buffer> {
  const parts: Buffer[] = []
  for (let position = 0; ; ) {
    const part = Buffer.alloc(MIB)
    const length = await file.read(part, position)
    if (length === 0) return Buffer.concat(parts)
    parts.push(part.subarray(0, length))
    position += length
  }
}

async function rejectsWith(code: string, promise: Promise<unknown>): Promise<void> {
  await assert.rejects(promise, (error) => systemCode(error) === code || assert.fail(`${code} expected, got ${error}`))
}
