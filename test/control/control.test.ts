/**
 * The control socket, both ends over a real one: what is asked and answered, how long a pin lasts, and what is left of a
 * server that is gone.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import {
  askCertificate,
  askCompaction,
  askInfo,
  askPin,
  askRenewal,
  ControlError,
} from '../../src/control/control-client.ts'
import { type ControlHost, type ControlServer, startControlServer } from '../../src/control/control-server.ts'
import type { TlsStatus } from '../../src/tls/status.ts'
import { StorageError } from '../../storage-engine/index.ts'

const root = mkdtempSync(join(tmpdir(), 'sser-control-'))
after(() => rmSync(root, { recursive: true }))

let folders = 0

function newFolder(): string {
  folders += 1
  const folder = join(root, String(folders))
  mkdirSync(folder)
  return folder
}

/** A log that only remembers what was asked of it. */
class AskedLog implements ControlHost {
  pins = 0
  #onRelease: () => void = () => undefined
  failure: StorageError | undefined
  isCompacting = true

  statistics(): ReturnType<ControlHost['statistics']> {
    const compaction = { runs: 1, bytesRead: 2, bytesWritten: 3, isRunning: false, lastDurationMs: 4, deadShare: 0.5 }
    const known = {
      segments: 2,
      bytes: 300,
      bytesOnDisk: 400,
      quotaBytes: 1000,
      records: 5,
      damages: 0,
      pendingBytes: 6,
      cachedBytes: 7,
    }
    return { ...known, compaction: this.isCompacting ? compaction : undefined }
  }

  async pin(): ReturnType<ControlHost['pin']> {
    if (this.failure !== undefined) throw this.failure
    this.pins += 1
    return {
      identity: Uint8Array.from([1, 2, 3]),
      segments: [{ name: 'one', sizeBytes: 10 }],
      sidecars: ['two'],
      tail: { name: 'three', header: Buffer.from([0, 255]) },
      manifest: { name: 'four', bytes: Buffer.from([7]) },
      release: () => {
        this.pins -= 1
        this.#onRelease()
      },
    }
  }

  released(): Promise<void> {
    return new Promise((resolve) => {
      this.#onRelease = resolve
    })
  }

  async compact(onProgress?: Parameters<ControlHost['compact']>[0]): ReturnType<ControlHost['compact']> {
    onProgress?.({ runs: 1, bytesRead: 10, bytesWritten: 5 })
    return { runs: 2, bytesRead: 20, bytesWritten: 10 }
  }
}

async function serveLog(folder: string, log: ControlHost): Promise<ControlServer> {
  const server = await startControlServer(folder)
  server.serveLog(log)
  return server
}

async function rejectsWith(code: string, work: Promise<unknown>): Promise<void> {
  await assert.rejects(work, (error) => error instanceof ControlError && error.code === code)
}

test('the log is told about, pinned and compacted, by a socket that only its owner may use', async () => {
  const folder = newFolder()
  const log = new AskedLog()
  const server = await serveLog(folder, log)
  assert.equal(statSync(join(folder, 'control.sock')).mode & 0o777, 0o600)
  const info = await askInfo(folder)
  assert.equal(info.pid, process.pid)
  assert.deepEqual(info.statistics, log.statistics())
  const pin = await askPin(folder)
  assert.equal(log.pins, 1)
  assert.deepEqual(pin.pinned.segments, [{ name: 'one', sizeBytes: 10 }])
  assert.deepEqual([...pin.pinned.identity], [1, 2, 3])
  assert.deepEqual([...pin.pinned.tail.header], [0, 255])
  assert.deepEqual([...(pin.pinned.manifest?.bytes ?? [])], [7])
  assert.equal(pin.isHeld, true)
  const released = log.released()
  pin.release()
  await released
  assert.equal(log.pins, 0)
  const progress: number[] = []
  const report = await askCompaction(folder, ({ runs }) => progress.push(runs))
  assert.deepEqual([report.runs, progress], [2, [1]])
  await server.close()
  assert.equal(existsSync(join(folder, 'control.sock')), false)
})

