/** The targets of whole files and folders of a log: the manifest, checkpoints, and recovery of what was spoiled. */

import assert from 'node:assert/strict'
import { crc32 } from 'node:zlib'
import { EntryError } from '../src/domain/entry.ts'
import { Feed } from '../src/domain/feed.ts'
import { decodeSnapshot, encodeSnapshot } from '../src/domain/snapshot.ts'
import { HostedTopic } from '../src/domain/topic.ts'
import type { TopicToken } from '../src/domain/topic-token.ts'
import { CheckpointDoubt, openCheckpoint, writeCheckpoint } from '../storage-engine/checkpoint.ts'
import { checkpointName, parseName } from '../storage-engine/data-directory.ts'
import { StorageError } from '../storage-engine/errors.ts'
import type { Files } from '../storage-engine/files.ts'
import { FOOTER_BYTES } from '../storage-engine/format.ts'
import { decodeManifest, encodeManifest, type Manifest } from '../storage-engine/manifest.ts'
import { MemoryFiles } from '../storage-engine/memory-files.ts'
import { type StorageObserver, silentObserver } from '../storage-engine/observer.ts'
import { Sequencer } from '../storage-engine/sequencer.ts'
import { openSmall, readAll, Told } from '../test/storage-engine/small-log.ts'
import { FakeLog } from '../test/support/fake-log.ts'
import { damaged } from './damage.ts'
import type { Random } from './random.ts'
import type { ByteTarget, RoundTarget } from './target.ts'

const IDENTITY = Uint8Array.from({ length: 16 }, (_, i) => 11 * i)
const DIRECTORY = '/d'
const NOW_MS = Date.UTC(2026, 5, 1)
const CHECKPOINT_NUMBER = 3
const SNAPSHOT_HEAD_BYTES = 16
const SNAPSHOT_ROW_BYTES = 134
/** What the engine may answer where a log cannot be opened. */
const REFUSALS = ['STORAGE_FOREIGN', 'STORAGE_NEWER_FORMAT', 'STORAGE_DAMAGED', 'STORAGE_MISSING']

export const manifest: ByteTarget = {
  name: 'manifest',
  about: 'Any bytes are refused as a manifest, or are exactly what encoding gives for what they say.',
  generate: (random) => damaged(random, encodeManifest(someManifest(random)), 0),
  check: (input) => checkManifest(input, decodeManifest),
  planted: [{ bug: "a manifest's CRC is not checked", check: (input) => checkManifest(input, decodeWithoutCrc) }],
}

export const checkpoint: ByteTarget = {
  name: 'checkpoint',
  about: 'Any bytes are doubted as a checkpoint, or are exactly what writing gives for what they hold.',
  generate: someCheckpoint,
  check: (input) => checkCheckpoint(input, (files) => openCheckpoint(files, DIRECTORY, CHECKPOINT_NUMBER)),
  planted: [
    {
      bug: "the CRC of a checkpoint's header is not checked",
      check: (input) => checkCheckpoint(input, openWithoutHeaderCrc),
    },
  ],
}

export const snapshot: ByteTarget = {
  name: 'snapshot',
  about: 'Any bytes are refused as the topics of a checkpoint, or are topics that are encoded and decoded to the same.',
  generate: (random) => damaged(random, Buffer.concat([...encodeSnapshot(someTopics(random), feed)]), 0),
  check: (input) => checkSnapshot(input, decodeSnapshot),
  planted: [
    {
      bug: 'bytes behind the last topic are passed over',
      check: (input) => checkSnapshot(input, decodeWithoutEnd),
    },
  ],
}

export const recovery: RoundTarget = {
  name: 'recovery',
  about:
    'A log whose files are spoiled opens or says why not; it gives no record that was not appended, and none is missing that no damage or cut tail tells of. A round takes a few milliseconds.',
  round: (random) => recoveryRound(random, (told) => told),
  planted: [{ bug: 'damage is not told', round: (random) => recoveryRound(random, () => silentObserver) }],
}

