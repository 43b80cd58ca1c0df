/**
 * Looks into a log that no process has open, and changes nothing: what its files are, what is damaged, where, and whose
 * records that concerns. It goes on where a start would be refused. Where the log ends, and what counts as a torn tail,
 * is decided by the functions that recovery itself decides with; a test compares the two.
 *
 * The caller holds the folder's lock, or knows that nobody writes. Memory stays bounded by one segment's index.
 */

import { BlockCache } from './block-cache.ts'
import { indexName, parseName, RESERVE_NAME, segmentName } from './data-directory.ts'
import { systemCode } from './errors.ts'
import type { DataFile, Files } from './files.ts'
import {
  decodeFooter,
  FOOTER_BYTES,
  HEADER_BYTES,
  headerBytes,
  type LogRecord,
  type Offset,
  RecordView,
  type SegmentFooter,
  type SegmentHeader,
  segmentSeed,
  verifyRecord,
} from './format.ts'
import { IndexDoubt, IndexFile, PAGE_BYTES, pageVerifies, writeIndexFile } from './index-file.ts'
import { MemoryFiles } from './memory-files.ts'
import { hashKey, MemoryIndex, type Posting } from './memory-index.ts'
import { silentObserver } from './observer.ts'
import { isShortage, OpenFiles } from './open-files.ts'
import {
  deciderOf,
  durableEnd,
  endOfLog,
  type Found,
  highestCeiling,
  holdsContent,
  isUnusedSpare,
  type Loaded,
  openIndexFile,
  provenEnd,
  type ScannedBatch,
  UNKNOWN_THROUGH,
  type Unverified,
} from './recovery.ts'
import { type Chain, scanSegment, UNKNOWN_CRC } from './scan.ts'
import { recordsOf, Segment, type SegmentContext } from './segment.ts'
import { readSegmentHeader } from './segment-files.ts'
import { systemError } from './system-error.ts'

export type FindingKind =
  // Damage
  | 'damage' // bytes that do not verify, where no crash can have left them
  | 'missing' // a segment that others name, and that is not there or holds nothing that verifies
  | 'sidecar-damaged' // an index that is not what it should be; nothing is lost, it can be made again
  // What keeps a start from being tried
  | 'foreign' // a segment of another log, or a copy of another segment
  | 'newer' // a segment of another version of the format
  | 'unreadable' // a segment's name that is no file, or may not be opened
  | 'headless' // no header at all verifies
  // What the next start settles by itself
  | 'torn-tail' // what a crash left unfinished: it will be cut away
  | 'unsealed' // a recovery was cut off: the footer will be written
  | 'spare' // an empty segment that is not needed
  | 'sidecar-missing' // an index that will be made again
  | 'temporary' // a file that was being made
  // Neither
  | 'unknown-file' // not the log's; it is left alone

export type Severity = 'refused' | 'damage' | 'note'

/** What is not as it should be. `position` and `bytes` are 0 where a whole file is meant. */
export interface Finding {
  readonly kind: FindingKind
  readonly file: string
  readonly position: number
  readonly bytes: number
  readonly reason: string
  /** Numbers that may be lost: above `after`, up to `through`. Equal where none is; `through` undefined: all above. */
  readonly after: Offset
  readonly through: Offset | undefined
  /** The records that it costs, where an index still says which ones lay there. */
  readonly lost: readonly LostRecord[] | undefined
}

export interface LostRecord {
  readonly streamId: number
  readonly offset: Offset
}

export interface InspectedSegment {
  readonly file: string
  readonly generation: number
  /** `open`: written when the log was last open; `unsealed`: without a footer that verifies, though others follow. */
  readonly state: 'sealed' | 'open' | 'unsealed' | 'spare' | 'overlapping'
  readonly sizeBytes: number
  /** Undefined where the header does not verify. */
  readonly createdMs: number | undefined
  readonly records: number
  readonly batches: number
  /** 0 without a record. */
  readonly first: Offset
  readonly last: Offset
  readonly timeMsMin: number
  readonly timeMsMax: number
  /** `none`: it has none, and needs none. */
  readonly index: 'whole' | 'damaged' | 'missing' | 'none'
}

export interface InspectionOptions {
  /** `outline` reads what a start reads; `full` reads every byte. */
  readonly depth: 'outline' | 'full'
  readonly progress?: ((bytesDone: number, bytesTotal: number) => void) | undefined
}

/** Which records are wanted: the bounds are part of the range. */
export interface RecordRange {
  readonly from: Offset
  readonly through: Offset
  readonly fromMs: number
  readonly throughMs: number
  readonly streamId?: number | undefined
}

export const EVERYTHING: RecordRange = {
  from: 0,
  through: Number.MAX_SAFE_INTEGER,
  fromMs: 0,
  throughMs: Number.POSITIVE_INFINITY,
}

/** `record` is valid until the next item is asked for. */
export type InspectedItem = { readonly record: LogRecord } | { readonly damage: Finding }

export function severityOf(kind: FindingKind): Severity {
  if (kind === 'damage' || kind === 'missing' || kind === 'sidecar-damaged') return 'damage'
  return kind === 'foreign' || kind === 'newer' || kind === 'unreadable' || kind === 'headless' ? 'refused' : 'note'
}

