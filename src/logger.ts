/**
 * The server's log for its operator: one line per event, as JSON, or human-readable where the output is a terminal. Promises
 * that no token, message body or query string is written, whatever is passed in: anything that looks like a secret by its name,
 * form or value is replaced, objects of classes (requests, sockets, buffers) are named but not shown, and control characters
 * cannot forge a line. Knows nothing of the rest of the server.
 */
import { writeSync } from 'node:fs'
import { type DestinationStream, pino } from 'pino'
import { prettyFactory } from 'pino-pretty'

export type LogFields = Readonly<Record<string, unknown>>

/** What the rest of the server logs through. `message` is a constant sentence; variable parts go into `fields`. */
export interface Logger {
  debug(fields: LogFields, message: string): void
  info(fields: LogFields, message: string): void
  warn(fields: LogFields, message: string): void
  error(fields: LogFields, message: string): void
}

export interface LoggerOptions {
  readonly level: 'debug' | 'info' | 'warn' | 'error' | 'silent'
  /** Values that must never be written, such as the access tokens. Those shorter than 4 characters are not searched for. */
  readonly secrets?: readonly string[]
  /** Default: standard output. */
  readonly destination?: DestinationStream
  /** Human-readable instead of JSON. Default: whether standard output is a terminal. */
  readonly pretty?: boolean
}

/** The parts of a request that may be logged. */
export interface RequestSummary {
  readonly method: string
  readonly path: string
  readonly remoteAddress: string | undefined
}

const REPLACED = '[redacted]'
const DEPTH_MAX = 5
const ITEMS_MAX = 50
/** How much of a text is examined, and how much of it is shown. The patterns take superlinear time. */
const READ_CHARACTERS_MAX = 4000
const SHOWN_CHARACTERS_MAX = 2000
const PATH_CHARACTERS_MAX = 256
const STACK_LINES_MAX = 12
const SECRET_CHARACTERS_MIN = 4
const STANDARD_OUTPUT = 1
/** How long a line waits for a slow reader of standard output, and in what steps. */
const WAIT_MS_MAX = 1000
const WAIT_STEP_MS = 10

