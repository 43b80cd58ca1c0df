/** The targets of what users and programs send: ids, bodies, entries of the log, the configuration, the last event id. */

import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ConfigError, loadConfig } from '../src/config/config.ts'
import {
  decodeEvent,
  decodeEventsDropped,
  decodeTopicChanged,
  decodeTopicCreated,
  decodeTopicDeleted,
  EntryError,
  encodeEvent,
  encodeEventsDropped,
  encodeTopicChanged,
  encodeTopicCreated,
  encodeTopicDeleted,
} from '../src/domain/entry.ts'
import { DomainError } from '../src/domain/errors.ts'
import { formatEventId, parseEventId, parseTopicId } from '../src/domain/event-id.ts'
import { unlimited } from '../src/domain/retention.ts'
import { changeTopicSchema, createTopicSchema, validate } from '../src/http/schemas.ts'
import { retentionOf } from '../src/http/topic-wire.ts'
import type { Random } from './random.ts'
import type { ByteTarget } from './target.ts'

const ID_CHARACTERS = 11
const EVENT_NUMBER_MAX = BigInt(Number.MAX_SAFE_INTEGER)
const TOPIC_NUMBER_MAX = 2n ** 63n - 1n
const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

export const base62: ByteTarget = {
  name: 'base62',
  about: 'Ids are read as they were written, and anything else is refused.',
  generate: someId,
  check: (input) => checkBase62(input, parseEventId),
  planted: [{ bug: 'a number over 2^53 is taken', check: (input) => checkBase62(input, parseWithoutBound) }],
}

export const topicInput: ByteTarget = {
  name: 'topic-input',
  about: 'Any JSON body of a topic is a coded mistake, or settings within their bounds.',
  generate: someTopicBody,
  check: (input) => checkTopicInput(input, retentionOf),
  planted: [
    {
      bug: 'minutes count as months',
      check: (input) => checkTopicInput(input, retentionInMonths),
    },
  ],
}

export const entries: ByteTarget = {
  name: 'entries',
  about: 'Any payload of an entry is a coded mistake, or means what it means when it is encoded and decoded again.',
  generate: someEntry,
  check: (input) => checkEntry(input, decodeEvent),
  planted: [
    { bug: "an event's type is one byte short", check: (input) => checkEntry(input, decodeWithShortType) },
    { bug: 'the flags of an event are not looked at', check: (input) => checkEntry(input, decodeWithoutFlags) },
  ],
}

export const config: ByteTarget = {
  name: 'config',
  about: 'Any base.yaml gives a configuration or tells its mistakes, without a secret in them.',
  generate: someYaml,
  check: (input) => checkConfig(input, loadConfig),
  planted: [{ bug: 'a mistake shows the value of a secret', check: (input) => checkConfig(input, loadTellingAll) }],
}

function someId(random: Random): Buffer {
  const number = Math.floor((random.next() * 2 ** 21 + random.below(2 ** 21)) / 2 ** random.below(53))
  if (random.oneIn(2)) return Buffer.from(formatEventId(number).slice(random.below(ID_CHARACTERS)))
  let text = ''
  for (let rest = random.below(14); rest > 0; rest--) text += random.pick([...'09AZaz5Kk', '-', ' ', 'é'])
  return Buffer.from(text)
}

function checkBase62(input: Buffer, parse: typeof parseEventId): void {
  const text = input.toString('utf8')
  const value = numberMeantBy(text)
  const number = parse(text)
  const expected = value === undefined || value > EVENT_NUMBER_MAX ? undefined : Number(value)
  assert.equal(number, expected)
  if (number !== undefined) assert.equal(formatEventId(number), text.padStart(ID_CHARACTERS, '0'))
  const isTopic = value !== undefined && value <= TOPIC_NUMBER_MAX
  assert.equal(parseTopicId(text), isTopic ? text.padStart(ID_CHARACTERS, '0') : undefined)
}

/** In the slow and plain way. */
function numberMeantBy(text: string): bigint | undefined {
  if (!/^[0-9A-Za-z]{1,11}$/.test(text)) return undefined
  let value = 0n
  for (const character of text) value = value * 62n + BigInt(ALPHABET.indexOf(character))
  return value
}

