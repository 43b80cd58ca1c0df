/** The commands that talk to a server, as a shell runs them, against a server with logs in memory. */

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { runClientCommand } from '../../src/cli/client/run.ts'
import { API_TOKEN, type Fixture, startFixture } from '../http/fixture.ts'

interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

interface RunOptions {
  readonly input?: string
  readonly signal?: AbortSignal
  readonly env?: Readonly<Record<string, string>>
  /** Told of all that was printed so far. */
  readonly onOut?: (out: string) => void
}

async function run(fixture: Fixture, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const stdout = new PassThrough()
  let out = ''
  let err = ''
  stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text
    options.onOut?.(out)
  })
  const host = {
    env: { SSER_URL: fixture.origin, SSER_TOKEN: API_TOKEN, ...options.env },
    stdin: Readable.from(options.input === undefined ? [] : [options.input]),
    stdout,
    signal: options.signal ?? new AbortController().signal,
  }
  const stderr = {
    write(text: string) {
      err += text
    },
  }
  const code = await runClientCommand(args, host, stderr)
  return { code, out, err }
}

async function prints(fixture: Fixture, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { code, out, err } = await run(fixture, args, options)
  assert.deepEqual({ code, err }, { code: 0, err: '' })
  return out
}

async function newTopic(fixture: Fixture): Promise<string> {
  return (JSON.parse(await prints(fixture, ['topic', 'create', '--json'])) as { id: string }).id
}

function folder(context: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'sser-cli-'))
  context.after(() => rmSync(path, { recursive: true }))
  return path
}

test('an event that is published by argument or by standard input is printed by subscribe', async (context) => {
  const fixture = await startFixture(context)
  const topic = await newTopic(fixture)
  const first = await prints(fixture, ['publish', topic, 'Hello', '--type', 'greeting', '--id', 'own'])
  assert.match(first, /^[0-9A-Za-z]{11}\n$/)
  await prints(fixture, ['publish', topic], { input: 'two\nlines\n' })
  await prints(fixture, ['publish', topic, '--parse', '{"n": 1}'])
  const out = await prints(fixture, ['subscribe', topic, '--since', 'earliest', '--count', '3'])
  assert.equal(out, 'Hello\ntwo\nlines\n{"n":1}\n')
  const json = await prints(fixture, ['subscribe', topic, '--since', 'earliest', '--count', '1', '--json'])
  const cursor = first.trim()
  assert.deepEqual(JSON.parse(json), { kind: 'event', id: 'own', type: 'greeting', data: 'Hello', cursor })
})

test('lines of standard input are published in their order, and one id is printed for each', async (context) => {
  const fixture = await startFixture(context, { http: { requestBodyBytesMax: 1 << 20, eventsPerRequestMax: 1_000 } })
  const topic = await newTopic(fixture)
  const input = Array.from({ length: 250 }, (_, i) => `line ${i}\n`).join('')
  const ids = (await prints(fixture, ['publish', topic, '--lines'], { input })).trimEnd().split('\n')
  assert.equal(ids.length, 250)
  assert.deepEqual(ids, ids.toSorted())
  const events = '{"message":[1],"type":"a","id":"x"}\n{"message":"b"}\n'
  await prints(fixture, ['publish', topic, '--events'], { input: events })
  const out = await prints(fixture, ['subscribe', topic, '--since', 'earliest', '--count', '252'])
  assert.equal(out, `${input}[1]\nb\n`)
})

test('a line that is no event ends the command, names its number, and leaves those before it published', async (context) => {
  const fixture = await startFixture(context)
  const topic = await newTopic(fixture)
  const { code, out, err } = await run(fixture, ['publish', topic, '--events'], { input: '{"message":1}\nnothing\n' })
  assert.equal(code, 64)
  assert.equal(out.trimEnd().split('\n').length, 1)
  assert.match(err, /Line 2 is not JSON/)
})

test('tokens are issued, listed, used and revoked, and hashed for a configuration', async (context) => {
  const fixture = await startFixture(context)
  const topic = await newTopic(fixture)
  const issued = await prints(fixture, ['token', 'create', topic, '--publish', '--label', 'press', '--json'])
  const { id, token, rights } = JSON.parse(issued) as { id: string; token: string; rights: string[] }
  assert.deepEqual(rights, ['publish'])
  assert.match(await prints(fixture, ['token', 'list', topic]), new RegExp(`^${id} .*publish.*press\n$`))
  const env = { SSER_TOKEN: token }
  assert.equal((await run(fixture, ['publish', topic, 'Hello'], { env })).code, 0)
  await prints(fixture, ['token', 'revoke', topic, id])
  assert.equal((await run(fixture, ['publish', topic, 'Hello'], { env })).code, 77)
  const hashed = await prints(fixture, ['token', 'hash'], { input: 'a-token-of-some-length\n' })
  assert.equal(hashed, `sha256:${createHash('sha256').update('a-token-of-some-length').digest('hex')}\n`)
})