test('a pin ends when its connection is cut, and one that the server ends is not held', async () => {
  const folder = newFolder()
  const log = new AskedLog()
  const server = await serveLog(folder, log)
  const socket = net.connect(join(folder, 'control.sock'))
  socket.write('{"command":"pin"}\n')
  await once(socket, 'data')
  assert.equal(log.pins, 1)
  const cut = log.released()
  socket.destroy()
  await cut
  const pin = await askPin(folder)
  const ended = log.released()
  await server.close()
  await ended
  while (pin.isHeld) await new Promise((resolve) => setImmediate(resolve))
  assert.equal(log.pins, 0)
})

test('a server whose socket cannot be removed ends its connections all the same', async () => {
  const folder = newFolder()
  const log = new AskedLog()
  const server = await serveLog(folder, log)
  const pin = await askPin(folder)
  rmSync(join(folder, 'control.sock'))
  mkdirSync(join(folder, 'control.sock'))
  const ended = log.released()
  await server.close()
  await ended
  while (pin.isHeld) await new Promise((resolve) => setImmediate(resolve))
  assert.equal(log.pins, 0)
})

test('while the log is still read, certificates are told of and ordered, and commands on the log are to come again', async () => {
  const folder = newFolder()
  const status: TlsStatus = { certificate: undefined, order: undefined }
  const server = await startControlServer(folder, {
    status: async () => status,
    renew: async () => ({ kind: 'ordered' }),
  })
  assert.equal((await askCertificate(folder)).pid, process.pid)
  assert.deepEqual(await askRenewal(folder), { kind: 'ordered' })
  for (const ask of [askInfo, askPin, (of: string) => askCompaction(of, () => undefined)]) {
    await assert.rejects(ask(folder), { code: 'BUSY', message: /still reads its log.*Try again/ })
  }
  server.serveLog(new AskedLog())
  assert.equal((await askInfo(folder)).pid, process.pid)
  await server.close()
})

test('no more than four pin the log at once, and the next one is told so', async () => {
  const folder = newFolder()
  const log = new AskedLog()
  const server = await serveLog(folder, log)
  const pins = [await askPin(folder), await askPin(folder), await askPin(folder), await askPin(folder)]
  await rejectsWith('BUSY', askPin(folder))
  const released = log.released()
  pins[0]?.release()
  await released
  const next = await askPin(folder)
  for (const pin of [...pins, next]) pin.release()
  await server.close()
})

test('what a command fails with is its answer, and an unknown one is refused', async () => {
  const folder = newFolder()
  const log = new AskedLog()
  log.failure = new StorageError('STORAGE_FAILED', 'The disk has failed.')
  log.isCompacting = false
  const server = await serveLog(folder, log)
  await rejectsWith('STORAGE_FAILED', askPin(folder))
  await rejectsWith(
    'OFF',
    askCompaction(folder, () => undefined),
  )
  for (const line of ['{"command":"format"}\n', 'nonsense\n', `${'x'.repeat(2000)}`]) {
    const socket = net.connect(join(folder, 'control.sock')).setEncoding('utf8')
    socket.write(line)
    const [answer] = await once(socket, 'data')
    assert.match(String(answer), /UNKNOWN_COMMAND/)
    socket.destroy()
  }
  await server.close()
})

test('the socket of a dead server is told apart from one that answers, and is replaced', async () => {
  const folder = newFolder()
  await rejectsWith('ABSENT', askInfo(folder))
  // What kill -9 leaves: a name that nobody listens behind.
  writeFileSync(join(folder, 'control.sock'), '')
  await rejectsWith('ABSENT', askInfo(folder))
  const server = await serveLog(folder, new AskedLog())
  assert.equal((await askInfo(folder)).pid, process.pid)
  await server.close()
})

test('a folder whose path has no room in the address of a socket is reached all the same', {
  skip: process.platform !== 'linux' && 'only Linux knows a way around it',
}, async () => {
  const folder = join(newFolder(), 'x'.repeat(100), 'y'.repeat(100))
  mkdirSync(folder, { recursive: true })
  const server = await serveLog(folder, new AskedLog())
  assert.equal((await askInfo(folder)).pid, process.pid)
  await server.close()
  assert.equal(existsSync(join(folder, 'control.sock')), false)
})
