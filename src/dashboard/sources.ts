// What tabs can subscribe to: one connection per token that opens the figures, however many tabs use it. A tab says what it wants
// to receive, and when it wants nothing any more. Runs in a SharedWorker, or in the tab where there is none.
import type { FigureNews } from './figures.ts'
import { Line } from './line.ts'
import type { TailNews, TailWish } from './tail.ts'

/**
 * A message from a tab; without a wish, the tab is hidden or gone, or shows something else. Replies carry the wish's key: replies
 * to an earlier one may still be on their way. `line`: the token that opens the figures.
 */
export type TabWish = { readonly key: number; readonly line: string } & (
  | { readonly of: 'figures'; readonly isWanted: boolean }
  | { readonly of: 'tail'; readonly tail: TailWish | undefined }
)

export type WorkerNews = { readonly key: number } & (
  | { readonly of: 'figures'; readonly news: FigureNews }
  | { readonly of: 'tail'; readonly news: TailNews }
)

export interface Sources {
  take(wish: TabWish): void
  /** The tab is gone. */
  close(): void
}

/** For one tab. */
export function makeSources(tell: (news: WorkerNews) => void): Sources {
  const leave: { figures?: (() => void) | undefined; tail?: (() => void) | undefined } = {}
  return {
    take(wish) {
      leave[wish.of]?.()
      leave[wish.of] = undefined
      const { key } = wish
      if (wish.of === 'figures' && wish.isWanted) {
        leave.figures = lineOf(wish.line).watchFigures((news) => tell({ key, of: 'figures', news }))
      } else if (wish.of === 'tail' && wish.tail !== undefined) {
        leave.tail = lineOf(wish.line).watchTail(wish.tail, (news) => tell({ key, of: 'tail', news }))
      }
    },
    close() {
      leave.figures?.()
      leave.tail?.()
    },
  }
}

const lines = new Map<string, Line>()

function lineOf(token: string): Line {
  const line = lines.get(token) ?? new Line(token)
  lines.set(token, line)
  return line
}
