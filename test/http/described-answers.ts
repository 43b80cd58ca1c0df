/**
 * Holds every answer of a server against the description of its API: the call is in it, the status is one of that call's,
 * the media type is one of that status's, and the body is as its schema says, without a member that it does not name. It
 * looks at what goes out beneath hapi, so that answers on the raw response count as well. Of a stream only the head is
 * looked at.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import { callsOf } from '../../src/http/calls.ts'
import { type JsonSchema, mapSchema } from '../../src/http/json-schema.ts'
import { describeCalls } from '../../src/http/openapi.ts'

interface Content {
  readonly schema: JsonSchema
  readonly 'x-line'?: JsonSchema
}

interface Response {
  readonly content?: Readonly<Record<string, Content>>
}

interface Operation {
  readonly operationId: string
  readonly responses: Readonly<Record<string, Response | { readonly $ref: string }>>
}

export interface Description {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: { readonly responses: Readonly<Record<string, Response>>; readonly schemas: JsonSchema }
}

/** What goes over the wire in answers does not depend on any limit. */
const limits = {
  idBytesMax: 64,
  typeBytesMax: 64,
  eventsPerRequestMax: 100,
  historyEventsMax: 50,
  topicsPerStreamMax: 5,
  writeTimeoutMs: 0,
}
export const description = describeCalls(callsOf(limits), '1.2.3') as unknown as Description

const paths = Object.entries(description.paths).map(([path, operations]) => {
  const pattern = path.replace(/[.]/g, '\\$&').replace(/\{[^}]+\}/g, '[^/]+')
  return { path, operations, pattern: new RegExp(`^${pattern}$`) }
})

const ajv = new Ajv2020({ strict: false, allErrors: true, schemas: [{ $id: 'all', ...tightened(description) }] })
formats.default(ajv)
const validators = new Map<JsonSchema, ValidateFunction>()

const SHOWN_MAX = 300

export interface Answered {
  readonly method: string
  readonly url: string
  /** As it went over the wire. */
  readonly head: string
  /** Undefined: past node's response, as streams go. */
  readonly body: string | undefined
}

/** A target may also be a whole address: RFC 9112, section 3.2.2. */
function pathOf(url: string): string {
  const isWhole = !url.startsWith('/') && URL.canParse(url)
  return isWhole ? new URL(url).pathname : url.replace(/[?#].*$/, '')
}

/** What is wrong with an answer, in words that say what to do; undefined: nothing. */
export function mistakeIn({ method, url, head, body }: Answered): string | undefined {
  const path = pathOf(url)
  const status = /^HTTP\/1\.1 (\d{3})/.exec(head)?.[1] ?? ''
  const type = /^content-type: *([^;\r]*)/im.exec(head)?.[1]?.trim() ?? ''
  const found = paths.find(({ pattern }) => pattern.test(path))
  const operation = found?.operations[(method === 'HEAD' ? 'GET' : method).toLowerCase()]
  const call = `${method} ${found?.path ?? path} answered ${status}`
  if (method === 'OPTIONS' && status === '200') return body ? `${call} with a body` : undefined
  if (operation === undefined) {
    // What is no call has an error for an answer.
    if (Number(status) < 400) return `${call}, but is not in src/http/calls.ts. Describe the call there.`
    return method === 'HEAD' ? undefined : wrongJson(call, { $ref: '#/components/schemas/Error' }, body)
  }
  const named = operation.responses[status]
  const response = named !== undefined && '$ref' in named ? description.components.responses[status] : named
  if (response === undefined) {
    return `${call}, but the call's description in src/http/calls.ts has no such status. Add it to its answers or errors.`
  }
  if (method === 'HEAD') return body ? `${call} with a body` : undefined
  if (response.content === undefined) return body ? `${call} with a body, but is described without one` : undefined
  const content = response.content[type]
  if (content === undefined) return `${call} with ${type || 'no media type'}, which its description does not have`
  if (type === 'application/json') return wrongJson(call, content.schema, body)
  const line = content['x-line']
  if (line === undefined || body === undefined) return undefined
  const lines = body.split('\n').slice(0, -1)
  return lines.map((each) => wrongJson(call, line, each)).find((mistake) => mistake !== undefined)
}

function wrongJson(call: string, schema: JsonSchema, body: string | undefined): string | undefined {
  let value: unknown
  try {
    value = JSON.parse(body ?? '')
  } catch {
    return `${call} with a body that is no JSON: ${shown(body)}`
  }
  let validator = validators.get(schema)
  if (validator === undefined) {
    validator = ajv.compile(tightened(inAll(schema)))
    validators.set(schema, validator)
  }
  if (validator(value)) return undefined
  return `${call} otherwise than src/http/answers.ts says: ${ajv.errorsText(validator.errors)}: ${shown(body)}`
}

function shown(body = ''): string {
  return body.length > SHOWN_MAX ? `${body.slice(0, SHOWN_MAX)}…` : body
}

/** Clients have to expect new members; here one that is not described is a mistake. */
function tightened(schema: unknown): JsonSchema {
  return mapSchema(schema, (part) =>
    typeof part['properties'] === 'object' && 'type' in part ? { additionalProperties: false, ...part } : part,
  ) as JsonSchema
}

/** References lead into the description. */
function inAll(schema: unknown): unknown {
  return mapSchema(schema, (part) => (typeof part['$ref'] === 'string' ? { $ref: `all${part['$ref']}` } : part))
}

/** Tells of every answer when its last byte is handed over, or, of one that goes on past node's response, of its head. */
export function watchAnswers(server: Server, tell: (answered: Answered) => void): void {
  const watch = ({ method = '', url = '' }: IncomingMessage, response: ServerResponse) => {
    const parts: Buffer[] = []
    let isTold = false
    const take = (part: unknown) => {
      if (typeof part === 'string' || part instanceof Uint8Array) parts.push(Buffer.from(part as string))
    }
    const done = (body: string | undefined) => {
      // Node has no other place where the head stands as it was sent.
      const head = (response as unknown as { readonly _header: string | null })._header
      if (!isTold && head !== null) tell({ method, url, head, body })
      isTold = true
    }
    const write = response.write.bind(response) as (...args: unknown[]) => boolean
    const end = response.end.bind(response) as (...args: unknown[]) => ServerResponse
    Object.assign(response, {
      write(...args: unknown[]) {
        take(args[0])
        return write(...args)
      },
      end(...args: unknown[]) {
        take(args[0])
        const ended = end(...args)
        done(Buffer.concat(parts).toString('utf8'))
        return ended
      },
    })
    response.once('close', () => done(undefined))
  }
  for (const event of ['request', 'checkContinue', 'checkExpectation']) server.prependListener(event, watch)
}
