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
    'When the certificate ends that new connections are shown, in Unix time; NaN without TLS.',
    ({ certificate }) => (certificate?.endsMs ?? none) / 1000,
  ),
  gauge(
    'sser_certificate_self_signed',
    'Whether the certificate is one that the server has made for itself: 1 or 0; NaN without TLS.',
    ({ certificate }) => Number(certificate?.isSelfSigned ?? none),
  ),
  counter('sser_certificate_order_failures_total', 'Orders of a certificate that came to nothing.', ({ tally }) => {
    return tally.orderFailures
  }),
  gauge('sser_topics', 'Topics that there are now.', ({ figures }) => figures?.active_topics ?? none),
  counter(
    'sser_topics_created_total',
    'Topics made, read back at the start, or of the configuration.',
    ({ figures }) => figures?.topics ?? 0,
  ),
  gauge('sser_subscribers', 'Streams that are open now.', ({ figures }) => figures?.active_subscribers ?? none),
  counter('sser_streams_opened_total', 'Streams that were opened.', ({ figures }) => figures?.subscribers ?? 0),
  counter('sser_events_published_total', 'Events that were taken and acknowledged.', ({ figures }) => {
    return figures?.message_received ?? 0
  }),
  counter('sser_deliveries_total', 'Events handed to subscribers: one for each event and subscriber.', (now) => {
    return now.figures?.message_sent ?? 0
  }),
  counter('sser_streams_ended_total', 'Streams that ended, by reason.', ({ tally }) => tally.streamsEnded),
  counter('sser_gaps_told_total', 'How often a subscriber was told that events are missing.', ({ tally }) => {
    return tally.gapsTold
  }),
  counter('sser_delivery_failures_total', 'Streams, or deliveries of one topic, that failed.', ({ tally }) => {
    return tally.deliveryFailures
  }),
  counter(
    'sser_http_errors_total',
    'Answers of 500 and more, by the pattern of the route and by status.',
    ({ tally }) => tally.failedRequests,
  ),

  counter('sser_publishes_total', 'Requests to publish that were kept; one may bring several events.', (now) => {
    return now.tally.publishes
  }),
  counter(
    'sser_publish_failures_total',
    'Requests to publish of which nothing was kept, by the kind of error.',
    ({ tally }) => tally.publishFailures,
  ),
  histogram(
    'sser_publish_duration_seconds',
    'From the append of what a request publishes to its being as durable as its topic promises, and dispatched.',
    ({ tally }) => tally.publishSeconds,
  ),
  histogram(
    'sser_delivery_latency_seconds',
    'From a commit until its events were handed to the sockets of all live subscribers of a topic; one for each of them.',
    ({ tally }) => tally.deliverySeconds,
  ),
  gauge('sser_live_subscribers', 'Streams that have all that their topics have.', ({ tally }) => tally.liveSubscribers),
  gauge(
    'sser_catching_up_subscribers',
    'Streams that are still reading what they lack.',
    ({ figures, tally }) => (figures?.active_subscribers ?? none) - tally.liveSubscribers,
  ),
  gauge(
    'sser_slowest_subscriber_lag_seconds',
    'Since when the slowest of those that catch up lacks something; at most since the start of the process.',
    ({ lag }) => (lag?.ms ?? none) / 1000,
  ),
  gauge(
    'sser_slowest_subscriber_lag_events',
    'Events of all topics that were committed since then: at least as many as it lacks of them.',
    ({ lag }) => lag?.events ?? none,
  ),
  counter('sser_sent_bytes_total', 'Bytes of events handed to sockets.', ({ tally }) => tally.sentBytes),
  counter('sser_replayed_events_total', 'Deliveries to streams that were catching up.', ({ tally }) => {
    return tally.replayedEvents
  }),
  counter('sser_replay_reads_total', 'Pieces that cursors have read for those who catch up.', ({ tally }) => {
    return tally.replayReads
  }),
  counter('sser_replay_read_bytes_total', 'Bytes of events in these pieces.', ({ tally }) => tally.replayReadBytes),
  counter(
    'sser_dropped_events_total',
    'Events dropped by limits, by emptying topics, and by the bound on the log in memory.',
    ({ tally }) => tally.droppedEvents,
  ),
  counter(
    'sser_http_requests_total',
    'Answers, by method, pattern of the route and status; a stream counts when it begins. Route none: refused before one was sought.',
    ({ tally }) => tally.answers,
  ),
  counter('sser_auth_failures_total', 'Answers of 401: a token was missing or wrong.', ({ tally }) => {
    return tally.authFailures
  }),
  counter('sser_rate_limited_total', 'Answers of 429: a limit was reached.', ({ tally }) => tally.rateLimited),
  counter(
    'sser_limits_reached_total',
    'How often somebody was refused, or asked to come back, for a limit, by its setting.',
    ({ tally }) => tally.limitsReached,
  ),
  counter(
    'sser_throttled_addresses_total',
    'How often an address had to begin to wait for its wrong tokens.',
    ({ tally }) => tally.throttledAddresses,
  ),

  gauge('sser_log_size_bytes', 'The files of the durable log.', ({ log }) => log?.bytesOnDisk ?? none),
  gauge('sser_log_size_limit_bytes', 'What log.maxBytes allows them.', ({ log }) => log?.quotaBytes ?? none),
  gauge('sser_log_segments', 'Segments of the durable log.', ({ log }) => log?.segments ?? none),
  gauge('sser_log_records', 'Records in the durable log, dead ones included.', ({ log }) => log?.records ?? none),
  gauge('sser_log_pending_bytes', 'Bytes of events that wait for the disk.', ({ log }) => log?.pendingBytes ?? none),
  gauge('sser_log_cache_bytes', 'Memory that holds parts of the log and its indexes.', ({ log }) => {
    return log?.cachedBytes ?? none
  }),
  gauge('sser_log_dead_ratio', 'How much of what compaction has looked at is dead: 0 to 1.', ({ log }) => {
    return log?.compaction?.deadShare ?? none
  }),
  gauge('sser_log_damaged_ranges', 'Ranges of the log that were found damaged since the start.', ({ tally }) => {
    return tally.damages
  }),
  gauge('sser_log_failed', '1 after a failed sync, until the server is started anew.', ({ tally }) => {
    return +tally.hasFailed
  }),
  gauge('sser_log_disk_full', '1 while the disk has no room.', ({ tally }) => +tally.isFull),
  gauge('sser_log_recovery_duration_seconds', 'How long the last start read the log.', ({ tally }) => {
    return tally.recoverySeconds
  }),
  counter('sser_log_commits_total', 'Batches that became as durable as log.sync promises.', ({ tally }) => {
    return tally.commits
  }),
  counter('sser_log_commit_bytes_total', 'Bytes of these batches.', ({ tally }) => tally.commitBytes),
  histogram('sser_log_sync_duration_seconds', 'How long the disk took to sync a batch.', ({ tally }) => {
    return tally.syncSeconds
  }),
  histogram('sser_log_commit_records', 'Records in a batch.', ({ tally }) => tally.commitRecords),
  gauge('sser_compaction_running', 'Whether a run of compaction is under way.', ({ log }) => {
    return +(log?.compaction?.isRunning ?? false)
  }),
  counter('sser_compaction_runs_total', 'Runs of compaction.', ({ log }) => log?.compaction?.runs ?? 0),
  counter('sser_compaction_read_bytes_total', 'What they have read.', ({ log }) => log?.compaction?.bytesRead ?? 0),
  counter('sser_compaction_written_bytes_total', 'What they have written.', ({ log }) => {
    return log?.compaction?.bytesWritten ?? 0
  }),
  histogram('sser_compaction_duration_seconds', 'How long a run of compaction took.', ({ tally }) => tally.runSeconds),
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
