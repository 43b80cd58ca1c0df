/**
 * Decides what each segment file in the folder is: part of the log, replaced by a compaction, or left over from one
 * that was cut short. Recovery and inspection both decide it here, from the headers and the newest manifest; the caller
 * supplies the answer where a file has to be read in full. Changes nothing.
 *
 * The rules and their reasons are in docs/log-format.md, "Compaction". In short: silence never deletes. A file goes
 * only if a manifest that verifies names its replacement, and that replacement verifies in full.
 */

import { manifestName } from './data-directory.ts'
import { HEADER_BYTES, ORDER_BY_STREAM, rolledHeader, type SegmentHeader } from './format.ts'
import {
  type CompactedEntry,
  entryOf,
  headerOfEntry,
  type Manifest,
  noManifest,
  type ReplacedEntry,
} from './manifest.ts'
import type { Damage } from './observer.ts'
import type { SegmentFile } from './segment-files.ts'

/** A segment's file that is part of the log. */
export interface Found extends SegmentFile {
  /** The header, or what is assumed in its place if it does not verify. */
  readonly believed: SegmentHeader
}

export interface Arrangement {
  /** In the order of the log. */
  readonly live: readonly Found[]
  /** Compacted segments that hold nothing that the log does not hold without them: they may go. */
  readonly remnants: readonly SegmentFile[]
  /** Files that live segments which verify have replaced: they may go. */
  readonly replaced: readonly SegmentFile[]
  /** Segments that the manifest names and that are not there, though not all of their inputs are. */
  readonly missing: readonly CompactedEntry[]
  /** Compacted segments that fail to verify where it matters. */
  readonly doubts: readonly Doubt[]
  /** The manifest that counts from now on. */
  readonly manifest: Manifest
  /** Whether it must be written before anything is removed, because the newest on the disk does not say the same. */
  readonly isUnwritten: boolean
}

export interface Doubt {
  readonly file: SegmentFile
  readonly reason: string
}

/** The newest manifest of the folder. */
export interface NewestManifest {
  /** 0: there is none. */
  readonly number: number
  /** Undefined where it does not verify, or there is none. */
  readonly manifest: Manifest | undefined
}

/** Costs no record: the content is elsewhere, or is reported where it cannot be read. */
export function doubtDamage({ file, reason }: Doubt): Damage {
  return { file: file.name, position: 0, bytes: file.sizeBytes, after: 0, through: 0, reason }
}

export function manifestDamage(number: number): Damage {
  const reason = 'it does not verify; the headers of the compacted segments count in its place'
  return { file: manifestName(number), position: 0, bytes: 0, after: 0, through: 0, reason }
}

export type Verifies = (file: SegmentFile) => Promise<boolean>

const SET_ASIDE = 'it does not verify; what it was made from is there, and counts in its place'
const NOT_REMOVED = 'it does not verify as a whole; what is left of the segments that it replaced is kept'

export async function arrange(
  identity: Uint8Array,
  files: readonly SegmentFile[],
  newest: NewestManifest,
  verifies: Verifies,
): Promise<Arrangement> {
  const arranging = new Arranging(identity, files, verifies)
  if (newest.manifest === undefined) return await arranging.byHeaders(newest.number)
  return await arranging.byManifest(newest.manifest)
}

/** The header that is assumed for a segment of which only the generation is known. */
export function presumedHeader(identity: Uint8Array, generation: number): SegmentHeader {
  const unknown = { predecessor: 0, predecessorEnd: 0, contentEnd: HEADER_BYTES, createdMs: 0 }
  return rolledHeader({ ...unknown, identity, generation })
}

/** Whether this segment covers the place of the one that was rolled with that generation. */
export function holdsPlace(of: Pick<SegmentHeader, 'placeFrom' | 'placeThrough'>, generation: number): boolean {
  return of.placeFrom <= generation && generation <= of.placeThrough
}

class Arranging {
  readonly #identity: Uint8Array
  readonly #files: ReadonlyMap<number, SegmentFile>
  readonly #verifies: Verifies
  readonly #live = new Map<number, SegmentFile>()
  /** Of the compacted segments that are live or missing. */
  readonly #entries = new Map<number, CompactedEntry>()
  readonly #remnants: SegmentFile[] = []
  readonly #replaced: SegmentFile[] = []
  readonly #stillReplaced = new Map<number, ReplacedEntry>()
  readonly #missing: CompactedEntry[] = []
  readonly #doubts: Doubt[] = []

  constructor(identity: Uint8Array, files: readonly SegmentFile[], verifies: Verifies) {
    this.#identity = identity
    this.#files = new Map(files.map((file) => [file.generation, file]))
    this.#verifies = verifies
  }

