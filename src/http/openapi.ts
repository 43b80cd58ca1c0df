// GET /openapi.json: the API's description in OpenAPI 3.1, generated from the table of calls. It needs no token, because it
// says what docs/protocol.md says, plus the limits of this server. Knows no call by name.
import type { Plugin } from '@hapi/hapi'
import type Joi from 'joi'
import { errorAnswer } from './answers.ts'
import { type Answer, type Call, type CallLimits, callsOf, groups, meanings, namedSchemas } from './calls.ts'
import type { Cors } from './cors.ts'
import { jsonAnswer } from './errors.ts'
import { type JsonSchema, mapSchema, toJsonSchema } from './json-schema.ts'
import { allowOnly } from './methods.ts'

export interface OpenapiOptions {
  readonly cors: Cors
  readonly limits: CallLimits & { readonly version: string }
}

const path = '/openapi.json'

export const openapiPlugin: Plugin<OpenapiOptions> = {
  name: 'sser-openapi',
  register(server, { cors, limits }) {
    /** As bytes, shared by all answers that are waiting for their clients. */
    let text: Buffer | undefined
    server.route({
      method: 'GET',
      path,
      options: { auth: false },
      handler(_request, h) {
        text ??= Buffer.from(JSON.stringify(describeCalls(callsOf(limits), limits.version)))
        return jsonAnswer(h, text).header('cache-control', 'no-cache')
      },
    })
    allowOnly(server, cors, path, ['GET'])
  },
}

/** What any call may get before it is looked at: not HTTP, too slow, too large, too many connections. And bugs. */
const statusesOfAll = [400, 408, 413, 417, 429, 431, 500, 503]
const statusesWithToken = [401]

const description = `Publish and subscribe over Server-Sent Events. docs/protocol.md of the project says in words what is here, and what a client can rely on.

HEAD answers wherever GET does. OPTIONS answers on every path under /api/v1, for CORS, without a token. A path that has not the method of a request answers 405 with \`allow\`. Members that are not named here may be added to an answer in any version.`

/** `calls` by method and path, such as \`GET /healthz\`. */
export function describeCalls(calls: Readonly<Record<string, Call>>, version: string): JsonSchema {
  const paths: Record<string, Record<string, JsonSchema>> = {}
  const statuses = new Set<number>()
  for (const [route, call] of Object.entries(calls)) {
    const [method = '', callPath = ''] = route.split(' ')
    const errors = errorsOf(call)
    for (const status of errors) statuses.add(status)
    paths[callPath] = { ...paths[callPath], [method.toLowerCase()]: operationOf(call, errors) }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'sser',
      version,
      description,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/', description: 'The server that this comes from.' }],
    tags: Object.entries(groups).map(([name, words]) => ({ name, description: words })),
    paths,
    components: {
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer' },
        access_token: {
          type: 'apiKey',
          in: 'query',
          name: 'access_token',
          description: 'For streams, where there is no Authorization header.',
        },
      },
      responses: Object.fromEntries([...statuses].map((status) => [status, errorResponse(status)])),
      schemas: namedParts(),
    },
  }
}

function errorsOf({ token, answers, errors = [] }: Call): readonly number[] {
  const withToken = token === 'none' ? [] : statusesWithToken
  const all = new Set([...statusesOfAll, ...withToken, ...errors])
  return [...all].filter((status) => answers[status] === undefined).sort((one, other) => one - other)
}

const securities: Readonly<Record<Call['token'], readonly object[]>> = {
  bearer: [{ bearer: [] }],
  stream: [{ bearer: [] }, { access_token: [] }],
  local: [{ bearer: [] }, {}],
  none: [],
}

function operationOf(call: Call, errors: readonly number[]): JsonSchema {
  const { id, group, summary, token, path: pathParts, query, headers, body, answers } = call
  const parameters = [
    ...parametersOf('path', pathParts),
    ...parametersOf('query', query),
    ...parametersOf('header', headers),
  ]
  const references = errors.map((status) => [status, { $ref: `#/components/responses/${status}` }])
  return {
    operationId: id,
    tags: [group],
    summary,
    ...(call.description === undefined ? {} : { description: call.description }),
    security: securities[token],
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined
      ? {}
      : { requestBody: { required: body.required, content: contentOf(body.content, asked) } }),
    responses: {
      ...Object.fromEntries(Object.entries(answers).map(([status, answer]) => [status, responseOf(answer)])),
      ...Object.fromEntries(references),
    },
  }
}

function parametersOf(place: 'path' | 'query' | 'header', schema: Joi.ObjectSchema | undefined): JsonSchema[] {
  return membersOf(schema).map(([name, member, isRequired]) => ({
    name,
    in: place,
    ...(isRequired ? { required: true } : {}),
    ...member,
  }))
}

/** Name, schema with its description pulled out, and whether it is required. */
function membersOf(schema: Joi.ObjectSchema | undefined): [string, JsonSchema, boolean][] {
  if (schema === undefined) return []
  const { properties = {}, required = [] } = toJsonSchema(schema) as {
    readonly properties?: Readonly<Record<string, JsonSchema>>
    readonly required?: readonly string[]
  }
  return Object.entries(properties).map(([name, { description: words, ...rest }]) => {
    return [name, { ...(words === undefined ? {} : { description: words }), schema: rest }, required.includes(name)]
  })
}

function responseOf({ description: words, content, headers }: Answer): JsonSchema {
  return {
    description: words,
    ...(headers === undefined ? {} : { headers: Object.fromEntries(membersOf(headers)) }),
    ...(content === undefined ? {} : { content: contentOf(content, told) }),
  }
}

function errorResponse(status: number): JsonSchema {
  return responseOf({ description: meanings[status] ?? '', content: { 'application/json': errorAnswer } })
}

function contentOf(content: Readonly<Record<string, Joi.Schema>>, toSchema: (schema: Joi.Schema) => unknown) {
  const entries = Object.entries(content).map(([type, schema]) => {
    // OpenAPI 3.1 cannot describe a body of lines yet.
    const isLines = type === 'application/x-ndjson'
    const lines = { schema: { type: 'string', description: 'JSON, one value a line.' }, 'x-line': toSchema(schema) }
    return [type, isLines ? lines : { schema: toSchema(schema) }]
  })
  return Object.fromEntries(entries)
}

function asked(schema: Joi.Schema): unknown {
  return toJsonSchema(schema)
}

/** For answers: members may be added in any version, and shared parts have names. */
function told(schema: Joi.Schema): unknown {
  return mapSchema(opened(toJsonSchema(schema)), (part) => {
    const name = namesOfParts.get(JSON.stringify(part))
    return name === undefined ? part : { $ref: `#/components/schemas/${name}` }
  })
}

function opened(schema: JsonSchema): unknown {
  return mapSchema(schema, ({ additionalProperties, ...part }) =>
    additionalProperties === undefined || additionalProperties === false ? part : { ...part, additionalProperties },
  )
}

const namesOfParts: ReadonlyMap<string, string> = new Map(
  Object.entries(namedSchemas).map(([name, schema]) => [JSON.stringify(opened(toJsonSchema(schema))), name]),
)

function namedParts(): JsonSchema {
  return Object.fromEntries(Object.entries(namedSchemas).map(([name, schema]) => [name, opened(toJsonSchema(schema))]))
}
