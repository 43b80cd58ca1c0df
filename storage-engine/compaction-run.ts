/**
 * One compaction run: writes the live records of a row of sealed segments, by stream, into one new segment. That
 * segment and its sidecar are durable when the run ends. Nothing else changes: nothing refers to the new files yet.
 *
 * The judge says what is dead, and only if that is durable: a crash must never bring back what a run has left out.
 */

import type { Arenas } from './arenas.ts'
import { BatchBuilder, type Place } from './batch-builder.ts'
import { catalogElsewhere, Floors } from './compaction-floors.ts'
import type { CompactionJudge } from './compaction-judge.ts'
import { MergedRecords, sortedRecords } from './compaction-sources.ts'
import { indexName, temporaryName } from './data-directory.ts'
import { SyncFailure } from './errors.ts'
import type { DataFile } from './files.ts'
import {
  aligned,
  CATALOG_STREAM,
  encodeHeader,
  headerBytes,
  type Offset,
  ORDER_BY_STREAM,
  type RecordView,
  type SegmentHeader,
} from './format.ts'
import { writeIndexFile } from './index-file.ts'
import { type ExpectedSize, MemoryIndex } from './memory-index.ts'
import type { Pacer } from './pacer.ts'
import { Segment } from './segment.ts'
import type { SegmentSet } from './segment-set.ts'
import { openIndexFile } from './sidecar.ts'
import { BACKGROUND_SYNC_BYTES, createWholeFile, syncOrFail } from './whole-file.ts'

export interface RunOutput {
  readonly segment: Segment
  readonly bytesRead: number
  readonly bytesWritten: number
  /** The highest number of a record of the catalogue that was left out; 0: none. */
  readonly checkpointFloor: Offset
}

/** Of a batch, unless it is a single record. This much is sealed and indexed in one slice. */
const BATCH_BYTES = 256 * 1024
const BATCH_RECORDS_MAX = 512

/** `ceiling` is the highest that is known to be durable. */
export async function compactSegments(
  segments: SegmentSet,
  inputs: readonly Segment[],
  judge: CompactionJudge,
  pacer: Pacer,
  arenas: Arenas,
  ceiling: Offset,
): Promise<RunOutput> {
  const floors: Floors[] = []
  for (const input of inputs) floors.push(await Floors.of(segments, input, (streams) => judge.floors(streams), pacer))
  const run = new Run(segments, inputs, floors, judge, pacer, arenas, ceiling)
  return await run.write()
}

class Run {
  readonly #segments: SegmentSet
  readonly #inputs: readonly Segment[]
  readonly #floors: readonly Floors[]
  readonly #judge: CompactionJudge
  readonly #pacer: Pacer
  readonly #arenas: Arenas
  readonly #header: SegmentHeader
  readonly #segment: Segment
  readonly #builder = new BatchBuilder()
  readonly #isElsewhere: (offset: Offset) => Promise<boolean>
  #unsyncedBytes = 0
  #checkpointFloor: Offset = 0

