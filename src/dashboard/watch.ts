// Watches the feed for this tab: through the SharedWorker, or, where the browser has none, by a connection of its own. In
// both cases only while the tab is visible, so that a hidden one costs nothing.
import { Feed, type FeedNews } from './feed.ts'
import type { TabWish } from './feed-worker.ts'

/** Until the returned function is called. */
export function watchFigures(token: string, tell: (news: FeedNews) => void): () => void {
  const source = typeof SharedWorker === 'undefined' ? ownFeed(token, tell) : sharedFeed(token, tell)
  let isWatching = false
  function turn(isWanted: boolean): void {
    if (isWanted !== isWatching) source(isWanted)
    isWatching = isWanted
  }
  const onVisibility = () => turn(document.visibilityState === 'visible')
  const onHide = () => turn(false)
  document.addEventListener('visibilitychange', onVisibility)
  addEventListener('pageshow', onVisibility)
  addEventListener('pagehide', onHide)
  onVisibility()
  return () => {
    document.removeEventListener('visibilitychange', onVisibility)
    removeEventListener('pageshow', onVisibility)
    removeEventListener('pagehide', onHide)
    turn(false)
  }
}

type Source = (isWatching: boolean) => void

function sharedFeed(token: string, tell: (news: FeedNews) => void): Source {
  const { port } = new SharedWorker(new URL('./feed-worker.js', import.meta.url), { type: 'module', name: 'sser' })
  let isWatching = false
  port.onmessage = ({ data }: MessageEvent<FeedNews>) => {
    if (isWatching) tell(data)
  }
  return (isWanted) => {
    isWatching = isWanted
    const wish: TabWish = { token: isWanted ? token : undefined }
    port.postMessage(wish)
  }
}

function ownFeed(token: string, tell: (news: FeedNews) => void): Source {
  const feed = new Feed(token)
  let leave: (() => void) | undefined
  return (isWanted) => {
    leave?.()
    leave = isWanted ? feed.watch(tell) : undefined
  }
}
