/**
 * The power goes at any moment of a server's life: a real server under load writes down what it asks of the disk, and from
 * that are made, again and again, folders as the disk could hold them after a cut at some call. A server is started on
 * each. What had been answered or delivered by that call has to be there, and what had been taken away must not. The second
 * life begins on such a folder, so that recoveries are cut off as well.
 *
 * 12 cuts by default. More: `SSER_CUTS=1000`; SSER_SEED repeats the choices of a run, though not its timing; a folder that
 * failed is kept, and named.
 */
import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { startApp } from '../../src/app/app.ts'
import { loadConfig } from '../../src/config/config.ts'
import { createLogger } from '../../src/logger.ts'
import { Api } from '../support/api.ts'
import { Random } from '../support/random.ts'
import { type RecordedCall, RecordedDisk, readRecording } from '../support/recorded-disk.ts'
import { API_TOKEN, METRICS_TOKEN, ServerProcess } from '../support/server-process.ts'
import { SseClient } from '../support/sse-client.ts'
import { until } from '../support/until.ts'

const CUTS = Number(process.env['SSER_CUTS'] ?? 12)
const CUTS_OF_A_LIFE = 6
const TOPICS = 4
const PUBLISHERS = 4
const REQUESTS_OF_EACH = 30
const RECORDER = new URL('../support/recorded-calls.mjs', import.meta.url).href

/** Small files, so that a cut meets rolls, sidecars, compactions and checkpoints. */
const settings = {
  logging: { level: 'debug' },
  log: {
    segmentBytes: '64KiB',
    reserve: false,
    checkpointInterval: '1s',
    compaction: { interval: '1s', deadShare: 0.05 },
  },
}

test(`in ${CUTS} losses of power nothing is lost that was acknowledged or seen, and nothing comes back`, {
  timeout: 60_000 + CUTS * 10_000,
}, async (t) => {
  const seed = process.env['SSER_SEED']
  const random = new Random(seed === undefined ? undefined : Number(seed))
  t.diagnostic(`seed ${random.seed}`)
  const folder = mkdtempSync(join(tmpdir(), 'sser-power-'))
  const before = join(folder, 'before')
  mkdirSync(before, { mode: 0o700 })
  const life = new Life(random)
  let calls = 0
  for (let cuts = 0; cuts < CUTS; cuts += CUTS_OF_A_LIFE) {
    const recording = await life.live(folder, before)
    calls += recording.length
    const one = await cutAgainAndAgain(life, recording, folder, random)
    rmSync(before, { recursive: true })
    renameSync(one.left, before)
    life.cut(one.end)
  }
  rmSync(folder, { recursive: true })
  t.diagnostic(`${calls} calls, ${life.acknowledged} events acknowledged`)
})

interface Cut {
  /** The folder with what was left. */
  readonly left: string
  /** Where the recording ended. */
  readonly end: number
}

/** Resolves with one of the cuts, for the next life. */
async function cutAgainAndAgain(
  life: Life,
  recording: readonly RecordedCall[],
  folder: string,
  random: Random,
): Promise<Cut> {
  const places = Array.from({ length: CUTS_OF_A_LIFE }, () => placeIn(recording, random)).sort((a, b) => a - b)
  const disk = new RecordedDisk(join(folder, 'data'), join(folder, 'before'))
  const cuts: Cut[] = []
  let taken = 0
  for (const [i, place] of places.entries()) {
    for (; taken < place; taken += 1) disk.take(recording[taken] as RecordedCall)
    const cut = { left: join(folder, `left-${i}`), end: recording[place - 1]?.end ?? 0 }
    mkdirSync(cut.left, { mode: 0o700 })
    disk.leave(cut.left, random)
    const copy = join(folder, 'copy')
    cpSync(cut.left, copy, { recursive: true })
    const words = `cut before call ${place} of ${recording.length}: ${cut.left}`
    await assert.doesNotReject(life.check(copy, cut.end, random), words)
    rmSync(copy, { recursive: true })
    cuts.push(cut)
  }
  const one = random.pick(cuts)
  for (const { left } of cuts) if (left !== one.left) rmSync(left, { recursive: true })
  return one
}