function someManifest(random: Random): Manifest {
  const compacted = Array.from({ length: random.below(4) }, (_, i) => {
    const placeFrom = 1 + 10 * i
    const placeThrough = placeFrom + random.below(8)
    const inputs = Array.from({ length: random.below(4) }, (_, input) => placeFrom + input)
    return { generation: 50 + i, placeFrom, placeThrough, coveredLast: random.next(), ceiling: random.next(), inputs }
  })
  const replaced = Array.from({ length: random.below(4) }, (_, i) => ({ generation: 1 + i, by: 50 }))
  return { identity: IDENTITY, number: 1 + random.below(9), checkpointFloor: random.next(), compacted, replaced }
}

function checkManifest(input: Buffer, decode: typeof decodeManifest): void {
  const decoded = decode(input)
  if (decoded.kind === 'manifest') assert.ok(encodeManifest(decoded.manifest).equals(input), 'it was not written so')
}

function decodeWithoutCrc(input: Buffer): ReturnType<typeof decodeManifest> {
  if (input.length < 64) return decodeManifest(input)
  const { crcAt, crc } = headerCrc(input)
  const valid = Buffer.from(input)
  valid.writeUInt32LE(crc, crcAt)
  // Absurd counts, which would take for ever, count as a crash that was seen.
  if (valid.readUInt32LE(56) > input.length || valid.readUInt32LE(60) > input.length) return { kind: 'damaged' }
  return decodeManifest(valid)
}

/** Of manifests and checkpoints: everything but the CRC itself. */
function headerCrc(bytes: Buffer): { readonly crcAt: number; readonly crc: number } {
  return { crcAt: 12, crc: crc32(bytes.subarray(16), crc32(bytes.subarray(0, 12))) }
}

function someCheckpoint(random: Random): Buffer {
  const chunks = Array.from({ length: random.below(4) }, () => Buffer.from(random.bytes(random.below(60))))
  return damaged(random, checkpointBytes(chunks, random.next()), 0)
}

/** As docs/log-format.md describes it, so that reading is held against the page as well. */
function checkpointBytes(chunks: readonly Buffer[], offset: number): Buffer {
  let crc = 0
  const frames = chunks.flatMap((chunk) => {
    crc = crc32(chunk, crc)
    const head = Buffer.alloc(8)
    head.writeUInt32LE(chunk.length, 0)
    head.writeUInt32LE(crc, 4)
    return [head, chunk]
  })
  const header = Buffer.alloc(80)
  header.write('SSERCKP\0', 0, 'latin1')
  header.writeUInt32LE(1, 8)
  header.writeUInt32LE(80, 16)
  header.writeUInt32LE(crc, 20)
  header.set(IDENTITY, 24)
  header.writeBigUInt64LE(BigInt(CHECKPOINT_NUMBER), 40)
  header.writeBigUInt64LE(BigInt(offset), 48)
  header.writeBigUInt64LE(BigInt(80 + frames.reduce((sum, { length }) => sum + length, 0)), 56)
  header.writeBigUInt64LE(BigInt(chunks.length), 64)
  const own = headerCrc(header)
  header.writeUInt32LE(own.crc, own.crcAt)
  return Buffer.concat([header, ...frames])
}

async function checkCheckpoint(
  input: Buffer,
  open: (files: Files) => ReturnType<typeof openCheckpoint>,
): Promise<void> {
  const files = new MemoryFiles()
  await files.makeDirectory(DIRECTORY)
  await putFile(files, `${DIRECTORY}/${checkpointName(CHECKPOINT_NUMBER)}`, input)
  try {
    const opened = await open(files)
    const copies = new MemoryFiles()
    await copies.makeDirectory(DIRECTORY)
    const fields = { identity: opened.identity, number: CHECKPOINT_NUMBER, offset: opened.offset }
    await writeCheckpoint(copies, DIRECTORY, fields, opened.chunks())
    const copy = await fileBytes(copies, `${DIRECTORY}/${checkpointName(CHECKPOINT_NUMBER)}`)
    assert.ok(copy.equals(input), 'it was not written so')
  } catch (error) {
    if (!(error instanceof CheckpointDoubt)) throw error
  }
}

