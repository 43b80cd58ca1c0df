/** What the writer counts, refuses and says of batches: those that wait, those that failed, and those behind them. */

import assert from 'node:assert/strict'
import { FaultyFiles, type Operation } from '../../storage-engine/faulty-files.ts'
import { type BatchHeader, decodeHeader, HEADER_BYTES, segmentSeed } from '../../storage-engine/format.ts'
import type { LogOptions, NewRecord } from '../../storage-engine/index.ts'
import { scanSegment, UNKNOWN_CHAIN } from '../../storage-engine/scan.ts'
import { RESERVATION, type Sequencer } from '../../storage-engine/sequencer.ts'
import { DIRECTORY, openLog } from '../support/engine-history.ts'
import { test } from '../support/unwatched.ts'
import { BytesSource } from './written-segment.ts'

const oneSegment: Partial<LogOptions> = { segmentBytesMax: 2 ** 20 }
const isSegmentWrite = ({ operation, path }: Operation): boolean => operation === 'write' && path.endsWith('.log')

async function start(options: Partial<LogOptions> = {}) {
  const files = new FaultyFiles()
  return { files, ...(await openLog(files, { ...oneSegment, ...options })) }
}

function recordOf(payloadBytes: number): NewRecord {
  return { streamId: 10, kind: 7, payload: Buffer.alloc(payloadBytes, 'x') }
}

/** Gives numbers away, as a log in memory does, until the durable log is asked to reserve more. */
function takeHalf(sequencer: Sequencer): void {
  while (sequencer.wantedCeiling === sequencer.ceiling) sequencer.take(RESERVATION / 8)
  sequencer.take()
}

async function batchesIn(files: FaultyFiles): Promise<readonly BatchHeader[]> {
  const bytes = Buffer.from(files.readFile(`${DIRECTORY}/segment-0000000000000001.log`))
  const decoded = decodeHeader(bytes)
  assert(decoded.kind === 'header')
  const { identity, generation } = decoded.header
  const source = new BytesSource(bytes, segmentSeed(identity, generation))
  const headers: BatchHeader[] = []
  for await (const item of scanSegment(source, HEADER_BYTES, UNKNOWN_CHAIN)) {
    if (item.kind === 'batch') headers.push(item.header)
  }
  return headers
}

test('a batch that failed is told as settled, before whoever appended it hears of it', async () => {
  const { files, log, sequencer } = await start()
  const order: string[] = []
  log.onSettled(() => order.push(log.watermark === sequencer.next ? 'settled' : 'told too soon'))
  files.fail(isSegmentWrite, { code: 'EIO' })
  await log.append(recordOf(20)).catch(() => order.push('refused'))
  assert.deepEqual(order, ['settled', 'refused'])
  await log.close()
})

test('numbers that could not be reserved are reserved at the next one that is given, though nothing is appended', async () => {
  const { files, log, sequencer } = await start()
  const { ceiling } = sequencer
  const settled = () => new Promise<void>((resolve) => log.onSettled(resolve))
  files.fail(isSegmentWrite, { code: 'EIO' })
  const failed = settled()
  takeHalf(sequencer)
  await failed
  assert.equal(sequencer.ceiling, ceiling)
  const reserved = settled()
  sequencer.take()
  await reserved
  assert(sequencer.ceiling >= ceiling + RESERVATION / 2)
  await log.close()
})

test('what waits for the disk counts against the quota as if it lay there', async () => {
  const { files, log } = await start({ quotaBytes: 10_000 })
  const held = files.hold(isSegmentWrite)
  const first = log.append(recordOf(5000))
  await held.arrived
  await assert.rejects(log.append(recordOf(5000)), { code: 'STORAGE_QUOTA' })
  held()
  await first
  await log.append(recordOf(4000))
  await log.close()
})

test('an append that is larger than all that may wait is taken where nothing waits, and no other beside it', async () => {
  const { files, log } = await start({ pendingBytesMax: 1000 })
  const held = files.hold(isSegmentWrite)
  const large = log.append(recordOf(5000))
  await held.arrived
  await assert.rejects(log.append(recordOf(1)), { code: 'STORAGE_BUSY' })
  held()
  await large
  await log.append(recordOf(5000))
  await log.close()
})

test('a sync in the background that a later one has overtaken takes nothing back of what is known to be durable', async (context) => {
  context.mock.timers.enable({ apis: ['setInterval'] })
  const { files, log, sequencer } = await start({ sync: 'interval', syncIntervalMs: 100 })
  await log.append(recordOf(20))
  let syncs = 0
  const held = files.hold(({ operation }) => operation === 'sync' && ++syncs === 1)
  context.mock.timers.tick(100)
  await held.arrived
  // Numbers are reserved by a batch that is synced by itself.
  const reserved = new Promise<void>((resolve) => log.onSettled(resolve))
  takeHalf(sequencer)
  for (let i = 0; i < 20; i += 1) await new Promise((resolve) => setImmediate(resolve))
  // That batch counts only when the one in the background has ended: of the two the system tells one that it failed.
  held()
  await reserved
  await log.append(recordOf(20))
  const batches = await batchesIn(files)
  const length = batches.slice(0, -1).reduce((sum, batch) => sum + batch.length, HEADER_BYTES)
  assert.equal(batches.at(-1)?.syncedPosition, length)
  await log.close()
})
