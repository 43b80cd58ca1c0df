/**
 * Says what of a log is dead as a domain would that keeps its marks in the catalogue: topics are made, deleted and
 * trimmed by records of stream 1, which it folds. Its marks are durable before `floors` tells them.
 */

import type { CompactionJudge } from '../../storage-engine/compaction-judge.ts'
import { CATALOG_STREAM, type Log, type LogRecord, type Offset } from '../../storage-engine/index.ts'
import type { StreamTotals } from '../../storage-engine/segment-index.ts'

export const CREATED = 1
export const DELETED = 2
export const DROPPED = 5

interface Topic {
  /** Everything up to here is dropped. */
  mark: Offset
  durableMark: Offset
  /** The record that says so. */
  markOffset: Offset
}

export class PlainJudge implements CompactionJudge {
  readonly #log: Log
  readonly topics = new Map<number, Topic>()
  /** How many streams were asked for, each time. */
  readonly asked: number[] = []
  /** Called before floors are told. */
  beforeFloors: () => Promise<void> = async () => undefined

  private constructor(log: Log) {
    this.#log = log
    log.onCommit((records) => {
      for (const record of records) if (record.streamId === CATALOG_STREAM) this.#fold(record)
    })
  }

  /** Folds what the catalogue holds. */
  static async of(log: Log): Promise<PlainJudge> {
    const judge = new PlainJudge(log)
    const cursor = log.cursor(0, CATALOG_STREAM)
    for (let step = await cursor.next(); step !== undefined; step = await cursor.next()) {
      if ('records' in step) for (const record of step.records) judge.#fold(record)
    }
    cursor.close()
    return judge
  }

  /** Makes a topic; returns its stream. */
  async create(): Promise<number> {
    return await this.#log.append({ streamId: CATALOG_STREAM, kind: CREATED, payload: Buffer.from('made') })
  }

  async delete(streamId: number): Promise<void> {
    await this.#log.append({ streamId: CATALOG_STREAM, kind: DELETED, payload: numbers(streamId, 0) }, { urgent: true })
    this.#log.dropped(streamId, Number.POSITIVE_INFINITY)
  }

  /** Drops the records of a topic up to this number, in memory for the time being. */
  trim(streamId: number, through: Offset): void {
    const topic = this.topics.get(streamId)
    if (topic === undefined || through <= topic.mark) return
    topic.mark = through
    this.#log.dropped(streamId, through)
  }

  async marks(streams: readonly StreamTotals[]): Promise<readonly Offset[]> {
    return streams.map(({ streamId }) => this.topics.get(streamId)?.mark ?? Number.POSITIVE_INFINITY)
  }

  async floors(streams: readonly StreamTotals[]): Promise<readonly Offset[]> {
    this.asked.push(streams.length)
    await this.beforeFloors()
    for (const { streamId } of streams) {
      const topic = this.topics.get(streamId)
      if (topic !== undefined && topic.mark > topic.durableMark) await this.#write(streamId, topic.mark)
    }
    return streams.map(({ streamId }) => this.topics.get(streamId)?.durableMark ?? Number.POSITIVE_INFINITY)
  }

  async isNeeded(record: LogRecord, isElsewhere: (offset: Offset) => Promise<boolean>): Promise<boolean> {
    if (record.kind === CREATED) return this.topics.has(record.offset)
    const [topic] = read(record.payload)
    if (record.kind === DELETED) return await isElsewhere(topic)
    return this.topics.get(topic)?.markOffset === record.offset
  }

  async drop(streams: readonly StreamTotals[]): Promise<void> {
    for (const { streamId, last } of streams) {
      this.trim(streamId, last)
      const topic = this.topics.get(streamId)
      if (topic !== undefined && topic.mark > topic.durableMark) await this.#write(streamId, topic.mark)
    }
  }

  async #write(streamId: number, through: Offset): Promise<void> {
    const payload = numbers(streamId, through)
    await this.#log.append({ streamId: CATALOG_STREAM, kind: DROPPED, payload }, { urgent: true })
  }

  #fold(record: LogRecord): void {
    if (record.kind === CREATED) this.topics.set(record.offset, { mark: 0, durableMark: 0, markOffset: 0 })
    const [streamId, through] = record.kind === CREATED ? [0, 0] : read(record.payload)
    if (record.kind === DELETED) this.topics.delete(streamId)
    const topic = this.topics.get(streamId)
    if (record.kind !== DROPPED || topic === undefined || through < topic.durableMark) return
    topic.durableMark = through
    topic.markOffset = record.offset
    topic.mark = Math.max(topic.mark, through)
  }
}

function numbers(one: number, other: number): Buffer {
  const bytes = Buffer.alloc(16)
  bytes.writeDoubleLE(one, 0)
  bytes.writeDoubleLE(other, 8)
  return bytes
}

function read(payload: Uint8Array): [number, number] {
  const bytes = Buffer.from(payload)
  return [bytes.readDoubleLE(0), bytes.readDoubleLE(8)]
}
