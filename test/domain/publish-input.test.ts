import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { DomainError } from '../../src/domain/errors.ts'
import { messageSource, messageSources } from '../../src/domain/message-source.ts'
import { type PublishInput, parsePublish } from '../../src/domain/publish-input.ts'

const limits = { idBytesMax: 256, typeBytesMax: 256, eventsPerRequestMax: 10_000 }

interface Parsed {
  readonly key: string
  readonly type: string
  readonly isString: boolean
  readonly message: string
}

function parse(text: string): Parsed {
  const input = parsePublish(JSON.parse(text), Buffer.from(text), limits)
  assert.ok(!Array.isArray(input), 'one event was sent')
  return texts(input as PublishInput)
}

function parseList(text: string, eventsPerRequestMax = limits.eventsPerRequestMax): Parsed[] {
  const inputs = parsePublish(JSON.parse(text), Buffer.from(text), { ...limits, eventsPerRequestMax })
  assert.ok(Array.isArray(inputs), 'a list was sent')
  return (inputs as readonly PublishInput[]).map((input) => texts(input))
}

function listOf(text: string): string[] {
  return parseList(text).map(({ message }) => message)
}

function texts(input: PublishInput): Parsed {
  return {
    key: Buffer.from(input.key).toString(),
    type: Buffer.from(input.type).toString(),
    isString: input.isString,
    message: Buffer.from(input.message).toString(),
  }
}

function message(text: string): string {
  return parse(text).message
}

function assertMistake(text: string, path: string | undefined, secret?: string): void {
  assert.throws(
    () => parsePublish(JSON.parse(text), Buffer.from(text), limits),
    (error: unknown) => {
      assert.ok(error instanceof DomainError, text)
      assert.equal(error.code, 'INVALID')
      assert.equal(error.path, path, text)
      assert.match(error.message, /\.$/)
      if (secret !== undefined) assert.ok(!error.message.includes(secret))
      return true
    },
  )
}

test('an event with everything is taken', () => {
  assert.deepEqual(parse('{"event":{"id":"é-1","type":"chat","message":"hé\\nlo"}}'), {
    key: 'é-1',
    type: 'chat',
    isString: true,
    message: 'hé\nlo',
  })
})

test('an empty or absent id or type counts as absent', () => {
  for (const text of ['{"event":{"message":""}}', '{"event":{"id":"","type":"","message":""}}']) {
    assert.deepEqual(parse(text), { key: '', type: '', isString: true, message: '' })
  }
})

test('any JSON value is a message: null, booleans, numbers, arrays and objects too', () => {
  for (const value of ['null', 'true', 'false', '0', '-1.5', '[]', '{}', '[1,"a",{"b":null}]', '{"":""}']) {
    const parsed = parse(`{"event":{"message":${value}}}`)
    assert.deepEqual([parsed.isString, parsed.message], [false, value])
  }
  assert.deepEqual(parse('{"event":{"message":"3"}}').isString, true)
})

test('numbers, keys and escapes arrive as they were written', () => {
  for (const value of [
    '12345678901234567890',
    '1.0',
    '1e400',
    '-0',
    '1E+2',
    '[0.10,{"2":1,"1":2}]',
    '{"a":1,"a":2}',
    '"\\u00e9"',
  ]) {
    if (!value.startsWith('"')) assert.equal(message(`{"event":{"message":${value}}}`), value)
    assert.equal(message(`{"event":{"message":[${value}]}}`), `[${value}]`)
  }
})

test('white space outside strings is taken out, and within them kept', () => {
  const text =
    '\n{ "event" : {\t"x" : [ 1 , 2 ] , "message" : { "a b" : [ " 1 \\" ] " , 2 ,\r\n 3 ] , "c" : "\\\\" } } }\r\n'
  assert.equal(message(text), '{"a b":[" 1 \\" ] ",2,3],"c":"\\\\"}')
  assert.equal(message('{"event":{"message": 1.0 }}'), '1.0')
  assert.equal(message('{"event":{"message":1.0\n}}'), '1.0')
})

