/**
 * What rot, bad copies and strange files do to a log on a real disk: always told with file and position, never more
 * lost than the bytes concerned, nothing ever handed out that was not written. The numbers in the titles are those of
 * the catalogue of faults.
 */

import assert from 'node:assert/strict'
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { after } from 'node:test'
import { indexName, segmentName } from '../../storage-engine/data-directory.ts'
import { DiskFiles } from '../../storage-engine/disk-files.ts'
import type { DataFile, Files } from '../../storage-engine/files.ts'
import {
  aligned,
  BATCH_HEADER_BYTES,
  batchLengthAt,
  decodeHeader,
  encodeHeader,
  FOOTER_BYTES,
  HEADER_BYTES,
  placedCrc,
  RecordView,
  segmentSeed,
} from '../../storage-engine/format.ts'
import type { Log } from '../../storage-engine/log.ts'
import type { Damage } from '../../storage-engine/observer.ts'
import { systemError } from '../../storage-engine/system-error.ts'
import { Random } from '../support/random.ts'
import { test } from '../support/unwatched.ts'
import { type Known, openSmall, type ReadThrough, readAll, SMALL, Told } from './small-log.ts'

const STREAMS = [100, 200, 300]
// Thousands of logs are opened here, each with some ten syncs; what is tested needs files, and not a disk.
const root = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'sser-bit-rot-'))
after(() => rmSync(root, { recursive: true }))

interface PlacedRecord extends Known {
  readonly position: number
  readonly length: number
  readonly batchPosition: number
  readonly batchEnd: number
}

/** A log that was stopped cleanly, and what it holds. */
interface Original {
  readonly directory: string
  readonly known: readonly Known[]
}

let copies = 0

function nextCopy(): number {
  copies += 1
  return copies
}

/** Each batch holds two records of different streams, so that there is something unrelated beside each. */
async function makeOriginal(segments: number, batches: number): Promise<Original> {
  const directory = join(root, `original-${nextCopy()}`)
  const known: Known[] = []
  const log = await openSmall(new DiskFiles(), directory, { segmentBytesMax: 2 ** 20 })
  // Each start and clean stop gives a segment of its own.
  let current = log
  for (let segment = 0; segment < segments; segment += 1) {
    for (let batch = 0; batch < batches; batch += 1) {
      const pair = [0, 1].map((i) => ({ streamId: STREAMS[(batch + i) % 3]!, text: `${segment}/${batch}/${i}` }))
      const offsets = await current.appendAll(
        pair.map(({ streamId, text }, i) => ({
          streamId,
          kind: 1,
          key: i === 0 ? Buffer.from(text) : undefined,
          payload: Buffer.from(text),
        })),
      )
      known.push(...pair.map((one, i) => ({ ...one, offset: offsets[i]! })))
    }
    await current.close()
    if (segment + 1 < segments) current = await openSmall(new DiskFiles(), directory, { segmentBytesMax: 2 ** 20 })
  }
  return { directory, known }
}

function copyOf(original: Original): string {
  const directory = join(root, `copy-${nextCopy()}`)
  cpSync(original.directory, directory, { recursive: true })
  return directory
}

function segmentsIn(directory: string): string[] {
  return readdirSync(directory).filter((name) => name.endsWith('.log'))
}

/** Opens a damaged copy, lets `use` look at it, and removes it. */
async function opened<T>(directory: string, use: (log: Log, told: Told) => Promise<T>): Promise<T> {
  const told = new Told()
  const log = await openSmall(new DiskFiles(), directory, SMALL, told)
  try {
    return await use(log, told)
  } finally {
    await log.close()
    rmSync(directory, { recursive: true })
  }
}

async function refused(
  directory: string,
  code: string,
  message: RegExp,
  files: Files = new DiskFiles(),
): Promise<void> {
  const before = listing(directory)
  await assert.rejects(openSmall(files, directory), { code, message })
  assert.deepEqual(listing(directory), before, 'nothing was changed')
  rmSync(directory, { recursive: true })
}

