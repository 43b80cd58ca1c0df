// What the dashboard's feed sends, as JSON. The page imports these types from here, so this file has nothing else: no code,
// and nothing that exists only in Node.

export interface Sample {
  /** Milliseconds since 1970, by the server's clock. */
  readonly time: number
  readonly figures: Readonly<Record<string, number>>
  readonly latencies: Latencies
  readonly health: { readonly status: string; readonly reason?: string }
  /** Sentences on what an operator should know although everything works. */
  readonly notices: readonly string[]
  /** The longest delay of the server's event loop since the previous sample. */
  readonly loop_lag_ms: number
  /** Null where nothing is kept on disk. */
  readonly log: LogFigures | null
}

/** Null where nothing happened. */
export interface Latencies {
  /** From the append of a request's events until they are as durable as their topic promises. */
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
  /** Null: unlimited. */
  readonly bytes_max: number | null
  /** Free space on the disk; null where it is unknown. */
  readonly disk_free_bytes: number | null
  readonly segments: number
  readonly damages: number
  /** Null where it is switched off. */
  readonly compaction: { readonly running: boolean; readonly runs: number; readonly dead_share: number } | null
}

/** One per second. Events published and delivered are counted from the server's start; the bytes are those of its log. */
export type Row = readonly [timeMs: number, published: number, delivered: number, logBytes: number]
