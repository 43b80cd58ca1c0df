// Asks for a token where one is needed, in place of what it opens, and keeps it for this tab.
import { isRefusal } from './api.ts'
import { labelled, make, onSubmit } from './dom.ts'
import { forgetToken, keepToken, keptToken, onTokenKept, type Purpose } from './tab-tokens.ts'

export interface TokenWish {
  /** The tab's tokens to try, in this order. What is entered is kept for the first purpose. */
  readonly purposes: readonly [Purpose, ...Purpose[]]
  readonly label: string
  readonly why: string
}

/**
 * The result of `work` with a token that opens it. Where the tab has none, a form in `place` asks for one. Other failures are
 * thrown.
 */
export async function withToken<Result>(
  place: HTMLElement,
  wish: TokenWish,
  work: (token: string) => Promise<Result>,
): Promise<Result> {
  const [first] = wish.purposes
  const refused = new Set<string>()
  let mistake = ''
  for (;;) {
    const found = keptFor(wish, refused) ?? (await asked(place, wish, mistake))
    try {
      const result = await work(found.token)
      if (found.isNew) keepToken(first, found.token)
      return result
    } catch (error) {
      if (!isRefusal(error, 401)) throw error
      refused.add(found.token)
      const isMeant = found.token === keptToken(first)
      // The tab's tokens for other purposes were only tried: they stay, and nobody has made a mistake.
      if (isMeant) forgetToken(first)
      if (isMeant || found.isNew) mistake = 'The token does not grant access to this.'
    }
  }
}

interface Found {
  readonly token: string
  readonly isNew: boolean
}

function keptFor({ purposes }: TokenWish, refused: ReadonlySet<string>): Found | undefined {
  const kept = purposes.map(keptToken)
  const token = kept.find((each) => each !== undefined && !refused.has(each))
  return token === undefined ? undefined : { token, isNew: false }
}

/** Resolves with what is entered, or with a suitable token entered elsewhere in this tab in the meantime. */
function asked(place: HTMLElement, wish: TokenWish, mistake: string): Promise<Found> {
  return new Promise((resolve) => {
    const input = make('input', { type: 'password', autocomplete: 'off', spellcheck: 'false', required: true })
    const form = make(
      'form',
      { class: 'token-form' },
      make('p', {}, wish.why),
      labelled(wish.label, input, 'It stays in this tab.'),
      make('p', { class: 'mistake', role: 'alert' }, mistake),
      make('button', { type: 'submit' }, 'Continue'),
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
