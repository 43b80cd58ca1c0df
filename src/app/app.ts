/**
 * The composition root: builds the parts in dependency order, and stops them in reverse. It listens before the log is
 * recovered, so that clients learn how far the recovery is. Promises that a failed start and every stop leave nothing behind:
 * no listener, no timer, no open file, no lock. It decides nothing that a part could decide for itself.
 */
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import {
  acquireDirectoryLock,
  type DirectoryLock,
  DiskFiles,
  Log,
  type LogOptions,
  MemoryFiles,
  Sequencer,
  type StorageObserver,
  silentObserver,
} from '../../storage-engine/index.ts'
import { packageVersion } from '../cli/package-version.ts'
import type { Config } from '../config/config.ts'
import { type ControlServer, startControlServer } from '../control/control-server.ts'
import { Checkpointer } from '../domain/checkpointer.ts'
import { FigureFeed } from '../domain/figure-feed.ts'
import { Hub } from '../domain/hub.ts'
import { type HubObserver, systemClock } from '../domain/ports.ts'
import { changedRetention, unlimited } from '../domain/retention.ts'
import { configuredSha256 } from '../domain/token.ts'
import { METRICS_TOPIC_ID } from '../domain/topic.ts'
import type { Latencies, LogFigures } from '../http/dashboard-sample.ts'
import type { ApiToken } from '../http/gate.ts'
import { type HttpServer, startHttpServer } from '../http/http-server.ts'
import type { SecureOptions } from '../http/secure-listener.ts'
import { Service } from '../http/service.ts'
import { createLogger, type Logger } from '../logger.ts'
import { Metrics } from '../metrics/metrics.ts'
import { RecentQuantiles } from '../metrics/quantiles.ts'
import type { Tls } from '../tls/tls.ts'
import { CertificateNotices } from './certificate-notices.ts'
import { FreeSpace } from './free-space.ts'
import {
  failureReason,
  httpObserver,
  hubObserver,
  type OnRecovering,
  storageObserver,
  telling,
  tlsObserver,
} from './observers.ts'
import { tlsOptions } from './tls.ts'
import { type EnsuredTokens, ensureTokens } from './token-file.ts'

export type { Logger } from '../logger.ts'

/** The log's folder inside the data folder, next to the tokens and the lock of both. */
const logFolder = 'log'
/** While stopping, clients are told to reconnect spread over this many times the usual delay. */
const drainSpread = 5
/** How many of the latest seconds the dashboard's latencies cover. */
const latencySeconds = 60
/** The bounded in-memory log drops a whole segment at a time: about this fraction of it at once. */
const memorySegments = 16
const memorySegmentBytesMin = 256 * 1024
/** An in-memory log would gain little from caching copies of its own blocks. */
const memoryCacheBytes = 1024 * 1024

export interface App {
  /** Where it listens, from the very beginning. */
  readonly address: AddressInfo
  /** Where it listens with TLS, if it does. */
  readonly secureAddress: AddressInfo | undefined
  /** Path of the certificate that the server made for itself, if that is in use. */
  readonly selfSignedFile: string | undefined
  readonly tokens: EnsuredTokens
  /** Resolves when the log is recovered and calls are served; rejects where that is impossible. Close it in both cases. */
  readonly ready: Promise<void>
  /** Ends streams, answers what is in flight, closes the log; within the configured grace period. Idempotent. */
  close(): Promise<void>
}

export function createAppLogger({ logging, pubsub }: Config): Logger {
  const { apiAccessToken, metricsAccessToken, staticPubSubs, apiTokens } = pubsub
  const listed = [...staticPubSubs, ...apiTokens].map(({ token }) => token)
  const tokens = [apiAccessToken, metricsAccessToken, ...listed]
  return createLogger({ level: logging.level, secrets: tokens.filter((token) => token !== undefined) })
}

/** The token for everything, the one that reads metrics, and those named in the configuration. */
function apiTokensOf(tokens: EnsuredTokens, named: Config['pubsub']['apiTokens']): readonly ApiToken[] {
  return [
    { sha256: configuredSha256(tokens.apiAccessToken), rights: ['topics', 'publish', 'subscribe', 'metrics'] },
    { sha256: configuredSha256(tokens.metricsAccessToken), rights: ['metrics'] },
    ...named.map(({ token, rights }) => ({ sha256: configuredSha256(token), rights })),
  ]
}

