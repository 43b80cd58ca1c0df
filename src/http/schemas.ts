// What clients may send, as Joi schemas, for the calls that are not worth hand-written validation. Promises that a mistake is
// reported with its place and never with the value. Knows nothing of what is done with the values.
import Joi from 'joi'
import { DomainError } from '../domain/errors.ts'
import { type Envelope, TOPIC_RIGHTS, TOPIC_SORTS, type TopicRight, type TopicSort } from '../domain/hub.ts'
import type { PublishLimits } from '../domain/publish-input.ts'
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

/** A topic's id, alone or with the token that opens it. */
export type TicketTopic = string | { readonly id: string; readonly token: string }

export interface IssueTicketBody {
  readonly ticket: { readonly topics: readonly TicketTopic[] }
}

export interface DashboardFeedBody {
  readonly feed: {
    readonly figures_after: number
    readonly last_event_id?: string
    readonly topics: readonly { readonly id: string; readonly token: string }[]
  }
}

export interface ListTopicsQuery {
  readonly after?: string
  readonly limit: number
  readonly search?: string
  readonly sort: TopicSort
  readonly order: 'asc' | 'desc'
}

export interface PurgeQuery {
  readonly through?: string
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

export interface SubscribeAllQuery extends SubscribeQuery {
  readonly topic: readonly string[]
  readonly envelope?: Envelope
}

export interface HistoryQuery extends ResumeQuery {
  readonly after?: string
  readonly order?: 'asc' | 'desc'
}

export interface HistoryPageQuery extends HistoryQuery {
  readonly limit: number
}

const limitSchema = Joi.number().integer().min(1).max(Number.MAX_SAFE_INTEGER).allow(null)
const settings = {
  // A name must not contain control characters, nor what other programs take for a line end.
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
    // No unknown keys: a misspelt limit would drop nothing, or everything.
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
    // No unknown keys: a misspelt right or expiry would open too much.
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
    // No unknown keys: a misspelt one would open too much.
  }).required(),
})
  .unknown(true)
  .required()

export function dashboardFeedSchema(topicsMax: number): Joi.ObjectSchema<DashboardFeedBody> {
  return Joi.object<DashboardFeedBody>({
    feed: Joi.object({
      figures_after: Joi.number()
        .integer()
        .min(0)
        .default(0)
        .description('The time in ms of the newest sample already known: those after it are sent first.'),
      last_event_id: Joi.string().allow('').description('The number after which the events of all topics continue.'),
      topics: Joi.array()
        .items(Joi.object({ id: Joi.string().required(), token: Joi.string().required() }))
        .max(topicsMax)
        .default([])
        .messages({ 'array.max': `there may be ${topicsMax} topics in one stream` }),
    }).default({ figures_after: 0, topics: [] }),
  })
    .unknown(true)
    .default({ feed: { figures_after: 0, topics: [] } })
    .required()
}

const PAGE = 100
const PAGE_TOPICS_MAX = 1000

function pageLimit(max: number): Joi.NumberSchema {
  const limit = Joi.number().integer().min(1).max(max).default(Math.min(PAGE, max))
  // Values in a query are text, so digits have to be converted.
  return limit.prefs({ convert: true }).messages({ '*': `limit is a whole number from 1 to ${max}` })
}

const after = Joi.string().description('The `next` of the previous page.')

/** Parameters described only as text are validated where they are used. */
export const listTopicsQuerySchema = Joi.object<ListTopicsQuery>({
  after,
  limit: pageLimit(PAGE_TOPICS_MAX).description('Topics per page.'),
  search: Joi.string()
    .allow('')
    .max(200)
    .description('Only topics with this text in their name, ignoring case, or in their id.'),
  sort: Joi.string()
    .valid(...TOPIC_SORTS)
    .default('id'),
  order: Joi.string().valid('asc', 'desc').default('asc'),
}).unknown(true)

export const purgeQuerySchema = Joi.object<PurgeQuery>({
  through: Joi.string().description('The id of an event: drop everything up to and including it. By default: all.'),
}).unknown(true)