function parseWithoutBound(text: string): number | undefined {
  const value = numberMeantBy(text)
  return value === undefined ? undefined : Number(value)
}

const TOPIC_MEMBERS = ['"persist":true', '"name":"a"', '"name":null', '"retention":{}', '"x":[]', '"name":"\\u0000"']
const DURATIONS = ['"1s"', '"90m"', '"720h"', '"250ms"', '"0s"', '"1d"', 'null', '5', '"999999999999h"', '"1s "']
const COUNTS = ['1', '0', '-1', '1.5', '1e15', '1e300', 'null', '"1"', 'true', '9007199254740993']

function someTopicBody(random: Random): Buffer {
  const limits = [
    `"max_age":${random.pick(DURATIONS)}`,
    `"max_bytes":${random.pick(COUNTS)}`,
    `"max_events":${random.pick(COUNTS)}`,
  ].filter(() => random.oneIn(2))
  const members = TOPIC_MEMBERS.filter(() => random.oneIn(4))
  if (limits.length > 0) members.push(`"retention":{${limits.join(',')}}`)
  return Buffer.from(`{"pubsub":{${members.join(',')}}}`)
}

const MS_OF_UNIT = new Map([
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
])

function checkTopicInput(input: Buffer, toRetention: typeof retentionOf): void {
  let body: unknown
  try {
    body = JSON.parse(input.toString('utf8'))
  } catch (error) {
    assert.ok(error instanceof SyntaxError)
    return
  }
  const readings = [() => validate(createTopicSchema, body), () => validate(changeTopicSchema, body)]
  for (const reading of readings) {
    try {
      const { name, retention = {} } = reading().pubsub
      if (typeof name === 'string')
        assert.ok(name.length > 0 && name.length <= 200 && !/\p{Cc}/u.test(name), 'a plain name')
      const { maxAgeMs, maxBytes, maxEvents } = toRetention(retention)
      for (const limit of [maxAgeMs, maxBytes, maxEvents]) {
        assert.ok(limit === undefined || limit === null || limit >= 1, 'a limit is at least 1')
        if (typeof limit === 'number') assert.ok(Number.isSafeInteger(limit), 'a limit is whole')
      }
      if (typeof retention.max_age === 'string') {
        const [, amount, unit = ''] = /^(\d+)(.*)$/.exec(retention.max_age) ?? []
        assert.equal(maxAgeMs, Number(amount) * (MS_OF_UNIT.get(unit) ?? Number.NaN))
      }
    } catch (error) {
      if (!(error instanceof DomainError) || error.code !== 'INVALID') throw error
    }
  }
}

function retentionInMonths(body: Parameters<typeof retentionOf>[0]): ReturnType<typeof retentionOf> {
  const months = 43_200
  const isMinutes = typeof body.max_age === 'string' && /^\d+m$/.test(body.max_age)
  const { maxAgeMs, ...others } = retentionOf(body)
  return { ...others, maxAgeMs: isMinutes && typeof maxAgeMs === 'number' ? maxAgeMs * months : maxAgeMs }
}

/** One byte says which kind the rest is; each is decoded, and what comes is encoded and decoded again. */
function someEntry(random: Random): Buffer {
  const kind = random.below(5)
  const settings = { name: random.pick([undefined, 'news']), retention: unlimited }
  const payloads = [
    encodeEvent({ isString: random.oneIn(2), type: random.bytes(random.below(4)), message: random.bytes(5) }),
    encodeTopicCreated({ tokenSha256: random.bytes(32), ...settings, createdAtMs: random.next() }),
    encodeTopicChanged({ topic: random.next(), ...settings }),
    encodeEventsDropped({ topic: random.next(), through: random.next() }),
    encodeTopicDeleted({ topic: random.next() }),
  ]
  return Buffer.concat([Buffer.of(kind), payloads[kind] ?? Buffer.alloc(0)])
}