/** What has been opened so far; stopped in reverse. */
interface Parts {
  lock: DirectoryLock | undefined
  durable: Log | undefined
  memory: Log | undefined
  hub: Hub | undefined
  checkpointer: Checkpointer | undefined
  control: ControlServer | undefined
  figures: FigureFeed | undefined
  tls: Tls | undefined
}

/**
 * Resolves when it listens. Rejects with the failure of a part: StorageError, TokenFileError, or the system's error.
 * `onRecovering` is called while the log is read, until `ready` is settled.
 */
export async function startApp(config: Config, logger: Logger, onRecovering?: OnRecovering): Promise<App> {
  const parts: Parts = {
    ...{ lock: undefined, durable: undefined, memory: undefined },
    ...{ hub: undefined, checkpointer: undefined, control: undefined, figures: undefined, tls: undefined },
  }
  const service = new Service()
  const { directory } = config.storage
  const metrics = new Metrics({
    version: packageVersion(),
    isReady: () => service.health.status === 'ready',
    figures: () => parts.hub?.figures(),
    log: () => parts.durable?.statistics(),
    lag: () => parts.hub?.slowestLag(),
    certificate: () =>
      parts.tls && { endsMs: parts.tls.current.notAfterMs, isSelfSigned: parts.tls.source === 'self-signed' },
  })
  const freeSpace = new FreeSpace(directory)
  const certificateNotices = new CertificateNotices()
  let tokens: EnsuredTokens
  let http: HttpServer
  try {
    if (config.kv.enabled) {
      await new DiskFiles().makeDirectory(directory)
      parts.lock = await acquireDirectoryLock(directory)
    }
    tokens = await ensureTokens(directory, config.pubsub)
    const { ssl } = config.server
    if (ssl.enabled) {
      // The certificate code is large: without it a server starts in two thirds of the time.
      const { openTls } = await import('../tls/tls.ts')
      const observer = telling(telling(tlsObserver(logger), metrics.tally.tlsObserver), certificateNotices.observer)
      parts.tls = await openTls(await tlsOptions(ssl), observer)
    }
    http = await startHttpServer(service, telling(httpObserver(logger), metrics.tally.httpObserver), {
      ...config.server.addr,
      secure: parts.tls && secureOptions(config, parts.tls),
      apiTokens: apiTokensOf(tokens, config.pubsub.apiTokens),
      strictTransportSeconds: Math.floor(config.server.ssl.strictTransportMs / 1000),
      trustedProxies: config.server.trustedProxies,
      proxyHeaderTimeoutMs: config.server.proxyProtocol ? config.server.ssl.handshakeTimeoutMs : undefined,
      opensMetricsLocally: config.metrics.openLocally,
      scrape: (isOpenMetrics) => metrics.scrape(isOpenMetrics),
      idleTimeoutMs: config.server.idleTimeoutMs,
      readTimeoutMs: config.server.readTimeoutMs,
      requestBodyBytesMax: config.server.maxRequestBodySize,
      connectionsMax: config.server.maxConnections,
      credentialOrigins: config.server.corsCredentialOrigins,
      retryMs: config.server.retryMs,
      stoppingRetryMs: config.server.retryMs * drainSpread,
      sendBufferBytes: config.server.sendBufferBytes,
      connectionsPerAddressMax: config.limits.connectionsPerAddressMax,
      streamsPerTokenMax: config.limits.streamsPerTokenMax,
      eventsPerSecondPerTokenMax: config.limits.eventsPerSecondPerTokenMax,
      idBytesMax: config.limits.eventIdBytesMax,
      typeBytesMax: config.limits.eventTypeBytesMax,
      eventsPerRequestMax: config.limits.eventsPerRequestMax,
      historyEventsMax: config.limits.historyEventsMax,
      topicsPerStreamMax: config.limits.topicsPerStreamMax,
      wrongTokensMax: config.limits.wrongTokensMax,
      wrongTokenWaitMsMax: config.limits.wrongTokenWaitMaxMs,
      throttledClientsMax: config.limits.throttledClientsMax,
      writeTimeoutMs: config.server.writeTimeoutMs,
      version: packageVersion(),
      logFigures: () => parts.durable && logFigures(parts.durable, freeSpace.bytes),
      latencies: recentLatencies(metrics),
      notices: () => (parts.tls ? certificateNotices.of(parts.tls, Date.now()) : []),
    })
  } catch (error) {
    await parts.tls?.close()
    await parts.lock?.release()
    throw error
  }
  const { address, secureAddress } = http
  logger.info({ address: address.address, port: address.port, sslPort: secureAddress?.port }, 'The server listens.')

  const ready = openHub(config, logger, service, parts, metrics, tokens.metricsAccessToken, onRecovering)
  // The caller learns of a failure from `ready`; that nobody awaits it yet is not another failure.
  ready.catch(() => undefined)
  let closing: Promise<void> | undefined
  return {
    address,
    secureAddress,
    selfSignedFile: parts.tls?.selfSignedFile,
    tokens,
    ready,
    close() {
      closing ??= stop(parts, service, http, ready, config.server.shutdownGraceMs)
      return closing
    },
  }
}

