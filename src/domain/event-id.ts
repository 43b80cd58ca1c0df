/**
 * Numbers as they appear on the wire: 11 characters of base62 (`0-9A-Za-z`, in that order), zero-padded on the left. On
 * input a shorter form means the same number.
 *
 * Event ids are the log's numbers, below 2^53, and so plain numbers. Topic ids may have 63 bits on the wire; the
 * alphabet is in ASCII order, so that padded ids compare as their numbers do, and a canonical string is all that the domain
 * needs of them.
 */

import assert from 'node:assert/strict'

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const ID_CHARACTERS = 11
const LOW_DIGITS = 5
/** 62^5: splits a number into two parts that each fit a 32-bit integer, where division is fast. */
const LOW_RANGE = 62 ** LOW_DIGITS
const PAIR_RANGE = 62 * 62

const EVENT_ID_MAX = '00fFgnDxSe7' // 2^53 - 1
const TOPIC_ID_MAX = 'AzL8n0Y58m7' // 2^63 - 1

const digitOfCode: Int8Array = makeDigits()
const pairs: readonly string[] = makePairs()

/** The wire form of an event's number: a safe integer from 0. */
export function formatEventId(number: number): string {
  assert(Number.isSafeInteger(number) && number >= 0, 'an event id is a safe integer from 0')
  const high = Math.floor(number / LOW_RANGE)
  const low = number - high * LOW_RANGE
  // `high` is below 62^4, which leaves the first two of the eleven characters zero.
  const highRest = (high / PAIR_RANGE) | 0
  const lowRest = (low / 62) | 0
  const lowFirst = (lowRest / PAIR_RANGE) | 0
  return (
    '00' +
    pairs[highRest]! +
    pairs[high - highRest * PAIR_RANGE]! +
    pairs[lowFirst]! +
    pairs[lowRest - lowFirst * PAIR_RANGE]! +
    ALPHABET[low - lowRest * 62]!
  )
}

/** The number of an event id of 1 to 11 characters; undefined where it is not base62, or is over 2^53 - 1. */
export function parseEventId(text: string): number | undefined {
  const id = canonicalId(text, EVENT_ID_MAX)
  if (id === undefined) return undefined
  return digits(id, 0, ID_CHARACTERS - LOW_DIGITS) * LOW_RANGE + digits(id, ID_CHARACTERS - LOW_DIGITS, ID_CHARACTERS)
}

/** The 11 characters of a topic id of 1 to 11 characters; undefined where it is not base62, or is over 2^63 - 1. */
export function parseTopicId(text: string): string | undefined {
  return canonicalId(text, TOPIC_ID_MAX)
}

function canonicalId(text: string, idMax: string): string | undefined {
  if (text.length === 0 || text.length > ID_CHARACTERS) return undefined
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index)
    if (code >= digitOfCode.length || digitOfCode[code] === -1) return undefined
  }
  const id = text.length === ID_CHARACTERS ? text : text.padStart(ID_CHARACTERS, '0')
  return id <= idMax ? id : undefined
}

function digits(id: string, start: number, end: number): number {
  let value = 0
  for (let index = start; index < end; index++) value = value * 62 + digitOfCode[id.charCodeAt(index)]!
  return value
}

function makeDigits(): Int8Array {
  const table = new Int8Array(128).fill(-1)
  for (let digit = 0; digit < ALPHABET.length; digit++) table[ALPHABET.charCodeAt(digit)] = digit
  return table
}

function makePairs(): string[] {
  const table: string[] = []
  for (const first of ALPHABET) for (const second of ALPHABET) table.push(first + second)
  return table
}
