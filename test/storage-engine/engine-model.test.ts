/**
 * The log against a list: random appends, readers that are held over time, searches, stops, kills, losses of power,
 * errors of the disk and jumps of the clock, all from one seed. SSER_SEED repeats a run, SSER_SEEDS asks for more runs.
 */

import assert from 'node:assert/strict'
import { FaultyFiles } from '../../storage-engine/faulty-files.ts'
import type { Cursor, LogOptions, Offset, SyncMode } from '../../storage-engine/index.ts'
import { History, MortalFiles, NOON_MS, type Opened, openLog, openUnlessDead } from '../support/engine-history.ts'
import { Random } from '../support/random.ts'
import { test } from '../support/unwatched.ts'

const STEPS_PER_RUN = 60
const RUNS = 20

interface Reader {
  readonly cursor: Cursor
  readonly after: Offset
  readonly streamId: number | undefined
  readonly seen: Offset[]
}

class Model {
  readonly #random: Random
  readonly #options: Partial<LogOptions>
  readonly #history = new History()
  #files = new FaultyFiles()
  #opened: Opened | undefined
  #readers: Reader[] = []
  #waiting: Promise<unknown>[] = []
  #nowMs = NOON_MS
  /** What this run did, for whoever reads a failure. */
  readonly did: string[] = []

  constructor(random: Random) {
    this.#random = random
    const sync: SyncMode = random.pick(['commit', 'commit', 'commit', 'interval', 'never'])
    this.#options = {
      sync,
      segmentBytesMax: random.pick([400, 900, 3000, 100_000]),
      batchBytesMax: random.pick([300, 64 * 1024]),
      blockCacheBytesMax: random.pick([0, 4096, 1024 * 1024]),
      pageCacheBytesMax: random.pick([0, 4096, 1024 * 1024]),
      reserveBytes: random.pick([0, 0, 8192]),
      now: () => this.#nowMs,
    }
    this.did.push(JSON.stringify(this.#options))
  }

  async run(): Promise<void> {
    await this.#open()
    for (let i = 0; i < STEPS_PER_RUN; i += 1) await this.#step()
    await this.#stop()
    await this.#open()
    await this.#current.log.close()
  }

  async #step(): Promise<void> {
    const random = this.#random
    const choice = random.int(100)
    if (choice < 50) await this.#append()
    else if (choice < 65) await this.#read()
    else if (choice < 70) this.#openReader()
    else if (choice < 75) this.#history.take(this.#current)
    else if (choice < 80) this.#nowMs += random.pick([-86_400_000, -1000, 0, 1000, 86_400_000])
    else if (choice < 85) await this.#findTime()
    else if (choice < 90) await this.#failSomething()
    else if (choice < 93) await this.#stop().then(() => this.#open())
    else if (choice < 97) await this.#lose('power')
    else await this.#lose('process')
  }

  get #current(): Opened {
    assert(this.#opened !== undefined)
    return this.#opened
  }

  async #open(): Promise<void> {
    this.#opened = await openLog(new MortalFiles(this.#files), this.#options)
    const first = this.#opened.sequencer.firstOfThisStart
    assert(first > this.#history.givenThrough, `the number ${first} may have been given before`)
    await this.#history.compare(this.#opened)
  }

