/**
 * /api/v1/dashboard/events: a stream of samples of the server's figures, one per second, for the dashboard. The last quarter
 * of an hour is sent first, so that a newly opened page has its chart at once, and one that reconnects has what it missed.
 * GET gives the samples alone. POST adds the events of some topics, each opened by its own token, so that a browser needs a
 * single connection whatever it shows; the figures go on where the events are unavailable.
 */
import { Boom } from '@hapi/boom'
import type { Plugin, Request } from '@hapi/hapi'
import { shareBytes } from '../domain/frame-builder.ts'
import type { Topic } from '../domain/hub.ts'
import type { Sink } from '../domain/ports.ts'
import { closedEvent } from '../sse/encode.ts'
import { metricsAuth, topicNamed } from './auth.ts'
import { type FeedSources, type SampleIds, Sampler } from './dashboard-sampler.ts'
import { httpError } from './errors.ts'
import { type Credentials, challenge, type Gate, tooManyWrongTokens } from './gate.ts'
import { openStream } from './http2-sse-stream.ts'
import { jsonBodyOf } from './json-body.ts'
import { allowOnly, rawPayload } from './methods.ts'
import type { BodyLimits } from './read-body.ts'
import { type DashboardFeedBody, dashboardFeedSchema, validate } from './schemas.ts'
import { unavailable } from './service.ts'
import { streamHeaders } from './sse-stream.ts'
import { answerStream, assertMayBegin, type StreamContext, type StreamLimits } from './stream-answer.ts'
import type { TopicLimits } from './subscribe-all.ts'

interface FeedOptions extends StreamContext {
  readonly gate: Gate
  readonly limits: StreamLimits & TopicLimits & BodyLimits
  readonly sources: FeedSources
}

const path = '/api/v1/dashboard/events'
/** Enough for the maximum number of topics, each with a token. */
const bodyBytesMax = 256 * 1024
/** For samples alone: a reader with this much waiting skips to the next one. */
const samplesWaitingBytesMax = 16 * 1024

export const dashboardFeedPlugin: Plugin<FeedOptions> = {
  name: 'sser-dashboard-feed',
  register(server, context) {
    const { service, cors, gate, limits, observer } = context
    const schema = dashboardFeedSchema(limits.topicsPerStreamMax)
    const bodyLimits = { ...limits, requestBodyBytesMax: Math.min(limits.requestBodyBytesMax, bodyBytesMax) }
    const sampler = new Sampler(service, context.sources)
    server.ext('onPreStop', () => sampler.close())

    function show({ raw }: Request, stream: Sink, ids: SampleIds, afterMs: number): void {
      raw.res.once('close', sampler.watch(stream, ids, afterMs))
    }

    function answerSamples(request: Request, ids: SampleIds, afterMs: number): void {
      const { req, res } = request.raw
      if (res.destroyed) return
      assertMayBegin(res)
      if (!service.isOpen) throw unavailable(service.health)
      observer.answered(request.method, path, 200)
      show(request, openStream(res, cors.headers(req.headers.origin), samplesWaitingBytesMax), ids, afterMs)
    }

    /** The credentials for each topic. */
    function credentialsOf(request: Request, topics: DashboardFeedBody['feed']['topics']): Opened[] {
      return topics.map(({ id, token }, i) => {
        const place = `feed.topics.${i}`
        const topic = topicNamed(service, id, place)
        const outcome = placed(`${place}.token`, () => gate.topic(request, token, 'subscribe', () => topic))
        if ('waitMs' in outcome) throw tooManyWrongTokens(outcome)
        return { topic, credentials: outcome }
      })
    }

    server.route({
      method: 'GET',
      path,
      options: { auth: metricsAuth },
      handler(request, h) {
        const { req, res } = request.raw
        if (request.method !== 'head') {
          answerSamples(request, 'time', Number(req.headers['last-event-id'] ?? 0))
        } else if (!res.destroyed) {
          observer.answered(request.method, path, 200)
          res.writeHead(200, [...cors.headers(req.headers.origin), ...streamHeaders])
          res.end()
        }
        return h.abandon
      },
    })
    server.route({
      method: 'POST',
      path,
      options: { auth: metricsAuth, payload: rawPayload },
      async handler(request, h) {
        const { feed } = validate(schema, await jsonBodyOf(request.raw.req, bodyLimits))
        const { hub } = service
        const opened = credentialsOf(request, feed.topics)
        if (opened.length === 0) {
          answerSamples(request, 'none', feed.figures_after)
          return h.abandon
        }
        const topics = opened.map(({ topic }) => topic)
        const share = (stream: Sink, failure: Error | undefined) => {
          show(request, stream, 'none', feed.figures_after)
          if (failure) stream.write(shareBytes(closedEvent(JSON.stringify({ reason: failure.message }))))
        }
        const wanted = {
          path,
          topics,
          credentials: opened.map(({ credentials }) => credentials),
          query: { last_event_id: feed.last_event_id ?? '' },
          envelope: 'json' as const,
          resolve: hub.resolveAll.bind(hub, topics),
          share,
        }
        return answerStream(context, hub, wanted, request, h)
      },
    })
    allowOnly(server, cors, path, ['GET', 'POST'])
  },
}

interface Opened {
  readonly topic: Topic
  readonly credentials: Credentials
}

/** Reports a wrong token together with its place, since it is not the token in the header. */
function placed<Result>(place: string, check: () => Result): Result {
  try {
    return check()
  } catch (error) {
    if (!(error instanceof Boom) || error.output.statusCode !== 401) throw error
    throw httpError(401, 'The token does not grant access to this topic.', { path: place }, challenge)
  }
}
