/**
 * The sidecar of a sealed segment: its index in a file, read page by page, so that memory does not grow with the log.
 * It can always be rebuilt from its segment: if it does not fit its segment, or a page does not verify, that is
 * reported as an `IndexDoubt` and the segment is scanned again. See docs/log-format.md, "The sidecar".
 *
 * Only the header stays in memory, and the first entry of each page of streams and of keys: 8 bytes for every 102 or
 * 170 of them.
 */

import { crc32 } from 'node:zlib'
import type { BlockCache, BlockSource } from './block-cache.ts'
import { indexName, temporaryName } from './data-directory.ts'
import { SyncFailure, systemCode } from './errors.ts'
import type { Files } from './files.ts'
import {
  type Offset,
  ORDER_BY_OFFSET,
  ORDER_BY_STREAM,
  type RecordOrder,
  readU64,
  segmentSeed,
  writeU64,
} from './format.ts'
import { lowerBound } from './lower-bound.ts'
import type { MemoryIndex } from './memory-index.ts'
import { isShortage } from './open-files.ts'
import { type Pacer, turnByTurn } from './pacer.ts'
import type {
  IndexMark,
  NumberCursor,
  Posting,
  PostingCursor,
  SegmentIndex,
  StreamPosting,
  StreamTotals,
} from './segment-index.ts'
import type { EndSlice } from './sort-in-slices.ts'
import { BACKGROUND_SYNC_BYTES } from './whole-file.ts'

export const PAGE_BYTES = 4096
/** The last eight bytes of a page hold its CRC. */
const PAGE_CONTENT_BYTES = PAGE_BYTES - 8
const INDEX_MAGIC = Buffer.from('SSERIDX\0', 'latin1')
const INDEX_VERSION = 2

const STREAM_BYTES = 40
const POSTING_BYTES = 16
const KEY_BYTES = 24
const MARK_BYTES = 24
const FENCE_BYTES = 8
const NUMBER_BYTES = 24
const SECTIONS_AT = 104

// Which section is which
const STREAMS = 0
const POSTINGS = 1
const KEYS = 2
const MARKS = 3
const STREAM_FENCES = 4
const KEY_FENCES = 5
/** All postings by number; empty where records lie by number. */
const NUMBERS = 6

/** How much of a sidecar is written before other work gets its turn. */
const PAGES_PER_WRITE = 16

/** Ties a sidecar to its segment, and says what is known of the segment without reading it. */
export interface SegmentSummary {
  readonly identity: Uint8Array
  readonly generation: number
  /** Where the segment's batches end. */
  readonly contentEnd: number
  readonly lastCrc: number
  readonly recordCount: number
  readonly batchCount: number
  readonly first: Offset
  readonly last: Offset
  readonly timeMsMin: number
  readonly timeMsMax: number
}

/** The sidecar is missing, unreadable or not that of its segment: nothing is lost, it has to be rebuilt. */
export class IndexDoubt extends Error {
  constructor(path: string, reason: string, cause?: unknown) {
    super(`${path}: ${reason}`, cause === undefined ? undefined : { cause })
    this.name = 'IndexDoubt'
  }
}

interface Section {
  readonly firstPage: number
  readonly count: number
  readonly itemBytes: number
}

const ITEM_BYTES = [STREAM_BYTES, POSTING_BYTES, KEY_BYTES, MARK_BYTES, FENCE_BYTES, FENCE_BYTES, NUMBER_BYTES] as const

function itemsPerPage(itemBytes: number): number {
  return Math.floor(PAGE_CONTENT_BYTES / itemBytes)
}

function pagesFor(count: number, itemBytes: number): number {
  return Math.ceil(count / itemsPerPage(itemBytes))
}

/**
 * Writes the sidecar of a sealed segment: temporary name, sync, rename, sync of the folder. Works in slices between which
 * the event loop turns, or at the given pace. Throws the disk's errors; whatever is under the final name is always complete.
 */
