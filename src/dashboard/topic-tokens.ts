// The further tokens of a topic: a list, a form that issues one, and its secret, shown only once.
import type { IssuedToken, TokenDetails } from '../client/topic-tokens.ts'
import { call, topicPath, wordsOf } from './api.ts'
import { copyButton } from './copy-button.ts'
import { button, choice, labelled, make, onSubmit, write } from './dom.ts'
import { timeText } from './format.ts'
import { keepToken } from './tab-tokens.ts'

/** With an API token that may manage topics. `onIssued`: this tab now has a token that it did not have. */
export function topicTokens(topic: string, token: string, onIssued: () => void): HTMLElement {
  const path = `${topicPath(topic)}/tokens`
  const list = make('ul', { class: 'tokens' })
  const subscribes = make('input', { type: 'checkbox', checked: true })
  const publishes = make('input', { type: 'checkbox' })
  const label = make('input', { type: 'text', autocomplete: 'off', maxlength: '200' })
  const ends = make('input', { type: 'datetime-local', step: '1' })
  const mistake = make('p', { role: 'alert', class: 'mistake' })
  const issued = make('div', { role: 'status' })
  const form = make(
    'form',
    {},
    make('fieldset', {}, make('legend', {}, 'Rights'), choice('subscribe', subscribes), choice('publish', publishes)),
    labelled('Label', label, 'Optional.'),
    labelled('Expires', ends, 'Leave it empty for a token that never expires.'),
    mistake,
    make('button', { type: 'submit' }, 'Issue a token'),
  )

  async function load(): Promise<void> {
    try {
      const { tokens } = await call<{ tokens: readonly TokenDetails[] }>(token, 'GET', path)
      list.replaceChildren(...tokens.map(row))
    } catch (error) {
      write(mistake, wordsOf(error))
    }
  }

  function row({ id, label: name, rights, expires_at }: TokenDetails): HTMLElement {
    const end = expires_at === null ? '' : `, until ${timeText(Date.parse(expires_at))}`
    const revoke = button('Revoke', () => revoked(id), { class: 'small', 'aria-label': `Revoke ${name ?? id}` })
    return make('li', {}, make('span', {}, `${name ?? id}: ${rights.join(', ')}${end}`), revoke)
  }

  async function revoked(id: string): Promise<void> {
    try {
      await call(token, 'DELETE', `${path}/${id}`)
    } catch (error) {
      write(mistake, wordsOf(error))
    }
    await load()
  }

  onSubmit(form, async () => {
    write(mistake, '')
    const rights = [...(subscribes.checked ? ['subscribe'] : []), ...(publishes.checked ? ['publish'] : [])]
    const request = {
      rights,
      ...(label.value.trim() === '' ? {} : { label: label.value.trim() }),
      ...(ends.value === '' ? {} : { expires_at: new Date(ends.value).toISOString() }),
    }
    try {
      const answer = await call<{ token: IssuedToken }>(token, 'POST', path, { token: request })
      const secret = answer.token.token
      if (subscribes.checked) keepToken(`subscribe ${topic}`, secret)
      if (publishes.checked) keepToken(`publish ${topic}`, secret)
      issued.replaceChildren(
        make('p', {}, 'Copy this token now: it will not be shown again.'),
        make(
          'p',
          { class: 'secret' },
          make('code', {}, secret),
          copyButton('the token', () => secret),
        ),
      )
      onIssued()
      await load()
    } catch (error) {
      write(mistake, wordsOf(error))
    }
  })
  load()
  return make('div', {}, list, form, issued)
}
