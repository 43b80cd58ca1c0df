/**
 * The durable topics, as bytes for a checkpoint of the log and back. It is written while the world goes on: each piece
 * says as of which number its topics are told, and the checkpoint as a whole counts from the number at which it was
 * begun. Whoever restores it folds what came behind once more, which changes nothing that is known already.
 *
 *   piece  u16 version, u16 reserved, u32 rows, u64 asOf, then the rows
 *   row    12 × u64 (see `columns`), 32 bytes of SHA-256, u16 bytes of the name, the name in UTF-8
 *
 * A limit that there is not is 0, and so is a name; bytes that are not of this form are told as an EntryError.
 */

import { EntryError } from './entry.ts'
import type { Feed } from './feed.ts'
import type { Offset } from './ports.ts'
import { isUnlimited, unlimited } from './retention.ts'
import { HostedTopic } from './topic.ts'

export interface SnapshotTopic {
  readonly topic: HostedTopic
  /** Its figures count its events up to this number. */
  readonly asOf: Offset
}

const VERSION = 1
const HEAD_BYTES = 16
const SHA256_BYTES = 32
/** So much is told in one turn of the event loop. */
const PIECE_BYTES = 128 * 1024
const NAME_BYTES_LIMIT = 0xffff
const HIGH = 2 ** 32

type Column = (topic: HostedTopic) => number

/** In the order of the bytes; `fields` below reads them back. */
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
const FIXED_BYTES = 8 * columns.length + SHA256_BYTES + 2

/** Pieces, each of one turn. `topics` may change between them: who goes meanwhile may be told or not. */
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
    const nameAt = at + FIXED_BYTES
    const end = nameAt + source.readUInt16LE(nameAt - 2)
    if (end > source.length) throw malformed()
    topics.push({ topic: decodeRow(source, at, end, feed), asOf })
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
  const row = Buffer.allocUnsafe(FIXED_BYTES + name.length)
  for (const [i, column] of columns.entries()) writeU64(row, column(topic), 8 * i)
  row.set(topic.tokenSha256, 8 * columns.length)
  row.writeUInt16LE(name.length, FIXED_BYTES - 2)
  row.set(name, FIXED_BYTES)
  return row
}

function decodeRow(source: Buffer, at: number, end: number, feed: Feed): HostedTopic {
  const field = (i: number) => readU64(source, at + 8 * i)
  const limit = (i: number) => field(i) || undefined
  const retention = { maxAgeMs: limit(9), maxBytes: limit(10), maxEvents: limit(11) }
  const hashAt = at + 8 * columns.length
  const topic = new HostedTopic(feed, {
    streamId: field(0),
    createdAtMs: field(1),
    name: source.toString('utf8', at + FIXED_BYTES, end) || undefined,
    retention: isUnlimited(retention) ? unlimited : retention,
    tokenSha256: source.subarray(hashAt, hashAt + SHA256_BYTES),
  })
  topic.events = field(2)
  topic.bytes = field(3)
  topic.latest = field(4)
  topic.dropped = field(5)
  const entries = { droppedThrough: field(6), settingsOffset: field(7), droppedOffset: field(8) }
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
