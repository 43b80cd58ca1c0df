/** The commands that talk to a server, as a shell runs them, against a server with logs in memory. */

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { wordsOf } from '../../src/cli/client/failure.ts'
import { Interruption } from '../../src/cli/host.ts'
import { runProgram } from '../../src/cli/program.ts'
import { SserError } from '../../src/client/index.ts'
import { API_TOKEN, type Fixture, startFixture } from '../http/fixture.ts'
import { silentHost } from './silent-host.ts'

interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

interface RunOptions {
  readonly input?: string
  readonly stdin?: Readable
  readonly cwd?: string
  readonly signal?: AbortSignal
  readonly isTerminal?: boolean
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
  const stderr = {
    write(text: string) {
      err += text
    },
  }
  const host = silentHost({
    cwd: options.cwd ?? tmpdir(),
    env: { SSER_URL: fixture.origin, SSER_TOKEN: API_TOKEN, ...options.env },
    stdin: options.stdin ?? Readable.from(options.input === undefined ? [] : [options.input]),
    stdout: Object.assign(stdout, { isTTY: options.isTerminal }),
    stderr,
    stopSignal: () => options.signal ?? new AbortController().signal,
  })
  const code = await runProgram(args, host)
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

test('a token comes from a file, from a file of the server, from standard input, or from the environment', async (context) => {
  const fixture = await startFixture(context)
  const cwd = folder(context)
  const topic = await newTopic(fixture)
  writeFileSync(join(cwd, 'token'), `${API_TOKEN}\n`)
  writeFileSync(join(cwd, 'tokens.json'), JSON.stringify({ metricsAccessToken: 'x', apiAccessToken: API_TOKEN }))
  const none = { SSER_TOKEN: '' }
  const list = ['topic', 'list']
  for (const [args, options] of [
    [[...list, '--token-file', 'token'], { env: none }],
    [[...list, '--token-file', 'tokens.json'], { env: { SSER_TOKEN: 'wrong' } }],
    [[...list, '--token-file', join(cwd, 'token')], { env: { SSER_TOKEN_FILE: 'nowhere' } }],
    [[...list, '--token', API_TOKEN], { env: none }],
    [[...list, '--token', '-'], { env: none, input: `${API_TOKEN}\nwhat stands behind it\n` }],
    [list, { env: { ...none, SSER_TOKEN_FILE: 'token' } }],
    [list, { env: { SSER_TOKEN_FILE: 'nowhere' } }],
  ] as const) {
    const out = await prints(fixture, args, { cwd, ...options })
    assert.ok(out.startsWith(topic), args.join(' '))
  }
})

test('a token that cannot be had is told without showing what stands in its place', async (context) => {
  const fixture = await startFixture(context)
  const cwd = folder(context)
  writeFileSync(join(cwd, 'two-words'), 'confidential words\n')
  writeFileSync(join(cwd, 'broken.json'), '{"apiAccessToken": "confidential')
  const env = { SSER_TOKEN: '' }
  for (const [args, code, words] of [
    [['--token-file', 'nowhere'], 66, /cannot be read from .*nowhere \(ENOENT\)/],
    [['--token-file', 'two-words'], 64, /two-words holds is no token/],
    [['--token-file', 'broken.json'], 64, /broken.json holds is no token/],
    [['--token', ''], 64, /--token says is no token/],
    [['--token', '-'], 64, /standard input says is no token/],
    [['--token', 'confidential', '--token-file', 'x'], 64, /not both/],
  ] as const) {
    const ran = await run(fixture, ['topic', 'list', ...args], { cwd, env })
    assert.equal(ran.code, code, ran.err)
    assert.match(ran.err, words)
    assert.ok(!ran.err.includes('confidential'), ran.err)
  }
  const both = await run(fixture, ['publish', 'x', '--token', '-'], { env, input: API_TOKEN })
  assert.equal(both.code, 64)
  assert.match(both.err, /Standard input brings the token/)
})

test('a signal ends a command that waits for standard input, with the exit code of that signal', async (context) => {
  const fixture = await startFixture(context)
  const topic = await newTopic(fixture)
  for (const args of [
    ['publish', topic],
    ['publish', topic, '--lines'],
    ['token', 'hash'],
    ['topic', 'list', '--token', '-'],
  ]) {
    const stopping = new AbortController()
    const ran = run(fixture, args, {
      stdin: new PassThrough(),
      get signal() {
        setImmediate(() => stopping.abort(new Interruption('SIGINT')))
        return stopping.signal
      },
    })
    assert.deepEqual(await ran, { code: 130, out: '', err: '' }, args.join(' '))
  }
})

test('lines that were read when a signal comes are published, and their ids printed', async (context) => {
  const fixture = await startFixture(context)
  const topic = await newTopic(fixture)
  const stopping = new AbortController()
  const stdin = new PassThrough()
  stdin.write('one\ntwo\n')
  const onOut = () => stopping.abort(new Interruption('SIGTERM'))
  const ran = await run(fixture, ['publish', topic, '--lines'], { stdin, signal: stopping.signal, onOut })
  assert.equal(ran.code, 143)
  assert.equal(ran.out.split('\n').length - 1, 2)
  assert.equal(await prints(fixture, ['subscribe', topic, '--since', 'earliest', '--count', '2']), 'one\ntwo\n')
})

test('topics are searched, and listed by what is asked for', async (context) => {
  const fixture = await startFixture(context)
  for (const name of ['orders', 'Old orders', 'press']) await prints(fixture, ['topic', 'create', '--name', name])
  const names = async (...args: readonly string[]) =>
    (await prints(fixture, ['topic', 'list', '--json', ...args]))
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { name: string }).name)
  assert.deepEqual(await names('--search', 'orders', '--sort', 'name'), ['Old orders', 'orders'])
  assert.deepEqual((await names('--sort', 'name', '--desc'))[0], 'press')
  assert.equal((await run(fixture, ['topic', 'list', '--sort', 'colour'])).code, 64)
})

test('on a terminal, and nowhere else, the list of topics has a head', async (context) => {
  const fixture = await startFixture(context)
  await newTopic(fixture)
  const head = /^ID +EVENTS +BYTES +STREAMS +NAME\n/
  const terminal = await prints(fixture, ['topic', 'list'], { isTerminal: true })
  assert.match(terminal, head)
  assert.equal(terminal.replace(head, ''), await prints(fixture, ['topic', 'list']))
  assert.doesNotMatch(await prints(fixture, ['topic', 'list', '--json'], { isTerminal: true }), /EVENTS/)
})

test('where no server answers, and where a token does not do, it is told what to do', async () => {
  const cause = new Error('fetch failed', { cause: Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }) })
  assert.equal(
    wordsOf(new SserError('SSER_UNREACHABLE', 'No answer from http://x.', { cause })),
    'No answer from http://x. (refused) Start the server, or name another one by --url or SSER_URL.',
  )
  assert.match(wordsOf(new SserError('SSER_REFUSED', 'No.', { status: 401 })), /^No\. .*SSER_TOKEN.*--token-file/)
})

test('a certificate that nobody vouches for is told with what to do', () => {
  const cause = new Error('fetch failed', {
    cause: Object.assign(new Error('self-signed certificate'), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' }),
  })
  const words = wordsOf(new SserError('SSER_UNREACHABLE', 'No answer from https://x.', { cause }))
  assert.match(words, /^No answer from https:\/\/x\. \(self-signed certificate\) .*NODE_EXTRA_CA_CERTS=FILE\.$/)
})
