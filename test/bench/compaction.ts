/**
 * What compaction costs and leaves: publishes to a log in memory while it is compacted, and tells write amplification
 * (bytes that compaction wrote, for each that was published), space amplification (bytes of all files, for each of what
 * is alive) and the longest turn of the event loop. Three loads: nothing dies; 90 % of the events go into 10 % of the
 * topics, each of which keeps its last so many; topics are made, used once and deleted. Segments are small, so that
 * there are as many of them as in a log of many GB.
 *
 *     node --import tsx test/bench/compaction.ts [--events 300000] [--segment-bytes 262144] [--topics 1000]
 */

import { monitorEventLoopDelay } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { CATALOG_STREAM, Log, type NewRecord, Sequencer, silentObserver } from '../../storage-engine/index.ts'
import { MemoryFiles } from '../../storage-engine/memory-files.ts'
import { PlainJudge } from '../storage-engine/plain-judge.ts'
import { Random } from '../support/random.ts'

const { values } = parseArgs({
  options: { events: { type: 'string' }, 'segment-bytes': { type: 'string' }, topics: { type: 'string' } },
})
const EVENTS = Number(values.events ?? 300_000)
const SEGMENT_BYTES = Number(values['segment-bytes'] ?? 256 * 1024)
const TOPICS = Number(values.topics ?? 1000)
const PAYLOAD = Buffer.alloc(150, 'x')
const EVENTS_PER_APPEND = 100
/** How often all is looked at, as the timer would have it. */
const EVENTS_PER_LOOK = EVENTS / 30

interface Load {
  readonly title: string
  /** Events that a topic keeps. */
  readonly keep: number
  readonly isSkewed: boolean
  readonly isDeleted: boolean
}

const LOADS: readonly Load[] = [
  { title: 'nothing dies', keep: Number.POSITIVE_INFINITY, isSkewed: true, isDeleted: false },
  { title: '90 % into 10 %, each topic keeps 50', keep: 50, isSkewed: true, isDeleted: false },
  { title: '90 % into 10 %, each topic keeps 500', keep: 500, isSkewed: true, isDeleted: false },
  { title: 'topics used once and deleted', keep: Number.POSITIVE_INFINITY, isSkewed: false, isDeleted: true },
]

console.log('load | published MiB | write amplification | space amplification | segments | longest turn ms')
for (const load of LOADS) console.log(await measure(load))

async function measure({ title, keep, isSkewed, isDeleted }: Load): Promise<string> {
  let publishedBytes = 0
  const log = await Log.open(
    new MemoryFiles(),
    new Sequencer(),
    { ...silentObserver, committed: (_records, bytes) => (publishedBytes += bytes) },
    '/log',
    {
      sync: 'commit',
      syncIntervalMs: 1000,
      segmentBytesMax: SEGMENT_BYTES,
      batchBytesMax: 2 ** 20,
      pendingBytesMax: 2 ** 24,
      blockCacheBytesMax: 2 ** 22,
      pageCacheBytesMax: 2 ** 22,
      reserveBytes: 0,
      isDurable: true,
    },
  )
  const judge = await PlainJudge.of(log)
  const random = new Random(1)
  const topics: { readonly streamId: number; readonly offsets: number[] }[] = []
  if (!isDeleted) for (let i = 0; i < TOPICS; i += 1) topics.push({ streamId: await judge.create(), offsets: [] })
  log.startCompaction({ judge, bytesPerSecondMax: 2 ** 40, deadShareMin: 0.5, intervalMs: 2 ** 30 })
  const turns = monitorEventLoopDelay({ resolution: 1 })
  turns.enable()
  for (let done = 0; done < EVENTS; done += EVENTS_PER_APPEND) {
    if (isDeleted) await useOnce()
    else await publish()
    if (done % EVENTS_PER_LOOK < EVENTS_PER_APPEND) await log.compact()
  }
  await log.compact()
  turns.disable()
  const { compaction, bytesOnDisk, segments } = log.statistics()
  let liveBytes = 0
  for (const { streamId } of topics) {
    liveBytes += (await log.streamTotalsOf(streamId, judge.topics.get(streamId)?.mark ?? 0)).bytes
  }
  await log.close()
  return [
    title,
    (publishedBytes / 2 ** 20).toFixed(0),
    ((compaction?.bytesWritten ?? 0) / publishedBytes).toFixed(2),
    liveBytes === 0 ? `${(bytesOnDisk / 1024).toFixed(0)} KiB in all` : (bytesOnDisk / liveBytes).toFixed(2),
    segments,
    (turns.max / 1e6).toFixed(1),
  ].join(' | ')

  async function publish(): Promise<void> {
    const few = Math.ceil(topics.length / 10)
    const chosen = Array.from({ length: EVENTS_PER_APPEND }, () => {
      const isHot = isSkewed && random.chance(0.9)
      return topics[isHot ? random.int(few) : few + random.int(topics.length - few)] as (typeof topics)[number]
    })
    const offsets = await log.appendAll(chosen.map(({ streamId }) => ({ streamId, kind: 3, payload: PAYLOAD })))
    for (const [i, { offsets: known, streamId }] of chosen.entries()) {
      known.push(offsets[i] as number)
      if (known.length > keep) judge.trim(streamId, known.shift() as number)
    }
  }

  async function useOnce(): Promise<void> {
    const created: NewRecord = { streamId: CATALOG_STREAM, kind: 1, payload: PAYLOAD }
    const streamIds = await log.appendAll(Array.from({ length: EVENTS_PER_APPEND }, () => created))
    await log.appendAll(streamIds.map((streamId) => ({ streamId, kind: 3, payload: PAYLOAD })))
    await Promise.all(streamIds.map((streamId) => judge.delete(streamId)))
  }
}
