// What a supervisor and a load balancer ask: /healthz (is the process alive) and /readyz (should it get traffic, and why
// not). Both without a token; neither says anything of topics, tokens or addresses.
import type { Plugin } from '@hapi/hapi'
import type { Cors } from './cors.ts'
import { jsonAnswer } from './errors.ts'
import { allowOnly } from './methods.ts'
import type { Service } from './service.ts'

export const operationsPlugin: Plugin<{ readonly service: Service; readonly cors: Cors }> = {
  name: 'sser-operations',
  register(server, { service, cors }) {
    server.route({
      method: 'GET',
      path: '/healthz',
      options: { auth: false },
      handler: (_request, h) => jsonAnswer(h, '{"status":"ok"}').header('cache-control', 'no-store'),
    })
    allowOnly(server, cors, '/healthz', ['GET'])

    server.route({
      method: 'GET',
      path: '/readyz',
      options: { auth: false },
      handler(_request, h) {
        const { health } = service
        const answer = jsonAnswer(h, JSON.stringify(health)).header('cache-control', 'no-store')
        return health.status === 'ready' ? answer.code(200) : answer.code(503).header('retry-after', '1')
      },
    })
    allowOnly(server, cors, '/readyz', ['GET'])
  },
}