const PAGES_PER_READ = 64
const BLOCK_BYTES = 32 * 1024
const CACHE_BYTES_MAX = 4 * 1024 * 1024
const OPEN_FILES_MAX = 16

/** Throws the operating system's errors for the folder itself, and for a shortage of memory or descriptors. */
export async function inspectLog(files: Files, directory: string, options: InspectionOptions): Promise<LogInspection> {
  const inspection = new LogInspection(files, directory, options)
  try {
    await inspection.run()
  } catch (error) {
    await inspection.close()
    throw error
  }
  return inspection
}

/** A segment as the inspection has settled it. */
interface Settled {
  readonly loaded: Loaded
  /** Behind it nothing counts. */
  readonly end: number
  state: InspectedSegment['state']
}

export class LogInspection {
  readonly #context: SegmentContext
  readonly #options: InspectionOptions
  readonly #findings: Finding[] = []
  #names: readonly string[] = []
  readonly #sidecars = new Map<number, InspectedSegment['index']>()
  #settled: Settled[] = []
  #identity: Uint8Array | undefined
  #ceiling: Offset = 0
  #reserveBytes: number | undefined
  #bytesTotal = 0
  #bytesDone = 0

  constructor(files: Files, directory: string, options: InspectionOptions) {
    const readOnly = new ReadOnlyFiles(files)
    this.#options = options
    this.#context = {
      files: readOnly,
      directory,
      openFiles: new OpenFiles(readOnly, OPEN_FILES_MAX),
      blocks: new BlockCache(BLOCK_BYTES, CACHE_BYTES_MAX),
      pages: new BlockCache(PAGE_BYTES, CACHE_BYTES_MAX),
      keyHash: hashKey,
      observer: silentObserver,
      hasSidecars: true,
      now: () => 0,
    }
  }

  /** 16 bytes; undefined where no file tells it. */
  get identity(): Uint8Array | undefined {
    return this.#identity
  }

  /** In the order of the log. */
  get findings(): readonly Finding[] {
    return this.#findings
  }

  /** The highest ceiling that was met: numbers at or above it were never given. */
  get ceiling(): Offset {
    return this.#ceiling
  }

  /** Undefined: there is none. */
  get reserveBytes(): number | undefined {
    return this.#reserveBytes
  }

  get segments(): readonly InspectedSegment[] {
    return this.#settled.map(({ loaded: { found, segment }, state }) => {
      const { recordCount, batchCount, first, last, timeMsMin, timeMsMax } = segment.summary()
      return {
        file: found.name,
        generation: found.generation,
        state,
        sizeBytes: found.sizeBytes,
        createdMs: found.header?.createdMs,
        records: recordCount,
        batches: batchCount,
        first,
        last,
        timeMsMin,
        timeMsMax,
        index: this.#sidecars.get(found.generation) ?? 'none',
      }
    })
  }

  async close(): Promise<void> {
    await this.#context.openFiles.close()
  }

  /** Once, by `inspectLog`. */
  async run(): Promise<void> {
    const found = await this.#find()
    if (this.#identity === undefined) return
    const loaded: Loaded[] = []
    const lastCrcs = new Map([[0, 0]])
    let last: Offset = 0
    for (const [i, one] of found.entries()) {
      const chain: Chain = { crc: lastCrcs.get(one.header?.predecessor ?? -1) ?? UNKNOWN_CRC, last }
      const decider = deciderOf(one, found.slice(i + 1))
      const next = await this.#load(one, chain, decider)
      loaded.push(next)
      const isDecided = next.footer !== undefined || next.segment.contentEnd === decider?.predecessorEnd
      if (isDecided) lastCrcs.set(one.generation, next.segment.chain.crc)
      last = Math.max(last, next.segment.chain.last)
    }
    await this.#settle(loaded)
    this.#reportMissing(loaded)
    this.#boundAndSort()
  }

  /**
   * The records of the log, in order, and what is damaged between them: that it lacks something is never silent. Of a
   * range that a whole index covers, those records are given that verify by themselves.
   */
  async *records(range: RecordRange): AsyncGenerator<InspectedItem> {
    const missing = this.#findings.filter(({ kind }) => kind === 'missing')
    for (const { loaded, end, state } of this.#settled) {
      if (state === 'overlapping' || state === 'spare') continue
      while (missing[0] !== undefined && missing[0].file < loaded.found.name) {
        yield* damageIn(range, missing.shift() as Finding)
      }
      const { segment } = loaded
      const { timeMsMin, timeMsMax } = segment.summary()
      if (segment.chain.last < range.from) continue
      // A damaged segment may hold more than its summary says.
      const isWhole = loaded.footer !== undefined && loaded.scan === undefined
      if (isWhole && (segment.first > range.through || timeMsMin > range.throughMs || timeMsMax < range.fromMs))
        continue
      if (range.streamId !== undefined && segment.index instanceof IndexFile) {
        yield* this.#streamRecords(loaded, end, range, range.streamId, segment.index)
      } else yield* this.#allRecords(loaded, end, range)
    }
    for (const damage of missing) yield* damageIn(range, damage)
  }

  // What is there

  async #find(): Promise<Found[]> {
    const { files, directory } = this.#context
    this.#names = await files.list(directory)
    const found: Found[] = []
    for (const name of this.#names) {
      const parsed = parseName(name)
      if (parsed.kind === 'unknown') this.#tell('unknown-file', name, 'it is not of the log, and is left alone')
      if (parsed.kind === 'temporary') this.#tell('temporary', name, 'it was being made; the next start removes it')
      if (parsed.kind === 'reserve') this.#reserveBytes = await this.#sizeOf(RESERVE_NAME)
      if (parsed.kind === 'index') {
        if (this.#options.depth === 'full') this.#bytesTotal += (await this.#sizeOf(name)) ?? 0
        const isAlone = !this.#names.includes(segmentName(parsed.generation))
        if (isAlone) this.#tell('sidecar-missing', name, 'it is the index of a segment that is not there')
      }
      if (parsed.kind !== 'segment') continue
      const one = await this.#readHeader(name, parsed.generation)
      if (one !== undefined) found.push(one)
    }
    const own = await this.#withoutForeign(found.sort((a, b) => a.generation - b.generation))
    for (const { sizeBytes } of own) this.#bytesTotal += sizeBytes
    return own
  }

  async #readHeader(name: string, generation: number): Promise<Found | undefined> {
    try {
      const { decoded, sizeBytes } = await readSegmentHeader(this.#context, name)
      if (decoded.kind !== 'unknown-version') {
        return { generation, name, sizeBytes, header: decoded.kind === 'header' ? decoded.header : undefined }
      }
      const reason = `it has format version ${decoded.version}; this program knows version 1`
      this.#findings.push({ ...place(name, 8, 4), kind: 'newer', reason })
    } catch (error) {
      const code = systemCode(error)
      if (code === undefined || isShortage(error)) throw error
      if (code === 'EIO') return { generation, name, sizeBytes: 0, header: undefined }
      this.#tell('unreadable', name, `it cannot be opened (${code})`)
    }
    return undefined
  }

  /** The log is the one that most headers name. Where none verifies, an index may still tell. */
  async #withoutForeign(found: readonly Found[]): Promise<Found[]> {
    const votes = new Map<string, number>()
    for (const { header } of found) {
      if (header === undefined) continue
      const hex = Buffer.from(header.identity).toString('hex')
      votes.set(hex, (votes.get(hex) ?? 0) + 1)
    }
    const [elected] = [...votes].sort(([, a], [, b]) => b - a)
    this.#identity = elected === undefined ? undefined : Uint8Array.from(Buffer.from(elected[0], 'hex'))
    if (elected === undefined && found.length > 0) {
      const names = found.map(({ name }) => name).join(', ')
      const reason = `no segment has a header that verifies (${names}); restore the log from a backup`
      this.#tell('headless', (found[0] as Found).name, reason)
      for (const { generation } of found) this.#identity ??= await this.#identityOfIndex(generation)
    }
    return found.filter(({ name, generation, header }) => {
      if (header === undefined || this.#identity === undefined) return true
      const isSameLog = Buffer.compare(header.identity, this.#identity) === 0
      if (isSameLog && header.generation === generation) return true
      const what = isSameLog ? `is a copy of ${segmentName(header.generation)}` : 'belongs to another log'
      this.#tell('foreign', name, `it ${what}; move it out of the folder`)
      return false
    })
  }

  async #identityOfIndex(generation: number): Promise<Uint8Array | undefined> {
    const page = await this.#readIndex(indexName(generation), 0, PAGE_BYTES)
    if (page === undefined || page.length < PAGE_BYTES) return undefined
    const identity = Uint8Array.from(page.subarray(16, 32))
    return pageVerifies(page, segmentSeed(identity, generation), 0) ? identity : undefined
  }

  async #sizeOf(name: string): Promise<number | undefined> {
    try {
      const file = await this.#context.files.open(`${this.#context.directory}/${name}`, 'read')
      const { sizeBytes } = file
      await file.close()
      return sizeBytes
    } catch (error) {
      if (systemCode(error) === undefined || isShortage(error)) throw error
      return undefined
    }
  }

  // What it holds

  async #load(found: Found, chain: Chain, decider: SegmentHeader | undefined): Promise<Loaded> {
    const footer = await this.#footerAtEnd(found)
    if (footer !== undefined && this.#options.depth === 'outline') {
      const outlined = await this.#loadByIndex(found, footer, chain)
      if (outlined !== undefined) return outlined
    }
    const sizeBytes = footer === undefined ? (decider?.predecessorEnd ?? found.sizeBytes) : found.sizeBytes
    const loaded = await this.#scan(found, footer, chain, Math.min(sizeBytes, found.sizeBytes))
    this.#reportHeader(loaded)
    if (loaded.footer === undefined) return loaded
    const { batches, unverified } = loaded.scan as NonNullable<Loaded['scan']>
    await this.#reportUnverified(loaded, unverified)
    if (unverified.length === 0) this.#compareFooter(loaded)
    if (this.#options.depth === 'full') await this.#checkSidecar(loaded, unverified.length === 0)
    else await this.#outlineSidecar(loaded)
    // An index in memory is as large as its records are many: only one is held at a time. Of the batches the last one
    // tells the ceiling.
    loaded.segment.replaceIndex((await this.#usableIndex(loaded, loaded.footer)) ?? new MemoryIndex(hashKey))
    return { ...loaded, scan: { batches: batches.slice(-1), unverified } }
  }

  async #footerAtEnd(found: Found): Promise<SegmentFooter | undefined> {
    const position = found.sizeBytes - FOOTER_BYTES
    if (position < HEADER_BYTES) return undefined
    const target = Buffer.alloc(FOOTER_BYTES)
    try {
      await this.#context.openFiles.read(`${this.#context.directory}/${found.name}`, target, position)
    } catch (error) {
      // The scan meets the same place again and reports it.
      if (systemCode(error) === undefined || isShortage(error)) throw error
      return undefined
    }
    return decodeFooter(target, 0, segmentSeed(this.#identity as Uint8Array, found.generation), position)
  }

  /** As a start takes it, without reading its batches; undefined where the sidecar does not fit. */
  async #loadByIndex(found: Found, footer: SegmentFooter, chain: Chain): Promise<Loaded | undefined> {
    const segment = this.#segmentOf(found, chain)
    const index = await this.#openIndex(segment)
    if (index === undefined || !fits(index, footer, found.sizeBytes - FOOTER_BYTES)) return undefined
    segment.adopt(index, index.summary, footer.last)
    segment.markSealed()
    this.#sidecars.set(found.generation, 'whole')
    const loaded = { found, segment, footer, scan: undefined }
    this.#reportHeader(loaded)
    this.#progress(found.sizeBytes)
    return loaded
  }

  async #scan(found: Found, footer: SegmentFooter | undefined, chain: Chain, sizeBytes: number): Promise<Loaded> {
    const segment = this.#segmentOf(found, chain)
    const batches: ScannedBatch[] = []
    const unverified: Unverified[] = []
    let foundFooter = footer
    for await (const item of scanSegment(scanSource(segment, sizeBytes), segment.headerEnd, chain)) {
      if (item.kind === 'batch') {
        const { position, header, bytes } = item
        segment.accept(bytes, header, position)
        batches.push({ position, end: position + header.length, header })
        this.#checkRecords(segment, bytes, header.count, position)
        this.#progress(header.length)
      } else if (item.kind === 'unverified') {
        unverified.push(item)
        this.#progress(item.end - item.position)
      } else foundFooter = item.footer
    }
    if (foundFooter !== undefined) {
      segment.markSealed()
      segment.endWith(foundFooter)
    }
    return { found, segment, footer: foundFooter, scan: { batches, unverified } }
  }

  /** A batch that verifies may hold a record that does not, if its writer made a mistake: readers of a stream see it. */
  #checkRecords(segment: Segment, batch: Buffer, count: number, position: number): void {
    if (this.#options.depth !== 'full') return
    for (const [at, record] of recordsOf(batch, count)) {
      if (verifyRecord(batch, at, segment.seed, position + at)) continue
      const { offset, streamId, length } = record
      this.#findings.push({
        ...place(segment.name, position + at, length),
        kind: 'damage',
        reason: 'the record does not verify, though its batch does',
        after: offset - 1,
        through: offset,
        lost: [{ streamId, offset }],
      })
    }
  }

  #compareFooter({ found, segment, footer }: Loaded): void {
    const counted = segment.summary()
    const isSame =
      footer?.recordCount === counted.recordCount &&
      footer.batchCount === counted.batchCount &&
      footer.first === counted.first &&
      footer.last === counted.last &&
      footer.timeMsMin === counted.timeMsMin &&
      footer.timeMsMax === counted.timeMsMax
    if (isSame) return
    const reason = 'the footer does not say what the segment holds'
    this.#findings.push({ ...place(found.name, segment.contentEnd, FOOTER_BYTES), kind: 'damage', reason })
  }

  // Sidecars

  async #openIndex(segment: Segment): Promise<IndexFile | undefined> {
    try {
      return await openIndexFile(this.#context, segment)
    } catch (error) {
      if (!(error instanceof IndexDoubt)) throw error
      return undefined
    }
  }

  /** Without having read it: present but unusable, or not there. */
  async #outlineSidecar(loaded: Loaded): Promise<void> {
    const { generation } = loaded.found
    const name = indexName(generation)
    if (!this.#names.includes(name)) this.#missingSidecar(loaded)
    else if (loaded.scan?.unverified.length === 0) {
      this.#doubtSidecar(generation, 0, 0, 'it does not verify, or does not fit its segment')
    } else this.#sidecars.set(generation, 'damaged')
  }

  /** The sidecar, where it was found whole and a start would take its word. */
  async #usableIndex({ found, segment }: Loaded, footer: SegmentFooter): Promise<IndexFile | undefined> {
    if (this.#sidecars.get(found.generation) !== 'whole') return undefined
    const index = await this.#openIndex(segment)
    return index !== undefined && fits(index, footer, found.sizeBytes - FOOTER_BYTES) ? index : undefined
  }

  #missingSidecar({ found, segment, scan }: Loaded): void {
    // A segment with damage gets none: it could not say which streams the damage concerns.
    if (segment.batchCount === 0 || scan?.unverified.length !== 0) return
    this.#sidecars.set(found.generation, 'missing')
    this.#tell('sidecar-missing', indexName(found.generation), 'it is not there; the next start makes it again')
  }

  #doubtSidecar(generation: number, position: number, bytes: number, reason: string): void {
    this.#sidecars.set(generation, 'damaged')
    const told = `${reason}; nothing is lost, and it is made again when it is needed`
    this.#findings.push({ ...place(indexName(generation), position, bytes), kind: 'sidecar-damaged', reason: told })
  }

  /** Every page of it; and, where its segment is whole, every byte against one that is made from the segment. */
  async #checkSidecar(loaded: Loaded, isWhole: boolean): Promise<void> {
    const { found, segment } = loaded
    const { generation } = found
    const name = indexName(generation)
    if (!this.#names.includes(name)) {
      this.#missingSidecar(loaded)
      return
    }
    const made = isWhole ? await this.#makeIndex(segment) : undefined
    let hasDamage = false
    let differsAt: number | undefined
    let position = 0
    for (;;) {
      const bytes = await this.#readIndex(name, position, PAGE_BYTES * PAGES_PER_READ)
      if (bytes === undefined) {
        this.#doubtSidecar(generation, position, 0, 'it cannot be read')
        return
      }
      for (let at = 0; at < bytes.length; at += PAGE_BYTES) {
        const page = bytes.subarray(at, at + PAGE_BYTES)
        const pageNumber = (position + at) / PAGE_BYTES
        const verifies = page.length === PAGE_BYTES && pageVerifies(page, segment.seed, pageNumber)
        if (!verifies) this.#doubtSidecar(generation, position + at, page.length, 'the page does not verify')
        hasDamage ||= !verifies
      }
      if (made !== undefined) {
        const wanted = Buffer.alloc(bytes.length)
        const length = await made.read(wanted, position)
        if (length !== bytes.length || !wanted.equals(bytes)) differsAt ??= position + firstDifference(wanted, bytes)
      }
      this.#progress(bytes.length)
      position += bytes.length
      if (bytes.length < PAGE_BYTES * PAGES_PER_READ) break
    }
    if (!hasDamage && made !== undefined && (differsAt !== undefined || made.sizeBytes !== position)) {
      const at = differsAt ?? Math.min(made.sizeBytes, position)
      this.#doubtSidecar(generation, at - (at % PAGE_BYTES), PAGE_BYTES, 'it does not say what its segment holds')
    }
    if (!this.#sidecars.has(generation)) this.#sidecars.set(generation, 'whole')
  }

  async #makeIndex(segment: Segment): Promise<DataFile> {
    const memory = new MemoryFiles()
    await memory.makeDirectory('/made')
    await writeIndexFile(memory, '/made', segment.index as MemoryIndex, segment.summary())
    return await memory.open(`/made/${indexName(segment.generation)}`, 'read')
  }

  /** Undefined where it cannot be read; fewer bytes at its end. */
  async #readIndex(name: string, position: number, length: number): Promise<Buffer | undefined> {
    const target = Buffer.alloc(length)
    try {
      const path = `${this.#context.directory}/${name}`
      return target.subarray(0, await this.#context.openFiles.read(path, target, position))
    } catch (error) {
      if (systemCode(error) === undefined || isShortage(error)) throw error
      return undefined
    }
  }

  // Where it ends

  async #settle(loaded: readonly Loaded[]): Promise<void> {
    const tailAt = Math.max(0, loaded.findLastIndex(holdsContent))
    const tail = loaded[tailAt]
    if (tail === undefined) return
    for (const one of loaded.slice(0, tailAt)) await this.#settleBeforeTail(one, loaded)
    this.#ceiling = await highestCeiling(loaded)
    const behind = loaded.slice(tailAt + 1)
    const successor = behind.find((one) => isEndOf(one, tail))
    if (tail.footer !== undefined) this.#add(tail, 'sealed')
    else if (successor !== undefined) await this.#settleDecided(tail, successor.found.header as SegmentHeader)
    else await this.#settleTail(tail)
    for (const one of behind) {
      if (one === successor) {
        const { segment, found } = one
        const rest = found.sizeBytes - segment.headerEnd
        if (rest > 0) this.#tellTornTail(found.name, segment.headerEnd, rest)
        this.#add(one, 'open', segment.headerEnd)
      } else {
        this.#add(one, 'spare')
        // One whose header does not verify has been told as damage, and stays.
        if (one.found.header !== undefined)
          this.#tell('spare', one.found.name, 'it is empty; the next start removes it')
      }
    }
    this.#settled.sort((a, b) => a.loaded.found.generation - b.loaded.found.generation)
    this.#setOverlapsAside()
  }

  async #settleBeforeTail(one: Loaded, loaded: readonly Loaded[]): Promise<void> {
    const { found, segment } = one
    if (one.footer !== undefined) {
      this.#add(one, 'sealed')
      return
    }
    if (isUnusedSpare(one, loaded)) {
      this.#add(one, 'spare')
      this.#tell('spare', found.name, 'it is empty; the next start removes it')
      return
    }
    const others = loaded.map((other) => other.found)
    const decider = deciderOf(found, others)
    if (decider !== undefined) {
      await this.#settleDecided(one, decider)
      return
    }
    this.#reportShort(one, durableEnd(found))
    const unverified = one.scan?.unverified ?? []
    await this.#reportUnverified(one, unverified)
    if (unverified.length === 0) {
      const { contentEnd, chain } = segment
      const reason = 'the footer is missing'
      const numbers = { after: chain.last, through: UNKNOWN_THROUGH }
      this.#findings.push({ ...place(found.name, contentEnd, 0), kind: 'damage', reason, ...numbers, lost: undefined })
    }
    this.#add(one, 'unsealed')
  }

  /** A recovery has said where the segment ends, and was cut off before it could write the footer. */
  async #settleDecided(one: Loaded, decider: SegmentHeader): Promise<void> {
    await this.#reportUnverified(one, one.scan?.unverified ?? [])
    this.#reportShort(one, Math.max(decider.predecessorEnd, durableEnd(one.found)))
    this.#tell('unsealed', one.found.name, 'a recovery was cut off; the next start seals it')
    this.#add(one, 'unsealed', decider.predecessorEnd)
  }

  async #settleTail(tail: Loaded): Promise<void> {
    const { found } = tail
    const end = endOfLog(tail, provenEnd(tail))
    const damaged = (tail.scan?.unverified ?? []).filter(({ position }) => position < end)
    await this.#reportUnverified(tail, damaged)
    this.#reportShort(tail, durableEnd(found))
    if (found.sizeBytes <= end) {
      this.#add(tail, 'open')
      return
    }
    this.#tellTornTail(found.name, end, found.sizeBytes - end)
    const told = this.#findings.length
    // Without the batches behind it, which are cut with it.
    const kept = await this.#scan(found, undefined, tail.segment.chainBefore, end)
    this.#findings.length = told
    this.#add(kept, 'open', end)
  }

  #tellTornTail(file: string, position: number, bytes: number): void {
    const reason =
      'a crash left it unfinished; nothing of it was acknowledged as durable, and the next start cuts it away'
    this.#findings.push({ ...place(file, position, bytes), kind: 'torn-tail', reason })
  }

  #add(loaded: Loaded, state: Settled['state'], end = loaded.found.sizeBytes): void {
    this.#settled.push({ loaded, end: Math.min(end, loaded.found.sizeBytes), state })
  }

  #setOverlapsAside(): void {
    let last: Offset = 0
    for (const one of this.#settled) {
      const { segment } = one.loaded
      if (one.state === 'spare') continue
      if (segment.recordCount > 0 && segment.first <= last) {
        const reason = 'its numbers overlap with those of an earlier segment'
        const at = place(segment.name, 0, segment.contentEnd)
        this.#findings.push({ ...at, kind: 'damage', reason, after: last, through: last })
        one.state = 'overlapping'
      } else last = Math.max(last, segment.last)
    }
  }

  // Findings

  async #reportUnverified(one: Loaded, items: readonly Unverified[]): Promise<void> {
    if (items.length === 0) return
    const lost = await this.#lostRecords(one, items)
    for (const item of items) {
      const batches = one.scan?.batches ?? []
      const before = batches.findLast((batch) => batch.end <= item.position)
      const behind = batches.find((batch) => batch.position >= item.end)
      const after = before?.header.last ?? one.segment.chainBefore.last
      const through = behind === undefined ? (one.footer?.last ?? UNKNOWN_THROUGH) : behind.header.first - 1
      this.#findings.push({
        ...place(one.found.name, item.position, item.end - item.position),
        kind: 'damage',
        reason: item.reason,
        after,
        through: Math.max(after, through),
        lost: lost?.get(item),
      })
    }
  }

  /** Which records lay in these ranges and are gone, by the word of the sidecar; undefined where it says nothing. */
  async #lostRecords(
    one: Loaded,
    items: readonly Unverified[],
  ): Promise<ReadonlyMap<Unverified, readonly LostRecord[]> | undefined> {
    const placed = await this.#recordsIn(one, items)
    if (placed === undefined) return undefined
    return new Map([...placed].map(([item, records]) => [item, lostOf(records)]))
  }

  async #recordsIn(
    { segment, footer, found }: Loaded,
    items: readonly Unverified[],
  ): Promise<ReadonlyMap<Unverified, PlacedRecord[]> | undefined> {
    const index = await this.#openIndex(segment)
    if (index === undefined) return undefined
    // Without such an index a reader loses the whole batch.
    const isUsed = footer !== undefined && fits(index, footer, found.sizeBytes - FOOTER_BYTES)
    const placed = new Map<Unverified, PlacedRecord[]>(items.map((item) => [item, []]))
    try {
      for await (const posting of index.entries()) {
        const { position, length, streamId, offset } = posting
        const item = items.find((each) => position < each.end && position + length > each.position)
        if (item === undefined) continue
        placed.get(item)?.push({ streamId, offset, record: isUsed ? await this.#record(segment, posting) : undefined })
      }
    } catch (error) {
      if (!(error instanceof IndexDoubt)) throw error
      return undefined
    }
    for (const records of placed.values()) records.sort((a, b) => a.offset - b.offset)
    return placed
  }

  async #record(segment: Segment, { position, length }: Posting): Promise<RecordView | undefined> {
    const bytes = Buffer.alloc(length)
    try {
      if ((await segment.read(bytes, position)) < length) return undefined
    } catch (error) {
      if (systemCode(error) === undefined || isShortage(error)) throw error
      return undefined
    }
    return verifyRecord(bytes, 0, segment.seed, position) ? new RecordView(bytes, 0) : undefined
  }

  #reportHeader({ found, segment }: Loaded): void {
    if (found.header !== undefined) return
    const reason = 'the header does not verify; the batches behind it are readable all the same'
    const { first } = segment
    const at = place(found.name, 0, HEADER_BYTES)
    this.#findings.push({ ...at, kind: 'damage', reason, after: first, through: first })
  }

  #reportShort({ found, segment }: Loaded, end: number): void {
    const { sizeBytes, name } = found
    if (end <= sizeBytes) return
    const at = place(name, sizeBytes, end - sizeBytes)
    const reason = 'the file is shorter than it was'
    const { last } = segment.chain
    this.#findings.push({ ...at, kind: 'damage', reason, after: last, through: UNKNOWN_THROUGH, lost: undefined })
  }

  #reportMissing(loaded: readonly Loaded[]): void {
    const kept = this.#kept()
    const readable = loaded.filter((one) => one.found.header !== undefined || one.segment.batchCount > 0)
    const present = new Set([0, ...readable.map((one) => one.found.generation)])
    const named = loaded.flatMap((one) => [one.footer?.successor ?? 0, one.found.header?.predecessor ?? 0])
    for (const generation of new Set(named.filter((one) => !present.has(one)))) {
      const after = kept.findLast((segment) => segment.generation < generation)?.last ?? 0
      const isThere = loaded.some((one) => one.found.generation === generation)
      const reason = isThere ? 'nothing in it verifies' : 'the file is missing'
      const at = place(segmentName(generation), 0, 0)
      this.#findings.push({ ...at, kind: 'missing', reason, after, through: UNKNOWN_THROUGH, lost: undefined })
    }
  }

  /** Damage reaches up to the next record there is, and not over it. */
  #boundAndSort(): void {
    const kept = this.#kept()
    for (const [i, finding] of this.#findings.entries()) {
      if (finding.through !== UNKNOWN_THROUGH) continue
      const behind = kept.find((segment) => segment.name > finding.file && segment.recordCount > 0)
      const through = behind === undefined ? undefined : Math.max(finding.after, behind.first - 1)
      this.#findings[i] = { ...finding, through }
    }
    this.#findings.sort((a, b) => (a.file === b.file ? a.position - b.position : a.file < b.file ? -1 : 1))
  }

  #kept(): Segment[] {
    return this.#settled
      .filter(({ state }) => state !== 'spare' && state !== 'overlapping')
      .map(({ loaded }) => loaded.segment)
  }

  #tell(kind: FindingKind, file: string, reason: string): void {
    this.#findings.push({ ...place(file, 0, 0), kind, reason })
  }

  // Records

  async *#streamRecords(
    loaded: Loaded,
    end: number,
    range: RecordRange,
    streamId: number,
    index: IndexFile,
  ): AsyncGenerator<InspectedItem> {
    const { segment } = loaded
    let { from } = range
    try {
      const cursor = await index.seek(streamId, from - 1)
      for (let postings = await cursor.next(PAGES_PER_READ); postings.length > 0; ) {
        for (const posting of postings) {
          const { offset, position, length } = posting
          if (offset > range.through) return
          const record = await this.#record(segment, posting)
          from = offset + 1
          if (record === undefined) {
            const lost = [{ streamId, offset }]
            const reason = 'does not verify'
            const at = place(segment.name, position, length)
            yield { damage: { ...at, kind: 'damage', reason, after: offset - 1, through: offset, lost } }
          } else if (isWanted(record, range)) yield { record }
        }
        postings = await cursor.next(PAGES_PER_READ)
      }
    } catch (error) {
      if (!(error instanceof IndexDoubt)) throw error
      // The rest without it.
      yield* this.#allRecords(loaded, end, { ...range, from })
    }
  }

  async *#allRecords(loaded: Loaded, end: number, range: RecordRange): AsyncGenerator<InspectedItem> {
    const { segment, footer } = loaded
    let after = segment.chainBefore.last
    let pending: Unverified | undefined
    const items = scanSegment(scanSource(segment, end), segment.headerEnd, segment.chainBefore)
    for await (const item of items) {
      if (item.kind === 'unverified') pending = item
      if (item.kind === 'footer') continue
      if (item.kind !== 'batch') continue
      if (pending !== undefined) yield* this.#readDamaged(loaded, pending, after, item.header.first - 1, range)
      pending = undefined
      after = item.header.last
      if (item.header.first > range.through) return
      for (const [, record] of recordsOf(item.bytes, item.header.count)) if (isWanted(record, range)) yield { record }
    }
    if (pending === undefined) return
    const behind = this.#kept().find((other) => other.generation > segment.generation && other.recordCount > 0)
    const through = footer?.last ?? (behind === undefined ? undefined : behind.first - 1)
    yield* this.#readDamaged(loaded, pending, after, through, range)
  }

  async *#readDamaged(
    loaded: Loaded,
    item: Unverified,
    after: Offset,
    through: Offset | undefined,
    range: RecordRange,
  ): AsyncGenerator<InspectedItem> {
    const placed = (await this.#recordsIn(loaded, [item]))?.get(item)
    yield* damageIn(range, {
      ...place(loaded.found.name, item.position, item.end - item.position),
      kind: 'damage',
      reason: item.reason,
      after,
      through: through === undefined ? undefined : Math.max(after, through),
      lost: placed === undefined ? undefined : lostOf(placed),
    })
    for (const { record } of placed ?? []) if (record !== undefined && isWanted(record, range)) yield { record }
  }

  #segmentOf(found: Found, chain: Chain): Segment {
    const headerEnd = found.header === undefined ? HEADER_BYTES : headerBytes(found.header)
    const header = found.header ?? {
      identity: this.#identity as Uint8Array,
      generation: found.generation,
      predecessor: 0,
    }
    return new Segment(this.#context, header, headerEnd, chain)
  }

  #progress(bytes: number): void {
    this.#bytesDone += bytes
    this.#options.progress?.(Math.min(this.#bytesDone, this.#bytesTotal), this.#bytesTotal)
  }
}

