/** The description of the API: it is of the routes that there are, known tools take it, and it asks for what the server asks for. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createConfig, lintFromString } from '@redocly/openapi-core'
import { Ajv2020 } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import fc from 'fast-check'
import type Joi from 'joi'
import { DomainError } from '../../src/domain/errors.ts'
import { parseExpectedLast, parsePublish } from '../../src/domain/publish-input.ts'
import { callsOf } from '../../src/http/calls.ts'
import { toJsonSchema } from '../../src/http/json-schema.ts'
import {
  changeTopicSchema,
  createTopicSchema,
  issueTicketSchema,
  issueTokenSchema,
  publishSchema,
  validate,
} from '../../src/http/schemas.ts'
import { description, mistakeIn, watchAnswers } from './described-answers.ts'
import { API_TOKEN, post, startFixture } from './fixture.ts'

const limits = { idBytesMax: 8, typeBytesMax: 8, eventsPerRequestMax: 3 }
const described = Object.keys(callsOf({ ...limits, historyEventsMax: 10, topicsPerStreamMax: 5, writeTimeoutMs: 1 }))

test('every route is described, and every description is of a route', async (t) => {
  const { http } = await startFixture(t)
  const routes = http.hapi
    .table()
    .filter(({ method }) => method !== '*')
    .map(({ method, path }) => `${method.toUpperCase()} ${path}`)
  assert.deepEqual(
    routes.filter((route) => !described.includes(route)),
    [],
    'These routes are not described. Add each to the table in src/http/calls.ts, with its schemas and answers.',
  )
  assert.deepEqual(
    described.filter((route) => !routes.includes(route)),
    [],
    'These descriptions in src/http/calls.ts are of no route. Take them away, or mend the route.',
  )
})

test('the description is served without a token, and says the limits of this server', async (t) => {
  const { origin } = await startFixture(t, {
    http: { eventsPerRequestMax: 77, historyEventsMax: 33, version: '9.8.7' },
  })
  const response = await fetch(`${origin}/openapi.json`)
  assert.equal(response.headers.get('content-type'), 'application/json')
  const text = await response.text()
  const { openapi, info, paths } = JSON.parse(text)
  assert.deepEqual([openapi, info.version], ['3.1.0', '9.8.7'])
  const events = paths['/api/v1/pubsubs/{id}/events']
  const [one, several] = events.post.requestBody.content['application/json'].schema.oneOf
  assert.equal(one.properties.event.properties.id.maxLength, 64)
  assert.equal(several.properties.events.maxItems, 77)
  const limit = events.get.parameters.find(({ name }: { readonly name: string }) => name === 'limit')
  assert.deepEqual(limit.schema, { type: 'integer', default: 33, minimum: 1, maximum: 33 })
})

test("Redocly's linter has nothing to say", async () => {
  const config = await createConfig({ extends: ['recommended-strict'] })
  const lint = async (document: unknown) => {
    const problems = await lintFromString({ source: JSON.stringify(document), absoluteRef: 'openapi.json', config })
    return problems.map(({ ruleId, message, location }) => `${ruleId}: ${message} ${location[0]?.pointer ?? ''}`)
  }
  assert.deepEqual(await lint(description), [])
  const { '/healthz': health, ...others } = description.paths
  const nameless = { ...description, paths: { ...others, '/healthz/{id}': health } }
  assert.match((await lint(nameless)).join('\n'), /path-parameters-defined/, 'the linter sees a mistake')
})

test('every call is answered as it is described where it succeeds', async (t) => {
  const { http, origin, api, createTopic, publish } = await startFixture(t)
  const done = new Set<string>()
  watchAnswers(http.hapi.listener, ({ method, url, head }) => {
    if (/^HTTP\/1\.1 2/.test(head)) done.add(`${method} ${url.replace(/^(?:http:\/\/[^/]+)?/, '').replace(/\?.*/, '')}`)
  })
  const { id } = await createTopic(true)
  const authorization = { authorization: `Bearer ${API_TOKEN}` }
  const call = async (method: string, address: string, body?: object, accept?: string) => {
    const headers = {
      ...authorization,
      'content-type': 'application/json',
      ...(accept === undefined ? {} : { accept }),
    }
    const response = await fetch(address, { method, headers, ...(body && { body: JSON.stringify(body) }) })
    assert.ok(response.ok, `${method} ${address}: ${response.status}`)
    return response
  }
  const topic = `${api}/pubsubs/${id}`
  await call('POST', `${api}/pubsubs`)
  await call('GET', `${api}/pubsubs?limit=1`)
  await call('PATCH', topic, { pubsub: { name: 'orders', retention: { max_age: '1h', max_events: 5 } } })
  await publish(id, { message: 1, id: 'mine', type: 'kind' })
  await post(`${topic}/events`, '{"events":[{"message":2},{"message":"three"}]}')
  await call('GET', topic)
  const lines = await post(`${topic}/events`, '{"message":4}\n', { 'content-type': 'application/x-ndjson' })
  assert.match(await lines.text(), /"lines":1/)
  await call('POST', `${api}/tickets`, { ticket: { topics: [id] } })
  for (const accept of ['application/json', 'application/x-ndjson']) {
    await (await call('GET', `${topic}/events`, undefined, accept)).text()
  }
  await (await call('GET', `${topic}/events`, undefined, 'text/event-stream')).body?.cancel()
  await (await call('GET', `${api}/events?topic=${id}`)).body?.cancel()
  await (await call('GET', `${api}/dashboard/events`)).body?.cancel()
  await (await call('POST', `${api}/dashboard/events`, { feed: {} })).body?.cancel()
  const { token } = (await (await call('POST', `${topic}/tokens`, { token: { label: 'press' } })).json()) as {
    readonly token: { readonly id: string }
  }
  await call('GET', `${topic}/tokens`)
  await call('DELETE', `${topic}/tokens/${token.id}`)
  await call('DELETE', `${topic}/events`)
  await call('DELETE', topic)
  await call('GET', `${api}/metrics`)
  for (const path of ['/metrics', '/healthz', '/readyz', '/openapi.json']) await call('GET', `${origin}${path}`)
  for (const path of ['/', '/assets/dashboard/page.js', '/assets/dashboard/page.css'])
    await call('GET', `${origin}${path}`)

  const isDone = (route: string) => {
    const pattern = new RegExp(`^${route.replace(/\{[^}]+\}/g, '[^/]+')}$`)
    return [...done].some((each) => pattern.test(each))
  }
  // The heads of streams are told when they end.
  const isStream = (route: string) => /^\S+ \/api\/v1\/(dashboard\/)?events$/.test(route)
  assert.deepEqual(
    described.filter((route) => !isDone(route) && !isStream(route)),
    [],
    'This test makes no successful call of these. Add one above.',
  )
})

test('an answer that is not as it is described is told, with what to do', () => {
  const head = (status: number, type = 'application/json') => `HTTP/1.1 ${status} X\r\ncontent-type: ${type}\r\n\r\n`
  const of = (method: string, url: string, status: number, body: string, type?: string) =>
    mistakeIn({ method, url, head: head(status, type), body })
  assert.equal(of('GET', '/healthz', 200, '{"status":"ok"}'), undefined)
  assert.equal(of('GET', '/nowhere', 404, '{"error":{"code":404,"message":"No."}}'), undefined)
  // Found by seed 3586216864 of the random requests: a target may be a whole address.
  assert.equal(of('GET', 'http://[:@1/healthz?a=1', 200, '{"status":"ok"}'), undefined)
  assert.match(of('GET', '/new', 200, '{}') ?? '', /not in src\/http\/calls\.ts/)
  assert.match(of('GET', '/healthz', 418, '{}') ?? '', /no such status/)
  assert.match(of('GET', '/healthz', 200, '{"status":"ok"}', 'text/plain') ?? '', /text\/plain/)
  assert.match(of('GET', '/healthz', 200, '{"status":"ok","more":1}') ?? '', /additional properties/)
  assert.match(of('GET', '/healthz', 200, '{}') ?? '', /required property 'status'/)
  assert.match(of('GET', '/nowhere', 404, '{"error":"No."}') ?? '', /must be object/)
  assert.match(of('GET', '/healthz', 200, 'ok') ?? '', /no JSON/)
  assert.match(of('DELETE', '/api/v1/pubsubs/1', 204, '{}') ?? '', /without one/)
  const lines = '{"id":"00000000001","time":"2026-01-01T00:00:00.000Z","message":null}\n{"gap":1}\n'
  assert.match(of('GET', '/api/v1/pubsubs/1/events', 200, lines, 'application/x-ndjson') ?? '', /gap/)
})

/** Values near what a schema asks for: its members by name, with values of every kind, and some that it does not know. */
function near(names: readonly string[], values: readonly unknown[]): fc.Arbitrary<unknown> {
  const leaf = fc.constantFrom<unknown>(...values, '', 'a', 0, 1, -1, 1.5, true, null, [], {})
  const member = fc.constantFrom(...names, 'other')
  return fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 4, withCrossShrink: true },
      leaf,
      fc.dictionary(member, tie('value'), { maxKeys: 4 }),
      fc.array(tie('value'), { maxLength: 4 }),
    ),
  })).value
}

const ajv = new Ajv2020({ strict: false })
formats.default(ajv)
const seed = Number(process.env['SSER_SEED'] ?? Date.now() % 1_000_000)

function agrees(
  schema: Joi.Schema,
  values: fc.Arbitrary<unknown>,
  takes: (value: unknown) => boolean,
  runs = 2000,
): void {
  const isDescribed = ajv.compile(toJsonSchema(schema))
  let taken = 0
  fc.assert(
    fc.property(values, (value) => {
      const isTaken = takes(value)
      if (isTaken) taken += 1
      assert.equal(isDescribed(value), isTaken, `seed ${seed}: ${JSON.stringify(value)}`)
    }),
    { numRuns: runs, seed },
  )
  assert.ok(taken > runs / 400, `seed ${seed}: ${taken} of ${runs} values were taken, too few to say anything`)
}

function isInvalid(error: unknown): boolean {
  if (error instanceof DomainError && ['INVALID', 'TOO_LARGE'].includes(error.code)) return true
  throw error
}

test('the description asks for exactly what the schemas of the routes take', (t) => {
  t.diagnostic(`SSER_SEED=${seed}`)
  const texts = ['1h', '90m', 'x'.repeat(200), 'x'.repeat(201), 'a\u0085', 'a\u2028']
  const topic = near(['pubsub', 'persist', 'name', 'retention', 'max_age', 'max_bytes', 'max_events'], texts)
  const token = near(['token', 'rights', 'label', 'expires_at'], [...texts, 'subscribe', 'publish', ['publish']])
  const ticket = near(['topics', 'id', 'token'], [['a'], ['a', { id: 'a', token: 'b' }], { topics: ['a'] }])
  const wrapped = (name: string, inner: fc.Arbitrary<unknown>) =>
    fc.oneof(
      inner,
      inner.map((value) => ({ [name]: value })),
    )
  for (const [schema, values] of [
    [createTopicSchema, wrapped('pubsub', topic)],
    [changeTopicSchema, wrapped('pubsub', topic)],
    [issueTokenSchema, wrapped('token', token)],
    [issueTicketSchema, wrapped('ticket', ticket)],
  ] as const) {
    agrees(schema as Joi.ObjectSchema, values, (value) => {
      try {
        validate(schema as Joi.ObjectSchema, value)
        return true
      } catch (error) {
        return !isInvalid(error)
      }
    })
  }
})

test('the description asks for exactly what a publish takes, which is checked by hand', (t) => {
  t.diagnostic(`SSER_SEED=${seed}`)
  const texts = [
    'sser.gap',
    'sser',
    ' \t',
    ' a',
    'a\u0000',
    'a\u0085',
    'a\u2028',
    'x'.repeat(8),
    // No base62: that a number has its bound at 2^53 no pattern says.
    '-'.repeat(9),
    '0'.repeat(11),
  ]
  const any = near(['id', 'type', 'dedupe', 'message'], texts)
  // Mostly right, so that many a value is wrong in one place only.
  const name = fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom('', 'a') },
    { weight: 2, arbitrary: fc.constantFrom(...texts) },
    { weight: 1, arbitrary: any },
  )
  const event = fc.oneof(
    fc.record({ message: any, id: name, type: name, dedupe: name }, { requiredKeys: ['message'] }),
    any,
  )
  const values = fc.oneof(
    fc.record({ event, expected_last_id: name }, { requiredKeys: ['event'] }),
    fc.record({ events: fc.array(event, { maxLength: 4 }), expected_last_id: name }, { requiredKeys: ['events'] }),
    near(['event', 'events', 'expected_last_id', 'message'], texts),
  )
  // Of a body with both the description lets pass the one where one of them is wrong.
  const isBoth = (value: unknown) =>
    typeof value === 'object' && value !== null && 'event' in value && 'events' in value
  agrees(
    publishSchema(limits),
    values.filter((value) => !isBoth(value)),
    (value) => {
      try {
        parsePublish(value, Buffer.from(JSON.stringify(value)), limits)
        parseExpectedLast(value)
        return true
      } catch (error) {
        return !isInvalid(error)
      }
    },
    5000,
  )
  const both = { event: { message: 1 }, events: [{ message: 1 }] }
  assert.equal(ajv.compile(toJsonSchema(publishSchema(limits)))(both), false)
})
