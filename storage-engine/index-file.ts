/**
 * The sidecar of a sealed segment: its index in a file, read page by page, so that memory does not grow with the log.
 * It can always be made again from its segment; one that does not fit its segment, or a page that does not verify, is
 * reported as an `IndexDoubt`, and the segment is scanned again. See docs/log-format.md, "The sidecar".
 *
 * In memory stays the header and, for each page of streams and of keys, its first entry: 8 bytes for 170 of them.
 */

import { crc32 } from 'node:zlib'
import type { BlockCache, BlockSource } from './block-cache.ts'
import { indexName, temporaryName } from './data-directory.ts'
import { SyncFailure, systemCode } from './errors.ts'
import type { Files } from './files.ts'
import { type Offset, readU64, segmentSeed, writeU64 } from './format.ts'
import {
  type IndexMark,
  lowerBound,
  type MemoryIndex,
  type Posting,
  type PostingCursor,
  type SegmentIndex,
} from './memory-index.ts'
import { isShortage } from './open-files.ts'

export const PAGE_BYTES = 4096
/** The last eight bytes of a page hold its CRC. */
const PAGE_CONTENT_BYTES = PAGE_BYTES - 8
const INDEX_MAGIC = Buffer.from('SSERIDX\0', 'latin1')
const INDEX_VERSION = 1

const STREAM_BYTES = 24
const POSTING_BYTES = 16
const KEY_BYTES = 24
const MARK_BYTES = 24
const FENCE_BYTES = 8
const SECTION_COUNT = 6

/** How much of a sidecar is made before other work gets its turn. */
const PAGES_PER_WRITE = 64

/** What ties a sidecar to its segment, and what is known of the segment without reading it. */
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

/** The sidecar is missing, unreadable or not that of its segment: nothing is lost, it wants to be made again. */
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

const ITEM_BYTES = [STREAM_BYTES, POSTING_BYTES, KEY_BYTES, MARK_BYTES, FENCE_BYTES, FENCE_BYTES] as const

function itemsPerPage(itemBytes: number): number {
  return Math.floor(PAGE_CONTENT_BYTES / itemBytes)
}

function pagesFor(count: number, itemBytes: number): number {
  return Math.ceil(count / itemsPerPage(itemBytes))
}

/**
 * Writes the sidecar of a sealed segment by temporary name, sync, rename and sync of the folder, in slices between
 * which the event loop turns. Errors of the disk are thrown; what is under the final name is always whole.
 */
