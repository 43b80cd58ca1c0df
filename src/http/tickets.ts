// POST /api/v1/tickets: a token for the URL of a stream, which others may get to read. Promises that it opens nothing that the
// tokens of this request do not open.
import type { Plugin, Request } from '@hapi/hapi'
import type { TicketGrant } from '../domain/hub.ts'
import { hashToken } from '../domain/token.ts'
import { ticketText } from './answers.ts'
import { bearerOf, topicNamed } from './auth.ts'
import type { Cors } from './cors.ts'
import { jsonAnswer } from './errors.ts'
import { type Gate, tooManyWrongTokens } from './gate.ts'
import { jsonBodyOf } from './json-body.ts'
import { allowOnly, rawPayload } from './methods.ts'
import type { BodyLimits } from './read-body.ts'
import { issueTicketSchema, type TicketTopic, validate } from './schemas.ts'
import type { Service } from './service.ts'

export interface TicketsOptions {
  readonly service: Service
  readonly cors: Cors
  readonly gate: Gate
  readonly limits: BodyLimits
}

const path = '/api/v1/tickets'
/** Enough for the maximum number of topics, each with a token; the body is read before the client is authenticated. */
const bodyBytesMax = 64 * 1024

export const ticketsPlugin: Plugin<TicketsOptions> = {
  name: 'sser-tickets',
  register(server, { service, cors, gate, limits }) {
    const bodyLimits = { ...limits, requestBodyBytesMax: Math.min(limits.requestBodyBytesMax, bodyBytesMax) }

    /** Each topic on the authority of its own token, or of the one in the header. */
    function grantsOf(request: Request, topics: readonly TicketTopic[]): TicketGrant[] {
      const topicsByToken = new Map<string, Set<string>>()
      for (const [index, wanted] of topics.entries()) {
        const { id, token = bearerOf(request) } = typeof wanted === 'string' ? { id: wanted } : wanted
        const topic = topicNamed(service, id, `ticket.topics.${index}`)
        const outcome = gate.topic(request, token, 'subscribe', () => topic)
        if ('waitMs' in outcome) throw tooManyWrongTokens(outcome)
        const opened = topicsByToken.get(token) ?? new Set()
        topicsByToken.set(token, opened.add(topic.id))
      }
      return [...topicsByToken].map(([token, ids]) => ({ topics: [...ids], by: hashToken(token) }))
    }

    server.route({
      method: 'POST',
      path,
      // All tokens but one are in the body.
      options: { auth: false, payload: rawPayload },
      async handler(request, h) {
        const { topics } = validate(issueTicketSchema, await jsonBodyOf(request.raw.req, bodyLimits)).ticket
        const grants = grantsOf(request, topics)
        const { secret, expiresAtMs } = await service.changing(() => service.hub.tickets.issue(grants))
        const ticket = { token: secret, expires_at: new Date(expiresAtMs).toISOString() }
        return jsonAnswer(h, ticketText({ ticket })).code(201)
      },
    })
    allowOnly(server, cors, path, ['POST'])
  },
}
