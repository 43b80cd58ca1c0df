// The programs of the tests, as people call them by `npm run … --`: each says how, and a wrong call gets words and no stack.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { ROOT } from './server-process.ts'

const PROGRAMS = { bench: 'test/bench/run.ts', soak: 'test/soak/soak.ts', fuzz: 'fuzz/run.ts' }

async function called(program: string, ...args: string[]) {
  const child = spawn(process.execPath, ['--import', 'tsx', program, ...args], { cwd: ROOT, stdio: 'pipe' })
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), ended])
  return { stdout, stderr, code }
}

for (const [name, program] of Object.entries(PROGRAMS)) {
  test(`npm run ${name} says how it is called where it is asked, and what is wrong where it is called wrongly`, async () => {
    const [asked, unknown, worthless] = await Promise.all([
      called(program, '--help'),
      called(program, '--nonsense'),
      called(program, name === 'bench' ? '--scale' : '--minutes', 'none'),
    ])
    assert.deepEqual({ code: asked.code, stderr: asked.stderr }, { code: 0, stderr: '' })
    assert.match(asked.stdout, new RegExp(`^npm run ${name} -- `))
    for (const { code, stdout, stderr } of [unknown, worthless]) {
      assert.deepEqual({ code, stdout }, { code: 2, stdout: '' })
      assert.ok(stderr.endsWith(`\n\n${asked.stdout}`), stderr)
      assert.doesNotMatch(stderr, /\n\s+at /)
    }
    assert.match(unknown.stderr, /^Unknown option '--nonsense'/)
    assert.match(worthless.stderr, /^--(scale|minutes) takes a number above 0, not 'none'\./)
  })
}
