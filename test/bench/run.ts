/**
 * Measures the server as a user runs it: the built program, on the disk of the temporary folder, with load from
 * processes of their own.
 * `--help` says how it is called.
 *
 * Set TMPDIR to measure another disk. On a small machine the load shares the cores with the server, so the figures are
 * what server and clients reach together.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, release, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { helpOption, positive, programArguments } from '../support/program-arguments.ts'
import { type ServerOptions, ServerProcess } from '../support/server-process.ts'
import type { Bench } from './bench.ts'
import { measureCounting } from './counting.ts'
import { measureDelivery, measureLatency } from './delivery.ts'
import { measureEngines } from './engine.ts'
import { measureIdle } from './idle.ts'
import { LoadProcess } from './load-process.ts'
import { measureCompaction, measureStart } from './long-run.ts'
import { measureMetrics } from './metrics.ts'
import { measurePeer } from './peers.ts'
import { busiestFunctions } from './profile.ts'
import { measureBatches, measurePublishing } from './publishing.ts'
import { measureRecovery } from './recovery.ts'
import { measureReplay } from './replay.ts'
import { startNchan } from './start-nchan.ts'
import { startPrototype } from './start-prototype.ts'
import { measureTls } from './tls.ts'

interface Figure {
  readonly part: Part
  readonly what: string
  readonly value: number
  readonly unit: string
  readonly target?: number
  /** Whether the target is met by more or by less. */
  readonly better?: 'more' | 'less'
}

const PARTS = [
  'publish',
  'batch',
  'deliver',
  'latency',
  'replay',
  'storm',
  'idle',
  'engine',
  'recovery',
  'prototype',
  'nchan',
  'counting',
  'metrics',
  'tls',
  'compaction',
  'start',
] as const
type Part = (typeof PARTS)[number]

const PEERS: readonly Part[] = ['prototype', 'nchan']
const PARTS_TO_BE_NAMED: readonly Part[] = ['nchan', 'compaction', 'start']

const USAGE = `npm run bench -- [PART …] [--seconds S] [--scale F] [--json FILE] [--profile FOLDER]

  PART              ${PARTS.slice(0, 8).join(' ')}
                    ${PARTS.slice(8).join(' ')}
                    Without one: all but ${PARTS_TO_BE_NAMED.join(', ')}; about six minutes.
                    compaction and start make logs of 2 and 10 GB, which need that much room; nchan is nginx with nchan
                    under the same load, which has to be installed.
  --seconds S       how long each run measures; 5 by default
  --scale F         so many times as many events, subscribers and bytes, where a part depends on them; 1 by default
  --json FILE       write the figures for a program, beside the table
  --profile FOLDER  keep a CPU profile of each server (open it in a browser's tools), and print its busiest functions

TMPDIR=FOLDER measures another disk.
npm run bench -- publish idle --seconds 2 --scale 0.1`

const {
  values: flags,
  wanted,
  seconds,
  scale,
} = programArguments(USAGE, () => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      seconds: { type: 'string', default: '5' },
      scale: { type: 'string', default: '1' },
      json: { type: 'string' },
      profile: { type: 'string' },
      help: helpOption,
    },
  })
  const unknown = positionals.filter((part) => !PARTS.some((known) => known === part))
  if (unknown.length > 0) throw new Error(`There is no part ${unknown.join(', ')}.`)
  const seconds = positive('seconds', values.seconds)
  return { values, wanted: positionals, seconds, scale: positive('scale', values.scale) }
})
const isWanted = (part: Part) => (wanted.length === 0 ? !PARTS_TO_BE_NAMED.includes(part) : wanted.includes(part))
const durationMs = seconds * 1000
const scaled = (count: number) => Math.max(1, Math.round(count * scale))
const work = mkdtempSync(join(tmpdir(), 'sser-bench-'))
const figures: Figure[] = []

function note(
  part: Part,
  what: string,
  value: number,
  unit: string,
  target?: number,
  better: 'more' | 'less' = 'more',
) {
  const figure = { part, what, value, unit, ...(target === undefined ? {} : { target, better }) }
  figures.push(figure)
  console.log(lineOf(figure))
}

