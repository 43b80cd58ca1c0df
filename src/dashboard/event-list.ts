// A topic's events: live, newest on top, or replayed page by page from some point. What publishers have written is shown as text,
// whatever it looks like.
import type { TopicDetails } from '../client/client.ts'
import type { EventBody, PageBody } from '../client/history.ts'
import { call, presentOf, topicPath, wordsOf } from './api.ts'
import { button, labelled, make, onSubmit, write } from './dom.ts'
import { timeText, wholeText } from './format.ts'
import { itemsMax, type TailItem, type TailNews, type TailState, textMax } from './tail.ts'
import { type TokenWish, withToken } from './token-form.ts'
import { watchTail } from './watch.ts'

const pageEvents = 50
/** Maximum number of rows in a live list; nobody would read more. */
const rowsMax = itemsMax
const scrollCharacters = 200
const scrollLines = 6

const stateWords: Readonly<Record<TailState, string>> = {
  open: 'Live',
  waiting: 'Not connected; trying again …',
  refused: 'The token no longer opens this topic.',
  gone: 'The topic no longer exists.',
  crowded: 'Other tabs follow as many topics as one stream may carry. Close one, and this one goes on.',
}

export interface EventList {
  readonly content: HTMLElement
  close(): void
}

export function eventList(topic: string): EventList {
  const wish: TokenWish = {
    purposes: [`subscribe ${topic}`, 'api', 'metrics'],
    label: 'Token of this topic',
    why: 'To see its events, enter the token of this topic, or an API token with the right to subscribe.',
  }
  const ended = new AbortController()
  const place = make('div')
  const status = make('p', { class: 'state', role: 'status' })
  const rows = make('tbody')
  const table = make('table', { class: 'events' }, headRow(), rows)
  const none = make('p', { class: 'hint' })
  const list = make(
    'div',
    { class: 'scroll list', tabindex: '0', role: 'region', 'aria-label': 'List of events' },
    table,
  )
  const foot = make('div', { class: 'tools' })
  const shown = make('div', {}, status, none, list, foot)
  let leave: (() => void) | undefined
  /** Number of the latest request: late results of earlier ones are not shown. */
  let turn = 0

  function clear(): void {
    leave?.()
    leave = undefined
    rows.replaceChildren()
    foot.replaceChildren()
    list.hidden = true
    write(none, '')
  }

  function addTop(row: HTMLElement): void {
    rows.prepend(row)
    if (rows.childElementCount > rowsMax) rows.lastElementChild?.remove()
  }

  function opened<Result>(
    work: (token: string) => Promise<Result>,
  ): Promise<{ readonly token: string; readonly result: Result }> {
    return withToken(place, wish, async (token) => ({ token, result: await work(token) }))
  }

  function history(token: string, query: string): Promise<PageBody> {
    return call<PageBody>(token, 'GET', `${topicPath(topic)}/events?${query}`, undefined, ended.signal)
  }

  async function live(): Promise<void> {
    turn += 1
    const mine = turn
    clear()
    write(status, 'Connecting …')
    status.dataset['state'] = ''
    await telling(mine, async () => {
      const { token, result } = await opened(latest)
      if (mine !== turn) return
      place.replaceChildren(shown)
      rows.replaceChildren(...result.events.map(storedRow))
      fill('No event yet. Publish one below; it appears here at once.')
      let { newest } = result
      let isNow = true
      leave = watchTail(
        async (follow) => {
          if (!isNow) newest = await caughtUp(mine, token, newest)
          follow({ topic, token, after: newest })
        },
        (news) => {
          newest = take(news, newest)
        },
      )
      isNow = false
    })
  }

  /** The latest events, newest first, and the number up to which there are no others after them. */
  async function latest(token: string): Promise<{ readonly newest: string } & PageBody> {
    // Requested before the history, so that nothing can fall in between.
    const present = await presentOf(token, topic, ended.signal)
    const page = await history(token, `order=desc&limit=${pageEvents}`)
    return { ...page, newest: later(present, page.events[0]?.id ?? '') }
  }

  /** Shows what arrived while nobody was looking, and returns the number up to which it did. */
  async function caughtUp(mine: number, token: string, newest: string): Promise<string> {
    try {
      const { events, next, newest: present } = await latest(token)
      if (mine !== turn) return newest
      const missed = events.filter(({ id }) => id > newest)
      if (missed.length === events.length && next !== null) {
        addTop(
          remarkRow(
            'More events came while this tab was hidden than are shown here. Replay shows all that are stored.',
          ),
        )
      }
      for (const event of missed.toReversed()) addTop(storedRow(event))
      fill('')
      return later(present, newest)
    } catch {
      // The stream is requested all the same, and reports what is wrong.
      return newest
    }
  }

  /** Returns the id of the newest event shown. */
  function take(news: TailNews, newest: string): string {
    let latest = newest
    if (news.kind === 'state') {
      status.dataset['state'] = news.state === 'open' ? 'live' : 'stale'
      write(status, stateWords[news.state])
      return latest
    }
    if (news.skipped > 0) addTop(remarkRow(`${wholeText(news.skipped)} more events came too fast to be shown.`))
    for (const item of news.items) {
      addTop(item.kind === 'gap' ? gapRow(item.reason) : liveRow(item))
      if (item.kind === 'event') latest = later(item.id, latest)
    }
    fill('')
    return latest
  }

  async function replay(query: URLSearchParams): Promise<void> {
    turn += 1
    const mine = turn
    clear()
    query.set('limit', String(pageEvents))
    await telling(mine, async () => {
      const { result: page } = await opened((token) => history(token, String(query)))
      if (mine !== turn) return
      place.replaceChildren(shown)
      status.dataset['state'] = ''
      write(status, 'Replay, the oldest first')
      rows.replaceChildren(...(page.gaps ?? []).map(({ reason }) => gapRow(reason)), ...page.events.map(storedRow))
      fill('Nothing is stored after that.')
      const { next } = page
      if (next !== null) foot.append(button('Next page', () => replay(new URLSearchParams({ after: next }))))
      foot.append(button('Back to live', live))
    })
  }

  function fill(words: string): void {
    list.hidden = rows.childElementCount === 0
    write(none, list.hidden ? words : '')
  }

  async function telling(mine: number, work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      if (mine !== turn) return
      place.replaceChildren(shown)
      status.dataset['state'] = 'stale'
      write(status, wordsOf(error))
      foot.replaceChildren(button('Try again', live))
    }
  }

  live()
  return {
    content: make('div', {}, place, replayForm(replay)),
    close() {
      turn += 1
      ended.abort()
      leave?.()
    },
  }
}

