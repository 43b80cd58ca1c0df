/**
 * What the index costs: writes 10 million small records of 100,000 streams to a log in a temporary folder, and tells
 * how much memory the engine keeps for them, at its highest while they are written, at rest, and after a new start.
 * Caches of blocks are kept tiny, so that nearly all of it is the index. Needs some 1.5 GB of disk and a minute or two.
 *
 *     node --expose-gc --import tsx test/bench/index-memory.ts [--records 10000000] [--streams 100000] [--keys]
 */

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { DiskFiles } from '../../storage-engine/disk-files.ts'
import type { NewRecord } from '../../storage-engine/format.ts'
import { Log, type LogOptions } from '../../storage-engine/log.ts'
import { silentObserver } from '../../storage-engine/observer.ts'
import { Sequencer } from '../../storage-engine/sequencer.ts'
import { Random } from '../support/random.ts'

const { values } = parseArgs({
  options: { records: { type: 'string' }, streams: { type: 'string' }, keys: { type: 'boolean' } },
})
const RECORDS = Number(values.records ?? 10_000_000)
const STREAMS = Number(values.streams ?? 100_000)
const RECORDS_PER_APPEND = 5_000
const BOUND_BYTES = 64 * 2 ** 20
const STREAMS_BEGIN = 2 ** 45
const CURSORS = 1_000

const options: LogOptions = {
  sync: 'never',
  syncIntervalMs: 1000,
  segmentBytesMax: 32 * 2 ** 20,
  batchBytesMax: 2 ** 20,
  pendingBytesMax: 2 ** 22,
  blockCacheBytesMax: 32 * 2 ** 10,
  pageCacheBytesMax: 4 * 2 ** 20,
  reserveBytes: 0,
  isDurable: true,
}

const collect = globalThis.gc
assert(collect !== undefined, 'run with --expose-gc')

async function usedBytes(): Promise<number> {
  // What ended in this turn is free only after it.
  for (let i = 0; i < 3; i += 1) {
    await new Promise((resolve) => setImmediate(resolve))
    collect?.()
  }
  const { heapUsed, external } = process.memoryUsage()
  // `external` holds arrayBuffers, too.
  return heapUsed + external
}

function megabytes(bytes: number): string {
  return `${(bytes / 10 ** 6).toFixed(1)} MB`
}

const directory = mkdtempSync(join(tmpdir(), 'sser-index-memory-'))
const random = new Random(1)

function open(): Promise<Log> {
  return Log.open(new DiskFiles(), new Sequencer(), silentObserver, directory, options)
}

function someRecords(): NewRecord[] {
  return Array.from({ length: RECORDS_PER_APPEND }, () => {
    const key = values.keys === true ? { key: Buffer.from(random.bytes(12)) } : {}
    return { streamId: STREAMS_BEGIN + random.int(STREAMS), kind: 1, payload: Buffer.from('{"n":1}'), ...key }
  })
}

async function write(): Promise<number> {
  const log = await open()
  await log.appendAll(someRecords())
  // Builders have grown, code is compiled: from here on it is the index that grows.
  const baseline = await usedBytes()
  const beganAt = performance.now()
  let highest = 0
  for (let done = RECORDS_PER_APPEND; done < RECORDS; done += RECORDS_PER_APPEND) {
    await log.appendAll(someRecords())
    if (done % (10 * RECORDS_PER_APPEND) === 0) highest = Math.max(highest, (await usedBytes()) - baseline)
  }
  const seconds = (performance.now() - beganAt) / 1000
  const { segments, records, bytes } = log.statistics()
  console.log(
    `${records} records, ${STREAMS} streams, ${segments} segments, ${megabytes(bytes)}, ${seconds.toFixed(0)} s`,
  )
  console.log(`highest while writing  ${megabytes(highest)}`)
  console.log(`at the end of writing  ${megabytes((await usedBytes()) - baseline)}`)
  await log.close()
  return highest
}

async function read(): Promise<void> {
  const baseline = await usedBytes()
  const beganAt = performance.now()
  const log = await open()
  const openedMs = performance.now() - beganAt
  console.log(`after a new start      ${megabytes((await usedBytes()) - baseline)} (${openedMs.toFixed(0)} ms)`)
  for (let i = 0; i < CURSORS; i += 1) {
    const cursor = log.cursor(0, STREAMS_BEGIN + random.int(STREAMS))
    for (let step = await cursor.next(); step !== undefined; step = await cursor.next());
    cursor.close()
  }
  const pages = megabytes(options.pageCacheBytesMax)
  console.log(`with full caches       ${megabytes((await usedBytes()) - baseline)} (of which ${pages} are pages)`)
  await log.close()
}

try {
  const highest = await write()
  await read()
  if (highest > BOUND_BYTES) process.exitCode = 1
} finally {
  rmSync(directory, { recursive: true })
}
