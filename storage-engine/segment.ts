/**
 * One segment of the log: a file, its index, and what is known of its content. The active one is written by the writer;
 * a sealed one never changes. Knows nothing of other segments.
 */

import type { BlockCache, BlockSource } from './block-cache.ts'
import { segmentName } from './data-directory.ts'
import type { DataFile, Files } from './files.ts'
import {
  aligned,
  BATCH_HEADER_BYTES,
  type BatchHeader,
  encodeFooter,
  FOOTER_BYTES,
  type Offset,
  ORDER_BY_OFFSET,
  type RecordOrder,
  RecordView,
  type SegmentFooter,
  type SegmentHeader,
  segmentSeed,
} from './format.ts'
import type { SegmentSummary } from './index-file.ts'
import type { KeyHash } from './key-hash.ts'
import { MemoryIndex } from './memory-index.ts'
import type { Damage, StorageObserver } from './observer.ts'
import type { OpenFiles } from './open-files.ts'
import type { Chain, ScanSource } from './scan.ts'
import type { SegmentIndex } from './segment-index.ts'
import { syncOrFail } from './whole-file.ts'

/** What all segments of a log share. */
export interface SegmentContext {
  readonly files: Files
  readonly directory: string
  readonly openFiles: OpenFiles
  /** Blocks of segments, and pages of sidecars. */
  readonly blocks: BlockCache
  readonly pages: BlockCache
  readonly keyHash: KeyHash
  readonly observer: StorageObserver
  /** Whether sealed segments get a sidecar; otherwise their index stays in memory. */
  readonly hasSidecars: boolean
  readonly now: () => number
}

let cacheIds = 0

/** A number for a file in a block cache, unique within this process. */
export function nextCacheId(): number {
  cacheIds += 1
  return cacheIds
}

export class Segment implements BlockSource {
  readonly cacheId = nextCacheId()
  readonly generation: number
  readonly identity: Uint8Array
  readonly seed: number
  readonly name: string
  readonly path: string
  readonly headerEnd: number
  readonly predecessor: number
  readonly order: RecordOrder
  /** Generations of the first and the last rolled segment whose place it takes; its own if it was rolled itself. */
  readonly placeFrom: number
  readonly placeThrough: number
  /** The highest number that the segments it replaces ever held; 0 if it replaces none. */
  readonly coveredLast: Offset
  /** The highest ceiling that was known to be durable when it was compacted; 0 if it was rolled. */
  readonly ceiling: Offset
  /** The batch that its first one is chained to, and the highest number of the log before it. */
  readonly chainBefore: Chain
  readonly #context: SegmentContext
  /** Present while the segment is being written. */
  #file: DataFile | undefined
  #index: SegmentIndex
  #contentEnd: number
  #isSealed = false
  #recordCount = 0
  #batchCount = 0
  #first: Offset = 0
  #last: Offset = 0
  #lastCrc: number
  #lastNumber: Offset
  #timeMsMin = 0
  #timeMsMax = 0
  /** Damage that no index can assign to particular streams: every reader that crosses it is told. */
  readonly unindexedDamages: Damage[] = []

  /** `chainBefore` is the last batch of the log before this segment. */
  constructor(
    context: SegmentContext,
    header: SegmentHeader,
    headerEnd: number,
    chainBefore: Chain,
    index: SegmentIndex = new MemoryIndex(context.keyHash, header.order),
  ) {
    this.#context = context
    this.identity = header.identity
    this.generation = header.generation
    this.predecessor = header.predecessor
    this.order = header.order
    this.placeFrom = header.placeFrom
    this.placeThrough = header.placeThrough
    this.coveredLast = header.coveredLast
    this.ceiling = header.ceiling
    this.seed = segmentSeed(header.identity, header.generation)
    this.name = segmentName(header.generation)
    this.path = `${context.directory}/${this.name}`
    this.headerEnd = headerEnd
    this.#contentEnd = headerEnd
    // A compacted segment has a chain of its own.
    this.chainBefore = header.order === ORDER_BY_OFFSET ? chainBefore : { crc: 0, last: chainBefore.last }
    this.#lastCrc = this.chainBefore.crc
    this.#lastNumber = Math.max(chainBefore.last, header.coveredLast)
    this.#index = index
  }

  get isSealed(): boolean {
    return this.#isSealed
  }

  get index(): SegmentIndex {
    return this.#index
  }

  /** Where its batches end: everything below is final. */
  get contentEnd(): number {
    return this.#contentEnd
  }

  get readableBytes(): number {
    return this.#contentEnd
  }

  get recordCount(): number {
    return this.#recordCount
  }

  get batchCount(): number {
    return this.#batchCount
  }

  /** The lowest and the highest number of its records; 0 if it has none. */
  get first(): Offset {
    return this.#first
  }

  get last(): Offset {
    return this.#last
  }

