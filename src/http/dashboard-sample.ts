// What the dashboard's feed sends, as JSON. The page imports these types from here, so nothing stands beside them: neither
// code nor anything that only Node has.

export interface Sample {
  /** Milliseconds since 1970, by the server's clock. */
  readonly time: number
  readonly figures: Readonly<Record<string, number>>
  readonly latencies: Latencies
  readonly health: { readonly status: string; readonly reason?: string }
  /** What an operator should know of although everything works, in sentences. */
  readonly notices: readonly string[]
  /** The longest that the server's event loop was held up since the sample before. */
  readonly loop_lag_ms: number
  /** Null where nothing is kept on a disk. */
  readonly log: LogFigures | null
}

/** Null where nothing happened. */
export interface Latencies {
  /** From the append of a request's events to their being as durable as their topic promises. */
  readonly publish: Quantiles | null
  /** From a commit until its events were handed to the sockets. */
  readonly delivery: Quantiles | null
}

/** In ms, over the last minute. */
export interface Quantiles {
  readonly p50: number
  readonly p99: number
}

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

/** Of each second. Events published and delivered are counted since the server's start; the bytes are those of its log. */
export type Row = readonly [timeMs: number, published: number, delivered: number, logBytes: number]
