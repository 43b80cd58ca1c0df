/**
 * What Prometheus is told. The parts report through their observers, and are asked for figures when somebody scrapes: on
 * the way of an event stands no more than a number that goes up. No label has values without bound; never a topic's id.
 */

import { Counter, collectDefaultMetrics, Gauge, Histogram, type Metric, Registry } from 'prom-client'
import type { CompactedRun, LogStatistics, StorageObserver } from '../storage-engine/index.ts'
import type { Lag } from './domain/commit-times.ts'
import type { Figures, HubObserver } from './domain/ports.ts'
import type { HttpObserver } from './http/errors.ts'
import { DURATION_BOUNDS_SECONDS, Histogram as PlainHistogram } from './metrics-histogram.ts'

/** Asked at each scrape; undefined while there is none yet. */
export interface MetricsSources {
  readonly version: string
  isReady(): boolean
  figures(): Figures | undefined
  log(): LogStatistics | undefined
  lag(): Lag | undefined
  /** What new connections are shown; undefined without TLS. */
  certificate(): { readonly endsMs: number; readonly isSelfSigned: boolean } | undefined
}

export interface ScrapedText {
  readonly contentType: string
  readonly text: string
}

/** Those of prom-client's own that look at every socket at each scrape: with 10,000 streams that holds the loop. */
const WALKING_METRICS: readonly string[] = [
  'process_open_fds',
  'nodejs_active_resources',
  'nodejs_active_resources_total',
  'nodejs_active_handles',
  'nodejs_active_handles_total',
  'nodejs_active_requests',
  'nodejs_active_requests_total',
]

interface Answers {
  count: number
}

/** What clients send as a method may be anything. */
const KNOWN_METHODS: ReadonlySet<string> = new Set(['get', 'head', 'post', 'put', 'patch', 'delete', 'options'])
const SYNC_SECONDS = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2, 10]
const BATCH_RECORDS = [1, 2, 4, 8, 16, 32, 64, 128, 512, 2048, 8192]
const RUN_SECONDS = [0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800]

export class Metrics {
  readonly #text = new Registry()
  readonly #openMetrics = openMetricsRegistry()
  readonly #registers = [this.#text, this.#openMetrics]
  #isFull = false
  #hasFailed = false
  #damages = 0
  #recoverySeconds = 0
  #commits = 0
  #commitBytes = 0
  readonly #runSeconds: Histogram
  readonly #streamsEnded: Counter
  readonly #gaps: Counter
  readonly #failures: Counter
  readonly #failedRequests: Counter
  // On the busy paths: plain numbers, read at a scrape.
  readonly #publishSeconds = new PlainHistogram(DURATION_BOUNDS_SECONDS)
  readonly #deliverySeconds = new PlainHistogram(DURATION_BOUNDS_SECONDS)
  readonly #syncSeconds = new PlainHistogram(SYNC_SECONDS)
  readonly #batchRecords = new PlainHistogram(BATCH_RECORDS)
  readonly #answers = new Map<string, Map<string, Map<number, Answers>>>()
  readonly #publishFailures: Counter
  #publishes = 0
  #sentBytes = 0
  #replayedEvents = 0
  #replayReads = 0
  #replayReadBytes = 0
  #live = 0
  #droppedEvents = 0
  #authFailures = 0
  #rateLimited = 0
  #throttled = 0
  readonly #limitsReached: Counter
  #orderFailures = 0

