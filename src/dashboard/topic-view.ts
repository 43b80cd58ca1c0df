// One topic: its settings and what it holds, its events, a form to publish, lines to paste, its tokens, and its deletion.
import type { TopicDetails } from '../client/client.ts'
import { call, isRefusal, topicPath, wordsOf } from './api.ts'
import { codeBlock } from './copy-button.ts'
import { button, make, write } from './dom.ts'
import { eventList, limitsText } from './event-list.ts'
import { bytesText, timeText, wholeText } from './format.ts'
import { publishForm } from './publish-form.ts'
import { snippetsOf } from './snippets.ts'
import { keptToken, onTokenKept } from './tab-tokens.ts'
import { type TokenWish, withToken } from './token-form.ts'
import { topicSettings } from './topic-settings.ts'
import { topicTokens } from './topic-tokens.ts'
import type { View } from './view.ts'

/** How often the topic's figures are requested while they are visible. */
const refreshMs = 5000

const wish: TokenWish = {
  purposes: ['api', 'metrics'],
  label: 'API token',
  why: 'To see and manage this topic, enter an API token with the right to topics.',
}

export function topicView(topic: string): View {
  const ended = new AbortController()
  const { signal } = ended
  const name = make('h2', { id: 'topic-title', tabindex: '-1' }, `Topic ${topic}`)
  const settings = make('div', {})
  const changes = make('div', {})
  const manage = make('div', {})
  const figures = new Map<string, HTMLElement>()
  const facts = make('dl', { class: 'figures facts' })
  const mistake = make('p', { class: 'mistake', role: 'alert' })
  const events = eventList(topic)
  const snippets = make('div', { class: 'snippets' })
  let isShown = false
  /** Or waits for a token. */
  let isLoading = false

  function fact(label: string, text: string): void {
    let value = figures.get(label)
    if (value === undefined) {
      value = make('dd')
      figures.set(label, value)
      facts.append(make('div', {}, make('dt', {}, label), value))
    }
    write(value, text)
  }

  function show(details: TopicDetails, token: string): void {
    write(name, details.name ?? `Topic ${topic}`)
    fact('Id', details.id)
    fact('Stored', details.static ? 'in memory, by the configuration' : details.persist ? 'on disk' : 'in memory')
    fact('Limits', limitsText(details.retention))
    fact('Created', timeText(Date.parse(details.created_at)))
    fact('Events', wholeText(details.events))
    fact('Size', bytesText(details.bytes))
    fact('Open streams', wholeText(details.subscribers))
    fact('Latest event', details.latest === null ? '–' : timeText(Date.parse(details.latest.time)))
    if (!isShown) showForms(details, token)
    isShown = true
    if (!facts.isConnected) settings.replaceChildren(facts, mistake, changes)
  }

  /** Once: a form that somebody fills in stays as it is. */
  function showForms(details: TopicDetails, token: string): void {
    if (details.static) {
      manage.replaceChildren(make('p', {}, 'This topic is defined in the configuration, and so is its token.'))
      return
    }
    changes.append(topicSettings(details, token, (changed) => show(changed, token)))
    manage.replaceChildren(topicTokens(topic, token, showSnippets), deletion(topic, token))
  }

  async function load(): Promise<void> {
    if (isLoading) return
    isLoading = true
    try {
      await withToken(settings, wish, async (token) => {
        const path = topicPath(topic)
        const { pubsub } = await call<{ pubsub: TopicDetails }>(token, 'GET', path, undefined, signal)
        if (!signal.aborted) show(pubsub, token)
      })
      write(mistake, '')
    } catch (error) {
      if (signal.aborted) return
      if (isRefusal(error, 404)) clearInterval(timer)
      if (!isShown) settings.replaceChildren(mistake)
      write(mistake, wordsOf(error))
    } finally {
      isLoading = false
    }
  }

  function showSnippets(): void {
    const subscribeToken = keptToken(`subscribe ${topic}`)
    const publishToken = keptToken(`publish ${topic}`)
    const all = snippetsOf({ origin: location.origin, topic, subscribeToken, publishToken })
    snippets.replaceChildren(...all.flatMap(({ title, code }) => [make('h3', {}, title), codeBlock(title, code)]))
  }

  const timer = setInterval(() => {
    if (isShown && document.visibilityState === 'visible') load()
  }, refreshMs)
  const stop = onTokenKept(showSnippets)
  showSnippets()
  manage.append(make('p', { class: 'hint' }, 'Enter an API token above to manage tokens.'))
  load()
  return {
    title: `Topic ${topic}`,
    content: make(
      'div',
      {},
      make('p', { class: 'back' }, make('a', { href: '#/topics' }, 'All topics')),
      make('section', { class: 'card', 'aria-labelledby': name.id }, name, settings),
      card('events-title', 'Events', events.content),
      card('publish-title', 'Publish', publishForm(topic)),
      card('snippets-title', 'Snippets', snippets),
      card('manage-title', 'Tokens', manage),
    ),
    close() {
      clearInterval(timer)
      stop()
      ended.abort()
      events.close()
    },
  }
}

function card(id: string, title: string, content: HTMLElement): HTMLElement {
  return make('section', { class: 'card', 'aria-labelledby': id }, make('h2', { id }, title), content)
}

function deletion(topic: string, token: string): HTMLElement {
  const mistake = make('p', { class: 'mistake', role: 'alert' })
  const dialog = make(
    'dialog',
    { 'aria-labelledby': 'delete-title' },
    make('h2', { id: 'delete-title' }, 'Delete this topic?'),
    make('p', {}, 'This deletes its events and tokens, and ends its streams. It cannot be undone.'),
    mistake,
    make(
      'div',
      { class: 'tools' },
      button('Cancel', () => dialog.close(), { autofocus: true }),
      button('Delete', remove, { class: 'danger' }),
    ),
  )
  async function remove(): Promise<void> {
    try {
      await call(token, 'DELETE', topicPath(topic))
      dialog.close()
      location.hash = '#/topics'
    } catch (error) {
      write(mistake, wordsOf(error))
    }
  }
  return make(
    'div',
    { class: 'end' },
    button('Delete topic', () => dialog.showModal(), { class: 'danger' }),
    dialog,
  )
}
