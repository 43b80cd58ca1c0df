/**
 * Makes a folder of segments into a log again, after a clean stop, a crash, or damage. The rules, with their reasons,
 * are in docs/log-format.md, "Recovery". In short:
 *
 * - The tail is in the last segment that holds a batch. Bytes there that do not verify are a torn tail, unless
 *   something behind them says that they were durable: then they are damage, as anywhere else.
 * - What was recovered but is not proven to be on the disk is copied into a new segment before anything is served.
 *   Nothing recovered is ever written over.
 * - Damage stops nothing: it is reported with its place, and everything else stays readable.
 * - What cannot be ours (another log, a newer format) is refused before anything is touched.
 */

import { randomBytes } from 'node:crypto'
import { indexName, parseName, segmentName, temporaryName } from './data-directory.ts'
import { StorageError, SyncFailure, systemCode } from './errors.ts'
import type { DataFile, Files } from './files.ts'
import {
  type BatchHeader,
  decodeFooter,
  FOOTER_BYTES,
  HEADER_BYTES,
  headerBytes,
  type Offset,
  ORDER_BY_OFFSET,
  type SegmentFooter,
  type SegmentHeader,
  sealBatch,
  sealRecord,
  segmentSeed,
} from './format.ts'
import { IndexDoubt, IndexFile, writeIndexFile } from './index-file.ts'
import { type IndexMark, MemoryIndex } from './memory-index.ts'
import type { Damage } from './observer.ts'
import { type Chain, type ScanItem, scanSegment, UNKNOWN_CHAIN, UNKNOWN_CRC } from './scan.ts'
import { nextCacheId, recordsOf, Segment, type SegmentContext, syncOrFail } from './segment.ts'
import { createSegmentFile, readSegmentHeader } from './segment-files.ts'
import { RESERVATION } from './sequencer.ts'

export interface RecoveredLog {
  /** In the order of their numbers; the last one is open for writing. */
  readonly segments: readonly Segment[]
  readonly damages: readonly Damage[]
  /** The highest ceiling that any batch has reserved. */
  readonly ceiling: Offset
  /** Everything before this place of the active segment is durable. */
  readonly syncedPosition: number
  /** The highest that any file bears, or is named by one: none of these may be used again. */
  readonly newestGeneration: number
}

/** One segment's file, as the listing and its header tell. */
export interface Found {
  readonly generation: number
  readonly name: string
  readonly sizeBytes: number
  /** Undefined where the header does not verify. */
  readonly header: SegmentHeader | undefined
}

/** A segment whose content is known. */
export interface Loaded {
  readonly found: Found
  segment: Segment
  /** The footer, where one verifies. */
  readonly footer: SegmentFooter | undefined
  readonly scan: Scan | undefined
}

export interface Scan {
  readonly batches: readonly ScannedBatch[]
  readonly unverified: readonly Unverified[]
}

export interface ScannedBatch {
  readonly position: number
  readonly end: number
  readonly header: BatchHeader
}

/** Stands for the end of a range of numbers that is not known; whoever opens the log puts its next number there. */
export const UNKNOWN_THROUGH: Offset = Number.MAX_SAFE_INTEGER

/**
 * So far above the highest ceiling that can be read those of lost batches may lie: each raises it by one reservation at
 * most, and no segment holds more batches than that. Twelve days of numbers.
 */
const CEILING_MARGIN = 2 ** 20 * RESERVATION
const OVERLAP = 'its numbers overlap with those of an earlier segment'

export type Unverified = Extract<ScanItem, { kind: 'unverified' }>

export async function recoverLog(context: SegmentContext): Promise<RecoveredLog> {
  return await new Recovery(context).run()
}

class Recovery {
  readonly #context: SegmentContext
  readonly #damages: Damage[] = []
  #identity: Uint8Array = new Uint8Array(0)
  #bytesTotal = 0
  #bytesDone = 0
  #ceiling: Offset = 0
  /** The highest generation that any name in the folder bears. */
  #newestSeen = 0

  constructor(context: SegmentContext) {
    this.#context = context
  }

