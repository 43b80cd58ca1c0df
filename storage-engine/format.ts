/**
 * The bytes of the log, in one place: segment header, batch, record, footer. Shared by writer, reader and recovery;
 * docs/log-format.md says the same in words, with an example. Pure: no files, no clock, no state.
 *
 * Everything is little-endian and starts at a multiple of 8. 64-bit numbers stay below 2^53.
 *
 * Every CRC starts from `seed ^ position`, where the seed stands for the log's identity and the segment's generation. A
 * CRC maps different start values to different results, so intact bytes in another place, another segment or another
 * log never verify.
 */

import { crc32 } from 'node:zlib'
import { crcOf } from './crc.ts'
import { carried } from './crc-carry.ts'

/** A record's number in the log: ascending, with holes, never reused, below 2^53. */
export type Offset = number

export const FORMAT_VERSION = 1

export const HEADER_BYTES = 128
export const BATCH_HEADER_BYTES = 64
export const RECORD_HEADER_BYTES = 40
export const FOOTER_BYTES = 96

/** Streams of the engine and of the domain's catalogue; all others are numbers of entries, which are never so small. */
export const ENGINE_STREAM = 0
export const CATALOG_STREAM = 1

/** No batch is larger, so that a damaged length never makes a reader allocate more. */
export const BATCH_BYTES_LIMIT = 64 * 1024 * 1024
export const KEY_BYTES_LIMIT = 0xffff
export const OFFSET_LIMIT = Number.MAX_SAFE_INTEGER

const SEGMENT_MAGIC = Buffer.from('SSERLOG\0', 'latin1')
/** "SBAT" */
export const BATCH_MAGIC = 0x54414253
/** "SEND" */
export const FOOTER_MAGIC = 0x444e4553

/** Records lie in the order of their numbers, as they were written. */
export const ORDER_BY_OFFSET = 0
/** Records lie by stream, then by number, as compaction writes them. */
export const ORDER_BY_STREAM = 1
export type RecordOrder = typeof ORDER_BY_OFFSET | typeof ORDER_BY_STREAM

export function aligned(bytes: number): number {
  return (bytes + 7) & ~7
}

// Byte by byte, since these run several times for each record: Buffer's own methods, which check what they are given, take
// five times as long. Whoever calls them has made sure that the bytes are there.

function writeU32(target: Uint8Array, value: number, position: number): void {
  target[position] = value
  target[position + 1] = value >>> 8
  target[position + 2] = value >>> 16
  target[position + 3] = value >>> 24
}

function readU32(source: Uint8Array, position: number): number {
  const upper = (source[position + 2]! << 16) | (source[position + 3]! << 24)
  return (source[position]! | (source[position + 1]! << 8) | upper) >>> 0
}

function readU16(source: Uint8Array, position: number): number {
  return source[position]! | (source[position + 1]! << 8)
}

export function writeU64(target: Uint8Array, value: number, position: number): void {
  const low = value >>> 0
  writeU32(target, low, position)
  writeU32(target, (value - low) / 0x1_0000_0000, position + 4)
}

export function readU64(source: Uint8Array, position: number): number {
  return readU32(source, position + 4) * 0x1_0000_0000 + readU32(source, position)
}

/** What every CRC of a segment starts from, before its position is mixed in. */
export function segmentSeed(identity: Uint8Array, generation: number): number {
  const bytes = Buffer.alloc(24)
  bytes.set(identity, 0)
  writeU64(bytes, generation, 16)
  return crc32(bytes)
}

/** A checksum of bytes that lie at `position` of the segment with that seed. */
export function placedCrc(bytes: Uint8Array, seed: number, position: number): number {
  return crc32(bytes, (seed ^ position) >>> 0)
}

// Segment header

