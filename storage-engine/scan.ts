/**
 * Reads a segment from its beginning, batch by batch, and says of every byte what it is: part of a batch that verifies,
 * part of the footer, or neither. It decides nothing about bytes that do not verify: whether they are a torn tail or
 * damage is for recovery to say, which knows the rest of the log.
 */

import { systemCode } from './errors.ts'
import {
  BATCH_HEADER_BYTES,
  BATCH_MAGIC,
  type BatchHeader,
  batchLengthAt,
  decodeFooter,
  FOOTER_BYTES,
  FOOTER_MAGIC,
  type Offset,
  ORDER_BY_OFFSET,
  type RecordOrder,
  type SegmentFooter,
  verifyBatch,
} from './format.ts'
import { isShortage } from './open-files.ts'

export type ScanItem =
  /** `bytes` is valid until the next item is asked for. */
  | { readonly kind: 'batch'; readonly position: number; readonly header: BatchHeader; readonly bytes: Buffer }
  | { readonly kind: 'footer'; readonly position: number; readonly footer: SegmentFooter }
  | { readonly kind: 'unverified'; readonly position: number; readonly end: number; readonly reason: string }

/** Bytes that are neither. */
export type Unverified = Extract<ScanItem, { kind: 'unverified' }>

/** What lies before a place: the CRC that the next batch is chained to, and the number that its own must exceed. */
export interface Chain {
  readonly crc: number
  readonly last: Offset
  /** What follows was begun by a recovery, whose first batch names 0 if the batch before it could not be read. */
  readonly mayBeUnread?: boolean
}

/** Stands for a batch that could not be read: any CRC may be named as that of the batch before. */
export const UNKNOWN_CRC = -1
export const UNKNOWN_CHAIN: Chain = { crc: UNKNOWN_CRC, last: 0 }

export interface ScanSource {
  readonly seed: number
  readonly sizeBytes: number
  read(target: Uint8Array, position: number): Promise<number>
}

/** The reason given for bytes that the disk refuses to read: nothing is known of them, and a later try may succeed. */
export const UNREADABLE = 'cannot be read'

const WINDOW_BYTES = 1024 * 1024
/** Disks fail in blocks: the search behind an unreadable one continues at the next. */
const DISK_BLOCK_BYTES = 4096

/**
 * Scans from `begin`, the end of the header or of a batch; `previous` is what lies before. In a segment that is ordered
 * by stream, every batch lies above `previous.last`, and not above the batch before it.
 */
export async function* scanSegment(
  source: ScanSource,
  begin: number,
  previous: Chain,
  order: RecordOrder = ORDER_BY_OFFSET,
): AsyncGenerator<ScanItem> {
  const window = new Window(source)
  let position = begin
  let chain = previous
  while (position < source.sizeBytes) {
    const item = await verifiedAt(window, position, chain)
    if (item !== undefined) {
      yield item
      position += item.kind === 'batch' ? item.header.length : FOOTER_BYTES
      if (item.kind === 'batch') {
        chain = { crc: item.header.crc, last: order === ORDER_BY_OFFSET ? item.header.last : previous.last }
      }
      continue
    }
    const next = await nextVerified(window, position, chain.last)
    yield { kind: 'unverified', position, end: next, reason: window.unreadable ? UNREADABLE : 'does not verify' }
    window.unreadable = false
    position = next
    chain = { crc: UNKNOWN_CRC, last: chain.last }
  }
}

type VerifiedItem = Exclude<ScanItem, { kind: 'unverified' }>

async function verifiedAt(window: Window, position: number, chain: Chain): Promise<VerifiedItem | undefined> {
  const { seed } = window.source
  const head = await window.bytes(position, FOOTER_BYTES)
  if (head.length < BATCH_HEADER_BYTES) return undefined
  const footer = decodeFooter(head, 0, seed, position)
  if (footer !== undefined) return { kind: 'footer', position, footer }
  const length = batchLengthAt(head, 0, seed, position)
  if (length === 0 || position + length > window.source.sizeBytes) return undefined
  const bytes = await window.bytes(position, length)
  if (bytes.length < length) return undefined
  const header = verifyBatch(bytes, seed, position)
  if (header === undefined) return undefined
  if (!follows(header, chain)) return undefined
  if (header.first <= chain.last) return undefined
  return { kind: 'batch', position, header, bytes }
}

