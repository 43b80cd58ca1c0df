// A button that copies a text to the clipboard, and lines to paste that have one. Pages loaded over plain HTTP from another
// machine have no access to the modern clipboard API; there the old way is used.
import { button, make } from './dom.ts'

const shownMs = 2000

export function codeBlock(what: string, code: string): HTMLElement {
  const shown = make('pre', {}, make('code', {}, code))
  return make(
    'div',
    { class: 'code-block' },
    shown,
    copyButton(what, () => code),
  )
}

export function copyButton(what: string, textOf: () => string): HTMLElement {
  const said = make('span', { class: 'said', role: 'status' })
  const copy = button(
    'Copy',
    async () => {
      said.textContent = (await isCopied(textOf())) ? 'Copied' : 'Could not copy'
      setTimeout(() => said.replaceChildren(), shownMs)
    },
    { class: 'small', 'aria-label': `Copy: ${what}` },
  )
  return make('span', { class: 'copy' }, said, copy)
}

async function isCopied(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    // No clipboard here, or no permission to use it.
    return isCopiedBySelecting(text)
  }
}

function isCopiedBySelecting(text: string): boolean {
  const place = make('textarea', { readonly: true, 'aria-hidden': 'true', class: 'offscreen' })
  place.value = text
  document.body.append(place)
  place.select()
  const isDone = document.execCommand('copy')
  place.remove()
  return isDone
}
