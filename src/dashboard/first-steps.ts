// A newcomer's first steps: shown wherever there is no topic yet.
import { codeBlock } from './copy-button.ts'
import { make } from './dom.ts'
import { firstLines } from './snippets.ts'

/** `others`: other ways to create a topic. */
export function firstSteps(...others: readonly (Node | string)[]): readonly HTMLElement[] {
  const words = make(
    'p',
    {},
    'Paste these lines into a shell, in the folder of the server. They create a topic, and print its id and the token that subscribes to it. Or ',
    ...others,
    '.',
  )
  return [words, codeBlock('the lines that create a topic', firstLines(location.origin))]
}
