// What a newcomer does first: shown wherever there is no topic yet.
import { codeBlock } from './copy-button.ts'
import { make } from './dom.ts'
import { firstLines } from './snippets.ts'

export function firstSteps(): readonly HTMLElement[] {
  const words = make(
    'p',
    {},
    'Paste these lines into a shell, in the folder of the server: they make a topic, and print its id and the token that subscribes to it. Or make one on the page ',
    make('a', { href: '#/topics' }, 'Topics'),
    '.',
  )
  return [words, codeBlock('the lines that make a topic', firstLines(location.origin))]
}
