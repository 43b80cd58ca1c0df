/**
 * Where each value of a configuration was found: file and line, or environment variable, so that a mistake can be shown in its
 * place, and an operator can see why a setting is what it is. Knows only positions, no values.
 */
import { type Document, isMap, isScalar, isSeq, type LineCounter, type Node } from 'yaml'

export interface Origin {
  /** For a variable: the `.env` file that sets it; undefined where the process's environment does. */
  readonly file?: string
  readonly line?: number
  readonly environment?: string
}

export class Origins {
  readonly #origins = new Map<string, Origin>()
  #file = ''
  #lines: ReadonlyMap<string, number> = new Map()

  /** Everything recorded from now on is in this file. */
  beginFile(file: string, document: Document.Parsed, lines: LineCounter): void {
    this.#file = file
    this.#lines = linesByKey(document, lines)
  }

  /** The current file states a value for that key. */
  stated(key: string): void {
    this.#origins.set(key, this.here(key))
  }

  /** The place of that key in the current file, whether or not it has a value there. */
  here(key: string): Origin {
    const line = this.#lines.get(key)
    return { file: this.#file, ...(line !== undefined && { line }) }
  }

  fromEnvironment(key: string, variable: Origin): void {
    this.#origins.set(key, variable)
  }

  /** Undefined: not stated anywhere, so the default applies. */
  of(key: string): Origin | undefined {
    return this.#origins.get(key)
  }

  /** The origin of the value, or else of what contains it. */
  near(key: string): Origin | undefined {
    for (let place = key; place !== ''; place = place.replace(/(^|\.|\[)[^.[]*$/, '')) {
      const origin = this.#origins.get(place)
      if (origin !== undefined) return origin
    }
    return undefined
  }
}

/** `FILE:LINE`, as editors and terminals understand it; undefined where it is not from a file. */
export function placeOf({ file, line }: Origin): string | undefined {
  if (file === undefined) return undefined
  return line === undefined ? file : `${file}:${line}`
}

/** The line with `NAME=…` in a file of variables, as far as it can be found. */
export function variableIn(file: string, text: string, name: string): Origin {
  const index = text.split('\n').findIndex((line) => new RegExp(`^\\s*(?:export\\s+)?${name}\\s*=`).test(line))
  return { environment: name, file, ...(index !== -1 && { line: index + 1 }) }
}

/** The line on which each key, and each item of a list, begins. */
function linesByKey({ contents }: Document.Parsed, counter: LineCounter): Map<string, number> {
  const lines = new Map<string, number>()
  function note(key: string, node: Node | null | undefined): void {
    const start = node?.range?.[0]
    if (start !== undefined) lines.set(key, counter.linePos(start).line)
  }
  function visit(node: unknown, path: string): void {
    if (isMap<Node, Node | null>(node)) {
      for (const { key, value } of node.items) {
        const name = isScalar(key) ? String(key.value) : ''
        const childPath = path === '' ? name : `${path}.${name}`
        note(childPath, key)
        visit(value, childPath)
      }
    } else if (isSeq<Node | null>(node)) {
      for (const [index, item] of node.items.entries()) {
        note(`${path}[${index}]`, item)
        visit(item, `${path}[${index}]`)
      }
    }
  }
  visit(contents, '')
  return lines
}
