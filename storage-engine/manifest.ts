/**
 * The manifest: which compacted segments are part of the log, and which of the files they replaced may still be there.
 * Each change writes a new file with the next number; only the one with the highest number ever counts.
 *
 * The bytes are described in docs/log-format.md, "Manifest". Encoding and decoding are pure.
 */

import { crc32 } from 'node:zlib'
import { indexName, manifestName, parseName, segmentName } from './data-directory.ts'
import { systemCode } from './errors.ts'
import type { Files } from './files.ts'
import { type Offset, ORDER_BY_STREAM, readU64, type SegmentHeader, writeU64 } from './format.ts'
import { isShortage, type OpenFiles } from './open-files.ts'
import { createWholeFile, syncDirectoryOrFail } from './whole-file.ts'

export interface Manifest {
  readonly identity: Uint8Array
  /** 0: there is none on the disk. */
  readonly number: number
  /** The highest number of a record of the catalogue that any compaction has dropped. */
  readonly checkpointFloor: Offset
  readonly compacted: readonly CompactedEntry[]
  readonly replaced: readonly ReplacedEntry[]
}

/** What the header of a compacted segment says, so that the log knows its place even if the header does not verify. */
export type CompactedEntry = Pick<
  SegmentHeader,
  'generation' | 'placeFrom' | 'placeThrough' | 'coveredLast' | 'ceiling' | 'inputs'
>

/** A generation that is no longer part of the log, but whose removal is not known to be durable. */
export interface ReplacedEntry {
  readonly generation: number
  /** The compacted segment that has taken its place. */
  readonly by: number
}

export type DecodedManifest =
  | { readonly kind: 'manifest'; readonly manifest: Manifest }
  /** Verifies, but is of a version that this code does not know. */
  | { readonly kind: 'unknown-version'; readonly version: number }
  | { readonly kind: 'damaged' }

const MAGIC = Buffer.from('SSERMAN\0', 'latin1')
const VERSION = 1
const HEADER_BYTES = 64
const COMPACTED_BYTES = 48
const REPLACED_BYTES = 16
/** No manifest is larger, so that some other file never makes a reader allocate more. */
const BYTES_LIMIT = 64 * 1024 * 1024

/** Of a log that was never compacted. */
export function noManifest(identity: Uint8Array): Manifest {
  return { identity, number: 0, checkpointFloor: 0, compacted: [], replaced: [] }
}

export function entryOf(header: SegmentHeader): CompactedEntry {
  const { generation, placeFrom, placeThrough, coveredLast, ceiling, inputs } = header
  return { generation, placeFrom, placeThrough, coveredLast, ceiling, inputs }
}

/** The header as it was, except for the time and the position, which only it knew. */
export function headerOfEntry(identity: Uint8Array, entry: CompactedEntry): SegmentHeader {
  const lost = { predecessor: 0, predecessorEnd: 0, contentEnd: 0, createdMs: 0 }
  return { ...entry, ...lost, identity, order: ORDER_BY_STREAM, outputs: [entry.generation] }
}

export function encodeManifest(manifest: Manifest): Buffer {
  const { compacted, replaced } = manifest
  const inputs = compacted.reduce((sum, entry) => sum + entry.inputs.length, 0)
  const length = HEADER_BYTES + COMPACTED_BYTES * compacted.length + 8 * inputs + REPLACED_BYTES * replaced.length
  const bytes = Buffer.alloc(length)
  bytes.set(MAGIC, 0)
  bytes.writeUInt32LE(VERSION, 8)
  bytes.writeUInt32LE(length, 16)
  bytes.set(manifest.identity, 24)
  writeU64(bytes, manifest.number, 40)
  writeU64(bytes, manifest.checkpointFloor, 48)
  bytes.writeUInt32LE(compacted.length, 56)
  bytes.writeUInt32LE(replaced.length, 60)
  const fields = [
    ...compacted.flatMap((entry) => [
      ...[entry.generation, entry.placeFrom, entry.placeThrough, entry.coveredLast, entry.ceiling],
      ...[entry.inputs.length, ...entry.inputs],
    ]),
    ...replaced.flatMap(({ generation, by }) => [generation, by]),
  ]
  for (const [i, field] of fields.entries()) writeU64(bytes, field, HEADER_BYTES + 8 * i)
  bytes.writeUInt32LE(manifestCrc(bytes), 12)
  return bytes
}