  async run(): Promise<RecoveredLog> {
    const found = await this.#find()
    if (found.length === 0) return await this.#startNewLog()
    const loaded = await this.#loadAll(found)
    const active = await this.#settleTail(loaded)
    const sealed = loaded.map((one) => one.segment).filter((segment) => segment !== active && segment.isSealed)
    const kept = this.#withoutOverlaps([...sealed, active])
    this.#reportMissing(loaded, kept)
    this.#boundDamages(kept)
    for (const damage of this.#damages) this.#context.observer.damaged(damage)
    const named = loaded.map((one) => one.footer?.successor ?? 0)
    return {
      segments: kept,
      damages: this.#damages,
      ceiling: this.#ceiling + (this.#isEndDamaged(kept) ? CEILING_MARGIN : 0),
      syncedPosition: active.contentEnd,
      newestGeneration: Math.max(active.generation, this.#newestSeen, ...named),
    }
  }

  // What is there

  async #find(): Promise<Found[]> {
    const { files, directory, observer } = this.#context
    const found: Found[] = []
    const temporaries: string[] = []
    for (const name of await files.list(directory)) {
      const parsed = parseName(name)
      if (parsed.kind === 'unknown') observer.unknownFile(name)
      if (parsed.kind === 'temporary') temporaries.push(name)
      if ('generation' in parsed) this.#newestSeen = Math.max(this.#newestSeen, parsed.generation)
      if (parsed.kind !== 'segment') continue
      const { decoded, sizeBytes } = await readHeader(this.#context, name)
      if (decoded.kind === 'unknown-version') throw newerFormat(directory, name, decoded.version)
      const header = decoded.kind === 'header' ? decoded.header : undefined
      found.push({ generation: parsed.generation, name, sizeBytes, header })
    }
    refuseForeign(directory, found)
    if (found.length > 0) this.#identity = identityOf(found)
    // Only now is it certain that the folder is ours to change.
    for (const name of temporaries) await files.remove(`${directory}/${name}`)
    // A killed process may have left names that are not durable: nothing is built on them before they are.
    await syncDirectoryOrFail(files, directory)
    return found.sort((a, b) => a.generation - b.generation)
  }

  async #startNewLog(): Promise<RecoveredLog> {
    this.#identity = randomBytes(16)
    const active = await this.#createSegment(1, 0, 0, { crc: 0, last: 0 }, [])
    return { segments: [active], damages: [], ceiling: 0, syncedPosition: active.contentEnd, newestGeneration: 1 }
  }

  // What it holds

  async #loadAll(found: readonly Found[]): Promise<Loaded[]> {
    const loaded: Loaded[] = []
    // The CRC of a segment's last batch, where it is certain which one that is; before the first segment there is none.
    const lastCrcs = new Map([[0, 0]])
    let last: Offset = 0
    for (const [i, one] of found.entries()) {
      const chain: Chain = { crc: lastCrcs.get(one.header?.predecessor ?? -1) ?? UNKNOWN_CRC, last }
      const footer = await this.#footerAtEnd(one)
      const decider = deciderOf(one, found.slice(i + 1))
      const next: Loaded =
        footer === undefined
          ? await this.#loadByScan(one, undefined, chain, decider)
          : await this.#loadByIndex(one, footer, chain)
      loaded.push(next)
      const { segment } = next
      const isDecided = next.footer !== undefined || segment.contentEnd === decider?.predecessorEnd
      if (isDecided) lastCrcs.set(one.generation, segment.chain.crc)
      last = Math.max(last, segment.chain.last)
    }
    return loaded
  }

  async #footerAtEnd(found: Found): Promise<SegmentFooter | undefined> {
    const position = found.sizeBytes - FOOTER_BYTES
    if (position < HEADER_BYTES) return undefined
    const target = Buffer.alloc(FOOTER_BYTES)
    try {
      await this.#context.openFiles.read(this.#path(found), target, position)
    } catch {
      // The scan meets the same place again and reports it.
      return undefined
    }
    return decodeFooter(target, 0, segmentSeed(this.#identity, found.generation), position)
  }

  async #loadByIndex(found: Found, footer: SegmentFooter, chain: Chain): Promise<Loaded> {
    const segment = this.#segmentOf(found, chain)
    let doubt: string
    try {
      const index = await this.#loadIndex(segment)
      const { summary } = index
      const fits =
        summary.contentEnd === found.sizeBytes - FOOTER_BYTES &&
        summary.lastCrc === footer.lastCrc &&
        summary.recordCount === footer.recordCount
      if (fits) {
        segment.adopt(index, summary, footer.last)
        segment.markSealed()
        if (found.header === undefined) this.#reportHeader(found, segment)
        return { found, segment, footer, scan: undefined }
      }
      doubt = 'it does not fit its segment'
    } catch (error) {
      if (!(error instanceof IndexDoubt)) throw error
      doubt = error.message
    }
    const loaded = await this.#loadByScan(found, footer, chain, undefined)
    // A segment with damage keeps its index in memory: the sidecar could not say which streams the damage concerns.
    if (loaded.scan?.unverified.length === 0 && this.#context.hasSidecars) {
      await this.#writeIndex(loaded.segment)
      this.#context.observer.indexRebuilt(indexName(found.generation), doubt)
    }
    return loaded
  }