interface PlacedRecord extends LostRecord {
  /** Undefined where it is lost. */
  readonly record: RecordView | undefined
}

function lostOf(records: readonly PlacedRecord[]): LostRecord[] {
  return records.flatMap(({ streamId, offset, record }) => (record === undefined ? [{ streamId, offset }] : []))
}

/** What may only look: a mistake in here must not be able to change anything. */
class ReadOnlyFiles implements Files {
  readonly #files: Files

  constructor(files: Files) {
    this.#files = files
  }

  async open(path: string, mode: 'create' | 'read' | 'update'): Promise<DataFile> {
    if (mode !== 'read') throw systemError('EROFS', 'open', path)
    return await this.#files.open(path, mode)
  }

  async list(directory: string): Promise<readonly string[]> {
    return await this.#files.list(directory)
  }

  async makeDirectory(directory: string): Promise<void> {
    throw systemError('EROFS', 'mkdir', directory)
  }

  async rename(from: string): Promise<void> {
    throw systemError('EROFS', 'rename', from)
  }

  async remove(path: string): Promise<void> {
    throw systemError('EROFS', 'unlink', path)
  }

  async syncDirectory(directory: string): Promise<void> {
    throw systemError('EROFS', 'fsync', directory)
  }
}

/** Of a finding that costs no number. */
function place(file: string, position: number, bytes: number) {
  return { file, position, bytes, after: 0, through: 0, lost: undefined }
}

