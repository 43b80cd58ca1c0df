import assert from 'node:assert/strict'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { ensureTokens, TOKEN_FILE_NAME, TokenFileError } from '../../src/app/token-file.ts'
import { diskSteps } from '../support/disk-steps.ts'
import { missingProgram } from '../support/programs.ts'

const BASE62_TOKEN = /^[0-9A-Za-z]{64}$/

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sser-tokens-'))
  t.after(() => rm(folder, { recursive: true }))
  return folder
}

async function modeOf(path: string): Promise<number> {
  return (await stat(path)).mode & 0o777
}

test('the first start makes both tokens, later starts read the same ones', async (t) => {
  const folder = join(await temporaryFolder(t), 'deep', 'storage')
  const first = await ensureTokens(folder, {})
  assert.match(first.apiAccessToken, BASE62_TOKEN)
  assert.match(first.metricsAccessToken, BASE62_TOKEN)
  assert.notEqual(first.apiAccessToken, first.metricsAccessToken)
  assert.equal(first.made, true)
  assert.equal(first.path, join(folder, TOKEN_FILE_NAME))
  assert.deepEqual(await ensureTokens(folder, {}), { ...first, made: false })
  assert.deepEqual(await readdir(folder), [TOKEN_FILE_NAME])
})

test('the file is for its owner only, in a folder that is', async (t) => {
  const folder = join(await temporaryFolder(t), 'storage')
  const before = process.umask(0)
  t.after(() => void process.umask(before))
  await ensureTokens(folder, {})
  assert.equal(await modeOf(folder), 0o700)
  assert.equal(await modeOf(join(folder, TOKEN_FILE_NAME)), 0o600)
})

test('wider permissions that are there already are narrowed', async (t) => {
  const folder = await temporaryFolder(t)
  const { apiAccessToken, path = '' } = await ensureTokens(folder, {})
  await chmod(folder, 0o755)
  await chmod(path, 0o644)
  assert.equal((await ensureTokens(folder, {})).apiAccessToken, apiAccessToken)
  assert.equal(await modeOf(folder), 0o700)
  assert.equal(await modeOf(path), 0o600)
})

test('a given token is used and never written; only the missing one is made', async (t) => {
  const folder = await temporaryFolder(t)
  const given = 'given-by-the-operator'
  const ensured = await ensureTokens(folder, { apiAccessToken: given })
  assert.equal(ensured.apiAccessToken, given)
  const text = await readFile(ensured.path ?? '', 'utf8')
  assert(!text.includes(given))
  assert(text.includes(ensured.metricsAccessToken))
  const later = await ensureTokens(folder, {})
  assert.equal(later.metricsAccessToken, ensured.metricsAccessToken)
  assert.equal(later.made, true)
  assert.equal((await ensureTokens(folder, { metricsAccessToken: given })).apiAccessToken, later.apiAccessToken)
})

test('where both are given nothing is touched', async (t) => {
  const folder = join(await temporaryFolder(t), 'storage')
  const given = { apiAccessToken: 'one-of-the-operators', metricsAccessToken: 'another-of-the-same' }
  assert.deepEqual(await ensureTokens(folder, given), { ...given, path: undefined, made: false })
  await assert.rejects(stat(folder), { code: 'ENOENT' })
})

test('a file that cannot be used is refused in words, without its content, and left as it is', async (t) => {
  const secret = 'secret-in-the-file'
  const damages = [
    '',
    `{"version":1,"apiAccessToken":"${secret}`,
    `"${secret}"`,
    `{"version":2,"a":"${secret}"}`,
    'null',
  ]
  for (const text of [...damages, '{"version":1,"apiAccessToken":"short"}', '{"version":1,"apiAccessToken":7}']) {
    const folder = await temporaryFolder(t)
    const path = join(folder, TOKEN_FILE_NAME)
    await writeFile(path, text, { mode: 0o600 })
    await assert.rejects(ensureTokens(folder, {}), (error) => {
      assert(error instanceof TokenFileError)
      assert.equal(error.code, 'TOKEN_FILE')
      assert(error.message.includes(path) && !error.message.includes(secret), error.message)
      return error.cause === undefined
    })
    assert.equal(await readFile(path, 'utf8'), text)
  }
})

test('a link or a folder in place of the file is refused, and so is a file in place of the folder', async (t) => {
  const linked = await temporaryFolder(t)
  await writeFile(join(linked, 'elsewhere'), '{"version":1}')
  await symlink(join(linked, 'elsewhere'), join(linked, TOKEN_FILE_NAME))
  await assert.rejects(ensureTokens(linked, {}), /symbolic link/)
  const taken = await temporaryFolder(t)
  await mkdir(join(taken, TOKEN_FILE_NAME))
  await assert.rejects(ensureTokens(taken, {}), { code: 'TOKEN_FILE' })
  await writeFile(join(taken, 'file'), '')
  await assert.rejects(ensureTokens(join(taken, 'file'), {}), { code: 'TOKEN_FILE' })
})

test('what a start that was killed left behind does not stop the next one', async (t) => {
  const folder = await temporaryFolder(t)
  await writeFile(join(folder, `${TOKEN_FILE_NAME}.tmp`), '{"vers')
  assert.equal((await ensureTokens(folder, {})).made, true)
  assert.deepEqual(await readdir(folder), [TOKEN_FILE_NAME])
})

test('the tokens are on the disk before the file gets its name, and the name is after it', {
  skip: missingProgram('strace'),
}, async (t) => {
  const folder = await temporaryFolder(t)
  const steps = diskSteps(folder, 'app/token-file.js', `await it.ensureTokens(${JSON.stringify(folder)}, {})`)
  if (typeof steps === 'string') return t.skip(steps)
  assert.deepEqual(steps, ['fsync /tokens.json.tmp', 'rename /tokens.json.tmp', 'fsync '])
})
