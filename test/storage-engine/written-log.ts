/**
 * A log of segments made byte by byte, with their files, their sidecars and what cursors need; without a writer. Its
 * segments can be compacted at any moment, as a finished run does it: the output takes their place in one turn, and
 * their files go.
 */

import { BlockCache } from '../../storage-engine/block-cache.ts'
import { type Cursor, type CursorHost, LogCursor, StreamCursor } from '../../storage-engine/cursor.ts'
import { indexName } from '../../storage-engine/data-directory.ts'
import type { DataFile } from '../../storage-engine/files.ts'
import { type Offset, rolledHeader } from '../../storage-engine/format.ts'
import { writeIndexFile } from '../../storage-engine/index-file.ts'
import { hashKey } from '../../storage-engine/key-hash.ts'
import { noManifest } from '../../storage-engine/manifest.ts'
import { MemoryFiles } from '../../storage-engine/memory-files.ts'
import type { MemoryIndex } from '../../storage-engine/memory-index.ts'
import { OpenFiles } from '../../storage-engine/open-files.ts'
import { type Chain, scanSegment } from '../../storage-engine/scan.ts'
import { Segment, type SegmentContext } from '../../storage-engine/segment.ts'
import { SegmentSet } from '../../storage-engine/segment-set.ts'
import { openIndexFile } from '../../storage-engine/sidecar.ts'
import { systemError } from '../../storage-engine/system-error.ts'
import { NOW_MS, Told } from './small-log.ts'
import { BytesSource, compacted, IDENTITY, type NumberedRecord, type WrittenSegment } from './written-segment.ts'

const DIRECTORY = '/d'
const BLOCK_BYTES = 32 * 1024
const PAGE_BYTES = 4096

/** Files in memory whose reading can be made to wait, or refused. */
class GatedFiles extends MemoryFiles {
  gate: Promise<void> | undefined
  refuse: (path: string, begin: number, end: number) => boolean = () => false

  override async open(path: string, mode: 'create' | 'read' | 'update'): Promise<DataFile> {
    if (mode === 'read') await this.gate
    const file = await super.open(path, mode)
    const read = file.read.bind(file)
    file.read = async (target, position) => {
      await this.gate
      if (this.refuse(path, position, position + target.length)) throw systemError('EIO', 'read', path)
      return await read(target, position)
    }
    return file
  }
}

interface Live {
  readonly written: WrittenSegment
  readonly segment: Segment
}

export class WrittenLog {
  readonly files: GatedFiles
  readonly told: Told
  readonly segments: SegmentSet
  readonly #live: Live[]
  #newestGeneration: number

  private constructor(files: GatedFiles, told: Told, segments: SegmentSet, live: Live[], newestGeneration: number) {
    this.files = files
    this.told = told
    this.segments = segments
    this.#live = live
    this.#newestGeneration = newestGeneration
  }

  /** The last segment is empty and open, as that of a log into which nothing is written. */
  static async open(segments: readonly WrittenSegment[], cacheBytesMax = 0): Promise<WrittenLog> {
    const files = new GatedFiles()
    const told = new Told()
    await files.makeDirectory(DIRECTORY)
    const context: SegmentContext = {
      files,
      directory: DIRECTORY,
      openFiles: new OpenFiles(files, 2),
      blocks: new BlockCache(BLOCK_BYTES, cacheBytesMax),
      pages: new BlockCache(PAGE_BYTES, cacheBytesMax),
      keyHash: hashKey,
      observer: told,
      hasSidecars: true,
      now: () => NOW_MS,
    }
    const live: Live[] = []
    for (const written of segments) {
      const last = live.at(-1)?.segment.chain.last ?? 0
      live.push({ written, segment: await loaded(context, written, { crc: 0, last }) })
    }
    const generation = segments.length + 1
    const header = { identity: IDENTITY, generation, predecessor: segments.length, predecessorEnd: 0 }
    const active = new Segment(
      context,
      rolledHeader({ ...header, contentEnd: 128, createdMs: 0 }),
      128,
      live.at(-1)?.segment.chain ?? { crc: 0, last: 0 },
    )
    const manifest = noManifest(IDENTITY)
    const recovered = { damages: [], ceiling: 0, syncedPosition: 128, newestGeneration: generation, manifest }
    const limits = { segmentBytesMax: 2 ** 20, segmentRecordsMax: 2 ** 20, logBytesMax: undefined }
    const all = [...live.map(({ segment }) => segment), active]
    return new WrittenLog(
      files,
      told,
      new SegmentSet(context, { ...recovered, segments: all }, limits),
      live,
      generation,
    )
  }

  /** How many segments are sealed. */
  get count(): number {
    return this.#live.length
  }

  cursor(after: Offset, streamId?: number): Cursor {
    const last = this.segments.active.chain.last
    const host: CursorHost = { segments: this.segments, lastOffset: last, forget: () => undefined }
    return streamId === undefined ? new LogCursor(host, after) : new StreamCursor(host, after, streamId)
  }

  /** Changes one byte of a file. */
  async damage(path: string, position: number): Promise<void> {
    const file = await this.files.open(path, 'update')
    const byte = Buffer.alloc(1)
    await file.read(byte, position)
    byte[0]! ^= 0x10
    await file.write(byte, position)
    await file.close()
  }

  /** Compacts the segments `from` to, not including, `to`. */
  async compact(
    from: number,
    to: number,
    isDead?: (record: NumberedRecord) => boolean,
    recordsPerBatch?: number,
  ): Promise<Live> {
    const { context } = this.segments
    this.#newestGeneration += 1
    const inputs = this.#live.slice(from, to)
    const written = compacted(
      inputs.map((input) => input.written),
      this.#newestGeneration,
      isDead,
      recordsPerBatch,
    )
    const output = { written, segment: await loaded(context, written, (inputs[0] as Live).segment.chainBefore) }
    this.#live.splice(from, to - from, output)
    const all = this.segments.all as Segment[]
    all.splice(from, to - from, output.segment)
    for (const { segment } of inputs) {
      await this.#remove(segment.path)
      await this.removeIndex(segment)
      context.blocks.forget(segment.cacheId)
    }
    return output
  }

  async removeIndex(segment: Segment): Promise<void> {
    await this.#remove(`${DIRECTORY}/${indexName(segment.generation)}`)
  }

  async #remove(path: string): Promise<void> {
    this.segments.context.openFiles.forget(path)
    await this.files.remove(path)
  }
}

/** Writes the segment and its sidecar, and loads it as a start would. */
async function loaded(context: SegmentContext, written: WrittenSegment, before: Chain): Promise<Segment> {
  const segment = new Segment(context, written.header, written.headerEnd, before)
  const file = await context.files.open(segment.path, 'create')
  await file.write(written.bytes, 0)
  await file.close()
  const source = new BytesSource(written.bytes, segment.seed)
  for await (const item of scanSegment(source, segment.headerEnd, segment.chainBefore, segment.order)) {
    if (item.kind === 'batch') segment.accept(item.bytes, item.header, item.position)
  }
  segment.markSealed()
  await writeIndexFile(context.files, DIRECTORY, segment.index as MemoryIndex, segment.summary())
  segment.replaceIndex(await openIndexFile(context, segment))
  return segment
}