test('of several members of one name the last counts, also where it is written with escapes', () => {
  assert.equal(message('{"event":{"message":[1],"\\u006dessage":[2.0]}}'), '[2.0]')
  assert.equal(message('{"event":{"\\u006dessage":[2.0],"message":[1.0]}}'), '[1.0]')
  assert.equal(message('{"event":{"message":[1]},"\\u0065vent":{"id":"x","message":[3.0]}}'), '[3.0]')
  assert.equal(message('{"event":7,"event":{"message":[1.0]}}'), '[1.0]')
  assert.equal(message('{"event":{"messages":[1],"messag":[2],"message":[1.0],"me\\"sage":[3]}}'), '[1.0]')
  assertMistake('{"event":{"message":[1]},"event":{"id":"x"}}', 'event.message')
})

test('a text without the member is an error of the caller, also where an earlier event had one', () => {
  for (const text of [
    '{}',
    '{"event":{"x":1}}',
    '{"event":{"message":1},"event":{"x":1}}',
    '{"event":{"message":1},"event":7}',
  ]) {
    assert.throws(() => messageSource(Buffer.from(text)), { code: 'ERR_ASSERTION' })
  }
})

test('members of the same names elsewhere do not count', () => {
  const text =
    '{"message":[1],"x":{"event":{"message":[2]}},"event":{"y":{"message":[3]},"message":[4.0],"z":[{"message":5}]}}'
  assert.equal(message(text), '[4.0]')
})

test('a byte order mark before the body does no harm', () => {
  const text = '{"event":{"message":[1.0]}}'
  assert.equal(Buffer.from(messageSource(Buffer.from(`\ufeff${text}`))).toString(), '[1.0]')
})

test('unknown keys and keys of a prototype do no harm', () => {
  assert.equal(message('{"__proto__":{"event":1},"x":1,"event":{"message":"m","constructor":1,"toString":2}}'), 'm')
  assertMistake('{"__proto__":{"event":{"message":"m"}}}', 'event')
  assertMistake('{"event":{"__proto__":{"message":"m"}}}', 'event.message')
  assert.equal(message('{"event":{"message":{"__proto__":{"x":1.0}}}}'), '{"__proto__":{"x":1.0}}')
})

test('what has the wrong form is a mistake with its place', () => {
  for (const body of ['null', '[]', '1', '"x"', '[{"event":{"message":1}}]']) assertMistake(body, undefined)
  for (const event of ['null', '[]', '1', '"x"', '[{"message":1}]']) assertMistake(`{"event":${event}}`, 'event')
  assertMistake('{}', 'event')
  assertMistake('{"event":{}}', 'event.message')
  assertMistake('{"event":{"id":"x","type":"y"}}', 'event.message')
  for (const value of ['1', 'null', 'true', '[]', '{}', '["secret"]']) {
    assertMistake(`{"event":{"id":${value},"message":1}}`, 'event.id', 'secret')
    assertMistake(`{"event":{"type":${value},"message":1}}`, 'event.type', 'secret')
  }
})

test('each control character in an id or a type is a mistake, and their neighbours are not', () => {
  const controls = [0x7f, 0x2028, 0x2029]
  for (let unit = 0; unit < 0x20; unit++) controls.push(unit)
  for (let unit = 0x80; unit < 0xa0; unit++) controls.push(unit)
  for (const unit of controls) {
    const value = JSON.stringify(`secret${String.fromCharCode(unit)}`)
    assertMistake(`{"event":{"id":${value},"message":1}}`, 'event.id', 'secret')
    assertMistake(`{"event":{"type":${value},"message":1}}`, 'event.type', 'secret')
  }
  for (const unit of [0x20, 0x7e, 0xa0, 0x2027, 0x202a]) {
    const value = `a${String.fromCharCode(unit)}b`
    assert.equal(parse(JSON.stringify({ event: { id: value, type: value, message: 1 } })).key, value)
  }
})

test('an id and a type have at most 256 bytes of UTF-8', () => {
  for (const name of ['id', 'type']) {
    for (const value of ['x'.repeat(256), 'é'.repeat(128), '😀'.repeat(64)]) {
      parse(JSON.stringify({ event: { [name]: value, message: 1 } }))
      assertMistake(JSON.stringify({ event: { [name]: `${value}x`, message: 1 } }), `event.${name}`, 'x'.repeat(9))
    }
  }
})

