/** The state of each sidecar of a log under inspection: intact, doubtful or missing. None is indispensable. */

import { indexName } from './data-directory.ts'
import { systemCode } from './errors.ts'
import type { DataFile } from './files.ts'
import { FOOTER_BYTES, type SegmentFooter } from './format.ts'
import { type IndexFile, PAGE_BYTES, pageVerifies, writeIndexFile } from './index-file.ts'
import { type Finding, type InspectedSegment, place } from './inspect-findings.ts'
import type { Loaded } from './loaded-log.ts'
import { MemoryFiles } from './memory-files.ts'
import type { MemoryIndex } from './memory-index.ts'
import { isShortage } from './open-files.ts'
import type { Segment, SegmentContext } from './segment.ts'
import { fits, openIndex } from './sidecar.ts'

const PAGES_PER_READ = 64

export class InspectedSidecars {
  readonly #context: SegmentContext
  readonly #names: ReadonlySet<string>
  readonly #tell: (finding: Finding) => void
  readonly #progress: (bytes: number) => void
  readonly #states = new Map<number, InspectedSegment['index']>()

  /** `names`: those in the folder, complete before any other method is called. */
  constructor(
    context: SegmentContext,
    names: ReadonlySet<string>,
    tell: (finding: Finding) => void,
    progress: (bytes: number) => void,
  ) {
    this.#context = context
    this.#names = names
    this.#tell = tell
    this.#progress = progress
  }

  stateOf(generation: number): InspectedSegment['index'] {
    return this.#states.get(generation) ?? 'none'
  }

  /** It was opened, and a start would believe it. */
  noteWhole(generation: number): void {
    this.#states.set(generation, 'whole')
  }

  /** Judges it without reading it: present but unusable, or not there. */
  async outline(loaded: Loaded): Promise<void> {
    const { generation } = loaded.found
    const name = indexName(generation)
    if (!this.#names.has(name)) this.#tellMissing(loaded)
    else if (loaded.scan?.unverified.length === 0) {
      this.#tellDoubt(generation, 0, 0, 'it does not verify, or does not fit its segment')
    } else this.#states.set(generation, 'damaged')
  }

  /** The sidecar, if it was found intact and a start would believe it. */
  async usable({ found, segment }: Loaded, footer: SegmentFooter): Promise<IndexFile | undefined> {
    if (this.#states.get(found.generation) !== 'whole') return undefined
    const index = await openIndex(this.#context, segment)
    return index !== undefined && fits(index, footer, found.sizeBytes - FOOTER_BYTES) ? index : undefined
  }

  #tellMissing({ found, segment, scan }: Loaded): void {
    // A damaged segment gets none: it could not say which streams the damage affects.
    if (segment.batchCount === 0 || scan?.unverified.length !== 0) return
    this.#states.set(found.generation, 'missing')
    const reason = 'it is not there; the next start makes it again'
    this.#tell({ ...place(indexName(found.generation), 0, 0), kind: 'sidecar-missing', reason })
  }

  #tellDoubt(generation: number, position: number, bytes: number, reason: string): void {
    this.#states.set(generation, 'damaged')
    const told = `${reason}; nothing is lost, and it is made again when it is needed`
    this.#tell({ ...place(indexName(generation), position, bytes), kind: 'sidecar-damaged', reason: told })
  }

  /** Checks every page and, if the segment is intact, compares every byte with a sidecar made from the segment. */
  async check(loaded: Loaded, isWhole: boolean): Promise<void> {
    const { found, segment } = loaded
    const { generation } = found
    const name = indexName(generation)
    if (!this.#names.has(name)) {
      this.#tellMissing(loaded)
      return
    }
    const made = isWhole ? await this.#makeIndex(segment) : undefined
    let hasDamage = false
    let differsAt: number | undefined
    let position = 0
    for (;;) {
      const bytes = await this.read(name, position, PAGE_BYTES * PAGES_PER_READ)
      if (bytes === undefined) {
        this.#tellDoubt(generation, position, 0, 'it cannot be read')
        return
      }
      for (let at = 0; at < bytes.length; at += PAGE_BYTES) {
        const page = bytes.subarray(at, at + PAGE_BYTES)
        const pageNumber = (position + at) / PAGE_BYTES
        const verifies = page.length === PAGE_BYTES && pageVerifies(page, segment.seed, pageNumber)
        if (!verifies) this.#tellDoubt(generation, position + at, page.length, 'the page does not verify')
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
      this.#tellDoubt(generation, at - (at % PAGE_BYTES), PAGE_BYTES, 'it does not say what its segment holds')
    }
    if (!this.#states.has(generation)) this.#states.set(generation, 'whole')
  }

  async #makeIndex(segment: Segment): Promise<DataFile> {
    const memory = new MemoryFiles()
    await memory.makeDirectory('/made')
    await writeIndexFile(memory, '/made', segment.index as MemoryIndex, segment.summary())
    return await memory.open(`/made/${indexName(segment.generation)}`, 'read')
  }

  /** Undefined if it cannot be read; fewer bytes at the end of the file. */
  async read(name: string, position: number, length: number): Promise<Buffer | undefined> {
    const target = Buffer.alloc(length)
    try {
      const path = `${this.#context.directory}/${name}`
      return target.subarray(0, await this.#context.openFiles.read(path, target, position))
    } catch (error) {
      if (systemCode(error) === undefined || isShortage(error)) throw error
      return undefined
    }
  }
}

function firstDifference(one: Buffer, other: Buffer): number {
  for (let at = 0; at < one.length; at += 1) if (one[at] !== other[at]) return at
  return one.length
}
