/**
 * A log with many events, made by the engine itself, so that a benchmark of reading need not publish them one by one. It
 * lies where a server with that data folder expects it.
 */
import { join } from 'node:path'
import { EVENT_PUBLISHED, encodeEvent, encodeTopicCreated, TOPIC_CREATED } from '../../src/domain/entry.ts'
import { formatEventId } from '../../src/domain/event-id.ts'
import { unlimited } from '../../src/domain/retention.ts'
import { hashToken } from '../../src/domain/token.ts'
import {
  CATALOG_STREAM,
  DiskFiles,
  Log,
  type LogOptions,
  Sequencer,
  silentObserver,
} from '../../storage-engine/index.ts'
import { messageOf } from './wire.ts'

export interface MadeLog {
  /** On the wire. */
  readonly topicIds: readonly string[]
  readonly bytes: number
  readonly segments: number
  /** The number of the event with so many events of its topic behind it, for each topic. */
  readonly idBeforeLast: readonly string[]
}

const BATCH_EVENTS = 2_000

/** As the server's defaults. */
export const logOptions: LogOptions = {
  sync: 'never',
  syncIntervalMs: 1000,
  segmentBytesMax: 32 * 1024 * 1024,
  batchBytesMax: 8 * 1024 * 1024,
  pendingBytesMax: 64 * 1024 * 1024,
  blockCacheBytesMax: 16 * 1024 * 1024,
  pageCacheBytesMax: 4 * 1024 * 1024,
  reserveBytes: 0,
  isDurable: true,
}

export async function makeLog(
  dataDirectory: string,
  options: {
    readonly events: number
    readonly topics: number
    readonly messageBytes: number
    readonly lastEvents: number
  },
): Promise<MadeLog> {
  const log = await Log.open(new DiskFiles(), new Sequencer(), silentObserver, join(dataDirectory, 'log'), logOptions)
  const entry = {
    tokenSha256: hashToken('of the benchmark'),
    name: undefined,
    retention: unlimited,
    createdAtMs: Date.now(),
  }
  const created = encodeTopicCreated(entry)
  const streamIds: number[] = []
  for (let topic = 0; topic < options.topics; topic++) {
    streamIds.push(await log.append({ streamId: CATALOG_STREAM, kind: TOPIC_CREATED, payload: created }))
  }
  const text = new TextEncoder()
  const message = messageOf(options.messageBytes, 0)
  const payload = encodeEvent({ isString: true, type: text.encode(''), message: text.encode(message) })
  const latest = streamIds.map((): number[] => [])
  for (let made = 0; made < options.events; made += BATCH_EVENTS) {
    const count = Math.min(BATCH_EVENTS, options.events - made)
    const streamAt = (index: number) => (made + index) % streamIds.length
    const records = Array.from({ length: count }, (_, index) => ({
      streamId: streamIds[streamAt(index)] as number,
      kind: EVENT_PUBLISHED,
      payload,
    }))
    const offsets = await log.appendAll(records)
    if (made + count + (options.lastEvents + 1) * streamIds.length < options.events) continue
    for (const [index, offset] of offsets.entries()) latest[streamAt(index)]?.push(offset)
  }
  const { bytes, segments } = log.statistics()
  await log.close()
  return {
    topicIds: streamIds.map(formatEventId),
    bytes,
    segments,
    idBeforeLast: latest.map((offsets) => formatEventId(offsets.at(-1 - options.lastEvents) ?? 0)),
  }
}