  /** Appends one publish or several, and waits for them or not. */
  async #append(): Promise<void> {
    const random = this.#random
    const publishes = 1 + random.int(3)
    for (let i = 0; i < publishes; i += 1) {
      const streams = Array.from({ length: 1 + random.int(3) }, () => 10 + random.int(3))
      const payloadBytes = random.chance(0.1) ? random.int(3000) : random.int(120)
      this.did.push(`append ${streams.join()} of ${payloadBytes}`)
      const answer = this.#history.append(this.#current, streams, { payloadBytes, isUrgent: random.chance(0.1) })
      this.#waiting.push(answer)
      if (random.chance(0.7)) await answer
    }
  }

  #openReader(): void {
    const random = this.#random
    const streamId = random.chance(0.3) ? undefined : 10 + random.int(3)
    const known = this.#history.issued.filter(({ fate }) => fate === 'acknowledged')
    const after = known.length > 0 && random.chance(0.5) ? (random.pick(known).offset ?? 0) : 0
    this.#readers.push({ cursor: this.#current.log.cursor(after, streamId), after, streamId, seen: [] })
  }

  /** One reader takes a step or goes to the end; what it has seen up to there must be everything. */
  async #read(): Promise<void> {
    if (this.#readers.length === 0) return
    const reader = this.#random.pick(this.#readers)
    const steps = this.#random.chance(0.5) ? 1 : Number.POSITIVE_INFINITY
    for (let i = 0; i < steps; i += 1) {
      const step = await reader.cursor.next()
      if (step === undefined) break
      assert('records' in step, `a gap is told: ${JSON.stringify(step)}`)
      for (const record of step.records) if (record.streamId > 1) reader.seen.push(record.offset)
    }
    const { position } = reader.cursor
    const expected = this.#history.issued
      .filter(({ fate, streamId }) => fate === 'acknowledged' && streamId === (reader.streamId ?? streamId))
      .map(({ offset }) => offset as Offset)
      .filter((offset) => offset > reader.after && offset <= position)
    const seen = new Set(reader.seen)
    assert.equal(seen.size, reader.seen.length, 'a reader has seen something twice')
    for (const offset of expected) assert(seen.has(offset), `a reader at ${position} has missed ${offset}`)
    const refused = new Set(this.#history.issued.filter(({ fate }) => fate === 'refused').map(({ offset }) => offset))
    for (const offset of reader.seen) assert(!refused.has(offset), 'a reader has seen what was refused')
  }

  async #findTime(): Promise<void> {
    const streamId = 10 + this.#random.int(3)
    const timeMs = this.#nowMs + this.#random.pick([-1000, 0, 1])
    const after = await this.#current.log.findTime(streamId, timeMs)
    const cursor = this.#current.log.cursor(0, streamId)
    for (let step = await cursor.next(); step !== undefined; step = await cursor.next()) {
      assert('records' in step)
      const first = step.records.find((record) => record.timeMs >= timeMs)
      if (first === undefined) continue
      assert(first.offset > after, `the search for ${timeMs} gave ${after}, and ${first.offset} is of that time`)
      break
    }
    cursor.close()
  }

  /** The next operations of a kind fail; a log that ends by it is started again. */
  async #failSomething(): Promise<void> {
    const random = this.#random
    const match = random.pick(['write', 'write', 'create', 'rename', 'sync', 'truncate', 'syncDirectory'] as const)
    const code = random.pick(['EIO', 'ENOSPC'])
    const pages = random.pick(['dirty', 'cleanNew', 'cleanOld'] as const)
    this.did.push(`${match} fails with ${code}, ${pages}`)
    const writtenBytes = random.int(200)
    const stop = this.#files.fail(match, { code, pages, writtenBytes, times: 1 + random.int(2) })
    await this.#append()
    await Promise.all(this.#waiting.splice(0))
    stop()
    if (this.#current.log.status !== 'failed') return
    // A failed sync may take the pages with it that it was to cover.
    this.#forgetPromises()
    await this.#lose(random.chance(0.5) ? 'power' : 'process')
  }

  async #stop(): Promise<void> {
    this.did.push('stop')
    const { log } = this.#current
    const isFailed = await log.close().then(
      () => false,
      () => true,
    )
    await Promise.all(this.#waiting.splice(0))
    this.#readers = []
    // Without a sync at the end, what interval and never may lose is lost only with the power.
    if (isFailed) this.#forgetPromises()
  }

  /** The process or the machine dies, with whatever is in flight; recovery may die as well, several times. */
  async #lose(what: 'power' | 'process'): Promise<void> {
    const random = this.#random
    this.did.push(`the ${what} is lost`)
    const disk = this.#files
    this.#readers = []
    this.#waiting = []
    if (random.chance(0.5)) await new Promise((resolve) => setImmediate(resolve))
    const left = what === 'power' ? disk.afterCrash(random) : disk.snapshot()
    disk.crash()
    if (what === 'power') this.#forgetPromises()
    this.#files = left
    for (let deaths = random.int(3); deaths > 0; deaths -= 1) {
      this.#files.crashAt(this.#files.operations + 1 + random.int(12), random.pick(['before', 'after']))
      const died = this.#files
      // Either it dies on the way, or it has served what it found.
      const isWhole = await openUnlessDead(died, this.#options, (opened) => this.#history.compare(opened))
      this.did.push(isWhole ? 'a start, and the process dies' : 'a start dies')
      const keepsPower = random.chance(0.5)
      this.#files = keepsPower ? died.snapshot() : died.afterCrash(random)
      // What a start has served is durable, whatever the mode; before that the choice of the mode counts.
      if (!keepsPower && !isWhole) this.#forgetPromises()
      died.crash()
    }
    await this.#open()
  }

  /** Of what was not synced one by one, the power may take the end. */
  #forgetPromises(): void {
    if (this.#options.sync === 'commit') return
    for (const one of this.#history.issued) if (one.fate === 'acknowledged') one.fate = 'pending'
  }
}

test('the log agrees with a list, whatever happens to it', async (context) => {
  const given = process.env['SSER_SEED']
  const runs = given === undefined ? RUNS * Number(process.env['SSER_SEEDS'] ?? 1) : 1
  for (let run = 0; run < runs; run += 1) {
    const random = new Random(given === undefined ? undefined : Number(given))
    context.diagnostic(`SSER_SEED=${random.seed}`)
    const model = new Model(random)
    try {
      await model.run()
    } catch (error) {
      throw new Error(`SSER_SEED=${random.seed}: ${String(error)}\n${model.did.join('\n')}`, { cause: error })
    }
  }
})