function replayForm(replay: (query: URLSearchParams) => Promise<void>): HTMLElement {
  const from = make(
    'select',
    {},
    make('option', { value: 'earliest' }, 'the earliest event'),
    make('option', { value: 'time' }, 'a time'),
    make('option', { value: 'id' }, 'after an event'),
  )
  const time = make('input', { type: 'datetime-local', step: '1' })
  const id = make('input', { type: 'text', autocomplete: 'off', spellcheck: 'false', maxlength: '256' })
  const timeField = labelled('Time', time)
  const idField = labelled('Event id', id)
  function choose(): void {
    timeField.hidden = from.value !== 'time'
    time.required = from.value === 'time'
    idField.hidden = from.value !== 'id'
    id.required = from.value === 'id'
  }
  from.addEventListener('change', choose)
  choose()
  const form = make(
    'form',
    { class: 'tools', 'aria-label': 'Replay' },
    labelled('Replay from', from),
    timeField,
    idField,
    make('button', { type: 'submit' }, 'Replay'),
  )
  onSubmit(form, () => {
    if (from.value === 'time') return replay(new URLSearchParams({ since: new Date(time.value).toISOString() }))
    if (from.value === 'id') return replay(new URLSearchParams({ last_event_id: id.value.trim() }))
    return replay(new URLSearchParams({ since: 'earliest' }))
  })
  return form
}

/** The higher of two of the server's numbers; '' stands for none. */
function later(one: string, other: string): string {
  return one > other ? one : other
}

function headRow(): HTMLElement {
  const heads = ['Time', 'Id', 'Type', 'Message'].map((text) => make('th', { scope: 'col' }, text))
  return make('thead', {}, make('tr', {}, ...heads))
}

function storedRow({ id, publisher_id, type, time, message }: EventBody): HTMLElement {
  const text = typeof message === 'string' ? message : JSON.stringify(message)
  return eventRow(Date.parse(time), id, publisher_id, type ?? '', text.slice(0, textMax), text.length - textMax)
}

function liveRow({ timeMs, id, publisherId, type, text, cut }: TailItem & { readonly kind: 'event' }): HTMLElement {
  return eventRow(timeMs, id, publisherId, type, text, cut)
}

function eventRow(
  timeMs: number,
  id: string,
  publisherId: string | undefined,
  type: string,
  text: string,
  cut: number,
): HTMLElement {
  const ids: (Node | string)[] = publisherId === undefined ? [id] : [id, make('span', { class: 'own-id' }, publisherId)]
  const rest = cut > 0 ? [make('span', { class: 'mark' }, `and ${wholeText(cut)} more characters`)] : []
  return make(
    'tr',
    {},
    make('td', { class: 'time', 'data-label': 'Time' }, timeText(timeMs)),
    make('td', { class: 'code', 'data-label': 'Id' }, ...ids),
    make('td', { 'data-label': 'Type' }, type),
    make(
      'td',
      { class: 'message', 'data-label': 'Message' },
      make('pre', { tabindex: mayScroll(text) && '0' }, text),
      ...rest,
    ),
  )
}

/** Makes elements that may overflow reachable with the keyboard. */
function mayScroll(text: string): boolean {
  return text.length > scrollCharacters || text.split('\n').length > scrollLines
}

function gapRow(reason: string): HTMLElement {
  return remarkRow(`Events may be missing: ${reason}.`)
}

function remarkRow(text: string): HTMLElement {
  return make('tr', { class: 'remark' }, make('td', { colspan: '4' }, text))
}

/** A topic's limits, as the page words them. */
export function limitsText({ max_age, max_bytes, max_events }: TopicDetails['retention']): string {
  const limits = [
    max_age === null ? [] : [`for ${max_age}`],
    max_bytes === null ? [] : [`up to ${wholeText(max_bytes)} bytes`],
    max_events === null ? [] : [`the last ${wholeText(max_events)} events`],
  ].flat()
  return limits.length === 0 ? 'none' : limits.join(', ')
}
