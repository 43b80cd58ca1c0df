/**
 * What is counted while the server works: the parts report through their observers, and an event on its way costs no more than
 * an increment. Written only here, and read when scraped. Knows nothing of Prometheus.
 */

import type { StorageObserver } from '../../storage-engine/index.ts'
import type { HubObserver } from '../domain/ports.ts'
import type { HttpObserver } from '../http/errors.ts'
import { DURATION_BOUNDS_SECONDS, Histogram } from './histogram.ts'
import { Totals } from './totals.ts'

/** Clients may send anything as a method. */
const KNOWN_METHODS: ReadonlySet<string> = new Set(['get', 'head', 'post', 'put', 'patch', 'delete', 'options'])
const SYNC_SECONDS = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2, 10]
const BATCH_RECORDS = [1, 2, 4, 8, 16, 32, 64, 128, 512, 2048, 8192]
const RUN_SECONDS = [0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800]

export class Tally {
  publishes = 0
  readonly publishFailures = new Totals('code')
  readonly publishSeconds = new Histogram(DURATION_BOUNDS_SECONDS)
  readonly deliverySeconds = new Histogram(DURATION_BOUNDS_SECONDS)
  deliveryFailures = 0
  sentBytes = 0
  replayedEvents = 0
  replayReads = 0
  replayReadBytes = 0
  liveSubscribers = 0
  droppedEvents = 0
  readonly streamsEnded = new Totals('reason')
  gapsTold = 0

  /** By method, route and status. */
  readonly answers = new Totals('method', 'route', 'status')
  readonly failedRequests = new Totals('route', 'status')
  authFailures = 0
  rateLimited = 0
  readonly limitsReached = new Totals('limit')
  throttledAddresses = 0
  orderFailures = 0

  commits = 0
  commitBytes = 0
  readonly commitRecords = new Histogram(BATCH_RECORDS)
  readonly syncSeconds = new Histogram(SYNC_SECONDS)
  readonly runSeconds = new Histogram(RUN_SECONDS)
  recoverySeconds = 0
  damages = 0
  isFull = false
  hasFailed = false

  readonly hubObserver: Omit<HubObserver, 'figureChanged' | 'catalogDamaged' | 'checkpointRefused'> = {
    published: (_events, durationMs) => {
      this.publishes += 1
      this.publishSeconds.observe(durationMs / 1000)
    },
    publishFailed: (code) => this.publishFailures.add(code),
    delivered: (subscribers, bytes, latencyMs) => {
      this.sentBytes += subscribers * bytes
      this.deliverySeconds.observe(latencyMs / 1000, subscribers)
    },
    replayed: (events, bytes) => {
      this.replayedEvents += events
      this.sentBytes += bytes
    },
    replayRead: (bytes) => {
      this.replayReads += 1
      this.replayReadBytes += bytes
    },
    liveChanged: (change) => {
      this.liveSubscribers += change
    },
    eventsDropped: (events) => {
      this.droppedEvents += events
    },
    streamEnded: (_topic, reason) => this.streamsEnded.add(reason),
    gapTold: () => {
      this.gapsTold += 1
    },
    deliveryFailed: () => {
      this.deliveryFailures += 1
    },
  }

  readonly storageObserver: Pick<
    StorageObserver,
    'committed' | 'damaged' | 'compacted' | 'recovered' | 'full' | 'failed'
  > = {
    committed: (records, bytes, syncMs) => {
      this.commits += 1
      this.commitBytes += bytes
      this.commitRecords.observe(records)
      if (syncMs > 0) this.syncSeconds.observe(syncMs / 1000)
    },
    damaged: () => {
      this.damages += 1
    },
    compacted: ({ durationMs }) => this.runSeconds.observe(durationMs / 1000),
    recovered: (durationMs) => {
      this.recoverySeconds = durationMs / 1000
    },
    full: (isFull) => {
      this.isFull = isFull
    },
    failed: () => {
      this.hasFailed = true
    },
  }

  readonly tlsObserver = {
    orderFailed: () => {
      this.orderFailures += 1
    },
  }

  readonly httpObserver = {
    answered: (method, route, status) => {
      if (status === 401) this.authFailures += 1
      if (status === 429) this.rateLimited += 1
      this.answers.add(KNOWN_METHODS.has(method) ? method : 'other', route, status)
    },
    limitReached: (limit) => this.limitsReached.add(limit),
    throttled: () => {
      this.throttledAddresses += 1
    },
    requestFailed: ({ route, status }) => this.failedRequests.add(route, status),
  } satisfies Partial<HttpObserver>
}
