/** The engine's face: the only file of this folder that others import. */

export type { Cursor, CursorStep, LogGap } from './cursor.ts'
export { acquireDirectoryLock, type DirectoryLock } from './directory-lock.ts'
export { DiskFiles } from './disk-files.ts'
export { StorageError, type StorageErrorCode } from './errors.ts'
export type { DataFile, Files } from './files.ts'
export type { LogRecord, NewRecord, Offset } from './format.ts'
export {
  EVERYTHING,
  type Finding,
  type FindingKind,
  type InspectedItem,
  type InspectedSegment,
  inspectLog,
  type LogInspection,
  type RecordRange,
  severityOf,
} from './inspect.ts'
export { CATALOG_STREAM, ENGINE_STREAM, Log, type LogOptions, type LogStatistics, type SkippedRange } from './log.ts'
export { MemoryFiles } from './memory-files.ts'
export { type Damage, type StorageObserver, silentObserver } from './observer.ts'
export { Sequencer } from './sequencer.ts'
export type { SyncMode } from './writer.ts'
