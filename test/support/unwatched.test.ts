/** That a test without the runner's look at its promises fails as any other does. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

test('tests whose promises are not looked at pass, fail and are left out as others are, each under its name', () => {
  const sample = fileURLToPath(new URL('unwatched-sample.ts', import.meta.url))
  // Without what makes it a part of this run.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env
  const args = ['--import', 'tsx', '--test-reporter=tap', sample]
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', env, timeout: 50_000 })
  const results = [...stdout.matchAll(/^ *(not ok|ok) \d+ - (.*)$/gm)].map(([, result, name]) => `${result}: ${name}`)
  assert.deepEqual(
    results,
    [
      'ok: its promises are not looked at',
      'ok: those of the next test are',
      'not ok: fails at once',
      'not ok: fails later',
      'not ok: is failed by a timer',
      'not ok: is failed by a promise that nobody awaits',
      'ok: is left out # SKIP for a reason',
      'ok: has a context',
      'not ok: a suite',
      'ok: outside of the suite',
    ],
    stdout + stderr,
  )
  const errors = [...stdout.matchAll(/^ *error: '(.*)'$/gm)].map(([, error]) => error)
  assert.deepEqual(errors, ['at once', 'later', 'by a timer', 'that nobody awaits', '4 subtests failed'])
  assert.match(stdout, /# as it was given$/m)
  assert.equal(status, 1)
})
