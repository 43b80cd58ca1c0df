/**
 * What the engine reports about itself, and a silent observer for those who do not care. Calls are synchronous: be
 * quick.
 */

import type { ChoiceReason } from './compaction-choice.ts'
import type { StorageError } from './errors.ts'
import type { Offset } from './format.ts'

/** Bytes that do not verify and that no crash can have left. They stay where they are; readers skip them. */
export interface Damage {
  readonly file: string
  readonly position: number
  readonly bytes: number
  /** Numbers that may be lost: above `after`, up to `through`. */
  readonly after: Offset
  readonly through: Offset
  readonly reason: string
  /** In a segment in stream order: the nearest readable records before and behind the damage, if there are any. */
  readonly before?: RecordName | undefined
  readonly behind?: RecordName | undefined
}

export interface RecordName {
  readonly streamId: number
  readonly offset: Offset
}

/** A compaction run that has finished. */
export interface CompactedRun {
  readonly reason: ChoiceReason
  readonly inputs: number
  /** Of all files, before and after. */
  readonly bytesBefore: number
  readonly bytesAfter: number
  readonly durationMs: number
}

export interface StorageObserver {
  /** One batch is as durable as the log promises. `syncMs` is 0 where this commit was not synced. */
  committed(records: number, bytes: number, syncMs: number): void
  rolled(file: string): void
  damaged(damage: Damage): void
  /** The unfinished end that a crash left was cut off; nothing in it was acknowledged. */
  tailCut(file: string, position: number, bytes: number): void
  indexRebuilt(file: string, reason: string): void
  /** A checkpoint is skipped; the start reads more of the log instead. */
  checkpointDoubtful(file: string, reason: string): void
  /** A compaction run has finished: its output has replaced its inputs. */
  compacted(run: CompactedRun): void
  /** There is a file in the folder that is not ours. It is left alone. */
  unknownFile(name: string): void
  /** How many bytes a start has read so far, and how many it will read in all. */
  recovering(bytesDone: number, bytesTotal: number): void
  recovered(durationMs: number, segments: number, bytes: number): void
  /** The disk has no room (true), or has room again (false). */
  full(isFull: boolean): void
  /** Final for this process. */
  failed(error: StorageError): void
}

export const silentObserver: StorageObserver = {
  committed: () => undefined,
  rolled: () => undefined,
  damaged: () => undefined,
  tailCut: () => undefined,
  indexRebuilt: () => undefined,
  checkpointDoubtful: () => undefined,
  compacted: () => undefined,
  unknownFile: () => undefined,
  recovering: () => undefined,
  recovered: () => undefined,
  full: () => undefined,
  failed: () => undefined,
}