/** Half of them around changes of names and the ends of syncs, where the order of things counts. */
function placeIn(recording: readonly RecordedCall[], random: Random): number {
  const place = random.int(recording.length + 1)
  if (random.chance(0.5)) return place
  const isTurn = ({ note }: RecordedCall) => ['rename', 'unlink', 'ftruncate', 'fsync', 'done'].includes(note.call)
  const found = recording.findIndex((call, i) => i >= place && isTurn(call))
  return found === -1 ? place : Math.min(recording.length, found + random.int(3))
}

interface Known {
  readonly id: string
  readonly message: string
  /** As long as this the recording was when it was known at the latest. */
  at: number
}

/** What is known of a topic from outside. */
class KnownTopic {
  readonly id: string
  readonly sent = new Set<string>()
  readonly lists: (readonly string[])[] = []
  madeAt: number
  events: Known[] = []
  /** Nothing up to it needs to be there any more … */
  emptiedThrough = ''
  /** … and nothing up to these may be. */
  emptied: Known[] = []
  isToGo = false
  goneAt: number | undefined

  constructor(id: string, madeAt: number) {
    this.id = id
    this.madeAt = madeAt
  }
}

class Life {
  acknowledged = 0
  readonly #random: Random
  readonly #topics: KnownTopic[] = []
  #recordedTo = ''
  #messages = 0

  constructor(random: Random) {
    this.#random = random
  }

