/**
 * The durable topics encoded for a checkpoint of the log, and back. It is written while the server runs: each piece says as
 * of which number its topics are described, and the checkpoint as a whole counts from the number at which it was begun.
 * Whoever restores it folds everything after that again, which changes nothing that is already known.
 *
 *   piece  u16 version, u16 reserved, u32 rows, u64 asOf, then the rows
 *   row    12 × u64 (see `columns`), 32 bytes of SHA-256, u32 bytes of the further tokens, u16 bytes of the name, the
 *          tokens, the name in UTF-8
 *   token  u64 its number, u32 bytes, the payload of the entry that issued it
 *
 * Zero stands for an absent limit, and for an absent name; bytes not of this form are reported as an EntryError.
 */

import { decodeTokenIssued, EntryError, encodeTokenIssued } from './entry.ts'
import type { Feed } from './feed.ts'
import type { Offset } from './ports.ts'
import { isUnlimited, unlimited } from './retention.ts'
import { HostedTopic } from './topic.ts'
import type { TopicToken } from './topic-token.ts'

export interface SnapshotTopic {
  readonly topic: HostedTopic
  /** Its figures include its events up to this number. */
  readonly asOf: Offset
}

const VERSION = 2
const HEAD_BYTES = 16
const SHA256_BYTES = 32
/** How much is encoded in one turn of the event loop. */
const PIECE_BYTES = 128 * 1024
const NAME_BYTES_LIMIT = 0xffff
const HIGH = 2 ** 32

type Column = (topic: HostedTopic) => number

/** In the order of the bytes; `decodeRow` reads them back. */
const columns: readonly Column[] = [
  (topic) => topic.streamId,
  (topic) => topic.createdAtMs,
  (topic) => topic.events,
  (topic) => topic.bytes,
  (topic) => topic.latest,
  (topic) => topic.dropped,
  (topic) => topic.droppedDurably,
  (topic) => topic.entries?.settingsOffset ?? 0,
  (topic) => topic.entries?.droppedOffset ?? 0,
  (topic) => topic.retention.maxAgeMs ?? 0,
  (topic) => topic.retention.maxBytes ?? 0,
  (topic) => topic.retention.maxEvents ?? 0,
]
const FIXED_BYTES = 8 * columns.length + SHA256_BYTES + 4 + 2
const TOKEN_HEAD_BYTES = 8 + 4
const NO_TOKENS = Buffer.alloc(0)

/** Pieces of one turn each. `topics` may change in between: a topic deleted meanwhile may be included or not. */
export function* encodeSnapshot(topics: Iterable<HostedTopic>, feed: Feed): Generator<Uint8Array> {
  let rows: Buffer[] = []
  let bytes = 0
  for (const topic of topics) {
    if (topic.feed !== feed) continue
    const row = encodeRow(topic)
    rows.push(row)
    bytes += row.length
    if (bytes < PIECE_BYTES) continue
    yield piece(rows, feed.dispatched)
    rows = []
    bytes = 0
  }
  if (rows.length > 0) yield piece(rows, feed.dispatched)
}

/** Throws EntryError. */
export function decodeSnapshot(bytes: Uint8Array, feed: Feed): readonly SnapshotTopic[] {
  const source = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  if (source.length < HEAD_BYTES) throw malformed()
  const version = source.readUInt16LE(0)
  if (version !== VERSION) {
    throw new EntryError('ENTRY_NEWER', `A checkpoint has version ${version}; this program reads version ${VERSION}.`)
  }
  const rows = source.readUInt32LE(4)
  const asOf = readU64(source, 8)
  const topics: SnapshotTopic[] = []
  let at = HEAD_BYTES
  for (let row = 0; row < rows; row += 1) {
    if (at + FIXED_BYTES > source.length) throw malformed()
    const nameAt = at + FIXED_BYTES + source.readUInt32LE(at + FIXED_BYTES - 6)
    const end = nameAt + source.readUInt16LE(at + FIXED_BYTES - 2)
    if (end > source.length) throw malformed()
    topics.push({ topic: decodeRow(source, at, nameAt, end, feed), asOf })
    at = end
  }
  if (at !== source.length) throw malformed()
  return topics
}