export interface SegmentHeader {
  /** 128 random bits; the same in every segment of one log. */
  readonly identity: Uint8Array
  readonly generation: number
  readonly order: RecordOrder
  /** Generation of the segment before this one; 0 for the first of a log. */
  readonly predecessor: number
  /** Where the predecessor ends, if this segment was made by a recovery; 0: the predecessor's own footer says it. */
  readonly predecessorEnd: number
  /** Content up to here was durable before the file got its name. */
  readonly contentEnd: number
  readonly createdMs: number
  /**
   * The place in the log: generations of the first and the last of the rolled segments that this one stands for. One
   * that was rolled stands for itself.
   */
  readonly placeFrom: number
  readonly placeThrough: number
  /** The highest number that the inputs of a compaction run ever held, dropped ones included; 0 where there are none. */
  readonly coveredLast: Offset
  /** The highest ceiling that was known to be durable when the compaction run began; 0 where there was none. */
  readonly ceiling: Offset
  /** Generations that a compaction run read and wrote; empty for a segment that was rolled. */
  readonly inputs: readonly number[]
  readonly outputs: readonly number[]
}

/** The header of a segment that is written by number, as opposed to one that a compaction writes. */
export function rolledHeader(
  fields: Pick<
    SegmentHeader,
    'identity' | 'generation' | 'predecessor' | 'predecessorEnd' | 'contentEnd' | 'createdMs'
  >,
): SegmentHeader {
  const place = { placeFrom: fields.generation, placeThrough: fields.generation }
  return { ...fields, ...place, order: ORDER_BY_OFFSET, coveredLast: 0, ceiling: 0, inputs: [], outputs: [] }
}

export function headerBytes(header: SegmentHeader): number {
  return HEADER_BYTES + 8 * (header.inputs.length + header.outputs.length)
}

export function encodeHeader(header: SegmentHeader): Buffer {
  const length = headerBytes(header)
  const bytes = Buffer.alloc(length)
  bytes.set(SEGMENT_MAGIC, 0)
  bytes.writeUInt32LE(FORMAT_VERSION, 8)
  bytes.writeUInt32LE(length, 16)
  bytes.writeUInt32LE(header.order, 20)
  bytes.set(header.identity, 24)
  writeU64(bytes, header.generation, 40)
  writeU64(bytes, header.predecessor, 48)
  writeU64(bytes, header.predecessorEnd, 56)
  writeU64(bytes, header.contentEnd, 64)
  writeU64(bytes, header.createdMs, 72)
  bytes.writeUInt32LE(header.inputs.length, 80)
  bytes.writeUInt32LE(header.outputs.length, 84)
  // A place of its own is written as 0, as it was before there were others.
  writeU64(bytes, header.placeFrom === header.generation ? 0 : header.placeFrom, 88)
  writeU64(bytes, header.placeThrough === header.generation ? 0 : header.placeThrough, 96)
  writeU64(bytes, header.coveredLast, 104)
  writeU64(bytes, header.ceiling, 112)
  for (const [i, generation] of [...header.inputs, ...header.outputs].entries()) {
    writeU64(bytes, generation, HEADER_BYTES + 8 * i)
  }
  bytes.writeUInt32LE(headerCrc(bytes), 12)
  return bytes
}

export type DecodedHeader =
  | { readonly kind: 'header'; readonly header: SegmentHeader; readonly bytes: number }
  /** Verifies, but is of a version that this code does not know. */
  | { readonly kind: 'unknown-version'; readonly version: number }
  | { readonly kind: 'damaged' }

/** `source` is the beginning of a file; a header that does not fit into it counts as damaged. */
export function decodeHeader(source: Buffer): DecodedHeader {
  if (source.length < HEADER_BYTES || !source.subarray(0, 8).equals(SEGMENT_MAGIC)) return { kind: 'damaged' }
  const length = source.readUInt32LE(16)
  if (length < HEADER_BYTES || length > source.length || length % 8 !== 0) return { kind: 'damaged' }
  const bytes = source.subarray(0, length)
  if (bytes.readUInt32LE(12) !== headerCrc(bytes)) return { kind: 'damaged' }
  const version = bytes.readUInt32LE(8)
  if (version !== FORMAT_VERSION) return { kind: 'unknown-version', version }
  const order = bytes.readUInt32LE(20)
  const inputCount = bytes.readUInt32LE(80)
  const outputCount = bytes.readUInt32LE(84)
  if (order !== ORDER_BY_OFFSET && order !== ORDER_BY_STREAM) return { kind: 'damaged' }
  if (length !== HEADER_BYTES + 8 * (inputCount + outputCount)) return { kind: 'damaged' }
  const generations = Array.from({ length: inputCount + outputCount }, (_, i) => readU64(bytes, HEADER_BYTES + 8 * i))
  const generation = readU64(bytes, 40)
  const header: SegmentHeader = {
    identity: Uint8Array.from(bytes.subarray(24, 40)),
    generation,
    order,
    predecessor: readU64(bytes, 48),
    predecessorEnd: readU64(bytes, 56),
    contentEnd: readU64(bytes, 64),
    createdMs: readU64(bytes, 72),
    placeFrom: readU64(bytes, 88) || generation,
    placeThrough: readU64(bytes, 96) || generation,
    coveredLast: readU64(bytes, 104),
    ceiling: readU64(bytes, 112),
    inputs: generations.slice(0, inputCount),
    outputs: generations.slice(inputCount),
  }
  return { kind: 'header', header, bytes: length }
}

