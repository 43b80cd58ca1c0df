/** Plays fuzz targets, the corpus first: for a test, or as a program. `npm run fuzz -- --help` says how that is called. */

import { randomInt } from 'node:crypto'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { helpOption, positive, programArguments } from '../test/support/program-arguments.ts'
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

const USAGE = `npm run fuzz -- [TARGET|all] [--seed N] [--minutes M] [--round K] [--save NAME]

  TARGET       one of those below; all of them by default
  --seed N     0 to ${SEEDS - 1}; random by default, and printed
  --minutes M  how long, shared by the targets; 1 by default
  --round K    plays the round K of that seed only
  --save NAME  keeps what was found as fuzz/corpus/TARGET/NAME; NAME says why, in small letters, digits and hyphens

${targets.map(({ name, about }) => `  ${name}: ${about}`).join('\n')}

Exit code 0: nothing was found; 1: something was, and the line that plays it again is printed.`

interface Wanted {
  readonly targets: readonly FuzzTarget[]
  readonly seed: number
  readonly minutes: number
  readonly round: number | undefined
  readonly saveAs: string | undefined
}

function wantedBy(args: readonly string[]): Wanted {
  const { wanted } = programArguments(USAGE, () => {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        seed: { type: 'string' },
        minutes: { type: 'string', default: '1' },
        round: { type: 'string' },
        save: { type: 'string' },
        help: helpOption,
      },
    })
    if (values.save !== undefined && !/^[a-z0-9-]+$/.test(values.save)) {
      throw new Error(`--save takes small letters, digits and hyphens, not '${values.save}'.`)
    }
    const wanted = {
      targets: targetsNamed(positionals),
      seed: values.seed === undefined ? randomInt(SEEDS) : wholeBelow(SEEDS, 'seed', values.seed),
      minutes: positive('minutes', values.minutes),
      round: values.round === undefined ? undefined : wholeBelow(Number.MAX_SAFE_INTEGER, 'round', values.round),
      saveAs: values.save,
    }
    return { values, wanted }
  })
  return wanted
}

function targetsNamed([name = 'all', ...others]: readonly string[]): readonly FuzzTarget[] {
  const chosen = targets.filter((target) => name === 'all' || target.name === name)
  if (chosen.length === 0) throw new Error(`There is no target ${name}.`)
  if (others.length > 0) throw new Error('Name one target, or all.')
  return chosen
}

function wholeBelow(bound: number, option: string, text: string): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= 0 && value < bound) return value
  throw new Error(`--${option} takes a whole number of 0 to ${bound - 1}, not '${text}'.`)
}

async function main(): Promise<number> {
  const wanted = wantedBy(process.argv.slice(2))
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
