/**
 * The commands on the log of a real server that is publishing, each in a process of its own.
 */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Api } from '../support/api.ts'
import { builtMain, ServerProcess } from '../support/server-process.ts'
import { SseClient } from '../support/sse-client.ts'
import { until } from '../support/until.ts'
import { newFolder } from './log-fixture.ts'

const SETTINGS = { log: { segmentBytes: '1MiB', maxBytes: '64MiB' } }

function sser(server: ServerProcess, ...args: string[]) {
  return spawnSync(process.execPath, [builtMain(), 'log', ...args], {
    encoding: 'utf8',
    env: { PATH: process.env['PATH'], SSER_STORAGE_DIR: server.directory },
  })
}

function idsIn(server: ServerProcess, directory: string): string[] {
  const dumped = sser(server, 'dump', '--no-payloads', '--directory', directory)
  assert.equal(dumped.status, 0, dumped.stderr)
  const lines = dumped.stdout.trimEnd().split('\n')
  return lines.map((line) => JSON.parse(line)).flatMap(({ kind, id }) => (kind === 'event' ? [id as string] : []))
}

test('row 53: a running server lets info, verify, compact and backup in, and keeps the others out', async () => {
  const server = await ServerProcess.start({ settings: SETTINGS })
  const api = new Api(server)
  try {
    assert.equal(statSync(join(server.directory, 'control.sock')).mode & 0o777, 0o600)
    const { id: topic } = await api.createTopic()
    for (let i = 0; i < 20; i += 1) await api.publish(topic, { message: `event ${i}` })
    const info = sser(server, 'info', '--json')
    assert.equal(info.status, 0, info.stderr)
    assert.equal(JSON.parse(info.stdout).server.pid, server.pid)
    assert.equal(sser(server, 'verify').status, 0)
    const compacted = sser(server, 'compact', '--json')
    assert.equal(compacted.status, 0, compacted.stderr)
    assert.equal(typeof JSON.parse(compacted.stdout).runs, 'number')
    for (const args of [['dump'], ['repair', '--yes']]) {
      const refused = sser(server, ...args)
      assert.deepEqual([refused.status, refused.stdout], [75, ''])
      assert.match(refused.stderr, new RegExp(`in use by process ${server.pid} on this host`))
    }
    await server.kill('SIGKILL')
    assert.ok(existsSync(join(server.directory, 'control.sock')), 'what a killed server leaves')
    assert.equal(sser(server, 'info').status, 0)
    await server.restart()
    assert.equal(JSON.parse(sser(server, 'info', '--json').stdout).server.pid, server.pid)
    await server.kill('SIGTERM')
    assert.ok(!existsSync(join(server.directory, 'control.sock')))
  } finally {
    api.close()
    await server.close()
  }
})

test('row 56: backups while a server publishes are prefixes that hold all that was acknowledged', async () => {
  const server = await ServerProcess.start({ settings: SETTINGS })
  const api = new Api(server)
  const [backup, data] = [newFolder(), newFolder()]
  try {
    const topics = [await api.createTopic(), await api.createTopic()]
    const acknowledged: string[] = []
    let isThrough = false
    const publishing = topics.map(async ({ id }) => {
      for (let i = 0; !isThrough; i += 1)
        acknowledged.push(await api.publish(id, { message: `${i} ${'x'.repeat(10_000)}` }))
    })
    for (let round = 0; round < 3; round += 1) {
      await until('so many events are acknowledged', () => acknowledged.length >= (round + 1) * 200)
      const before = [...acknowledged]
      const command = spawn(process.execPath, [builtMain(), 'log', 'backup', backup, '--verify'], {
        stdio: 'inherit',
        env: { PATH: process.env['PATH'], SSER_STORAGE_DIR: server.directory },
      })
      const [code] = await once(command, 'exit')
      assert.equal(code, 0)
      rmSync(data, { recursive: true, force: true })
      mkdirSync(data)
      const restored = sser(server, 'restore', backup, '--directory', data)
      assert.equal(restored.status, 0, restored.stderr)
      const held = new Set(idsIn(server, data))
      assert.deepEqual(
        before.filter((id) => !held.has(id)),
        [],
      )
    }
    isThrough = true
    await Promise.all(publishing)
    await server.kill('SIGTERM')
    const [all, held] = [idsIn(server, server.directory), idsIn(server, data)]
    assert.deepEqual(held, all.slice(0, held.length), 'a prefix')
  } finally {
    api.close()
    await server.close()
  }
})