/** Covers the magic, the version and everything behind the CRC's own four bytes; later versions keep these places. */
function headerCrc(bytes: Buffer): number {
  return crc32(bytes.subarray(16), crc32(bytes.subarray(0, 12)))
}

// Batch

export interface BatchHeader {
  /** The whole batch, header and padding included. */
  readonly length: number
  readonly crc: number
  /**
   * CRC of the batch before this one in the log, or in the segment where it is ordered by stream; 0 for the first, and
   * where a recovery could not read the one before.
   */
  readonly previousCrc: number
  /** The lowest number of its records; a batch without any bears one of its own. */
  readonly first: Offset
  /** The highest number of its records; `first` for a batch without any. */
  readonly last: Offset
  /** Numbers below it are reserved once this batch is durable. */
  readonly ceiling: Offset
  /** What was known to be durable when this batch was written: everything before this place. */
  readonly syncedGeneration: number
  readonly syncedPosition: number
  readonly count: number
}

/** Writes the header in front of records that are in place; `batch` is the whole batch. Returns its CRC. */
export function sealBatch(
  batch: Buffer,
  fields: Omit<BatchHeader, 'length' | 'crc'>,
  seed: number,
  position: number,
): number {
  batch.writeUInt32LE(BATCH_MAGIC, 0)
  batch.writeUInt32LE(batch.length, 4)
  batch.writeInt32LE(fields.previousCrc | 0, 12)
  writeU64(batch, fields.first, 16)
  writeU64(batch, fields.last, 24)
  writeU64(batch, fields.ceiling, 32)
  writeU64(batch, fields.syncedGeneration, 40)
  batch.writeUInt32LE(fields.syncedPosition, 48)
  batch.writeUInt32LE(fields.count, 52)
  batch.writeUInt32LE(batchHeaderCrc(batch, 0, seed, position), 56)
  batch.writeUInt32LE(0, 60)
  const crc = placedCrc(batch.subarray(12), seed, position)
  batch.writeUInt32LE(crc, 8)
  return crc
}

/**
 * The length of the batch that begins at `at` and will lie, or lies, at `position` of its segment: 0 where no batch
 * header does that verifies. Its records may be damaged all the same. No look-alike that a publisher puts into a
 * message gets a reader to look at more than a header, so that searching behind damage takes linear time.
 */
export function batchLengthAt(source: Buffer, at: number, seed: number, position: number): number {
  if (at + BATCH_HEADER_BYTES > source.length || source.readUInt32LE(at) !== BATCH_MAGIC) return 0
  const length = source.readUInt32LE(at + 4)
  if (length < BATCH_HEADER_BYTES || length > BATCH_BYTES_LIMIT || length % 8 !== 0) return 0
  return source.readUInt32LE(at + 56) === batchHeaderCrc(source, at, seed, position) ? length : 0
}

/** Covers the header but for its two CRCs and what is reserved; the batch's CRC covers this one, too. */
function batchHeaderCrc(source: Buffer, at: number, seed: number, position: number): number {
  return crcOf(source, at + 12, at + 56, crcOf(source, at, at + 8, seed ^ position))
}

