// Asks for a token where one is needed, in the place of what it opens, and keeps it for this tab.
import { isRefusal } from './api.ts'
import { labelled, make, onSubmit } from './dom.ts'
import { forgetToken, keepToken, keptToken, onTokenKept, type Purpose } from './tab-tokens.ts'

export interface TokenWish {
  /** The first that this tab has a token for is used. What is entered is kept for the first of them. */
  readonly purposes: readonly [Purpose, ...Purpose[]]
  readonly label: string
  readonly why: string
}

/**
 * What `work` gives with a token that opens it. Where the tab has none, or none that does, a form in `place` asks for one.
 * Other failures are thrown.
 */
export async function withToken<Result>(
  place: HTMLElement,
  wish: TokenWish,
  work: (token: string) => Promise<Result>,
): Promise<Result> {
  const [first] = wish.purposes
  let mistake = ''
  let found = keptFor(wish)
  for (;;) {
    found ??= await asked(place, wish, mistake)
    try {
      const result = await work(found.token)
      if (found.isNew) keepToken(first, found.token)
      return result
    } catch (error) {
      if (!isRefusal(error, 401)) throw error
      // It may be right for something else; only what was meant for this is forgotten.
      if (found.token === keptToken(first)) forgetToken(first)
      mistake = 'The token does not open this.'
      found = undefined
    }
  }
}

interface Found {
  readonly token: string
  readonly isNew: boolean
}

function keptFor({ purposes }: TokenWish): Found | undefined {
  const token = purposes.map(keptToken).find((kept) => kept !== undefined)
  return token === undefined ? undefined : { token, isNew: false }
}

/** Resolves with what is entered, or with a token that was entered elsewhere in this tab meanwhile and may do. */
function asked(place: HTMLElement, wish: TokenWish, mistake: string): Promise<Found> {
  return new Promise((resolve) => {
    const input = make('input', { type: 'password', autocomplete: 'off', spellcheck: 'false', required: true })
    const form = make(
      'form',
      { class: 'token-form' },
      make('p', {}, wish.why),
      labelled(wish.label, input, 'It is kept in this tab only.'),
      make('p', { class: 'mistake', role: 'alert' }, mistake),
      make('button', { type: 'submit' }, 'Go on'),
    )
    const stop = onTokenKept((purpose) => {
      if (!form.isConnected) stop()
      else if (wish.purposes.includes(purpose)) done({ token: keptToken(purpose) ?? '', isNew: false })
    })
    function done(found: Found): void {
      stop()
      resolve(found)
    }
    onSubmit(form, async () => {
      const token = input.value.trim()
      if (token !== '') done({ token, isNew: true })
    })
    place.replaceChildren(form)
    if (mistake !== '') input.focus()
  })
}
