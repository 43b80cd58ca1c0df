/**
 * The table of faults in docs/testing.md says where each row is tested: those files have tests that bear its number.
 * `SSER_UPDATE_CATALOGUE=1 node --import tsx --test test/fault-catalogue.test.ts` writes it anew; a row that has a test no
 * more keeps its words, and the test asks for a reason.
 */

import assert from 'node:assert/strict'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const ROWS = 88
const ROOT = fileURLToPath(new URL('..', import.meta.url))
const PAGE = join(ROOT, 'docs/testing.md')
const TITLE = /(?:test|check)\(\s*[`'"]rows? ([^:]*):|\[\s*'row ([^:]*):/g
const LINE = /^\| (\d+) \|([^|]*)\| ([^|]*) \|$/gm

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

/** The files whose tests bear a row's number, as they stand in the table. */
function testedRows(): Map<number, string> {
  const tested = new Map<number, string[]>()
  const files = readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' })
  for (const file of files.filter((name) => name.endsWith('.test.ts')).sort()) {
    for (const row of rowsTestedIn(readFileSync(join(ROOT, 'test', file), 'utf8'))) {
      tested.set(row, [...(tested.get(row) ?? []), `\`${file}\``])
    }
  }
  return new Map([...tested].map(([row, names]) => [row, names.join(', ')]))
}

test('each row of the catalogue of faults names the tests that bear its number, or says why there is none', () => {
  const tested = testedRows()
  if (process.env['SSER_UPDATE_CATALOGUE'] === '1') {
    const written = readFileSync(PAGE, 'utf8').replaceAll(LINE, (_line, row: string, fault: string, where: string) => {
      return `| ${row} |${fault}| ${tested.get(Number(row)) ?? where} |`
    })
    writeFileSync(PAGE, written)
  }
  const table = new Map<number, string>()
  for (const [, row, , where] of readFileSync(PAGE, 'utf8').matchAll(LINE)) table.set(Number(row), where ?? '')
  for (let row = 1; row <= ROWS; row += 1) {
    const expected = tested.get(row)
    if (expected !== undefined) assert.equal(table.get(row), expected, `row ${row}`)
    else assert.match(table.get(row) ?? '', /^[A-Z].*\.$/, `row ${row} has neither a test nor a reason`)
  }
})
