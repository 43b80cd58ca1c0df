/** docs/cli.md is what the tree of commands says. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { cliPage } from '../../src/cli/cli-docs.ts'
import { programOf } from '../../src/cli/program.ts'
import { silentHost } from './silent-host.ts'

test('docs/cli.md is up to date; npm run docs makes it anew', () => {
  const written = readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8')
  assert.equal(written, cliPage(programOf(silentHost())))
})