  /** A server on a copy of `before`, under load until it has compacted, then killed. Resolves with all that it asked of the disk. */
  async live(folder: string, before: string): Promise<RecordedCall[]> {
    const directory = join(folder, 'data')
    cpSync(before, directory, { recursive: true })
    this.#recordedTo = join(folder, 'recording')
    writeFileSync(this.#recordedTo, '')
    const env = { RECORDED_FOLDER: directory, RECORDED_TO: this.#recordedTo }
    const server = await ServerProcess.start({ settings, directory, env, nodeArguments: ['--import', RECORDER] })
    const api = new Api(server)
    try {
      while (this.#there.length < TOPICS) this.#topics.push(new KnownTopic((await api.createTopic()).id, this.#now))
      const watched = this.#there.slice(1)
      const query = watched.map(({ id }) => `topic=${id}`).join('&')
      const watcher = await SseClient.connect(`${api.url}/api/v1/events?${query}&envelope=json&since=earliest`, {
        token: API_TOKEN,
        forgets: true,
        onBlock: ({ id, type, data }) => {
          if (id === undefined || data === undefined || type !== undefined) return
          const { topic, message } = JSON.parse(data)
          watched.find((one) => one.id === topic)?.events.push({ id, message, at: this.#now })
        },
      })
      await Promise.all(Array.from({ length: PUBLISHERS }, () => this.#publish(api)))
      const [first] = this.#there
      if (first !== undefined) await this.#delete(api, first)
      await until('a compaction', () => server.lines.some((line) => /Segments were compacted/.test(line)))
      watcher.cut()
      await server.kill('SIGKILL')
      return readRecording(this.#recordedTo)
    } finally {
      api.close()
      await server.close()
      rmSync(directory, { recursive: true, force: true })
    }
  }

  /** Starts a server on what a cut has left, when the recording ended there, and looks at what it shows. */
  async check(directory: string, end: number, random: Random): Promise<void> {
    let log = ''
    const destination = {
      write(line: string) {
        log += line
      },
    }
    const app = await startApp(configFor(directory), createLogger({ level: 'warn', destination, pretty: false }))
    const api = new Api({ url: `http://127.0.0.1:${app.address.port}`, apiToken: API_TOKEN })
    try {
      await app.ready
      assert.equal(log, '', 'a loss of power is nothing to be warned of')
      for (const topic of this.#topics) if (topic.madeAt <= end) await checkTopic(api, topic, end)
      const made = await api.createTopic()
      for (const { id, at } of this.#topics.flatMap(({ events }) => events)) {
        if (at <= end) assert(made.id > id, `${made.id} is new, and ${id} was there before`)
      }
      const one = random.pick(this.#topics)
      if (one.madeAt <= end && !one.isToGo) await api.publish(one.id, { message: 'it goes on' })
    } finally {
      api.close()
      await app.close()
    }
    assert.equal(log, '')
  }

  /** What came to be known behind that end of the recording is not known any more. */
  cut(end: number): void {
    for (const topic of this.#topics.splice(0)) {
      if (topic.madeAt > end) continue
      this.#topics.push(topic)
      topic.madeAt = 0
      if (topic.goneAt !== undefined) topic.goneAt = topic.goneAt <= end ? 0 : undefined
      topic.events = topic.events.filter(({ at }) => at <= end)
      topic.emptied = topic.emptied.filter(({ at }) => at <= end)
      for (const known of [...topic.events, ...topic.emptied]) known.at = 0
    }
  }

  get #now(): number {
    return statSync(this.#recordedTo).size
  }

  get #there(): readonly KnownTopic[] {
    return this.#topics.filter(({ isToGo }) => !isToGo)
  }

  async #publish(api: Api): Promise<void> {
    const random = this.#random
    for (let i = 0; i < REQUESTS_OF_EACH; i += 1) {
      const topic = random.pick(this.#there)
      if (random.chance(0.05)) await this.#empty(api, topic)
      const messages = Array.from({ length: 1 + random.int(12) }, () => this.#message())
      for (const message of messages) topic.sent.add(message)
      topic.lists.push(messages)
      const body = { events: messages.map((message) => ({ message })) }
      const { status, text } = await api.call('POST', `/api/v1/pubsubs/${topic.id}/events`, body)
      assert.equal(status, 201, text)
      const at = this.#now
      for (const [place, { id }] of JSON.parse(text).events.entries()) {
        topic.events.push({ id, message: messages[place] as string, at })
      }
      this.acknowledged += messages.length
    }
  }

  #message(): string {
    this.#messages += 1
    return `${this.#messages} ${'and more '.repeat(this.#random.int(this.#random.chance(0.1) ? 400 : 60))}`
  }

  async #empty(api: Api, topic: KnownTopic): Promise<void> {
    if (topic.events.length === 0) return
    const { id } = this.#random.pick(topic.events)
    if (id > topic.emptiedThrough) topic.emptiedThrough = id
    const { status, text } = await api.call('DELETE', `/api/v1/pubsubs/${topic.id}/events?through=${id}`)
    assert.equal(status, 204, text)
    topic.emptied.push({ id, message: '', at: this.#now })
  }

  async #delete(api: Api, topic: KnownTopic): Promise<void> {
    topic.isToGo = true
    await api.deleteTopic(topic.id)
    topic.goneAt = this.#now
  }
}

async function checkTopic(api: Api, topic: KnownTopic, end: number): Promise<void> {
  const path = `/api/v1/pubsubs/${topic.id}/events?since=earliest`
  const headers = { authorization: `Bearer ${API_TOKEN}`, accept: 'application/x-ndjson' }
  const response = await fetch(`${api.url}${path}`, { headers })
  const text = await response.text()
  if (topic.goneAt !== undefined && topic.goneAt <= end) return assert.equal(response.status, 404, 'it was deleted')
  if (topic.isToGo && response.status === 404) return
  assert.equal(response.status, 200, text)
  const events = text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Known & { readonly gap?: unknown })
  const idOf = new Map(events.map(({ id, message }) => [message, id]))
  for (const [i, { id, message, gap }] of events.entries()) {
    assert.equal(gap, undefined, 'nothing is missing')
    assert(i === 0 || id > (events[i - 1] as Known).id, `events are in order at ${id}`)
    assert(topic.sent.has(message), `${id} was sent`)
  }
  assert.equal(idOf.size, events.length, 'an event is there once')
  for (const { id, message, at } of topic.events) {
    if (at <= end && id > topic.emptiedThrough) assert.equal(idOf.get(message), id, `${id} of ${topic.id} is there`)
  }
  const first = events[0]?.id
  for (const { id, at } of topic.emptied) {
    if (at <= end && first !== undefined) assert(first > id, `what was emptied through ${id} stays away`)
  }
  for (const list of topic.lists) {
    const there = list.filter((message) => idOf.has(message)).length
    // Emptying a topic may cut through a list.
    if (topic.emptiedThrough === '') assert(there === 0 || there === list.length, 'a list is there whole or not at all')
  }
}

function configFor(directory: string) {
  const env = {
    PORT: '127.0.0.1:0',
    SSER_STORAGE_DIR: directory,
    SSER_API_ACCESS_TOKEN: API_TOKEN,
    SSER_METRICS_ACCESS_TOKEN: METRICS_TOKEN,
  }
  return loadConfig({ env, cwd: directory }).config
}
