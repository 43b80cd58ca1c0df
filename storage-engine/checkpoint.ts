/**
 * Checkpoints: the state of a fold over the log up to some number, so that a start need not fold the whole log again.
 * They only ever save reading: a doubtful one is skipped, and the log alone yields the same state.
 *
 * The bytes are described in docs/log-format.md, "Checkpoint". Only the writer of the state knows what it means.
 */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { crc32 } from 'node:zlib'
import { checkpointName } from './data-directory.ts'
import { systemCode } from './errors.ts'
import type { DataFile, Files } from './files.ts'
import { type Offset, readU64, writeU64 } from './format.ts'
import { isShortage } from './open-files.ts'
import { createWholeFile } from './whole-file.ts'

/** The state as of some number, in the pieces in which it was written. */
export interface Checkpoint {
  /** Everything up to this number is in it; what lies above may be in it as well. */
  readonly offset: Offset
  /** Read anew with each call; throws CheckpointDoubt. */
  chunks(): AsyncGenerator<Buffer>
}

export interface CheckpointFields {
  readonly identity: Uint8Array
  readonly number: number
  readonly offset: Offset
}

/** The checkpoint does not verify, or is none: nothing is lost. */
export class CheckpointDoubt extends Error {
  constructor(reason: string, cause?: unknown) {
    super(reason, cause === undefined ? undefined : { cause })
    this.name = 'CheckpointDoubt'
  }
}

const MAGIC = Buffer.from('SSERCKP\0', 'latin1')
const VERSION = 1
const HEADER_BYTES = 80
const FRAME_BYTES = 8
/** No piece is larger, so that a damaged length never makes a reader allocate more. */
export const CHUNK_BYTES_LIMIT = 1024 * 1024

/**
 * Durable under its name when it resolves. Throws what `chunks` and the disk throw, and leaves nothing behind; SyncFailure
 * where a sync fails.
 */
export async function writeCheckpoint(
  files: Files,
  directory: string,
  fields: CheckpointFields,
  chunks: AsyncIterable<Uint8Array>,
): Promise<void> {
  await createWholeFile(files, directory, checkpointName(fields.number), async (file) => {
    // Zeros until it is known what the header has to say of the rest.
    await file.write(Buffer.alloc(HEADER_BYTES), 0)
    let position = HEADER_BYTES
    let crc = 0
    let count = 0
    for await (const chunk of chunks) {
      if (chunk.length > CHUNK_BYTES_LIMIT) throw new RangeError(`A piece of a checkpoint has ${chunk.length} bytes.`)
      const frame = Buffer.allocUnsafe(FRAME_BYTES + chunk.length)
      crc = crc32(chunk, crc)
      frame.writeUInt32LE(chunk.length, 0)
      frame.writeUInt32LE(crc, 4)
      frame.set(chunk, FRAME_BYTES)
      await file.write(frame, position)
      position += frame.length
      count += 1
    }
    await file.write(encodeHeader(fields, { bytes: position, crc, count }), 0)
  })
}

/** Reads all of it and verifies it. Throws CheckpointDoubt; an error of the disk is one, a want of descriptors is not. */
export async function openCheckpoint(files: Files, directory: string, number: number): Promise<OpenedCheckpoint> {
  const path = `${directory}/${checkpointName(number)}`
  const header = await reading(files, path, readHeader)
  if (header.number !== number) throw new CheckpointDoubt('it has the number of another one')
  const checkpoint = new OpenedCheckpoint(files, path, header)
  let count = 0
  for await (const _chunk of checkpoint.chunks()) {
    count += 1
    if (count % 4 === 0) await nextTurn()
  }
  return checkpoint
}

interface Header extends CheckpointFields {
  /** Of the whole file. */
  readonly bytes: number
  /** Of the last piece; by the chain it stands for all of them. */
  readonly crc: number
  readonly count: number
}

export class OpenedCheckpoint implements Checkpoint {
  readonly #files: Files
  readonly #path: string
  readonly #header: Header

  constructor(files: Files, path: string, header: Header) {
    this.#files = files
    this.#path = path
    this.#header = header
  }

  get identity(): Uint8Array {
    return this.#header.identity
  }

  get offset(): Offset {
    return this.#header.offset
  }

  async *chunks(): AsyncGenerator<Buffer> {
    const file = await opened(this.#files, this.#path)
    try {
      let position = HEADER_BYTES
      let crc = 0
      for (let i = 0; i < this.#header.count; i += 1) {
        const frame = await exactly(file, position, FRAME_BYTES)
        const length = frame.readUInt32LE(0)
        if (length > CHUNK_BYTES_LIMIT) throw new CheckpointDoubt('a piece of it is too long')
        const chunk = await exactly(file, position + FRAME_BYTES, length)
        crc = crc32(chunk, crc)
        if (frame.readUInt32LE(4) !== crc) throw new CheckpointDoubt('it does not verify')
        yield chunk
        position += FRAME_BYTES + length
      }
      if (crc !== this.#header.crc || position !== this.#header.bytes || file.sizeBytes !== position) {
        throw new CheckpointDoubt('it does not end where it should')
      }
    } finally {
      await file.close()
    }
  }
}

function encodeHeader(
  { identity, number, offset }: CheckpointFields,
  { bytes, crc, count }: Pick<Header, 'bytes' | 'crc' | 'count'>,
): Buffer {
  const header = Buffer.alloc(HEADER_BYTES)
  header.set(MAGIC, 0)
  header.writeUInt32LE(VERSION, 8)
  header.writeUInt32LE(HEADER_BYTES, 16)
  header.writeUInt32LE(crc, 20)
  header.set(identity, 24)
  writeU64(header, number, 40)
  writeU64(header, offset, 48)
  writeU64(header, bytes, 56)
  writeU64(header, count, 64)
  header.writeUInt32LE(headerCrc(header), 12)
  return header
}

async function readHeader(file: DataFile): Promise<Header> {
  const header = await exactly(file, 0, HEADER_BYTES)
  if (!header.subarray(0, 8).equals(MAGIC) || header.readUInt32LE(12) !== headerCrc(header)) {
    throw new CheckpointDoubt('its header does not verify')
  }
  const version = header.readUInt32LE(8)
  if (version !== VERSION) throw new CheckpointDoubt(`it has version ${version}, which is not known here`)
  return {
    crc: header.readUInt32LE(20),
    identity: Uint8Array.from(header.subarray(24, 40)),
    number: readU64(header, 40),
    offset: readU64(header, 48),
    bytes: readU64(header, 56),
    count: readU64(header, 64),
  }
}

/** As in a segment's header. */
function headerCrc(header: Buffer): number {
  return crc32(header.subarray(16), crc32(header.subarray(0, 12)))
}

async function exactly(file: DataFile, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length)
  const read = await file.read(bytes, position).catch(doubted)
  if (read < length) throw new CheckpointDoubt('it is shorter than it was')
  return bytes
}

async function reading<Result>(files: Files, path: string, read: (file: DataFile) => Promise<Result>): Promise<Result> {
  const file = await opened(files, path)
  try {
    return await read(file)
  } finally {
    await file.close()
  }
}

async function opened(files: Files, path: string): Promise<DataFile> {
  return await files.open(path, 'read').catch(doubted)
}

function doubted(error: unknown): never {
  if (systemCode(error) === undefined || isShortage(error)) throw error
  throw new CheckpointDoubt(`it cannot be read (${systemCode(error)})`, error)
}
