/** The file in which a subscriber keeps its place, on a real disk. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { StateFile } from '../../src/cli/client/state-file.ts'
import { diskSteps } from '../support/disk-steps.ts'
import { missingProgram } from '../support/programs.ts'

function folder(context: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'sser-state-'))
  context.after(() => rmSync(path, { recursive: true }))
  return path
}

test('the latest place is in the file when it has settled, and nothing lies beside it', async (context) => {
  const directory = folder(context)
  const path = join(directory, 'place')
  const state = new StateFile(path)
  assert.equal(await state.read(), undefined)
  for (let i = 0; i < 500; i += 1) state.keep(`place-${i}`)
  await state.settled()
  assert.equal(readFileSync(path, 'utf8'), 'place-499\n')
  assert.equal(await new StateFile(path).read(), 'place-499')
  state.keep('one more')
  await state.settled()
  assert.equal(await state.read(), 'one more')
  assert.deepEqual(readdirSync(directory), ['place'])
})

test('two calls on one file do not spoil it, nor each other', async (context) => {
  const directory = folder(context)
  const path = join(directory, 'place')
  const writers = [new StateFile(path), new StateFile(path)]
  for (let i = 0; i < 50; i += 1) {
    for (const [which, writer] of writers.entries()) writer.keep(`${which}-${i}`.padEnd(200, '.'))
    await new Promise(setImmediate)
    assert.match((await new StateFile(path).read()) ?? ''.padEnd(200, '.'), /^(\d-\d+)?\.+$/)
  }
  await Promise.all(writers.map((writer) => writer.settled()))
  assert.match(readFileSync(path, 'utf8'), /^[01]-49\.+\n$/)
  assert.deepEqual(readdirSync(directory), ['place'])
})

test('a place that cannot be written is told, at once where that can be known', async (context) => {
  const directory = folder(context)
  await assert.rejects(new StateFile(join(directory, 'nowhere', 'place')).read(), { code: 'ENOENT' })
  const path = join(directory, 'taken')
  mkdirSync(path)
  writeFileSync(join(path, 'something'), '')
  const state = new StateFile(path)
  state.keep('somewhere')
  await assert.rejects(state.settled(), { code: 'EISDIR' })
  assert.throws(() => state.keep('elsewhere'), { code: 'EISDIR' })
  assert.deepEqual(readdirSync(directory), ['taken'])
})

test('the place is on the disk before it gets its name, and the name is after it', {
  skip: missingProgram('strace'),
}, (context) => {
  const directory = folder(context)
  const script = `
    const state = new it.StateFile(${JSON.stringify(join(directory, 'place'))})
    state.keep('somewhere')
    await state.settled()`
  const done = diskSteps(directory, 'cli/client/state-file.js', script)
  if (typeof done === 'string') return context.skip(done)
  assert.equal(done.length, 3, done.join('\n'))
  assert.match(done[0] ?? '', /^fdatasync \/\.place\.\d+-[0-9a-f]{12}\.tmp$/)
  assert.match(done[1] ?? '', /^rename \/\.place\.\d+-[0-9a-f]{12}\.tmp$/)
  assert.equal(done[2], 'fsync ')
})
