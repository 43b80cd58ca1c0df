/**
 * What Prometheus is told. The parts report through their observers, and are asked for figures when somebody scrapes: on
 * the way of an event stands no more than a number that goes up. No label has values without bound; never a topic's id.
 */

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { CompactedRun, LogStatistics, StorageObserver } from '../storage-engine/index.ts'
import type { Figures, HubObserver } from './domain/ports.ts'
import type { HttpObserver } from './http/errors.ts'

/** Asked at each scrape; undefined while there is none yet. */
export interface MetricsSources {
  readonly version: string
  isReady(): boolean
  figures(): Figures | undefined
  log(): LogStatistics | undefined
}

export interface ScrapedText {
  readonly contentType: string
  readonly text: string
}

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
  readonly #syncSeconds: Histogram
  readonly #batchRecords: Histogram
  readonly #runSeconds: Histogram
  readonly #streamsEnded: Counter
  readonly #gaps: Counter
  readonly #failures: Counter
  readonly #requests: Counter

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
    this.#requests = this.#counter(
      'sser_http_errors_total',
      'Answers of 500 and more, by the pattern of the route and by status.',
      ['route', 'status'],
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
    const registers = this.#registers
    this.#syncSeconds = new Histogram({
      name: 'sser_log_sync_duration_seconds',
      help: 'How long the disk took to sync a batch.',
      buckets: SYNC_SECONDS,
      registers,
    })
    this.#batchRecords = new Histogram({
      name: 'sser_log_commit_records',
      help: 'Records in a batch.',
      buckets: BATCH_RECORDS,
      registers,
    })
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
      registers,
    })
    for (const register of registers) collectDefaultMetrics({ register })
  }

  readonly hubObserver: Pick<HubObserver, 'streamEnded' | 'gapTold' | 'deliveryFailed'> = {
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

  readonly httpObserver: HttpObserver = {
    requestFailed: ({ route, status }) => this.#requests.inc({ route, status }),
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

/** The same metrics, in another form: its type is that of the other, so that both can stand in one list. */
function openMetricsRegistry(): Registry {
  const registry = new Registry<typeof Registry.OPENMETRICS_CONTENT_TYPE>()
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE)
  return registry as unknown as Registry
}
