/**
 * The figures, for all who watch: one stream of samples, open while at least one watches. Runs in a SharedWorker, or in the
 * page where there is none. Knows no document.
 */
import { type Connection, keepReading } from './connection.ts'
import { addRows, type Row, rowOf, type Sample } from './samples.ts'

export type FeedNews =
  /** All rows that are known, to begin with; `sample`: the newest, if there is one. */
  | { readonly kind: 'begin'; readonly rows: readonly Row[]; readonly sample: Sample | undefined }
  | { readonly kind: 'rows'; readonly rows: readonly Row[] }
  | { readonly kind: 'sample'; readonly sample: Sample }
  /** Whether samples come. */
  | { readonly kind: 'connection'; readonly state: Connection }

type Watcher = (news: FeedNews) => void

const url = '/api/v1/dashboard/events'
const bufferBytesMax = 1024 * 1024
/** The server sends every second. */
const silenceMsMax = 10_000

export class Feed {
  readonly #token: string
  readonly #watchers = new Set<Watcher>()
  readonly #rows: Row[] = []
  #sample: Sample | undefined
  #state: Connection = 'waiting'
  #stop: (() => void) | undefined

  constructor(token: string) {
    this.#token = token
  }

  /** Tells what is known at once, and all that follows until the returned function is called. */
  watch(watcher: Watcher): () => void {
    this.#watchers.add(watcher)
    watcher({ kind: 'begin', rows: this.#rows, sample: this.#sample })
    watcher({ kind: 'connection', state: this.#state })
    this.#stop ??= this.#begin()
    return () => {
      this.#watchers.delete(watcher)
      if (this.#watchers.size > 0) return
      this.#stop?.()
      this.#stop = undefined
      this.#state = 'waiting'
    }
  }

  #begin(): () => void {
    return keepReading({
      url,
      token: this.#token,
      lastEventId: this.#sample === undefined ? '' : String(this.#sample.time),
      silenceMsMax,
      bufferBytesMax,
      onEvent: (event) => this.#take(event),
      // Live is what brings samples: a head alone does not count.
      onState: (state) => state !== 'open' && this.#connection(state),
    })
  }

  #take({ type, data }: { readonly type: string; readonly data: string }): void {
    if (type === 'sser.history') {
      const rows = JSON.parse(data) as Row[]
      addRows(this.#rows, rows)
      this.#tell({ kind: 'rows', rows })
    } else if (type === 'sser.figures') {
      this.#sample = JSON.parse(data) as Sample
      addRows(this.#rows, [rowOf(this.#sample)])
      this.#tell({ kind: 'sample', sample: this.#sample })
      this.#connection('open')
    }
  }

  #connection(state: Connection): void {
    if (this.#state === state) return
    this.#state = state
    this.#tell({ kind: 'connection', state })
  }

  #tell(news: FeedNews): void {
    for (const watcher of this.#watchers) watcher(news)
  }
}