function listing(directory: string): [string, string][] {
  return readdirSync(directory, { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => [name, canRead(join(directory, name)) ? readFileSync(join(directory, name), 'hex') : ''])
}

function canRead(path: string): boolean {
  try {
    readFileSync(path)
    return true
  } catch {
    return false
  }
}

/** Where the records of a segment lie. */
function placesIn(directory: string, name: string): PlacedRecord[] {
  const bytes = readFileSync(join(directory, name))
  const decoded = decodeHeader(bytes)
  assert(decoded.kind === 'header')
  const seed = segmentSeed(decoded.header.identity, decoded.header.generation)
  const places: PlacedRecord[] = []
  for (let at = decoded.bytes, length = 0; ; at += length) {
    length = batchLengthAt(bytes, at, seed, at)
    if (length === 0) return places
    for (let position = at + BATCH_HEADER_BYTES; position < at + length; ) {
      const record = new RecordView(bytes, position)
      const { offset, streamId } = record
      const text = Buffer.from(record.payload).toString('latin1')
      const place = { position, length: record.length, batchPosition: at, batchEnd: at + length }
      places.push({ offset, streamId, text, ...place })
      position += aligned(record.length)
    }
  }
}

/** Reads every stream and everything; nothing comes that was not written, and what does not come is in a gap. */
async function assertNothingSilent(
  log: Log,
  known: readonly Known[],
  mayLose: (one: Known) => boolean,
): Promise<ReadThrough[]> {
  const read: ReadThrough[] = []
  for (const streamId of [...STREAMS, undefined]) {
    const through = await readAll(log, 0, streamId)
    const wanted = known.filter((one) => streamId === undefined || one.streamId === streamId)
    const got = new Map(through.records.map((one) => [one.offset, one]))
    for (const one of wanted) {
      const record = got.get(one.offset)
      if (record !== undefined) assert.deepEqual(record, one)
      else {
        assert(mayLose(one), `${one.text} is readable`)
        const isTold = through.gaps.some(({ after, through: last }) => after < one.offset && one.offset <= last)
        assert(isTold, `${one.text} is told as lost to the reader of ${streamId ?? 'everything'}`)
      }
      got.delete(one.offset)
    }
    assert.equal(got.size, 0, 'nothing is handed out that was not written')
    read.push(through)
  }
  return read
}

function isPlaced(damage: Damage, name: string, position: number): boolean {
  return damage.file === name && damage.position <= position && position < damage.position + Math.max(8, damage.bytes)
}

const one = await makeOriginal(1, 4)
const three = await makeOriginal(3, 4)

for (const hasIndex of [true, false]) {
  const withIndex = hasIndex ? 'with its index' : 'without its index'

  test(`row 18: a bit flipped anywhere in the batches of a sealed segment ${withIndex} is noticed and placed, and all else is readable`, async (t) => {
    const random = new Random()
    t.diagnostic(`seed ${random.seed}`)
    const name = segmentsIn(one.directory)[0]!
    const places = placesIn(one.directory, name)
    const bytes = readFileSync(join(one.directory, name))
    const end = bytes.length - FOOTER_BYTES
    // With the index every byte; without it, which costs a full scan and a new sidecar each time, some.
    for (let at = HEADER_BYTES; at < end; at += hasIndex ? 1 : 1 + random.int(16)) {
      const directory = copyOf(one)
      const changed = Buffer.from(bytes)
      changed[at]! ^= 1 << random.int(8)
      writeFileSync(join(directory, name), changed)
      if (!hasIndex) rmSync(join(directory, indexName(1)))
      await opened(directory, async (log) => {
        const hit = places.find((place) => place.position <= at && at < place.position + place.length)
        const batch = places.filter((place) => place.batchPosition <= at && at < place.batchEnd)
        // By its stream's index a record is verified by itself: the others of its batch are readable.
        for (const streamId of STREAMS) {
          const through = await readAll(log, 0, streamId)
          const lost = hasIndex ? [hit] : batch
          const wanted = one.known.filter((known) => {
            return known.streamId === streamId && !lost.some((place) => place?.offset === known.offset)
          })
          assert.deepEqual(through.records, wanted, `byte ${at}`)
          const concerns = hasIndex ? hit?.streamId === streamId : true
          assert.equal(through.gaps.length, concerns ? 1 : 0, `byte ${at}, stream ${streamId}`)
        }
        await assertNothingSilent(log, one.known, (known) => batch.some((place) => place.offset === known.offset))
        assert(
          log.damages.some((damage) => isPlaced(damage, name, at)),
          `byte ${at}: ${JSON.stringify(log.damages)}`,
        )
      })
    }
  })
}

test('row 18: every bit of one small batch', async () => {
  const small = await makeOriginal(1, 1)
  const name = segmentsIn(small.directory)[0]!
  const bytes = readFileSync(join(small.directory, name))
  const [begin, end] = [bytes.length - FOOTER_BYTES - 80, bytes.length - FOOTER_BYTES]
  for (let bit = begin * 8; bit < end * 8; bit += 1) {
    const directory = copyOf(small)
    const changed = Buffer.from(bytes)
    changed[bit >> 3]! ^= 1 << (bit & 7)
    writeFileSync(join(directory, name), changed)
    await opened(directory, async (log) => {
      await assertNothingSilent(log, small.known, () => true)
      assert(
        log.damages.some((damage) => isPlaced(damage, name, bit >> 3)),
        `bit ${bit}`,
      )
    })
  }
})

test('row 19: each byte of the header of a sealed segment: told, and every record is readable', async () => {
  const name = segmentsIn(three.directory)[1]!
  for (let at = 0; at < HEADER_BYTES; at += 1) {
    const directory = copyOf(three)
    change(directory, name, (bytes) => {
      bytes[at]! ^= 0x10
    })
    await opened(directory, async (log, told) => {
      for (const { gaps } of await assertNothingSilent(log, three.known, () => false)) assert.deepEqual(gaps, [])
      assert(
        told.damages.some((damage) => damage.file === name && damage.position === 0),
        `byte ${at}`,
      )
    })
  }
})

test('row 20: each byte of the footer of a sealed segment: told, and every record is readable', async () => {
  for (const name of [segmentsIn(three.directory)[0]!, segmentsIn(three.directory)[2]!]) {
    const end = readFileSync(join(three.directory, name)).length
    for (let at = end - FOOTER_BYTES; at < end; at += 1) {
      const directory = copyOf(three)
      change(directory, name, (bytes) => {
        bytes[at]! ^= 0x10
      })
      await opened(directory, async (log, told) => {
        await assertNothingSilent(log, three.known, () => false)
        // In the last segment that holds a batch, a torn footer is what a crash leaves: it is cut.
        const isTold = told.damages.some((damage) => isPlaced(damage, name, at)) || told.cuts.includes(name)
        assert(isTold, `byte ${at} of ${name}`)
      })
    }
  }
})

test('row 21: bytes of the index changed: made again where it is in doubt, and the answers are the same', async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  const size = readFileSync(join(three.directory, indexName(2))).length
  for (let round = 0; round < 80; round += 1) {
    const directory = copyOf(three)
    const at = round % 2 === 0 ? random.int(size) : (round % 7) * 4096 + random.int(64)
    change(directory, indexName(2), (bytes) => {
      bytes[at]! ^= 0x10
    })
    const whole = readFileSync(join(three.directory, indexName(2)))
    await opened(directory, async (log, told) => {
      for (const { gaps } of await assertNothingSilent(log, three.known, () => false)) assert.deepEqual(gaps, [])
      for (const known of three.known.filter(({ text }) => text.endsWith('/0'))) {
        assert.equal(await log.findKey(known.streamId, Buffer.from(known.text)), known.offset)
      }
      assert.deepEqual(log.damages, [])
      if (told.rebuilt.length === 0) return
      assert(told.rebuilt.every((name) => name === indexName(2)))
      assert.deepEqual(readFileSync(join(directory, indexName(2))), whole, 'it is as it was')
    })
  }
})