  async byManifest(manifest: Manifest): Promise<Arrangement> {
    for (const entry of manifest.replaced) this.#stillReplaced.set(entry.generation, entry)
    for (const entry of manifest.compacted) await this.#settleNamed(entry)
    const unnamed: CompactedFile[] = []
    for (const file of this.#files.values()) {
      const { generation } = file
      const isNamed = manifest.compacted.some((entry) => entry.generation === generation)
      if (isNamed || this.#stillReplaced.has(generation) || this.#live.has(generation)) continue
      if (isCompacted(file)) unnamed.push(file)
      else this.#live.set(generation, file)
    }
    for (const file of unnamed) await this.#settleUnnamed(file)
    return this.#result({ ...manifest, ...this.#lists() }, false)
  }

  /** No manifest says which compacted segments count: those that verify do, and the segments they replace do not. */
  async byHeaders(newestNumber: number): Promise<Arrangement> {
    const files = [...this.#files.values()].sort((a, b) => b.generation - a.generation)
    for (const file of files) {
      if (!isCompacted(file) || this.#stillReplaced.has(file.generation)) continue
      const isWhole = await this.#verifies(file)
      if (!isWhole && this.#hasAll(file.header.inputs)) {
        this.#doubts.push({ file, reason: SET_ASIDE })
        continue
      }
      if (!isWhole) this.#doubts.push({ file, reason: NOT_REMOVED })
      this.#takeIn(file)
      for (const older of files) {
        if (older.generation >= file.generation || !holdsPlace(file.header, placeOf(older))) continue
        this.#stillReplaced.set(older.generation, { generation: older.generation, by: file.generation })
        if (isWhole) this.#replaced.push(older)
      }
    }
    for (const file of files) {
      if (!isCompacted(file) && !this.#stillReplaced.has(file.generation)) this.#live.set(file.generation, file)
    }
    const lists = this.#lists()
    const number = newestNumber + 1
    // Which records were dropped is no longer known: any of these may have been.
    const checkpointFloor = Math.max(0, ...lists.compacted.map(({ coveredLast }) => coveredLast))
    const manifest = { identity: this.#identity, number, checkpointFloor, ...lists }
    if (newestNumber === 0 && lists.compacted.length === 0) return this.#result(noManifest(this.#identity), false)
    return this.#result(manifest, true)
  }

  async #settleNamed(entry: CompactedEntry): Promise<void> {
    const file = this.#files.get(entry.generation)
    const replaced = [...this.#stillReplaced.values()].filter(({ by }) => by === entry.generation)
    const there = replaced.flatMap(({ generation }) => this.#files.get(generation) ?? [])
    if (file !== undefined && (there.length === 0 || (await this.#verifies(file)))) {
      this.#live.set(file.generation, file)
      this.#entries.set(entry.generation, entry)
      this.#replaced.push(...there)
      return
    }
    if (file === undefined || this.#hasAll(entry.inputs)) {
      // The inputs hold everything that it held, or whatever is left of it.
      for (const generation of entry.inputs) this.#bringBack(generation, entry)
      if (file !== undefined) this.#doubts.push({ file, reason: SET_ASIDE })
      if (this.#hasAll(entry.inputs)) return
      this.#missing.push(entry)
    } else {
      this.#live.set(file.generation, file)
      this.#doubts.push({ file, reason: NOT_REMOVED })
    }
    this.#entries.set(entry.generation, entry)
  }

  async #settleUnnamed(file: CompactedFile): Promise<void> {
    const { inputs, placeFrom, placeThrough } = file.header
    const isHeld = inputs.every((generation) => this.#live.has(generation))
    const isCovered = [...this.#entries.values()].some(
      (entry) => this.#live.has(entry.generation) && holdsPlace(entry, placeFrom) && holdsPlace(entry, placeThrough),
    )
    if (isHeld || isCovered) {
      this.#remnants.push(file)
      return
    }
    // No manifest names it, and yet an input is gone: whatever is left of them is kept.
    if (!(await this.#verifies(file))) this.#doubts.push({ file, reason: NOT_REMOVED })
    for (const older of [...this.#live.values()]) {
      if (!holdsPlace(file.header, placeOf(older))) continue
      this.#live.delete(older.generation)
      this.#entries.delete(older.generation)
      this.#stillReplaced.set(older.generation, { generation: older.generation, by: file.generation })
    }
    this.#takeIn(file)
  }

  #bringBack(generation: number, entry: CompactedEntry): void {
    const file = this.#files.get(generation)
    if (file === undefined || !(file.header !== undefined || holdsPlace(entry, generation))) return
    this.#stillReplaced.delete(generation)
    if (isCompacted(file)) this.#takeIn(file)
    else this.#live.set(generation, file)
  }

  #takeIn(file: CompactedFile): void {
    this.#live.set(file.generation, file)
    this.#entries.set(file.generation, entryOf(file.header))
  }

  /** A file whose header does not verify does not count: nobody knows whether it was compacted, or where its place is. */
  #hasAll(generations: readonly number[]): boolean {
    return generations.every((generation) => this.#files.get(generation)?.header !== undefined)
  }

  #lists(): Pick<Manifest, 'compacted' | 'replaced'> {
    const compacted = [...this.#entries.values()].sort((a, b) => a.placeFrom - b.placeFrom)
    return { compacted, replaced: [...this.#stillReplaced.values()] }
  }

  #result(manifest: Manifest, isUnwritten: boolean): Arrangement {
    const live = [...this.#live.values()].map((file) => ({ ...file, believed: this.#believed(file) }))
    live.sort((a, b) => a.believed.placeFrom - b.believed.placeFrom || a.generation - b.generation)
    const lists = { live, remnants: this.#remnants, replaced: this.#replaced, missing: this.#missing }
    return { ...lists, doubts: this.#doubts, manifest, isUnwritten }
  }

  #believed({ generation, header }: SegmentFile): SegmentHeader {
    if (header !== undefined) return header
    const entry = this.#entries.get(generation)
    if (entry !== undefined) return headerOfEntry(this.#identity, entry)
    return presumedHeader(this.#identity, generation)
  }
}

type CompactedFile = SegmentFile & { readonly header: SegmentHeader }

function isCompacted(file: SegmentFile): file is CompactedFile {
  return file.header?.order === ORDER_BY_STREAM
}

function placeOf(file: SegmentFile): number {
  return file.header?.placeFrom ?? file.generation
}
