/**
 * Inspects a log that no process has open, and changes nothing: what its files are, what is damaged and where, and
 * whose records that affects. It carries on where a start would be refused. Where the log ends, and what counts as a
 * torn tail, is decided by the same functions as in recovery; a test compares the two.
 *
 * The caller holds the folder's lock, or knows that nobody is writing. Memory use is bounded by one segment's index.
 */

import {
  type Arrangement,
  arrange,
  doubtDamage,
  type Found,
  manifestDamage,
  type NewestManifest,
} from './arrangement.ts'
import { BlockCache } from './block-cache.ts'
import { indexName, manifestName, parseName, RESERVE_NAME, segmentName } from './data-directory.ts'
import { systemCode } from './errors.ts'
import type { Files } from './files.ts'
import {
  decodeFooter,
  FOOTER_BYTES,
  HEADER_BYTES,
  headerBytes,
  type Offset,
  type SegmentFooter,
  type SegmentHeader,
  segmentSeed,
  verifyRecord,
} from './format.ts'
import { PAGE_BYTES, pageVerifies } from './index-file.ts'
import { damageFinding, type Finding, type FindingKind, type InspectedSegment, place } from './inspect-findings.ts'
import { type InspectedItem, InspectedRecords, isPart, type RecordRange, type Settled } from './inspect-records.ts'
import { InspectedSidecars } from './inspect-sidecars.ts'
import { hashKey } from './key-hash.ts'
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
  overlapDamage,
  provenEnd,
  type ScannedBatch,
  shortDamage,
  tailAmong,
  UNKNOWN_THROUGH,
  unverifiedDamage,
} from './loaded-log.ts'
import { lostRecords } from './lost-records.ts'
import { readNewestManifest } from './manifest.ts'
import { MemoryIndex } from './memory-index.ts'
import { silentObserver } from './observer.ts'
import { isShortage, OpenFiles } from './open-files.ts'
import { ReadOnlyFiles } from './read-only-files.ts'
import { type Chain, scanSegment, type Unverified } from './scan.ts'
import { recordsOf, Segment, type SegmentContext, scanSource } from './segment.ts'
import { readSegmentHeader, type SegmentFile, verifiesInFull } from './segment-files.ts'
import { fits, openIndex, sealedEndOf } from './sidecar.ts'

export interface InspectionOptions {
  /** `outline` reads what a start reads; `full` reads every byte. */
  readonly depth: 'outline' | 'full'
  readonly progress?: ((bytesDone: number, bytesTotal: number) => void) | undefined
}

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