export async function writeIndexFile(
  files: Files,
  directory: string,
  index: MemoryIndex,
  summary: SegmentSummary,
  pacer?: Pacer,
): Promise<void> {
  const name = indexName(summary.generation)
  const path = `${directory}/${temporaryName(name)}`
  await files.remove(path).catch(() => undefined)
  const file = await files.open(path, 'create')
  const pace = pacer ?? turnByTurn
  try {
    const chunk = Buffer.allocUnsafeSlow(PAGES_PER_WRITE * PAGE_BYTES)
    const chunkPages = Array.from({ length: PAGES_PER_WRITE }, (_, i) =>
      chunk.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES),
    )
    let made = 0
    let position = 0
    let syncedPosition = 0
    const write = async () => {
      const bytes = made * PAGE_BYTES
      await pace.transfer(bytes)
      await file.write(chunk.subarray(0, bytes), position)
      position += bytes
      made = 0
    }
    const blankPage = () => (chunkPages[made] as Buffer).fill(0)
    for (const _ of indexPages(await sorted(index, pacer && (() => pacer.slice())), summary, blankPage)) {
      made += 1
      await pace.slice()
      if (made < PAGES_PER_WRITE) continue
      await write()
      if (position - syncedPosition < BACKGROUND_SYNC_BYTES) continue
      await file.sync()
      syncedPosition = position
    }
    if (made > 0) await write()
    await file.sync()
  } finally {
    await file.close()
  }
  await files.rename(path, `${directory}/${name}`)
  await files.syncDirectory(directory).catch((error: unknown) => {
    // Final for the log: what a later sync of the folder says of other names proves nothing any more.
    throw new SyncFailure(directory, error)
  })
}

/** The content of a sidecar: that of the index, in the order in which it is written. */
interface Sorted {
  readonly index: MemoryIndex
  readonly streams: Uint32Array
  readonly keys: Uint32Array
  readonly marks: readonly IndexMark[]
  readonly numbers: Uint32Array | undefined
}

async function sorted(index: MemoryIndex, endSlice?: EndSlice): Promise<Sorted> {
  return {
    index,
    streams: await index.sortedStreams(endSlice),
    keys: await index.sortedKeys(endSlice),
    marks: await index.marks(endSlice),
    numbers: index.order === ORDER_BY_STREAM ? await index.sortedNumbers(endSlice) : undefined,
  }
}

/** Fills the pages that `blankPage` supplies, one after another; each is complete when it is yielded. */
function* indexPages(
  { index, streams, keys, marks, numbers }: Sorted,
  summary: SegmentSummary,
  blankPage: () => Buffer,
): Generator<Buffer> {
  const seed = segmentSeed(summary.identity, summary.generation)
  const streamCount = streams.length
  const keyCount = keys.length
  const streamPages = pagesFor(streamCount, STREAM_BYTES)
  const keyPages = pagesFor(keyCount, KEY_BYTES)
  const numberCount = numbers?.length ?? 0
  const counts = [streamCount, index.recordCount, keyCount, marks.length, streamPages, keyPages, numberCount]
  let firstPage = 1
  const sections = counts.map((count, i) => {
    const itemBytes = ITEM_BYTES[i] as number
    const section = { firstPage, count, itemBytes }
    firstPage += pagesFor(count, itemBytes)
    return section
  })
  const header = blankPage()
  encodeIndexHeader(header, summary, index.order, sections)
  yield sealPage(header, 0, seed)
  let pageNumber = 1
  function* section(count: number, itemBytes: number, write: (page: Buffer, at: number, i: number) => void) {
    const perPage = itemsPerPage(itemBytes)
    for (let begin = 0; begin < count; begin += perPage) {
      const page = blankPage()
      for (let i = begin; i < Math.min(count, begin + perPage); i += 1) write(page, (i - begin) * itemBytes, i)
      yield sealPage(page, pageNumber, seed)
      pageNumber += 1
    }
  }

  let postingBegin = 0
  yield* section(streamCount, STREAM_BYTES, (page, at, i) => {
    const totals = index.totalsAt(streams[i] as number)
    writeU64(page, totals.streamId, at)
    page.writeUInt32LE(postingBegin, at + 8)
    page.writeUInt32LE(totals.count, at + 12)
    writeU64(page, totals.first, at + 16)
    writeU64(page, totals.last, at + 24)
    page.writeUInt32LE(totals.bytes, at + 32)
    postingBegin += totals.count
  })

  let streamAt = -1
  let row: number | undefined
  yield* section(index.recordCount, POSTING_BYTES, (page, at) => {
    row = row === undefined ? undefined : index.rowBehind(row)
    if (row === undefined) {
      streamAt += 1
      row = index.headRow(streams[streamAt] as number)
    }
    writePosting(page, index.posting(row), at)
  })

  yield* section(keyCount, KEY_BYTES, (page, at, i) => {
    writeU64(page, index.keyHashAt(keys[i] as number), at)
    writePosting(page, index.keyPosting(keys[i] as number), at + 8)
  })
  yield* section(marks.length, MARK_BYTES, (page, at, i) => {
    const mark = marks[i] as IndexMark
    writeU64(page, mark.timeMsBefore, at)
    writeU64(page, mark.offset, at + 8)
    writeU64(page, mark.batchPosition, at + 16)
  })
  yield* section(streamPages, FENCE_BYTES, (page, at, i) => {
    writeU64(page, index.streamAt(streams[i * itemsPerPage(STREAM_BYTES)] as number), at)
  })
  yield* section(keyPages, FENCE_BYTES, (page, at, i) => {
    writeU64(page, index.keyHashAt(keys[i * itemsPerPage(KEY_BYTES)] as number), at)
  })
  yield* section(numberCount, NUMBER_BYTES, (page, at, i) => {
    const posting = index.streamPosting(numbers?.[i] as number)
    writePosting(page, posting, at)
    writeU64(page, posting.streamId, at + 16)
  })
}

