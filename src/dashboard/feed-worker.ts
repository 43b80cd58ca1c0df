// The SharedWorker of all tabs of this browser that show the dashboard: one feed for each token, and so one connection,
// however many tabs there are. A tab says when it watches and when it does not.
import { Feed } from './feed.ts'

/** What a tab says: watch with this token; or, without one, that it is hidden or gone. */
export interface TabWish {
  readonly token: string | undefined
}

const feeds = new Map<string, Feed>()

function feedOf(token: string): Feed {
  const feed = feeds.get(token) ?? new Feed(token)
  feeds.set(token, feed)
  return feed
}

function serve(port: MessagePort): void {
  let leave: (() => void) | undefined
  port.onmessage = ({ data }: MessageEvent<TabWish>) => {
    leave?.()
    leave = data.token === undefined ? undefined : feedOf(data.token).watch((news) => port.postMessage(news))
  }
}

const scope = globalThis as unknown as { onconnect: (event: MessageEvent) => void }
scope.onconnect = ({ ports: [port] }) => {
  if (port !== undefined) serve(port)
}
