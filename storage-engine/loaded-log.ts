/**
 * What follows from the segments of a log once they are loaded: where the log ends, what is damaged, what is missing.
 * Shared by recovery and inspection. Changes nothing. The rules are in docs/log-format.md, "Recovery".
 */

import { type Found, holdsPlace } from './arrangement.ts'
import { segmentName } from './data-directory.ts'
import {
  type BatchHeader,
  HEADER_BYTES,
  headerBytes,
  type Offset,
  ORDER_BY_STREAM,
  type SegmentFooter,
  type SegmentHeader,
} from './format.ts'
import { IndexDoubt } from './index-file.ts'
import type { CompactedEntry } from './manifest.ts'
import type { MemoryIndex } from './memory-index.ts'
import type { Damage } from './observer.ts'
import { type Chain, scanSegment, UNKNOWN_CHAIN, UNKNOWN_CRC, UNREADABLE, type Unverified } from './scan.ts'
import { type Segment, scanSource } from './segment.ts'
import { damageOf } from './segment-damage.ts'
import type { IndexMark } from './segment-index.ts'

/** A segment whose content is known. */
export interface Loaded {
  readonly found: Found
  segment: Segment
  /** The footer, where one verifies. */
  readonly footer: SegmentFooter | undefined
  readonly scan: Scan | undefined
  /** Of a segment without a footer: where its content ended when it was sealed, according to its sidecar; or 0. */
  readonly sealedEnd: number
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

/** Stands for the unknown end of a range of numbers; whoever opens the log puts its next number there. */
export const UNKNOWN_THROUGH: Offset = Number.MAX_SAFE_INTEGER

/**
 * Loads the segments, each with what lies before it. `decider` is the header of the segment in which a recovery recorded
 * where this one ends.
 */
export async function loadInOrder(
  found: readonly Found[],
  load: (one: Found, chain: Chain, decider: SegmentHeader | undefined) => Promise<Loaded>,
): Promise<Loaded[]> {
  const loaded: Loaded[] = []
  // The CRC of a segment's last batch, if it is certain which one that is; 0 stands before the first segment.
  const lastCrcs = new Map([[0, 0]])
  let last: Offset = 0
  for (const [i, one] of found.entries()) {
    const crc = lastCrcs.get(one.header?.predecessor ?? -1) ?? UNKNOWN_CRC
    const chain: Chain = { crc, last, mayBeUnread: (one.header?.predecessorEnd ?? 0) > 0 }
    const decider = deciderOf(one, found.slice(i + 1))
    const next = await load(one, chain, decider)
    loaded.push(next)
    const isDecided = next.footer !== undefined || next.segment.contentEnd === decider?.predecessorEnd
    if (isDecided) lastCrcs.set(one.generation, next.segment.chain.crc)
    last = Math.max(last, next.segment.chain.last)
  }
  return loaded
}

// Where it ends

/** Whether it was written by a compaction. */
export function isCompacted({ segment }: Loaded): boolean {
  return segment.order === ORDER_BY_STREAM
}

/**
 * The index, among the loaded segments, of the one in which the log ended: the last that holds a batch or, behind a
 * compacted one, the next. If that is not there, it is their count.
 */
export function tailAmong(loaded: readonly Loaded[]): number {
  const last = loaded.findLastIndex((one) => isCompacted(one) || holdsContent(one))
  if (last === -1) return 0
  if (!isCompacted(loaded[last] as Loaded)) return last
  const next = loaded.findIndex(({ found }, i) => i > last && found.header !== undefined)
  return next === -1 ? loaded.length : next
}

/** Whether the log continues in the empty segment `one`, according to a footer or a recovery. */
export function continues(one: Loaded, tail: Loaded): boolean {
  if (one.found.header === undefined) return false
  if (tail.footer !== undefined) return tail.footer.successor === one.found.generation
  return one.found.header.predecessor === tail.found.generation && one.found.header.predecessorEnd > 0
}

/**
 * The end of content that was once durable: before the file got its name, according to its header; or when the segment was
 * sealed, according to its sidecar, which is written only afterwards.
 */
export function durableEnd({ found, sealedEnd }: Pick<Loaded, 'found' | 'sealedEnd'>): number {
  return Math.max(found.header?.contentEnd ?? 0, sealedEnd)
}

/** The header of the segment in which a recovery recorded where `one` ends, if it is among `others`. */
export function deciderOf(one: Found, others: readonly Found[]): SegmentHeader | undefined {
  const isDecider = ({ header }: Found) => header?.predecessor === one.generation && header.predecessorEnd > 0
  return others.find(isDecider)?.header
}

/** Made ahead for a roll that then used another file: nothing but a header, and nothing refers to it. */
export function isUnusedSpare(one: Loaded, loaded: readonly Loaded[]): boolean {
  const { header, generation, sizeBytes } = one.found
  if (header === undefined || isCompacted(one)) return false
  if (sizeBytes > headerBytes(header) || header.contentEnd > headerBytes(header)) return false
  return !loaded.some(
    ({ found, footer }) => found.header?.predecessor === generation || footer?.successor === generation,
  )
}

/** Whether a segment holds a batch, once durably held batches that are gone now, or cannot be read. */
export function holdsContent(one: Loaded): boolean {
  return one.segment.batchCount > 0 || durableEnd(one) > one.segment.headerEnd || unreadableEnd(one) > 0
}

/**
 * The end of the last bytes that the disk cannot read; 0 if it can read all that matters. They may have been acknowledged,
 * and may be readable at the next start, so they are never a torn tail. Behind the end that a sidecar names there is only
 * a footer.
 */
function unreadableEnd({ scan, sealedEnd }: Loaded): number {
  const counts = ({ position, reason }: Unverified) =>
    reason === UNREADABLE && (sealedEnd === 0 || position < sealedEnd)
  return scan?.unverified.findLast(counts)?.end ?? 0
}

/**
 * The ceiling that the last readable batch reserved, or that a compacted segment remembers; no earlier one is higher.
 * Footers and sidecars do not hold ceilings.
 */
export async function highestCeiling(loaded: readonly Loaded[]): Promise<Offset> {
  const remembered = loaded.reduce((highest, { found }) => Math.max(highest, found.believed.ceiling), 0)
  for (const one of loaded.toReversed()) {
    if (isCompacted(one)) continue
    const batches = one.scan?.batches.map(({ header }) => header) ?? (await lastBatches(one.segment))
    const ceiling = batches.reduce((highest, header) => Math.max(highest, header.ceiling), 0)
    if (ceiling > 0) return Math.max(remembered, ceiling)
  }
  return remembered
}

/** The batches from the last mark on, of a segment that was not read. */
async function lastBatches(segment: Segment): Promise<BatchHeader[]> {
  const begin = (await lastMark(segment))?.batchPosition ?? segment.headerEnd
  const batches: BatchHeader[] = []
  for await (const item of scanSegment(scanSource(segment, segment.contentEnd), begin, UNKNOWN_CHAIN)) {
    if (item.kind === 'batch') batches.push(item.header)
  }
  return batches
}

/** The last mark in a sealed segment's index; undefined if there is none, or its page is doubtful. */
async function lastMark(segment: Segment): Promise<IndexMark | undefined> {
  if (segment.recordCount === 0) return undefined
  try {
    return await segment.index.markBefore(segment.last)
  } catch (error) {
    if (!(error instanceof IndexDoubt)) throw error
    return undefined
  }
}

/** Everything before it was durable, according to the header, a later batch or the sidecar, or cannot be read. */
export function provenEnd(tail: Loaded): number {
  let proven = Math.max(durableEnd(tail), unreadableEnd(tail))
  for (const { header } of (tail.scan as Scan).batches) {
    if (header.syncedGeneration === tail.found.generation) proven = Math.max(proven, header.syncedPosition)
  }
  return Math.min(Math.max(proven, tail.segment.headerEnd), tail.found.sizeBytes)
}

/** The log ends at the first bytes that do not verify and that nothing vouches for; otherwise behind the last batch. */
export function endOfLog(tail: Loaded, proven: number): number {
  const torn = (tail.scan as Scan).unverified.find((item) => item.end > proven)
  if (torn === undefined) return Math.max(proven, (tail.scan as Scan).batches.at(-1)?.end ?? proven)
  return Math.max(proven, torn.position)
}

// What is damaged

/** Bytes that do not verify, with the numbers they may have held, judging by the batches around them. */
export function unverifiedDamage(one: Loaded, item: Unverified): Damage {
  const { segment, footer } = one
  // The index is in memory: the segment was read.
  if (isCompacted(one)) return damageOf(segment, segment.index as MemoryIndex, item)
  const batches = one.scan?.batches ?? []
  const before = batches.findLast((batch) => batch.end <= item.position)
  const behind = batches.find((batch) => batch.position >= item.end)
  const after = before?.header.last ?? segment.chainBefore.last
  const through = behind === undefined ? (footer?.last ?? UNKNOWN_THROUGH) : behind.header.first - 1
  const place = { file: segment.name, position: item.position, bytes: item.end - item.position }
  return { ...place, after, through: Math.max(after, through), reason: item.reason }
}

/** Content that was durable up to `end`, according to a header or a sidecar, would lie past the end of the file. */
export function shortDamage(one: Loaded, end: number): Damage | undefined {
  const { sizeBytes } = one.found
  if (end <= sizeBytes) return undefined
  return damageBehindAll(one, sizeBytes, end, 'the file is shorter than it was')
}

/** The file may have lost its end and still end with a whole batch: nothing in it says that there was no more. */
export function footerDamage(one: Loaded): Damage {
  const { contentEnd } = one.segment
  return damageBehindAll(one, contentEnd, contentEnd, 'the footer is missing')
}

/** Whatever lay behind all that can be read is gone. */
function damageBehindAll(one: Loaded, position: number, end: number, reason: string): Damage {
  const { segment } = one
  if (isCompacted(one))
    return damageOf(segment, segment.index as MemoryIndex, { kind: 'unverified', position, end, reason })
  const place = { file: segment.name, position, bytes: end - position }
  return { ...place, after: segment.chain.last, through: UNKNOWN_THROUGH, reason }
}

/** The header does not verify. Records whose batches verify can still be read. */
export function headerDamage({ found, segment }: Loaded): Damage {
  const place = {
    file: found.name,
    position: 0,
    bytes: found.believed.order === ORDER_BY_STREAM ? segment.headerEnd : HEADER_BYTES,
  }
  const reason = 'the header does not verify; the batches behind it are readable all the same'
  return { ...place, after: segment.first, through: segment.first, reason }
}

/** Behind a compacted segment there is always one that is written. */
export function endDamage(last: Loaded): Damage {
  const { segment } = last
  const place = { file: segment.name, position: segment.contentEnd, bytes: 0 }
  return { ...place, after: segment.chain.last, through: UNKNOWN_THROUGH, reason: 'the segment behind it is missing' }
}

/** A segment whose numbers overlap those before it, which go up to `last`, is not part of this log's history. */
export function overlapDamage(segment: Segment, last: Offset): Damage {
  return { file: segment.name, position: 0, bytes: segment.contentEnd, after: last, through: last, reason: OVERLAP }
}

export const OVERLAP = 'its numbers overlap with those of an earlier segment'

// What is missing

/** A segment that others refer to and that is not there, or in which nothing verifies. */
export interface MissingSegment {
  readonly generation: number
  /** Its place in the log. */
  readonly placeFrom: number
  /** The highest number that it held, if a manifest remembers it; 0: others report which numbers are missing. */
  readonly last: Offset | undefined
  readonly reason: string
}

/** `compacted` are those that the manifest names and that are not there. */
export function missingSegments(
  loaded: readonly Loaded[],
  compacted: readonly CompactedEntry[],
): readonly MissingSegment[] {
  // A recovery may meanwhile have copied all of its batches into the next one.
  const hasBatches = ({ segment, scan }: Loaded) => segment.batchCount > 0 || (scan?.batches.length ?? 0) > 0
  const isKnown = (one: Loaded) => one.found.header !== undefined || hasBatches(one) || unreadableEnd(one) > 0
  const readable = loaded.filter(isKnown)
  const present = new Set([0, ...readable.map((one) => one.found.generation)])
  const files = loaded.map(({ found }) => found)
  const named = loaded.flatMap((one) => [
    // A recovery that could not read the footer has decided where the log continues.
    deciderOf(one.found, files)?.generation ?? one.footer?.successor ?? 0,
    one.found.header?.predecessor ?? 0,
  ])
  // Where some of its inputs have come back, these name those that have not.
  const isInPart = (entry: CompactedEntry) => loaded.some(({ segment }) => holdsPlace(entry, segment.placeFrom))
  const whole = compacted.filter((entry) => !isInPart(entry))
  const places = [...loaded.filter(isCompacted).map(({ found }) => found.believed), ...whole]
  const isMissing = (generation: number) =>
    !present.has(generation) && !places.some((place) => holdsPlace(place, generation))
  const rolled = [...new Set(named)].filter(isMissing).map((generation) => {
    const isThere = loaded.some((one) => one.found.generation === generation)
    const reason = isThere ? 'nothing in it verifies' : 'the file is missing'
    return { generation, placeFrom: generation, last: undefined, reason }
  })
  const replacing = compacted.map((entry) => {
    const { generation, placeFrom, coveredLast } = entry
    return { generation, placeFrom, last: whole.includes(entry) ? coveredLast : 0, reason: 'the file is missing' }
  })
  return [...rolled, ...replacing]
}

export function missingDamage(missing: MissingSegment, after: Offset, through: Offset): Damage {
  const place = { file: segmentName(missing.generation), position: 0, bytes: 0 }
  return { ...place, after, through: Math.max(after, missing.last ?? through), reason: missing.reason }
}