test('half a surrogate pair in a bare text arrives as the replacement character, and within JSON as it was written', () => {
  assert.equal(message('{"event":{"message":"a\\ud800"}}'), 'a\ufffd')
  assert.equal(message('{"event":{"message":["a\\ud800"]}}'), '["a\\ud800"]')
})

test('a message nested a million deep is taken, for no part of this calls itself for each level', () => {
  const depth = 500_000
  const nested = '['.repeat(depth) + ']'.repeat(depth)
  assert.equal(message(`{"event":{"message": ${nested}}}`), nested)
})

test('each event of a list is taken as one alone would be', () => {
  assert.deepEqual(
    parseList('{"events":[{"id":"1","type":"a","message":"é"}, {"message":{"x": 1.0}},{"id":"","message":null}]}'),
    [
      { key: '1', type: 'a', isString: true, message: 'é' },
      { key: '', type: '', isString: false, message: '{"x":1.0}' },
      { key: '', type: '', isString: false, message: 'null' },
    ],
  )
  const [text] = messageSources(Buffer.from('\ufeff {"events":[{"message":[1.0]}]}'))
  assert.equal(Buffer.from(text ?? '').toString(), '[1.0]', 'a byte order mark does no harm')
})

test('in a list, too, messages arrive as they were written, each its own', () => {
  const written = ['12345678901234567890', '1.0', '[0.10,{"2":1,"1":2}]', '{"a":1,"a":2}', '"s"', 'true', '["]","}"]']
  const events = written.map((value, index) => ` {"x":[{"message":9}],"message" : ${value} ,"id":"${index}"}\n`)
  const expected = written.map((value) => (value === '"s"' ? 's' : value))
  assert.deepEqual(listOf(`{"events" : [${events.join(' , ')}] }`), expected)
})

test('of several lists, and of several messages in one event, the last counts', () => {
  assert.deepEqual(listOf('{"events":[{"message":[1]},{"message":[2]}],"\\u0065vents":[{"message":[3.0]}]}'), ['[3.0]'])
  assert.deepEqual(listOf('{"events":{"message":[1]},"events":[{"message":[3.0]}]}'), ['[3.0]'])
  assert.deepEqual(listOf('{"events":[1,[2],"x"],"events":[{"message":[3.0],"\\u006dessage":[4.0]}]}'), ['[4.0]'])
  assert.deepEqual(listOf('{"x":{"events":[{"message":1}]},"event ":1,"events":[{"message":[2.0]}]}'), ['[2.0]'])
  assert.deepEqual(messageSources(Buffer.from('{"events":[{"message":1},{}],"events":7}')), [])
  assert.deepEqual(messageSources(Buffer.from('{"events":[7,{"x":1}]}')), [undefined, undefined])
})

test('a mistake in one event of a list is told with its place, and so is a list that is none', () => {
  const listWith = (event: string) => `{"events":[${'{"message":{}},'.repeat(17)}${event}]}`
  for (const event of ['null', '[]', '1', '"secret"', '[{"message":1}]']) {
    assertMistake(listWith(event), 'events[17]', 'secret')
  }
  assertMistake(listWith('{"id":"secret"}'), 'events[17].message', 'secret')
  assertMistake(listWith('{"id":["secret"],"message":1}'), 'events[17].id', 'secret')
  assertMistake(listWith('{"id":"a\\nb","message":1}'), 'events[17].id')
  assertMistake(listWith('{"type":"sser.x","message":1}'), 'events[17].type')
  assertMistake(listWith(`{"type":"${'x'.repeat(257)}","message":1}`), 'events[17].type')
  assertMistake('{"events":[{},{"message":1}]}', 'events[0].message')
  for (const events of ['[]', 'null', '{}', '1', '"secret"', '{"0":{"message":1},"length":1}']) {
    assertMistake(`{"events":${events}}`, 'events', 'secret')
  }
  for (const event of ['{"message":1}', 'null', '[]']) {
    assertMistake(`{"event":${event},"events":[{"message":1}]}`, 'events')
    assertMistake(`{"events":[],"event":${event}}`, 'events')
  }
})

