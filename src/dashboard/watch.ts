// What this tab hears of the server: through the SharedWorker, or, where the browser has none, by connections of its own. In
// both cases only while the tab is visible, so that a hidden one costs nothing.
import type { FeedNews } from './feed.ts'
import { makeSources, type TabWish, type WorkerNews } from './sources.ts'
import type { TailNews, TailWish } from './tail.ts'

type Stop = () => void

/** Until the returned function is called. */
export function watchFigures(token: string, tell: (news: FeedNews) => void): Stop {
  return whileVisible((isVisible) => {
    say({ of: 'figures', key: nextKey('figures'), token: isVisible ? token : undefined })
    listeners.figures = isVisible ? tell : undefined
  })
}

/** `wish` is asked anew each time the tab becomes visible. Until the returned function is called. */
export function watchTail(wish: () => TailWish, tell: (news: TailNews) => void): Stop {
  return whileVisible((isVisible) => {
    say({ of: 'tail', key: nextKey('tail'), tail: isVisible ? wish() : undefined })
    listeners.tail = isVisible ? tell : undefined
  })
}

const listeners: {
  figures?: ((news: FeedNews) => void) | undefined
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
  if (typeof SharedWorker === 'undefined') return makeSources((news) => queueMicrotask(() => take(news)))
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