const resume = {
  last_event_id: Joi.string().allow('').description('Like the header `last-event-id`, which takes precedence.'),
  lastEventId: Joi.string().allow('').description('The same, under the name that some clients use.'),
  since: Joi.string().allow('').description('`earliest`, a time as in RFC 3339, or seconds since 1970.'),
}

export const subscribeQuerySchema = Joi.object<SubscribeQuery>({
  ...resume,
  heartbeat: Joi.string().valid('event', 'comment').description('How the stream shows that it is alive.'),
  signals: Joi.string()
    .valid('0', '1')
    .description('1: events announce where the stream starts, and when it has caught up.'),
}).unknown(true)

/** `topic` and `access_token` are validated along with the tokens. */
export function subscribeAllQuerySchema(topicsMax: number): Joi.ObjectSchema<SubscribeAllQuery> {
  return subscribeQuerySchema.append<SubscribeAllQuery>({
    topic: Joi.array()
      .items(Joi.string())
      .single()
      .min(1)
      .max(topicsMax)
      .required()
      .description('The id of a topic; repeated for each of them.')
      .messages({
        'any.required': 'topic is missing: name each topic by its id, as in ?topic=ID&topic=ID',
        'array.max': `there may be ${topicsMax} topics in one stream`,
      }),
    envelope: Joi.string()
      .valid('none', 'json')
      .description('json: the data of each event is JSON with its topic, id, type, time and message.'),
  })
}

export const historyQuerySchema = Joi.object<HistoryQuery>({
  ...resume,
  after,
  order: Joi.string().valid('asc', 'desc').description('From the earliest event forward, or from the latest backward.'),
}).unknown(true)

export function historyPageQuerySchema(historyEventsMax: number): Joi.ObjectSchema<HistoryPageQuery> {
  return historyQuerySchema.append<HistoryPageQuery>({
    limit: pageLimit(historyEventsMax).description('Events per page. Ignored for lines.'),
  })
}

const noControls = String.raw`[^\p{Cc}\u2028\u2029]*$`

/** An event as `parsePublish` takes it, which is written by hand because it runs for every event. A test compares the two. */
export function eventSchema({ idBytesMax, typeBytesMax }: PublishLimits): Joi.ObjectSchema {
  const name = Joi.string()
    .allow('')
    .max(idBytesMax, 'utf8')
    .pattern(new RegExp(String.raw`^(?![ \t]+$)${noControls}`, 'u'))
  return Joi.object({
    id: name.description("The publisher's own id, limited in bytes of UTF-8. Empty: none."),
    dedupe: name.description('Identifies repeats of the event, which publish nothing. Empty: none.'),
    type: Joi.string()
      .allow('')
      .max(typeBytesMax, 'utf8')
      .pattern(new RegExp(String.raw`^(?!sser\.)${noControls}`, 'u'))
      .description('Limited in bytes of UTF-8. Empty: none.'),
    message: Joi.any().required().description('Any JSON value, null included.'),
  }).unknown(true)
}

export function publishSchema(limits: PublishLimits): Joi.AlternativesSchema {
  const event = eventSchema(limits)
  const expected = {
    expected_last_id: Joi.string()
      .pattern(/^[0-9A-Za-z]{1,11}$/)
      .description("Publish only if this is the number of the topic's newest event, 00000000000 for none."),
  }
  return Joi.alternatives()
    .match('one')
    .try(
      Joi.object({ event: event.required(), ...expected }).unknown(true),
      Joi.object({
        events: Joi.array().items(event).min(1).max(limits.eventsPerRequestMax).required(),
        ...expected,
      }).unknown(true),
    )
}

/** The value with its defaults; throws a DomainError (INVALID) that names the place of the first mistake. */
export function validate<T>(schema: Joi.ObjectSchema<T>, value: unknown): T {
  const result = schema.validate(value, { convert: false, errors: { wrap: { label: false } } })
  if (result.error === undefined) return result.value
  const first = result.error.details[0]
  const path = first === undefined ? '' : first.path.join('.')
  const words = first === undefined ? 'is not what is expected' : first.message.replace(/^value /, 'the body ')
  throw new DomainError('INVALID', `${words.charAt(0).toUpperCase()}${words.slice(1)}.`, path === '' ? {} : { path })
}