async function openWithoutHeaderCrc(files: Files): ReturnType<typeof openCheckpoint> {
  const path = `${DIRECTORY}/${checkpointName(CHECKPOINT_NUMBER)}`
  const header = (await fileBytes(files, path)).subarray(0, 80)
  if (header.length === 80) {
    const { crcAt, crc } = headerCrc(header)
    header.writeUInt32LE(crc, crcAt)
    const file = await files.open(path, 'update')
    await file.write(header, 0)
    await file.close()
  }
  return await openCheckpoint(files, DIRECTORY, CHECKPOINT_NUMBER)
}

const feed = new Feed(new FakeLog(new Sequencer()), true, 0)

function someTopics(random: Random): HostedTopic[] {
  return Array.from({ length: random.below(4) }, (_, i) => {
    const limit = () => random.pick([undefined, 1, 4096])
    const topic = new HostedTopic(feed, {
      streamId: 100 + i,
      name: random.pick([undefined, 'news', '😀']),
      retention: { maxAgeMs: limit(), maxBytes: limit(), maxEvents: limit() },
      tokenSha256: random.bytes(32),
      createdAtMs: NOW_MS,
    })
    topic.events = random.below(100)
    topic.dropped = random.next()
    if (random.oneIn(3)) topic.furtherTokens = new Map([[200 + i, someToken(random, 200 + i)]])
    return topic
  })
}

function someToken(random: Random, number: number): TopicToken {
  return {
    number,
    sha256: random.bytes(32),
    rights: random.pick([[], ['publish'], ['subscribe', 'publish']] as const),
    label: random.pick([undefined, 'phone', '😀']),
    createdAtMs: NOW_MS,
    expiresAtMs: random.pick([undefined, NOW_MS + 1]),
  }
}

function checkSnapshot(input: Buffer, decode: typeof decodeSnapshot): void {
  let topics: HostedTopic[]
  try {
    topics = decode(input, feed).map(({ topic }) => topic)
  } catch (error) {
    if (!(error instanceof EntryError)) throw error
    return
  }
  const again = [...encodeSnapshot(topics, feed)].flatMap((piece) => decodeSnapshot(piece, feed))
  assert.deepEqual(
    again.map(({ topic }) => plain(topic)),
    topics.map(plain),
  )
  const names = topics.map(({ name }) => name ?? '')
  // The entry of a token may be written in more ways than one, with members that are not known here.
  if (topics.some(({ furtherTokens }) => furtherTokens !== undefined)) return
  // A name that is no UTF-8 does not come back with as many bytes.
  if (names.some((name) => name.includes('\ufffd'))) return
  const namesBytes = names.reduce((bytes, name) => bytes + Buffer.byteLength(name), 0)
  assert.equal(input.length, SNAPSHOT_HEAD_BYTES + topics.length * SNAPSHOT_ROW_BYTES + namesBytes)
}

function decodeWithoutEnd(input: Uint8Array, of: Feed): ReturnType<typeof decodeSnapshot> {
  for (let end = input.length; end > SNAPSHOT_HEAD_BYTES; end--) {
    try {
      return decodeSnapshot(input.subarray(0, end), of)
    } catch (error) {
      if (!(error instanceof EntryError)) throw error
    }
  }
  return decodeSnapshot(input, of)
}

function plain(topic: HostedTopic): unknown {
  const { streamId, createdAtMs, name, retention, events, bytes, latest, dropped, entries } = topic
  const tokens = [...topic.tokens].map((token) => ({ ...token, sha256: Buffer.from(token.sha256).toString('hex') }))
  const tokenSha256 = Buffer.from(topic.tokenSha256).toString('hex')
  return { streamId, createdAtMs, name, retention, events, bytes, latest, dropped, entries, tokenSha256, tokens }
}