  async #loadIndex(segment: Segment): Promise<IndexFile> {
    return await openIndexFile(this.#context, segment)
  }

  /** A full disk does not keep a log from opening: the index stays in memory, and is made again at the next start. */
  async #writeIndex(segment: Segment): Promise<void> {
    try {
      await writeIndexFile(
        this.#context.files,
        this.#context.directory,
        segment.index as MemoryIndex,
        segment.summary(),
      )
      segment.replaceIndex(await this.#loadIndex(segment))
    } catch (error) {
      if (systemCode(error) === undefined && !(error instanceof IndexDoubt)) throw error
      // Half a sidecar takes the room that the log itself may need.
      const path = `${this.#context.directory}/${temporaryName(indexName(segment.generation))}`
      await this.#context.files.remove(path).catch(() => undefined)
    }
  }

  async #loadByScan(
    found: Found,
    footer: SegmentFooter | undefined,
    chain: Chain,
    decider: SegmentHeader | undefined,
  ): Promise<Loaded> {
    const segment = this.#segmentOf(found, chain)
    this.#bytesTotal += found.sizeBytes
    // An earlier recovery has decided where this segment ends, and was cut before it could write the footer.
    const sizeBytes = decider === undefined ? found.sizeBytes : Math.min(decider.predecessorEnd, found.sizeBytes)
    const batches: ScannedBatch[] = []
    const unverified: Unverified[] = []
    let foundFooter = footer
    const items = scanSegment(scanSource(segment, sizeBytes), segment.headerEnd, chain)
    for await (const item of items) {
      if (item.kind === 'batch') {
        segment.accept(item.bytes, item.header, item.position)
        batches.push({ position: item.position, end: item.position + item.header.length, header: item.header })
        this.#progress(item.header.length)
      } else if (item.kind === 'unverified') unverified.push(item)
      else foundFooter = item.footer
    }
    if (foundFooter !== undefined) {
      segment.markSealed()
      segment.endWith(foundFooter)
    }
    if (found.header === undefined) this.#reportHeader(found, segment)
    const loaded = { found, segment, footer: foundFooter, scan: { batches, unverified } }
    if (foundFooter !== undefined) for (const one of unverified) this.#reportUnverified(loaded, one)
    return loaded
  }

  // The end of the log

  /** Settles where the log ends; returns the segment that is written from now on. */
  async #settleTail(loaded: readonly Loaded[]): Promise<Segment> {
    const tailAt = loaded.findLastIndex(holdsContent)
    for (const [i, one] of loaded.entries()) if (i < tailAt) await this.#settleBeforeTail(one, loaded)
    const tail = loaded[Math.max(0, tailAt)] as Loaded
    const behind = loaded.slice(Math.max(0, tailAt) + 1)
    this.#ceiling = await highestCeiling(loaded)
    const successor = behind.find((one) => this.#isEndOf(one, tail))
    const active = successor === undefined ? await this.#recoverTail(tail) : await this.#continueIn(tail, successor)
    for (const one of behind) {
      // A header that does not verify is damage, and evidence: such a file stays.
      if (one.segment === active || one.found.header === undefined) continue
      // Made ahead of a roll that never came about, or left by a recovery that was cut: it never held a batch.
      await this.#removeUnused(one)
    }
    return active
  }

  async #removeUnused(one: Loaded): Promise<void> {
    const { files, directory, openFiles } = this.#context
    openFiles.forget(one.segment.path)
    await files.remove(one.segment.path)
    await syncDirectoryOrFail(files, directory)
  }

  /** Whether the empty segment `one` is where the log goes on after `tail`, by the word of a footer or a recovery. */
  #isEndOf(one: Loaded, tail: Loaded): boolean {
    if (one.found.header === undefined) return false
    if (tail.footer !== undefined) return tail.footer.successor === one.found.generation
    return one.found.header.predecessor === tail.found.generation && one.found.header.predecessorEnd > 0
  }

  async #continueIn(tail: Loaded, successor: Loaded): Promise<Segment> {
    if (tail.footer !== undefined) await this.#confirmFooter(tail)
    else {
      const { predecessorEnd } = successor.found.header as SegmentHeader
      for (const item of (tail.scan as Scan).unverified) this.#reportUnverified(tail, item)
      this.#reportShort(tail, Math.max(predecessorEnd, durableEnd(tail.found)))
      await this.#finishSealing(tail, predecessorEnd, successor.found.generation)
    }
    const segment = new Segment(
      this.#context,
      this.#headerOf(successor.found),
      successor.segment.headerEnd,
      tail.segment.chain,
    )
    const file = await this.#context.files.open(segment.path, 'update')
    if (file.sizeBytes > segment.headerEnd) {
      this.#context.observer.tailCut(segment.name, segment.headerEnd, file.sizeBytes - segment.headerEnd)
      await truncateDurably(file, segment.headerEnd)
    }
    segment.openForWriting(file)
    successor.segment = segment
    return segment
  }

  /**
   * The footer that a killed process leaves may be in the page cache only, or on a page that a failed sync marked
   * clean. Before the successor gets a batch it is written once more, the same bytes, and synced.
   */
  async #confirmFooter(tail: Loaded): Promise<void> {
    const position = tail.found.sizeBytes - FOOTER_BYTES
    const bytes = Buffer.alloc(FOOTER_BYTES)
    const file = await this.#context.files.open(tail.segment.path, 'update')
    try {
      await file.read(bytes, position)
      // Behind damage the footer may stand elsewhere; such a segment is not written to any more.
      if (decodeFooter(bytes, 0, tail.segment.seed, position) === undefined) return
      await file.write(bytes, position)
      await syncOrFail(file)
    } finally {
      await file.close()
    }
  }

  /** Something behind this segment holds a batch, so that all of it was durable once: what does not verify is damage. */
  async #settleBeforeTail(one: Loaded, loaded: readonly Loaded[]): Promise<void> {
    if (one.footer !== undefined) return
    if (isUnusedSpare(one, loaded)) {
      await this.#removeUnused(one)
      return
    }
    const decider = deciderOf(
      one.found,
      loaded.map(({ found }) => found),
    )
    if (decider !== undefined) {
      for (const item of one.scan?.unverified ?? []) this.#reportUnverified(one, item)
      this.#reportShort(one, Math.max(decider.predecessorEnd, durableEnd(one.found)))
      await this.#finishSealing(one, decider.predecessorEnd, decider.generation)
      return
    }
    this.#reportShort(one, durableEnd(one.found))
    const unverified = one.scan?.unverified ?? []
    for (const item of unverified) this.#reportUnverified(one, item)
    if (unverified.length === 0) {
      // The file may end short with a whole batch: nothing in it says that there was no more.
      const { contentEnd, chain } = one.segment
      this.#report(one.segment, contentEnd, 0, chain.last, UNKNOWN_THROUGH, 'the footer is missing')
    }
    one.segment.markSealed()
  }

  /** A tail without a footer: the process crashed. */
  async #recoverTail(tail: Loaded): Promise<Segment> {
    const newest = Math.max(tail.found.generation, this.#newestSeen)
    if (tail.footer !== undefined) {
      // Sealed, but the successor that the footer names is not there, or its header does not verify.
      const generation = Math.max(newest, tail.footer.successor) + 1
      await this.#confirmFooter(tail)
      return await this.#createSegment(generation, tail.found.generation, 0, tail.segment.chain, [])
    }
    const scan = tail.scan as Scan
    const proven = provenEnd(tail)
    const end = endOfLog(tail, proven)
    for (const item of scan.unverified) if (item.position < end) this.#reportUnverified(tail, item)
    this.#reportShort(tail, durableEnd(tail.found))
    // Where the end of what was durable is gone, what is written next would stand in its place, and hide that.
    const isEndThere = tail.segment.contentEnd === end && durableEnd(tail.found) <= end
    const isWhole = end === proven && end === tail.found.sizeBytes && isEndThere
    if (isWhole && tail.found.header !== undefined) {
      tail.segment.openForWriting(await this.#context.files.open(tail.segment.path, 'update'))
      return tail.segment
    }
    const unproven = scan.batches.filter((batch) => batch.position >= proven && batch.end <= end)
    if (tail.found.sizeBytes > end) this.#context.observer.tailCut(tail.found.name, end, tail.found.sizeBytes - end)
    const settled = await this.#reload(tail, proven)
    const active = await this.#copyBatches(newest + 1, tail, proven, settled.chain, unproven)
    await this.#finishSealing({ ...tail, segment: settled }, proven, active.generation)
    tail.segment = settled
    return active
  }

  /** The segment as it is up to `end`. */
  async #reload(tail: Loaded, end: number): Promise<Segment> {
    const segment = this.#segmentOf(tail.found, tail.segment.chainBefore)
    for await (const item of scanSegment(scanSource(segment, end), segment.headerEnd, segment.chainBefore)) {
      if (item.kind === 'batch') segment.accept(item.bytes, item.header, item.position)
    }
    segment.unindexedDamages.push(...tail.segment.unindexedDamages)
    return segment
  }

  /** A new segment that begins with copies of batches which may be in the page cache only. */
  async #copyBatches(
    generation: number,
    tail: Loaded,
    predecessorEnd: number,
    chain: Chain,
    batches: readonly ScannedBatch[],
  ): Promise<Segment> {
    const copies: Buffer[] = []
    for (const batch of batches) {
      const bytes = Buffer.alloc(batch.end - batch.position)
      const length = await tail.segment.read(bytes, batch.position)
      if (length < bytes.length) {
        throw new StorageError('STORAGE_READ', `${tail.segment.path} cannot be read at ${batch.position}. Try again.`)
      }
      copies.push(bytes)
    }
    return await this.#createSegment(generation, tail.found.generation, predecessorEnd, chain, copies)
  }

  async #createSegment(
    generation: number,
    predecessor: number,
    predecessorEnd: number,
    chain: Chain,
    batches: readonly Buffer[],
  ): Promise<Segment> {
    const contentBytes = batches.reduce((sum, batch) => sum + batch.length, 0)
    const header: SegmentHeader = {
      identity: this.#identity,
      generation,
      order: ORDER_BY_OFFSET,
      predecessor,
      predecessorEnd,
      contentEnd: HEADER_BYTES + contentBytes,
      createdMs: this.#context.now(),
      inputs: [],
      outputs: [],
    }
    const segment = new Segment(this.#context, header, HEADER_BYTES, chain)
    let position = HEADER_BYTES
    for (const batch of batches) {
      const sealed = this.#sealAgain(segment, batch, position)
      segment.accept(batch, sealed, position)
      position += batch.length
    }
    segment.openForWriting(await createSegmentFile(this.#context, header, batches))
    return segment
  }

  /** Places a batch that was read elsewhere at `position` of `segment`. */
  #sealAgain(segment: Segment, batch: Buffer, position: number): Omit<BatchHeader, 'length'> {
    const old = headerFields(batch)
    for (const [at] of recordsOf(batch, old.count)) sealRecord(batch, at, segment.seed, position + at)
    const fields = {
      ...old,
      previousCrc: segment.chain.crc,
      syncedGeneration: segment.generation,
      syncedPosition: segment.headerEnd,
    }
    const crc = sealBatch(batch, fields, segment.seed, position)
    return { ...fields, crc }
  }

  /** Cuts the segment at `end` and writes its footer; the successor is durable under its name. */
  async #finishSealing(one: Loaded, end: number, successor: number): Promise<void> {
    const { segment } = one
    const file = await this.#context.files.open(segment.path, 'update')
    this.#context.openFiles.forget(segment.path)
    segment.openForWriting(file)
    if (file.sizeBytes > end) await truncateDurably(file, end)
    const hasDamage = segment.unindexedDamages.length > 0
    // A footer would hide that the end of what was durable is gone.
    const isEndThere = segment.contentEnd === end && durableEnd(one.found) <= end
    if (isEndThere && one.found.header !== undefined) await segment.seal(successor)
    else segment.markSealed()
    await segment.closeWriting()
    if (!hasDamage && this.#context.hasSidecars && segment.batchCount > 0) await this.#writeIndex(segment)
  }

  // Reports

  #reportUnverified(one: Loaded, item: Unverified): void {
    const batches = one.scan?.batches ?? []
    const before = batches.findLast((batch) => batch.end <= item.position)
    const behind = batches.find((batch) => batch.position >= item.end)
    const after = before?.header.last ?? one.segment.chainBefore.last
    const through = behind === undefined ? (one.footer?.last ?? UNKNOWN_THROUGH) : behind.header.first - 1
    this.#report(one.segment, item.position, item.end - item.position, after, Math.max(after, through), item.reason)
  }

  /** Content that was durable, by the word of a header, lies behind the end of the file. */
  #reportShort(one: Loaded, end: number): void {
    const { sizeBytes } = one.found
    if (end <= sizeBytes) return
    const { last } = one.segment.chain
    this.#report(one.segment, sizeBytes, end - sizeBytes, last, UNKNOWN_THROUGH, 'the file is shorter than it was')
  }

  #reportHeader(found: Found, segment: Segment): void {
    this.#damages.push({
      file: found.name,
      position: 0,
      bytes: HEADER_BYTES,
      after: segment.first,
      through: segment.first,
      reason: 'the header does not verify; the batches behind it are readable all the same',
    })
  }

  #report(segment: Segment, position: number, bytes: number, after: Offset, through: Offset, reason: string): void {
    const damage: Damage = { file: segment.name, position, bytes, after, through, reason }
    this.#damages.push(damage)
    if (through > after) segment.unindexedDamages.push(damage)
  }

  /** Segments that others name and that are not there, or tell nothing: every reader that crosses the place is told. */
  #reportMissing(loaded: readonly Loaded[], segments: readonly Segment[]): void {
    const readable = loaded.filter((one) => one.found.header !== undefined || one.segment.batchCount > 0)
    const present = new Set([0, ...readable.map((one) => one.found.generation)])
    const named = loaded.flatMap((one) => [one.footer?.successor ?? 0, one.found.header?.predecessor ?? 0])
    for (const generation of new Set(named.filter((one) => !present.has(one)))) {
      const behind = segments.find((segment) => segment.generation > generation) ?? (segments.at(-1) as Segment)
      // One that this recovery has made holds copies of what came before the segment that is missing.
      const isNew = !loaded.some((one) => one.found.generation === behind.generation)
      const before = segments.findLast((segment) => segment.generation < generation)?.last ?? 0
      const after = isNew ? Math.max(before, behind.last) : before
      const isEnd = isNew || behind.first === 0
      const through = isEnd ? UNKNOWN_THROUGH : Math.max(after, behind.first - 1)
      const place = { file: segmentName(generation), position: 0, bytes: 0 }
      const isThere = loaded.some((one) => one.found.generation === generation)
      const damage = { ...place, after, through, reason: isThere ? 'nothing in it verifies' : 'the file is missing' }
      this.#damages.push(damage)
      if (isNew) behind.unindexedDamages.push(damage)
      else behind.unindexedDamages.unshift(damage)
    }
  }

  /** Damage at the end of a segment reaches up to the next record there is, and not over it. */
  #boundDamages(segments: readonly Segment[]): void {
    for (const [i, segment] of segments.entries()) {
      const behind = segments.slice(i + 1).find(({ recordCount }) => recordCount > 0)
      if (behind === undefined) continue
      const bounded = (damage: Damage): Damage =>
        damage.through === UNKNOWN_THROUGH ? { ...damage, through: Math.max(damage.after, behind.first - 1) } : damage
      for (const [at, damage] of segment.unindexedDamages.entries()) {
        const place = this.#damages.indexOf(damage)
        segment.unindexedDamages[at] = bounded(damage)
        if (place !== -1) this.#damages[place] = segment.unindexedDamages[at]
      }
    }
  }

  /** Whether batches are gone behind all that can be read, and with them the last ceilings. */
  #isEndDamaged(segments: readonly Segment[]): boolean {
    const last = segments.findLast(({ recordCount }) => recordCount > 0)?.last ?? 0
    return this.#damages.some(({ through, reason }) => through >= last && reason !== OVERLAP)
  }

  /** A segment whose numbers reach into those before it is not part of this log's history: it is left aside. */
  #withoutOverlaps(segments: readonly Segment[]): Segment[] {
    const kept: Segment[] = []
    let last: Offset = 0
    for (const segment of segments) {
      if (segment.recordCount > 0 && segment.first <= last) {
        this.#report(segment, 0, segment.contentEnd, last, last, OVERLAP)
        continue
      }
      kept.push(segment)
      last = Math.max(last, segment.last)
    }
    return kept
  }

  #progress(bytes: number): void {
    this.#bytesDone += bytes
    this.#context.observer.recovering(this.#bytesDone, Math.max(this.#bytesTotal, this.#bytesDone))
  }

  #headerOf(found: Found): Pick<SegmentHeader, 'identity' | 'generation' | 'predecessor'> {
    return found.header ?? { identity: this.#identity, generation: found.generation, predecessor: 0 }
  }

  #segmentOf(found: Found, chain: Chain): Segment {
    const headerEnd = found.header === undefined ? HEADER_BYTES : headerBytes(found.header)
    return new Segment(this.#context, this.#headerOf(found), headerEnd, chain)
  }

  #path(found: Found): string {
    return `${this.#context.directory}/${found.name}`
  }
}

