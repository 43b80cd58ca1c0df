/**
 * Tails: the events of a topic as they come, for all tabs that look at it over one connection. A browser has six connections
 * to a server over HTTP/1.1, for all of its tabs: so only a few topics are followed at a time, and whoever asks for one
 * more waits until another is given up. Runs in a SharedWorker, or in the page where there is none. Knows no document.
 */
import type { SseEvent } from '../sse/decode.ts'
import { type Connection, keepReading } from './connection.ts'

export interface TailWish {
  readonly topic: string
  readonly token: string
  /** The server's id of the newest event that is known already; '' for none: what comes from now on. */
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
      /** Characters that were cut off at the end. */
      readonly cut: number
      /** When it came, by the browser's clock. */
      readonly timeMs: number
    }
  | { readonly kind: 'gap'; readonly reason: string }

export type TailNews =
  /** In their order; ahead of them `skipped` were left out, since they came too fast for anybody to read. */
  | { readonly kind: 'items'; readonly items: readonly TailItem[]; readonly skipped: number }
  /** `crowded`: too many other topics are followed by this browser. */
  | { readonly kind: 'state'; readonly state: TailState }

export type TailState = Connection | 'crowded'

type Watcher = (news: TailNews) => void

/** Beside the figures, and so that calls have connections left. */
export const tailsMax = 3
/** As large as the log takes anything at once. */
const bufferBytesMax = 64 * 1024 * 1024
const silenceMsMax = 60_000
const flushMs = 250
export const itemsMax = 200
export const textMax = 16_384

export class Tails {
  /** Those that are followed, and behind them those that wait for it, in their order. */
  readonly #tails = new Map<string, Tail>()

  /** Until the returned function is called. */
  watch(wish: TailWish, watcher: Watcher): () => void {
    const key = JSON.stringify([wish.topic, wish.token])
    const tail = this.#tails.get(key) ?? new Tail(wish)
    this.#tails.set(key, tail)
    const leave = tail.watch(wish.after, watcher)
    this.#startThose()
    return () => {
      leave()
      if (tail.isWatched) return
      tail.stop()
      this.#tails.delete(key)
      this.#startThose()
    }
  }

  /** What has ended for good takes no connection. */
  #startThose(): void {
    const open = [...this.#tails.values()].filter(({ isOver }) => !isOver)
    for (const [index, tail] of open.entries()) {
      if (index < tailsMax) tail.start(() => this.#startThose())
      else tail.wait()
    }
  }
}

class Tail {
  readonly #wish: TailWish
  readonly #watchers = new Set<Watcher>()
  /** The latest, for those who come later. */
  readonly #recent: TailItem[] = []
  /** Of what came after this, all is among the latest. */
  #recentAfter: string
  #waiting: TailItem[] = []
  #skipped = 0
  #state: TailState = 'waiting'
  #stop: (() => void) | undefined
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(wish: TailWish) {
    this.#wish = wish
    this.#recentAfter = wish.after
  }

  get isWatched(): boolean {
    return this.#watchers.size > 0
  }

  get isOver(): boolean {
    return this.#state === 'refused' || this.#state === 'gone'
  }

  watch(after: string, watcher: Watcher): () => void {
    this.#flush()
    this.#watchers.add(watcher)
    const items = this.#recent.filter((item) => item.kind === 'event' && item.id > after)
    if (after !== '' && after < this.#recentAfter) {
      items.unshift({ kind: 'gap', reason: 'more came than is kept for a tab that does not look; load the page anew' })
    }
    if (items.length > 0) watcher({ kind: 'items', items, skipped: 0 })
    watcher({ kind: 'state', state: this.#state })
    return () => this.#watchers.delete(watcher)
  }

  /** `onOver` is called when it has ended for good. */
  start(onOver: () => void): void {
    if (this.#stop !== undefined) return
    this.#become('waiting')
    const { topic, token, after } = this.#wish
    this.#stop = keepReading({
      url: `/api/v1/pubsubs/${encodeURIComponent(topic)}/events`,
      token,
      lastEventId: after,
      silenceMsMax,
      bufferBytesMax,
      onEvent: (event, namesId) => this.#take(event, namesId),
      onPlace: (id) => this.#number(id),
      onState: (state) => {
        this.#become(state)
        if (this.isOver) onOver()
      },
    })
  }

  wait(): void {
    this.#become('crowded')
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#stop?.()
  }

  #take({ type, data, lastEventId }: SseEvent, namesId: boolean): void {
    if (type === 'sser.gap') {
      this.#add({ kind: 'gap', reason: String(JSON.parse(data).reason) })
    } else if (namesId) {
      const text = data.length > textMax ? data.slice(0, textMax) : data
      const shown = { type: type === 'message' ? '' : type, text, cut: data.length - text.length, timeMs: Date.now() }
      this.#add({ kind: 'event', id: lastEventId, publisherId: undefined, ...shown })
    }
    // Without an id: the server's own words at the end of a stream. Why it ended the next request tells.
  }

  /** Right behind an event that has its publisher's id comes its number. */
  #number(id: string): void {
    const last = this.#waiting.at(-1)
    if (last?.kind !== 'event' || last.id === id) return
    this.#waiting[this.#waiting.length - 1] = { ...last, id, publisherId: last.id }
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
    this.#tell({ kind: 'items', items, skipped })
  }

  #become(state: TailState): void {
    this.#flush()
    if (this.#state === state) return
    this.#state = state
    this.#tell({ kind: 'state', state })
  }

  #tell(news: TailNews): void {
    for (const watcher of this.#watchers) watcher(news)
  }
}
