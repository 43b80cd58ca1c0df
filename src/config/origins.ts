/**
 * Where each value of a configuration was found: file and line, or the environment variable. So that a mistake can be shown at
 * its place, and an operator can see why a setting is what it is. Knows positions only, and no value.
 */
import { type Document, isMap, isScalar, isSeq, type LineCounter, type Node } from 'yaml'

export interface Origin {
  /** Of a variable: the `.env` that sets it; undefined where it is one of the process. */
  readonly file?: string
  readonly line?: number
  readonly environment?: string
}

export class Origins {
  readonly #origins = new Map<string, Origin>()
  #file = ''
  #lines: ReadonlyMap<string, number> = new Map()

  /** What is stated from now on stands in this file. */
  beginFile(file: string, document: Document.Parsed, lines: LineCounter): void {
    this.#file = file
    this.#lines = linesByKey(document, lines)
  }

  /** The current file says something there. */
  stated(key: string): void {
    this.#origins.set(key, this.here(key))
  }

  /** The place of that key in the current file, whether or not it says anything there. */
  here(key: string): Origin {
    const line = this.#lines.get(key)
    return { file: this.#file, ...(line !== undefined && { line }) }
  }

  fromEnvironment(key: string, variable: Origin): void {
    this.#origins.set(key, variable)
  }

  /** Undefined: nothing is stated there, so that a default holds. */
  of(key: string): Origin | undefined {
    return this.#origins.get(key)
  }

  /** Of the value there, or else of what it is a part of. */
  near(key: string): Origin | undefined {
    for (let place = key; place !== ''; place = place.replace(/(^|\.|\[)[^.[]*$/, '')) {
      const origin = this.#origins.get(place)
      if (origin !== undefined) return origin
    }
    return undefined
  }
}

/** `FILE:LINE`, as editors and terminals understand it; undefined where no file says it. */
export function placeOf({ file, line }: Origin): string | undefined {
  if (file === undefined) return undefined
  return line === undefined ? file : `${file}:${line}`
}

/** `NAME=…` in a file of variables, as far as it can be found. */
export function variableIn(file: string, text: string, name: string): Origin {
  const index = text.split('\n').findIndex((line) => new RegExp(`^\\s*(?:export\\s+)?${name}\\s*=`).test(line))
  return { environment: name, file, ...(index !== -1 && { line: index + 1 }) }
}

/** Of each key, and each item of a list, the line on which it begins. */
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
