/** The two logs of a server, both in memory, with the numbers of both: the real engine, and no disk. */
import { Log, type LogOptions, MemoryFiles, Sequencer, silentObserver } from '../../storage-engine/index.ts'

export interface OpenedLogs {
  readonly durable: Log
  readonly memory: Log
  readonly sequencer: Sequencer
  close(): Promise<void>
}

export async function openTestLogs(): Promise<OpenedLogs> {
  const options: LogOptions = {
    sync: 'commit',
    syncIntervalMs: 1000,
    segmentBytesMax: 1 << 20,
    batchBytesMax: 1 << 20,
    pendingBytesMax: 1 << 24,
    blockCacheBytesMax: 1 << 20,
    pageCacheBytesMax: 1 << 18,
    reserveBytes: 0,
    isDurable: true,
  }
  const sequencer = new Sequencer()
  const durable = await Log.open(new MemoryFiles(), sequencer, silentObserver, '/durable', options)
  const memory = await Log.open(new MemoryFiles(), sequencer, silentObserver, '/memory', {
    ...options,
    sync: 'never',
    logBytesMax: 1 << 23,
    isDurable: false,
  })
  return {
    durable,
    memory,
    sequencer,
    async close() {
      await memory.close()
      await durable.close()
    },
  }
}