async function recoveryRound(random: Random, listening: (told: Told) => StorageObserver): Promise<void> {
  const files = new MemoryFiles()
  const appended = await writeSomeLog(random, files)
  const spoiled: string[] = []
  for (let rest = 1 + random.below(2); rest > 0; rest--) spoiled.push(await spoilOneFile(random, files))
  const told = new Told()
  const opened = await openSmall(files, DIRECTORY, {}, listening(told)).catch((error: unknown) => {
    if (error instanceof StorageError && REFUSALS.includes(error.code)) return undefined
    throw error
  })
  if (opened === undefined) return
  const { records, gaps } = await readAll(opened)
  await opened.close()
  const last = records.at(-1)?.offset ?? 0
  for (const { offset, streamId, text } of records) {
    assert.equal(`${streamId} ${text}`, appended.get(offset), `the record ${offset} was not appended so`)
    appended.delete(offset)
  }
  const hasSpoken = told.damages.length > 0 || told.cuts.length > 0 || gaps.length > 0
  if (appended.size === 0 || hasSpoken) return
  // Cut between two batches, and its sidecar spoiled as well, the last segment looks as a crash would have left it.
  assert.ok(isPairSpoiled(spoiled), `nothing tells of the ${appended.size} records that are missing`)
  assert.ok(Math.min(...appended.keys()) > last, 'what is there is a prefix')
}

/** What was appended, by number. */
async function writeSomeLog(random: Random, files: Files): Promise<Map<number, string>> {
  const log = await openSmall(files, DIRECTORY, { segmentBytesMax: random.pick([500, 4096]) })
  const appended = new Map<number, string>()
  for (let rest = random.below(20); rest > 0; rest--) {
    const streamId = 100 + random.below(3)
    const text = `event ${rest} `.padEnd(20 + random.below(80), '.')
    const offset = await log.append({ streamId, kind: 3, payload: Buffer.from(text) })
    appended.set(offset, `${streamId} ${text}`)
  }
  await log.close()
  // As a process that was killed leaves it: without the last footer.
  if (random.oneIn(2)) {
    const last = (await files.list(DIRECTORY))
      .filter((name) => parseName(name).kind === 'segment')
      .sort()
      .at(-1)
    const path = `${DIRECTORY}/${last}`
    const bytes = await fileBytes(files, path)
    await files.remove(path)
    await putFile(files, path, bytes.subarray(0, bytes.length - FOOTER_BYTES))
  }
  return appended
}

/** Whether that befell a segment and its sidecar. */
function isPairSpoiled(names: readonly string[]): boolean {
  return new Set(names).size === 2 && new Set(names.map((name) => name.split('.')[0])).size === 1
}

/** Returns its name. */
async function spoilOneFile(random: Random, files: Files): Promise<string> {
  const names = await files.list(DIRECTORY)
  const name = random.pick(names)
  const path = `${DIRECTORY}/${name}`
  const bytes = await fileBytes(files, path)
  await files.remove(path)
  // Where the only segment is gone, there is nobody left to tell.
  const isOneOfMany = names.filter((name) => parseName(name).kind === 'segment').length > 1
  if (!isOneOfMany || !random.oneIn(10)) await putFile(files, path, damaged(random, bytes, 0))
  return name
}

async function fileBytes(files: Files, path: string): Promise<Buffer> {
  const file = await files.open(path, 'read')
  const bytes = Buffer.alloc(file.sizeBytes)
  await file.read(bytes, 0)
  await file.close()
  return bytes
}

async function putFile(files: Files, path: string, bytes: Buffer): Promise<void> {
  const file = await files.open(path, 'create')
  await file.write(bytes, 0)
  await file.close()
}
