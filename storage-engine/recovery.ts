/**
 * Turns a folder of segments back into a log, after a clean stop, a crash, or damage. The rules and their reasons are
 * in docs/log-format.md, "Recovery". In short:
 *
 * - The tail is in the last segment that holds a batch. Bytes there that do not verify are a torn tail, unless
 *   something behind them says that they were durable, or the disk refuses to read them: then they are damage, as
 *   anywhere else.
 * - Whatever was recovered but is not proven to be on the disk is copied into a new segment before anything is served.
 *   Nothing recovered is ever overwritten.
 * - Damage stops nothing: it is reported with its place, and everything else stays readable.
 * - Whatever cannot be ours (another log, a newer format) is refused before anything is touched.
 */

import { randomBytes } from 'node:crypto'
import {
  type Arrangement,
  arrange,
  doubtDamage,
  type Found,
  manifestDamage,
  type NewestManifest,
} from './arrangement.ts'
import { indexName, manifestName, parseName, segmentName, temporaryName } from './data-directory.ts'
import { StorageError, systemCode } from './errors.ts'
import type { DataFile } from './files.ts'
import {
  type BatchHeader,
  decodeFooter,
  FOOTER_BYTES,
  HEADER_BYTES,
  headerBytes,
  type Offset,
  rolledHeader,
  type SegmentFooter,
  type SegmentHeader,
  sealBatch,
  sealRecord,
  segmentSeed,
} from './format.ts'
import { IndexDoubt, type IndexFile, writeIndexFile } from './index-file.ts'
import {
  continues,
  deciderOf,
  durableEnd,
  endDamage,
  endOfLog,
  footerDamage,
  headerDamage,
  highestCeiling,
  isCompacted,
  isUnusedSpare,
  type Loaded,
  loadInOrder,
  missingDamage,
  missingSegments,
  OVERLAP,
  overlapDamage,
  provenEnd,
  type Scan,
  type ScannedBatch,
  shortDamage,
  tailAmong,
  UNKNOWN_THROUGH,
  unverifiedDamage,
} from './loaded-log.ts'
import { type Manifest, noManifest, readNewestManifest, removeReplaced, writeManifest } from './manifest.ts'
import type { MemoryIndex } from './memory-index.ts'
import type { Damage } from './observer.ts'
import { isShortage } from './open-files.ts'
import { type Chain, scanSegment, type Unverified } from './scan.ts'
import { recordsOf, Segment, type SegmentContext, scanSource } from './segment.ts'
import { createSegmentFile, readSegmentHeader, type SegmentFile, verifiesInFull } from './segment-files.ts'
import { firstNumberAt, RESERVATION } from './sequencer.ts'
import { fits, openIndexFile, sealedEndOf } from './sidecar.ts'
import { syncDirectoryOrFail, syncOrFail } from './whole-file.ts'

export interface RecoveredLog {
  /** In the order of their numbers; the last one is open for writing. */
  readonly segments: readonly Segment[]
  readonly damages: readonly Damage[]
  /** The highest ceiling that any batch has reserved. */
  readonly ceiling: Offset
  /** Everything before this place of the active segment is durable. */
  readonly syncedPosition: number
  /** The highest that any file has or refers to: none of them may be used again. */
  readonly newestGeneration: number
  /** What the log takes to be the newest manifest; the files that it names as replaced are not gone yet. */
  readonly manifest: Manifest
}

/**
 * So far above the highest ceiling that can be read, or the number that the clock stands for, those of lost batches may
 * lie: each raises it by one reservation at most, and no segment holds more batches than that. Twelve days of numbers.
 */