const RESERVED_NAMES = ['level', 'time', 'message']
/** Names of fields whose values are secret, or come from publishers. */
const PRIVATE_NAME = /token|secret|password|authorization|cookie|credential|^(message|body|payload|data|query|search)$/i
/** Secrets recognised by their form: bearer tokens, tokens in a query, and the server's own tokens, of 64 characters. */
const BEARER = /\b(bearer|basic)\s+[^\s"',;]+/gi
const QUERY_TOKEN = /((?:access_)?token|secret|password)=[^\s&"'#]*/gi
const MADE_TOKEN = /(?<![0-9A-Za-z])[0-9A-Za-z]{64}(?![0-9A-Za-z])/g
const TOKEN_START = /[0-9A-Za-z]{1,64}$/
/** The query of a URL or a path, up to where it can end. */
const QUERY = /((?:[a-z][a-z0-9+.-]*:\/\/|\/)[^\s?"'<>]*)\?[^\s"'<>]*/gi
/** Control characters, including C1 and Unicode's two line separators. */
const CONTROL = /[\p{Cc}\u2028\u2029]/gu

export function createLogger(options: LoggerOptions): Logger {
  const {
    level,
    secrets = [],
    destination,
    pretty = destination === undefined && process.stdout.isTTY === true,
  } = options
  const target = destination ?? standardOutput()
  const stream = pretty ? prettyStream(target) : target
  const timestamp = pino.stdTimeFunctions.isoTime
  const formatters = { level: (label: string) => ({ level: label }) }
  const out = pino({ level, base: null, timestamp, formatters, messageKey: 'message' }, stream)
  const redactor = new Redactor(secrets)
  const lineWriter = (name: 'debug' | 'info' | 'warn' | 'error') => (fields: LogFields, message: string) => {
    if (out.isLevelEnabled(name)) out[name](redactor.fields(fields), redactor.text(message))
  }
  return { debug: lineWriter('debug'), info: lineWriter('info'), warn: lineWriter('warn'), error: lineWriter('error') }
}

/** Discards everything: for tests, and for callers that want no log. */
export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} }

/** Method, path without the query, and the client's address: what a log line may say about a request. */
export function requestSummary(request: {
  readonly method?: string | undefined
  readonly url?: string | undefined
  readonly socket?: { readonly remoteAddress?: string | undefined } | undefined
}): RequestSummary {
  const [path = ''] = (request.url ?? '').split(/[?#]/, 1)
  return {
    method: request.method ?? '',
    path: path.slice(0, PATH_CHARACTERS_MAX),
    remoteAddress: request.socket?.remoteAddress,
  }
}

/**
 * Writes synchronously: lines are few, and the last ones before the process ends matter most. A line that cannot be written (the
 * log file's disk is full, the program at the other end of the pipe is gone or has stopped reading) is lost, and the server
 * carries on; the next line is attempted again.
 */
function standardOutput(): DestinationStream {
  const sleeper = new Int32Array(new SharedArrayBuffer(4))
  let isReaderStuck = false
  return {
    write(line) {
      let rest = Buffer.from(line)
      let waitedMs = 0
      while (rest.length > 0) {
        try {
          rest = rest.subarray(writeSync(STANDARD_OUTPUT, rest))
          isReaderStuck = false
        } catch (error) {
          const isSlow = error instanceof Error && 'code' in error && error.code === 'EAGAIN'
          // Only the first line waits for a reader that has stopped: the whole server waits with it.
          if (!isSlow || isReaderStuck || waitedMs >= WAIT_MS_MAX) {
            isReaderStuck = isSlow
            return
          }
          Atomics.wait(sleeper, 0, 0, WAIT_STEP_MS)
          waitedMs += WAIT_STEP_MS
        }
      }
    },
  }
}

/** Formats line by line, synchronously: a stream in between could still hold the last lines when the process ends. */
function prettyStream(target: DestinationStream): DestinationStream {
  const prettify = prettyFactory({
    singleLine: true,
    colorize: process.stdout.isTTY === true,
    messageKey: 'message',
    errorLikeObjectKeys: [],
    translateTime: 'SYS:HH:MM:ss.l',
  })
  return { write: (line: string) => target.write(prettify(line)) }
}

/** Turns what was passed in into plain values that may be shown. */
class Redactor {
  readonly #secrets: readonly string[]

  constructor(secrets: readonly string[]) {
    this.#secrets = secrets.filter((secret) => secret.length >= SECRET_CHARACTERS_MIN)
  }

  fields(fields: object, depth = 0): Record<string, unknown> {
    const shown: Record<string, unknown> = {}
    for (const [name, value] of Object.entries(fields).slice(0, ITEMS_MAX)) {
      // A boolean or a number under such a name (`tokenMade`, `tokens`) is not secret.
      const hidden = PRIVATE_NAME.test(name) && typeof value !== 'boolean' && typeof value !== 'number'
      // Pino uses these names itself.
      const free = depth === 0 && RESERVED_NAMES.includes(name) ? `${name}_` : name
      shown[this.text(free)] = hidden && value !== undefined ? REPLACED : this.#value(value, depth)
    }
    return shown
  }

  text(text: string): string {
    let shown = text
    for (const secret of this.#secrets) shown = shown.replaceAll(secret, REPLACED)
    // A cut could leave the beginning of a token, which no pattern recognises any more, so that is cut off too.
    if (shown.length > READ_CHARACTERS_MAX) shown = shown.slice(0, READ_CHARACTERS_MAX).replace(TOKEN_START, '')
    shown = shown
      .replace(QUERY, '$1')
      .replace(BEARER, `$1 ${REPLACED}`)
      .replace(QUERY_TOKEN, `$1=${REPLACED}`)
      .replace(MADE_TOKEN, REPLACED)
      .replace(CONTROL, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
    return shown.length > SHOWN_CHARACTERS_MAX ? `${shown.slice(0, SHOWN_CHARACTERS_MAX)}…` : shown
  }

  #value(value: unknown, depth: number): unknown {
    switch (typeof value) {
      case 'string':
        return this.text(value)
      case 'bigint':
        return value.toString()
      case 'object':
        return value === null ? null : this.#object(value, depth + 1)
      case 'function':
      case 'symbol':
        return `[${typeof value}]`
      default:
        return value
    }
  }

  #object(value: object, depth: number): unknown {
    if (depth > DEPTH_MAX) return '[…]'
    if (value instanceof Error) return this.#error(value, depth)
    if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'no valid date' : value.toISOString()
    if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`
    if (Array.isArray(value)) return value.slice(0, ITEMS_MAX).map((item: unknown) => this.#value(item, depth))
    const prototype: unknown = Object.getPrototypeOf(value)
    if (prototype === Object.prototype || prototype === null) return this.fields(value, depth)
    return `[${value.constructor.name}]`
  }

  /** Only what every error has: other properties may hold a request or its body. */
  #error(error: Error, depth: number): Record<string, unknown> {
    const code = 'code' in error ? error.code : undefined
    const frames = (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line))
    return {
      name: this.text(error.name),
      ...(typeof code === 'string' && { code: this.text(code) }),
      what: this.text(error.message),
      ...(error.cause !== undefined && { cause: this.#value(error.cause, depth) }),
      stack: frames.slice(0, STACK_LINES_MAX).map((line) => this.text(line.trim())),
    }
  }
}