/** The sidecar of a sealed segment; throws IndexDoubt where it wants to be made again. */
export async function openIndexFile(context: SegmentContext, segment: Segment): Promise<IndexFile> {
  const path = `${context.directory}/${indexName(segment.generation)}`
  // A handle on a sidecar that was replaced would go on reading the old one.
  context.openFiles.forget(path)
  const source = {
    cacheId: nextCacheId(),
    readableBytes: Number.MAX_SAFE_INTEGER,
    read: (target: Uint8Array, position: number) => context.openFiles.read(path, target, position),
  }
  return await IndexFile.load(path, segment.identity, segment.generation, source, context.pages)
}

/** Reads a sealed segment in full for its index. What does not verify is told, with the numbers that it may hold. */
export async function rebuildIndex(
  context: SegmentContext,
  segment: Segment,
): Promise<{ readonly index: MemoryIndex; readonly damages: readonly Damage[] }> {
  const index = new MemoryIndex(context.keyHash)
  const damages: Damage[] = []
  let last = segment.chainBefore.last
  let unverified: Unverified | undefined
  const report = (through: Offset) => {
    if (unverified === undefined) return
    const { position, end, reason } = unverified
    damages.push({ file: segment.name, position, bytes: end - position, after: last, through, reason })
    unverified = undefined
  }
  for await (const item of scanSegment(scanSource(segment, segment.contentEnd), segment.headerEnd, UNKNOWN_CHAIN)) {
    if (item.kind === 'unverified') unverified = item
    if (item.kind !== 'batch') continue
    report(item.header.first - 1)
    last = item.header.last
    for (const [at, record] of recordsOf(item.bytes, item.header.count)) {
      index.add(record, item.position + at, item.position)
    }
  }
  report(segment.chain.last)
  return { index, damages }
}

