/**
 * The page: signs in, then shows one view at a time, selected by the URL. The token used to sign in must open the figures; views
 * that it does not open ask for another one. All text is inserted into the document as text.
 */
import { makeBoard } from './board.ts'
import type { Connection } from './connection.ts'
import { element, make, show } from './dom.ts'
import type { FigureNews } from './figures.ts'
import { firstSteps } from './first-steps.ts'
import { clockText } from './format.ts'
import { forgetAllTokens, keepToken, keptToken } from './tab-tokens.ts'
import { topicView } from './topic-view.ts'
import { topicsView } from './topics-view.ts'
import type { View } from './view.ts'
import { watchFigures } from './watch.ts'

const mistakeKey = 'sser.sign-in-error'
const refusedWords =
  'The token does not open the figures. Give the metrics token, or an API token with the right to metrics.'
/** Samples arrive every second; after this long, what is shown is marked as out of date. */
const staleMs = 4000

const signIn = element<HTMLFormElement>('sign-in')
const tokenField = element<HTMLInputElement>('token')
const board = element('board')
const place = element('view')
const status = element('status')

function start(token: string): void {
  signIn.hidden = true
  for (const id of ['sign-out', 'status', 'views']) element(id).hidden = false
  const { take, lost } = makeBoard()
  let sampleTime: number | undefined
  let shownAtMs = 0
  let state: Connection = 'waiting'

  function told(news: FigureNews): void {
    if (news.kind === 'connection') {
      state = news.state
      if (state === 'refused') leave(refusedWords)
    } else {
      take(news)
      const sample = news.kind === 'rows' ? undefined : news.sample
      if (sample !== undefined) {
        sampleTime = sample.time
        shownAtMs = performance.now()
      }
    }
    showStatus()
  }

  function showStatus(): void {
    const isLive = sampleTime !== undefined && state === 'open' && performance.now() - shownAtMs <= staleMs
    status.dataset['state'] = isLive ? 'live' : 'stale'
    document.body.classList.toggle('stale', !isLive && sampleTime !== undefined)
    if (isLive) show('status', 'Live')
    else if (sampleTime === undefined) show('status', 'Connecting …')
    else {
      show('status', `Not connected; as of ${clockText(sampleTime)}`)
      lost(sampleTime)
    }
  }

  setInterval(showStatus, 1000)
  watchFigures(token, told)
  addEventListener('hashchange', () => route(true))
  route(false)
}

let shown: View | undefined

/** Shows the view selected by the URL. After a change of view, the keyboard focus moves to its title. */
function route(isStep: boolean): void {
  shown?.close()
  shown = viewOf(location.hash)
  board.hidden = shown !== undefined
  place.replaceChildren(...(shown === undefined ? [] : [shown.content]))
  document.title = shown === undefined ? 'sser' : `${shown.title} – sser`
  for (const [id, isCurrent] of [
    ['to-board', shown === undefined],
    ['to-topics', shown !== undefined],
  ] as const) {
    if (isCurrent) element(id).setAttribute('aria-current', 'page')
    else element(id).removeAttribute('aria-current')
  }
  if (!isStep) return
  scrollTo(0, 0)
  const title = (shown?.content ?? board).querySelector<HTMLElement>('h2[tabindex]')
  title?.focus({ preventScroll: true })
}

const idLength = 11

/** Undefined: the overview. A topic's id may be written without leading zeros. */
function viewOf(address: string): View | undefined {
  const [, id] = /^#\/topics\/([0-9A-Za-z]{1,11})$/.exec(address) ?? []
  if (id !== undefined) return topicView(id.padStart(idLength, '0'))
  return address.startsWith('#/topics') ? topicsView() : undefined
}

function leave(mistake: string | undefined): void {
  forgetAllTokens()
  if (mistake !== undefined) sessionStorage.setItem(mistakeKey, mistake)
  location.reload()
}

signIn.addEventListener('submit', (event) => {
  event.preventDefault()
  const token = tokenField.value.trim()
  if (token === '') return
  tokenField.value = ''
  show('sign-in-error', '')
  keepToken('metrics', token)
  start(token)
})
element('sign-out').addEventListener('click', () => leave(undefined))
element('first-topic').append(...firstSteps('create one on the page ', make('a', { href: '#/topics' }, 'Topics')))
show('sign-in-error', sessionStorage.getItem(mistakeKey) ?? '')
sessionStorage.removeItem(mistakeKey)
const kept = keptToken('metrics')
if (kept === undefined) signIn.hidden = false
else start(kept)
