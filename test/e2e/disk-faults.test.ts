/** A disk that is full, and one that fails, under a server that others go on using. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { type Answer, Api } from '../support/api.ts'
import { hasAttached, missingProgram, missingTmpfs } from '../support/programs.ts'
import { ServerProcess } from '../support/server-process.ts'
import { SseClient } from '../support/sse-client.ts'

const TIMEOUT_MS = 180_000
const POLL_MS = 10

function publishTo(api: Api, topicId: string, message: string): Promise<Answer> {
  return api.call('POST', `/api/v1/pubsubs/${topicId}/events`, { event: { message } })
}

test('on a full disk publishers get 507, topics can be deleted, and service comes back by itself with room', {
  timeout: TIMEOUT_MS,
  skip: missingTmpfs(),
}, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sser-small-disk-'))
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=2m,mode=0700', 'tmpfs', directory], {
    encoding: 'utf8',
  })
  if (mounted.status !== 0) {
    rmdirSync(directory)
    t.skip(`a small tmpfs cannot be mounted here: ${mounted.stderr.trim()}`)
    return
  }
  let server: ServerProcess | undefined
  let api: Api | undefined
  try {
    const settings = { log: { segmentBytes: '128KiB' } }
    server = await ServerProcess.start({ settings, directory })
    api = new Api(server)
    const [topic, victim] = await Promise.all([api.createTopic(), api.createTopic()])
    const watcher = await SseClient.connect(api.eventsUrl(topic.id), { token: topic.token })
    const acknowledged: string[] = []
    // The disk is shared with something else, which can give room back.
    const other = join(directory, 'of-something-else')
    writeFileSync(other, Buffer.alloc(512 * 1024))
    const message = 'x'.repeat(8_000)
    let answer: Answer
    do {
      answer = await publishTo(api, topic.id, `${acknowledged.length} ${message}`)
      if (answer.status === 201) acknowledged.push(`${acknowledged.length} ${message}`)
    } while (answer.status === 201)
    assert.equal(answer.status, 507, answer.text)
    assert.equal(JSON.parse(answer.text).error.code, 507)
    assert(acknowledged.length > 10)

    assert.equal((await fetch(`${server.url}/healthz`)).status, 200)
    await api.deleteTopic(victim.id)
    assert.equal((await publishTo(api, victim.id, 'x')).status, 404)
    await watcher.until(({ events }) => events.length >= acknowledged.length)
    const memory = await api.createTopic(false)
    assert.equal((await publishTo(api, memory.id, 'needs no disk')).status, 201)

    rmSync(other)
    do {
      await delay(POLL_MS)
      answer = await publishTo(api, topic.id, 'there is room again')
    } while (answer.status === 507)
    assert.equal(answer.status, 201, answer.text)
    acknowledged.push('there is room again')
    await watcher.until(({ events }) => events.length >= acknowledged.length)
    assert.deepEqual(
      watcher.events.map(({ data }) => data),
      acknowledged,
    )
    await watcher.close()

    await server.kill('SIGKILL')
    await server.restart()
    const reader = await SseClient.connect(api.eventsUrl(topic.id, '?since=earliest'), { token: topic.token })
    await reader.until(({ events }) => events.length >= acknowledged.length)
    assert.deepEqual(
      reader.events.map(({ data }) => data),
      acknowledged,
    )
    await reader.close()
  } finally {
    api?.close()
    await server?.close()
    spawnSync('umount', [directory])
    rmSync(directory, { recursive: true, force: true })
  }
})

test('a failed fdatasync is final: /readyz turns red and says why, publishers get 503, subscribers go on', {
  timeout: TIMEOUT_MS,
  skip: missingProgram('strace'),
}, async (t) => {
  const server = await ServerProcess.start()
  const api = new Api(server)
  let tracer: ChildProcess | undefined
  try {
    const { id, token } = await api.createTopic()
    const memory = await api.createTopic(false)
    await api.publish(id, { message: 'before' })
    const watcher = await SseClient.connect(api.eventsUrl(id), { token })
    const inMemory = await SseClient.connect(api.eventsUrl(memory.id), { token: memory.token })
    const inject = ['-e', 'trace=fdatasync', '-e', 'inject=fdatasync:error=EIO']
    tracer = spawn('strace', ['-f', '-o', '/dev/null', ...inject, '-p', String(server.pid)], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    const attached = await hasAttached(tracer)
    if (attached !== true) {
      t.skip(`strace may not attach here: ${attached}`)
      return
    }
    const failed = await publishTo(api, id, 'lost, and said so')
    assert.equal(failed.status, 503, failed.text)
    tracer.kill('SIGINT')
    // The disk is well again, and it is final all the same: what it has lost meanwhile nobody knows.
    const again = await publishTo(api, id, 'not taken either')
    assert.equal(again.status, 503, again.text)

    const ready = await fetch(`${server.url}/readyz`)
    assert.equal(ready.status, 503)
    const health = (await ready.json()) as { readonly status: string; readonly reason: string }
    assert.equal(health.status, 'failed')
    assert.match(health.reason, /sync/)
    assert.match(health.reason, /EIO/)
    assert.equal((await fetch(`${server.url}/healthz`)).status, 200)

    const reader = await SseClient.connect(api.eventsUrl(id, '?since=earliest'), { token })
    await reader.until(({ events }) => events.length >= 1)
    await api.publish(memory.id, { message: 'needs no disk' })
    await inMemory.until(({ events }) => events.length >= 1)
    assert(!watcher.isOver)
    assert.equal(watcher.events.length, 0, 'nothing is delivered that was not acknowledged')
    assert.deepEqual(
      reader.events.map(({ data }) => data),
      ['before'],
    )
    await Promise.all([reader.close(), watcher.close(), inMemory.close()])

    await server.kill('SIGTERM')
    await server.restart()
    assert.equal((await publishTo(api, id, 'after')).status, 201)
    const afterwards = await SseClient.connect(api.eventsUrl(id, '?since=earliest'), { token })
    await afterwards.until(({ events }) => events.at(-1)?.data === 'after')
    // What got a 503 may be there or not; what was acknowledged is.
    const data = afterwards.events.map((event) => event.data)
    assert.equal(data[0], 'before')
    assert(!data.includes('not taken either'))
    await afterwards.close()
  } finally {
    tracer?.kill('SIGKILL')
    api.close()
    await server.close()
  }
})
