/**
 * A log with topics, what is known of them, and a judge: for tests of compaction. What it holds is compared, whatever
 * was compacted, with what was published.
 */

import assert from 'node:assert/strict'
import type { CompactionOptions } from '../../storage-engine/compactor.ts'
import type { Files } from '../../storage-engine/files.ts'
import type { LogOptions, Offset } from '../../storage-engine/index.ts'
import type { Log } from '../../storage-engine/log.ts'
import { MemoryFiles } from '../../storage-engine/memory-files.ts'
import { Random } from '../support/random.ts'
import { PlainJudge } from './plain-judge.ts'
import { type Known, openSmall, readAll, Told } from './small-log.ts'

export const DIRECTORY = '/d'
/** So long that nothing happens but what a test asks for. */
const NEVER_MS = 2 ** 30

export class CompactedLog {
  readonly files: Files
  readonly told = new Told()
  readonly log: Log
  readonly judge: PlainJudge
  readonly topics: number[] = []
  readonly random = new Random(1)
  /** What was appended, by topic. */
  readonly known = new Map<number, Known[]>()

  private constructor(files: Files, log: Log, judge: PlainJudge, told: Told) {
    this.files = files
    this.log = log
    this.judge = judge
    this.told = told
  }

  static async open(
    options: Partial<LogOptions> = {},
    files: Files = new MemoryFiles(),
    directory = DIRECTORY,
  ): Promise<CompactedLog> {
    const told = new Told()
    const log = await openSmall(files, directory, options, told)
    return new CompactedLog(files, log, await PlainJudge.of(log), told)
  }

  async create(count: number): Promise<void> {
    for (let i = 0; i < count; i += 1) {
      const streamId = await this.judge.create()
      this.topics.push(streamId)
      this.known.set(streamId, [])
    }
  }

  async publish(streamId: number, text: string, key?: string): Promise<Offset> {
    const record = { streamId, kind: 3, payload: Buffer.from(text), key: key === undefined ? key : Buffer.from(key) }
    const offset = await this.log.append(record)
    this.known.get(streamId)?.push({ offset, streamId, text })
    return offset
  }

  /** `count` events, here and there. */
  async publishMany(count: number): Promise<void> {
    const { random } = this
    for (let i = 0; i < count; i += 1) {
      await this.publish(random.pick(this.topics), `event ${i} `.padEnd(20 + random.int(80), '.'), `k${i % 50}`)
    }
  }

  /** Does nothing in the background but a first round. */
  start(options: Partial<CompactionOptions> = {}): void {
    const { judge } = this
    this.log.startCompaction({ judge, bytesPerSecondMax: 2 ** 40, deadShareMin: 0.5, intervalMs: NEVER_MS, ...options })
  }

  /** Seals what was published so far: the active segment is never compacted. */
  async seal(): Promise<void> {
    const pinned = await this.log.pin()
    pinned.release()
  }

  /** Drops all but the last `count` events of a topic. */
  keep(streamId: number, count: number): void {
    const last = this.known.get(streamId)?.at(-1 - count)
    if (last !== undefined) this.judge.trim(streamId, last.offset)
  }

  living(streamId: number): Known[] {
    const mark = this.judge.topics.get(streamId)?.mark ?? Number.POSITIVE_INFINITY
    return (this.known.get(streamId) ?? []).filter(({ offset }) => offset > mark)
  }
}

/** Every reader finds what is alive, and above the marks nothing else. */
export async function assertContent(world: CompactedLog): Promise<void> {
  const { log, judge } = world
  const everything = await readAll(log)
  assert.deepEqual(everything.gaps, [])
  for (const [streamId, topic] of judge.topics) {
    const { records, gaps } = await readAll(log, topic.mark, streamId)
    assert.deepEqual(gaps, [])
    assert.deepEqual(records, world.living(streamId))
    assert.deepEqual(
      everything.records.filter((record) => record.streamId === streamId && record.offset > topic.mark),
      world.living(streamId),
    )
    const totals = await log.streamTotalsOf(streamId, topic.mark)
    assert.equal(totals.count, world.living(streamId).length)
  }
}
