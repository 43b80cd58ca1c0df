/**
 * A browser's single connection to the server, shared by all of its tabs: figures, and the events of every topic that is being
 * watched. When the set of topics changes, it is reopened after the lowest number that any of them has received; events that a
 * topic already has are skipped, so that none is missed or delivered twice. Runs in a SharedWorker, or in the page where there
 * is none. Knows no document.
 */
import { unwrap } from '../client/envelope.ts'
import type { SserError } from '../client/errors.ts'
import type { SseEvent } from '../sse/decode.ts'
import { type Connection, keepReading } from './connection.ts'
import { type FigureNews, Figures } from './figures.ts'
import { Tail, type TailNews, type TailWish } from './tail.ts'

type Stop = () => void

const url = '/api/v1/dashboard/events'
/** The largest event that the log accepts. */
const bufferBytesMax = 64 * 1024 * 1024
/** The server sends something every second. */
const silenceMsMax = 10_000
/** One tab being hidden and another being shown count as one change. */
const changeMs = 20
/** Figures arrive even while the server has no room for the events; after this delay it is asked again. */
const againMs = 5000

export class Line {
  readonly #token: string
  readonly #figures = new Figures()
  readonly #tails = new Map<string, Tail>()
  /** The topics requested by the connection, in that order. */
  #asked: readonly Tail[] = []
  /** The connection has delivered everything of theirs up to here. */
  #position = ''
  /** The server's limit on topics per stream was exceeded. */
  #tailsMax = Number.POSITIVE_INFINITY
  #stop: Stop | undefined
  #timer: ReturnType<typeof setTimeout> | undefined

  /** A token that opens the figures. */
  constructor(token: string) {
    this.#token = token
  }

  /** Until the returned function is called. */
  watchFigures(watcher: (news: FigureNews) => void): Stop {
    const leave = this.#figures.watch(watcher)
    if (this.#stop === undefined) this.#reopenIn(changeMs)
    return () => {
      leave()
      this.#closeUnlessWatched()
    }
  }

  /** Until the returned function is called. */
  watchTail(wish: TailWish, watcher: (news: TailNews) => void): Stop {
    const key = JSON.stringify([wish.topic, wish.token])
    const tail = this.#tails.get(key) ?? new Tail(wish)
    if (!this.#tails.has(key)) {
      this.#tails.set(key, tail)
      this.#reopenIn(changeMs)
    }
    const leave = tail.watch(wish.after, watcher)
    return () => {
      leave()
      if (tail.isWatched || this.#tails.get(key) !== tail) return
      tail.stop()
      this.#tails.delete(key)
      if (this.#asked.includes(tail)) this.#reopenIn(changeMs)
      this.#closeUnlessWatched()
    }
  }

  #reopenIn(timeMs: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#open(), timeMs)
  }

  #closeUnlessWatched(): void {
    if (this.#figures.isWatched || this.#tails.size > 0) return
    clearTimeout(this.#timer)
    this.#stop?.()
    this.#stop = undefined
    this.#figures.become('waiting')
  }

  #open(): void {
    this.#stop?.()
    this.#stop = keepReading({
      url,
      token: this.#token,
      body: () => this.#ask(),
      silenceMsMax,
      bufferBytesMax,
      onEvent: (event, namesId) => (namesId ? this.#takeEvent(event) : this.#takeOwn(event)),
      onId: (id) => this.#take(id),
      onRefusal: (refused) => this.#isOthersFault(refused),
      onState: (state) => this.#become(state),
    })
  }

  #ask(): object {
    for (const tail of this.#asked) tail.has(this.#position)
    this.#position = ''
    const open = [...this.#tails.values()].filter(({ isOver }) => !isOver)
    for (const tail of open.slice(this.#tailsMax)) tail.become('crowded')
    this.#asked = open.slice(0, this.#tailsMax)
    const places = this.#asked.map(({ after }) => after).filter((after) => after !== '')
    return {
      feed: {
        figures_after: this.#figures.knownThroughMs,
        last_event_id: places.toSorted()[0] ?? '',
        topics: this.#asked.map(({ topic: id, token }) => ({ id, token })),
      },
    }
  }

  #take(id: string): void {
    this.#position = id
    for (const tail of this.#asked) tail.become('open')
  }

  #takeEvent({ type, data, lastEventId: id }: SseEvent): void {
    const { topic, time, publisherId, data: text } = unwrap(data)
    const event = { id, publisherId, type: type === 'message' ? '' : type, text, timeMs: Date.parse(time) }
    for (const tail of this.#tailsOf([topic])) tail.take(event)
  }

  /** The server's own events: they have no id. */
  #takeOwn({ type, data }: SseEvent): void {
    if (type === 'sser.history') this.#figures.takeRows(JSON.parse(data))
    else if (type === 'sser.figures') this.#figures.takeSample(JSON.parse(data))
    else if (type === 'sser.gap') this.#takeGap(JSON.parse(data))
    else if (type === 'sser.closed') this.#takeEnd(JSON.parse(data))
  }

  #takeGap({ reason, topics }: { readonly reason: string; readonly topics?: readonly string[] }): void {
    for (const tail of this.#tailsOf(topics)) tail.takeGap(reason)
  }

  /** The events end, though the figures may go on: for good if a topic is named, otherwise for now. */
  #takeEnd({ topic }: { readonly topic?: string }): void {
    if (topic === undefined) {
      for (const tail of this.#asked) tail.become('waiting')
      this.#reopenIn(againMs)
    } else {
      for (const tail of this.#tailsOf([topic])) tail.become('gone')
      this.#open()
    }
  }

  #tailsOf(topics: readonly string[] | undefined): readonly Tail[] {
    return topics === undefined ? this.#asked : this.#asked.filter(({ topic }) => topics.includes(topic))
  }

  /** True: one of the topics is the cause, or their number. */
  #isOthersFault({ status, details }: SserError): boolean {
    const path = String(details?.['path'] ?? '')
    const tail = this.#asked[Number(/^feed\.topics\.(\d+)/.exec(path)?.[1] ?? -1)]
    if (tail !== undefined) {
      tail.become(status === 404 ? 'gone' : 'refused')
      return true
    }
    if (this.#asked.length === 0 || !(status === 413 || path === 'feed.topics')) return false
    this.#tailsMax = this.#asked.length - 1
    return true
  }

  /** Live means that samples or ids arrive: the head of the answer alone does not count. */
  #become(state: Connection): void {
    if (state === 'open') return
    this.#figures.become(state)
    for (const tail of this.#asked) if (!tail.isOver) tail.become('waiting')
  }
}