/** Whether the batch names the one before it. */
function follows({ previousCrc }: BatchHeader, { crc, mayBeUnread = false }: Chain): boolean {
  return crc === UNKNOWN_CRC || previousCrc === crc || (mayBeUnread && previousCrc === 0)
}

/** The first place behind `position` at which something verifies again; the end of the segment if nothing does. */
async function nextVerified(window: Window, position: number, last: Offset): Promise<number> {
  const { seed, sizeBytes } = window.source
  const chain = { crc: UNKNOWN_CRC, last }
  let at = position + 8
  while (at < sizeBytes) {
    const bytes = await window.rest(at)
    if (bytes.length === 0) {
      at = (Math.floor(at / DISK_BLOCK_BYTES) + 1) * DISK_BLOCK_BYTES
      continue
    }
    const found = nextCandidate(bytes, seed, at)
    if (found === -1) {
      at += Math.max(8, bytes.length & ~7)
      continue
    }
    at += found
    if ((await verifiedAt(window, at, chain)) !== undefined) return at
    at += 8
  }
  return sizeBytes
}

/** The first multiple of 8 within `bytes`, which lie at `position`, that deserves a closer look, or -1. */
function nextCandidate(bytes: Buffer, seed: number, position: number): number {
  for (let at = 0; at + 4 <= bytes.length; at += 8) {
    const magic = bytes.readUInt32LE(at)
    if (magic !== BATCH_MAGIC && magic !== FOOTER_MAGIC) continue
    // Whatever extends past the end of these bytes is not decided here.
    if (at + FOOTER_BYTES > bytes.length) return at
    if (batchLengthAt(bytes, at, seed, position + at) > 0) return at
    if (decodeFooter(bytes, at, seed, position + at) !== undefined) return at
  }
  return -1
}

/** A stretch of the file in memory, read forward in large pieces into a buffer that is reused. */
class Window {
  readonly source: ScanSource
  /** Whether the disk has refused a read since this was last reset. */
  unreadable = false
  #begin = 0
  #bytes: Buffer = Buffer.alloc(0)
  #buffer: Buffer = Buffer.alloc(0)

  constructor(source: ScanSource) {
    this.source = source
  }

  /**
   * Up to `length` bytes at `position`; fewer at the end of the file or where the disk cannot read. They are valid
   * until the next call.
   */
  async bytes(position: number, length: number): Promise<Buffer> {
    const wanted = Math.min(length, this.source.sizeBytes - position)
    const at = position - this.#begin
    if (at < 0 || at + wanted > this.#bytes.length) await this.#move(position, wanted)
    const begin = position - this.#begin
    return this.#bytes.subarray(begin, begin + wanted)
  }

  /** Bytes at `position`, as many as are at hand; none if the disk cannot read them. Valid until the next call. */
  async rest(position: number): Promise<Buffer> {
    const at = position - this.#begin
    const isHere = at >= 0 && at + FOOTER_BYTES <= this.#bytes.length
    if (!isHere) await this.#move(position, DISK_BLOCK_BYTES - (position % DISK_BLOCK_BYTES))
    return this.#bytes.subarray(position - this.#begin)
  }

  /** Reads far ahead or, if the disk cannot do that, only as much as is needed. */
  async #move(position: number, needed: number): Promise<void> {
    const rest = this.source.sizeBytes - position
    const ahead = Math.min(Math.max(needed, WINDOW_BYTES), rest)
    const least = Math.min(needed, rest)
    if (await this.#fill(position, ahead)) return
    if (least < ahead && (await this.#fill(position, least))) return
    // Not silently: the range is reported as unverified, for this reason.
    this.unreadable = true
  }

  async #fill(position: number, length: number): Promise<boolean> {
    if (this.#buffer.length < length) this.#buffer = Buffer.allocUnsafeSlow(length)
    this.#begin = position
    this.#bytes = this.#buffer.subarray(0, 0)
    try {
      this.#bytes = this.#buffer.subarray(0, await this.source.read(this.#buffer.subarray(0, length), position))
      return true
    } catch (error) {
      if (systemCode(error) === undefined || isShortage(error)) throw error
      return false
    }
  }
}
