/**
 * A tail: the events of one topic as they arrive, for all tabs that watch it. Keeps the latest, bundles bursts, and only counts
 * what arrives faster than anyone can read. Knows no document, and no connection.
 */
import type { Connection } from './connection.ts'

export interface TailWish {
  readonly topic: string
  readonly token: string
  /** The server's id of the newest event already known; '' for none: only new ones are wanted. */
  readonly after: string
}

export type TailItem =
  | {
      readonly kind: 'event'
      /** The server's number. */
      readonly id: string
      readonly publisherId: string | undefined
      readonly type: string
      readonly text: string
      /** Number of characters cut off at the end. */
      readonly cut: number
      /** When it was published, by the server's clock. */
      readonly timeMs: number
    }
  | { readonly kind: 'gap'; readonly reason: string }

export type TailNews =
  /** In order; before them, `skipped` were left out because they arrived faster than anyone can read. */
  | { readonly kind: 'items'; readonly items: readonly TailItem[]; readonly skipped: number }
  /** `crowded`: this browser watches too many other topics. */
  | { readonly kind: 'state'; readonly state: TailState }

export type TailState = Connection | 'crowded'

type Watcher = (news: TailNews) => void

const flushMs = 250
export const itemsMax = 200
export const textMax = 16_384

export type TailEvent = Omit<TailItem & { readonly kind: 'event' }, 'kind' | 'cut'>

export class Tail {
  readonly topic: string
  readonly token: string
  /** With what each of them already knows. */
  readonly #watchers = new Map<Watcher, string>()
  /** The latest, for those who come later. */
  readonly #recent: TailItem[] = []
  /** Everything after this number is among the latest. */
  #recentAfter: string
  /** Everything up to this number has been received. */
  #after: string
  #waiting: TailItem[] = []
  #skipped = 0
  #state: TailState | undefined
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor({ topic, token, after }: TailWish) {
    this.topic = topic
    this.token = token
    this.#after = after
    this.#recentAfter = after
  }

  get after(): string {
    return this.#after
  }

  get isWatched(): boolean {
    return this.#watchers.size > 0
  }

  /** Permanently. */
  get isOver(): boolean {
    return this.#state === 'refused' || this.#state === 'gone'
  }

  /** Until the returned function is called. */
  watch(after: string, watcher: Watcher): () => void {
    this.#flush()
    this.#watchers.set(watcher, after)
    const items = this.#recent.filter((item) => item.kind === 'event' && item.id > after)
    if (after !== '' && after < this.#recentAfter) {
      items.unshift({ kind: 'gap', reason: 'more came than is kept for a tab that does not look; load the page anew' })
    }
    if (items.length > 0) watcher({ kind: 'items', items, skipped: 0 })
    if (this.#state !== undefined) watcher({ kind: 'state', state: this.#state })
    return () => this.#watchers.delete(watcher)
  }

  /** Skips what was already received. */
  take({ text: whole, ...event }: TailEvent): void {
    if (event.id <= this.#after) return
    this.#after = event.id
    const text = whole.length > textMax ? whole.slice(0, textMax) : whole
    this.#add({ kind: 'event', ...event, text, cut: whole.length - text.length })
  }

  takeGap(reason: string): void {
    this.#add({ kind: 'gap', reason })
  }

  /** The topic has nothing more up to this number than what was received. */
  has(through: string): void {
    if (through > this.#after) this.#after = through
  }

  become(state: TailState): void {
    if (this.#state === state) return
    this.#flush()
    this.#state = state
    for (const watcher of this.#watchers.keys()) watcher({ kind: 'state', state })
  }

  stop(): void {
    clearTimeout(this.#timer)
  }

  #add(item: TailItem): void {
    this.#waiting.push(item)
    if (this.#waiting.length > 2 * itemsMax) {
      this.#skipped += this.#waiting.length - itemsMax
      this.#waiting = this.#waiting.slice(-itemsMax)
    }
    this.#timer ??= setTimeout(() => this.#flush(), flushMs)
  }

  #flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#waiting.length === 0) return
    const items = this.#waiting.slice(-itemsMax)
    const skipped = this.#skipped + this.#waiting.length - items.length
    this.#waiting = []
    this.#skipped = 0
    this.#recent.push(...items)
    const gone = this.#recent.splice(0, Math.max(0, this.#recent.length - itemsMax))
    for (const item of gone) if (item.kind === 'event') this.#recentAfter = item.id
    if (skipped > 0 && items[0]?.kind === 'event') this.#recentAfter = items[0].id
    for (const [watcher, after] of this.#watchers) {
      const news = items.filter((item) => item.kind === 'gap' || item.id > after)
      if (news.length > 0) watcher({ kind: 'items', items: news, skipped })
    }
  }
}