function writePosting(page: Buffer, posting: Posting, at: number): void {
  writeU64(page, posting.offset, at)
  page.writeUInt32LE(posting.position, at + 8)
  page.writeUInt32LE(posting.length, at + 12)
}

function encodeIndexHeader(
  page: Buffer,
  summary: SegmentSummary,
  order: RecordOrder,
  sections: readonly Section[],
): void {
  page.set(INDEX_MAGIC, 0)
  page.writeUInt32LE(INDEX_VERSION, 8)
  page.writeUInt32LE(summary.lastCrc >>> 0, 12)
  page.set(summary.identity, 16)
  writeU64(page, summary.generation, 32)
  writeU64(page, summary.contentEnd, 40)
  writeU64(page, summary.recordCount, 48)
  writeU64(page, summary.batchCount, 56)
  writeU64(page, summary.first, 64)
  writeU64(page, summary.last, 72)
  writeU64(page, summary.timeMsMin, 80)
  writeU64(page, summary.timeMsMax, 88)
  page.writeUInt32LE(order, 96)
  for (const [i, section] of sections.entries()) {
    page.writeUInt32LE(section.firstPage, SECTIONS_AT + 8 * i)
    page.writeUInt32LE(section.count, SECTIONS_AT + 8 * i + 4)
  }
}

function sealPage(page: Buffer, pageNumber: number, seed: number): Buffer {
  page.writeUInt32LE(crc32(page.subarray(0, PAGE_CONTENT_BYTES), (seed ^ pageNumber) >>> 0), PAGE_CONTENT_BYTES)
  return page
}

export class IndexFile implements SegmentIndex {
  readonly summary: SegmentSummary
  readonly order: RecordOrder
  readonly #path: string
  readonly #seed: number
  readonly #source: BlockSource
  readonly #cache: BlockCache
  readonly #sections: readonly Section[]
  #streamFences = new Float64Array(0)
  #keyFences = new Float64Array(0)

  private constructor(
    path: string,
    seed: number,
    source: BlockSource,
    cache: BlockCache,
    summary: SegmentSummary,
    order: RecordOrder,
    sections: readonly Section[],
  ) {
    this.#path = path
    this.#seed = seed
    this.#source = source
    this.#cache = cache
    this.summary = summary
    this.order = order
    this.#sections = sections
  }

