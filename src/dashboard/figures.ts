// The figures for all watchers: the latest ones, and who wants to be told. Knows no document, and no connection.
import type { Row, Sample } from '../http/dashboard-sample.ts'
import type { Connection } from './connection.ts'
import { addRows, rowOf } from './samples.ts'

export type FigureNews =
  /** First, all rows known so far; `sample`: the newest, if there is one. */
  | { readonly kind: 'begin'; readonly rows: readonly Row[]; readonly sample: Sample | undefined }
  | { readonly kind: 'rows'; readonly rows: readonly Row[] }
  | { readonly kind: 'sample'; readonly sample: Sample }
  /** Whether samples are arriving. */
  | { readonly kind: 'connection'; readonly state: Connection }

type Watcher = (news: FigureNews) => void

export class Figures {
  readonly #watchers = new Set<Watcher>()
  readonly #rows: Row[] = []
  #sample: Sample | undefined
  #state: Connection = 'waiting'

  get isWatched(): boolean {
    return this.#watchers.size > 0
  }

  /** Time of the newest sample, in ms; 0 before there is one. */
  get knownThroughMs(): number {
    return this.#rows.at(-1)?.[0] ?? 0
  }

  /** Reports what is known at once, and everything that follows, until the returned function is called. */
  watch(watcher: Watcher): () => void {
    this.#watchers.add(watcher)
    watcher({ kind: 'begin', rows: this.#rows, sample: this.#sample })
    watcher({ kind: 'connection', state: this.#state })
    return () => this.#watchers.delete(watcher)
  }

  takeRows(rows: readonly Row[]): void {
    addRows(this.#rows, rows)
    this.#tell({ kind: 'rows', rows })
  }

  takeSample(sample: Sample): void {
    this.#sample = sample
    addRows(this.#rows, [rowOf(sample)])
    this.#tell({ kind: 'sample', sample })
    this.become('open')
  }

  become(state: Connection): void {
    if (this.#state === state) return
    this.#state = state
    this.#tell({ kind: 'connection', state })
  }

  #tell(news: FigureNews): void {
    for (const watcher of this.#watchers) watcher(news)
  }
}
