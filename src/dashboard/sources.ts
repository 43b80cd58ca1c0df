// What a tab can hear: one feed of figures for each token, one tail for each topic, however many tabs look at them. A tab says
// what it wants to hear, and when it wants nothing any more. Runs in a SharedWorker, or in the tab where there is none.
import { Feed, type FeedNews } from './feed.ts'
import { type TailNews, Tails, type TailWish } from './tail.ts'

/**
 * What a tab says; without a token, or a tail, it is hidden or gone, or shows something else. What it is told bears the
 * wish's key: news of an earlier one may still be on their way.
 */
export type TabWish = { readonly key: number } & (
  | { readonly of: 'figures'; readonly token: string | undefined }
  | { readonly of: 'tail'; readonly tail: TailWish | undefined }
)

export type WorkerNews = { readonly key: number } & (
  | { readonly of: 'figures'; readonly news: FeedNews }
  | { readonly of: 'tail'; readonly news: TailNews }
)

/** For one tab: takes its wishes. */
export function makeSources(tell: (news: WorkerNews) => void): (wish: TabWish) => void {
  const leave: { figures?: (() => void) | undefined; tail?: (() => void) | undefined } = {}
  return (wish) => {
    leave[wish.of]?.()
    leave[wish.of] = undefined
    const { key } = wish
    if (wish.of === 'figures' && wish.token !== undefined) {
      leave.figures = feedOf(wish.token).watch((news) => tell({ key, of: 'figures', news }))
    } else if (wish.of === 'tail' && wish.tail !== undefined) {
      leave.tail = tails.watch(wish.tail, (news) => tell({ key, of: 'tail', news }))
    }
  }
}

const feeds = new Map<string, Feed>()
const tails = new Tails()

function feedOf(token: string): Feed {
  const feed = feeds.get(token) ?? new Feed(token)
  feeds.set(token, feed)
  return feed
}
