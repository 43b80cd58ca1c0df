/**
 * A small log under random load for a long time: topics that come and go, limits, purges, a log that drops its oldest
 * events, subscribers that resume, kills and restarts. At the end nothing may be lost without a gap having been told,
 * and memory and disk must be flat.
 * `--help` says how it is called.
 */

import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { SserClient } from '../../src/client/index.ts'
import { helpOption, positive, programArguments } from '../support/program-arguments.ts'
import { Random } from '../support/random.ts'
import { ServerProcess } from '../support/server-process.ts'
import { Pair } from './pair.ts'

const USAGE = `npm run soak -- [--minutes M] [--seed N]

  --minutes M  how long it runs; 30 by default. SIGKILLs and clean stops come in the first three fifths, then none, so
               that the memory of one process is seen for a while.
  --seed N     repeats the choices of a run, though not its timing; random by default

Exit code 0: nothing was lost, and memory and disk were flat; 1: they were not, and standard error says what.`

const MIB = 1024 * 1024
const LOG_BYTES_MAX = 24 * MIB
const settings = {
  logging: { level: 'info' },
  log: {
    segmentBytes: MIB,
    maxBytes: LOG_BYTES_MAX,
    whenFull: 'dropOldest',
    reserve: false,
    checkpointInterval: '5s',
    compaction: { interval: '1s' },
    batchBytesMax: '2MiB',
  },
  memory: { maxBytes: '4MiB' },
  hub: { recentFramesBytes: MIB },
}

/** What long-lived topics keep. */
const RETENTIONS = [{}, {}, {}, { max_events: 50 }, { max_bytes: 100_000 }, { max_age: '10s' }]
const IN_MEMORY = 2
const CHURN_MS = 150
const CHANGE_MS = 2_000
const SAMPLE_MS = 5_000
const SAMPLES_PER_LINE = 12
const LIFE_MS_MAX = 60_000
const KILLS_SHARE = 3 / 5
const CATCH_UP_MS = 60_000
/** How much more the last quarter may have than the second one: both must be over before it counts as growth. */
const GROWTH_MAX = 1.2
const GROWTH_BYTES_MAX = 16 * MIB
/** Beside the quota: the active segment, what a run of compaction writes before its inputs go, checkpoints. */
const DISK_BYTES_MAX = LOG_BYTES_MAX + 8 * MIB

interface Sample {
  readonly atMs: number
  readonly rssBytes: number
  readonly diskBytes: number
  readonly files: number
  readonly acknowledged: number
}

const { minutes, seed } = programArguments(USAGE, () => {
  const { values } = parseArgs({
    options: { minutes: { type: 'string', default: '30' }, seed: { type: 'string' }, help: helpOption },
  })
  return { values, minutes: positive('minutes', values.minutes), seed: seedOf(values.seed) }
})
const durationMs = minutes * 60_000
const random = new Random(seed)
const beganAt = performance.now()
const elapsedMs = () => performance.now() - beganAt

async function main(): Promise<number> {
  console.log(`seed ${random.seed}, ${minutes} minutes`)
  const server = await ServerProcess.start({ settings })
  const client = new SserClient({ url: server.url, token: server.apiToken })
  const stopping = new AbortController()
  const pairs: Pair[] = []
  const samples: Sample[] = []
  const churned = { topics: 0 }
  try {
    for (const retention of RETENTIONS) pairs.push(await Pair.make(client, random, { persist: true, retention }))
    for (let i = 0; i < IN_MEMORY; i += 1) pairs.push(await Pair.make(client, random, { persist: false }))
    const background = [
      ...pairs.map((pair) => pair.publish(stopping.signal)),
      churn(client, churned, stopping.signal),
      changeThings(client, pairs, stopping.signal),
      sample(server, pairs, samples, stopping.signal),
    ]
    const reading = pairs.map((pair) => pair.read())
    const restarts = await restartAgainAndAgain(server, durationMs * KILLS_SHARE)
    while (elapsedMs() < durationMs && mistakesOf(pairs).length === 0) await delay(SAMPLE_MS)
    stopping.abort()
    await Promise.all(background)
    await Promise.all(pairs.map((pair) => pair.end(CATCH_UP_MS)))
    await Promise.all(reading)
    const errors = server.lines.filter((line) => /"level":"error"/.test(line))
    return report(samples, [...mistakesOf(pairs), ...errors], { ...restarts, ...churned, pairs })
  } finally {
    stopping.abort()
    for (const pair of pairs) pair.stop()
    await server.close()
  }
}

function seedOf(text: string | undefined): number | undefined {
  const seed = text === undefined ? undefined : Number(text)
  if (seed !== undefined && !Number.isInteger(seed)) throw new Error(`--seed takes a whole number, not '${text}'.`)
  return seed
}

function mistakesOf(pairs: readonly Pair[]): string[] {
  return pairs.flatMap(({ mistakes }) => mistakes)
}