test('row 21: an index that is missing, empty, or that of another segment is made again', async () => {
  const spoil: ((directory: string) => void)[] = [
    (directory) => rmSync(join(directory, indexName(2))),
    (directory) => writeFileSync(join(directory, indexName(2)), ''),
    (directory) => copyFileSync(join(directory, indexName(1)), join(directory, indexName(2))),
  ]
  for (const spoiled of spoil) {
    const directory = copyOf(three)
    spoiled(directory)
    await opened(directory, async (log, told) => {
      await assertNothingSilent(log, three.known, () => false)
      assert.deepEqual(told.rebuilt, [indexName(2)])
      assert.deepEqual(log.damages, [])
    })
  }
})

test('row 23: a record whose length is changed to huge, to zero, or to reach over the end is lost alone', async () => {
  const name = segmentsIn(one.directory)[0]!
  const places = placesIn(one.directory, name)
  const [begin, end] = [places[1]!, places.at(-1)!]
  for (const place of [begin, end]) {
    for (const length of [0, 1, 39, 0xffff_ffff, 2 ** 31, place.length + 1, place.length + 8, 1000]) {
      const directory = copyOf(one)
      change(directory, name, (bytes) => bytes.writeUInt32LE(length, place.position))
      await opened(directory, async (log) => {
        const through = await readAll(log, 0, place.streamId)
        const rest = one.known.filter(({ streamId, offset }) => streamId === place.streamId && offset !== place.offset)
        assert.deepEqual(through.records, rest)
        assert.equal(through.gaps.length, place.streamId === 0 ? 0 : 1)
        await assertNothingSilent(log, one.known, ({ offset }) => {
          return places.some((other) => other.offset === offset && other.batchPosition === place.batchPosition)
        })
        assert(log.damages.some((damage) => isPlaced(damage, name, place.position)))
      })
    }
  }
})

