/**
 * The server's own metrics, in the order of their documentation: name, type, help text, and how to read the value. No label has
 * unbounded values; topic ids in particular are never labels.
 */

import type { LogStatistics } from '../../storage-engine/index.ts'
import type { Lag } from '../domain/commit-times.ts'
import type { Figures } from '../domain/ports.ts'
import type { Histogram } from './histogram.ts'
import type { Tally } from './tally.ts'
import type { Totals } from './totals.ts'

/** The state at the moment of a scrape. */
export interface Reading {
  readonly tally: Tally
  /** A single sample with the value 1. */
  readonly build: Totals
  readonly isReady: boolean
  /** The next three are undefined while there are none yet. */
  readonly figures: Figures | undefined
  readonly log: LogStatistics | undefined
  readonly lag: Lag | undefined
  /** The current certificate; undefined without TLS. */
  readonly certificate: { readonly endsMs: number; readonly isSelfSigned: boolean } | undefined
}

export interface MetricRow {
  readonly name: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly help: string
  readonly read: (now: Reading) => number | Totals | Histogram
}

const none = Number.NaN

export const METRICS_TABLE: readonly MetricRow[] = [
  gauge('sser_build_info', 'Always 1; the label says which version runs.', ({ build }) => build),
  gauge('sser_ready', 'Whether the server takes calls: 1, or 0 while it recovers or stops, or has failed.', (now) => {
    return +now.isReady
  }),
  gauge(
    'sser_certificate_expiry_timestamp_seconds',
    'When the current certificate expires, in Unix time; NaN without TLS.',
    ({ certificate }) => (certificate?.endsMs ?? none) / 1000,
  ),
  gauge(
    'sser_certificate_self_signed',
    'Whether the certificate is one that the server made for itself: 1 or 0; NaN without TLS.',
    ({ certificate }) => Number(certificate?.isSelfSigned ?? none),
  ),
  counter('sser_certificate_order_failures_total', 'Failed orders of a certificate.', ({ tally }) => {
    return tally.orderFailures
  }),
  gauge('sser_topics', 'Topics that exist now.', ({ figures }) => figures?.active_topics ?? none),
  counter(
    'sser_topics_created_total',
    'Topics created, loaded at the start, or configured.',
    ({ figures }) => figures?.topics ?? 0,
  ),
  gauge('sser_subscribers', 'Streams open now.', ({ figures }) => figures?.active_subscribers ?? none),
  counter('sser_streams_opened_total', 'Streams opened.', ({ figures }) => figures?.subscribers ?? 0),
  counter('sser_events_published_total', 'Events accepted and acknowledged.', ({ figures }) => {
    return figures?.message_received ?? 0
  }),
  counter('sser_deliveries_total', 'Events handed to subscribers: one for each event and subscriber.', (now) => {
    return now.figures?.message_sent ?? 0
  }),
  counter('sser_streams_ended_total', 'Streams that ended, by reason.', ({ tally }) => tally.streamsEnded),
  counter('sser_gaps_told_total', 'Gap events sent to subscribers.', ({ tally }) => {
    return tally.gapsTold
  }),
  counter('sser_delivery_failures_total', 'Streams, or deliveries of one topic, that failed.', ({ tally }) => {
    return tally.deliveryFailures
  }),
  counter(
    'sser_http_errors_total',
    'Responses of 500 and above, by route pattern and status.',
    ({ tally }) => tally.failedRequests,
  ),

  counter('sser_publishes_total', 'Publish requests stored; each may contain several events.', (now) => {
    return now.tally.publishes
  }),
  counter(
    'sser_publish_failures_total',
    'Publish requests of which nothing was stored, by kind of error.',
    ({ tally }) => tally.publishFailures,
  ),
  histogram(
    'sser_publish_duration_seconds',
    'From the append of the events of a request until they are as durable as their topic promises, and dispatched.',
    ({ tally }) => tally.publishSeconds,
  ),
  histogram(
    'sser_delivery_latency_seconds',
    'From a commit until its events were written to the sockets of all live subscribers of a topic; one observation per subscriber.',
    ({ tally }) => tally.deliverySeconds,
  ),
  gauge('sser_live_subscribers', 'Streams that are up to date.', ({ tally }) => tally.liveSubscribers),
  gauge(
    'sser_catching_up_subscribers',
    'Streams that are still reading events that they lack.',
    ({ figures, tally }) => (figures?.active_subscribers ?? none) - tally.liveSubscribers,
  ),
  gauge(
    'sser_slowest_subscriber_lag_seconds',
    'How long the slowest stream that is catching up has been behind; at most since the start of the process.',
    ({ lag }) => (lag?.ms ?? none) / 1000,
  ),
  gauge(
    'sser_slowest_subscriber_lag_events',
    'Events of all topics committed in that time: at least as many as the stream lacks.',
    ({ lag }) => lag?.events ?? none,
  ),
  counter('sser_sent_bytes_total', 'Bytes of events written to sockets.', ({ tally }) => tally.sentBytes),
  counter('sser_replayed_events_total', 'Deliveries to streams that were catching up.', ({ tally }) => {
    return tally.replayedEvents
  }),
  counter('sser_replay_reads_total', 'Pieces read by cursors for streams that are catching up.', ({ tally }) => {
    return tally.replayReads
  }),
  counter('sser_replay_read_bytes_total', 'Bytes of events in those pieces.', ({ tally }) => tally.replayReadBytes),
  counter(
    'sser_dropped_events_total',
    'Events dropped by limits, by emptying topics, and by the bound on the in-memory log.',
    ({ tally }) => tally.droppedEvents,
  ),
  counter(
    'sser_http_requests_total',
    'Responses, by method, route pattern and status; a stream counts when it begins. Route none: refused before routing.',
    ({ tally }) => tally.answers,
  ),
  counter('sser_auth_failures_total', 'Responses of 401: a token was missing or wrong.', ({ tally }) => {
    return tally.authFailures
  }),
  counter('sser_rate_limited_total', 'Responses of 429: a limit was reached.', ({ tally }) => tally.rateLimited),
  counter(
    'sser_limits_reached_total',
    'How often a client was refused, or told to come back later, because of a limit, by its setting.',
    ({ tally }) => tally.limitsReached,
  ),
  counter(
    'sser_throttled_addresses_total',
    'How often an address had to start waiting because of wrong tokens.',
    ({ tally }) => tally.throttledAddresses,
  ),

  gauge('sser_log_size_bytes', 'Size of the files of the durable log.', ({ log }) => log?.bytesOnDisk ?? none),
  gauge('sser_log_size_limit_bytes', 'Their limit, log.maxBytes.', ({ log }) => log?.quotaBytes ?? none),
  gauge('sser_log_segments', 'Segments of the durable log.', ({ log }) => log?.segments ?? none),
  gauge('sser_log_records', 'Records in the durable log, dead ones included.', ({ log }) => log?.records ?? none),
  gauge('sser_log_pending_bytes', 'Bytes of events waiting for the disk.', ({ log }) => log?.pendingBytes ?? none),
  gauge('sser_log_cache_bytes', 'Memory that holds parts of the log and its indexes.', ({ log }) => {
    return log?.cachedBytes ?? none
  }),
  gauge('sser_log_dead_ratio', 'Dead share of what compaction has examined: 0 to 1.', ({ log }) => {
    return log?.compaction?.deadShare ?? none
  }),
  gauge('sser_log_damaged_ranges', 'Ranges of the log found damaged since the start.', ({ tally }) => {
    return tally.damages
  }),
  gauge('sser_log_failed', '1 after a failed sync, until the server is restarted.', ({ tally }) => {
    return +tally.hasFailed
  }),
  gauge('sser_log_disk_full', '1 while the disk is full.', ({ tally }) => +tally.isFull),
  gauge('sser_log_recovery_duration_seconds', 'How long the last start read the log.', ({ tally }) => {
    return tally.recoverySeconds
  }),
  counter('sser_log_commits_total', 'Batches that became as durable as log.sync promises.', ({ tally }) => {
    return tally.commits
  }),
  counter('sser_log_commit_bytes_total', 'Bytes of those batches.', ({ tally }) => tally.commitBytes),
  histogram('sser_log_sync_duration_seconds', 'How long the disk took to sync a batch.', ({ tally }) => {
    return tally.syncSeconds
  }),
  histogram('sser_log_commit_records', 'Records in a batch.', ({ tally }) => tally.commitRecords),
  gauge('sser_compaction_running', 'Whether a compaction run is in progress.', ({ log }) => {
    return +(log?.compaction?.isRunning ?? false)
  }),
  counter('sser_compaction_runs_total', 'Runs of compaction.', ({ log }) => log?.compaction?.runs ?? 0),
  counter(
    'sser_compaction_read_bytes_total',
    'Bytes that they have read.',
    ({ log }) => log?.compaction?.bytesRead ?? 0,
  ),
  counter('sser_compaction_written_bytes_total', 'Bytes that they have written.', ({ log }) => {
    return log?.compaction?.bytesWritten ?? 0
  }),
  histogram('sser_compaction_duration_seconds', 'How long a compaction run took.', ({ tally }) => tally.runSeconds),
]

function counter(name: string, help: string, read: (now: Reading) => number | Totals): MetricRow {
  return { name, type: 'counter', help, read }
}

function gauge(name: string, help: string, read: (now: Reading) => number | Totals): MetricRow {
  return { name, type: 'gauge', help, read }
}

function histogram(name: string, help: string, read: (now: Reading) => Histogram): MetricRow {
  return { name, type: 'histogram', help, read }
}
