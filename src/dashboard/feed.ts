/**
 * The one connection to the server, for all who watch: a stream of samples, opened while at least one watches, and opened
 * again, after the last sample that came, whenever it ends. Runs in a SharedWorker, or in the page where there is none.
 * Knows no document.
 */
import { createDecoder } from '../sse/decode.ts'
import { addRows, type Row, rowOf, type Sample } from './samples.ts'

export type FeedNews =
  /** All rows that are known, to begin with; `sample`: the newest, if there is one. */
  | { readonly kind: 'begin'; readonly rows: readonly Row[]; readonly sample: Sample | undefined }
  | { readonly kind: 'rows'; readonly rows: readonly Row[] }
  | { readonly kind: 'sample'; readonly sample: Sample }
  /** Whether samples come; `refused`: the token is none that opens them, and nobody asks again. */
  | { readonly kind: 'connection'; readonly state: Connection }

export type Connection = 'open' | 'waiting' | 'refused'

type Watcher = (news: FeedNews) => void

const url = '/api/v1/dashboard/events'
const bufferBytesMax = 1024 * 1024
/** The server sends every second; a connection that is silent for so long is dead. */
const silenceMsMax = 10_000
const retryMs = 1000

export class Feed {
  readonly #token: string
  readonly #watchers = new Set<Watcher>()
  readonly #rows: Row[] = []
  #sample: Sample | undefined
  #state: Connection = 'waiting'
  #lastEventId = ''
  #abort: AbortController | undefined

  constructor(token: string) {
    this.#token = token
  }

  /** Tells what is known at once, and all that follows until the returned function is called. */
  watch(watcher: Watcher): () => void {
    this.#watchers.add(watcher)
    watcher({ kind: 'begin', rows: this.#rows, sample: this.#sample })
    watcher({ kind: 'connection', state: this.#state })
    if (this.#abort === undefined) {
      this.#abort = new AbortController()
      this.#run(this.#abort.signal)
    }
    return () => {
      this.#watchers.delete(watcher)
      if (this.#watchers.size > 0) return
      this.#abort?.abort()
      this.#abort = undefined
      this.#state = 'waiting'
    }
  }

  async #run(ended: AbortSignal): Promise<void> {
    while (!ended.aborted) {
      try {
        const isWelcome = await this.#read(ended)
        if (ended.aborted) return
        if (!isWelcome) {
          this.#connection('refused')
          return
        }
      } catch {
        // However it broke, the answer is the same: say so, and come back.
        if (ended.aborted) return
      }
      this.#connection('waiting')
      await pause(retryMs * (1 + Math.random()))
    }
  }

  /** Resolves when the stream has ended; with false where it was refused. */
  async #read(ended: AbortSignal): Promise<boolean> {
    const silent = new AbortController()
    let timer = setTimeout(() => silent.abort(), silenceMsMax)
    try {
      const headers: Record<string, string> = { authorization: `Bearer ${this.#token}` }
      if (this.#lastEventId !== '') headers['last-event-id'] = this.#lastEventId
      const response = await fetch(url, { headers, cache: 'no-store', signal: AbortSignal.any([ended, silent.signal]) })
      if (response.status === 401) return false
      if (!response.ok || response.body === null) return true
      const decoder = createDecoder({ onEvent: (event) => this.#take(event), bufferBytesMax })
      const reader = response.body.getReader()
      for (;;) {
        const { done, value } = await reader.read()
        if (done) return true
        clearTimeout(timer)
        timer = setTimeout(() => silent.abort(), silenceMsMax)
        decoder.feed(value)
      }
    } finally {
      clearTimeout(timer)
    }
  }

  #take({ type, data, lastEventId }: { type: string; data: string; lastEventId: string }): void {
    this.#lastEventId = lastEventId
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

function pause(timeMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, timeMs))
}
