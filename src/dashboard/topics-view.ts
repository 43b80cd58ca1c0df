// All topics: a table that the server searches, sorts and paginates, and a form to create one.
import type { TopicDetails } from '../client/client.ts'
import { call, type TopicPage, wordsOf } from './api.ts'
import { button, choice, labelled, make, onSubmit, write } from './dom.ts'
import { firstSteps } from './first-steps.ts'
import { bytesText, timeText, wholeText } from './format.ts'
import { keepToken } from './tab-tokens.ts'
import { type TokenWish, withToken } from './token-form.ts'
import type { View } from './view.ts'

const pageTopics = 50
/** Debounces typing. */
const typingMs = 250

const wish: TokenWish = {
  purposes: ['api', 'metrics'],
  label: 'API token',
  why: 'To see the topics, enter an API token: SSER_API_ACCESS_TOKEN, or apiAccessToken in _storage/tokens.json.',
}

interface Column {
  readonly sort: string
  readonly title: string
  readonly isNumber: boolean
  readonly text: (topic: TopicDetails) => string
}

/** The columns after the name, which is a link. */
const columns: readonly Column[] = [
  { sort: 'id', title: 'Id', isNumber: false, text: ({ id }) => id },
  { sort: 'events', title: 'Events', isNumber: true, text: ({ events }) => wholeText(events) },
  { sort: 'bytes', title: 'Size', isNumber: true, text: ({ bytes }) => bytesText(bytes) },
  { sort: 'subscribers', title: 'Streams', isNumber: true, text: ({ subscribers }) => wholeText(subscribers) },
  {
    sort: 'latest',
    title: 'Latest event',
    isNumber: true,
    text: ({ latest }) => (latest === null ? '–' : timeText(Date.parse(latest.time))),
  },
]

export function topicsView(): View {
  const ended = new AbortController()
  const place = make('div')
  const rows = make('tbody')
  const said = make('p', { class: 'hint', role: 'status' })
  const search = make('input', { type: 'search', autocomplete: 'off', spellcheck: 'false', maxlength: '200' })
  const previous = button('Previous', () => turn(-1))
  const next = button('Next', () => turn(1))
  const heads = new Map<string, HTMLElement>()
  const table = make('table', { class: 'topics' }, make('thead', {}, makeHeads()), rows)
  const pager = make('nav', { class: 'pager', 'aria-label': 'Pages' }, previous, said, next)
  const listed = make('div', {}, make('div', { class: 'scroll' }, table), pager)
  const empty = make('div')
  const newTopic = newTopicForm()
  let sort = 'id'
  let isDescending = true
  /** The starts of the pages up to this one; and of the next, if there is one. */
  let starts: (string | undefined)[] = [undefined]
  let following: string | null = null
  let asking = new AbortController()

  function makeHeads(): HTMLElement {
    const head = ({ sort: name, title, isNumber }: Pick<Column, 'sort' | 'title' | 'isNumber'>) => {
      const made = make(
        'th',
        { scope: 'col', class: isNumber ? 'number' : '' },
        button(title, () => sortBy(name), { class: 'sort' }),
      )
      heads.set(name, made)
      return made
    }
    return make('tr', {}, head({ sort: 'name', title: 'Name', isNumber: false }), ...columns.map(head))
  }

  function sortBy(name: string): void {
    // Names sort from the first, figures from the largest.
    isDescending = sort === name ? !isDescending : name !== 'name'
    sort = name
    restart()
  }

  function restart(): void {
    starts = [undefined]
    load()
  }

  function turn(by: number): void {
    if (by < 0 && starts.length > 1) starts.pop()
    else if (by > 0 && following !== null) starts.push(following)
    else return
    load()
  }

  async function load(): Promise<void> {
    asking.abort()
    asking = new AbortController()
    const signal = AbortSignal.any([asking.signal, ended.signal])
    const query = new URLSearchParams({ limit: String(pageTopics), sort, order: isDescending ? 'desc' : 'asc' })
    if (search.value !== '') query.set('search', search.value)
    const after = starts.at(-1)
    if (after !== undefined) query.set('after', after)
    try {
      const page = await withToken(place, wish, (token) => {
        return call<TopicPage>(token, 'GET', `/pubsubs?${query}`, undefined, signal)
      })
      if (!signal.aborted) show(page)
    } catch (error) {
      if (signal.aborted) return
      if (!listed.isConnected) place.replaceChildren(listed)
      write(said, wordsOf(error))
    }
  }

  function show({ pubsubs, next: behind }: TopicPage): void {
    following = behind
    for (const [name, head] of heads) {
      head.setAttribute('aria-sort', name !== sort ? 'none' : isDescending ? 'descending' : 'ascending')
    }
    rows.replaceChildren(...pubsubs.map(rowOf))
    previous.disabled = starts.length === 1
    next.disabled = behind === null
    const first = (starts.length - 1) * pageTopics + 1
    write(said, pubsubs.length === 0 ? '' : `${wholeText(first)} to ${wholeText(first + pubsubs.length - 1)}`)
    const isAll = starts.length === 1 && behind === null
    pager.hidden = isAll
    listed.hidden = pubsubs.length === 0
    tools.hidden = false
    const isFirstTime = isAll && search.value === '' && pubsubs.every((topic) => topic.static)
    if (isFirstTime) newTopic.open = true
    empty.replaceChildren(...(isFirstTime ? [noTopicYet()] : []))
    if (pubsubs.length === 0) empty.append(make('p', {}, 'No topic matches.'))
    place.replaceChildren(listed, empty)
  }

  const tools = make(
    'div',
    { class: 'tools', hidden: true },
    labelled('Search by name or id', search),
    button('Refresh', () => load()),
  )
  let typing: ReturnType<typeof setTimeout> | undefined
  search.addEventListener('input', () => {
    clearTimeout(typing)
    typing = setTimeout(restart, typingMs)
  })
  const content = make(
    'div',
    {},
    newTopic,
    make(
      'section',
      { class: 'card', 'aria-labelledby': 'topics-title' },
      title('topics-title', 'Topics'),
      tools,
      place,
    ),
  )
  load()
  return {
    title: 'Topics',
    content,
    close() {
      clearTimeout(typing)
      ended.abort()
    },
  }
}