function secureOptions({ server }: Config, certificates: Tls): SecureOptions {
  return {
    ...server.sslAddr,
    certificates,
    handshakeTimeoutMs: server.ssl.handshakeTimeoutMs,
    streamsPerConnectionMax: server.ssl.streamsPerConnectionMax,
    streamResetsMax: server.ssl.streamResetsMax,
  }
}

function recentLatencies({ tally }: Metrics): () => Latencies {
  const publish = new RecentQuantiles(tally.publishSeconds, latencySeconds)
  const delivery = new RecentQuantiles(tally.deliverySeconds, latencySeconds)
  const quantiles = (recent: RecentQuantiles) => {
    recent.tick()
    const found = recent.of([0.5, 0.99])?.map((seconds) => seconds * 1000)
    return found === undefined ? null : { p50: found[0]!, p99: found[1]! }
  }
  return () => ({ publish: quantiles(publish), delivery: quantiles(delivery) })
}

function logFigures(log: Log, freeBytes: number | undefined): LogFigures {
  const { bytesOnDisk, quotaBytes, segments, damages, compaction } = log.statistics()
  return {
    bytes: bytesOnDisk,
    bytes_max: quotaBytes ?? null,
    disk_free_bytes: freeBytes ?? null,
    segments,
    damages,
    compaction: compaction
      ? { running: compaction.isRunning, runs: compaction.runs, dead_share: compaction.deadShare }
      : null,
  }
}

async function openHub(
  config: Config,
  logger: Logger,
  service: Service,
  parts: Parts,
  metrics: Metrics,
  metricsToken: string,
  onRecovering: OnRecovering | undefined,
): Promise<void> {
  const sequencer = new Sequencer()
  if (config.kv.enabled) {
    await openControl(config, logger, parts)
    const path = join(config.storage.directory, logFolder)
    const told = telling(storageObserver(logger, service, onRecovering), metrics.tally.storageObserver)
    const observer: StorageObserver = {
      ...told,
      rolled(file) {
        told.rolled(file)
        parts.checkpointer?.rolled()
      },
    }
    parts.durable = await Log.open(new DiskFiles(), sequencer, observer, path, durableOptions(config))
  } else {
    sequencer.beginUnreserved(systemClock.wallMs())
  }
  parts.memory = await Log.open(new MemoryFiles(), sequencer, silentObserver, '/memory', memoryOptions(config))
  const { recentFramesBytes } = config.hub
  const observer: HubObserver = {
    ...telling(hubObserver(logger), metrics.tally.hubObserver),
    figureChanged: (name, change) => parts.figures?.changed(name, change),
  }
  const hub = await Hub.open(parts.durable, parts.memory, sequencer, observer, systemClock, {
    recentFramesBytesMax: recentFramesBytes,
    topicsMax: config.limits.topicsMax,
    subscribersMax: config.limits.subscribersMax,
    streamsPerTopicMax: config.limits.streamsPerTopicMax ?? Number.POSITIVE_INFINITY,
    tokensPerTopicMax: config.limits.tokensPerTopicMax,
    idempotencyWindowMs: config.pubsub.idempotencyWindowMs,
    idempotencyKeysMax: config.limits.idempotencyKeysMax,
    ticketsMax: config.limits.ticketsMax,
    ticketLifetimeMs: config.pubsub.ticketLifetimeMs,
    defaultRetention: changedRetention(unlimited, config.retention),
    heartbeatMs: config.pubsub.tickFrequencyMs,
    streamAgeMsMax: config.server.maxStreamAgeMs,
    writeTimeoutMs: config.server.writeTimeoutMs,
    retryMs: config.server.retryMs,
    drainRetryMs: config.server.retryMs * drainSpread,
  })
  parts.hub = hub
  if (parts.durable !== undefined) lookAfter(parts.durable, hub, config, logger, parts)
  const metricsTopic = hub.addStaticTopic({ id: METRICS_TOPIC_ID, name: 'metrics', token: metricsToken })
  parts.figures = new FigureFeed(systemClock, (event) => hub.publish(metricsTopic, event))
  for (const topic of config.pubsub.staticPubSubs) hub.addStaticTopic(topic)
  // A stop requested in the meantime continues from here.
  if (service.health.status === 'stopping') return
  const { status, failure } = parts.durable ?? {}
  service.ready(hub)
  if (status === 'failed') service.fail(failureReason(failure))
  const { active_topics } = hub.figures()
  logger.info({ topics: active_topics, ...parts.durable?.statistics() }, 'The server is ready.')
}