  constructor(sources: MetricsSources) {
    const { figures, log } = sources
    const none = Number.NaN
    new Gauge({
      name: 'sser_build_info',
      help: 'Always 1; the label says which version runs.',
      labelNames: ['version'],
      registers: this.#registers,
    }).set({ version: sources.version }, 1)
    this.#gauge(
      'sser_ready',
      'Whether the server takes calls: 1, or 0 while it recovers or stops, or has failed.',
      () => (sources.isReady() ? 1 : 0),
    )
    this.#gauge(
      'sser_certificate_expiry_timestamp_seconds',
      'When the certificate ends that new connections are shown, in Unix time; NaN without TLS.',
      () => (sources.certificate()?.endsMs ?? none) / 1000,
    )
    this.#gauge(
      'sser_certificate_self_signed',
      'Whether the certificate is one that the server has made for itself: 1 or 0; NaN without TLS.',
      () => Number(sources.certificate()?.isSelfSigned ?? none),
    )
    this.#total(
      'sser_certificate_order_failures_total',
      'Orders of a certificate that came to nothing.',
      () => this.#orderFailures,
    )
    this.#gauge('sser_topics', 'Topics that there are now.', () => figures()?.active_topics ?? none)
    this.#total('sser_topics_created_total', 'Topics made, read back at the start, or of the configuration.', () => {
      return figures()?.topics ?? 0
    })
    this.#gauge('sser_subscribers', 'Streams that are open now.', () => figures()?.active_subscribers ?? none)
    this.#total('sser_streams_opened_total', 'Streams that were opened.', () => figures()?.subscribers ?? 0)
    this.#total('sser_events_published_total', 'Events that were taken and acknowledged.', () => {
      return figures()?.message_received ?? 0
    })
    this.#total('sser_deliveries_total', 'Events handed to subscribers: one for each event and subscriber.', () => {
      return figures()?.message_sent ?? 0
    })
    this.#streamsEnded = this.#counter('sser_streams_ended_total', 'Streams that ended, by reason.', ['reason'])
    this.#gaps = this.#counter('sser_gaps_told_total', 'How often a subscriber was told that events are missing.')
    this.#failures = this.#counter('sser_delivery_failures_total', 'Streams, or deliveries of one topic, that failed.')
    this.#failedRequests = this.#counter(
      'sser_http_errors_total',
      'Answers of 500 and more, by the pattern of the route and by status.',
      ['route', 'status'],
    )

    this.#total('sser_publishes_total', 'Requests to publish that were kept; one may bring several events.', () => {
      return this.#publishes
    })
    this.#publishFailures = this.#counter(
      'sser_publish_failures_total',
      'Requests to publish of which nothing was kept, by the kind of error.',
      ['code'],
    )
    this.#histogram(
      'sser_publish_duration_seconds',
      'From the append of what a request publishes to its being as durable as its topic promises, and dispatched.',
      this.#publishSeconds,
    )
    this.#histogram(
      'sser_delivery_latency_seconds',
      'From a commit until its events were handed to the sockets of all live subscribers of a topic; one for each of them.',
      this.#deliverySeconds,
    )
    this.#gauge('sser_live_subscribers', 'Streams that have all that their topics have.', () => this.#live)
    this.#gauge('sser_catching_up_subscribers', 'Streams that are still reading what they lack.', () => {
      return (figures()?.active_subscribers ?? none) - this.#live
    })
    this.#gauge(
      'sser_slowest_subscriber_lag_seconds',
      'Since when the slowest of those that catch up lacks something; at most since the start of the process.',
      () => (sources.lag()?.ms ?? none) / 1000,
    )
    this.#gauge(
      'sser_slowest_subscriber_lag_events',
      'Events of all topics that were committed since then: at least as many as it lacks of them.',
      () => sources.lag()?.events ?? none,
    )
    this.#total('sser_sent_bytes_total', 'Bytes of events handed to sockets.', () => this.#sentBytes)
    this.#total('sser_replayed_events_total', 'Deliveries to streams that were catching up.', () => {
      return this.#replayedEvents
    })
    this.#total('sser_replay_reads_total', 'Pieces that cursors have read for those who catch up.', () => {
      return this.#replayReads
    })
    this.#total('sser_replay_read_bytes_total', 'Bytes of events in these pieces.', () => this.#replayReadBytes)
    this.#total(
      'sser_dropped_events_total',
      'Events dropped by limits, by emptying topics, and by the bound on the log in memory.',
      () => this.#droppedEvents,
    )
    this.#requestTotals()
    this.#total('sser_auth_failures_total', 'Answers of 401: a token was missing or wrong.', () => this.#authFailures)
    this.#total('sser_rate_limited_total', 'Answers of 429: a limit was reached.', () => this.#rateLimited)
    this.#limitsReached = this.#counter(
      'sser_limits_reached_total',
      'How often somebody was refused, or asked to come back, for a limit, by its setting.',
      ['limit'],
    )
    this.#total(
      'sser_throttled_addresses_total',
      'How often an address had to begin to wait for its wrong tokens.',
      () => this.#throttled,
    )

    this.#gauge('sser_log_size_bytes', 'The files of the durable log.', () => log()?.bytesOnDisk ?? none)
    this.#gauge('sser_log_size_limit_bytes', 'What log.maxBytes allows them.', () => log()?.quotaBytes ?? none)
    this.#gauge('sser_log_segments', 'Segments of the durable log.', () => log()?.segments ?? none)
    this.#gauge('sser_log_records', 'Records in the durable log, dead ones included.', () => log()?.records ?? none)
    this.#gauge('sser_log_pending_bytes', 'Bytes of events that wait for the disk.', () => log()?.pendingBytes ?? none)
    this.#gauge('sser_log_cache_bytes', 'Memory that holds parts of the log and its indexes.', () => {
      return log()?.cachedBytes ?? none
    })
    this.#gauge('sser_log_dead_ratio', 'How much of what compaction has looked at is dead: 0 to 1.', () => {
      return log()?.compaction?.deadShare ?? none
    })
    this.#gauge(
      'sser_log_damaged_ranges',
      'Ranges of the log that were found damaged since the start.',
      () => this.#damages,
    )
    this.#gauge('sser_log_failed', '1 after a failed sync, until the server is started anew.', () => +this.#hasFailed)
    this.#gauge('sser_log_disk_full', '1 while the disk has no room.', () => +this.#isFull)
    this.#gauge(
      'sser_log_recovery_duration_seconds',
      'How long the last start read the log.',
      () => this.#recoverySeconds,
    )
    this.#total('sser_log_commits_total', 'Batches that became as durable as log.sync promises.', () => this.#commits)
    this.#total('sser_log_commit_bytes_total', 'Bytes of these batches.', () => this.#commitBytes)
    this.#histogram('sser_log_sync_duration_seconds', 'How long the disk took to sync a batch.', this.#syncSeconds)
    this.#histogram('sser_log_commit_records', 'Records in a batch.', this.#batchRecords)
    this.#gauge('sser_compaction_running', 'Whether a run of compaction is under way.', () => {
      return +(log()?.compaction?.isRunning ?? false)
    })
    this.#total('sser_compaction_runs_total', 'Runs of compaction.', () => log()?.compaction?.runs ?? 0)
    this.#total('sser_compaction_read_bytes_total', 'What they have read.', () => log()?.compaction?.bytesRead ?? 0)
    this.#total('sser_compaction_written_bytes_total', 'What they have written.', () => {
      return log()?.compaction?.bytesWritten ?? 0
    })
    this.#runSeconds = new Histogram({
      name: 'sser_compaction_duration_seconds',
      help: 'How long a run of compaction took.',
      buckets: RUN_SECONDS,
      registers: this.#registers,
    })
    for (const register of this.#registers) {
      collectDefaultMetrics({ register })
      for (const name of WALKING_METRICS) register.removeSingleMetric(name)
    }
  }

  /** For those who want to know how it was lately. */
  get durations(): { readonly publish: PlainHistogram; readonly delivery: PlainHistogram } {
    return { publish: this.#publishSeconds, delivery: this.#deliverySeconds }
  }

  readonly hubObserver: Omit<HubObserver, 'figureChanged' | 'catalogDamaged' | 'checkpointRefused'> = {
    published: (_events, durationMs) => {
      this.#publishes += 1
      this.#publishSeconds.observe(durationMs / 1000)
    },
    publishFailed: (code) => this.#publishFailures.inc({ code }),
    delivered: (subscribers, bytes, latencyMs) => {
      this.#sentBytes += subscribers * bytes
      this.#deliverySeconds.observe(latencyMs / 1000, subscribers)
    },
    replayed: (events, bytes) => {
      this.#replayedEvents += events
      this.#sentBytes += bytes
    },
    replayRead: (bytes) => {
      this.#replayReads += 1
      this.#replayReadBytes += bytes
    },
    liveChanged: (change) => {
      this.#live += change
    },
    eventsDropped: (events) => {
      this.#droppedEvents += events
    },
    streamEnded: (_topic, reason) => this.#streamsEnded.inc({ reason }),
    gapTold: () => this.#gaps.inc(),
    deliveryFailed: () => this.#failures.inc(),
  }

  readonly storageObserver: Pick<
    StorageObserver,
    'committed' | 'damaged' | 'compacted' | 'recovered' | 'full' | 'failed'
  > = {
    committed: (records, bytes, syncMs) => {
      this.#commits += 1
      this.#commitBytes += bytes
      this.#batchRecords.observe(records)
      if (syncMs > 0) this.#syncSeconds.observe(syncMs / 1000)
    },
    damaged: () => {
      this.#damages += 1
    },
    compacted: ({ durationMs }: CompactedRun) => this.#runSeconds.observe(durationMs / 1000),
    recovered: (durationMs) => {
      this.#recoverySeconds = durationMs / 1000
    },
    full: (isFull) => {
      this.#isFull = isFull
    },
    failed: () => {
      this.#hasFailed = true
    },
  }

  readonly tlsObserver = {
    orderFailed: () => {
      this.#orderFailures += 1
    },
  }

  readonly httpObserver: HttpObserver = {
    answered: (method, route, status) => {
      if (status === 401) this.#authFailures += 1
      if (status === 429) this.#rateLimited += 1
      const known = KNOWN_METHODS.has(method) ? method : 'other'
      const methods = ensured(this.#answers, route, () => new Map<string, Map<number, Answers>>())
      const statuses = ensured(methods, known, () => new Map<number, Answers>())
      ensured(statuses, status, () => ({ count: 0 })).count += 1
    },
    limitReached: (limit) => this.#limitsReached.inc({ limit }),
    throttled: () => {
      this.#throttled += 1
    },
    requestFailed: ({ route, status }) => this.#failedRequests.inc({ route, status }),
  }

  /** `isOpenMetrics`: in the form of OpenMetrics 1.0; otherwise in that of Prometheus. */
  async scrape(isOpenMetrics: boolean): Promise<ScrapedText> {
    const register = isOpenMetrics ? this.#openMetrics : this.#text
    return { contentType: register.contentType, text: await register.metrics() }
  }

  /** Each metric of this server's own, for the documentation. */
  async describe(): Promise<readonly { readonly name: string; readonly type: string; readonly help: string }[]> {
    const all = await this.#text.getMetricsAsJSON()
    return all
      .filter(({ name }) => name.startsWith('sser_'))
      .map(({ name, type, help }) => ({ name, type: String(type), help }))
  }

  #requestTotals(): void {
    const answers = this.#answers
    new Counter({
      name: 'sser_http_requests_total',
      help: 'Answers, by method, pattern of the route and status; a stream counts when it begins. Route none: refused before one was sought.',
      labelNames: ['method', 'route', 'status'],
      registers: this.#registers,
      collect() {
        this.reset()
        for (const [route, methods] of answers) {
          for (const [method, statuses] of methods) {
            for (const [status, { count }] of statuses) this.inc({ method, route, status }, count)
          }
        }
      },
    })
  }

  /** prom-client's own histograms cost too much where an event passes. */
  #histogram(name: string, help: string, source: PlainHistogram): void {
    const type = 'histogram'
    const metric = { name, help, type, get: async () => ({ name, help, type, values: bucketsOf(name, source) }) }
    for (const register of this.#registers) register.registerMetric(metric as unknown as Metric)
  }

  #gauge(name: string, help: string, value: () => number): void {
    new Gauge({
      name,
      help,
      registers: this.#registers,
      collect() {
        this.set(value())
      },
    })
  }

  /** A counter that somebody else counts. */
  #total(name: string, help: string, value: () => number): void {
    new Counter({
      name,
      help,
      registers: this.#registers,
      collect() {
        this.reset()
        this.inc(value())
      },
    })
  }

  #counter(name: string, help: string, labelNames: string[] = []): Counter {
    return new Counter({ name, help, labelNames, registers: this.#registers })
  }
}

function bucketsOf(name: string, { bounds, counts, sum }: PlainHistogram): readonly object[] {
  let total = 0
  const buckets = [...counts].map((count, index) => {
    total += count
    return { metricName: `${name}_bucket`, labels: { le: bounds[index] ?? '+Inf' }, value: total }
  })
  const labels = {}
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: total },
  ]
}

function ensured<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  let value = map.get(key)
  if (value === undefined) {
    value = make()
    map.set(key, value)
  }
  return value
}

/** The same metrics, in another form: its type is that of the other, so that both can stand in one list. */
function openMetricsRegistry(): Registry {
  const registry = new Registry<typeof Registry.OPENMETRICS_CONTENT_TYPE>()
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE)
  return registry as unknown as Registry
}
