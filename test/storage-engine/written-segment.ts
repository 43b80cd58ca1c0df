/**
 * Segments made byte by byte with format.ts, and a source that reads them, for tests of what only reads. Knows no log
 * and no files.
 */

import { BatchBuilder } from '../../storage-engine/batch-builder.ts'
import {
  encodeFooter,
  encodeHeader,
  headerBytes,
  type NewRecord,
  type Offset,
  ORDER_BY_STREAM,
  type RecordOrder,
  rolledHeader,
  type SegmentFooter,
  type SegmentHeader,
  segmentSeed,
} from '../../storage-engine/format.ts'
import type { Chain, ScanItem, ScanSource } from '../../storage-engine/scan.ts'
import { scanSegment } from '../../storage-engine/scan.ts'

export const IDENTITY = Uint8Array.from({ length: 16 }, (_, i) => i * 7)

export interface WrittenBatch {
  readonly position: number
  readonly end: number
  readonly first: Offset
  readonly last: Offset
  readonly crc: number
}

/** A record with the number and the time that it once got. */
export interface NumberedRecord extends NewRecord<Uint8Array> {
  readonly offset: Offset
  readonly timeMs: number
}

/** A segment that grows batch by batch in memory. */
export class WrittenSegment {
  readonly seed: number
  readonly batches: WrittenBatch[] = []
  readonly records: NumberedRecord[] = []
  readonly #header: SegmentHeader
  readonly #parts: Buffer[] = []
  readonly #previousCrc: number
  #end: number
  #next: Offset