function piece(rows: readonly Buffer[], asOf: Offset): Buffer {
  const head = Buffer.alloc(HEAD_BYTES)
  head.writeUInt16LE(VERSION, 0)
  head.writeUInt32LE(rows.length, 4)
  writeU64(head, asOf, 8)
  return Buffer.concat([head, ...rows])
}

function encodeRow(topic: HostedTopic): Buffer {
  const name = Buffer.from(topic.name ?? '', 'utf8').subarray(0, NAME_BYTES_LIMIT)
  const tokens = topic.furtherTokens === undefined ? NO_TOKENS : encodeTokens(topic, topic.furtherTokens)
  const row = Buffer.allocUnsafe(FIXED_BYTES + tokens.length + name.length)
  for (const [i, column] of columns.entries()) writeU64(row, column(topic), 8 * i)
  row.set(topic.tokenSha256, 8 * columns.length)
  row.writeUInt32LE(tokens.length, FIXED_BYTES - 6)
  row.writeUInt16LE(name.length, FIXED_BYTES - 2)
  row.set(tokens, FIXED_BYTES)
  row.set(name, FIXED_BYTES + tokens.length)
  return row
}

function encodeTokens(topic: HostedTopic, tokens: ReadonlyMap<Offset, TopicToken>): Buffer {
  return Buffer.concat(
    [...tokens].flatMap(([number, token]) => {
      const payload = encodeTokenIssued({ topic: topic.streamId, token })
      const head = Buffer.alloc(TOKEN_HEAD_BYTES)
      writeU64(head, number, 0)
      head.writeUInt32LE(payload.length, 8)
      return [head, payload]
    }),
  )
}

function decodeTokens(source: Buffer): Map<Offset, TopicToken> | undefined {
  const tokens = new Map<Offset, TopicToken>()
  for (let at = 0; at < source.length; ) {
    if (at + TOKEN_HEAD_BYTES > source.length) throw malformed()
    const number = readU64(source, at)
    const begin = at + TOKEN_HEAD_BYTES
    const end = begin + source.readUInt32LE(at + 8)
    if (end > source.length || tokens.has(number)) throw malformed()
    tokens.set(number, { ...decodeTokenIssued(source.subarray(begin, end)).token, number })
    at = end
  }
  return tokens.size === 0 ? undefined : tokens
}

function decodeRow(source: Buffer, at: number, nameAt: number, end: number, feed: Feed): HostedTopic {
  const field = (i: number) => readU64(source, at + 8 * i)
  const limit = (i: number) => field(i) || undefined
  const retention = { maxAgeMs: limit(9), maxBytes: limit(10), maxEvents: limit(11) }
  const hashAt = at + 8 * columns.length
  const topic = new HostedTopic(feed, {
    streamId: field(0),
    createdAtMs: field(1),
    name: source.toString('utf8', nameAt, end) || undefined,
    retention: isUnlimited(retention) ? unlimited : retention,
    tokenSha256: source.subarray(hashAt, hashAt + SHA256_BYTES),
  })
  topic.events = field(2)
  topic.bytes = field(3)
  topic.latest = field(4)
  topic.dropped = field(5)
  const entries = { droppedThrough: field(6), settingsOffset: field(7), droppedOffset: field(8) }
  topic.furtherTokens = decodeTokens(source.subarray(at + FIXED_BYTES, nameAt))
  if (entries.settingsOffset > 0 || entries.droppedOffset > 0) topic.entries = entries
  return topic
}

function writeU64(target: Buffer, value: number, at: number): void {
  target.writeUInt32LE(value % HIGH, at)
  target.writeUInt32LE(Math.floor(value / HIGH), at + 4)
}

function readU64(source: Buffer, at: number): number {
  const value = source.readUInt32LE(at) + source.readUInt32LE(at + 4) * HIGH
  if (Number.isSafeInteger(value)) return value
  throw malformed()
}

function malformed(): EntryError {
  return new EntryError('ENTRY_MALFORMED', 'A checkpoint does not hold topics in the form that is known here.')
}
