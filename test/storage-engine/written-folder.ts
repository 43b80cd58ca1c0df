/**
 * A folder of segments made byte by byte, some of them compacted, in any state that a run of compaction and a crash can
 * leave it in; and what a start makes of it.
 */

import assert from 'node:assert/strict'
import { BlockCache } from '../../storage-engine/block-cache.ts'
import { manifestName, segmentName } from '../../storage-engine/data-directory.ts'
import { FaultyFiles } from '../../storage-engine/faulty-files.ts'
import type { Files } from '../../storage-engine/files.ts'
import { hashKey } from '../../storage-engine/key-hash.ts'
import type { Log } from '../../storage-engine/log.ts'
import {
  encodeManifest,
  entryOf,
  type Manifest,
  noManifest,
  type ReplacedEntry,
} from '../../storage-engine/manifest.ts'
import { OpenFiles } from '../../storage-engine/open-files.ts'
import type { SegmentContext } from '../../storage-engine/segment.ts'
import { type Known, NOW_MS, openSmall, readAll, Told } from './small-log.ts'
import { compacted, IDENTITY, WrittenSegment } from './written-segment.ts'

export const FOLDER = '/log'
export const STREAMS = [100, 200, 300]
/** Where a bit of a compacted segment is flipped: in its first batch. */
export const IN_CONTENT = 300

/** Segments 1 to `count` in a row; the last one is open. */
export function rolledRow(count: number): WrittenSegment[] {
  const row: WrittenSegment[] = []
  for (let generation = 1; generation <= count; generation += 1) {
    const segment = new WrittenSegment(generation, generation * 1000, {}, row.at(-1)?.batches.at(-1)?.crc ?? 0)
    for (let batch = 0; batch < 3; batch += 1) {
      segment.add(
        STREAMS.map((streamId) => ({ streamId, kind: 1, payload: Buffer.from(`${generation}/${batch}/${streamId}`) })),
      )
    }
    if (generation < count) segment.seal(generation + 1)
    row.push(segment)
  }
  return row
}

/** As a compaction writes it, without leaving anything out. */
export function merged(inputs: readonly WrittenSegment[], generation: number): WrittenSegment {
  return compacted(inputs, generation, undefined, 2)
}

export function manifestOf(
  number: number,
  live: readonly WrittenSegment[],
  replaced: readonly ReplacedEntry[] = [],
): Manifest {
  return { ...noManifest(IDENTITY), number, compacted: live.map(({ header }) => entryOf(header)), replaced }
}

/** That these are not part of the log any more, since `output` stands for them. */
export function replacedBy(output: WrittenSegment, inputs: readonly WrittenSegment[]): ReplacedEntry[] {
  return inputs.map(({ header }) => ({ generation: header.generation, by: output.header.generation }))
}

export async function folderOf(
  segments: readonly WrittenSegment[],
  manifests: readonly Manifest[] = [],
): Promise<FaultyFiles> {
  const files = new FaultyFiles()
  await files.makeDirectory(FOLDER)
  for (const segment of segments) files.putFile(pathOf(segment), segment.bytes)
  for (const manifest of manifests) files.putFile(manifestPath(manifest), encodeManifest(manifest))
  files.settle()
  return files
}

export function pathOf({ header }: WrittenSegment): string {
  return `${FOLDER}/${segmentName(header.generation)}`
}

export function manifestPath({ number }: Manifest): string {
  return `${FOLDER}/${manifestName(number)}`
}

export function flipBit(files: FaultyFiles, path: string, position: number): void {
  files.patch(path, position, Uint8Array.of((files.readFile(path)[position] ?? 0) ^ 0x10))
}

export function knownOf(segments: readonly WrittenSegment[]): Known[] {
  return segments.flatMap(({ records }) =>
    records.map(({ offset, streamId, payload }) => ({
      offset,
      streamId,
      text: Buffer.from(payload).toString('latin1'),
    })),
  )
}

export function contextOf(files: Files): SegmentContext {
  return {
    files,
    directory: FOLDER,
    openFiles: new OpenFiles(files, 4),
    blocks: new BlockCache(4096, 0),
    pages: new BlockCache(4096, 0),
    keyHash: hashKey,
    observer: new Told(),
    hasSidecars: true,
    now: () => NOW_MS,
  }
}

export interface Started {
  readonly log: Log
  readonly told: Told
}

export async function start(files: FaultyFiles): Promise<Started> {
  const told = new Told()
  return { log: await openSmall(files, FOLDER, {}, told), told }
}

/** Starts the log, has everything read in both ways, and stops it. Returns the files whose damage was told. */
export async function startAndCompare(
  files: FaultyFiles,
  wanted: readonly Known[],
  message: string,
): Promise<readonly string[]> {
  const { log, told } = await start(files)
  await compare(log, wanted, message)
  await log.close()
  return told.damages.map(({ file }) => file)
}

export async function compare(log: Log, wanted: readonly Known[], message: string): Promise<void> {
  const all = await readAll(log)
  assert.deepEqual(all, { records: wanted, gaps: [] }, `${message}: everything`)
  for (const streamId of STREAMS) {
    const records = wanted.filter((one) => one.streamId === streamId)
    assert.deepEqual(await readAll(log, 0, streamId), { records, gaps: [] }, `${message}: stream ${streamId}`)
  }
}

/** Every choice of some of them. */
export function subsets<T>(items: readonly T[]): T[][] {
  return items.reduce<T[][]>((all, item) => all.flatMap((some) => [some, [...some, item]]), [[]])
}