for (const [title, spoil] of [
  ['row 24: two records swapped are both lost, and nothing else', swapRecords],
  ['row 25: a record copied over another: neither of the two is handed out in its place', copyRecord],
] as const) {
  test(title, async () => {
    for (const hasIndex of [true, false]) {
      const directory = copyOf(one)
      const name = segmentsIn(directory)[0]!
      // Of the same length: only their places are wrong.
      const [, first, , second] = placesIn(directory, name) as [PlacedRecord, PlacedRecord, PlacedRecord, PlacedRecord]
      assert.equal(first.length, second.length)
      change(directory, name, (bytes) => spoil(bytes, first, second))
      if (!hasIndex) rmSync(join(directory, indexName(1)))
      await opened(directory, async (log) => {
        const batches = [first.batchPosition, second.batchPosition]
        const spoiled = placesIn(one.directory, name).filter(({ batchPosition }) => batches.includes(batchPosition))
        await assertNothingSilent(log, one.known, ({ offset }) => spoiled.some((place) => place.offset === offset))
        assert(log.damages.some((damage) => isPlaced(damage, name, second.position)))
      })
    }
  })
}

function swapRecords(bytes: Buffer, first: PlacedRecord, second: PlacedRecord): void {
  const kept = Buffer.from(bytes.subarray(first.position, first.position + first.length))
  copyRecord(bytes, second, first)
  kept.copy(bytes, second.position)
}

function copyRecord(bytes: Buffer, from: PlacedRecord, to: PlacedRecord): void {
  bytes.copy(bytes, to.position, from.position, from.position + from.length)
}

test('row 26: a segment copied under the next name is refused, and nothing is changed', async () => {
  const directory = copyOf(three)
  const last = segmentsIn(directory).at(-1)!
  copyFileSync(join(directory, segmentName(1)), join(directory, last))
  await refused(directory, 'STORAGE_FOREIGN', /is a copy of segment-0000000000000001\.log/)
})

test('row 27: a segment of another log is refused, and nothing is changed', async () => {
  const directory = copyOf(three)
  copyFileSync(join(one.directory, segmentName(1)), join(directory, segmentName(99)))
  await refused(directory, 'STORAGE_FOREIGN', /segment-0000000000000099\.log belongs to another log/)
})

for (const [number, title, missing] of [
  [28, 'a segment missing in the middle', 1],
  [29, 'the oldest segment missing', 0],
] as const) {
  test(`${number}: ${title} is told as a gap to every reader that crosses it, and all else is readable`, async () => {
    const directory = copyOf(three)
    const name = segmentsIn(directory)[missing]!
    rmSync(join(directory, name))
    await opened(directory, async (log, told) => {
      const isLost = ({ text }: Known) => text.startsWith(`${missing}/`)
      for (const { gaps } of await assertNothingSilent(log, three.known, isLost)) assert.equal(gaps.length, 1)
      assert(told.damages.some((damage) => damage.file === name && damage.reason === 'the file is missing'))
      const behind = three.known.find(({ text }) => text.startsWith(`${missing + 1}/`))!
      for (const streamId of STREAMS) assert.deepEqual((await readAll(log, behind.offset, streamId)).gaps, [])
    })
  })
}