async function restartAgainAndAgain(server: ServerProcess, untilMs: number) {
  let kills = 0
  let stops = 0
  while (elapsedMs() < untilMs) {
    await delay(Math.min(random.int(LIFE_MS_MAX), Math.max(0, untilMs - elapsedMs())))
    const isClean = random.chance(0.25)
    if (isClean) stops += 1
    else kills += 1
    await server.kill(isClean ? 'SIGTERM' : 'SIGKILL')
    server.lines.splice(0, server.lines.length, ...server.lines.filter((line) => /"level":"error"/.test(line)))
    await server.restart()
  }
  return { kills, stops }
}

/** Topics that are made, used once or a few times, and deleted. */
async function churn(client: SserClient, churned: { topics: number }, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await unlessDown(async () => {
      const { id } = await client.topics.create({ persist: random.chance(0.8), name: 'churn' })
      for (let i = 1 + random.int(3); i > 0; i -= 1) {
        await client.publish(id, { message: 'x'.repeat(random.int(2_000)) })
      }
      await client.topics.delete(id)
      churned.topics += 1
    })
    await delay(random.int(CHURN_MS))
  }
}

async function changeThings(client: SserClient, pairs: readonly Pair[], signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await delay(random.int(CHANGE_MS))
    const { topicId } = random.pick(pairs)
    await unlessDown(async () => {
      if (random.chance(0.1)) await client.topics.empty(topicId)
      else if (random.chance(0.5)) await client.topics.update(topicId, { name: `changed ${random.int(100)}` })
      else await client.topics.list({ limit: 50 })
    })
  }
}

/** A server that is dead just now, or a topic in memory that went with it, is part of the game. */
async function unlessDown(work: () => Promise<void>): Promise<void> {
  await work().catch(() => delay(50))
}

async function sample(
  server: ServerProcess,
  pairs: readonly Pair[],
  samples: Sample[],
  signal: AbortSignal,
): Promise<void> {
  const log = join(server.directory, 'log')
  while (!signal.aborted) {
    await delay(SAMPLE_MS)
    try {
      const sizes = readdirSync(log).map((name) => statSync(join(log, name), { throwIfNoEntry: false })?.size ?? 0)
      const diskBytes = sizes.reduce((sum, size) => sum + size, 0)
      const acknowledged = pairs.reduce((sum, pair) => sum + pair.acknowledged, 0)
      const one = { atMs: elapsedMs(), rssBytes: server.rssBytes, diskBytes, files: sizes.length, acknowledged }
      samples.push(one)
      if (samples.length % SAMPLES_PER_LINE === 1) console.log(lineOf(one))
    } catch {
      // Between two lives there is no process to ask.
    }
  }
}

function lineOf({ atMs, rssBytes, diskBytes, files, acknowledged }: Sample): string {
  const columns = [
    `${(atMs / 60_000).toFixed(1)} min`.padStart(9),
    `${(rssBytes / MIB).toFixed(0)} MiB memory`.padStart(16),
    `${(diskBytes / MIB).toFixed(1)} MiB disk`.padStart(15),
    `${files} files`.padStart(10),
    `${acknowledged} events`.padStart(16),
  ]
  return columns.join('')
}

function report(
  samples: readonly Sample[],
  mistakes: readonly string[],
  counts: { readonly kills: number; readonly stops: number; readonly topics: number; readonly pairs: readonly Pair[] },
): number {
  const { kills, stops, topics, pairs } = counts
  const sum = (of: (pair: Pair) => number) => pairs.reduce((total, pair) => total + of(pair), 0)
  console.log(`${kills} kills, ${stops} clean stops, ${topics} topics made, used and deleted`)
  console.log(`${sum((pair) => pair.acknowledged)} events acknowledged, ${sum((pair) => pair.seen)} seen`)
  console.log(`${sum((pair) => pair.gaps)} gaps told`)
  const found = [...mistakes]
  for (const [what, of, most] of [
    ['memory', ({ rssBytes }: Sample) => rssBytes, Number.POSITIVE_INFINITY],
    ['disk', ({ diskBytes }: Sample) => diskBytes, DISK_BYTES_MAX],
  ] as const) {
    const second = median(samples.slice(samples.length / 4, samples.length / 2).map(of))
    const last = median(samples.slice((samples.length * 3) / 4).map(of))
    const highest = Math.max(...samples.map(of))
    const words = [second, last, highest].map((bytes) => `${(bytes / MIB).toFixed(1)} MiB`)
    console.log(`${what}: median of the second quarter ${words[0]}, of the last ${words[1]}; highest ${words[2]}`)
    if (last > second * GROWTH_MAX && last - second > GROWTH_BYTES_MAX) found.push(`${what} has grown`)
    if (highest > most) found.push(`${what} was over ${most / MIB} MiB`)
  }
  for (const mistake of found.slice(0, 20)) console.error(mistake)
  console.log(found.length === 0 ? 'Nothing was lost, and all was flat.' : `${found.length} mistakes`)
  return found.length === 0 ? 0 : 1
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0
}

process.exitCode = await main()