const CEILING_MARGIN = 2 ** 20 * RESERVATION

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
  /** The highest generation that any name in the folder bears, or the manifest. */
  #newestSeen = 0
  #newestManifest: NewestManifest = { number: 0, manifest: undefined }

  constructor(context: SegmentContext) {
    this.#context = context
  }

  async run(): Promise<RecoveredLog> {
    const found = await this.#find()
    if (found.length === 0) return await this.#startNewLog()
    const arrangement = await this.#arrange(found)
    const loaded = await loadInOrder(arrangement.live, (one, chain, decider) => this.#load(one, chain, decider))
    const tailAt = tailAmong(loaded)
    const active = await this.#settleTail(loaded, tailAt)
    // Whatever lies behind the tail and could not be removed holds nothing of the log.
    const settled = loaded.slice(0, tailAt + 1).map((one) => one.segment)
    const sealed = settled.filter((segment) => segment !== active && segment.isSealed)
    const kept = this.#withoutOverlaps([...sealed, active])
    this.#reportMissing(loaded, kept, arrangement)
    this.#boundDamages(kept)
    for (const damage of this.#damages) this.#context.observer.damaged(damage)
    const named = loaded.map((one) => one.footer?.successor ?? 0)
    return {
      segments: kept,
      damages: this.#damages,
      ceiling: this.#isEndDamaged(kept) ? this.#ceilingOfLost : this.#ceiling,
      syncedPosition: active.contentEnd,
      newestGeneration: Math.max(active.generation, this.#newestSeen, ...named),
      manifest: await this.#removeWhatMayGo(arrangement),
    }
  }

  // What is there

  async #find(): Promise<SegmentFile[]> {
    const { files, directory, observer } = this.#context
    const found: SegmentFile[] = []
    const temporaries: string[] = []
    const names = await files.list(directory)
    for (const name of names) {
      const parsed = parseName(name)
      if (parsed.kind === 'unknown') observer.unknownFile(name)
      if (parsed.kind === 'temporary') temporaries.push(name)
      if ('generation' in parsed) this.#see(parsed.generation)
      if (parsed.kind !== 'segment') continue
      const { decoded, sizeBytes } = await readHeader(this.#context, name)
      if (decoded.kind === 'unknown-version') throw newerFormat(directory, name, decoded.version)
      const header = decoded.kind === 'header' ? decoded.header : undefined
      found.push({ generation: parsed.generation, name, sizeBytes, header })
    }
    refuseForeign(directory, found)
    if (found.length > 0) this.#identity = identityOf(found)
    this.#newestManifest = await this.#readManifest(names)
    // Only now is it certain that we may change this folder.
    for (const name of temporaries) await files.remove(`${directory}/${name}`)
    // A killed process may have left names that are not durable: nothing is built on them until they are.
    await syncDirectoryOrFail(files, directory)
    return found
  }

  async #readManifest(names: readonly string[]): Promise<NewestManifest> {
    const { files, directory } = this.#context
    const newest = await readNewestManifest(files, directory, names)
    if (newest === undefined) return { number: 0, manifest: undefined }
    const { name, number, decoded } = newest
    if (decoded.kind === 'unknown-version') throw newerFormat(directory, name, decoded.version)
    if (decoded.kind === 'damaged') return { number, manifest: undefined }
    const { manifest } = decoded
    if (this.#identity.length > 0 && Buffer.compare(manifest.identity, this.#identity) !== 0) {
      throw foreign(directory, name, 'belongs to another log')
    }
    if (manifest.number !== number) throw foreign(directory, name, `is a copy of ${manifestName(manifest.number)}`)
    for (const { generation, placeThrough, inputs } of manifest.compacted) {
      for (const one of [generation, placeThrough, ...inputs]) this.#see(one)
    }
    for (const { generation } of manifest.replaced) this.#see(generation)
    return { number, manifest }
  }

  #see(generation: number): void {
    this.#newestSeen = Math.max(this.#newestSeen, generation)
  }

  async #startNewLog(): Promise<RecoveredLog> {
    const { number } = this.#newestManifest
    if (number > 0) throw allMissing(this.#context.directory, number)
    this.#identity = randomBytes(16)
    const generation = this.#newestSeen + 1
    const active = await this.#createSegment(generation, 0, 0, { crc: 0, last: 0 }, [])
    return {
      segments: [active],
      damages: [],
      ceiling: 0,
      syncedPosition: active.contentEnd,
      newestGeneration: generation,
      manifest: noManifest(this.#identity),
    }
  }

  /** Which of the files are part of the log. Nothing is removed unless the newest manifest on the disk says so. */
  async #arrange(found: readonly SegmentFile[]): Promise<Arrangement> {
    const context = this.#context
    const arrangement = await arrange(this.#identity, found, this.#newestManifest, (file) => {
      return verifiesInFull(context, file)
    })
    for (const doubt of arrangement.doubts) this.#damages.push(doubtDamage(doubt))
    const { number, manifest } = this.#newestManifest
    if (number > 0 && manifest === undefined) this.#damages.push(manifestDamage(number))
    if (arrangement.isUnwritten) await writeManifest(context.files, context.directory, arrangement.manifest)
    return arrangement
  }

  /** Returns the manifest without those that are gone. */
  async #removeWhatMayGo({ replaced, remnants, manifest }: Arrangement): Promise<Manifest> {
    if (manifest.number === 0 && remnants.length === 0) return manifest
    const { files, openFiles, directory } = this.#context
    // Files that a manifest names and that are gone can be left out of the next one.
    const there = new Set((await files.list(directory)).map(generationOf))
    const absent = manifest.replaced.map(({ generation }) => generation).filter((one) => !there.has(one))
    const generations = [...replaced, ...remnants].map(({ generation }) => generation)
    const gone = await removeReplaced(files, openFiles, directory, manifest.number, generations)
    const isGone = ({ generation }: { readonly generation: number }) =>
      gone.includes(generation) || absent.includes(generation)
    return { ...manifest, replaced: manifest.replaced.filter((entry) => !isGone(entry)) }
  }

  // What it holds

  async #load(found: Found, chain: Chain, decider: SegmentHeader | undefined): Promise<Loaded> {
    const footer = await this.#footerAtEnd(found)
    if (footer === undefined) return await this.#loadByScan(found, undefined, chain, decider)
    return await this.#loadByIndex(found, footer, chain)
  }

  async #footerAtEnd(found: Found): Promise<SegmentFooter | undefined> {
    const position = found.sizeBytes - FOOTER_BYTES
    if (position < HEADER_BYTES) return undefined
    const target = Buffer.alloc(FOOTER_BYTES)
    try {
      await this.#context.openFiles.read(this.#path(found), target, position)
    } catch (error) {
      if (systemCode(error) === undefined || isShortage(error)) throw error
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
      if (fits(index, footer, found.sizeBytes - FOOTER_BYTES)) {
        segment.adopt(index, index.summary, footer.last)
        segment.markSealed()
        const loaded = { found, segment, footer, scan: undefined, sealedEnd: 0 }
        this.#reportHeader(loaded)
        return loaded
      }
      doubt = 'it does not fit its segment'
    } catch (error) {
      if (!(error instanceof IndexDoubt)) throw error
      doubt = error.message
    }
    const loaded = await this.#loadByScan(found, footer, chain, undefined)
    // A damaged segment keeps its index in memory: a sidecar could not say which streams the damage concerns.
    if (loaded.scan?.unverified.length === 0 && this.#context.hasSidecars) {
      await this.#writeIndex(loaded.segment)
      this.#context.observer.indexRebuilt(indexName(found.generation), doubt)
    }
    return loaded
  }

  async #loadIndex(segment: Segment): Promise<IndexFile> {
    return await openIndexFile(this.#context, segment)
  }

  /** A full disk does not keep a log from opening: the index stays in memory, and the next start rebuilds it. */
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
    // An earlier recovery has decided where this segment ends, and was cut short before it could write the footer.
    const sizeBytes = decider === undefined ? found.sizeBytes : Math.min(decider.predecessorEnd, found.sizeBytes)
    const batches: ScannedBatch[] = []
    const unverified: Unverified[] = []
    let foundFooter = footer
    const items = scanSegment(scanSource(segment, sizeBytes), segment.headerEnd, segment.chainBefore, segment.order)
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
    const sealedEnd = foundFooter === undefined ? await sealedEndOf(this.#context, segment) : 0
    const loaded = { found, segment, footer: foundFooter, scan: { batches, unverified }, sealedEnd }
    this.#reportHeader(loaded)
    if (foundFooter !== undefined) for (const one of unverified) this.#reportUnverified(loaded, one)
    return loaded
  }

  // The end of the log

  /** Settles where the log ends; returns the segment that is written from now on. */
  async #settleTail(loaded: readonly Loaded[], tailAt: number): Promise<Segment> {
    for (const one of loaded.slice(0, tailAt)) await this.#settleBeforeTail(one, loaded)
    this.#ceiling = await highestCeiling(loaded)
    const tail = loaded[tailAt]
    if (tail === undefined) return await this.#goOnBehind(loaded.findLast(isCompacted) as Loaded)
    const behind = loaded.slice(tailAt + 1)
    const successor = behind.find((one) => continues(one, tail))
    const active = successor === undefined ? await this.#recoverTail(tail) : await this.#continueIn(tail, successor)
    for (const one of behind) {
      // A header that does not verify is damage, and evidence: the file stays.
      if (one.segment === active || one.found.header === undefined) continue
      // Made ahead for a roll that never happened, or left by a recovery that was cut short: it never held a batch.
      await this.#removeUnused(one)
    }
    return active
  }

  /** The segment that was being written is gone, and with it the rolled one that referred to it. */
  async #goOnBehind(last: Loaded): Promise<Segment> {
    this.#note(last.segment, endDamage(last))
    const { placeThrough, chain } = last.segment
    return await this.#createSegment(this.#newestSeen + 1, placeThrough, 0, chain, [])
  }

  async #removeUnused(one: Loaded): Promise<void> {
    const { files, directory, openFiles } = this.#context
    openFiles.forget(one.segment.path)
    await files.remove(one.segment.path)
    await syncDirectoryOrFail(files, directory)
  }

  async #continueIn(tail: Loaded, successor: Loaded): Promise<Segment> {
    if (tail.footer !== undefined) await this.#confirmFooter(tail)
    else {
      const { predecessorEnd } = successor.found.header as SegmentHeader
      for (const item of (tail.scan as Scan).unverified) this.#reportUnverified(tail, item)
      this.#reportShort(tail, Math.max(predecessorEnd, durableEnd(tail)))
      await this.#finishSealing(tail, predecessorEnd, successor.found.generation)
    }
    const segment = new Segment(
      this.#context,
      successor.found.believed,
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
      // Behind damage the footer may be elsewhere; such a segment is not written to any more.
      if (decodeFooter(bytes, 0, tail.segment.seed, position) === undefined) return
      await file.write(bytes, position)
      await syncOrFail(file)
    } finally {
      await file.close()
    }
  }

  /** Something behind this segment holds a batch, so all of it was once durable: whatever does not verify is damage. */
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
      this.#reportShort(one, Math.max(decider.predecessorEnd, durableEnd(one)))
      await this.#finishSealing(one, decider.predecessorEnd, decider.generation)
      return
    }
    this.#reportShort(one, durableEnd(one))
    const unverified = one.scan?.unverified ?? []
    for (const item of unverified) this.#reportUnverified(one, item)
    const isShort = durableEnd(one) > one.found.sizeBytes
    if (unverified.length === 0 && !isShort) this.#note(one.segment, footerDamage(one))
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
    this.#reportShort(tail, durableEnd(tail))
    // If the end of what was durable is gone, whatever is written next would take its place and hide that.
    const isEndThere = tail.segment.contentEnd === end && durableEnd(tail) <= end
    const isWhole = end === proven && end === tail.found.sizeBytes && isEndThere
    if (isWhole && tail.found.header !== undefined) {
      tail.segment.openForWriting(await this.#context.files.open(tail.segment.path, 'update'))
      return tail.segment
    }
    const unproven = scan.batches.filter((batch) => batch.position >= proven && batch.end <= end)
    if (tail.found.sizeBytes > end) this.#context.observer.tailCut(tail.found.name, end, tail.found.sizeBytes - end)
    const settled = await this.#reload(tail, proven)
    // With its end unread, the CRC of its last batch is unknown.
    const chain = settled.contentEnd === proven ? settled.chain : { crc: 0, last: settled.chain.last }
    const active = await this.#copyBatches(newest + 1, tail, proven, chain, unproven)
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
    const header = rolledHeader({
      identity: this.#identity,
      generation,
      predecessor,
      predecessorEnd,
      contentEnd: HEADER_BYTES + contentBytes,
      createdMs: this.#context.now(),
    })
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
    // A footer would hide that the end of what was durable is lost.
    const isEndThere = segment.contentEnd === end && durableEnd(one) <= end
    if (isEndThere && one.found.header !== undefined) await segment.seal(successor)
    else {
      await syncOrFail(file)
      segment.markSealed()
    }
    await segment.closeWriting()
    if (!hasDamage && this.#context.hasSidecars && segment.batchCount > 0) await this.#writeIndex(segment)
  }

  // Reports

  #reportUnverified(one: Loaded, item: Unverified): void {
    this.#note(one.segment, unverifiedDamage(one, item))
  }

  #reportShort(one: Loaded, end: number): void {
    const damage = shortDamage(one, end)
    if (damage !== undefined) this.#note(one.segment, damage)
  }

  #reportHeader(one: Loaded): void {
    if (one.found.header === undefined) this.#damages.push(headerDamage(one))
  }

  #note(segment: Segment, damage: Damage): void {
    this.#damages.push(damage)
    if (damage.through > damage.after) segment.unindexedDamages.push(damage)
  }

  /** Segments that others refer to and that are missing or unreadable: every reader that crosses the place is told. */
  #reportMissing(loaded: readonly Loaded[], segments: readonly Segment[], arrangement: Arrangement): void {
    for (const missing of missingSegments(loaded, arrangement.missing)) {
      const { placeFrom } = missing
      const behind = segments.find((segment) => segment.placeFrom > placeFrom) ?? (segments.at(-1) as Segment)
      // One that this recovery has made holds copies of what came before the segment that is missing.
      const isNew = !loaded.some((one) => one.found.generation === behind.generation)
      const before = segments.findLast((segment) => segment.placeFrom < placeFrom)?.chain.last ?? 0
      const after = isNew ? Math.max(before, behind.last) : before
      const isEnd = isNew || behind.first === 0
      const damage = missingDamage(missing, after, isEnd ? UNKNOWN_THROUGH : behind.first - 1)
      this.#damages.push(damage)
      if (damage.through === damage.after) continue
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

  /** No lost batch can have reserved numbers above it. */
  get #ceilingOfLost(): Offset {
    return Math.max(this.#ceiling, firstNumberAt(this.#context.now())) + CEILING_MARGIN
  }

  /** Whether batches are lost behind all that can be read, and the last ceilings with them. */
  #isEndDamaged(segments: readonly Segment[]): boolean {
    const last = segments.findLast(({ recordCount }) => recordCount > 0)?.last ?? 0
    return this.#damages.some(({ through, reason }) => through >= last && reason !== OVERLAP)
  }

  /** A segment whose numbers overlap those before it is not part of this log's history: it is set aside. */
  #withoutOverlaps(segments: readonly Segment[]): Segment[] {
    const kept: Segment[] = []
    let last: Offset = 0
    for (const segment of segments) {
      if (segment.recordCount > 0 && segment.first <= last) {
        this.#damages.push(overlapDamage(segment, last))
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

  #segmentOf(found: Found, chain: Chain): Segment {
    return new Segment(this.#context, found.believed, headerBytes(found.believed), chain)
  }

  #path(found: Found): string {
    return `${this.#context.directory}/${found.name}`
  }
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

function identityOf(found: readonly SegmentFile[]): Uint8Array {
  const identity = found.find((one) => one.header !== undefined)?.header?.identity
  if (identity !== undefined) return identity
  const names = found.map((one) => one.name).join(', ')
  throw new StorageError(
    'STORAGE_DAMAGED',
    `No segment of the log has a header that verifies (${names}). Nothing was changed. Restore the log from a backup.`,
  )
}

function refuseForeign(directory: string, found: readonly SegmentFile[]): void {
  const identity = found.find((one) => one.header !== undefined)?.header?.identity
  for (const { name, generation, header } of found) {
    if (header === undefined || identity === undefined) continue
    const isSameLog = Buffer.compare(header.identity, identity) === 0
    if (isSameLog && header.generation === generation) continue
    const reason = isSameLog ? `is a copy of ${segmentName(header.generation)}` : 'belongs to another log'
    throw foreign(directory, name, reason)
  }
}

function foreign(directory: string, name: string, reason: string): StorageError {
  return new StorageError(
    'STORAGE_FOREIGN',
    `${directory}/${name} ${reason}. Nothing was changed. Move it out of the folder, and start again.`,
  )
}

function allMissing(directory: string, number: number): StorageError {
  return new StorageError(
    'STORAGE_MISSING',
    `${directory} holds ${manifestName(number)}, and not one segment. Nothing was changed. Restore the log from a backup.`,
  )
}

/** 0 for what is no file of a segment. */
function generationOf(name: string): number {
  const parsed = parseName(name)
  return 'generation' in parsed ? parsed.generation : 0
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
