/**
 * Making, reading and finding the files of segments: each appears under its final name only when what it holds is
 * durable (temporary name, write, sync, rename, sync of the folder).
 */

import { segmentName, temporaryName } from './data-directory.ts'
import { SyncFailure, systemCode } from './errors.ts'
import type { DataFile } from './files.ts'
import { type DecodedHeader, decodeHeader, encodeHeader, HEADER_BYTES, type SegmentHeader } from './format.ts'
import { type SegmentContext, syncOrFail } from './segment.ts'

/** Room for the header of a compacted segment that names a thousand others. */
const HEADER_BYTES_MAX = HEADER_BYTES + 8 * 1024

/** Makes a segment of a header and batches that are sealed for it, durable under its name when it resolves. */
export async function createSegmentFile(
  context: SegmentContext,
  header: SegmentHeader,
  content: readonly Buffer[],
): Promise<DataFile> {
  const { files, directory } = context
  const name = segmentName(header.generation)
  const temporaryPath = `${directory}/${temporaryName(name)}`
  await files.remove(temporaryPath).catch(() => undefined)
  const temporary = await files.open(temporaryPath, 'create')
  try {
    let position = 0
    for (const bytes of [encodeHeader(header), ...content]) {
      await temporary.write(bytes, position)
      position += bytes.length
    }
    await syncOrFail(temporary)
  } catch (error) {
    await temporary.close()
    await files.remove(temporaryPath).catch(() => undefined)
    throw error
  }
  await temporary.close()
  try {
    await files.rename(temporaryPath, `${directory}/${name}`)
  } catch (error) {
    await files.remove(temporaryPath).catch(() => undefined)
    throw error
  }
  await files.syncDirectory(directory).catch((error: unknown) => {
    throw new SyncFailure(directory, error)
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
    const length = await file.read(target, 0).catch((error: unknown) => {
      // The header cannot be read; the batches behind it perhaps can.
      if (systemCode(error) === 'EIO') return 0
      throw error
    })
    return { decoded: decodeHeader(target.subarray(0, length)), sizeBytes: file.sizeBytes }
  } finally {
    await file.close()
  }
}