  /**
   * Reads the header and the fences. Throws IndexDoubt where the file is missing, does not verify, or belongs to
   * another segment; the caller compares `summary` with what the segment's footer says.
   */
  static async load(
    path: string,
    identity: Uint8Array,
    generation: number,
    source: BlockSource,
    cache: BlockCache,
  ): Promise<IndexFile> {
    const seed = segmentSeed(identity, generation)
    const page = await readPage(path, seed, source, cache, 0)
    if (!page.subarray(0, 8).equals(INDEX_MAGIC) || page.readUInt32LE(8) !== INDEX_VERSION) {
      throw new IndexDoubt(path, 'is not an index of a version that is known here')
    }
    const sections = ITEM_BYTES.map((itemBytes, i) => ({
      firstPage: page.readUInt32LE(SECTIONS_AT + 8 * i),
      count: page.readUInt32LE(SECTIONS_AT + 8 * i + 4),
      itemBytes,
    }))
    const summary: SegmentSummary = {
      identity: Uint8Array.from(page.subarray(16, 32)),
      generation: readU64(page, 32),
      lastCrc: page.readUInt32LE(12),
      contentEnd: readU64(page, 40),
      recordCount: readU64(page, 48),
      batchCount: readU64(page, 56),
      first: readU64(page, 64),
      last: readU64(page, 72),
      timeMsMin: readU64(page, 80),
      timeMsMax: readU64(page, 88),
    }
    const order = page.readUInt32LE(96) === ORDER_BY_OFFSET ? ORDER_BY_OFFSET : ORDER_BY_STREAM
    const index = new IndexFile(path, seed, source, cache, summary, order, sections)
    index.#streamFences = await index.#readFences(STREAM_FENCES)
    index.#keyFences = await index.#readFences(KEY_FENCES)
    return index
  }

  get recordCount(): number {
    return this.summary.recordCount
  }

  get keyCount(): number {
    return this.#section(KEYS).count
  }

  get sizeBytes(): number {
    const { firstPage, count, itemBytes } = this.#section(NUMBERS)
    return (firstPage + pagesFor(count, itemBytes)) * PAGE_BYTES
  }

  async seek(streamId: number, after: Offset): Promise<PostingCursor> {
    const stream = await this.#stream(streamId)
    if (stream === undefined || stream.last <= after) return EMPTY
    const end = stream.begin + stream.count
    const begin = await this.#lowerBound(stream.begin, end, async (i) => (await this.posting(i)).offset > after)
    return new FilePostingCursor(this, begin, end)
  }

  async seekBack(streamId: number, before: Offset, countMax: number): Promise<readonly Posting[]> {
    const stream = await this.#stream(streamId)
    if (stream === undefined || stream.first >= before) return []
    const isPast = async (i: number) => (await this.posting(i)).offset >= before
    const end = await this.#lowerBound(stream.begin, stream.begin + stream.count, isPast)
    const postings: Posting[] = []
    for (let at = Math.max(stream.begin, end - countMax); at < end; ) {
      const some = await this.postings(at, end)
      postings.push(...some)
      at += some.length
    }
    return postings.reverse()
  }

