/** A log that holds many topics, made without a server, for tests that want as many as there may be. */
import { systemClock } from '../../src/domain/ports.ts'
import { DiskFiles, Log, MemoryFiles, Sequencer, silentObserver } from '../../storage-engine/index.ts'
import { openHub } from './hub-events.ts'
import { realLogOptions } from './hub-worlds.ts'

const AT_ONCE = 5_000

/** Resolves when they are on the disk and the log is closed. */
export async function makeTopics(folder: string, count: number, nameOf: (index: number) => string): Promise<void> {
  const numbers = new Sequencer()
  const options = { ...realLogOptions, segmentBytesMax: 64 * 2 ** 20, batchBytesMax: 2 ** 20, pendingBytesMax: 2 ** 26 }
  const durable = await Log.open(new DiskFiles(), numbers, silentObserver, folder, options)
  const memoryOptions = { ...options, isDurable: false, logBytesMax: 2 ** 22 }
  const memory = await Log.open(new MemoryFiles(), numbers, silentObserver, '/memory', memoryOptions)
  const world = { durable, memory, numbers }
  const hub = await openHub(world, { options: { topicsMax: count }, clock: systemClock })
  for (let begin = 0; begin < count; begin += AT_ONCE) {
    const some = Array.from({ length: Math.min(AT_ONCE, count - begin) }, (_, index) => begin + index)
    await Promise.all(some.map((index) => hub.createTopic({ persist: true, name: nameOf(index) })))
  }
  await hub.close()
  await durable.close()
  await memory.close()
}
