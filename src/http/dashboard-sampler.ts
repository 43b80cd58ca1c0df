/**
 * Takes a sample of the server's figures once a second, remembers a quarter of an hour of them, and writes each to the
 * streams that watch. A sample is a state, not an event: a stream that is full simply gets a later one. Knows nothing of
 * requests.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { shareBytes } from '../domain/frame-builder.ts'
import type { SharedBytes, Sink } from '../domain/ports.ts'
import type { Latencies, LogFigures, Row, Sample } from './dashboard-sample.ts'
import type { Service } from './service.ts'

export interface FeedSources {
  /** Called once a second, whether or not anybody is watching. */
  readonly latencies: () => Latencies
  /** Of the durable log; undefined where there is none. */
  readonly logFigures: () => LogFigures | undefined
  readonly notices: () => readonly string[]
  /** A reader that takes nothing for this long is cut off. */
  readonly writeTimeoutMs: number
}

/** `time`: each block has the time of its sample as its id. `none`: the ids on the stream belong to others. */
export type SampleIds = 'time' | 'none'

const intervalMs = 1000
const rowsMax = 900
const lagResolutionMs = 20
const nsPerMs = 1e6

export class Sampler {
  readonly #service: Service
  readonly #sources: FeedSources
  readonly #rows: Row[] = []
  readonly #watchers = new Set<Watcher>()
  readonly #delay = monitorEventLoopDelay({ resolution: lagResolutionMs })
  readonly #timer: ReturnType<typeof setInterval>

  /** Must be closed. */
  constructor(service: Service, sources: FeedSources) {
    this.#service = service
    this.#sources = sources
    this.#timer = setInterval(() => this.#tick(), intervalMs).unref()
    this.#delay.enable()
  }

  /** Writes what is remembered from after `afterMs`, then each sample, until the returned function is called. */
  watch(sink: Sink, ids: SampleIds, afterMs: number): () => void {
    const missed = this.#rows.filter(([time]) => !(time <= afterMs))
    sink.write(blockOf(`event: sser.history\ndata: ${JSON.stringify(missed)}\n\n`))
    const watcher = new Watcher(sink, ids, this.#sources.writeTimeoutMs)
    this.#watchers.add(watcher)
    return () => this.#watchers.delete(watcher)
  }

  /** Ends all streams that watch. */
  close(): void {
    clearInterval(this.#timer)
    this.#delay.disable()
    for (const { sink } of this.#watchers) sink.close('stopping')
  }

  #tick(): void {
    if (!this.#service.isOpen) return
    const sample = this.#sample()
    if (this.#watchers.size === 0) return
    const block = `event: sser.figures\ndata: ${JSON.stringify(sample)}\n\n`
    const blocks = { time: blockOf(`id: ${sample.time}\n${block}`), none: blockOf(block) }
    const nowMs = performance.now()
    for (const watcher of this.#watchers) watcher.take(blocks[watcher.ids], nowMs)
  }

  #sample(): Sample {
    const time = Date.now()
    const figures = { ...this.#service.hub.figures() }
    const log = this.#sources.logFigures() ?? null
    const rows = this.#rows
    // After the clock was set back, the rows start afresh: their times must only grow.
    if (time <= (rows.at(-1)?.[0] ?? 0)) rows.length = 0
    rows.push([time, figures.message_received, figures.message_sent, log?.bytes ?? 0])
    if (rows.length > rowsMax) rows.shift()
    const lagMs = Math.max(0, this.#delay.max / nsPerMs - lagResolutionMs)
    this.#delay.reset()
    return {
      time,
      figures,
      health: this.#service.health,
      notices: this.#sources.notices(),
      latencies: this.#sources.latencies(),
      loop_lag_ms: Math.round(lagMs * 10) / 10,
      log,
    }
  }
}

/** One stream that watches. Others may write to the same sink. */
class Watcher {
  readonly sink: Sink
  readonly ids: SampleIds
  readonly #stallMsMax: number
  #isFull = false
  #bytesAccepted = 0
  #progressMs = 0

  constructor(sink: Sink, ids: SampleIds, stallMsMax: number) {
    this.sink = sink
    this.ids = ids
    this.#stallMsMax = stallMsMax
  }

  take(block: SharedBytes, nowMs: number): void {
    if (!this.#isFull) this.#write(block, nowMs)
    else if (this.sink.bytesAccepted !== this.#bytesAccepted) this.#noteProgress(nowMs)
    else if (nowMs - this.#progressMs >= this.#stallMsMax) this.sink.close('write-timeout')
  }

  #write(block: SharedBytes, nowMs: number): void {
    if (this.sink.write(block)) return
    this.#isFull = true
    this.#noteProgress(nowMs)
    void this.sink.drained().then(() => {
      this.#isFull = false
    })
  }

  #noteProgress(nowMs: number): void {
    this.#bytesAccepted = this.sink.bytesAccepted
    this.#progressMs = nowMs
  }
}

function blockOf(text: string): SharedBytes {
  return shareBytes(Buffer.from(text))
}
