/**
 * What a target of the fuzzers is. One of bytes looks at any input that it is given; the fuzzer makes inputs from its
 * generator and by changing those of the corpus. One of rounds makes what it looks at itself, from a source of chance,
 * because its promise needs to know how the input came about; its corpus holds the seeds of rounds.
 *
 * `planted` are the same target over code with a mistake in it that was made on purpose: each must be found.
 */

import type { Random } from './random.ts'

export type Round = (random: Random) => void | Promise<void>
/** Throws where a promise is broken. */
export type Check = (input: Buffer) => void | Promise<void>

interface Described {
  readonly name: string
  /** What must hold, in a sentence. */
  readonly about: string
}

export interface ByteTarget extends Described {
  readonly generate: (random: Random) => Buffer
  readonly check: Check
  readonly planted: readonly { readonly bug: string; readonly check: Check }[]
}

export interface RoundTarget extends Described {
  readonly round: Round
  readonly planted: readonly { readonly bug: string; readonly round: Round }[]
}

export type FuzzTarget = ByteTarget | RoundTarget

/** The target with the mistake in the place of the code. */
export function plantedTargets(target: FuzzTarget): readonly FuzzTarget[] {
  const { name } = target
  if ('round' in target) {
    return target.planted.map(({ bug, round }) => ({ name, about: bug, round, planted: [] }))
  }
  const { generate } = target
  return target.planted.map(({ bug, check }) => ({ name, about: bug, generate, check, planted: [] }))
}
