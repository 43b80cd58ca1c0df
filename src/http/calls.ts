// The calls of the API: for each route what it is for, what it takes, what it answers and who may make it. The schemas are
// those that the routes themselves validate and write with. The API's description is generated from this table; tests hold
// it against the routes and against every answer that they receive.
import Joi from 'joi'
import type { PublishLimits } from '../domain/publish-input.ts'
import {
  aliveAnswer,
  createdTopicAnswer,
  errorAnswer,
  gapSchema,
  historyAnswer,
  historyLine,
  issuedTokenAnswer,
  metricsAnswer,
  progressLine,
  publishedAllAnswer,
  publishedAnswer,
  readinessAnswer,
  storedEventSchema,
  ticketAnswer,
  tokenSchema,
  tokensAnswer,
  topicAnswer,
  topicSchema,
  topicsAnswer,
} from './answers.ts'
import type { HistoryLimits } from './history.ts'
import {
  changeTopicSchema,
  createTopicSchema,
  dashboardFeedSchema,
  eventSchema,
  historyPageQuerySchema,
  issueTicketSchema,
  issueTokenSchema,
  listTopicsQuerySchema,
  publishSchema,
  purgeQuerySchema,
  subscribeAllQuerySchema,
  subscribeQuerySchema,
} from './schemas.ts'
import type { TopicLimits } from './subscribe-all.ts'

/** A body by its media type; for `application/x-ndjson`, one line of it. */
type Content = Readonly<Record<string, Joi.Schema>>

export interface Answer {
  readonly description: string
  /** Absent: no body. */
  readonly content?: Content
  readonly headers?: Joi.ObjectSchema
}

export interface Call {
  /** The operation's name in programs generated from the description. */
  readonly id: string
  readonly group: keyof typeof groups
  readonly summary: string
  readonly description?: string
  /** `stream`: also in the query. `local`: from this machine also without one. */
  readonly token: 'bearer' | 'stream' | 'local' | 'none'
  readonly path?: Joi.ObjectSchema
  readonly query?: Joi.ObjectSchema
  readonly headers?: Joi.ObjectSchema
  readonly body?: { readonly required: boolean; readonly content: Content }
  readonly answers: Readonly<Record<number, Answer>>
  /** Error statuses in addition to those of any call, and of any call with a token. */
  readonly errors?: readonly number[]
}

export type CallLimits = PublishLimits & HistoryLimits & TopicLimits

export const groups = {
  topics: 'Channels to publish and subscribe to. On the wire a topic is called pubsub.',
  tokens: 'Further tokens of a topic, each with its own rights and expiry.',
  events: 'Publishing, streams and history.',
  operations: 'The state of the server.',
  page: 'The dashboard, for people.',
}

/** Parts that several bodies share, under their names in the description. */
export const namedSchemas: Readonly<Record<string, Joi.Schema>> = {
  Error: errorAnswer,
  Event: storedEventSchema,
  Gap: gapSchema,
  Token: tokenSchema,
  Topic: topicSchema,
}

/** What each error status means. */
export const meanings: Readonly<Record<number, string>> = {
  400: 'A malformed id, parameter, body or request. Repeating it fails again.',
  401: 'No token, or one that does not grant access to this.',
  403: "Topic 0 is the server's own.",
  404: 'There is no such topic, or nothing at this path.',
  408: 'The head or the body stalled.',
  409: 'The newest event of the topic is not the expected one; `details.last_id` says which.',
  413: 'The body, or a list in it, is too large.',
  415: 'The body is not JSON in UTF-8, or is compressed.',
  417: 'The only expectation that is supported is 100-continue.',
  422: 'The Idempotency-Key was used before with a different body.',
  429: 'Too many wrong tokens or connections from this address, or too many events from the token. Wait for `retry-after` seconds.',
  431: 'The request line and the headers are too large.',
  500: 'A bug in the server. Its log says more.',
  503: 'Starting, stopping, overloaded, over a limit, or the log has failed. Try again after `retry-after` seconds.',
  507: 'The disk or the log is full. Nothing was done.',
}

const json = (schema: Joi.Schema): Content => ({ 'application/json': schema })
const text = (type: string, description: string): Content => ({ [type]: Joi.string().description(description) })

const idText = Joi.string().pattern(/^[0-9A-Za-z]{1,11}$/)
const ofTopic = Joi.object({ id: idText.required().description('The id of the topic; 0 is short for 00000000000.') })
const ofToken = ofTopic.append({ tokenId: idText.required().description('The id of the token, not the token.') })
const resumeHeader = Joi.object({
  'last-event-id': Joi.string().description('The last id received: the stream continues after it.'),
})
const publishHeaders = Joi.object({
  'idempotency-key': Joi.string().description(
    'A string in quotes that identifies repeats of the request, which get the same answer. Not for lines.',
  ),
})
const resumedFrom = Joi.object({ 'sser-resumed-from': idText.description('The number after which the stream starts.') })

