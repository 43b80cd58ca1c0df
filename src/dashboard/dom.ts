// Short helpers for the document. All text is inserted as text: nothing here, or anywhere in this page, turns a string into
// markup.

export function element<Kind extends HTMLElement = HTMLElement>(id: string): Kind {
  const found = document.getElementById(id)
  if (found === null) throw new Error(`The page has no #${id}.`)
  return found as Kind
}

/** Written only where it differs, so as not to disturb a screen reader or a selection. */
export function write(target: HTMLElement, text: string): void {
  if (target.textContent !== text) target.textContent = text
}

export function show(id: string, text: string): void {
  write(element(id), text)
}

/** Attributes; `true` and `false` set or omit one without a value. */
export type Attributes = Readonly<Record<string, string | boolean>>

export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: readonly (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false) made.setAttribute(name, value === true ? '' : value)
  }
  made.append(...children)
  return made
}

export function button(text: string, onClick: () => void, attributes: Attributes = {}): HTMLButtonElement {
  const made = make('button', { type: 'button', ...attributes }, text)
  made.addEventListener('click', onClick)
  return made
}

let labels = 0

/** A control with its label above it. */
export function labelled(text: string, control: HTMLElement, hint?: string): HTMLElement {
  labels += 1
  control.id = `control-${labels}`
  const parts: (Node | string)[] = [make('label', { for: control.id }, text), control]
  if (hint !== undefined) {
    control.setAttribute('aria-describedby', `hint-${labels}`)
    parts.push(make('p', { class: 'hint', id: `hint-${labels}` }, hint))
  }
  return make('div', { class: 'field' }, ...parts)
}

/** A checkbox or a radio button, followed by its label. */
export function choice(text: string, control: HTMLInputElement): HTMLElement {
  return make('label', { class: 'choice' }, control, text)
}

/** Called when a form is submitted. Until that is done it cannot be submitted again. */
export function onSubmit(form: HTMLFormElement, work: () => Promise<void>): void {
  let isBusy = false
  form.addEventListener('submit', async (event) => {
    event.preventDefault()
    if (isBusy) return
    isBusy = true
    form.setAttribute('aria-busy', 'true')
    try {
      await work()
    } finally {
      isBusy = false
      form.removeAttribute('aria-busy')
    }
  })
}