function scanSource(segment: Segment, sizeBytes: number) {
  return {
    seed: segment.seed,
    sizeBytes,
    read: (target: Uint8Array, position: number) => segment.read(target, position),
  }
}

/** Where the content ends that was durable before the file got its name, by the word of its header. */
export function durableEnd(found: Found): number {
  return found.header?.contentEnd ?? 0
}

/** The header of the segment by which a recovery has decided where `one` ends, if there is one among `others`. */
export function deciderOf(one: Found, others: readonly Found[]): SegmentHeader | undefined {
  const isDecider = ({ header }: Found) => header?.predecessor === one.generation && header.predecessorEnd > 0
  return others.find(isDecider)?.header
}

/** Made ahead of a roll that went elsewhere: nothing but a header, and nobody names it. */
export function isUnusedSpare(one: Loaded, loaded: readonly Loaded[]): boolean {
  const { header, generation, sizeBytes } = one.found
  if (header === undefined || sizeBytes > headerBytes(header) || header.contentEnd > headerBytes(header)) return false
  return !loaded.some(
    ({ found, footer }) => found.header?.predecessor === generation || footer?.successor === generation,
  )
}

async function syncDirectoryOrFail(files: Files, directory: string): Promise<void> {
  try {
    await files.syncDirectory(directory)
  } catch (error) {
    throw new SyncFailure(directory, error)
  }
}

