// Publishes an event from the page.
import { call, topicPath, wordsOf } from './api.ts'
import { choice, labelled, make, onSubmit, write } from './dom.ts'
import { type TokenWish, withToken } from './token-form.ts'

export function publishForm(topic: string): HTMLElement {
  const wish: TokenWish = {
    purposes: [`publish ${topic}`, 'api', 'metrics'],
    label: 'Token for publishing',
    why: 'To publish, enter an API token with the right to publish, or a token issued for publishing to this topic.',
  }
  const message = make('textarea', { rows: '3', spellcheck: 'false' }, 'Hello')
  const type = make('input', { type: 'text', autocomplete: 'off', maxlength: '256' })
  const isJson = make('input', { type: 'checkbox' })
  const said = make('p', { role: 'status', class: 'hint' })
  const mistake = make('p', { role: 'alert', class: 'mistake' })
  const asking = make('div')
  const form = make(
    'form',
    {},
    labelled('Message', message),
    choice('The message is JSON', isJson),
    labelled('Type', type, 'Optional. In a browser: addEventListener(type, …).'),
    mistake,
    make('div', { class: 'tools' }, make('button', { type: 'submit' }, 'Publish'), said),
  )
  onSubmit(form, async () => {
    write(said, '')
    write(mistake, '')
    try {
      const event = { message: isJson.checked ? JSON.parse(message.value) : message.value, type: type.value }
      const published = await withToken(asking, wish, (token) => {
        return call<{ event: { id: string } }>(token, 'POST', `${topicPath(topic)}/events`, { event })
      })
      asking.replaceChildren()
      write(said, `Published as ${published.event.id}`)
    } catch (error) {
      const words = wordsOf(error)
      write(mistake, error instanceof SyntaxError ? `The message is not valid JSON: ${words}` : words)
    }
  })
  return make('div', {}, form, asking)
}
