/**
 * Runs fuzz targets: `npm run fuzz -- TARGET --seed N --minutes M`, with TARGET one of the registry or `all` (but for
 * the canary), a seed of 32 bits (random by default) and 1 minute by default. Prints the seed first; at a failure, also
 * the round, and the line that runs that round again. `--round K` plays the round K of that seed only. Exit code 1 means
 * that something was found, 2 that the call was wrong.
 */

import { randomInt } from 'node:crypto'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { Random, seedOfRound } from './random.ts'
import { type FuzzTarget, targets } from './targets.ts'

export interface FuzzFailure {
  readonly round: number
  readonly error: unknown
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
  for (let round = from; round < from + rounds; round++) {
    try {
      await target.round(new Random(seedOfRound(seed, round)))
    } catch (error) {
      return { round, error }
    }
    if (until?.()) break
  }
  return undefined
}

const MINUTE_MS = 60_000
const SEEDS = 2 ** 32

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { seed: { type: 'string' }, minutes: { type: 'string' }, round: { type: 'string' } },
  })
  const wanted = positionals[0] ?? 'all'
  const chosen = targets.filter((target) => (wanted === 'all' ? target.name !== 'canary' : target.name === wanted))
  const seed = values.seed === undefined ? randomInt(SEEDS) : Number(values.seed)
  const minutes = Number(values.minutes ?? '1')
  const round = values.round === undefined ? undefined : Number(values.round)
  const numbers =
    Number.isInteger(seed) && seed >= 0 && seed < SEEDS && minutes > 0 && (round === undefined || round >= 0)
  if (chosen.length === 0 || positionals.length > 1 || !numbers) {
    console.error('npm run fuzz -- [TARGET] [--seed 0..4294967295] [--minutes M] [--round K]')
    for (const target of targets) console.error(`  ${target.name}: ${target.about}`)
    return 2
  }
  let found = 0
  for (const target of chosen) {
    console.log(`${target.name}: seed ${seed}`)
    const end = Date.now() + (minutes * MINUTE_MS) / chosen.length
    let rounds = 0
    const until = () => {
      rounds++
      return Date.now() >= end
    }
    const limits = round === undefined ? { rounds: Number.POSITIVE_INFINITY, until } : { from: round, rounds: 1, until }
    const failure = await fuzz(target, seed, limits)
    if (failure === undefined) {
      console.log(`${target.name}: ${rounds} rounds, nothing found`)
      continue
    }
    found++
    console.error(`${target.name}: FOUND in round ${failure.round} of seed ${seed}`)
    console.error(failure.error)
    console.error(`again: npm run fuzz -- ${target.name} --seed ${seed} --round ${failure.round}`)
  }
  return found === 0 ? 0 : 1
}

const program = process.argv[1]
if (program !== undefined && import.meta.url === pathToFileURL(program).href) process.exitCode = await main()
