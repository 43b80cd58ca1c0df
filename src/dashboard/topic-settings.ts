// Changes a topic's name and limits.
import type { TopicDetails } from '../client/client.ts'
import { call, topicPath, wordsOf } from './api.ts'
import { labelled, make, onSubmit, write } from './dom.ts'

/** With an API token that may manage topics. The fields start with the present settings; `onChanged` gets the new ones. */
export function topicSettings(
  { id, name, retention }: TopicDetails,
  token: string,
  onChanged: (details: TopicDetails) => void,
): HTMLElement {
  const nameField = make('input', { type: 'text', autocomplete: 'off', maxlength: '200', value: name ?? '' })
  const age = make('input', { type: 'text', autocomplete: 'off', value: retention.max_age ?? '' })
  const events = numberField(retention.max_events)
  const bytes = numberField(retention.max_bytes)
  const mistake = make('p', { class: 'mistake', role: 'alert' })
  const said = make('p', { class: 'hint', role: 'status' })
  const form = make(
    'form',
    {},
    labelled('Name', nameField, 'Optional.'),
    labelled('Drop events older than', age, 'Such as 90m or 720h. Leave a limit empty for none.'),
    labelled('Keep at most so many events', events),
    labelled('Keep at most so many bytes', bytes),
    mistake,
    make('div', { class: 'tools' }, make('button', { type: 'submit' }, 'Save'), said),
  )
  onSubmit(form, async () => {
    write(mistake, '')
    write(said, '')
    const limits = { max_age: textOf(age), max_events: numberOf(events), max_bytes: numberOf(bytes) }
    try {
      const changes = { name: textOf(nameField), retention: limits }
      const { pubsub } = await call<{ pubsub: TopicDetails }>(token, 'PATCH', topicPath(id), { pubsub: changes })
      write(said, 'Saved')
      onChanged(pubsub)
    } catch (error) {
      write(mistake, wordsOf(error))
    }
  })
  return make('details', {}, make('summary', { class: 'minor' }, 'Change'), form)
}

function numberField(value: number | null): HTMLInputElement {
  return make('input', { type: 'number', min: '1', step: '1', value: value === null ? '' : String(value) })
}

function textOf({ value }: HTMLInputElement): string | null {
  return value.trim() === '' ? null : value.trim()
}

function numberOf({ value }: HTMLInputElement): number | null {
  return value === '' ? null : Number(value)
}