/** Whether a segment holds a batch, or was durable with batches that are not there any more. */
export function holdsContent(one: Loaded): boolean {
  return one.segment.batchCount > 0 || (one.found.header?.contentEnd ?? 0) > one.segment.headerEnd
}

/**
 * The ceiling that the last batch which can be read has reserved; none before it is higher. Ceilings are not in footers
 * or sidecars.
 */
export async function highestCeiling(loaded: readonly Loaded[]): Promise<Offset> {
  for (const { segment, scan } of loaded.toReversed()) {
    const batches = scan?.batches.map(({ header }) => header) ?? (await lastBatches(segment))
    const ceiling = batches.reduce((highest, header) => Math.max(highest, header.ceiling), 0)
    if (ceiling > 0) return ceiling
  }
  return 0
}

/** Those behind the last mark of a segment that was not read. */
async function lastBatches(segment: Segment): Promise<BatchHeader[]> {
  const begin = (await lastMark(segment))?.batchPosition ?? segment.headerEnd
  const batches: BatchHeader[] = []
  for await (const item of scanSegment(scanSource(segment, segment.contentEnd), begin, UNKNOWN_CHAIN)) {
    if (item.kind === 'batch') batches.push(item.header)
  }
  return batches
}

/** The last mark of a sealed segment's index; undefined where there is none, or its page is in doubt. */
export async function lastMark(segment: Segment): Promise<IndexMark | undefined> {
  if (segment.recordCount === 0) return undefined
  try {
    return await segment.index.markBefore(segment.last)
  } catch (error) {
    if (!(error instanceof IndexDoubt)) throw error
    return undefined
  }
}