  /** The log up to here: the CRC of the last batch, and the highest number, dropped records included. */
  get chain(): Chain {
    return { crc: this.#lastCrc, last: this.#lastNumber }
  }

  get timeMsMax(): number {
    return this.#timeMsMax
  }

  get file(): DataFile {
    if (this.#file === undefined) throw new Error(`${this.name} is not open for writing`)
    return this.#file
  }

  /** From now on batches may be written to `file`. */
  openForWriting(file: DataFile): void {
    this.#file = file
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    if (this.#file !== undefined) return await this.#file.read(target, position)
    return await this.#context.openFiles.read(this.path, target, position)
  }

  /** Adds the batch at `position` to the index: from now on it can be read. Returns its records, as views. */
  accept(batch: Buffer, header: Omit<BatchHeader, 'length'>, position: number): readonly RecordView[] {
    const index = this.#index as MemoryIndex
    const records: RecordView[] = []
    let at = BATCH_HEADER_BYTES
    for (let i = 0; i < header.count; i += 1) {
      const record = new RecordView(batch, at)
      index.add(record, position + at, position)
      records.push(record)
      at += aligned(record.length)
    }
    this.#contentEnd = position + batch.length
    this.#lastCrc = header.crc
    this.#lastNumber = Math.max(this.#lastNumber, header.last)
    this.#batchCount += 1
    this.#recordCount = index.recordCount
    this.#first = index.first
    this.#last = index.last
    this.#timeMsMin = index.timeMsMin
    this.#timeMsMax = index.timeMsMax
    return records
  }

  /** Writes and syncs the footer, which names the successor; the successor must be durable under its name by then. */
  async seal(successor: number): Promise<void> {
    await this.file.write(encodeFooter(this.#footer(successor), this.seed, this.#contentEnd), this.#contentEnd)
    await syncOrFail(this.file)
    this.#isSealed = true
  }

  /** No more batches will come, although no footer could be read or written. */
  markSealed(): void {
    this.#isSealed = true
  }

  /** Ends writing; readers then open the file themselves. */
  async closeWriting(): Promise<void> {
    const file = this.#file
    this.#file = undefined
    await file?.close()
  }

  /** Ends writing to a file that somebody else closes. No more batches will come: it is sealed, or never will be. */
  leaveFile(): void {
    this.#file = undefined
  }

  /** Believes a sidecar instead of reading the segment. */
  adopt(index: SegmentIndex, summary: SegmentSummary, lastNumber: Offset): void {
    this.#index = index
    this.#contentEnd = summary.contentEnd
    this.#recordCount = summary.recordCount
    this.#batchCount = summary.batchCount
    this.#first = summary.first
    this.#last = summary.last
    this.#lastCrc = summary.lastCrc
    // A segment without records says nothing of numbers: then those before it count.
    this.#lastNumber = Math.max(this.#lastNumber, lastNumber, summary.last)
    this.#timeMsMin = summary.timeMsMin
    this.#timeMsMax = summary.timeMsMax
  }

  /** Believes the footer about the last batch, in case that one does not verify. */
  endWith(footer: SegmentFooter): void {
    this.#lastCrc = footer.lastCrc
    this.#lastNumber = Math.max(this.#lastNumber, footer.last)
  }

  /** Replaces the index by one that gives the same answers: from memory to a file, or the other way round. */
  replaceIndex(index: SegmentIndex): void {
    this.#index = index
  }

  summary(): SegmentSummary {
    return {
      identity: this.identity,
      generation: this.generation,
      contentEnd: this.#contentEnd,
      lastCrc: this.#lastCrc,
      recordCount: this.#recordCount,
      batchCount: this.#batchCount,
      first: this.#first,
      last: this.#last,
      timeMsMin: this.#timeMsMin,
      timeMsMax: this.#timeMsMax,
    }
  }

  /** Bytes in the file when it is sealed. */
  get sealedBytes(): number {
    return this.#contentEnd + FOOTER_BYTES
  }

  /** Bytes on the disk when it is sealed, including its sidecar if there is one. */
  get sizeBytes(): number {
    return this.sealedBytes + this.#index.sizeBytes
  }

  #footer(successor: number): SegmentFooter {
    return {
      lastCrc: this.#lastCrc,
      recordCount: this.#recordCount,
      batchCount: this.#batchCount,
      first: this.#first,
      last: this.#last,
      timeMsMin: this.#timeMsMin,
      timeMsMax: this.#timeMsMax,
      successor,
    }
  }
}

/** The records of a batch that verifies, each with its place in it. */
export function* recordsOf(batch: Buffer, count: number): Generator<readonly [number, RecordView]> {
  let at = BATCH_HEADER_BYTES
  for (let i = 0; i < count; i += 1) {
    const record = new RecordView(batch, at)
    yield [at, record]
    at += aligned(record.length)
  }
}

/** The bytes of a segment up to `sizeBytes`, to be scanned. */
export function scanSource(segment: Segment, sizeBytes: number): ScanSource {
  return {
    seed: segment.seed,
    sizeBytes,
    read: (target: Uint8Array, position: number) => segment.read(target, position),
  }
}
