/**
 * Segments made byte by byte with format.ts, and a source that reads them, for tests of what only reads. Knows no log
 * and no files.
 */

import { BatchBuilder } from '../../storage-engine/batch-builder.ts'
import {
  encodeFooter,
  encodeHeader,
  type NewRecord,
  type Offset,
  ORDER_BY_OFFSET,
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

/** A segment that grows batch by batch in memory. */
export class WrittenSegment {
  readonly seed: number
  readonly batches: WrittenBatch[] = []
  readonly #parts: Buffer[] = []
  #end: number
  #next: Offset

  constructor(generation = 1, firstOffset: Offset = 1000) {
    const header: SegmentHeader = {
      identity: IDENTITY,
      generation,
      order: ORDER_BY_OFFSET,
      predecessor: generation - 1,
      predecessorEnd: 0,
      contentEnd: 128,
      createdMs: 0,
      inputs: [],
      outputs: [],
    }
    this.seed = segmentSeed(IDENTITY, generation)
    this.#parts.push(encodeHeader(header))
    this.#end = this.#parts[0]!.length
    this.#next = firstOffset
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#parts)
  }

  get end(): number {
    return this.#end
  }

  /** Appends one batch; records get the numbers that follow. */
  add(records: readonly NewRecord[], timeMs = 1): WrittenBatch {
    const builder = new BatchBuilder()
    for (const record of records) builder.add(record, this.#next++, timeMs)
    if (records.length === 0) builder.addNothing(this.#next++)
    const fields = {
      previousCrc: this.batches.at(-1)?.crc ?? 0,
      ceiling: 0,
      syncedGeneration: 1,
      syncedPosition: this.#end,
    }
    const { bytes, header } = builder.seal(this.seed, this.#end, fields)
    const batch = {
      position: this.#end,
      end: this.#end + bytes.length,
      first: header.first,
      last: header.last,
      crc: header.crc,
    }
    this.#parts.push(Buffer.from(bytes))
    this.#end += bytes.length
    this.batches.push(batch)
    return batch
  }

  seal(successor = 2): void {
    const footer: SegmentFooter = {
      lastCrc: this.batches.at(-1)?.crc ?? 0,
      recordCount: this.batches.length,
      batchCount: this.batches.length,
      first: this.batches[0]?.first ?? 0,
      last: this.batches.at(-1)?.last ?? 0,
      timeMsMin: 1,
      timeMsMax: 1,
      successor,
    }
    const bytes = encodeFooter(footer, this.seed, this.#end)
    this.#parts.push(bytes)
    this.#end += bytes.length
  }
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
export async function scanned(source: ScanSource, begin = 128, chain: Chain = { crc: 0, last: 0 }): Promise<string[]> {
  const said: string[] = []
  for await (const item of scanSegment(source, begin, chain)) said.push(inShort(item))
  return said
}

function inShort(item: ScanItem): string {
  if (item.kind === 'batch') return `batch ${item.position} ${item.header.first}-${item.header.last}`
  if (item.kind === 'footer') return `footer ${item.position}`
  return `${item.position}-${item.end} ${item.reason}`
}
