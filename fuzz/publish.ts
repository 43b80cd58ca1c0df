/** The target of what publishers send. */

import assert from 'node:assert/strict'
import { isBoom } from '@hapi/boom'
import { DomainError } from '../src/domain/errors.ts'
import { messageSource, messageSources } from '../src/domain/message-source.ts'
import { type PublishInput, parseBareEvent, parsePublish } from '../src/domain/publish-input.ts'
import { parseJson } from '../src/http/json-body.ts'
import type { Random } from './random.ts'
import type { ByteTarget } from './target.ts'

export const publishInput: ByteTarget = {
  name: 'publish-input',
  about: 'Any JSON body is taken or is a coded mistake, and a message that is taken means what was sent.',
  generate: someBody,
  check(input) {
    checkPublish(input, parsePublish)
    checkLine(input)
  },
  planted: [{ bug: "a message's text is made anew from its value", check: (input) => checkPublish(input, parseAnew) }],
}

function someBody(random: Random): Buffer {
  const event = () => `{${randomMembers(random, 3).join(',')}}`
  const sentAs = random.oneIn(2) ? 'event' : 'events'
  const value =
    sentAs === 'event'
      ? event()
      : `[${Array.from({ length: 1 + random.below(5) }, event).join(random.pick([',', ' , ']))}]`
  const members = [...randomMembers(random, 2), `${randomKey(random, sentAs)}:${value}`]
  const text = `${random.pick(SPACES)}{${members.join(`${random.pick(SPACES)},`)}}`
  return Buffer.from(random.oneIn(8) ? text.slice(0, random.below(text.length)) : text)
}

function checkPublish(source: Buffer, parse: typeof parsePublish): void {
  let body: unknown
  try {
    body = parseJson(source)
  } catch (error) {
    assert.ok(isBoom(error) && error.output.statusCode === 400, 'what is no JSON is a coded mistake')
    return
  }
  const { event: one, events } = (body ?? {}) as { event?: SentEvent; events?: readonly SentEvent[] }
  try {
    const inputs = parse(body, source, { idBytesMax: 20, typeBytesMax: 20, eventsPerRequestMax: 4 })
    if (Array.isArray(inputs)) {
      assert.equal(one, undefined)
      assert.equal(inputs.length, events?.length)
      assertMeans(inputs, events ?? [], messageSources(source))
    } else {
      const input = inputs as PublishInput
      assert.equal(events, undefined)
      assertMeans([input], [one], input.isString ? [] : [messageSource(source)])
    }
  } catch (error) {
    if (!(error instanceof DomainError)) throw error
    if (error.code === 'TOO_LARGE') assert.ok(events !== undefined && events.length > 4, 'too many events')
    else if (error.code !== 'INVALID') throw error
  }
}

/** The same text as a line of many, which is an event without anything around it. */
function checkLine(source: Buffer): void {
  let event: SentEvent
  try {
    event = parseJson(source) as SentEvent
  } catch (error) {
    assert.ok(isBoom(error))
    return
  }
  try {
    const input = parseBareEvent(event, source, { idBytesMax: 20, typeBytesMax: 20, eventsPerRequestMax: 4 })
    assertMeans([input], [event], [Buffer.from(input.message)])
  } catch (error) {
    if (!(error instanceof DomainError && error.code === 'INVALID')) throw error
  }
}

type SentEvent = { readonly message?: unknown } | null | undefined

function assertMeans(
  inputs: readonly PublishInput[],
  events: readonly SentEvent[],
  sources: readonly (Uint8Array | undefined)[],
): void {
  for (const [index, input] of inputs.entries()) {
    const sent = events[index]?.message
    const message = Buffer.from(input.message).toString()
    assert.equal(input.isString, typeof sent === 'string')
    // Half a surrogate pair has no form in UTF-8.
    const meant = typeof sent === 'string' ? Buffer.from(sent).toString() : sent
    assert.deepEqual(input.isString ? message : JSON.parse(message), meant)
    if (!input.isString) assert.equal(Buffer.from(sources[index] ?? '').toString(), message)
  }
}

const SPACES = ['', '', ' ', '\n', '\r\n\t']
const SCALARS = [
  '1',
  '1.0',
  '-0',
  '1e400',
  '12345678901234567890',
  'null',
  'true',
  'false',
  '""',
  '"a b"',
  '"\\""',
  '"\\\\"',
  '"\\u0065é"',
  '"\\n"',
]

function randomKey(random: Random, key: string): string {
  const escaped = random.oneIn(4) ? `\\u${key.charCodeAt(0).toString(16).padStart(4, '0')}${key.slice(1)}` : key
  return `${random.pick(SPACES)}"${escaped}"${random.pick(SPACES)}`
}

function randomMembers(random: Random, depth: number): string[] {
  const members: string[] = []
  for (let rest = random.below(5); rest > 0; rest--) {
    const key = random.pick(['event', 'events', 'message', 'message', 'id', 'type', 'dedupe', '__proto__', 'x'])
    members.push(`${randomKey(random, key)}:${randomValue(random, depth)}`)
  }
  return members
}

function randomValue(random: Random, depth: number): string {
  const pad = random.pick(SPACES)
  if (depth === 0 || random.oneIn(2)) return pad + random.pick(SCALARS) + pad
  if (random.oneIn(2)) return `{${pad}${randomMembers(random, depth - 1).join(',')}}${pad}`
  const items = Array.from({ length: random.below(4) }, () => randomValue(random, depth - 1))
  return `[${pad}${items.join(`${pad},`)}]${pad}`
}

function parseAnew(...args: Parameters<typeof parsePublish>): ReturnType<typeof parsePublish> {
  const anew = (input: PublishInput): PublishInput => {
    if (input.isString) return input
    return { ...input, message: Buffer.from(JSON.stringify(JSON.parse(Buffer.from(input.message).toString()))) }
  }
  const inputs = parsePublish(...args)
  return Array.isArray(inputs) ? inputs.map(anew) : anew(inputs as PublishInput)
}
