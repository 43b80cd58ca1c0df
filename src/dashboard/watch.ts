// What this tab receives from the server: through the SharedWorker, or, where the browser has none, over its own connections. In
// both cases only while the tab is visible, so that a hidden one costs nothing.
import type { FigureNews } from './figures.ts'
import { makeSources, type TabWish, type WorkerNews } from './sources.ts'
import type { TailNews, TailWish } from './tail.ts'

type Stop = () => void

/** Until the returned function is called. `token` opens the figures, and with them the connection that tails share. */
export function watchFigures(token: string, tell: (news: FigureNews) => void): Stop {
  line = token
  return whileVisible((isVisible) => {
    say({ of: 'figures', line, key: nextKey('figures'), isWanted: isVisible })
    listeners.figures = isVisible ? tell : undefined
  })
}

/**
 * Calls `onVisible` at once, and each time the tab becomes visible again; it has to call its argument once it knows what to follow
 * and from where. Until the returned function is called.
 */
export function watchTail(onVisible: (follow: (wish: TailWish) => void) => void, tell: (news: TailNews) => void): Stop {
  return whileVisible((isVisible) => {
    const key = nextKey('tail')
    listeners.tail = isVisible ? tell : undefined
    if (!isVisible) return say({ of: 'tail', line, key, tail: undefined })
    onVisible((tail) => {
      // It may have been hidden again in the meantime.
      if (key === keys.tail) say({ of: 'tail', line, key, tail })
    })
  })
}

let line = ''
const listeners: {
  figures?: ((news: FigureNews) => void) | undefined
  tail?: ((news: TailNews) => void) | undefined
} = {}
const keys = { figures: 0, tail: 0 }
let say: (wish: TabWish) => void = (wish) => {
  say = connected()
  say(wish)
}

function nextKey(of: keyof typeof keys): number {
  keys[of] += 1
  return keys[of]
}

function take(told: WorkerNews): void {
  if (told.key !== keys[told.of]) return
  if (told.of === 'figures') listeners.figures?.(told.news)
  else listeners.tail?.(told.news)
}

function connected(): (wish: TabWish) => void {
  if (typeof SharedWorker === 'undefined') return makeSources((news) => queueMicrotask(() => take(news))).take
  const { port } = new SharedWorker(new URL('./feed-worker.js', import.meta.url), { type: 'module', name: 'sser' })
  port.onmessage = ({ data }: MessageEvent<WorkerNews>) => take(data)
  return (wish) => port.postMessage(wish)
}

function whileVisible(turn: (isVisible: boolean) => void): Stop {
  let isWatching = false
  function change(isWanted: boolean): void {
    if (isWanted === isWatching) return
    isWatching = isWanted
    turn(isWanted)
  }
  const onVisibility = () => change(document.visibilityState === 'visible')
  const onHide = () => change(false)
  document.addEventListener('visibilitychange', onVisibility)
  addEventListener('pageshow', onVisibility)
  addEventListener('pagehide', onHide)
  onVisibility()
  return () => {
    document.removeEventListener('visibilitychange', onVisibility)
    removeEventListener('pageshow', onVisibility)
    removeEventListener('pagehide', onHide)
    change(false)
  }
}