  async findKey(keyHash: number): Promise<Posting | undefined> {
    const section = this.#section(KEYS)
    const pageIndex = lowerBound(this.#keyFences.length, (i) => (this.#keyFences[i] as number) > keyHash) - 1
    if (pageIndex < 0) return undefined
    const page = await this.#page(section.firstPage + pageIndex)
    const perPage = itemsPerPage(KEY_BYTES)
    const count = Math.min(perPage, section.count - pageIndex * perPage)
    const found = lowerBound(count, (i) => readU64(page, i * KEY_BYTES) >= keyHash)
    if (found === count || readU64(page, found * KEY_BYTES) !== keyHash) return undefined
    return readPosting(page, found * KEY_BYTES + 8)
  }

  async markBefore(after: Offset): Promise<IndexMark | undefined> {
    return await this.#lastMark((mark) => mark.offset > after + 1)
  }

  async olderThan(timeMs: number): Promise<Offset> {
    const mark = await this.#lastMark((candidate) => candidate.timeMsBefore >= timeMs)
    return mark === undefined ? 0 : mark.offset - 1
  }

  async *totals(): AsyncGenerator<readonly StreamTotals[]> {
    for await (const entries of this.#streamPages()) yield entries.map(totalsOfEntry)
  }

  async totalsOf(streamId: number): Promise<StreamTotals | undefined> {
    const stream = await this.#stream(streamId)
    return stream === undefined ? undefined : totalsOfEntry(stream)
  }

  async byNumber(after: Offset): Promise<NumberCursor> {
    const { count } = this.#section(NUMBERS)
    const isPast = async (i: number) => ((await this.#numbers(i, i + 1))[0] as StreamPosting).offset > after
    let at = await this.#lowerBound(0, count, isPast)
    return {
      next: async (countMax) => {
        if (at >= count) return []
        const postings = await this.#numbers(at, Math.min(count, at + countMax))
        at += postings.length
        return postings
      },
    }
  }

  async posting(i: number): Promise<Posting> {
    const perPage = itemsPerPage(POSTING_BYTES)
    const page = await this.#page(this.#section(POSTINGS).firstPage + Math.floor(i / perPage))
    return readPosting(page, (i % perPage) * POSTING_BYTES)
  }

  /** Postings `begin` to `end`, no more than lie in one page. */
  async postings(begin: number, end: number): Promise<readonly Posting[]> {
    return await this.#items(POSTINGS, begin, end, readPosting)
  }

  /** Every record of the segment with its stream, stream by stream. */
  async *entries(): AsyncGenerator<StreamPosting> {
    for await (const streams of this.#streamPages()) {
      for (const { streamId, begin, count } of streams) {
        for (let at = begin; at < begin + count; ) {
          const postings = await this.postings(at, begin + count)
          for (const posting of postings) yield { ...posting, streamId }
          at += postings.length
        }
      }
    }
  }

  /** All entries of streams, page by page. */
  async *#streamPages(): AsyncGenerator<readonly StreamEntry[]> {
    const { count } = this.#section(STREAMS)
    for (let begin = 0; begin < count; ) {
      const entries = await this.#items(STREAMS, begin, count, readStreamEntry)
      yield entries
      begin += entries.length
    }
  }

  async #stream(streamId: number): Promise<StreamEntry | undefined> {
    const section = this.#section(STREAMS)
    const pageIndex = lowerBound(this.#streamFences.length, (i) => (this.#streamFences[i] as number) > streamId) - 1
    if (pageIndex < 0) return undefined
    const page = await this.#page(section.firstPage + pageIndex)
    const perPage = itemsPerPage(STREAM_BYTES)
    const count = Math.min(perPage, section.count - pageIndex * perPage)
    const found = lowerBound(count, (i) => readU64(page, i * STREAM_BYTES) >= streamId)
    if (found === count || readU64(page, found * STREAM_BYTES) !== streamId) return undefined
    return readStreamEntry(page, found * STREAM_BYTES)
  }

  async #numbers(begin: number, end: number): Promise<readonly StreamPosting[]> {
    return await this.#items(NUMBERS, begin, end, (page, at) => ({
      ...readPosting(page, at),
      streamId: readU64(page, at + 16),
    }))
  }

  /** Items `begin` to `end` of a section, no more than lie in one page. */
  async #items<T>(section: number, begin: number, end: number, read: (page: Buffer, at: number) => T): Promise<T[]> {
    const { firstPage, itemBytes } = this.#section(section)
    const perPage = itemsPerPage(itemBytes)
    const page = await this.#page(firstPage + Math.floor(begin / perPage))
    const count = Math.min(end - begin, perPage - (begin % perPage))
    return Array.from({ length: count }, (_, i) => read(page, ((begin % perPage) + i) * itemBytes))
  }

  /** The mark before the first for which `isPast` holds. */
  async #lastMark(isPast: (mark: IndexMark) => boolean): Promise<IndexMark | undefined> {
    const { count } = this.#section(MARKS)
    const found = await this.#lowerBound(0, count, async (i) => isPast(await this.#mark(i)))
    return found === 0 ? undefined : await this.#mark(found - 1)
  }

  /** Like `lowerBound`, over items in pages. */
  async #lowerBound(begin: number, end: number, isPast: (i: number) => Promise<boolean>): Promise<number> {
    let low = begin
    let high = end
    while (low < high) {
      const middle = (low + high) >>> 1
      if (await isPast(middle)) high = middle
      else low = middle + 1
    }
    return low
  }

  async #mark(i: number): Promise<IndexMark> {
    const perPage = itemsPerPage(MARK_BYTES)
    const page = await this.#page(this.#section(MARKS).firstPage + Math.floor(i / perPage))
    const at = (i % perPage) * MARK_BYTES
    return { timeMsBefore: readU64(page, at), offset: readU64(page, at + 8), batchPosition: readU64(page, at + 16) }
  }

  async #readFences(sectionIndex: typeof STREAM_FENCES | typeof KEY_FENCES): Promise<Float64Array<ArrayBuffer>> {
    const section = this.#section(sectionIndex)
    const fences = new Float64Array(section.count)
    const perPage = itemsPerPage(FENCE_BYTES)
    for (let i = 0; i < section.count; i += perPage) {
      const page = await this.#page(section.firstPage + i / perPage)
      for (let j = i; j < Math.min(section.count, i + perPage); j += 1) {
        fences[j] = readU64(page, (j - i) * FENCE_BYTES)
      }
    }
    return fences
  }

  #section(i: number): Section {
    return this.#sections[i] as Section
  }

  #page(pageNumber: number): Promise<Buffer> | Buffer {
    const known = this.#cache.peek(this.#source, pageNumber * PAGE_BYTES, PAGE_BYTES)
    if (known !== undefined && pageVerifies(known, this.#seed, pageNumber)) return known
    return readPage(this.#path, this.#seed, this.#source, this.#cache, pageNumber)
  }
}

class FilePostingCursor implements PostingCursor {
  readonly #index: IndexFile
  readonly #end: number
  #at: number

  constructor(index: IndexFile, begin: number, end: number) {
    this.#index = index
    this.#at = begin
    this.#end = end
  }

  next(countMax: number): readonly Posting[] | Promise<readonly Posting[]> {
    if (this.#at >= this.#end) return []
    return this.#read(countMax)
  }

  async #read(countMax: number): Promise<readonly Posting[]> {
    const postings = await this.#index.postings(this.#at, Math.min(this.#end, this.#at + countMax))
    this.#at += postings.length
    return postings
  }
}

const EMPTY: PostingCursor = { next: () => [] }

async function readPage(
  path: string,
  seed: number,
  source: BlockSource,
  cache: BlockCache,
  pageNumber: number,
): Promise<Buffer> {
  let page: Buffer
  try {
    page = await cache.read(source, pageNumber * PAGE_BYTES, PAGE_BYTES)
  } catch (error) {
    // A file of the sidecar's name that cannot be opened or read is doubtful; a shortage says nothing of it.
    if (systemCode(error) === undefined || isShortage(error)) throw error
    throw new IndexDoubt(path, `page ${pageNumber} cannot be read`, error)
  }
  if (page.length < PAGE_BYTES || !pageVerifies(page, seed, pageNumber)) {
    throw new IndexDoubt(path, `page ${pageNumber} does not verify`)
  }
  return page
}

export function pageVerifies(page: Buffer, seed: number, pageNumber: number): boolean {
  const crc = crc32(page.subarray(0, PAGE_CONTENT_BYTES), (seed ^ pageNumber) >>> 0)
  return page.readUInt32LE(PAGE_CONTENT_BYTES) === crc
}

/** A stream's totals, and where its postings begin. */
interface StreamEntry extends StreamTotals {
  readonly begin: number
}

function readStreamEntry(page: Buffer, at: number): StreamEntry {
  return {
    streamId: readU64(page, at),
    begin: page.readUInt32LE(at + 8),
    count: page.readUInt32LE(at + 12),
    first: readU64(page, at + 16),
    last: readU64(page, at + 24),
    bytes: page.readUInt32LE(at + 32),
  }
}

function totalsOfEntry({ begin, ...totals }: StreamEntry): StreamTotals {
  return totals
}

function readPosting(page: Buffer, at: number): Posting {
  return { offset: readU64(page, at), position: page.readUInt32LE(at + 8), length: page.readUInt32LE(at + 12) }
}
