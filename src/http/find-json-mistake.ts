// Locates where a text stops being JSON. JSON.parse knows, but its message quotes the text, and a publisher's body must not
// appear in an answer or a log line. Runs only for texts that JSON.parse has refused; not recursive, so that depth is harmless.

const whitespace = /[ \t\n\r]*/y
const scalar = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y
const escaped = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y

export interface JsonMistake {
  /** Counted from 1; columns in UTF-16 units. */
  readonly line: number
  readonly column: number
  /** What was expected there. */
  readonly expected: string
}

/** The first position where the text can no longer be JSON; its end where it is cut off. */
export function findJsonMistake(text: string): JsonMistake {
  let at = 0
  const open: ('{' | '[')[] = []
  let expects: 'value' | 'value or ]' | 'key' | 'key or }' | ':' | ', or end' = 'value'

  function take(pattern: RegExp): boolean {
    pattern.lastIndex = at
    if (!pattern.test(text)) return false
    at = pattern.lastIndex
    return true
  }

  /** A loop rather than one regular expression: a long string would exhaust the stack that those backtrack on. */
  function takeString(): boolean {
    at += 1
    while (at < text.length) {
      const unit = text.charCodeAt(at)
      if (unit === 0x22) {
        at += 1
        return true
      }
      if (unit < 0x20) return false
      if (unit !== 0x5c) at += 1
      else if (!take(escaped)) return false
    }
    return false
  }

  for (;;) {
    take(whitespace)
    const char = text.charAt(at)
    if (expects === 'value' || expects === 'value or ]') {
      if (char === ']' && expects === 'value or ]') {
        at += 1
        open.pop()
        expects = ', or end'
      } else if (char === '{' || char === '[') {
        at += 1
        open.push(char)
        expects = char === '{' ? 'key or }' : 'value or ]'
      } else if (char === '"') {
        if (!takeString()) return mistakeAt(text, at, inString)
        expects = ', or end'
      } else if (take(scalar)) expects = ', or end'
      else return mistakeAt(text, at, expects === 'value' ? 'a value' : 'a value or ]')
    } else if (expects === 'key' || expects === 'key or }') {
      if (char === '}' && expects === 'key or }') {
        at += 1
        open.pop()
        expects = ', or end'
      } else if (char !== '"') return mistakeAt(text, at, expects === 'key' ? 'a quoted name' : 'a quoted name or }')
      else if (!takeString()) return mistakeAt(text, at, inString)
      else expects = ':'
    } else if (expects === ':') {
      if (char !== ':') return mistakeAt(text, at, 'a colon')
      at += 1
      expects = 'value'
    } else {
      const inside = open.at(-1)
      if (inside === undefined) return mistakeAt(text, at, 'the end')
      if (char === ',') expects = inside === '{' ? 'key' : 'value'
      else if (char === (inside === '{' ? '}' : ']')) open.pop()
      else return mistakeAt(text, at, inside === '{' ? 'a comma or }' : 'a comma or ]')
      at += 1
    }
  }
}

const inString = 'the rest of a string, escaped where it needs it'

function mistakeAt(text: string, position: number, expected: string): JsonMistake {
  const before = text.slice(0, position)
  const lineStart = before.lastIndexOf('\n') + 1
  let line = 1
  for (let at = before.indexOf('\n'); at !== -1; at = before.indexOf('\n', at + 1)) line += 1
  return { line, column: position - lineStart + 1, expected }
}