/** `bytes` is the whole file; with one byte more or less it does not verify. */
export function decodeManifest(bytes: Buffer): DecodedManifest {
  if (bytes.length < HEADER_BYTES || !bytes.subarray(0, 8).equals(MAGIC)) return { kind: 'damaged' }
  if (bytes.readUInt32LE(16) !== bytes.length || bytes.length % 8 !== 0) return { kind: 'damaged' }
  if (bytes.readUInt32LE(12) !== manifestCrc(bytes)) return { kind: 'damaged' }
  const version = bytes.readUInt32LE(8)
  if (version !== VERSION) return { kind: 'unknown-version', version }
  let at = HEADER_BYTES
  const next = () => {
    at += 8
    return readU64(bytes, at - 8)
  }
  const compacted = Array.from({ length: bytes.readUInt32LE(56) }, () => ({
    generation: next(),
    placeFrom: next(),
    placeThrough: next(),
    coveredLast: next(),
    ceiling: next(),
    inputs: Array.from({ length: next() }, next),
  }))
  const replaced = Array.from({ length: bytes.readUInt32LE(60) }, () => ({ generation: next(), by: next() }))
  const manifest: Manifest = {
    identity: Uint8Array.from(bytes.subarray(24, 40)),
    number: readU64(bytes, 40),
    checkpointFloor: readU64(bytes, 48),
    compacted,
    replaced,
  }
  return { kind: 'manifest', manifest }
}

/** As in a segment's header: later versions keep these places. */
function manifestCrc(bytes: Buffer): number {
  return crc32(bytes.subarray(16), crc32(bytes.subarray(0, 12)))
}

/** Durable under its name when it resolves; throws SyncFailure if nobody knows. Older ones are not removed. */
export async function writeManifest(files: Files, directory: string, manifest: Manifest): Promise<void> {
  await createWholeFile(files, directory, manifestName(manifest.number), (file) =>
    file.write(encodeManifest(manifest), 0),
  )
}

/** The manifest with the highest number among `names`, whatever it says; undefined where there is none. */
export async function readNewestManifest(
  files: Files,
  directory: string,
  names: readonly string[],
): Promise<{ readonly name: string; readonly number: number; readonly decoded: DecodedManifest } | undefined> {
  const number = names.reduce((newest, name) => Math.max(newest, manifestNumber(name)), 0)
  if (number === 0) return undefined
  const name = manifestName(number)
  return { name, number, decoded: await readManifest(files, `${directory}/${name}`) }
}

async function readManifest(files: Files, path: string): Promise<DecodedManifest> {
  const file = await files.open(path, 'read')
  try {
    const bytes = Buffer.alloc(Math.min(file.sizeBytes, BYTES_LIMIT))
    const length = await file.read(bytes, 0)
    return decodeManifest(bytes.subarray(0, length))
  } catch (error) {
    if (systemCode(error) === undefined || isShortage(error)) throw error
    // If the disk cannot read it, the headers of the segments count instead.
    return { kind: 'damaged' }
  } finally {
    await file.close()
  }
}

/** 0 for what is no manifest. */
function manifestNumber(name: string): number {
  const parsed = parseName(name)
  return parsed.kind === 'manifest' ? parsed.number : 0
}

/**
 * Removes older manifests, and the files of these generations. Returns the generations that are gone for certain; one
 * that the disk would not remove is no loss, and can be tried again. Throws SyncFailure.
 */
export async function removeReplaced(
  files: Files,
  openFiles: OpenFiles,
  directory: string,
  number: number,
  generations: readonly number[],
): Promise<readonly number[]> {
  const names = await files.list(directory)
  const outdated = names.filter((name) => manifestNumber(name) > 0 && manifestNumber(name) < number)
  const there = new Set(names)
  let removals = 0
  const isRemoved = async (name: string): Promise<boolean> => {
    if (!there.has(name)) return true
    const path = `${directory}/${name}`
    openFiles.forget(path)
    try {
      await files.remove(path)
      removals += 1
      return true
    } catch (error) {
      if (systemCode(error) === undefined) throw error
      return false
    }
  }
  for (const name of outdated) await isRemoved(name)
  const gone: number[] = []
  for (const generation of generations) {
    // The sidecar first: once its segment is gone, nothing would refer to it any more.
    if ((await isRemoved(indexName(generation))) && (await isRemoved(segmentName(generation)))) gone.push(generation)
  }
  if (removals > 0) await syncDirectoryOrFail(files, directory)
  return gone
}