test('row 30: of two segments that overlap the later one is left aside and told', async () => {
  const directory = copyOf(three)
  // The content of the first one again, sealed for the place behind the last.
  const last = segmentsIn(directory).at(-1)!
  const first = readFileSync(join(directory, segmentName(1)))
  const { header } = decodeHeader(first) as Extract<ReturnType<typeof decodeHeader>, { kind: 'header' }>
  const generation = Number(last.slice(8, 24))
  const forged = resealed(first, { ...header, generation, predecessor: generation - 1 })
  writeFileSync(join(directory, last), forged)
  await opened(directory, async (log, told) => {
    await assertNothingSilent(log, three.known, () => false)
    assert(told.damages.length > 0)
    assert(told.damages.every((damage) => damage.file === last || damage.file === segmentName(generation + 1)))
  })
})

function resealed(bytes: Buffer, header: Parameters<typeof encodeHeader>[0]): Buffer {
  const [from, to] = [decodeHeader(bytes), segmentSeed(header.identity, header.generation)]
  assert(from.kind === 'header')
  const copy = Buffer.from(bytes)
  encodeHeader(header).copy(copy)
  const seed = segmentSeed(from.header.identity, from.header.generation)
  for (let at = HEADER_BYTES; at < bytes.length - FOOTER_BYTES; ) {
    const length = batchLengthAt(bytes, at, seed, at)
    for (let position = at + BATCH_HEADER_BYTES; position < at + length; ) {
      const end = position + copy.readUInt32LE(position)
      copy.writeUInt32LE(placedCrc(copy.subarray(position + 8, end), to, position), position + 4)
      position += aligned(end - position)
    }
    const front = placedCrc(copy.subarray(at, at + 8), to, at)
    copy.writeUInt32LE(continued(copy.subarray(at + 12, at + 56), front), at + 56)
    copy.writeUInt32LE(placedCrc(copy.subarray(at + 12, at + length), to, at), at + 8)
    // The chain goes on with the CRC that this batch has now.
    if (at + length < bytes.length - FOOTER_BYTES) copy.writeUInt32LE(copy.readUInt32LE(at + 8), at + length + 12)
    at += length
  }
  const footerAt = bytes.length - FOOTER_BYTES
  copy.writeUInt32LE(placedCrc(copy.subarray(footerAt + 12), to, footerAt), footerAt + 8)
  return copy
}

function continued(bytes: Buffer, crc: number): number {
  return placedCrc(bytes, crc, 0)
}

test('row 31: bytes behind a footer are told, and every record is readable', async () => {
  for (const garbage of [Buffer.from('x'), Buffer.alloc(100), Buffer.alloc(5000, 0xff)]) {
    for (const name of segmentsIn(three.directory).slice(0, 3)) {
      const directory = copyOf(three)
      const path = join(directory, name)
      const { length } = readFileSync(path)
      writeFileSync(path, Buffer.concat([readFileSync(path), garbage]))
      await opened(directory, async (log, told) => {
        for (const { gaps } of await assertNothingSilent(log, three.known, () => false)) assert.deepEqual(gaps, [])
        assert(
          told.damages.some((damage) => damage.file === name && damage.position === length),
          `${name} ${garbage.length}: ${JSON.stringify(told.damages)}`,
        )
      })
    }
  }
})

for (const [number, title, version] of [
  [32, 'a newer format version', 2],
  [33, 'an older format version', 0],
] as const) {
  test(`${number}: ${title} is refused in words, and nothing is changed`, async () => {
    const directory = copyOf(three)
    change(directory, segmentName(2), (bytes) => {
      bytes.writeUInt32LE(version, 8)
      bytes.writeUInt32LE(continued(bytes.subarray(16, HEADER_BYTES), placedCrc(bytes.subarray(0, 12), 0, 0)), 12)
    })
    await refused(directory, 'STORAGE_NEWER_FORMAT', new RegExp(`has format version ${version}`))
  })
}

test('row 34: a file that is not ours is left alone and told', async () => {
  const directory = copyOf(three)
  writeFileSync(join(directory, 'notes.txt'), 'mine')
  writeFileSync(join(directory, 'notes.txt.tmp'), 'mine')
  mkdirSync(join(directory, 'lost+found'))
  await opened(directory, async (log, told) => {
    await assertNothingSilent(log, three.known, () => false)
    assert.deepEqual([...told.unknown].sort(), ['lost+found', 'notes.txt', 'notes.txt.tmp'])
    assert.equal(readFileSync(join(directory, 'notes.txt'), 'utf8'), 'mine')
    assert(existsSync(join(directory, 'notes.txt.tmp')))
  })
})

