// From a body's bytes to a JSON value: content type, strict UTF-8, JSON; each failure is a 4xx that says what is wrong and
// where, and never quotes the body. Knows nothing of what the value should be.
import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import { httpError } from './errors.ts'
import { findJsonMistake } from './find-json-mistake.ts'
import { type BodyLimits, readBody } from './read-body.ts'

const jsonType = /^application\/(?:[a-z0-9.+-]+\+)?json[ \t]*(?:;|$)/i
const linesType = /^application\/x-ndjson[ \t]*(?:;|$)/i
const charset = /;[ \t]*charset[ \t]*=[ \t]*"?([^";\s]+)/i

/** 415 for a body that declares itself anything but JSON in UTF-8. No declaration is fine: the original requires none. */
export function requireJson(request: IncomingMessage): void {
  requireUncompressed(request)
  const type = request.headers['content-type']
  if (type === 'application/json' || type === undefined || type === '') return
  if (!jsonType.test(type)) throw httpError(415, 'The body must be JSON: Content-Type: application/json.')
  requireUtf8(type)
}

/** Whether the body declares that each of its lines is a JSON text. */
export function sendsLines(request: IncomingMessage): boolean {
  const type = request.headers['content-type']
  return type !== undefined && linesType.test(type)
}

/** 415 for lines declared as compressed, or as anything but UTF-8. */
export function requireLines(request: IncomingMessage): void {
  requireUncompressed(request)
  requireUtf8(request.headers['content-type'] ?? '')
}

function requireUncompressed(request: IncomingMessage): void {
  const encoding = request.headers['content-encoding']
  if (encoding !== undefined && encoding !== '' && encoding.toLowerCase() !== 'identity') {
    throw httpError(415, 'Compressed bodies are not supported: send it without Content-Encoding.')
  }
}

function requireUtf8(type: string): void {
  const named = charset.exec(type)?.[1]
  if (named === undefined || /^(?:utf-?8|us-ascii)$/i.test(named)) return
  throw httpError(415, 'The body must be UTF-8: leave the charset out of Content-Type, or say charset=utf-8.')
}

/** The body of a call that is not performance-critical. An empty body counts as {}, as in the original. */
export async function jsonBodyOf(request: IncomingMessage, limits: BodyLimits): Promise<unknown> {
  requireJson(request)
  const bytes = await readBody(request, limits)
  return bytes.length === 0 ? {} : parseJson(bytes)
}

const byteOrderMark = 0xfeff

/** 400 where the bytes are not UTF-8 or the text is not JSON. A leading byte order mark is skipped. */
export function parseJson(body: Buffer): unknown {
  if (!isUtf8(body)) throw httpError(400, 'The body is not valid UTF-8.')
  const text = textOf(body)
  try {
    return JSON.parse(text)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    if (text.trim() === '') throw httpError(400, 'The body is empty; a JSON object is expected.')
    const { line, column, expected } = findJsonMistake(text)
    throw httpError(400, `The body is not valid JSON: at line ${line}, column ${column}, ${expected} is expected.`, {
      line,
      column,
    })
  }
}

/** As `parseJson`, for one of many lines; `number` counts from 1. */
export function parseJsonLine(line: Buffer, number: number): unknown {
  if (!isUtf8(line)) throw httpError(400, `Line ${number} is not valid UTF-8.`, { line: number })
  const text = textOf(line)
  try {
    return JSON.parse(text)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    const { column, expected } = findJsonMistake(text)
    const words = `Line ${number} is not valid JSON: at column ${column}, ${expected} is expected.`
    throw httpError(400, words, { line: number, column })
  }
}

function textOf(bytes: Buffer): string {
  const decoded = bytes.toString('utf8')
  return decoded.charCodeAt(0) === byteOrderMark ? decoded.slice(1) : decoded
}
