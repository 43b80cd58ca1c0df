/**
 * The sidecar of one segment: opened, compared with its segment, and rebuilt. Its bytes are the business of
 * index-file.ts.
 */

import { indexName } from './data-directory.ts'
import type { SegmentFooter } from './format.ts'
import { IndexDoubt, IndexFile } from './index-file.ts'
import { MemoryIndex } from './memory-index.ts'
import type { Damage } from './observer.ts'
import { scanSegment, UNKNOWN_CHAIN, type Unverified } from './scan.ts'
import { nextCacheId, recordsOf, type Segment, type SegmentContext, scanSource } from './segment.ts'
import { damageOf } from './segment-damage.ts'

/** The sidecar of a sealed segment; throws IndexDoubt if it has to be rebuilt. */
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

/** The sidecar; undefined if it is doubtful. */
export async function openIndex(context: SegmentContext, segment: Segment): Promise<IndexFile | undefined> {
  try {
    return await openIndexFile(context, segment)
  } catch (error) {
    if (!(error instanceof IndexDoubt)) throw error
    return undefined
  }
}

/** Whether a start believes the sidecar about what the segment holds. */
export function fits({ summary }: IndexFile, footer: SegmentFooter, contentEnd: number): boolean {
  return (
    summary.contentEnd === contentEnd &&
    summary.lastCrc === footer.lastCrc &&
    summary.recordCount === footer.recordCount
  )
}

/** Where the content ended when the segment was sealed, according to its sidecar; 0 without one that verifies. */
export async function sealedEndOf(context: SegmentContext, segment: Segment): Promise<number> {
  const index = context.hasSidecars ? await openIndex(context, segment) : undefined
  return index?.summary.contentEnd ?? 0
}

/** Reads a sealed segment in full for its index. Reports what does not verify, with the numbers that it may hold. */
export async function rebuildIndex(
  context: SegmentContext,
  segment: Segment,
): Promise<{ readonly index: MemoryIndex; readonly damages: readonly Damage[] }> {
  const index = new MemoryIndex(context.keyHash, segment.order)
  const unverified: Unverified[] = []
  const source = scanSource(segment, segment.contentEnd)
  for await (const item of scanSegment(source, segment.headerEnd, UNKNOWN_CHAIN, segment.order)) {
    if (item.kind === 'unverified') unverified.push(item)
    if (item.kind !== 'batch') continue
    for (const [at, record] of recordsOf(item.bytes, item.header.count)) {
      index.add(record, item.position + at, item.position)
    }
  }
  return { index, damages: unverified.map((item) => damageOf(segment, index, item)) }
}
