// For supervisors and load balancers: /healthz (is the process alive) and /readyz (should it get traffic, and if not, why;
// with TLS also the current certificate, which every handshake reveals anyway). Neither needs a token, and neither says
// anything about topics, tokens or addresses.
import type { Plugin } from '@hapi/hapi'
import { aliveText, type CertificateJson, readinessText } from './answers.ts'
import type { Cors } from './cors.ts'
import { jsonAnswer } from './errors.ts'
import { allowOnly } from './methods.ts'
import type { Certificates } from './secure-listener.ts'
import type { Service } from './service.ts'

export interface OperationsOptions {
  readonly service: Service
  readonly cors: Cors
  /** Undefined without TLS. */
  readonly certificates: Certificates | undefined
}

export const operationsPlugin: Plugin<OperationsOptions> = {
  name: 'sser-operations',
  register(server, { service, cors, certificates }) {
    server.route({
      method: 'GET',
      path: '/healthz',
      options: { auth: false },
      handler: (_request, h) => jsonAnswer(h, aliveText({ status: 'ok' })).header('cache-control', 'no-store'),
    })
    allowOnly(server, cors, '/healthz', ['GET'])

    server.route({
      method: 'GET',
      path: '/readyz',
      options: { auth: false },
      handler(_request, h) {
        const { health } = service
        const shown = { ...health, ...(certificates && certificateOf(certificates)) }
        const answer = jsonAnswer(h, readinessText(shown)).header('cache-control', 'no-store')
        return health.status === 'ready' ? answer.code(200) : answer.code(503).header('retry-after', '1')
      },
    })
    allowOnly(server, cors, '/readyz', ['GET'])
  },
}

function certificateOf({ source, isInterim, current }: Certificates): { certificate: CertificateJson } {
  const { names, notAfterMs } = current
  return { certificate: { source, names, expires_at: new Date(notAfterMs).toISOString(), ordering: isInterim } }
}