test('a state file takes the next call to where the last one ended', async (context) => {
  const fixture = await startFixture(context)
  const topic = await newTopic(fixture)
  const state = join(folder(context), 'place')
  await prints(fixture, ['publish', topic, '--lines'], { input: 'a\nb\nc\n' })
  const args = ['subscribe', topic, '--since', 'earliest', '--state', state]
  assert.equal(await prints(fixture, [...args, '--count', '2']), 'a\nb\n')
  assert.match(readFileSync(state, 'utf8'), /^[0-9A-Za-z]{11}\n$/)
  assert.equal(await prints(fixture, [...args, '--count', '1']), 'c\n')
})

test('what may be missing is told beside the messages, and not among them', async (context) => {
  const fixture = await startFixture(context)
  const topic = await newTopic(fixture)
  await prints(fixture, ['publish', topic, 'Hello'])
  const args = ['subscribe', topic, '--last-event-id', 'never given', '--count', '1']
  const { out, err } = await run(fixture, args)
  assert.equal(out, 'Hello\n')
  assert.match(err, /^sser subscribe: events may be missing here: /)
})

test('a signal ends subscribe as it ends in an orderly way', async (context) => {
  const fixture = await startFixture(context)
  const topic = await newTopic(fixture)
  await prints(fixture, ['publish', topic, 'Hello'])
  const stopping = new AbortController()
  const args = ['subscribe', topic, '--since', 'earliest']
  const out = await prints(fixture, args, { signal: stopping.signal, onOut: () => stopping.abort() })
  assert.equal(out, 'Hello\n')
})

test('what the server refuses is told in its words, with an exit code that says what kind it is', async (context) => {
  const fixture = await startFixture(context)
  const unknown = await run(fixture, ['publish', '0000000001z', 'Hello'])
  assert.deepEqual([unknown.code, unknown.out], [1, ''])
  assert.match(unknown.err, /^sser publish: There is no topic/)
  const refused = await run(fixture, ['topic', 'create'], { env: { SSER_TOKEN: 'wrong' } })
  assert.equal(refused.code, 77)
  assert.match(refused.err, /SSER_TOKEN/)
  assert.ok(!refused.err.includes('wrong'), 'no token is printed')
  const nobody = await run(fixture, ['topic', 'create', '--url', 'http://127.0.0.1:1'])
  assert.equal(nobody.code, 69)
})

test('wrong use is told, and changes nothing', async (context) => {
  const fixture = await startFixture(context)
  for (const [args, words] of [
    [['topic'], /Usage: sser topic/],
    [['topic', 'mend'], /unknown command 'mend'/],
    [['topic', 'create', '--nome', 'x'], /unknown option '--nome'/],
    [['publish'], /missing required argument 'topic'/],
    [['publish', 'x', 'y', '--lines'], /standard input/],
    [['publish', 'x', '--parse', '{'], /not JSON/],
    [['subscribe', 'x', '--since', 'yesterday'], /--since takes/],
    [['subscribe', 'x', '--count', '0'], /--count takes/],
    [['topic', 'update', 'x'], /Name something/],
    [['topic', 'create', '--max-events', '-1'], /--max-events takes/],
    [['token', 'hash'], /16 to 512/],
    [['topic', 'create', '--url', 'nowhere'], /not the URL/],
  ] as const) {
    const { code, err } = await run(fixture, args)
    assert.equal(code, 64, args.join(' '))
    assert.match(err, words)
  }
})

test('every command has a help text with an example', async (context) => {
  const fixture = await startFixture(context)
  const topicCommands = ['create', 'list', 'show', 'update', 'empty', 'delete'].map((name) => ['topic', name])
  const tokenCommands = ['create', 'list', 'revoke', 'hash'].map((name) => ['token', name])
  for (const command of [...topicCommands, ...tokenCommands, ['publish'], ['subscribe']]) {
    assert.match(await prints(fixture, [...command, '--help']), /Examples?:\n {2}.*sser /)
  }
})
