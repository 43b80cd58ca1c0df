/**
 * The engine's append against the least that any durable log must do: write the same bytes in the same batches, and
 * fdatasync each. Both take turns in one run on one disk, a few hundred milliseconds each, because a disk's mood changes.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DiskFiles, Log, Sequencer, silentObserver } from '../../storage-engine/index.ts'
import type { Bench } from './bench.ts'
import { logOptions } from './make-log.ts'

interface EngineResult {
  readonly recordsPerSecond: number
  readonly recordsPerBatch: number
  readonly bytesPerBatch: number
  /** The time that the plain writes took, as a part of the time that the engine took. */
  readonly ratio: number
}

/** A target. */
const ENGINE_RATIO = 0.8
const ROUND_MS = 250
const FILL = Buffer.alloc(8 * 1024 * 1024, 0xa5)

export async function measureEngines(bench: Bench): Promise<void> {
  for (const [records, bytes, hasTarget] of [
    [1, 150, false],
    [64, 150, true],
    [1_024, 150, false],
    [64, 4_096, true],
  ] as const) {
    const result = await measureEngine(records, bytes, bench.durationMs)
    const what = `batches of ${records} records of ${bytes} bytes`
    bench.note(
      `${what}, against plain write + fdatasync`,
      result.ratio * 100,
      '%',
      hasTarget ? ENGINE_RATIO * 100 : undefined,
    )
    bench.note(
      `${what}, ${Math.round(result.recordsPerBatch)} records and ${Math.round(result.bytesPerBatch)} bytes a batch`,
      result.recordsPerSecond,
      'records/s',
    )
  }
}

/**
 * So many records go to the disk in a batch, and as many gather meanwhile for the next one, as they do in a busy server. A
 * record's payload has so many bytes.
 */
async function measureEngine(recordsPerBatch: number, payloadBytes: number, durationMs: number): Promise<EngineResult> {
  const directory = mkdtempSync(join(tmpdir(), 'sser-bench-engine-'))
  const batches: number[] = []
  const observer = { ...silentObserver, committed: (_records: number, bytes: number) => void batches.push(bytes) }
  const options = { ...logOptions, sync: 'commit' as const, segmentBytesMax: 1024 * 1024 * 1024 }
  const log = await Log.open(new DiskFiles(), new Sequencer(), observer, join(directory, 'log'), options)
  const plain = await open(join(directory, 'plain'), 'w')
  const payload = Buffer.alloc(payloadBytes, 0x61)
  let engineMs = 0
  let plainMs = 0
  let records = 0
  let batchCount = 0
  let bytesTotal = 0
  let plainAt = 0
  try {
    // One round to warm up; its figures are forgotten.
    const rounds = 1 + Math.ceil(durationMs / (2 * ROUND_MS))
    for (let round = 0; round < rounds; round++) {
      batches.length = 0
      let appended = 0
      let beganAt = performance.now()
      const endsAt = beganAt + ROUND_MS
      const append = async () => {
        while (performance.now() < endsAt) {
          await log.append({ streamId: 77, kind: 3, payload })
          appended += 1
        }
      }
      const first = Array.from({ length: recordsPerBatch }, append)
      // The first batch leaves at the end of this turn; what comes after it waits for the second one.
      await new Promise((resolve) => setImmediate(resolve))
      await Promise.all([...first, ...Array.from({ length: recordsPerBatch }, append)])
      const engineRoundMs = performance.now() - beganAt

      beganAt = performance.now()
      for (const bytes of batches) {
        await plain.write(FILL, 0, bytes, plainAt)
        await plain.datasync()
        plainAt += bytes
      }
      const plainRoundMs = performance.now() - beganAt
      if (round === 0) continue
      engineMs += engineRoundMs
      plainMs += plainRoundMs
      records += appended
      batchCount += batches.length
      bytesTotal += batches.reduce((sum, bytes) => sum + bytes, 0)
    }
  } finally {
    await log.close()
    await plain.close()
    rmSync(directory, { recursive: true, force: true })
  }
  return {
    recordsPerSecond: records / (engineMs / 1000),
    recordsPerBatch: records / batchCount,
    bytesPerBatch: bytesTotal / batchCount,
    ratio: plainMs / engineMs,
  }
}
