/** The engine's public face: the only file of this folder that others import. */

export {
  type CopyReport,
  copyLog,
  ListedFiles,
  type LogListing,
  listPinned,
  listStopped,
  readBackup,
  restoreLog,
} from './backup.ts'
export type { BackwardItem } from './backward-reader.ts'
export type { Checkpoint } from './checkpoint.ts'
export type { ChoiceReason } from './compaction-choice.ts'
export type { CompactionJudge } from './compaction-judge.ts'
export type { CompactionFigures, CompactionOptions, CompactionReport } from './compactor.ts'
export type { Cursor, CursorStep, LogGap } from './cursor.ts'
export { acquireDirectoryLock, type DirectoryLock } from './directory-lock.ts'
export { DiskFiles } from './disk-files.ts'
export { StorageError, type StorageErrorCode } from './errors.ts'
export type { DataFile, Files } from './files.ts'
export {
  CATALOG_STREAM,
  ENGINE_STREAM,
  type LogRecord,
  type NewRecord,
  type Offset,
  type PayloadWriter,
} from './format.ts'
export { inspectLog, type LogInspection } from './inspect.ts'
export { type Finding, type FindingKind, type InspectedSegment, severityOf } from './inspect-findings.ts'
export { EVERYTHING, type InspectedItem, type RecordRange } from './inspect-records.ts'
export { Log, type LogOptions, type LogStatistics, type SkippedRange } from './log.ts'
export { MemoryFiles } from './memory-files.ts'
export type { CompactedRun } from './observer.ts'
export { type Damage, type StorageObserver, silentObserver } from './observer.ts'
export type { PinnedLog } from './pinned-log.ts'
export { planRepair, type RepairPlan, type RepairStep, repairLog } from './repair.ts'
export type { Posting, StreamTotals } from './segment-index.ts'
export { Sequencer } from './sequencer.ts'
export type { SyncMode } from './writer.ts'