const STORE_FULL = 507

export function callsOf(limits: CallLimits): Readonly<Record<string, Call>> {
  return {
    'POST /api/v1/pubsubs': {
      id: 'createTopic',
      group: 'topics',
      summary: 'Create a topic',
      token: 'bearer',
      body: { required: false, content: json(createTopicSchema) },
      answers: {
        201: { description: 'The topic. Its token is shown only this once.', content: json(createdTopicAnswer) },
      },
      errors: [415, STORE_FULL],
    },
    'GET /api/v1/pubsubs': {
      id: 'listTopics',
      group: 'topics',
      summary: 'List the topics',
      token: 'bearer',
      query: listTopicsQuerySchema,
      answers: {
        200: { description: 'A page, ordered by id unless requested otherwise.', content: json(topicsAnswer) },
      },
    },
    'GET /api/v1/pubsubs/{id}': {
      id: 'getTopic',
      group: 'topics',
      summary: 'Get a topic',
      token: 'bearer',
      path: ofTopic,
      answers: { 200: { description: 'Its settings, and what it holds.', content: json(topicAnswer) } },
      errors: [404],
    },
    'PATCH /api/v1/pubsubs/{id}': {
      id: 'changeTopic',
      group: 'topics',
      summary: 'Change a topic',
      description: 'What is absent stays as it is; null removes a name or a limit.',
      token: 'bearer',
      path: ofTopic,
      body: { required: true, content: json(changeTopicSchema) },
      answers: { 200: { description: 'The topic as it is now.', content: json(topicAnswer) } },
      errors: [404, 415, STORE_FULL],
    },
    'DELETE /api/v1/pubsubs/{id}': {
      id: 'deleteTopic',
      group: 'topics',
      summary: 'Delete a topic',
      token: 'bearer',
      path: ofTopic,
      answers: { 204: { description: 'It is gone, or never existed.' } },
      errors: [STORE_FULL],
    },
    'DELETE /api/v1/pubsubs/{id}/events': {
      id: 'emptyTopic',
      group: 'topics',
      summary: 'Empty a topic',
      token: 'bearer',
      path: ofTopic,
      query: purgeQuerySchema,
      answers: { 204: { description: 'The events are gone.' } },
      errors: [404, STORE_FULL],
    },
    'POST /api/v1/pubsubs/{id}/tokens': {
      id: 'issueToken',
      group: 'tokens',
      summary: 'Issue a token',
      token: 'bearer',
      path: ofTopic,
      body: { required: false, content: json(issueTokenSchema) },
      answers: { 201: { description: 'The token, with its secret.', content: json(issuedTokenAnswer) } },
      errors: [404, 415, STORE_FULL],
    },
    'GET /api/v1/pubsubs/{id}/tokens': {
      id: 'listTokens',
      group: 'tokens',
      summary: 'List the tokens',
      token: 'bearer',
      path: ofTopic,
      answers: { 200: { description: 'Without their secrets.', content: json(tokensAnswer) } },
      errors: [404],
    },
    'DELETE /api/v1/pubsubs/{id}/tokens/{tokenId}': {
      id: 'revokeToken',
      group: 'tokens',
      summary: 'Revoke a token',
      description: 'The streams that it opened end.',
      token: 'bearer',
      path: ofToken,
      answers: { 204: { description: 'It is no longer valid.' } },
      errors: [404, STORE_FULL],
    },
    'POST /api/v1/tickets': {
      id: 'issueTicket',
      group: 'tokens',
      summary: 'Issue a ticket',
      description:
        'A token for the URL of a stream, which others may get to read. The tokens of the topics may be in the body.',
      token: 'bearer',
      body: { required: true, content: json(issueTicketSchema) },
      answers: { 201: { description: 'The ticket.', content: json(ticketAnswer) } },
      errors: [404, 415, STORE_FULL],
    },
    'POST /api/v1/pubsubs/{id}/events': {
      id: 'publish',
      group: 'events',
      summary: 'Publish an event, or several',
      description:
        'Answered once all events are as durable as the topic promises. Lines are answered by lines that say how far they are stored.',
      token: 'bearer',
      path: ofTopic,
      headers: publishHeaders,
      body: {
        required: true,
        content: { ...json(publishSchema(limits)), 'application/x-ndjson': eventSchema(limits) },
      },
      answers: {
        200: { description: 'How far the lines are stored.', content: { 'application/x-ndjson': progressLine } },
        201: {
          description: 'The number of the event, or those of the events, in the same order.',
          content: json(Joi.alternatives().match('one').try(publishedAnswer, publishedAllAnswer)),
        },
      },
      errors: [403, 404, 409, 415, 422, STORE_FULL],
    },
    'GET /api/v1/pubsubs/{id}/events': {
      id: 'subscribe',
      group: 'events',
      summary: 'Subscribe to a topic, or read its history',
      description:
        '`accept` decides which; a stream where it names none of the three. `heartbeat` and `signals` apply to streams, `after`, `limit` and `order` to the history.',
      token: 'stream',
      path: ofTopic,
      query: subscribeQuerySchema.concat(historyPageQuerySchema(limits.historyEventsMax) as Joi.ObjectSchema),
      headers: resumeHeader,
      answers: {
        200: {
          description: 'A stream of events as they arrive, a page of the history, or all of it, one event per line.',
          headers: resumedFrom,
          content: {
            ...text('text/event-stream', 'Server-Sent Events, without an end.'),
            ...json(historyAnswer),
            'application/x-ndjson': historyLine,
          },
        },
      },
      errors: [404],
    },
    'GET /api/v1/events': {
      id: 'subscribeAll',
      group: 'events',
      summary: 'Subscribe to several topics in one stream',
      description:
        'In a single order, resumed by a single id. With a token that opens all of them, or one `access_token` for each, in the order of `topic`.',
      token: 'stream',
      query: subscribeAllQuerySchema(limits.topicsPerStreamMax),
      headers: resumeHeader,
      answers: {
        200: {
          description: 'A stream of events as they arrive.',
          headers: resumedFrom,
          content: text('text/event-stream', 'Server-Sent Events, without an end.'),
        },
      },
      errors: [404],
    },
    'GET /api/v1/metrics': {
      id: 'figures',
      group: 'operations',
      summary: 'Figures',
      token: 'bearer',
      answers: { 200: { description: 'Seven figures by name.', content: json(metricsAnswer) } },
    },
    'GET /metrics': {
      id: 'scrape',
      group: 'operations',
      summary: 'Figures for Prometheus',
      token: 'local',
      answers: {
        200: {
          description: 'In the format that `accept` requests.',
          content: {
            ...text('text/plain', 'The text format of Prometheus.'),
            ...text('application/openmetrics-text', 'OpenMetrics.'),
          },
        },
      },
    },
    'GET /healthz': {
      id: 'alive',
      group: 'operations',
      summary: 'Whether the process answers',
      token: 'none',
      answers: { 200: { description: 'It does.', content: json(aliveAnswer) } },
    },
    'GET /readyz': {
      id: 'ready',
      group: 'operations',
      summary: 'Whether the server should get traffic',
      token: 'none',
      answers: {
        200: { description: 'It should.', content: json(readinessAnswer) },
        503: { description: 'It should not, and why.', content: json(readinessAnswer) },
      },
    },
    'GET /openapi.json': {
      id: 'description',
      group: 'operations',
      summary: 'This description',
      token: 'none',
      answers: { 200: { description: 'OpenAPI 3.1.', content: json(Joi.object().unknown(true)) } },
    },
    'GET /api/v1/dashboard/events': {
      id: 'dashboardFeed',
      group: 'page',
      summary: 'A sample of the figures each second',
      token: 'bearer',
      headers: resumeHeader,
      answers: { 200: { description: 'A stream.', content: text('text/event-stream', 'Server-Sent Events.') } },
    },
    'POST /api/v1/dashboard/events': {
      id: 'dashboardFeedOfTopics',
      group: 'page',
      summary: 'The same, together with the events of some topics, in one stream',
      description: 'The token in the header opens the figures, the one given with each topic its events.',
      token: 'bearer',
      body: { required: false, content: json(dashboardFeedSchema(limits.topicsPerStreamMax)) },
      headers: resumeHeader,
      answers: { 200: { description: 'A stream.', content: text('text/event-stream', 'Server-Sent Events.') } },
      errors: [404, 415],
    },
    'GET /': {
      id: 'page',
      group: 'page',
      summary: 'The dashboard',
      token: 'none',
      answers: {
        200: { description: 'The page.', content: text('text/html', 'HTML.') },
        304: { description: 'Not modified.' },
      },
    },
    'GET /assets/{folder}/{name}': {
      id: 'asset',
      group: 'page',
      summary: 'A file of the dashboard',
      token: 'none',
      path: Joi.object({ folder: Joi.string().required(), name: Joi.string().required() }),
      answers: {
        200: {
          description: 'The file.',
          content: { ...text('text/javascript', 'A script.'), ...text('text/css', 'A style sheet.') },
        },
        304: { description: 'Not modified.' },
      },
      errors: [404],
    },
  }
}
