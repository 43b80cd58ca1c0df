/** Files of keys: theirs is the order of what is made lasting, which no look at the folder shows. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { diskSteps } from '../support/disk-steps.ts'
import { missingProgram } from '../support/programs.ts'

test('a file of keys is on the disk before it gets its name, and the name is after it', {
  skip: missingProgram('strace'),
}, (context) => {
  const directory = mkdtempSync(join(tmpdir(), 'sser-private-'))
  context.after(() => rmSync(directory, { recursive: true }))
  const path = join(directory, 'key.pem')
  const steps = diskSteps(
    directory,
    'tls/private-file.js',
    `await it.writePrivateFile(${JSON.stringify(path)}, 'a key')`,
  )
  if (typeof steps === 'string') return context.skip(steps)
  assert.deepEqual(
    steps.map((step) => step.replace(/\.[0-9a-f]{12}\./, '.*.')),
    ['fsync /key.pem.*.tmp', 'rename /key.pem.*.tmp', 'fsync '],
  )
  assert.deepEqual(readdirSync(directory), ['key.pem'])
  assert.equal(readFileSync(path, 'utf8'), 'a key')
  assert.equal(statSync(path).mode & 0o777, 0o600)
})