/** The header of a batch that is whole and lies where it was written, or undefined. `batch` is exactly the batch. */
export function verifyBatch(batch: Buffer, seed: number, position: number): BatchHeader | undefined {
  const crc = batch.readUInt32LE(8)
  if (placedCrc(batch.subarray(12), seed, position) !== crc) return undefined
  return {
    length: batch.length,
    crc,
    previousCrc: batch.readUInt32LE(12),
    first: readU64(batch, 16),
    last: readU64(batch, 24),
    ceiling: readU64(batch, 32),
    syncedGeneration: readU64(batch, 40),
    syncedPosition: batch.readUInt32LE(48),
    count: batch.readUInt32LE(52),
  }
}

// Record

/** Bytes that are yet to be made: straight where they will lie, which spares a buffer and a copy for each record. */
export interface PayloadWriter {
  readonly length: number
  /** Writes exactly `length` bytes. */
  writeTo(target: Buffer, at: number): void
}

/** What a caller gives to be appended. */
export interface NewRecord<Payload = Uint8Array | PayloadWriter> {
  readonly streamId: number
  /** 1 to 255; 0 is the engine's own. */
  readonly kind: number
  /** Opaque bytes by which the record can be found again within its stream; at most 65,535. */
  readonly key?: Uint8Array | undefined
  readonly payload: Payload
}

/** One framed record. `key` and `payload` are views, valid as long as the giver says. */
export interface LogRecord {
  readonly offset: Offset
  readonly streamId: number
  readonly kind: number
  /** Bytes that it takes in the log, without padding. */
  readonly length: number
  /** Milliseconds since 1970, by the writer's clock: a remark, never an order. */
  readonly timeMs: number
  /** Of length 0 where the record has none. */
  readonly key: Uint8Array
  readonly payload: Uint8Array
}

/** Bytes that a record takes in a batch, padding included. */
export function recordBytes(record: NewRecord): number {
  return aligned(RECORD_HEADER_BYTES + (record.key?.length ?? 0) + record.payload.length)
}

/** Writes all but the CRC, which needs the record's final place (see `sealRecord`). Returns the end, padding included. */
export function encodeRecord(target: Buffer, at: number, record: NewRecord, offset: Offset, timeMs: number): number {
  const { key, payload } = record
  const keyLength = key?.length ?? 0
  const length = RECORD_HEADER_BYTES + keyLength + payload.length
  writeU32(target, length, at)
  writeU64(target, offset, at + 8)
  writeU64(target, record.streamId, at + 16)
  writeU64(target, timeMs, at + 24)
  target[at + 32] = record.kind
  target[at + 33] = 0
  target[at + 34] = keyLength
  target[at + 35] = keyLength >>> 8
  writeU32(target, 0, at + 36)
  if (key !== undefined && keyLength > 0) target.set(key, at + RECORD_HEADER_BYTES)
  const payloadAt = at + RECORD_HEADER_BYTES + keyLength
  if (payload instanceof Uint8Array) target.set(payload, payloadAt)
  else payload.writeTo(target, payloadAt)
  const end = at + aligned(length)
  for (let padding = at + length; padding < end; padding += 1) target[padding] = 0
  return end
}

/** Sets the CRC of the record at `at`, which will lie at `position` of its segment. Returns where the next one begins. */
export function sealRecord(batch: Buffer, at: number, seed: number, position: number): number {
  const length = readU32(batch, at)
  writeU32(batch, crcOf(batch, at + 8, at + length, seed ^ position), at + 4)
  return at + aligned(length)
}

/**
 * Changes the CRC of a record that was moved, without a look at what it covers: `from` and `to` are the seeds of the old
 * and the new segment, each mixed with the record's position there. One that did not verify there does not verify here.
 */
export function moveRecordCrc(target: Buffer, at: number, from: number, to: number): void {
  const length = readU32(target, at)
  writeU32(target, readU32(target, at + 4) ^ carried(from ^ to, length - 8), at + 4)
}

/** The number of the record at `at`, where no more of it is asked for. */
export function offsetAt(source: Buffer, at: number): Offset {
  return readU64(source, at + 8)
}

export function streamIdAt(source: Buffer, at: number): number {
  return readU64(source, at + 16)
}

/** Without padding. */
export function lengthAt(source: Buffer, at: number): number {
  return readU32(source, at)
}