/** Whether a start takes the sidecar's word for what the segment holds. */
function fits({ summary }: IndexFile, footer: SegmentFooter, contentEnd: number): boolean {
  return (
    summary.contentEnd === contentEnd &&
    summary.lastCrc === footer.lastCrc &&
    summary.recordCount === footer.recordCount
  )
}

/** Whether the log goes on in the empty segment `one`, by the word of a footer or a recovery. */
function isEndOf(one: Loaded, tail: Loaded): boolean {
  if (one.found.header === undefined) return false
  if (tail.footer !== undefined) return tail.footer.successor === one.found.generation
  return one.found.header.predecessor === tail.found.generation && one.found.header.predecessorEnd > 0
}

function isWanted({ offset, timeMs, streamId }: LogRecord, range: RecordRange): boolean {
  if (range.streamId !== undefined && streamId !== range.streamId) return false
  return offset >= range.from && offset <= range.through && timeMs >= range.fromMs && timeMs <= range.throughMs
}

/** The damage, if it may concern the range. */
function* damageIn(range: RecordRange, damage: Finding): Generator<InspectedItem> {
  const { after, through = Number.MAX_SAFE_INTEGER, lost } = damage
  if (through <= after || through < range.from || after >= range.through) return
  const concerns = ({ streamId, offset }: LostRecord) =>
    offset >= range.from && offset <= range.through && (range.streamId ?? streamId) === streamId
  if (lost === undefined || lost.some(concerns)) yield { damage }
}

function firstDifference(one: Buffer, other: Buffer): number {
  for (let at = 0; at < one.length; at += 1) if (one[at] !== other[at]) return at
  return one.length
}

function scanSource(segment: Segment, sizeBytes: number) {
  return {
    seed: segment.seed,
    sizeBytes,
    read: (target: Uint8Array, position: number) => segment.read(target, position),
  }
}