function checkEntry(input: Buffer, decodeOfEvent: typeof decodeEvent): void {
  const payload = input.subarray(1)
  try {
    switch ((input[0] ?? 0) % 5) {
      case 0:
        assert.ok(payload.equals(encodeEvent(decodeOfEvent(payload))), 'an event was not encoded so')
        return
      case 1:
        assertSame(decodeTopicCreated, encodeTopicCreated, payload)
        return
      case 2:
        assertSame(decodeTopicChanged, encodeTopicChanged, payload)
        return
      case 3:
        assertSame(decodeEventsDropped, encodeEventsDropped, payload)
        return
      default:
        assertSame(decodeTopicDeleted, encodeTopicDeleted, payload)
    }
  } catch (error) {
    if (!(error instanceof EntryError)) throw error
  }
}

function assertSame<Entry>(
  decode: (payload: Uint8Array) => Entry,
  encode: (entry: Entry) => Uint8Array,
  payload: Uint8Array,
): void {
  const entry = decode(payload)
  assert.deepEqual(decode(encode(entry)), entry)
}

function decodeWithShortType(payload: Uint8Array): ReturnType<typeof decodeEvent> {
  const { type, ...others } = decodeEvent(payload)
  return { ...others, type: type.subarray(0, Math.max(0, type.length - 1)) }
}

function decodeWithoutFlags(payload: Uint8Array): ReturnType<typeof decodeEvent> {
  const plain = Uint8Array.from(payload)
  if (plain.length > 0) plain[0]! &= 1
  return decodeEvent(plain)
}

const SECRET = 'a7Yq2mB9xK4wT1zR8'
const YAML_LINES = [
  'server:',
  `  addr: \${PORT::8889}`,
  '  maxRequestBodySize: 1MiB',
  'pubsub:',
  `  apiAccessToken: \${SSER_API_ACCESS_TOKEN:}`,
  `  tickFrequency: \${SSER_API_ACCESS_TOKEN}`,
  `  staticPubSubs: [{id: "1", name: news, token: \${SSER_API_ACCESS_TOKEN}}]`,
  'log:',
  '  sync: commit',
  '  maxBytes: 1GiB',
  '  whenFull: dropOldest',
  '  segmentBytes: 64KiB',
  'retention:',
  '  maxAge: 1h',
  '  maxEvents: 0',
  `nonsense: \${`,
  '  __proto__: 1',
  '- a list',
  '  x: &a [*a]',
  '? {a: b} : c',
]

function someYaml(random: Random): Buffer {
  return Buffer.from(YAML_LINES.filter(() => random.oneIn(3)).join('\n'))
}

let scratch: string | undefined

/** One folder for the life of the process: loading reads files, and knows no other way. */
function scratchFolder(): string {
  if (scratch !== undefined) return scratch
  const made = mkdtempSync(join(tmpdir(), 'sser-fuzz-'))
  mkdirSync(join(made, '_config'))
  process.once('exit', () => rmSync(made, { recursive: true, force: true }))
  scratch = made
  return made
}

function checkConfig(input: Buffer, load: typeof loadConfig): void {
  const cwd = scratchFolder()
  writeFileSync(join(cwd, '_config', 'base.yaml'), input)
  try {
    const { config: loaded } = load({ env: { SSER_API_ACCESS_TOKEN: SECRET }, cwd })
    assert.ok(Object.isFrozen(loaded), 'it is frozen')
    assert.ok(loaded.log.batchBytesMax >= loaded.log.recordBytesMax, 'a record fits a batch')
    assert.ok(loaded.log.segmentBytes > 0 && loaded.log.maxBytes > 0, 'sizes are above 0')
    assert.equal({}.constructor, Object, 'nothing was put into what all objects share')
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    assert.ok(error.mistakes.length > 0, 'a mistake is named')
    assert.ok(!error.message.includes(SECRET), 'a secret is told')
  }
}

function loadTellingAll(source: Parameters<typeof loadConfig>[0]): ReturnType<typeof loadConfig> {
  try {
    return loadConfig(source)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    throw new ConfigError([...error.mistakes, { key: 'env', found: JSON.stringify(source.env), allowed: 'less' }])
  }
}
