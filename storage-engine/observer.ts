/**
 * What the engine reports about itself, and a silent observer for those who do not care. Calls are synchronous: be
 * quick.
 */

import type { ChoiceReason } from './compaction-choice.ts'
import type { StorageError } from './errors.ts'
import type { Offset } from './format.ts'

/** Bytes that do not verify, where no crash can have left them. They stay where they are; readers pass them over. */
export interface Damage {
  readonly file: string
  readonly position: number
  readonly bytes: number
  /** Numbers that may be lost: above `after`, up to `through`. */
  readonly after: Offset
  readonly through: Offset
  readonly reason: string
  /** Where records lie by stream: those around the damage that can be read, as far as there are any. */
  readonly before?: RecordName | undefined
  readonly behind?: RecordName | undefined
}

export interface RecordName {
  readonly streamId: number
  readonly offset: Offset
}

/** A compaction run that is through. */
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
  /** What a crash left unfinished at the end of the log was cut away; nothing of it was acknowledged. */
  tailCut(file: string, position: number, bytes: number): void
  indexRebuilt(file: string, reason: string): void
  /** A checkpoint is passed over; a start reads more of the log instead. */
  checkpointDoubtful(file: string, reason: string): void
  /** A compaction run is through: its output has taken the place of its inputs. */
  compacted(run: CompactedRun): void
  /** A file that is not ours lies in the folder. It is left alone. */
  unknownFile(name: string): void
  /** Bytes that were read to make the log ready, and how many there will be. */
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
