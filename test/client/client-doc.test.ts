/** docs/client.md: its examples are one program, which prints what stands below them. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { API_TOKEN, startFixture } from '../http/fixture.ts'
import { ROOT } from '../support/server-process.ts'

test('the examples of docs/client.md run, and print what it says', async (t) => {
  const { origin } = await startFixture(t)
  const page = readFileSync(join(ROOT, 'docs', 'client.md'), 'utf8')
  const blocks = [...page.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)]
  const of = (language: string) => blocks.filter(([, name]) => name === language).map(([, , text = '']) => text)
  const folder = mkdtempSync(join(tmpdir(), 'sser-client-doc-'))
  t.after(() => rmSync(folder, { recursive: true }))
  // The package by its name, as its users have it.
  mkdirSync(join(folder, 'node_modules'))
  symlinkSync(ROOT, join(folder, 'node_modules', 'sser'))
  writeFileSync(join(folder, 'program.mjs'), of('js').join('\n'))
  const env = { PATH: process.env['PATH'], SSER_URL: origin, SSER_TOKEN: API_TOKEN }
  const run = promisify(execFile)(process.execPath, ['program.mjs'], { cwd: folder, env, timeout: 60_000 })
  const { stdout, stderr } = await run
  assert.equal(stdout, of('').join(''))
  assert.equal(stderr, '')
  assert.ok(of('js').length > 8, 'the examples were found')
})