test('a backup that is killed leaves no pin, and the next one is whole', async () => {
  const server = await ServerProcess.start({ settings: SETTINGS })
  const api = new Api(server)
  const backup = newFolder()
  try {
    const { id: topic } = await api.createTopic()
    for (let i = 0; i < 50; i += 1) await api.publish(topic, { message: 'x'.repeat(50_000) })
    for (let round = 0; round < 6; round += 1) {
      const command = spawn(process.execPath, [builtMain(), 'log', 'backup', backup], {
        stdio: 'ignore',
        env: { PATH: process.env['PATH'], SSER_STORAGE_DIR: server.directory },
      })
      const exited = once(command, 'exit')
      const hasBegun = () => existsSync(backup) && readdirSync(backup).length > 1
      while (!hasBegun() && command.exitCode === null) await new Promise((resolve) => setImmediate(resolve))
      command.kill('SIGKILL')
      await exited
    }
    // More than may hold a pin at once were killed.
    const whole = sser(server, 'backup', backup, '--verify')
    assert.equal(whole.status, 0, whole.stderr)
  } finally {
    api.close()
    await server.close()
  }
})

test('row 84: after a restore a client that was ahead is told of a gap, and one that was not goes on', async () => {
  const data = newFolder()
  const backup = newFolder()
  mkdirSync(data, { mode: 0o700 })
  const server = await ServerProcess.start({ settings: SETTINGS, directory: data })
  const api = new Api(server)
  try {
    const { id: topic, token } = await api.createTopic()
    const kept: string[] = []
    for (let i = 0; i < 5; i += 1) kept.push(await api.publish(topic, { message: `kept ${i}` }))
    assert.equal(sser(server, 'backup', backup).status, 0)
    const lost: string[] = []
    for (let i = 0; i < 5; i += 1) lost.push(await api.publish(topic, { message: `lost ${i}` }))
    await server.kill('SIGTERM')
    for (const way of ['restore', 'copy']) {
      rmSync(join(data, 'log'), { recursive: true })
      if (way === 'copy') cpSync(backup, join(data, 'log'), { recursive: true })
      else assert.equal(sser(server, 'restore', backup).status, 0)
      await server.restart()
      const ahead = await SseClient.connect(api.eventsUrl(topic), { token, lastEventId: lost[2] })
      const level = await SseClient.connect(api.eventsUrl(topic), { token, lastEventId: kept[4] })
      const behind = await SseClient.connect(api.eventsUrl(topic), { token, lastEventId: kept[1] })
      const next = await api.publish(topic, { message: 'next' })
      assert.ok(![...kept, ...lost].includes(next), 'no number twice')
      for (const client of [ahead, level, behind]) await client.until(({ events }) => events.at(-1)?.data === 'next')
      assert.deepEqual(
        ahead.events.map(({ type, data: text }) => type ?? text),
        ['sser.gap', 'next'],
        way,
      )
      assert.deepEqual(
        level.events.map(({ data: text }) => text),
        ['next'],
        way,
      )
      assert.deepEqual(
        behind.events.map(({ data: text }) => text),
        ['kept 2', 'kept 3', 'kept 4', 'next'],
        way,
      )
      for (const client of [ahead, level, behind]) await client.close()
      await server.kill('SIGTERM')
    }
  } finally {
    api.close()
    await server.close()
  }
})
