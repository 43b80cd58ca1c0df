/** Pairs of logs for the tests of the hub, with a restart: what the durable one committed is there again. */

import type { EventLog, LogRecord, NumberSource } from '../../src/domain/ports.ts'
import { copyLog, listPinned, readBackup, restoreLog } from '../../storage-engine/backup.ts'
import { FaultyFiles, type RandomSource } from '../../storage-engine/faulty-files.ts'
import { Log, type LogOptions, MemoryFiles, Sequencer, silentObserver } from '../../storage-engine/index.ts'
import { MortalFiles } from './engine-history.ts'
import { FakeLog, type FakeLogOptions } from './fake-log.ts'

export interface HubWorld {
  readonly durable: EventLog
  readonly memory: EventLog
  readonly numbers: NumberSource
  /** Ends this world as a crash would, and gives the next one. Nothing may be in flight. */
  restart(): Promise<HubWorld>
  close(): Promise<void>
}

export interface FakeWorld extends HubWorld {
  readonly durable: FakeLog
  readonly memory: FakeLog
  restart(): Promise<FakeWorld>
}

const EPOCH_MS = 1_761_023_593_000
const RESERVED = 2 ** 20
const NOTHING = new Uint8Array(0)

export function fakeWorld(options: FakeLogOptions = {}, previous?: FakeWorld): FakeWorld {
  const sequencer = new Sequencer()
  const ceiling = previous === undefined ? 0 : previous.numbers.next + RESERVED
  const nowMs = EPOCH_MS + 1000 * 1000
  const first = sequencer.begin(ceiling, nowMs)
  sequencer.raise(first + 2 ** 40)
  const start: LogRecord = {
    offset: first,
    streamId: 0,
    kind: 0,
    length: 40,
    timeMs: nowMs,
    key: NOTHING,
    payload: NOTHING,
  }
  const records = [...(previous?.durable.records ?? []), start]
  const skippedRanges = [...(previous?.durable.skippedRanges ?? [])]
  skippedRanges.push({ from: (previous?.durable.lastOffset ?? 0) + 1, to: first })
  const world: FakeWorld = {
    durable: new FakeLog(sequencer, { ...options, records, skippedRanges }),
    memory: new FakeLog(sequencer, options),
    numbers: sequencer,
    restart: async () => fakeWorld(options, world),
    close: async () => {},
  }
  return world
}

export interface RealWorld extends HubWorld {
  readonly durable: Log
  readonly memory: Log
  restart(): Promise<RealWorld>
  /** Stops in order, and gives the next one. */
  stopAndStart(): Promise<RealWorld>
  /** Renews the one backup of this log, and gives the world of a log that was restored from it. This one goes on. */
  backUp(): Promise<RealWorld>
}

const KIB = 1024
const BACKUP = 'backup'
let restored = 0

export const realLogOptions: LogOptions = {
  sync: 'commit',
  syncIntervalMs: 1000,
  segmentBytesMax: 64 * KIB,
  batchBytesMax: 16 * KIB,
  pendingBytesMax: 16 * KIB * KIB,
  blockCacheBytesMax: 256 * KIB,
  pageCacheBytesMax: 256 * KIB,
  reserveBytes: 0,
  isDurable: true,
}

/**
 * The engine over files in memory. Its segments are small, so that the tests cross many of them. A restart is a loss of
 * power: what was not synced is gone, or with `random` in any mixture of being there and not.
 */
export async function realWorld(
  random?: RandomSource,
  files = new FaultyFiles(),
  now: () => number = Date.now,
  options: Partial<LogOptions> = {},
  directory = 'log',
): Promise<RealWorld> {
  const sequencer = new Sequencer()
  const durableOptions = { ...realLogOptions, now, ...options }
  const durable = await Log.open(new MortalFiles(files), sequencer, silentObserver, directory, durableOptions)
  const memory = await Log.open(new MemoryFiles(), sequencer, silentObserver, 'memory', {
    ...realLogOptions,
    now,
    sync: 'never',
    isDurable: false,
  })
  let hasCrashed = false
  return {
    durable,
    memory,
    numbers: sequencer,
    async stopAndStart() {
      hasCrashed = true
      await durable.close()
      await memory.close()
      return realWorld(random, files, now, options, directory)
    },
    async backUp() {
      const pin = await durable.pin()
      const listing = await listPinned(files, directory, pin)
      await copyLog(files, directory, listing, BACKUP, { nowMs: now() }).finally(() => pin.release())
      restored += 1
      const target = `restored-${restored}`
      await restoreLog(files, BACKUP, await readBackup(files, BACKUP), target, durableOptions)
      return realWorld(random, files, now, options, target)
    },
    async restart() {
      hasCrashed = true
      files.crash()
      await memory.close()
      return realWorld(random, files.afterCrash(random ?? {}), now, options, directory)
    },
    async close() {
      if (hasCrashed) return
      await durable.close()
      await memory.close()
    },
  }
}