/** The socket for commands on this machine. Certificates are looked at and ordered while the log is still read. */
async function openControl({ storage }: Config, logger: Logger, parts: Parts): Promise<void> {
  try {
    parts.control = await startControlServer(storage.directory, parts.tls)
  } catch (error) {
    logger.warn({ error }, 'The control socket could not be created: `sser log` works only on a stopped server.')
  }
}

/** What runs alongside a durable log: compaction, checkpoints, and commands that reach it. */
function lookAfter(durable: Log, hub: Hub, config: Config, logger: Logger, parts: Parts): void {
  const { log } = config
  const { enabled, bytesPerSecond, deadShare, intervalMs } = log.compaction
  const { judge } = hub
  if (enabled && judge === undefined) {
    logger.error(
      {},
      'The log is not compacted, because topics may be missing: see the reports of damage, and repair it.',
    )
  } else if (enabled && judge !== undefined) {
    const limits = { bytesPerSecondMax: bytesPerSecond, deadShareMin: deadShare, intervalMs }
    durable.startCompaction({ judge, ...limits })
  }
  parts.checkpointer = new Checkpointer(
    systemClock,
    log.checkpointIntervalMs,
    () => hub.checkpoint(),
    (error) => logger.warn({ error }, 'A checkpoint could not be written; the next start may take longer.'),
  )
  parts.control?.serveLog(durable)
}

/** How the durable log is opened, by the server and by commands that open it while no server runs. */
export function durableOptions({ log }: Config): LogOptions {
  return {
    sync: log.sync,
    syncIntervalMs: log.syncIntervalMs,
    segmentBytesMax: log.segmentBytes,
    batchBytesMax: log.batchBytesMax,
    pendingBytesMax: log.pendingBytesMax,
    blockCacheBytesMax: log.readCacheBytes,
    pageCacheBytesMax: log.indexCacheBytes,
    reserveBytes: log.reserve ? log.segmentBytes : 0,
    quotaBytes: log.maxBytes,
    whenFull: log.whenFull,
    isDurable: true,
  }
}

function memoryOptions({ log, memory }: Config): LogOptions {
  return {
    sync: 'never',
    syncIntervalMs: log.syncIntervalMs,
    segmentBytesMax: Math.max(memorySegmentBytesMin, Math.floor(memory.maxBytes / memorySegments)),
    batchBytesMax: log.batchBytesMax,
    pendingBytesMax: log.pendingBytesMax,
    logBytesMax: memory.maxBytes,
    blockCacheBytesMax: memoryCacheBytes,
    pageCacheBytesMax: memoryCacheBytes,
    reserveBytes: 0,
    isDurable: false,
  }
}

async function stop(
  parts: Parts,
  service: Service,
  http: HttpServer,
  ready: Promise<void>,
  graceMs: number,
): Promise<void> {
  const endsAtMs = systemClock.monotonicMs() + graceMs
  const withinGrace = (work: Promise<unknown>) => settledWithin(work, endsAtMs - systemClock.monotonicMs())
  service.stop()
  const isOpened = await withinGrace(ready)
  if (parts.hub !== undefined) await withinGrace(parts.hub.drain())
  await withinGrace(service.idle())
  await http.close(Math.max(0, endsAtMs - systemClock.monotonicMs()))
  await parts.control?.close()
  await parts.tls?.close()
  // An unfinished recovery still uses its files and holds the lock: the end of the process ends both.
  if (!isOpened) return
  parts.figures?.close()
  // Without connections, all sinks have ended.
  await parts.hub?.close()
  await parts.checkpointer?.close()
  await parts.memory?.close()
  try {
    await parts.durable?.close()
  } finally {
    await parts.lock?.release()
  }
}

/** Whether the work settled in time, one way or the other. */
async function settledWithin(work: Promise<unknown>, timeMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), Math.max(0, timeMs))
  })
  const settled = work.then(
    () => true,
    () => true,
  )
  const inTime = await Promise.race([settled, late])
  clearTimeout(timer)
  return inTime
}
