/** Finds out from a segment's sidecar whose records were lost with bytes that do not verify. */

import { systemCode } from './errors.ts'
import { FOOTER_BYTES, RecordView, verifyRecord } from './format.ts'
import { IndexDoubt } from './index-file.ts'
import type { LostRecord } from './inspect-findings.ts'
import type { Loaded } from './loaded-log.ts'
import { isShortage } from './open-files.ts'
import type { Unverified } from './scan.ts'
import type { Segment, SegmentContext } from './segment.ts'
import type { Posting } from './segment-index.ts'
import { fits, openIndex } from './sidecar.ts'

export interface PlacedRecord extends LostRecord {
  /** Undefined where it is lost. */
  readonly record: RecordView | undefined
}

/** Which records lay in these ranges and are gone, by the word of the sidecar; undefined where it says nothing. */
export async function lostRecords(
  context: SegmentContext,
  one: Loaded,
  items: readonly Unverified[],
): Promise<ReadonlyMap<Unverified, readonly LostRecord[]> | undefined> {
  const placed = await recordsIn(context, one, items)
  if (placed === undefined) return undefined
  return new Map([...placed].map(([item, records]) => [item, lostOf(records)]))
}

/** All records in these ranges, by number; undefined where the sidecar says nothing. */
export async function recordsIn(
  context: SegmentContext,
  { segment, footer, found }: Loaded,
  items: readonly Unverified[],
): Promise<ReadonlyMap<Unverified, PlacedRecord[]> | undefined> {
  const index = await openIndex(context, segment)
  if (index === undefined) return undefined
  // Without such an index a reader loses the whole batch.
  const isUsed = footer !== undefined && fits(index, footer, found.sizeBytes - FOOTER_BYTES)
  const placed = new Map<Unverified, PlacedRecord[]>(items.map((item) => [item, []]))
  try {
    for await (const posting of index.entries()) {
      const { position, length, streamId, offset } = posting
      const item = items.find((each) => position < each.end && position + length > each.position)
      if (item === undefined) continue
      placed.get(item)?.push({ streamId, offset, record: isUsed ? await readRecord(segment, posting) : undefined })
    }
  } catch (error) {
    if (!(error instanceof IndexDoubt)) throw error
    return undefined
  }
  for (const records of placed.values()) records.sort((a, b) => a.offset - b.offset)
  return placed
}

export async function readRecord(segment: Segment, { position, length }: Posting): Promise<RecordView | undefined> {
  const bytes = Buffer.alloc(length)
  try {
    if ((await segment.read(bytes, position)) < length) return undefined
  } catch (error) {
    if (systemCode(error) === undefined || isShortage(error)) throw error
    return undefined
  }
  return verifyRecord(bytes, 0, segment.seed, position) ? new RecordView(bytes, 0) : undefined
}

/** Those of the records that cannot be read. */
export function lostOf(records: readonly PlacedRecord[]): LostRecord[] {
  return records.flatMap(({ streamId, offset, record }) => (record === undefined ? [{ streamId, offset }] : []))
}
