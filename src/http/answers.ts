// What the server answers, as Joi schemas, and the functions that write it: both the text on the wire and the API's
// description are derived from the same schema. Members not named in a schema are not written, so no answer reveals more
// than is described. Knows nothing of the calls.
import fastJson from 'fast-json-stringify'
import Joi from 'joi'
import { TOPIC_RIGHTS, type TopicRight } from '../domain/hub.ts'
import { type JsonSchema, mapSchema, toJsonSchema } from './json-schema.ts'
import type { Health } from './service.ts'
import type { topicJson } from './topic-wire.ts'

type Members = Readonly<Record<string, Joi.Schema>>

/** An object with all of `members`, optionally those of `optional`, and no others. */
function record(members: Members, optional: Members = {}): Joi.ObjectSchema {
  const required = Object.entries(members).map(([name, schema]) => [name, schema.required()])
  return Joi.object({ ...Object.fromEntries(required), ...optional })
}

const ID = /^[0-9A-Za-z]{11}$/
const errorMembers = record(
  {
    code: Joi.number().integer().description('The HTTP status.'),
    message: Joi.string().description('For humans. The wording may change.'),
  },
  {
    details: Joi.object({
      path: Joi.string().description('The member or parameter that is wrong.'),
    })
      .pattern(Joi.any(), Joi.any())
      .description('Present only where there is more to say.'),
  },
)
export const errorAnswer = record({ error: errorMembers })

const id = Joi.string().pattern(ID)
const eventId = id.description(
  'The number that the server assigned to the event, in base62. Later ones compare higher as strings.',
)
const topicId = id.description('The id of the topic, in base62.')
const time = Joi.string().isoDate().description('RFC 3339, in UTC.')
const count = Joi.number().integer().min(0)
const secret = Joi.string().description('The secret. It is shown only this once.')
const limit = Joi.number().integer().min(1).allow(null)
const next = (schema: Joi.Schema) =>
  schema.allow(null).description('To be passed as `after` for the next page. Null: this was the last.')

const placeSchema = record({ id: eventId, time })

export const topicSchema = record({
  id: topicId,
  name: Joi.string().allow(null),
  persist: Joi.boolean().description('Whether its events are stored on disk.'),
  static: Joi.boolean().description('Whether it is defined in the configuration.'),
  retention: record({
    max_age: Joi.string().allow(null).description('Such as 3600s. Null: no limit.'),
    max_bytes: limit,
    max_events: limit,
  }).description('Limits on the events that are kept.'),
  created_at: time,
  events: count.description('The number of events kept.'),
  bytes: count.description('Their size in the log.'),
  earliest: placeSchema.allow(null),
  latest: placeSchema.allow(null),
  subscribers: count.description('Streams open now.'),
})

const tokenMembers = {
  id: id.description('The id of the token.'),
  label: Joi.string().allow(null),
  rights: Joi.array().items(Joi.string().valid(...TOPIC_RIGHTS)),
  created_at: time,
  expires_at: time.allow(null).description('Null: it does not expire.'),
}
export const tokenSchema = record(tokenMembers)

export const createdTopicAnswer = record({ pubsub: record({ id: topicId, token: secret }) })
export const topicAnswer = record({ pubsub: topicSchema })
export const topicsAnswer = record({ pubsubs: Joi.array().items(topicSchema), next: next(Joi.string()) })
export const issuedTokenAnswer = record({ token: record({ ...tokenMembers, token: secret }) })
export const tokensAnswer = record({ tokens: Joi.array().items(tokenSchema) })

export const ticketAnswer = record({ ticket: record({ token: secret, expires_at: time }) })

const published = record({ id: eventId })
export const publishedAnswer = record({ event: published })
export const publishedAllAnswer = record({ events: Joi.array().items(published) })
/** Written by hand, line by line; the last line may have an error as well. */
export const progressLine = record(
  {
    lines: count.description('The number of lines stored.'),
    last_id: eventId.allow(null).description('The number of the last event stored.'),
  },
  { error: errorMembers.description('Why nothing after these lines was stored.') },
)