/** Everything before it was durable, by the word of the header or of a later batch. */
export function provenEnd(tail: Loaded): number {
  let proven = tail.found.header?.contentEnd ?? tail.segment.headerEnd
  for (const { header } of (tail.scan as Scan).batches) {
    if (header.syncedGeneration === tail.found.generation) proven = Math.max(proven, header.syncedPosition)
  }
  return Math.min(Math.max(proven, tail.segment.headerEnd), tail.found.sizeBytes)
}

/** The log ends at the first bytes that do not verify and that nothing vouches for, else behind the last batch. */
export function endOfLog(tail: Loaded, proven: number): number {
  const torn = (tail.scan as Scan).unverified.find((item) => item.end > proven)
  if (torn === undefined) return Math.max(proven, (tail.scan as Scan).batches.at(-1)?.end ?? proven)
  return Math.max(proven, torn.position)
}

function headerFields(batch: Buffer): Omit<BatchHeader, 'length' | 'crc' | 'previousCrc'> {
  const u64 = (at: number) => batch.readUInt32LE(at + 4) * 0x1_0000_0000 + batch.readUInt32LE(at)
  return {
    first: u64(16),
    last: u64(24),
    ceiling: u64(32),
    syncedGeneration: 0,
    syncedPosition: 0,
    count: batch.readUInt32LE(52),
  }
}

