// What clients may send, as Joi schemas, for the calls that are not worth a hand-written check. Promises that a mistake
// is told with its place and never with the value. Knows nothing of what is done with the values.
import Joi from 'joi'
import { DomainError } from '../domain/errors.ts'
import { TOPIC_RIGHTS, TOPIC_SORTS, type TopicRight, type TopicSort } from '../domain/hub.ts'
import { DURATION, type RetentionBody } from './topic-wire.ts'

export interface ChangeTopicBody {
  readonly pubsub: { readonly name?: string | null; readonly retention?: RetentionBody }
}

export interface CreateTopicBody {
  readonly pubsub: ChangeTopicBody['pubsub'] & { readonly persist: boolean }
}

export interface IssueTokenBody {
  readonly token: {
    readonly rights: readonly TopicRight[]
    readonly label?: string | null
    readonly expires_at?: string | null
  }
}

/** Its id, alone or with the token that opens it. */
export type TicketTopic = string | { readonly id: string; readonly token: string }

export interface IssueTicketBody {
  readonly ticket: { readonly topics: readonly TicketTopic[] }
}

export interface ListTopicsQuery {
  readonly after?: string
  readonly limit?: string
  readonly search?: string
  readonly sort: TopicSort
  readonly order: 'asc' | 'desc'
}

export interface ResumeQuery {
  readonly last_event_id?: string
  readonly lastEventId?: string
  readonly since?: string
}

export interface SubscribeQuery extends ResumeQuery {
  readonly heartbeat?: 'event' | 'comment'
  readonly signals?: '0' | '1'
}

export interface HistoryQuery extends ResumeQuery {
  readonly after?: string
  readonly limit?: string
  readonly order?: 'asc' | 'desc'
}

const limitSchema = Joi.number().integer().min(1).max(Number.MAX_SAFE_INTEGER).allow(null)
const settings = {
  // Control characters, and what ends a line elsewhere, have no place in a name.
  name: Joi.string()
    .pattern(/^[^\p{Cc}\u2028\u2029]{1,200}$/u)
    .allow(null)
    .messages({ 'string.pattern.base': '{{#label}} must have 1 to 200 characters, and no control characters' }),
  retention: Joi.object({
    max_age: Joi.string().pattern(DURATION).allow(null).messages({
      'string.pattern.base': '{{#label}} must be a duration such as 3600s, 90m or 720h, of at most 9 digits',
    }),
    max_bytes: limitSchema,
    max_events: limitSchema,
    // A limit that is misspelt would drop nothing, or everything.
  }),
}
const topicSchema = Joi.object({ persist: Joi.boolean().strict().default(false), ...settings }).unknown(true)
const topicDefaults = { persist: false }

export const createTopicSchema = Joi.object<CreateTopicBody>({ pubsub: topicSchema.default(topicDefaults) })
  .unknown(true)
  .default({ pubsub: topicDefaults })
  .required()

export const changeTopicSchema = Joi.object<ChangeTopicBody>({ pubsub: Joi.object(settings).required() })
  .unknown(true)
  .required()

export const issueTokenSchema = Joi.object<IssueTokenBody>({
  token: Joi.object({
    rights: Joi.array()
      .items(Joi.string().valid(...TOPIC_RIGHTS))
      .min(1)
      .unique()
      .default(['subscribe']),
    label: Joi.string()
      .pattern(/^[^\p{Cc}\u2028\u2029]{1,200}$/u)
      .allow(null)
      .messages({ 'string.pattern.base': '{{#label}} must have 1 to 200 characters, and no control characters' }),
    expires_at: Joi.string().allow(null),
    // A right or an end that is misspelt would open too much.
  }).default({ rights: ['subscribe'] }),
})
  .unknown(true)
  .default({ token: { rights: ['subscribe'] } })
  .required()

const TICKET_TOPICS_MAX = 100

export const issueTicketSchema = Joi.object<IssueTicketBody>({
  ticket: Joi.object({
    topics: Joi.array()
      .items(
        Joi.alternatives(
          Joi.string(),
          Joi.object({ id: Joi.string().required(), token: Joi.string().required() }),
        ).messages({ 'alternatives.types': '{{#label}} must be the id of a topic, or an object of id and token' }),
      )
      .min(1)
      .max(TICKET_TOPICS_MAX)
      .required(),
    // What is misspelt here would open too much.
  }).required(),
})
  .unknown(true)
  .required()

/** Their values are looked at where they are used. Each at most once. */
export const listTopicsQuerySchema = Joi.object<ListTopicsQuery>({
  after: Joi.string(),
  limit: Joi.string(),
  search: Joi.string().allow('').max(200),
  sort: Joi.string()
    .valid(...TOPIC_SORTS)
    .default('id'),
  order: Joi.string().valid('asc', 'desc').default('asc'),
}).unknown(true)

const resume = {
  last_event_id: Joi.string().allow(''),
  lastEventId: Joi.string().allow(''),
  since: Joi.string().allow(''),
}

export const subscribeQuerySchema = Joi.object<SubscribeQuery>({
  ...resume,
  heartbeat: Joi.string().valid('event', 'comment'),
  signals: Joi.string().valid('0', '1'),
}).unknown(true)

export const historyQuerySchema = Joi.object<HistoryQuery>({
  ...resume,
  after: Joi.string(),
  limit: Joi.string(),
  order: Joi.string().valid('asc', 'desc'),
}).unknown(true)

/** The value with its defaults; throws a DomainError (INVALID) that names the place of the first mistake. */
export function validate<T>(schema: Joi.ObjectSchema<T>, value: unknown): T {
  const result = schema.validate(value, { convert: false, errors: { wrap: { label: false } } })
  if (result.error === undefined) return result.value
  const first = result.error.details[0]
  const path = first === undefined ? '' : first.path.join('.')
  const words = first === undefined ? 'is not what is expected' : first.message.replace(/^value /, 'the body ')
  throw new DomainError('INVALID', `${words.charAt(0).toUpperCase()}${words.slice(1)}.`, path === '' ? {} : { path })
}