  constructor(
    segments: SegmentSet,
    inputs: readonly Segment[],
    floors: readonly Floors[],
    judge: CompactionJudge,
    pacer: Pacer,
    arenas: Arenas,
    ceiling: Offset,
  ) {
    this.#segments = segments
    this.#inputs = inputs
    this.#floors = floors
    this.#judge = judge
    this.#pacer = pacer
    this.#arenas = arenas
    this.#isElsewhere = catalogElsewhere(segments, inputs)
    const first = inputs[0] as Segment
    const last = inputs.at(-1) as Segment
    const generation = segments.newGeneration()
    this.#header = {
      identity: first.identity,
      generation,
      order: ORDER_BY_STREAM,
      predecessor: 0,
      predecessorEnd: 0,
      contentEnd: 0,
      createdMs: segments.context.now(),
      placeFrom: first.placeFrom,
      placeThrough: last.placeThrough,
      coveredLast: last.chain.last,
      ceiling,
      inputs: inputs.map((input) => input.generation),
      outputs: [generation],
    }
    const { context } = segments
    const index = new MemoryIndex(context.keyHash, ORDER_BY_STREAM, expectedSize(inputs, floors))
    this.#segment = new Segment(context, this.#header, headerBytes(this.#header), first.chainBefore, index)
  }

  async write(): Promise<RunOutput> {
    const { files, directory, hasSidecars } = this.#segments.context
    const segment = this.#segment
    await createWholeFile(files, directory, segment.name, (file) => this.#writeContent(file))
    try {
      if (hasSidecars) await this.#writeIndex()
    } catch (error) {
      if (!(error instanceof SyncFailure)) await removeOutput(this.#segments, segment)
      throw error
    }
    const bytesRead = this.#read.reduce((sum, { contentEnd }) => sum + contentEnd, 0)
    return { segment, bytesRead, bytesWritten: segment.sizeBytes, checkpointFloor: this.#checkpointFloor }
  }

  /** Inputs with anything alive in them. */
  get #read(): readonly Segment[] {
    return this.#inputs.filter((_, i) => this.#floors[i]?.standing.liveRecords !== 0)
  }

  async #writeContent(file: DataFile): Promise<void> {
    const segment = this.#segment
    segment.openForWriting(file)
    try {
      // Where the content ends is known only at the end; a file without a name may begin with anything until then.
      await file.write(encodeHeader(this.#header), 0)
      await this.#writeRecords()
      await file.write(encodeHeader({ ...this.#header, contentEnd: segment.contentEnd }), 0)
      await segment.seal(0)
    } finally {
      segment.leaveFile()
    }
  }

  async #writeRecords(): Promise<void> {
    const sources = this.#inputs.flatMap((input, i) => {
      const floors = this.#floors[i] as Floors
      if (floors.standing.liveRecords === 0) return []
      return sortedRecords(input, (streamId, offset) => floors.isAlive(streamId, offset), this.#pacer, this.#arenas)
    })
    const merged = await MergedRecords.of(sources)
    for (let head = merged.lowest; head !== undefined; head = merged.lowest) {
      const { end, rows, streamId } = head
      for (let row = head.at; row < end; row += 1) {
        if (streamId === CATALOG_STREAM && !(await this.#isNeeded(rows.viewOf(row)))) continue
        if (!this.#hasRoom(aligned(rows.lengthOf(row)))) await this.#writeBatch()
        if (this.#builder.count === 0) this.#builder.expect(this.#place)
        this.#builder.addMoved(rows, row)
      }
      await head.advance(end)
      await this.#pacer.slice()
    }
    if (this.#builder.count > 0) await this.#writeBatch()
  }

  async #isNeeded(record: RecordView): Promise<boolean> {
    if (await this.#judge.isNeeded(record, this.#isElsewhere)) return true
    this.#checkpointFloor = Math.max(this.#checkpointFloor, record.offset)
    return false
  }

  #hasRoom(moreBytes: number): boolean {
    const { count, bytes } = this.#builder
    return count === 0 || (count < BATCH_RECORDS_MAX && bytes + moreBytes <= BATCH_BYTES)
  }

  get #place(): Place {
    return { seed: this.#segment.seed, position: this.#segment.contentEnd }
  }

  async #writeBatch(): Promise<void> {
    const segment = this.#segment
    const { seed, position } = this.#place
    const fields = { previousCrc: segment.chain.crc, ceiling: 0, syncedGeneration: 0, syncedPosition: 0 }
    const { bytes, header } = this.#builder.seal(seed, position, fields)
    await this.#pacer.transfer(bytes.length)
    await segment.file.write(bytes, position)
    await this.#pacer.slice()
    segment.accept(bytes, header, position)
    this.#builder.reset()
    this.#unsyncedBytes += bytes.length
    if (this.#unsyncedBytes < BACKGROUND_SYNC_BYTES) return
    // Counts as work, and is rested from: while it is under way the disk has no time for publishers.
    await syncOrFail(segment.file)
    this.#unsyncedBytes = 0
  }

  async #writeIndex(): Promise<void> {
    const { context } = this.#segments
    const segment = this.#segment
    const index = segment.index as MemoryIndex
    await writeIndexFile(context.files, context.directory, index, segment.summary(), this.#pacer)
    segment.replaceIndex(await openIndexFile(context, segment))
  }
}

function expectedSize(inputs: readonly Segment[], floors: readonly Floors[]): ExpectedSize {
  const records = floors.reduce((sum, { standing }) => sum + standing.liveRecords, 0)
  const streams = floors.reduce((sum, { liveStreams }) => sum + liveStreams, 0)
  const keys = inputs.reduce((sum, { index }) => sum + index.keyCount, 0)
  return { records, streams, keys: Math.min(records, keys) }
}

/** Removes the files of an output that is not to be part of the log; whatever remains is removed by the next start. */
export async function removeOutput({ context }: SegmentSet, output: Segment): Promise<void> {
  const { files, directory, openFiles } = context
  for (const name of [output.name, indexName(output.generation), temporaryName(indexName(output.generation))]) {
    openFiles.forget(`${directory}/${name}`)
    await files.remove(`${directory}/${name}`).catch(() => undefined)
  }
}