async function truncateDurably(file: DataFile, sizeBytes: number): Promise<void> {
  await file.truncate(sizeBytes)
  await syncOrFail(file)
}

function identityOf(found: readonly Found[]): Uint8Array {
  const identity = found.find((one) => one.header !== undefined)?.header?.identity
  if (identity !== undefined) return identity
  const names = found.map((one) => one.name).join(', ')
  throw new StorageError(
    'STORAGE_DAMAGED',
    `No segment of the log has a header that verifies (${names}). Nothing was changed. Restore the log from a backup.`,
  )
}

function refuseForeign(directory: string, found: readonly Found[]): void {
  const identity = found.find((one) => one.header !== undefined)?.header?.identity
  for (const { name, generation, header } of found) {
    if (header === undefined || identity === undefined) continue
    const isSameLog = Buffer.compare(header.identity, identity) === 0
    if (isSameLog && header.generation === generation) continue
    const reason = isSameLog ? `is a copy of ${segmentName(header.generation)}` : 'belongs to another log'
    throw new StorageError(
      'STORAGE_FOREIGN',
      `${directory}/${name} ${reason}. Nothing was changed. Move it out of the folder, and start again.`,
    )
  }
}

async function readHeader(context: SegmentContext, name: string) {
  try {
    return await readSegmentHeader(context, name)
  } catch (error) {
    const code = systemCode(error)
    if (code === 'EIO') return { decoded: { kind: 'damaged' } as const, sizeBytes: 0 }
    const isPermission = code === 'EACCES' || code === 'EPERM'
    const advice = isPermission ? 'Let the user that runs the server own it.' : 'Move it away, or mend it.'
    throw new StorageError(
      isPermission ? 'STORAGE_PERMISSION' : 'STORAGE_READ',
      `${context.directory}/${name} cannot be opened (${code ?? String(error)}). Nothing was changed. ${advice}`,
      error,
    )
  }
}

function newerFormat(directory: string, name: string, version: number): StorageError {
  return new StorageError(
    'STORAGE_NEWER_FORMAT',
    `${directory}/${name} has format version ${version}; this program knows version 1. Nothing was changed. ` +
      'Run the version of sser that wrote it.',
  )
}