async function main(): Promise<void> {
  const machine = `${cpus().length} × ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, Node ${process.version}`
  console.log(`${machine}; ${seconds} s a run, scale ${scale}; data in ${tmpdir()}\n`)
  const beganAt = performance.now()
  await measure('engine', measureEngines)
  await measure('publish', measurePublishing)
  await measure('batch', measureBatches)
  await measure('deliver', measureDelivery)
  await measure('latency', measureLatency)
  await measureReplay(wantedBench('replay'), wantedBench('storm'))
  await measure('idle', measureIdle)
  await measure('recovery', measureRecovery)
  await measure('prototype', (bench) => measurePeer(bench, startPrototype, 0))
  await measure('nchan', (bench) => measurePeer(bench, startNchan))
  await measure('counting', measureCounting)
  await measure('metrics', measureMetrics)
  await measure('tls', measureTls)
  await measure('compaction', measureCompaction)
  await measure('start', measureStart)
  for (const peer of PEERS) compareWith(peer)
  console.log(`\nIn ${Math.round((performance.now() - beganAt) / 1000)} s:\n`)
  for (const figure of figures) console.log(lineOf(figure))
  const missed = figures.filter((figure) => isMissed(figure))
  if (missed.length > 0) console.log(`\nMissed: ${missed.map(({ part, what }) => `${part}: ${what}`).join('; ')}`)
  if (flags.json !== undefined)
    writeFileSync(flags.json, `${JSON.stringify({ machine, durationMs, scale, figures }, null, 2)}\n`)
}

async function measure(part: Part, run: (bench: Bench) => Promise<void>): Promise<void> {
  const bench = wantedBench(part)
  if (bench !== undefined) await run(bench)
}

function wantedBench(part: Part): Bench | undefined {
  if (!isWanted(part)) return undefined
  return {
    ...{ work, durationMs, scaled, withServer },
    answersVary: part === 'nchan',
    note: (...figure) => note(part, ...figure),
  }
}

/** What the server reached in this run, as a share of what the peer did. */
function compareWith(peer: Part): void {
  for (const { what, value, unit } of figures.filter(({ part, value }) => part === peer && value > 0)) {
    const ours = figures.find((figure) => !PEERS.includes(figure.part) && figure.what === what && figure.unit === unit)
    if (ours !== undefined) note(peer, `${what}: the server against it`, (ours.value / value) * 100, '%')
  }
}

async function withServer(
  name: string,
  options: ServerOptions,
  measure: (server: ServerProcess, load: LoadProcess) => Promise<void>,
): Promise<void> {
  const profileFolder = flags.profile === undefined ? undefined : join(flags.profile, name)
  if (profileFolder !== undefined) mkdirSync(profileFolder, { recursive: true })
  const nodeArguments = profileFolder === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileFolder}`]
  const settings = { logging: { level: 'info' }, limits: { subscribersMax: 50_000 } }
  const server = await ServerProcess.start({ settings, nodeArguments, ...options })
  const load = new LoadProcess()
  try {
    await measure(server, load)
    if (profileFolder !== undefined) await server.kill('SIGTERM')
  } finally {
    await load.close()
    await server.close()
  }
  if (profileFolder !== undefined) for (const line of busiestFunctions(profileFolder)) console.log(`    ${line}`)
}

function isMissed({ value, target, better }: Figure): boolean {
  if (target === undefined) return false
  return better === 'less' ? value > target : value < target
}

function lineOf(figure: Figure): string {
  const { part, what, value, unit, target } = figure
  if (!Number.isFinite(value)) return `${part.padEnd(10)} ${what.padEnd(72)} ${'nothing'.padStart(11)}`
  const digits = Math.abs(value) >= 100 || Number.isInteger(value) ? 0 : 2
  const number = value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })
  const verdict =
    target === undefined ? '' : `   target ${target.toLocaleString('en')}: ${isMissed(figure) ? 'MISSED' : 'met'}`
  return `${part.padEnd(10)} ${what.padEnd(72)} ${number.padStart(11)} ${unit}${verdict}`
}

try {
  await main()
} finally {
  rmSync(work, { recursive: true, force: true })
}
