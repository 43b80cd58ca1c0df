/**
 * The inputs that the fuzzers know: `fuzz/corpus/TARGET/`, one a file, with the reason for it as the file's name. Of a
 * target of rounds a file holds the seed of a round, in decimal digits; its reason holds as long as the target makes of
 * that seed what it made then.
 */

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export interface CorpusEntry {
  /** Why it is there. */
  readonly name: string
  readonly input: Buffer
}

const FOLDER = fileURLToPath(new URL('corpus', import.meta.url))

/** In the order of names. */
export function corpusOf(target: string): readonly CorpusEntry[] {
  const folder = join(FOLDER, target)
  return readdirSync(folder)
    .sort()
    .map((name) => ({ name, input: readFileSync(join(folder, name)) }))
}

/** Returns the path. */
export function saveToCorpus(target: string, name: string, input: Buffer): string {
  const path = join(FOLDER, target, name)
  mkdirSync(join(FOLDER, target), { recursive: true })
  writeFileSync(path, input)
  return path
}
