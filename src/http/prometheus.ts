// GET /metrics: figures for Prometheus. With the metrics token; or, if the configuration allows it, without one for clients
// on this machine. Knows nothing of what the figures mean.
import type { Plugin } from '@hapi/hapi'
import { scrapeAuth } from './auth.ts'
import type { Cors } from './cors.ts'
import { allowOnly } from './methods.ts'

export interface ScrapedMetrics {
  readonly contentType: string
  readonly text: string
}

export interface PrometheusOptions {
  readonly cors: Cors
  readonly scrape: (isOpenMetrics: boolean) => Promise<ScrapedMetrics>
}

const openMetrics = /application\/openmetrics-text/i

export const prometheusPlugin: Plugin<PrometheusOptions> = {
  name: 'sser-prometheus',
  register(server, { cors, scrape }) {
    server.route({
      method: 'GET',
      path: '/metrics',
      options: { auth: scrapeAuth },
      async handler(request, h) {
        const { contentType, text } = await scrape(openMetrics.test(request.raw.req.headers.accept ?? ''))
        return h.response(text).header('content-type', contentType).header('cache-control', 'no-store')
      },
    })
    allowOnly(server, cors, '/metrics', ['GET'])
  },
}