test('a list of more events than are allowed is too large, and one of exactly as many is taken', () => {
  const text = '{"events":[{"message":1},{"message":[2.0]},{"message":"3"}]}'
  assert.equal(parseList(text, 3).length, 3)
  assert.throws(
    () => parseList(text, 2),
    (error: unknown) => error instanceof DomainError && error.code === 'TOO_LARGE' && error.path === 'events',
  )
})

test('the source of a list is gone over once, however many events need it', () => {
  const count = 5_000
  const text = Buffer.from(
    `{"events":[${Array.from({ length: count }, (_, index) => `{"message":[${index}]}`).join()}]}`,
  )
  const body: unknown = JSON.parse(text.toString())
  let reads = 0
  const counted = new Proxy(text, {
    get(target, property) {
      reads += 1
      const value: unknown = Reflect.get(target, property)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
  assert.equal((parsePublish(body, counted, limits) as readonly PublishInput[]).length, count)
  assert.ok(reads > text.length / 2, `${reads} reads were counted`)
  assert.ok(reads < text.length * 20, `${reads} reads of a text of ${text.length} bytes`)
})

const space = fc.string({ unit: fc.constantFrom(' ', '\n', '\r', '\t'), maxLength: 3 })

/** Writes a JSON value with random white space, and its own keys and strings partly in escapes. */
function written(value: unknown, pad: () => string, inEscapes: () => boolean): string {
  if (typeof value === 'string') {
    const text = JSON.stringify(value)
    if (!inEscapes()) return text
    return `"${value
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join('')}"`
  }
  if (Array.isArray(value))
    return `[${pad()}${value.map((item) => written(item, pad, inEscapes) + pad()).join(`,${pad()}`)}]`
  if (typeof value === 'object' && value !== null) {
    const members = Object.entries(value).map(
      ([key, item]) => `${written(key, pad, inEscapes)}${pad()}:${pad()}${written(item, pad, inEscapes)}${pad()}`,
    )
    return `{${pad()}${members.join(`,${pad()}`)}}`
  }
  return JSON.stringify(value)
}

test('the slice that is taken means what JSON.parse made of it, and has no white space outside strings', () => {
  const names = fc.constantFrom('event', 'message', 'id', 'x', '__proto__', '"', '\\', 'messag\\')
  const value = fc.jsonValue({ maxDepth: 3 })
  const members = fc.array(fc.tuple(names, value), { maxLength: 5 })
  fc.assert(
    fc.property(
      members,
      members,
      value,
      fc.infiniteStream(space),
      fc.infiniteStream(fc.boolean()),
      (outer, inner, message, spaces, escapes) => {
        const pad = () => spaces.next().value as string
        const inEscapes = () => escapes.next().value as boolean
        const object = (list: readonly (readonly [string, string])[]) =>
          `{${pad()}${list.map(([key, text]) => `${written(key, pad, inEscapes)}${pad()}:${pad()}${text}${pad()}`).join(`,${pad()}`)}}`
        const texts = (list: readonly (readonly [string, unknown])[]) =>
          list.map(([key, item]) => [key, written(item, pad, inEscapes)] as const)
        const event = object([
          ...texts(inner),
          ['message', written(message, pad, inEscapes)],
          ...texts(inner.filter(([key]) => key !== 'message')),
        ])
        const text = `${pad()}${object([...texts(outer), ['event', event], ...texts(outer.filter(([key]) => key !== 'event'))])}${pad()}`
        const slice = Buffer.from(messageSource(Buffer.from(text))).toString()
        const expected = (JSON.parse(text) as { event: { message: unknown } }).event.message
        assert.deepEqual(JSON.parse(slice), expected)
        assert.doesNotMatch(slice.replace(/"(?:[^"\\]|\\.)*"/g, ''), /\s/)

        const list = [...texts(outer), ['events', `[${pad()}${event}${pad()},${event}${pad()}]`] as const]
        const slices = messageSources(Buffer.from(object(list))).map((text) => Buffer.from(text ?? '').toString())
        assert.deepEqual(slices, [slice, slice])
      },
    ),
  )
})
