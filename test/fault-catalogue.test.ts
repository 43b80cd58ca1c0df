/** The table of faults in docs/testing.md says where each row is tested: those files have tests that bear its number. */

import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const ROWS = 88
const ROOT = fileURLToPath(new URL('..', import.meta.url))
const TITLE = /(?:test|check)\(\s*[`'"]rows? ([^:]*):|\[\s*'row ([^:]*):/g

function rowsTestedIn(text: string): Set<number> {
  const rows = new Set<number>()
  for (const [, ofTest, ofTable] of text.matchAll(TITLE)) {
    const spec = ofTest ?? ofTable ?? ''
    const range = /^(\d+) to (\d+)$/.exec(spec)
    if (range === null) for (const number of spec.matchAll(/\d+/g)) rows.add(Number(number[0]))
    else for (let row = Number(range[1]); row <= Number(range[2]); row += 1) rows.add(row)
  }
  return rows
}

test('each row of the catalogue of faults names the tests that bear its number, or says why there is none', () => {
  const page = readFileSync(join(ROOT, 'docs/testing.md'), 'utf8')
  const table = new Map<number, string>()
  for (const [, row, where] of page.matchAll(/^\| (\d+) \|[^|]*\| ([^|]*) \|$/gm)) table.set(Number(row), where ?? '')
  const tested = new Map<number, string[]>()
  const files = readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' })
  for (const file of files.filter((name) => name.endsWith('.test.ts')).sort()) {
    for (const row of rowsTestedIn(readFileSync(join(ROOT, 'test', file), 'utf8'))) {
      tested.set(row, [...(tested.get(row) ?? []), `\`${file}\``])
    }
  }
  for (let row = 1; row <= ROWS; row += 1) {
    const expected = tested.get(row)?.join(', ')
    if (expected !== undefined) assert.equal(table.get(row), expected, `row ${row}`)
    else assert.match(table.get(row) ?? '', /^[A-Z].*\.$/, `row ${row} has neither a test nor a reason`)
  }
})
