import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLogger, type LogFields, type LoggerOptions, requestSummary, silentLogger } from '../src/logger.ts'

const MADE_TOKEN = 'aB3'.padEnd(64, 'xY7')
const GIVEN_TOKEN = 'given-by-the-operator-0001'

function logged(fields: LogFields, message: string, options: Partial<LoggerOptions> = {}): string[] {
  const lines: string[] = []
  const destination = { write: (line: string) => void lines.push(line) }
  createLogger({ level: 'debug', secrets: [GIVEN_TOKEN], destination, ...options }).info(fields, message)
  return lines
}

test('an event is one line of JSON with its level, time, message and fields', () => {
  const [line = '', ...more] = logged({ port: 8889, topics: [1, 2], on: true, none: undefined }, 'The server listens.')
  assert.deepEqual(more, [])
  assert.equal(line.indexOf('\n'), line.length - 1)
  const { time, ...rest } = JSON.parse(line)
  assert.match(time, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/)
  assert.deepEqual(rest, { level: 'info', port: 8889, topics: [1, 2], on: true, message: 'The server listens.' })
})

test('for people an event is one line of text, also with an error in it', () => {
  const lines = logged({ error: new Error('first\nsecond') }, 'It failed.', { pretty: true })
  assert.equal(lines.length, 1)
  assert.match(lines[0] ?? '', /INFO.*It failed\..*first/)
  assert.equal(lines[0]?.trimEnd().split('\n').length, 1)
})

test('levels below the configured one are silent', () => {
  assert.deepEqual(logged({}, 'quiet', { level: 'warn' }), [])
  assert.deepEqual(logged({}, 'quiet', { level: 'silent' }), [])
  silentLogger.error({}, 'nothing happens')
})

test('no token comes out, wherever it stands and however it is wrapped', () => {
  class Request {
    headers = { authorization: `Bearer ${GIVEN_TOKEN}` }
  }
  const failure = Object.assign(new Error(`wrong token ${MADE_TOKEN}`, { cause: new Error(GIVEN_TOKEN) }), {
    request: new Request(),
    data: GIVEN_TOKEN,
  })
  const wrappings: LogFields[] = [
    { authorization: 'Bearer short' },
    { header: 'Bearer short-but-secret' },
    { apiAccessToken: 'short' },
    { nested: { deep: [{ topic_token: ['short'] }] } },
    { text: `x${GIVEN_TOKEN}y` },
    { [GIVEN_TOKEN]: 1 },
    { text: MADE_TOKEN, list: [MADE_TOKEN] },
    { error: failure },
    { request: new Request() },
    { bytes: Buffer.from(GIVEN_TOKEN), map: new Map([['a', GIVEN_TOKEN]]) },
    { url: `/api/v1/pubsubs/1/events?access_token=short` },
    { text: `cut ${' '.repeat(3970)}${MADE_TOKEN}` },
    { text: `/path?${'q'.repeat(3950)} ${MADE_TOKEN}` },
    { text: 'access_token=short&x' },
  ]
  for (const pretty of [false, true]) {
    for (const fields of wrappings) {
      const [line = ''] = logged(fields, `with ${GIVEN_TOKEN} and ${MADE_TOKEN}`, { pretty })
      for (const secret of ['short', GIVEN_TOKEN, MADE_TOKEN, MADE_TOKEN.slice(0, 20)]) {
        assert(!line.includes(secret), `${secret} stands in ${line}`)
      }
    }
  }
})

test('no message body comes out under the names that bodies have', () => {
  const body = 'what the publisher wrote'
  const fields = { message: body, body, payload: { body }, data: [body], event: { message: body } }
  const [line = ''] = logged(fields, 'An event came.')
  assert(!line.includes(body), line)
  assert.equal(JSON.parse(line).message, 'An event came.')
})

test('no query string comes out, and the path stays', () => {
  const [line = ''] = logged({ url: '/a/b?since=1&x=2', at: 'http://h:1/c?q=3', words: 'from /d?q=4 on' }, 'GET /e?q=5')
  const shown = JSON.parse(line)
  assert.deepEqual([shown.url, shown.at, shown.words, shown.message], ['/a/b', 'http://h:1/c', 'from /d on', 'GET /e'])
  assert.deepEqual(requestSummary({ method: 'GET', url: '/api?access_token=x#y', socket: { remoteAddress: '::1' } }), {
    method: 'GET',
    path: '/api',
    remoteAddress: '::1',
  })
  assert.deepEqual(requestSummary({}), { method: '', path: '', remoteAddress: undefined })
})

test('a control character cannot begin a line of its own', () => {
  const [line = ''] = logged({ id: 'a\n{"level":50}\u001b[31m\u2028' }, 'first\r\nsecond', { pretty: true })
  assert.equal(line.trimEnd().split(/[\r\n\u2028]/).length, 1)
  assert(!line.includes('\u001b[31m'))
})

test('an error keeps its name, code, words, cause and place', () => {
  const cause = Object.assign(new Error('no room'), { code: 'ENOSPC' })
  const error = JSON.parse(logged({ error: new TypeError('it broke', { cause }) }, 'Failed.')[0] ?? '').error
  assert.equal(error.name, 'TypeError')
  assert.equal(error.what, 'it broke')
  assert.equal(error.cause.code, 'ENOSPC')
  assert.match(error.stack[0], /logger\.test\.ts/)
})

test('what refers to itself, or is very large, is cut and does no harm', () => {
  const loop: Record<string, unknown> = {}
  loop['self'] = loop
  const [line = ''] = logged(
    { loop, long: '/'.repeat(1_000_000), many: new Array(10_000).fill(1), big: 10n, bytes: new Uint8Array(5) },
    'x',
  )
  assert(line.length < 5000)
  assert.equal(JSON.parse(line).big, '10')
  assert.equal(JSON.parse(line).bytes, '[5 bytes]')
})
