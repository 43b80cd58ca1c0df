/**
 * Runs fuzz targets: `npm run fuzz -- TARGET --seed N --minutes M`, with TARGET one of the registry or `all`, a seed of
 * 32 bits (random by default) and 1 minute by default. Prints the seed first, and plays the corpus first; at a failure
 * it prints the round, and the line that runs that round again. `--round K` plays the round K of that seed only;
 * `--save NAME` keeps what was found as fuzz/corpus/TARGET/NAME. Exit code 1 means that something was found, 2 that the
 * call was wrong.
 */

import { randomInt } from 'node:crypto'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { type CorpusEntry, corpusOf, saveToCorpus } from './corpus.ts'
import { mutated } from './mutate.ts'
import { Random, seedOfRound } from './random.ts'
import type { FuzzTarget } from './target.ts'
import { targets } from './targets.ts'

export interface FuzzFailure {
  readonly round: number
  readonly error: unknown
  /** As it would stand in the corpus. */
  readonly input: Buffer
}

export interface FuzzLimits {
  /** The first round to play; 0 by default. */
  readonly from?: number
  readonly rounds: number
  readonly until?: () => boolean
}

/** Plays rounds of one target until one fails, the rounds are over, or `until` says so. */
export async function fuzz(target: FuzzTarget, seed: number, limits: FuzzLimits): Promise<FuzzFailure | undefined> {
  const { from = 0, rounds, until } = limits
  const corpus = corpusOf(target.name).map(({ input }) => input)
  for (let round = from; round < from + rounds; round++) {
    const input = inputOfRound(target, seedOfRound(seed, round), corpus)
    try {
      await play(target, input)
    } catch (error) {
      return { round, error, input }
    }
    if (until?.()) break
  }
  return undefined
}

/** The first entry of the corpus that breaks a promise. */
export async function playCorpus(target: FuzzTarget): Promise<{ entry: CorpusEntry; error: unknown } | undefined> {
  for (const entry of corpusOf(target.name)) {
    try {
      await play(target, entry.input)
    } catch (error) {
      return { entry, error }
    }
  }
  return undefined
}

async function play(target: FuzzTarget, input: Buffer): Promise<void> {
  if ('round' in target) await target.round(new Random(Number(input.toString('latin1'))))
  else await target.check(input)
}

function inputOfRound(target: FuzzTarget, seed: number, corpus: readonly Buffer[]): Buffer {
  if ('round' in target) return Buffer.from(String(seed))
  const random = new Random(seed)
  return corpus.length > 0 && random.oneIn(2) ? mutated(random, corpus) : target.generate(random)
}

const MINUTE_MS = 60_000
const SEEDS = 2 ** 32

interface Wanted {
  readonly targets: readonly FuzzTarget[]
  readonly seed: number
  readonly minutes: number
  readonly round: number | undefined
  readonly saveAs: string | undefined
}

function wantedBy(args: readonly string[]): Wanted | undefined {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      seed: { type: 'string' },
      minutes: { type: 'string' },
      round: { type: 'string' },
      save: { type: 'string' },
    },
  })
  const [name = 'all', ...others] = positionals
  const seed = values.seed === undefined ? randomInt(SEEDS) : Number(values.seed)
  const minutes = Number(values.minutes ?? '1')
  const round = values.round === undefined ? undefined : Number(values.round)
  const chosen = targets.filter((target) => name === 'all' || target.name === name)
  const isSeed = Number.isInteger(seed) && seed >= 0 && seed < SEEDS
  const isRound = round === undefined || (Number.isSafeInteger(round) && round >= 0)
  const isName = values.save === undefined || /^[a-z0-9-]+$/.test(values.save)
  if (chosen.length === 0 || others.length > 0 || !isSeed || !(minutes > 0) || !isRound || !isName) return undefined
  return { targets: chosen, seed, minutes, round, saveAs: values.save }
}

async function main(): Promise<number> {
  const wanted = wantedBy(process.argv.slice(2))
  if (wanted === undefined) {
    console.error('npm run fuzz -- [TARGET] [--seed 0..4294967295] [--minutes M] [--round K] [--save a-reason]')
    for (const target of targets) console.error(`  ${target.name}: ${target.about}`)
    return 2
  }
  let found = 0
  for (const target of wanted.targets) if (!(await isClean(target, wanted))) found++
  return found === 0 ? 0 : 1
}

/** Tells on the console what it finds. */
async function isClean(target: FuzzTarget, { targets: all, seed, minutes, round, saveAs }: Wanted): Promise<boolean> {
  console.log(`${target.name}: seed ${seed}`)
  const known = round === undefined ? await playCorpus(target) : undefined
  if (known !== undefined) {
    console.error(`${target.name}: FOUND by its corpus, ${known.entry.name}`)
    console.error(known.error)
    return false
  }
  const end = Date.now() + (minutes * MINUTE_MS) / all.length
  let rounds = 0
  const until = () => {
    rounds++
    return Date.now() >= end
  }
  const limits = round === undefined ? { rounds: Number.POSITIVE_INFINITY, until } : { from: round, rounds: 1, until }
  const failure = await fuzz(target, seed, limits)
  if (failure === undefined) {
    console.log(`${target.name}: ${rounds} rounds, nothing found`)
    return true
  }
  console.error(`${target.name}: FOUND in round ${failure.round} of seed ${seed}`)
  console.error(failure.error)
  console.error(`again: npm run fuzz -- ${target.name} --seed ${seed} --round ${failure.round}`)
  if (saveAs !== undefined) console.error(`saved as ${saveToCorpus(target.name, saveAs, failure.input)}`)
  return false
}

const program = process.argv[1]
if (program !== undefined && import.meta.url === pathToFileURL(program).href) process.exitCode = await main()