function noTopicYet(): HTMLElement {
  return make('div', { class: 'steps' }, make('h3', {}, 'No topics yet'), ...firstSteps('use the form above'))
}

function title(id: string, text: string): HTMLElement {
  return make('h2', { id, tabindex: '-1' }, text)
}

function rowOf(topic: TopicDetails): HTMLElement {
  const name = topic.name ?? 'without a name'
  const link = make(
    'a',
    { href: `#/topics/${topic.id}`, class: topic.name === null ? 'nameless topic-link' : 'topic-link' },
    name,
  )
  const kind = topic.static ? 'static' : topic.persist ? '' : 'in memory'
  const mark = kind === '' ? [] : [' ', make('span', { class: 'mark' }, kind)]
  return make(
    'tr',
    {},
    make('th', { scope: 'row' }, link, ...mark),
    ...columns.map(({ title: label, isNumber, text, sort }) => {
      const classes = `${isNumber ? 'number' : ''}${sort === 'id' ? 'code' : ''}`
      return make('td', { 'data-label': label, class: classes }, text(topic))
    }),
  )
}

function newTopicForm(): HTMLDetailsElement {
  const name = make('input', { type: 'text', autocomplete: 'off', maxlength: '200' })
  const persist = make('input', { type: 'checkbox', checked: true })
  const mistake = make('p', { class: 'mistake', role: 'alert' })
  const asking = make('div')
  const form = make(
    'form',
    {},
    labelled('Name', name, 'Optional.'),
    choice('Keep its events on disk', persist),
    mistake,
    make('button', { type: 'submit' }, 'Create topic'),
  )
  onSubmit(form, async () => {
    write(mistake, '')
    const pubsub = { persist: persist.checked, name: name.value.trim() === '' ? null : name.value.trim() }
    try {
      const made = await withToken(asking, wish, (token) => {
        return call<{ pubsub: { id: string; token: string } }>(token, 'POST', '/pubsubs', { pubsub })
      })
      keepToken(`subscribe ${made.pubsub.id}`, made.pubsub.token)
      location.hash = `#/topics/${made.pubsub.id}`
    } catch (error) {
      write(mistake, wordsOf(error))
    }
  })
  return make('details', { class: 'card' }, make('summary', {}, 'New topic'), form, asking)
}