export const gapSchema = record(
  {
    resumes_after: id.description('The events still kept after this number follow.'),
    reason: Joi.string().description('For people.'),
  },
  { requested: Joi.string().description('What was requested. Absent for a gap met along the way.') },
)
/** Written by the log itself, which keeps a message as its original text. */
export const storedEventSchema = record(
  { id: eventId, time, message: Joi.any().description('Any JSON value, as it was published.') },
  {
    publisher_id: Joi.string().description("The publisher's own id, if it gave one."),
    type: Joi.string(),
  },
)
export const historyAnswer = record(
  { events: Joi.array().items(storedEventSchema), next: next(id) },
  { gaps: Joi.array().items(gapSchema).description('Only where something is missing.') },
)
export const historyLine = Joi.alternatives(storedEventSchema, record({ gap: gapSchema }))

export const metricsAnswer = record({
  metrics: Joi.array().items(record({ name: Joi.string(), value: Joi.number().integer() })),
})

export const aliveAnswer = record({ status: Joi.string().valid('ok') })
export const readinessAnswer = record(
  { status: Joi.string().valid('recovering', 'ready', 'failed', 'stopping') },
  {
    reason: Joi.string().description('With `failed`.'),
    recovery: Joi.object({
      share: Joi.number().min(0).max(1),
      bytes_done: count,
      bytes_total: count,
      seconds_left: Joi.number().min(0).allow(null).description('Null while there is no reliable rate.'),
    }).description('With `recovering`: its progress. Empty at first.'),
    certificate: record({
      source: Joi.string().description('Where it comes from.'),
      names: Joi.array().items(Joi.string()),
      expires_at: time,
      ordering: Joi.boolean().description('Whether another one is being ordered, and this one is used until then.'),
    }).description('With TLS: the current one.'),
  },
)

/** A function that writes a value according to that schema. Throws where a member is missing. */
function writer<Value>(schema: Joi.Schema): (value: Value) => string {
  // An id contains nothing to escape, which makes a difference for a list of ten thousand.
  const isId = ({ pattern }: JsonSchema) => pattern === ID.source
  const quick = mapSchema(toJsonSchema(schema), (part) => (isId(part) ? { ...part, format: 'unsafe' } : part))
  return fastJson(quick as fastJson.AnySchema)
}

type TopicJson = ReturnType<typeof topicJson>

export interface TokenJson {
  readonly id: string
  readonly label: string | null
  readonly rights: readonly TopicRight[]
  readonly created_at: string
  readonly expires_at: string | null
}

export interface CertificateJson {
  readonly source: string
  readonly names: readonly string[]
  readonly expires_at: string
  readonly ordering: boolean
}

export const createdTopicText = writer<{ pubsub: { id: string; token: string } }>(createdTopicAnswer)
export const topicText = writer<{ pubsub: TopicJson }>(topicAnswer)
export const topicsText = writer<{ pubsubs: readonly TopicJson[]; next: string | null }>(topicsAnswer)
export const issuedTokenText = writer<{ token: TokenJson & { token: string } }>(issuedTokenAnswer)
export const tokensText = writer<{ tokens: readonly TokenJson[] }>(tokensAnswer)
export const ticketText = writer<{ ticket: { token: string; expires_at: string } }>(ticketAnswer)
export const publishedText = writer<{ event: { id: string } }>(publishedAnswer)
export const publishedAllText = writer<{ events: readonly { id: string }[] }>(publishedAllAnswer)
export const gapText = writer<{ requested: string | undefined; resumes_after: string; reason: string }>(gapSchema)
export const metricsText = writer<{ metrics: readonly { name: string; value: number }[] }>(metricsAnswer)
export const aliveText = writer<{ status: 'ok' }>(aliveAnswer)
export const readinessText = writer<Health & { certificate?: CertificateJson }>(readinessAnswer)
export const errorText = writer<{ error: { code: number; message: string; details?: object | undefined } }>(errorAnswer)