test('row 34: a folder with the name of a segment is refused', async () => {
  const directory = copyOf(three)
  mkdirSync(join(directory, segmentName(99)))
  await refused(directory, 'STORAGE_READ', /segment-0000000000000099\.log cannot be opened \(EISDIR\)/)
})

test('row 34: a symbolic link in the place of a segment is refused, also one that leads to the segment', async () => {
  const directory = copyOf(three)
  renameSync(join(directory, segmentName(2)), join(directory, 'elsewhere'))
  symlinkSync('elsewhere', join(directory, segmentName(2)))
  await refused(directory, 'STORAGE_READ', /segment-0000000000000002\.log cannot be opened \(ELOOP\)/)
})

test('row 34: a segment that may not be read is refused with what to do', async () => {
  const directory = copyOf(three)
  chmodSync(join(directory, segmentName(2)), 0)
  // Root may read everything.
  const files = process.getuid?.() === 0 ? new ForbiddingFiles(segmentName(2)) : new DiskFiles()
  await refused(directory, 'STORAGE_PERMISSION', /Let the user that runs the server own it/, files)
})

class ForbiddingFiles extends DiskFiles {
  readonly #name: string

  constructor(name: string) {
    super()
    this.#name = name
  }

  override async open(path: string, mode: 'create' | 'read' | 'update'): Promise<DataFile> {
    if (basename(path) === this.#name) throw systemError('EACCES', 'open', path)
    return await super.open(path, mode)
  }
}

for (const hasIndex of [true, false]) {
  test(`row 88: a damaged range ${hasIndex ? 'with' : 'without'} the index: each reader that it concerns is told once, others are not`, async () => {
    const directory = copyOf(three)
    const name = segmentsIn(directory)[1]!
    const places = placesIn(directory, name).filter(({ streamId }) => streamId !== 0)
    // Three records in a row, of streams 100, 200 and 200 again.
    const hit = places.filter(({ text }) => ['1/0/0', '1/0/1', '1/1/0'].includes(text))
    assert.deepEqual(new Set(hit.map(({ streamId }) => streamId)), new Set([100, 200]))
    change(directory, name, (bytes) => bytes.fill(0, hit[0]!.position, hit[2]!.position + hit[2]!.length))
    if (!hasIndex) rmSync(join(directory, indexName(Number(name.slice(8, 24)))))
    await opened(directory, async (log) => {
      const isHit = ({ offset }: Known) => hit.some((place) => place.offset === offset)
      for (const streamId of STREAMS) {
        const through = await readAll(log, 0, streamId)
        const inBatches = places.filter(({ batchPosition }) =>
          hit.some((place) => place.batchPosition === batchPosition),
        )
        const lost = hasIndex ? hit : inBatches
        assert.deepEqual(
          through.records,
          three.known.filter((one) => one.streamId === streamId && !lost.some(({ offset }) => offset === one.offset)),
        )
        const told = through.gaps.flatMap(({ after: from, through: to }) =>
          three.known.filter((one) => one.streamId === streamId && isHit(one) && from < one.offset && one.offset <= to),
        )
        assert.deepEqual(
          told,
          three.known.filter((one) => one.streamId === streamId && isHit(one)),
        )
        // With the index a stream that lost nothing is told nothing; without it nobody can know which lost something.
        if (hasIndex && streamId === 300) assert.deepEqual(through.gaps, [])
        if (!hasIndex) assert.equal(through.gaps.length, 1)
        // Who stands behind the damage is not concerned, nor is one who reads again told twice by the same cursor.
        const behind = places.find(({ offset }) => offset > inBatches.at(-1)!.offset)!
        assert.deepEqual((await readAll(log, behind.offset - 1, streamId)).gaps, [])
      }
      const everything = await readAll(log)
      assert.equal(everything.gaps.length, 1)
    })
  })
}

function change(directory: string, name: string, spoil: (bytes: Buffer) => void): void {
  const bytes = readFileSync(join(directory, name))
  spoil(bytes)
  writeFileSync(join(directory, name), bytes)
}