export class LogInspection {
  readonly #context: SegmentContext
  readonly #options: InspectionOptions
  readonly #findings: Finding[] = []
  readonly #names = new Set<string>()
  readonly #sidecars: InspectedSidecars
  #settled: Settled[] = []
  #newestManifest: NewestManifest = { number: 0, manifest: undefined }
  #identity: Uint8Array | undefined
  /** By generation: where the segments that are part of the log, or missing from it, belong. */
  readonly #places = new Map<number, number>()
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
    const tell = (finding: Finding) => this.#findings.push(finding)
    this.#sidecars = new InspectedSidecars(this.#context, this.#names, tell, (bytes) => this.#progress(bytes))
  }

  /** 16 bytes; undefined if no file says it. */
  get identity(): Uint8Array | undefined {
    return this.#identity
  }

  /** In the order of the log. */
  get findings(): readonly Finding[] {
    return this.#findings
  }

  /** The highest ceiling that was found: numbers at or above it were never handed out. */
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
        index: this.#sidecars.stateOf(found.generation),
      }
    })
  }

  async close(): Promise<void> {
    await this.#context.openFiles.close()
  }

  /** Called once, by `inspectLog`. */
  async run(): Promise<void> {
    const found = await this.#find()
    if (this.#identity === undefined) return
    const arrangement = await this.#arrange(found)
    const loaded = await loadInOrder(arrangement.live, (one, chain, decider) => this.#load(one, chain, decider))
    await this.#settle(loaded)
    this.#reportMissing(loaded, arrangement)
    this.#boundAndSort()
  }

  /**
   * The records of the log, in order, and the damage between them: nothing is ever missing silently. If an intact index
   * covers a damaged range, the records in it that verify on their own are yielded.
   */
  records(range: RecordRange): AsyncGenerator<InspectedItem> {
    const placeOf = (file: string) => this.#placeOf(file)
    return new InspectedRecords(this.#context, this.#settled, this.#findings, placeOf).records(range)
  }

  // What is there

  async #find(): Promise<SegmentFile[]> {
    const { files, directory } = this.#context
    for (const name of await files.list(directory)) this.#names.add(name)
    const found: SegmentFile[] = []
    for (const name of this.#names) {
      const parsed = parseName(name)
      if (parsed.kind === 'unknown') this.#tell('unknown-file', name, 'it is not of the log, and is left alone')
      if (parsed.kind === 'temporary') this.#tell('temporary', name, 'it was being made; the next start removes it')
      if (parsed.kind === 'reserve') this.#reserveBytes = await this.#sizeOf(RESERVE_NAME)
      if (parsed.kind === 'index') {
        if (this.#options.depth === 'full') this.#bytesTotal += (await this.#sizeOf(name)) ?? 0
        const isAlone = !this.#names.has(segmentName(parsed.generation))
        if (isAlone) this.#tell('sidecar-missing', name, 'it is the index of a segment that is not there')
      }
      if (parsed.kind !== 'segment') continue
      const one = await this.#readHeader(name, parsed.generation)
      if (one !== undefined) found.push(one)
    }
    const own = await this.#withoutForeign(found.sort((a, b) => a.generation - b.generation))
    await this.#findManifest()
    for (const { sizeBytes } of own) this.#bytesTotal += sizeBytes
    if (own.length === 0 && this.#newestManifest.number > 0) {
      const reason = 'it is there, and not one segment; restore the log from a backup'
      this.#tell('headless', manifestName(this.#newestManifest.number), reason)
    }
    return own
  }

  async #findManifest(): Promise<void> {
    const { files, directory } = this.#context
    const newest = await readNewestManifest(files, directory, [...this.#names])
    if (newest === undefined) return
    const { name, number, decoded } = newest
    this.#newestManifest = { number, manifest: undefined }
    if (decoded.kind === 'unknown-version') this.#tellNewer(name, decoded.version)
    if (decoded.kind === 'damaged') this.#findings.push(damageFinding(manifestDamage(number)))
    if (decoded.kind !== 'manifest') return
    const { manifest } = decoded
    const isSameLog = this.#identity === undefined || Buffer.compare(manifest.identity, this.#identity) === 0
    if (isSameLog && manifest.number === number) this.#newestManifest = { number, manifest }
    else this.#tellForeign(name, isSameLog ? manifestName(manifest.number) : undefined)
  }

  /** Decides what the files are, as the next start will. */
  async #arrange(found: readonly SegmentFile[]): Promise<Arrangement> {
    const context = this.#context
    const identity = this.#identity as Uint8Array
    const arrangement = await arrange(identity, found, this.#newestManifest, (file) => verifiesInFull(context, file))
    for (const doubt of arrangement.doubts) this.#findings.push(damageFinding(doubtDamage(doubt)))
    for (const { name } of arrangement.remnants) {
      this.#tell('remnant', name, 'a compaction was cut off; the next start removes it')
    }
    for (const { name } of arrangement.replaced) {
      this.#tell('replaced', name, 'a compacted segment stands for it; the next start removes it')
    }
    for (const { generation, believed } of arrangement.live) this.#places.set(generation, believed.placeFrom)
    return arrangement
  }

  async #readHeader(name: string, generation: number): Promise<SegmentFile | undefined> {
    try {
      const { decoded, sizeBytes } = await readSegmentHeader(this.#context, name)
      if (decoded.kind !== 'unknown-version') {
        return { generation, name, sizeBytes, header: decoded.kind === 'header' ? decoded.header : undefined }
      }
      this.#tellNewer(name, decoded.version)
    } catch (error) {
      const code = systemCode(error)
      if (code === undefined || isShortage(error)) throw error
      if (code === 'EIO') return { generation, name, sizeBytes: 0, header: undefined }
      this.#tell('unreadable', name, `it cannot be opened (${code})`)
    }
    return undefined
  }

  /** The log is the one that most headers name. If none verifies, an index may still name it. */
  async #withoutForeign(found: readonly SegmentFile[]): Promise<SegmentFile[]> {
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
      this.#tell('headless', (found[0] as SegmentFile).name, reason)
      for (const { generation } of found) this.#identity ??= await this.#identityOfIndex(generation)
    }
    return found.filter(({ name, generation, header }) => {
      if (header === undefined || this.#identity === undefined) return true
      const isSameLog = Buffer.compare(header.identity, this.#identity) === 0
      if (isSameLog && header.generation === generation) return true
      this.#tellForeign(name, isSameLog ? segmentName(header.generation) : undefined)
      return false
    })
  }

  async #identityOfIndex(generation: number): Promise<Uint8Array | undefined> {
    const page = await this.#sidecars.read(indexName(generation), 0, PAGE_BYTES)
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
    if (this.#options.depth === 'full') await this.#sidecars.check(loaded, unverified.length === 0)
    else await this.#sidecars.outline(loaded)
    // An index in memory grows with the number of records: only one is held at a time. Of the batches only the last one
    // is needed, for the ceiling.
    loaded.segment.replaceIndex(
      (await this.#sidecars.usable(loaded, loaded.footer)) ?? new MemoryIndex(hashKey, loaded.segment.order),
    )
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

  /** As a start loads it, without reading its batches; undefined if the sidecar does not fit. */
  async #loadByIndex(found: Found, footer: SegmentFooter, chain: Chain): Promise<Loaded | undefined> {
    const segment = this.#segmentOf(found, chain)
    const index = await openIndex(this.#context, segment)
    if (index === undefined || !fits(index, footer, found.sizeBytes - FOOTER_BYTES)) return undefined
    segment.adopt(index, index.summary, footer.last)
    segment.markSealed()
    this.#sidecars.noteWhole(found.generation)
    const loaded = { found, segment, footer, scan: undefined, sealedEnd: 0 }
    this.#reportHeader(loaded)
    this.#progress(found.sizeBytes)
    return loaded
  }

  async #scan(found: Found, footer: SegmentFooter | undefined, chain: Chain, sizeBytes: number): Promise<Loaded> {
    const segment = this.#segmentOf(found, chain)
    const batches: ScannedBatch[] = []
    const unverified: Unverified[] = []
    let foundFooter = footer
    const items = scanSegment(scanSource(segment, sizeBytes), segment.headerEnd, segment.chainBefore, segment.order)
    for await (const item of items) {
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
    const sealedEnd = foundFooter === undefined ? await sealedEndOf(this.#context, segment) : 0
    return { found, segment, footer: foundFooter, scan: { batches, unverified }, sealedEnd }
  }

  /** By its writer's mistake, a batch that verifies may hold a record that does not; readers of a stream meet it. */
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

  // Where it ends

  async #settle(loaded: readonly Loaded[]): Promise<void> {
    const tailAt = tailAmong(loaded)
    for (const one of loaded.slice(0, tailAt)) await this.#settleBeforeTail(one, loaded)
    this.#ceiling = await highestCeiling(loaded)
    const tail = loaded[tailAt]
    const behind = loaded.slice(tailAt + 1)
    const successor = behind.find((one) => tail !== undefined && continues(one, tail))
    if (tail === undefined) {
      const last = loaded.findLast(isCompacted)
      if (last !== undefined) this.#findings.push(damageFinding(endDamage(last)))
    } else if (tail.footer !== undefined) this.#add(tail, 'sealed')
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
        // One whose header does not verify has been reported as damage, and stays.
        if (one.found.header !== undefined)
          this.#tell('spare', one.found.name, 'it is empty; the next start removes it')
      }
    }
    this.#settled.sort((a, b) => {
      const [one, other] = [a.loaded.segment, b.loaded.segment]
      return one.placeFrom - other.placeFrom || one.generation - other.generation
    })
    this.#setOverlapsAside()
  }

  async #settleBeforeTail(one: Loaded, loaded: readonly Loaded[]): Promise<void> {
    const { found } = one
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
    this.#reportShort(one, durableEnd(one))
    const unverified = one.scan?.unverified ?? []
    await this.#reportUnverified(one, unverified)
    const isShort = durableEnd(one) > found.sizeBytes
    if (unverified.length === 0 && !isShort) this.#findings.push(damageFinding(footerDamage(one)))
    this.#add(one, 'unsealed')
  }

  /** A recovery recorded where the segment ends, but was cut off before it could write the footer. */
  async #settleDecided(one: Loaded, decider: SegmentHeader): Promise<void> {
    await this.#reportUnverified(one, one.scan?.unverified ?? [])
    this.#reportShort(one, Math.max(decider.predecessorEnd, durableEnd(one)))
    this.#tell('unsealed', one.found.name, 'a recovery was cut off; the next start seals it')
    this.#add(one, 'unsealed', decider.predecessorEnd)
  }

  async #settleTail(tail: Loaded): Promise<void> {
    const { found } = tail
    const end = endOfLog(tail, provenEnd(tail))
    const damaged = (tail.scan?.unverified ?? []).filter(({ position }) => position < end)
    await this.#reportUnverified(tail, damaged)
    this.#reportShort(tail, durableEnd(tail))
    if (found.sizeBytes <= end) {
      this.#add(tail, 'open')
      return
    }
    this.#tellTornTail(found.name, end, found.sizeBytes - end)
    const told = this.#findings.length
    // Scanned again without the batches beyond the end, which are cut too.
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
        this.#findings.push(damageFinding(overlapDamage(segment, last)))
        one.state = 'overlapping'
      } else last = Math.max(last, segment.last)
    }
  }

  // Findings

  async #reportUnverified(one: Loaded, items: readonly Unverified[]): Promise<void> {
    if (items.length === 0) return
    const lost = await lostRecords(this.#context, one, items)
    for (const item of items) this.#findings.push(damageFinding(unverifiedDamage(one, item), lost?.get(item)))
  }

  #reportHeader(one: Loaded): void {
    if (one.found.header === undefined) this.#findings.push(damageFinding(headerDamage(one)))
  }

  #reportShort(one: Loaded, end: number): void {
    const damage = shortDamage(one, end)
    if (damage !== undefined) this.#findings.push(damageFinding(damage))
  }

  #reportMissing(loaded: readonly Loaded[], arrangement: Arrangement): void {
    const kept = this.#kept()
    for (const missing of missingSegments(loaded, arrangement.missing)) {
      this.#places.set(missing.generation, missing.placeFrom)
      const after = kept.findLast((segment) => segment.placeFrom < missing.placeFrom)?.chain.last ?? 0
      const damage = missingDamage(missing, after, UNKNOWN_THROUGH)
      this.#findings.push({ ...damageFinding(damage), kind: 'missing' })
    }
  }

  /** Damage reaches as far as the next record that there is, and not beyond. */
  #boundAndSort(): void {
    const kept = this.#kept()
    for (const [i, finding] of this.#findings.entries()) {
      if (finding.through !== UNKNOWN_THROUGH) continue
      const from = this.#placeOf(finding.file)
      const behind = kept.find((segment) => segment.placeFrom > from && segment.recordCount > 0)
      const through = behind === undefined ? undefined : Math.max(finding.after, behind.first - 1)
      this.#findings[i] = { ...finding, through }
    }
    this.#findings.sort((a, b) => {
      if (a.file === b.file) return a.position - b.position
      return this.#placeOf(a.file) - this.#placeOf(b.file) || (a.file < b.file ? -1 : 1)
    })
  }

  /** Where in the log a segment or its sidecar belongs; 0 for other files. */
  #placeOf(file: string): number {
    const parsed = parseName(file)
    return 'generation' in parsed ? (this.#places.get(parsed.generation) ?? parsed.generation) : 0
  }

  #kept(): Segment[] {
    return this.#settled.filter(isPart).map(({ loaded }) => loaded.segment)
  }

  #tellNewer(file: string, version: number): void {
    const reason = `it has format version ${version}; this program knows version 1`
    this.#findings.push({ ...place(file, 8, 4), kind: 'newer', reason })
  }

  #tellForeign(file: string, original: string | undefined): void {
    const what = original === undefined ? 'belongs to another log' : `is a copy of ${original}`
    this.#tell('foreign', file, `it ${what}; move it out of the folder`)
  }

  #tell(kind: FindingKind, file: string, reason: string): void {
    this.#findings.push({ ...place(file, 0, 0), kind, reason })
  }

  #segmentOf(found: Found, chain: Chain): Segment {
    return new Segment(this.#context, found.believed, headerBytes(found.believed), chain)
  }

  #progress(bytes: number): void {
    this.#bytesDone += bytes
    this.#options.progress?.(Math.min(this.#bytesDone, this.#bytesTotal), this.#bytesTotal)
  }
}
