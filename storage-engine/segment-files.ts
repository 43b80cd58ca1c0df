/** Creates and reads the files of segments, which appear under their final names only when their content is durable. */

import { segmentName } from './data-directory.ts'
import { systemCode } from './errors.ts'
import type { DataFile } from './files.ts'
import {
  type DecodedHeader,
  decodeHeader,
  encodeHeader,
  FOOTER_BYTES,
  HEADER_BYTES,
  headerBytes,
  type SegmentHeader,
  segmentSeed,
} from './format.ts'
import { scanSegment } from './scan.ts'
import type { SegmentContext } from './segment.ts'
import { createWholeFile } from './whole-file.ts'

/** Room for the header of a compacted segment that names a thousand others. */
const HEADER_BYTES_MAX = HEADER_BYTES + 8 * 1024

/** A segment's file, as the listing and its header tell. */
export interface SegmentFile {
  readonly generation: number
  readonly name: string
  readonly sizeBytes: number
  /** Undefined where the header does not verify. */
  readonly header: SegmentHeader | undefined
}

/** Makes a segment of a header and batches that are sealed for it, durable under its name when it resolves. */
export async function createSegmentFile(
  context: SegmentContext,
  header: SegmentHeader,
  content: readonly Buffer[],
): Promise<DataFile> {
  const { files, directory } = context
  const name = segmentName(header.generation)
  await createWholeFile(files, directory, name, async (file) => {
    let position = 0
    for (const bytes of [encodeHeader(header), ...content]) {
      await file.write(bytes, position)
      position += bytes.length
    }
  })
  return await files.open(`${directory}/${name}`, 'update')
}

/** The header of a segment's file, and the file's size. */
export async function readSegmentHeader(
  context: SegmentContext,
  name: string,
): Promise<{ readonly decoded: DecodedHeader; readonly sizeBytes: number }> {
  const file = await context.files.open(`${context.directory}/${name}`, 'read')
  try {
    const target = Buffer.alloc(Math.min(HEADER_BYTES_MAX, file.sizeBytes))
    // Where what lies behind a header cannot be read, the header of a rolled segment perhaps can.
    const length = (await readBeginning(file, target)) || (await readBeginning(file, target.subarray(0, HEADER_BYTES)))
    return { decoded: decodeHeader(target.subarray(0, length)), sizeBytes: file.sizeBytes }
  } finally {
    await file.close()
  }
}

/** 0 where the disk cannot read all of it. */
async function readBeginning(file: DataFile, target: Uint8Array): Promise<number> {
  return await file.read(target, 0).catch((error: unknown) => {
    if (systemCode(error) === 'EIO') return 0
    throw error
  })
}

/** Whether a compacted segment is as it was written, by reading all of it: batches, a footer that fits, and no more. */
export async function verifiesInFull(context: SegmentContext, file: SegmentFile): Promise<boolean> {
  const { header, sizeBytes, name } = file
  if (header === undefined) return false
  const source = {
    seed: segmentSeed(header.identity, header.generation),
    sizeBytes,
    read: (target: Uint8Array, position: number) =>
      context.openFiles.read(`${context.directory}/${name}`, target, position),
  }
  let records = 0
  let batches = 0
  let lastCrc = 0
  for await (const item of scanSegment(source, headerBytes(header), { crc: 0, last: 0 }, header.order)) {
    if (item.kind === 'unverified') return false
    if (item.kind === 'batch') {
      records += item.header.count
      batches += 1
      lastCrc = item.header.crc
      continue
    }
    const { footer, position } = item
    const fits = footer.recordCount === records && footer.batchCount === batches && footer.lastCrc === lastCrc
    // The scan goes on behind a footer; what is there does not belong to the segment.
    return fits && position === source.sizeBytes - FOOTER_BYTES
  }
  return false
}
