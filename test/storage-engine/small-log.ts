/**
 * Logs with tiny segments and caches, for tests of what reads them: a few hundred records make many segments. They obey
 * the clock that they are given, and remember what the engine tells.
 */

import assert from 'node:assert/strict'
import type { Cursor, LogGap } from '../../storage-engine/cursor.ts'
import type { Files } from '../../storage-engine/files.ts'
import type { Offset } from '../../storage-engine/format.ts'
import { Log, type LogOptions } from '../../storage-engine/log.ts'
import { type CompactedRun, type Damage, type StorageObserver, silentObserver } from '../../storage-engine/observer.ts'
import { Sequencer } from '../../storage-engine/sequencer.ts'

export const NOW_MS = Date.UTC(2026, 5, 1)

export const SMALL: LogOptions = {
  sync: 'commit',
  syncIntervalMs: 1000,
  segmentBytesMax: 4096,
  batchBytesMax: 64 * 1024,
  pendingBytesMax: 2 ** 26,
  blockCacheBytesMax: 256 * 1024,
  pageCacheBytesMax: 16 * 4096,
  reserveBytes: 0,
  isDurable: true,
  now: () => NOW_MS,
}

/** What the engine has told, by kind. */
export class Told implements StorageObserver {
  readonly damages: Damage[] = []
  readonly cuts: string[] = []
  readonly rebuilt: string[] = []
  readonly unknown: string[] = []
  readonly rolls: string[] = []
  readonly doubtful: string[] = []
  readonly runs: CompactedRun[] = []
  readonly committed = silentObserver.committed
  readonly recovering = silentObserver.recovering
  readonly recovered = silentObserver.recovered
  readonly full = silentObserver.full
  readonly failed = silentObserver.failed

  damaged(damage: Damage): void {
    this.damages.push(damage)
  }

  tailCut(file: string): void {
    this.cuts.push(file)
  }

  indexRebuilt(file: string): void {
    this.rebuilt.push(file)
  }

  unknownFile(name: string): void {
    this.unknown.push(name)
  }

  rolled(file: string): void {
    this.rolls.push(file)
  }

  checkpointDoubtful(file: string): void {
    this.doubtful.push(file)
  }

  compacted(run: CompactedRun): void {
    this.runs.push(run)
  }
}

export async function openSmall(
  files: Files,
  directory: string,
  options: Partial<LogOptions> = {},
  told: StorageObserver = silentObserver,
): Promise<Log> {
  const sequencer = new Sequencer()
  if (options.isDurable === false) sequencer.beginUnreserved(NOW_MS)
  return await Log.open(files, sequencer, told, directory, { ...SMALL, ...options })
}

/** A record as a test knows it. */
export interface Known {
  readonly offset: Offset
  readonly streamId: number
  readonly text: string
}

export interface ReadThrough {
  readonly records: readonly Known[]
  readonly gaps: readonly LogGap[]
}

/** Reads to the end of what is committed. The engine's own records are left out. */
export async function readThrough(cursor: Cursor): Promise<ReadThrough> {
  const records: Known[] = []
  const gaps: LogGap[] = []
  let position = cursor.position
  for (let step = await cursor.next(); step !== undefined; step = await cursor.next()) {
    if ('gap' in step) {
      assert(step.gap.through > position, 'a gap lies ahead')
      assert(step.gap.after >= position, 'what was handed out is in no gap')
      gaps.push(step.gap)
    } else {
      assert(step.records.length > 0)
      for (const { offset, streamId, payload } of step.records) {
        assert(offset > position, 'numbers ascend, and none comes twice')
        position = offset
        if (streamId !== 0) records.push({ offset, streamId, text: Buffer.from(payload).toString('latin1') })
      }
    }
    assert(cursor.position >= position, 'the position never goes back')
    position = cursor.position
  }
  return { records, gaps }
}

export async function readAll(log: Log, after: Offset = 0, streamId?: number): Promise<ReadThrough> {
  const cursor = log.cursor(after, streamId)
  const through = await readThrough(cursor)
  if (log.status === 'open') assert(cursor.position >= log.lastOffset)
  cursor.close()
  return through
}
