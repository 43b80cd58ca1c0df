// GET /api/v1/metrics: the seven figures of the wire protocol, in its shape and order.
import type { Plugin } from '@hapi/hapi'
import { metricsText } from './answers.ts'
import { metricsAuth } from './auth.ts'
import type { Cors } from './cors.ts'
import { jsonAnswer } from './errors.ts'
import { allowOnly } from './methods.ts'
import type { Service } from './service.ts'

export const metricsPlugin: Plugin<{ readonly service: Service; readonly cors: Cors }> = {
  name: 'sser-metrics',
  register(server, { service, cors }) {
    server.route({
      method: 'GET',
      path: '/api/v1/metrics',
      options: { auth: metricsAuth },
      handler(_request, h) {
        const metrics = Object.entries(service.hub.figures()).map(([name, value]) => ({ name, value }))
        return jsonAnswer(h, metricsText({ metrics }))
      },
    })
    allowOnly(server, cors, '/api/v1/metrics', ['GET'])
  },
}
