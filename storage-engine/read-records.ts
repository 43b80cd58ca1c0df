/**
 * Reads records by their postings and verifies each of them: one that is already in memory, or many, wherever they lie
 * in their segment, in a few large reads past the cache. Decides nothing about those that it cannot read.
 */

import { systemCode } from './errors.ts'
import { RecordView, verifyRecord } from './format.ts'
import { isShortage } from './open-files.ts'
import type { Segment } from './segment.ts'
import type { Posting, StreamPosting } from './segment-index.ts'

/** Why a record is not there. */
export type Unreadable = 'cannot be read' | 'does not verify'

/** What lies between two records is read with them rather than skipped, up to this many bytes. */
const SKIPPED_BYTES_MAX = 64 * 1024
/** Of one piece, but for a record that is larger. */
const PIECE_BYTES_MAX = 1024 * 1024

/** The record if these bytes are the one that the posting means. */
export function recordAt(source: Buffer, segment: Segment, posting: Posting, streamId: number): RecordView | undefined {
  if (source.length !== posting.length || !verifyRecord(source, 0, segment.seed, posting.position)) return undefined
  const record = new RecordView(source, 0)
  const isMeant = record.length === posting.length && record.offset === posting.offset && record.streamId === streamId
  return isMeant ? record : undefined
}

/** The records of the postings, in the order of these. Throws where descriptors or memory are short. */
export async function readRecords(
  segment: Segment,
  postings: readonly StreamPosting[],
): Promise<readonly (RecordView | Unreadable)[]> {
  const records = new Map<StreamPosting, RecordView | Unreadable>()
  for (const piece of piecesOf(postings)) {
    const bytes = await readPiece(segment, piece)
    if (bytes === undefined && piece.length > 1) {
      // One bad block is no reason to lose what lies around it.
      for (const posting of piece)
        records.set(posting, takeRecord(segment, posting, await readPiece(segment, [posting])))
      continue
    }
    const begin = (piece[0] as StreamPosting).position
    for (const posting of piece) {
      const at = posting.position - begin
      records.set(posting, takeRecord(segment, posting, bytes?.subarray(at, at + posting.length)))
    }
  }
  return postings.map((posting) => records.get(posting) as RecordView | Unreadable)
}

/** Postings that are read at once, by position. */
function* piecesOf(postings: readonly StreamPosting[]): Generator<readonly StreamPosting[]> {
  let piece: StreamPosting[] = []
  for (const posting of postings.toSorted((a, b) => a.position - b.position)) {
    const { position: begin } = piece[0] ?? posting
    const end = endOf(piece.at(-1) ?? posting)
    if (posting.position - end > SKIPPED_BYTES_MAX || endOf(posting) - begin > PIECE_BYTES_MAX) {
      if (piece.length > 0) yield piece
      piece = []
    }
    piece.push(posting)
  }
  if (piece.length > 0) yield piece
}

/** Undefined where the disk cannot read it. */
async function readPiece(segment: Segment, piece: readonly StreamPosting[]): Promise<Buffer | undefined> {
  const begin = (piece[0] as StreamPosting).position
  const target = Buffer.allocUnsafeSlow(endOf(piece.at(-1) as StreamPosting) - begin)
  try {
    return target.subarray(0, await segment.read(target, begin))
  } catch (error) {
    if (systemCode(error) === undefined || isShortage(error)) throw error
    return undefined
  }
}

/** A copy, so that a record that is held for long holds nothing of its piece. */
function takeRecord(segment: Segment, posting: StreamPosting, bytes: Buffer | undefined): RecordView | Unreadable {
  if (bytes === undefined) return 'cannot be read'
  return recordAt(Buffer.from(bytes), segment, posting, posting.streamId) ?? 'does not verify'
}

function endOf({ position, length }: Posting): number {
  return position + length
}
