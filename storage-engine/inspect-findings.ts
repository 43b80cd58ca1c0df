/** The result of inspecting a log: what is not as it should be, and where, and what its segments are. */

import type { Offset } from './format.ts'
import type { Damage } from './observer.ts'

export type FindingKind =
  // Damage
  | 'damage' // bytes that do not verify, where no crash can have left them
  | 'missing' // a segment that others name, but that is not there or holds nothing that verifies
  | 'sidecar-damaged' // an index that is not what it should be; nothing is lost, it can be rebuilt
  // What rules out a start
  | 'foreign' // a segment of another log, or a copy of another segment
  | 'newer' // a segment of another version of the format
  | 'unreadable' // bears a segment's name, but is no file or cannot be opened
  | 'headless' // no header at all verifies, or no segment is left of those that a manifest names
  // What the next start settles by itself
  | 'torn-tail' // what a crash left unfinished: it will be cut away
  | 'unsealed' // a recovery was cut off: the footer will be written
  | 'spare' // an empty segment that is not needed
  | 'remnant' // left by a compaction that was cut off; the log holds all of it without this file
  | 'replaced' // a compacted segment has taken its place; it will be removed
  | 'sidecar-missing' // an index that will be rebuilt
  | 'temporary' // a file that was being made
  // Neither
  | 'unknown-file' // not part of the log; it is left alone

export type Severity = 'refused' | 'damage' | 'note'

/** What is not as it should be. `position` and `bytes` are 0 if a whole file is meant. */
export interface Finding {
  readonly kind: FindingKind
  readonly file: string
  readonly position: number
  readonly bytes: number
  readonly reason: string
  /** Numbers that may be lost: above `after`, up to `through`. Equal if none is; `through` undefined: all above. */
  readonly after: Offset
  readonly through: Offset | undefined
  /** The records that are lost, if an index still says which ones lay there. */
  readonly lost: readonly LostRecord[] | undefined
}

export interface LostRecord {
  readonly streamId: number
  readonly offset: Offset
}

export interface InspectedSegment {
  readonly file: string
  readonly generation: number
  /** `open`: written when the log was last open; `unsealed`: without a footer that verifies, though others follow. */
  readonly state: 'sealed' | 'open' | 'unsealed' | 'spare' | 'overlapping'
  readonly sizeBytes: number
  /** Undefined if the header does not verify. */
  readonly createdMs: number | undefined
  readonly records: number
  readonly batches: number
  /** 0 without a record. */
  readonly first: Offset
  readonly last: Offset
  readonly timeMsMin: number
  readonly timeMsMax: number
  /** `none`: it has none, and needs none. */
  readonly index: 'whole' | 'damaged' | 'missing' | 'none'
}

export function severityOf(kind: FindingKind): Severity {
  if (kind === 'damage' || kind === 'missing' || kind === 'sidecar-damaged') return 'damage'
  return kind === 'foreign' || kind === 'newer' || kind === 'unreadable' || kind === 'headless' ? 'refused' : 'note'
}

export function damageFinding(
  { file, position, bytes, after, through, reason }: Damage,
  lost?: readonly LostRecord[],
): Finding {
  return { kind: 'damage', file, position, bytes, after, through, reason, lost }
}

/** For a finding that costs no number. */
export function place(file: string, position: number, bytes: number) {
  return { file, position, bytes, after: 0, through: 0, lost: undefined }
}
