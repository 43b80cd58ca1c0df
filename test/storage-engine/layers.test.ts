/** The engine's README tells of every file, and its order is that of who may know whom. */

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'

const FOLDER = new URL('../../storage-engine/', import.meta.url)
const read = (name: string): string => readFileSync(new URL(name, FOLDER), 'utf8')
const told = [...read('README.md').matchAll(/^\| `([^`]+\.ts)` \|/gm)].map(([, name = '']) => name)

test('the README of the engine tells of each of its files, once', () => {
  const files = readdirSync(FOLDER).filter((name) => name.endsWith('.ts'))
  assert.deepEqual(told.toSorted(), files.toSorted())
})

test('no file of the engine imports one that the README tells of further down, not even a type', () => {
  for (const [at, name] of told.entries()) {
    const imported = [...read(name).matchAll(/ from '\.\/([^']+)'/g)].map(([, other = '']) => other)
    const known = new Set(told.slice(0, at))
    const unknown = imported.filter((other) => !known.has(other))
    assert.deepEqual(unknown, [], `${name} imports what stands below it`)
  }
})