export async function writeIndexFile(
  files: Files,
  directory: string,
  index: MemoryIndex,
  summary: SegmentSummary,
): Promise<void> {
  const name = indexName(summary.generation)
  const path = `${directory}/${temporaryName(name)}`
  await files.remove(path).catch(() => undefined)
  const file = await files.open(path, 'create')
  try {
    let position = 0
    let pending: Buffer[] = []
    for (const page of indexPages(index, summary)) {
      pending.push(page)
      if (pending.length < PAGES_PER_WRITE) continue
      await file.write(Buffer.concat(pending), position)
      position += pending.length * PAGE_BYTES
      pending = []
      await new Promise((resolve) => setImmediate(resolve))
    }
    if (pending.length > 0) await file.write(Buffer.concat(pending), position)
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

function* indexPages(index: MemoryIndex, summary: SegmentSummary): Generator<Buffer> {
  const seed = segmentSeed(summary.identity, summary.generation)
  const streams = index.sortedStreams()
  const keyHashes = index.sortedKeys()
  const streamPages = pagesFor(streams.length, STREAM_BYTES)
  const keyPages = pagesFor(keyHashes.length, KEY_BYTES)
  const counts = [streams.length, index.recordCount, keyHashes.length, index.marks.length, streamPages, keyPages]
  let firstPage = 1
  const sections = counts.map((count, i) => {
    const itemBytes = ITEM_BYTES[i] as number
    const section = { firstPage, count, itemBytes }
    firstPage += pagesFor(count, itemBytes)
    return section
  })
  yield sealPage(encodeIndexHeader(summary, sections), 0, seed)
  let pageNumber = 1
  function* section(count: number, itemBytes: number, write: (page: Buffer, at: number, i: number) => void) {
    const perPage = itemsPerPage(itemBytes)
    for (let begin = 0; begin < count; begin += perPage) {
      const page = Buffer.alloc(PAGE_BYTES)
      for (let i = begin; i < Math.min(count, begin + perPage); i += 1) write(page, (i - begin) * itemBytes, i)
      yield sealPage(page, pageNumber, seed)
      pageNumber += 1
    }
  }

  let postingBegin = 0
  yield* section(streams.length, STREAM_BYTES, (page, at, i) => {
    const streamId = streams[i] as number
    const totals = index.streamTotals(streamId)
    writeU64(page, streamId, at)
    page.writeUInt32LE(postingBegin, at + 8)
    page.writeUInt32LE(totals.count, at + 12)
    writeU64(page, totals.last, at + 16)
    postingBegin += totals.count
  })

  let streamAt = -1
  let row: number | undefined
  yield* section(index.recordCount, POSTING_BYTES, (page, at) => {
    row = row === undefined ? undefined : index.rowBehind(row)
    if (row === undefined) {
      streamAt += 1
      row = index.rowAfter(streams[streamAt] as number, -1) as number
    }
    writePosting(page, index.posting(row), at)
  })

  yield* section(keyHashes.length, KEY_BYTES, (page, at, i) => {
    const keyHash = keyHashes[i] as number
    writeU64(page, keyHash, at)
    writePosting(page, index.findKey(keyHash) as Posting, at + 8)
  })
  yield* section(index.marks.length, MARK_BYTES, (page, at, i) => {
    const mark = index.marks[i] as IndexMark
    writeU64(page, mark.timeMsBefore, at)
    writeU64(page, mark.offset, at + 8)
    writeU64(page, mark.batchPosition, at + 16)
  })
  yield* section(streamPages, FENCE_BYTES, (page, at, i) => {
    writeU64(page, streams[i * itemsPerPage(STREAM_BYTES)] as number, at)
  })
  yield* section(keyPages, FENCE_BYTES, (page, at, i) => {
    writeU64(page, keyHashes[i * itemsPerPage(KEY_BYTES)] as number, at)
  })
}

function writePosting(page: Buffer, posting: Posting, at: number): void {
  writeU64(page, posting.offset, at)
  page.writeUInt32LE(posting.position, at + 8)
  page.writeUInt32LE(posting.length, at + 12)
}

function encodeIndexHeader(summary: SegmentSummary, sections: readonly Section[]): Buffer {
  const page = Buffer.alloc(PAGE_BYTES)
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
  for (const [i, section] of sections.entries()) {
    page.writeUInt32LE(section.firstPage, 96 + 8 * i)
    page.writeUInt32LE(section.count, 100 + 8 * i)
  }
  return page
}

function sealPage(page: Buffer, pageNumber: number, seed: number): Buffer {
  page.writeUInt32LE(crc32(page.subarray(0, PAGE_CONTENT_BYTES), (seed ^ pageNumber) >>> 0), PAGE_CONTENT_BYTES)
  return page
}

export class IndexFile implements SegmentIndex {
  readonly summary: SegmentSummary
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
    sections: readonly Section[],
  ) {
    this.#path = path
    this.#seed = seed
    this.#source = source
    this.#cache = cache
    this.summary = summary
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
      firstPage: page.readUInt32LE(96 + 8 * i),
      count: page.readUInt32LE(100 + 8 * i),
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
    const index = new IndexFile(path, seed, source, cache, summary, sections)
    index.#streamFences = await index.#readFences(4)
    index.#keyFences = await index.#readFences(5)
    return index
  }

  get recordCount(): number {
    return this.summary.recordCount
  }

  async seek(streamId: number, after: Offset): Promise<PostingCursor> {
    const section = this.#section(0)
    const pageIndex = lowerBound(this.#streamFences.length, (i) => (this.#streamFences[i] as number) > streamId) - 1
    if (pageIndex < 0) return EMPTY
    const page = await this.#page(section.firstPage + pageIndex)
    const perPage = itemsPerPage(STREAM_BYTES)
    const count = Math.min(perPage, section.count - pageIndex * perPage)
    const at = lowerBound(count, (i) => readU64(page, i * STREAM_BYTES) >= streamId) * STREAM_BYTES
    if (at >= count * STREAM_BYTES || readU64(page, at) !== streamId) return EMPTY
    if (readU64(page, at + 16) <= after) return EMPTY
    const begin = page.readUInt32LE(at + 8)
    const end = begin + page.readUInt32LE(at + 12)
    let low = begin
    let high = end
    while (low < high) {
      const middle = (low + high) >>> 1
      const posting = await this.posting(middle)
      if (posting.offset > after) high = middle
      else low = middle + 1
    }
    return new FilePostingCursor(this, low, end)
  }

  async findKey(keyHash: number): Promise<Posting | undefined> {
    const section = this.#section(2)
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

  async posting(i: number): Promise<Posting> {
    const perPage = itemsPerPage(POSTING_BYTES)
    const page = await this.#page(this.#section(1).firstPage + Math.floor(i / perPage))
    return readPosting(page, (i % perPage) * POSTING_BYTES)
  }

  /** Postings `begin` to `end`, no more than lie in one page. */
  async postings(begin: number, end: number): Promise<readonly Posting[]> {
    const perPage = itemsPerPage(POSTING_BYTES)
    const page = await this.#page(this.#section(1).firstPage + Math.floor(begin / perPage))
    const count = Math.min(end - begin, perPage - (begin % perPage))
    return Array.from({ length: count }, (_, i) => readPosting(page, ((begin % perPage) + i) * POSTING_BYTES))
  }

  /** Every record of the segment with its stream, stream by stream. */
  async *entries(): AsyncGenerator<Posting & { readonly streamId: number }> {
    const section = this.#section(0)
    const perPage = itemsPerPage(STREAM_BYTES)
    for (let i = 0; i < section.count; i += 1) {
      const page = await this.#page(section.firstPage + Math.floor(i / perPage))
      const at = (i % perPage) * STREAM_BYTES
      const streamId = readU64(page, at)
      const end = page.readUInt32LE(at + 8) + page.readUInt32LE(at + 12)
      for (let begin = page.readUInt32LE(at + 8); begin < end; ) {
        const postings = await this.postings(begin, end)
        for (const posting of postings) yield { ...posting, streamId }
        begin += postings.length
      }
    }
  }

  /** The mark before the first for which `isPast` holds. */
  async #lastMark(isPast: (mark: IndexMark) => boolean): Promise<IndexMark | undefined> {
    let low = 0
    let high = this.#section(3).count
    while (low < high) {
      const middle = (low + high) >>> 1
      if (isPast(await this.#mark(middle))) high = middle
      else low = middle + 1
    }
    return low === 0 ? undefined : await this.#mark(low - 1)
  }

  async #mark(i: number): Promise<IndexMark> {
    const perPage = itemsPerPage(MARK_BYTES)
    const page = await this.#page(this.#section(3).firstPage + Math.floor(i / perPage))
    const at = (i % perPage) * MARK_BYTES
    return { timeMsBefore: readU64(page, at), offset: readU64(page, at + 8), batchPosition: readU64(page, at + 16) }
  }

  async #readFences(sectionIndex: 4 | 5): Promise<Float64Array<ArrayBuffer>> {
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
    if (i >= SECTION_COUNT) throw new RangeError(`no section ${i}`)
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

function readPosting(page: Buffer, at: number): Posting {
  return { offset: readU64(page, at), position: page.readUInt32LE(at + 8), length: page.readUInt32LE(at + 12) }
}