  /** `previousCrc` is that of the batch before its first. */
  constructor(generation = 1, firstOffset: Offset = 1000, fields: Partial<SegmentHeader> = {}, previousCrc = 0) {
    const rolled = rolledHeader({
      identity: IDENTITY,
      generation,
      predecessor: generation - 1,
      predecessorEnd: 0,
      contentEnd: 128,
      createdMs: 0,
    })
    this.#header = { ...rolled, ...fields }
    this.seed = segmentSeed(this.#header.identity, generation)
    this.#end = headerBytes(this.#header)
    this.#next = firstOffset
    this.#previousCrc = previousCrc
  }

  /** All of what compaction writes is durable before it gets its name; of others the header is. */
  get header(): SegmentHeader {
    const contentEnd = this.#header.order === ORDER_BY_STREAM ? (this.batches.at(-1)?.end ?? this.headerEnd) : 128
    return { ...this.#header, contentEnd }
  }

  get headerEnd(): number {
    return headerBytes(this.#header)
  }

  get bytes(): Buffer {
    return Buffer.concat([encodeHeader(this.header), ...this.#parts])
  }

  get end(): number {
    return this.#end
  }

  /** Appends one batch; records get the numbers that follow. */
  add(records: readonly NewRecord<Uint8Array>[], timeMs = 1): WrittenBatch {
    if (records.length > 0) return this.addNumbered(records.map((one) => ({ ...one, offset: this.#next++, timeMs })))
    const builder = new BatchBuilder()
    builder.addNothing(this.#next++)
    return this.#addBatch(builder)
  }

  /** Appends one batch of records that have numbers already, in any order. */
  addNumbered(records: readonly NumberedRecord[]): WrittenBatch {
    const builder = new BatchBuilder()
    for (const record of records) builder.add(record, record.offset, record.timeMs)
    this.records.push(...records)
    return this.#addBatch(builder)
  }

  seal(successor = 2): void {
    const numbers = this.records.map(({ offset }) => offset)
    const timesMs = this.records.map(({ timeMs }) => timeMs)
    const isEmpty = this.records.length === 0
    const footer: SegmentFooter = {
      lastCrc: this.batches.at(-1)?.crc ?? 0,
      recordCount: this.records.length,
      batchCount: this.batches.length,
      first: isEmpty ? 0 : Math.min(...numbers),
      last: isEmpty ? 0 : Math.max(...numbers),
      timeMsMin: isEmpty ? 0 : Math.min(...timesMs),
      timeMsMax: isEmpty ? 0 : Math.max(...timesMs),
      successor,
    }
    const bytes = encodeFooter(footer, this.seed, this.#end)
    this.#parts.push(bytes)
    this.#end += bytes.length
  }

  #addBatch(builder: BatchBuilder): WrittenBatch {
    const fields = {
      previousCrc: this.batches.at(-1)?.crc ?? this.#previousCrc,
      ceiling: 0,
      syncedGeneration: this.#header.order === ORDER_BY_STREAM ? 0 : 1,
      syncedPosition: this.#header.order === ORDER_BY_STREAM ? 0 : this.#end,
    }
    const { bytes, header } = builder.seal(this.seed, this.#end, fields)
    const { first, last, crc } = header
    const batch = { position: this.#end, end: this.#end + bytes.length, first, last, crc }
    this.#parts.push(Buffer.from(bytes))
    this.#end += bytes.length
    this.batches.push(batch)
    return batch
  }
}

/** What a compaction would make of the inputs, sealed: their records without those that are dead, by stream. */
export function compacted(
  inputs: readonly WrittenSegment[],
  generation: number,
  isDead: (record: NumberedRecord) => boolean = () => false,
  recordsPerBatch = 20,
): WrittenSegment {
  const headers = inputs.map(({ header }) => header)
  const records = inputs.flatMap((input) => input.records)
  const output = new WrittenSegment(generation, 0, {
    order: ORDER_BY_STREAM,
    predecessor: 0,
    placeFrom: headers[0]!.placeFrom,
    placeThrough: headers.at(-1)!.placeThrough,
    coveredLast: Math.max(...inputs.flatMap((input) => [input.header.coveredLast, input.batches.at(-1)?.last ?? 0])),
    inputs: headers.map((header) => header.generation),
    outputs: [generation],
  })
  const alive = records
    .filter((record) => !isDead(record))
    .sort((a, b) => a.streamId - b.streamId || a.offset - b.offset)
  for (let at = 0; at < alive.length; at += recordsPerBatch) output.addNumbered(alive.slice(at, at + recordsPerBatch))
  output.seal(0)
  return output
}

/** Reads `bytes` as a file; `refuse` says where the disk cannot. */
export class BytesSource implements ScanSource {
  readonly seed: number
  readonly sizeBytes: number
  readonly #bytes: Buffer
  readonly #refuse: (begin: number, end: number) => boolean
  /** Of all reads together. */
  bytesRead = 0
  largestRead = 0

  constructor(bytes: Buffer, seed: number, refuse: (begin: number, end: number) => boolean = () => false) {
    this.#bytes = bytes
    this.seed = seed
    this.sizeBytes = bytes.length
    this.#refuse = refuse
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    const end = Math.min(position + target.length, this.#bytes.length)
    if (this.#refuse(position, end)) throw Object.assign(new Error('EIO: input or output error'), { code: 'EIO' })
    this.bytesRead += end - position
    this.largestRead = Math.max(this.largestRead, target.length)
    target.set(this.#bytes.subarray(position, end))
    return end - position
  }
}

/** What a scan says, in short: the positions of batches and footers, and the ranges that do not verify. */
export async function scanned(
  source: ScanSource,
  begin = 128,
  chain: Chain = { crc: 0, last: 0 },
  order?: RecordOrder,
): Promise<string[]> {
  const said: string[] = []
  for await (const item of scanSegment(source, begin, chain, order)) said.push(inShort(item))
  return said
}

function inShort(item: ScanItem): string {
  if (item.kind === 'batch') return `batch ${item.position} ${item.header.first}-${item.header.last}`
  if (item.kind === 'footer') return `footer ${item.position}`
  return `${item.position}-${item.end} ${item.reason}`
}
