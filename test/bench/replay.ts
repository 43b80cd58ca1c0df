/** How fast a log is read to one client that wants all of it, and to a thousand that come back at once. */
import { join } from 'node:path'
import { API_TOKEN, type ServerProcess } from '../support/server-process.ts'
import { type Bench, MESSAGE_BYTES, MIB } from './bench.ts'
import type { LoadProcess } from './load-process.ts'
import { type MadeLog, makeLog } from './make-log.ts'

const REPLAY_EVENTS = 1_000_000
const STORM_EVENTS = 1_000
const STORM_CLIENTS = 1_000
/** A target. */
const REPLAYED_PER_SECOND = 100_000

/** Both read the same log; undefined: not wanted. */
export async function measureReplay(replayBench: Bench | undefined, stormBench: Bench | undefined): Promise<void> {
  const bench = replayBench ?? stormBench
  if (bench === undefined) return
  const directory = join(bench.work, 'replay')
  const events = bench.scaled(REPLAY_EVENTS)
  const stormEvents = Math.min(STORM_EVENTS, events)
  const made = await makeLog(directory, { events, topics: 1, messageBytes: MESSAGE_BYTES, lastEvents: stormEvents })
  await replayBench?.withServer('replay', { directory }, (server, load) =>
    replay(replayBench, server, load, made, events),
  )
  await stormBench?.withServer('storm', { directory }, (server, load) =>
    storm(stormBench, server, load, made, stormEvents),
  )
}

async function replay(
  bench: Bench,
  server: ServerProcess,
  load: LoadProcess,
  { topicIds }: MadeLog,
  events: number,
): Promise<void> {
  const { port } = server
  const beforeBytes = server.rssBytes
  const began = await load.call('eventsReceived', null)
  await load.call('untilEvents', { port, token: API_TOKEN, topicIds, query: '?since=earliest', events })
  const ended = await load.call('eventsReceived', null)
  const seconds = (ended.atUs - began.atUs) / 1e6
  bench.note(`${events} events to one client`, events / seconds, 'events/s', REPLAYED_PER_SECOND)
  bench.note(`${events} events to one client`, ended.bytes / seconds / MIB, 'MiB/s')
  bench.note('memory before', beforeBytes / MIB, 'MiB')
  bench.note('peak memory', server.rssBytesPeak / MIB, 'MiB')
}

async function storm(
  bench: Bench,
  server: ServerProcess,
  load: LoadProcess,
  made: MadeLog,
  events: number,
): Promise<void> {
  const { port } = server
  const clients = bench.scaled(STORM_CLIENTS)
  const topicIds = Array.from({ length: clients }, () => made.topicIds[0] as string)
  const lastEventId = made.idBeforeLast[0] as string
  const readBefore = server.bytesRead
  const { p50, p99, max } = await load.call('untilEvents', { port, token: API_TOKEN, topicIds, lastEventId, events })
  const what = `${clients} clients resume ${events} events`
  bench.note(`${what}, each has all: p50`, p50, 'ms')
  bench.note(`${what}, each has all: p99`, p99, 'ms')
  bench.note(`${what}, all of them`, (clients * events) / (max / 1000), 'events/s')
  bench.note(`${what}, read by the server, requests included`, (server.bytesRead - readBefore) / MIB, 'MiB')
  bench.note('peak memory', server.rssBytesPeak / MIB, 'MiB')
}
