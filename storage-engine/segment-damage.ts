/**
 * Which numbers of which streams may have been lost with bytes of a segment that do not verify, judging by the records
 * around them that do.
 *
 * In a segment in stream order it may be any number, but only of the streams from that of the record before the damage
 * to that of the record behind it, and of these two only the numbers in between.
 */

import { ORDER_BY_STREAM } from './format.ts'
import type { MemoryIndex } from './memory-index.ts'
import type { Damage, RecordName } from './observer.ts'
import type { Unverified } from './scan.ts'
import type { Segment } from './segment.ts'

/** `index` is that of all records of the segment that verify. */
export function damageOf(segment: Segment, index: MemoryIndex, { position, end, reason }: Unverified): Damage {
  const place = { file: segment.name, position, bytes: end - position }
  const row = index.rowAt(position)
  if (segment.order === ORDER_BY_STREAM) {
    const nameOf = (of: number): RecordName | undefined => {
      if (of < 0 || of >= index.recordCount) return undefined
      const { streamId, offset } = index.streamPosting(of)
      return { streamId, offset }
    }
    const numbers = { after: segment.chainBefore.last, through: segment.chain.last }
    return { ...place, ...numbers, reason, before: nameOf(row - 1), behind: nameOf(row) }
  }
  const after = row === 0 ? segment.chainBefore.last : index.posting(row - 1).offset
  const through = row === index.recordCount ? segment.chain.last : index.posting(row).offset - 1
  return { ...place, after, through, reason }
}

/** What damage means to the readers of one stream; undefined: nothing. */
function damageTo(streamId: number, damage: Damage): Damage | undefined {
  const { before, behind } = damage
  if (before !== undefined && streamId < before.streamId) return undefined
  if (behind !== undefined && streamId > behind.streamId) return undefined
  const after = streamId === before?.streamId ? before.offset : damage.after
  const through = streamId === behind?.streamId ? behind.offset - 1 : damage.through
  return through > after ? { ...damage, after, through } : undefined
}

/** What a segment's damages mean to the readers of one stream, by number: they were found in another order. */
export function damagesTo(streamId: number, segment: Segment): Damage[] {
  const damages = segment.unindexedDamages.flatMap((damage) => damageTo(streamId, damage) ?? [])
  return damages.sort((a, b) => a.after - b.after)
}
