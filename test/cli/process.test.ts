/** The program as a process: its signals, its pipes and its exit codes, against a server with logs in memory. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { API_TOKEN, startFixture } from '../http/fixture.ts'
import { missingProgram } from '../support/programs.ts'
import { builtMain } from '../support/server-process.ts'

const folder = mkdtempSync(join(tmpdir(), 'sser-process-'))
const running = new Set<ChildProcess>()
after(() => {
  for (const child of running) child.kill('SIGKILL')
  rmSync(folder, { recursive: true })
})

const main = builtMain()

/** `sser`, with standard input left open. */
function start(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  return startProgram(process.execPath, [main, ...args], env)
}

function startProgram(program: string, args: readonly string[], env: Readonly<Record<string, string>>) {
  const child = spawn(program, args, {
    cwd: folder,
    stdio: 'pipe',
    env: { PATH: process.env['PATH'], HOME: folder, SSER_TOKEN: API_TOKEN, ...env },
  })
  running.add(child)
  let [out, err] = ['', '']
  let onOut: () => void = () => undefined
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text
    onOut()
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text
    onOut()
  })
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null; out: string; err: string }>(
    (resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code, signal) => {
        running.delete(child)
        resolve({ code, signal, out, err })
      })
    },
  )
  /** Resolves when what was printed, on either channel, fits. */
  const until = (pattern: RegExp) =>
    new Promise<void>((resolve, reject) => {
      onOut = () => {
        if (pattern.test(out + err)) resolve()
      }
      onOut()
      void ended.then(() => reject(new Error(`It ended without ${pattern}: ${out}${err}`)))
    })
  return { child, ended, until }
}

test('a signal ends subscribe with 0, and its place is on the disk; a second call goes on there', async (context) => {
  const fixture = await startFixture(context)
  const { id } = await fixture.createTopic(true)
  for (const message of ['one', 'two', 'three']) await fixture.publish(id, { message })
  const env = { SSER_URL: fixture.origin }
  const args = ['subscribe', id, '--since', 'earliest', '--state', 'place']
  for (const [signal, last] of [
    ['SIGINT', 'three'],
    ['SIGTERM', 'four'],
  ] as const) {
    const { child, ended, until } = start(args, env)
    await until(new RegExp(`^${last}$`, 'm'))
    child.kill(signal)
    const { code, err, out } = await ended
    assert.deepEqual({ code, err }, { code: 0, err: '' })
    assert.equal(out.includes('one'), last === 'three')
    assert.match(readFileSync(join(folder, 'place'), 'utf8'), /^[0-9A-Za-z]{11}\n$/)
    await fixture.publish(id, { message: 'four' })
  }
})

test('a signal between lines ends publish with its exit code, when what was read is published', async (context) => {
  const fixture = await startFixture(context)
  const { id } = await fixture.createTopic(true)
  const { child, ended, until } = start(['publish', id, '--lines'], { SSER_URL: fixture.origin })
  child.stdin.write('one\n')
  await until(/^[0-9A-Za-z]{11}$/m)
  child.kill('SIGINT')
  const { code, err, out } = await ended
  assert.deepEqual({ code, err }, { code: 130, err: '' })
  assert.equal(out.length, 12)
})

test('a reader that goes away ends every kind of output without a complaint', async (context) => {
  const fixture = await startFixture(context, { http: { requestBodyBytesMax: 1 << 20, eventsPerRequestMax: 10_000 } })
  const { id } = await fixture.createTopic(true)
  // More than a pipe holds, so that the writer is still at it when its reader goes.
  const message = 'x'.repeat(50_000)
  for (let i = 0; i < 8; i += 1) await fixture.publish(id, { message })
  for (const command of [
    `subscribe ${id} --since earliest`,
    'topic list --json',
    '--help',
    'config show',
    'completion zsh',
  ]) {
    const line = `"$NODE" "$MAIN" ${command} | head -c 1 >&2; echo "\${PIPESTATUS[0]}"`
    const env = { SSER_URL: fixture.origin, NODE: process.execPath, MAIN: main }
    const { out, err } = await startProgram('bash', ['-c', line], env).ended
    assert.deepEqual([out, err.length], ['0\n', 1], command)
  }
})

test('on a terminal the token is asked for, and not shown', {
  skip: missingProgram('script'),
}, async (context) => {
  const fixture = await startFixture(context)
  const { id } = await fixture.createTopic(true)
  const env = { SSER_URL: fixture.origin, SSER_TOKEN: '', NODE: process.execPath, MAIN: main }
  const line = '"$NODE" "$MAIN" topic list --token -'
  const given = startProgram('script', ['-qec', line, '/dev/null'], env)
  await given.until(/Token: /)
  given.child.stdin.write(`${API_TOKEN}\r`)
  const { code, out } = await given.ended
  assert.equal(code, 0, out)
  assert.ok(out.includes(id), out)
  assert.ok(!out.includes(API_TOKEN), 'the token is not shown')

  const refused = startProgram('script', ['-qec', line, '/dev/null'], env)
  await refused.until(/Token: /)
  refused.child.stdin.write('\x03')
  assert.equal((await refused.ended).code, 130)
})