/** Whether the bytes at `at` are a whole record that was written to `position`. */
export function verifyRecord(source: Buffer, at: number, seed: number, position: number): boolean {
  if (at + RECORD_HEADER_BYTES > source.length) return false
  const length = readU32(source, at)
  if (length < RECORD_HEADER_BYTES || at + length > source.length) return false
  if (RECORD_HEADER_BYTES + readU16(source, at + 34) > length) return false
  return readU32(source, at + 4) === crcOf(source, at + 8, at + length, seed ^ position)
}

/** A record where it lies: nothing is copied, and views are made only when asked for. */
export class RecordView implements LogRecord {
  readonly #source: Buffer
  readonly #at: number

  constructor(source: Buffer, at: number) {
    this.#source = source
    this.#at = at
  }

  get length(): number {
    return lengthAt(this.#source, this.#at)
  }

  get offset(): Offset {
    return offsetAt(this.#source, this.#at)
  }

  get streamId(): number {
    return streamIdAt(this.#source, this.#at)
  }

  get timeMs(): number {
    return readU64(this.#source, this.#at + 24)
  }

  get kind(): number {
    return this.#source[this.#at + 32] as number
  }

  /** 0 where the record has no key. */
  get keyLength(): number {
    return readU16(this.#source, this.#at + 34)
  }

  /** All of it, without padding. */
  get bytes(): Buffer {
    return this.#source.subarray(this.#at, this.#at + this.length)
  }

  get key(): Buffer {
    const begin = this.#at + RECORD_HEADER_BYTES
    return this.#source.subarray(begin, begin + this.keyLength)
  }

  get payload(): Buffer {
    const begin = this.#at + RECORD_HEADER_BYTES + this.keyLength
    return this.#source.subarray(begin, this.#at + this.length)
  }
}

// Footer

export interface SegmentFooter {
  /** CRC of the segment's last batch; by the chain it stands for everything before it. 0 without a batch. */
  readonly lastCrc: number
  readonly recordCount: number
  readonly batchCount: number
  /** The lowest and the highest number; 0 and 0 without a record. */
  readonly first: Offset
  readonly last: Offset
  readonly timeMsMin: number
  readonly timeMsMax: number
  /** Generation of the segment that follows, durable before this footer was written; 0 in a compacted segment. */
  readonly successor: number
}

export function encodeFooter(footer: SegmentFooter, seed: number, position: number): Buffer {
  const bytes = Buffer.alloc(FOOTER_BYTES)
  bytes.writeUInt32LE(FOOTER_MAGIC, 0)
  bytes.writeUInt32LE(FOOTER_BYTES, 4)
  bytes.writeInt32LE(footer.lastCrc | 0, 12)
  writeU64(bytes, footer.recordCount, 16)
  writeU64(bytes, footer.batchCount, 24)
  writeU64(bytes, footer.first, 32)
  writeU64(bytes, footer.last, 40)
  writeU64(bytes, footer.timeMsMin, 48)
  writeU64(bytes, footer.timeMsMax, 56)
  writeU64(bytes, footer.successor, 64)
  bytes.writeUInt32LE(placedCrc(bytes.subarray(12), seed, position), 8)
  return bytes
}

/** The footer at `at`, which lies at `position` of its segment, or undefined where there is none that verifies. */
export function decodeFooter(source: Buffer, at: number, seed: number, position: number): SegmentFooter | undefined {
  if (at + FOOTER_BYTES > source.length) return undefined
  const bytes = source.subarray(at, at + FOOTER_BYTES)
  if (bytes.readUInt32LE(0) !== FOOTER_MAGIC || bytes.readUInt32LE(4) !== FOOTER_BYTES) return undefined
  if (bytes.readUInt32LE(8) !== placedCrc(bytes.subarray(12), seed, position)) return undefined
  return {
    lastCrc: bytes.readUInt32LE(12),
    recordCount: readU64(bytes, 16),
    batchCount: readU64(bytes, 24),
    first: readU64(bytes, 32),
    last: readU64(bytes, 40),
    timeMsMin: readU64(bytes, 48),
    timeMsMax: readU64(bytes, 56),
    successor: readU64(bytes, 64),
  }
}
