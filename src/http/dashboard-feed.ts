/**
 * GET /api/v1/dashboard/events: a stream of samples of the server's figures, one a second, for the dashboard. The last
 * quarter of an hour is kept in memory and sent ahead, so that a page that is opened has its chart at once, and one that
 * comes back has what it missed. A sample is a state, not an event: a reader that is too slow for one gets the next.
 */
import type { ServerResponse } from 'node:http'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Plugin } from '@hapi/hapi'
import { metricsAuth } from './auth.ts'
import type { Cors } from './cors.ts'
import { allowOnly } from './methods.ts'
import type { Service } from './service.ts'
import { streamHeaders } from './sse-stream.ts'

/** As they stand in a sample, in bytes and numbers. */
export interface LogFigures {
  readonly bytes: number
  /** Null: without bound. */
  readonly bytes_max: number | null
  /** What the disk has room for; null where that is not known. */
  readonly disk_free_bytes: number | null
  readonly segments: number
  readonly damages: number
  /** Null where it is switched off. */
  readonly compaction: { readonly running: boolean; readonly runs: number; readonly dead_share: number } | null
}

/** In ms, over the last minute. */
export interface Quantiles {
  readonly p50: number
  readonly p99: number
}

/** Null where nothing happened. */
export interface Latencies {
  /** From the append of a request's events to their being as durable as their topic promises. */
  readonly publish: Quantiles | null
  /** From a commit until its events were handed to the sockets. */
  readonly delivery: Quantiles | null
}

export interface FeedSources {
  /** Called once a second, whether anybody watches or not. */
  readonly latencies: () => Latencies
  /** Of the durable log; undefined where there is none. */
  readonly logFigures: () => LogFigures | undefined
  /** A reader that takes nothing for so long is cut off. */
  readonly writeTimeoutMs: number
}

interface FeedOptions {
  readonly service: Service
  readonly cors: Cors
  readonly sources: FeedSources
}

/** Time in ms, events published, events delivered, bytes of the log on the disk. */
type Row = readonly [number, number, number, number]

const path = '/api/v1/dashboard/events'
const intervalMs = 1000
const rowsMax = 900
const lagResolutionMs = 20
const nsPerMs = 1e6

export const dashboardFeedPlugin: Plugin<FeedOptions> = {
  name: 'sser-dashboard-feed',
  register(server, { service, cors, sources }) {
    const rows: Row[] = []
    /** And since when each has taken nothing; 0: it takes. */
    const readers = new Map<ServerResponse, number>()
    const delay = monitorEventLoopDelay({ resolution: lagResolutionMs })

    function sample(): void {
      if (!service.isOpen) return
      const time = Date.now()
      const figures = service.hub.figures()
      // A clock that was set back begins the rows anew: their times only grow.
      if (time <= (rows.at(-1)?.[0] ?? 0)) rows.length = 0
      const log = sources.logFigures() ?? null
      const latencies = sources.latencies()
      rows.push([time, figures.message_received, figures.message_sent, log?.bytes ?? 0])
      if (rows.length > rowsMax) rows.shift()
      const lagMs = Math.max(0, delay.max / nsPerMs - lagResolutionMs)
      delay.reset()
      if (readers.size === 0) return
      const { health } = service
      const loop_lag_ms = Math.round(lagMs * 10) / 10
      const data = JSON.stringify({ time, figures, health, latencies, loop_lag_ms, log })
      const block = `id: ${time}\nevent: sser.figures\ndata: ${data}\n\n`
      for (const [response, sinceMs] of readers) send(response, sinceMs, block)
    }

    function send(response: ServerResponse, sinceMs: number, block: string): void {
      const nowMs = performance.now()
      if (!response.writableNeedDrain) {
        readers.set(response, 0)
        response.write(block)
      } else if (sinceMs === 0) {
        readers.set(response, nowMs)
      } else if (nowMs - sinceMs > sources.writeTimeoutMs) {
        response.destroy()
      }
    }

    const timer = setInterval(sample, intervalMs).unref()
    delay.enable()
    server.ext('onPreStop', () => {
      clearInterval(timer)
      delay.disable()
      for (const response of readers.keys()) response.end()
    })

    server.route({
      method: 'GET',
      path,
      options: { auth: metricsAuth },
      handler(request, h) {
        const { req, res } = request.raw
        if (res.destroyed) return h.abandon
        res.writeHead(200, [...cors.headers(req.headers.origin), ...streamHeaders])
        if (request.method === 'head' || !service.isOpen) {
          res.end()
          return h.abandon
        }
        const after = Number(req.headers['last-event-id'] ?? 0)
        const missed = rows.filter(([time]) => !(time <= after))
        res.write(`event: sser.history\ndata: ${JSON.stringify(missed)}\n\n`)
        readers.set(res, 0)
        res.once('close', () => readers.delete(res))
        return h.abandon
      },
    })
    allowOnly(server, cors, path, ['GET'])
  },
}
