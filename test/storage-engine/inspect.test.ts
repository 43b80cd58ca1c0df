/**
 * The inspection of a log that nobody has open. Its verdict must be the one that the next start comes to: both are
 * compared over folders that are spoiled at random. What it adds (every byte, streams concerned) has tests of its own.
 */

import assert from 'node:assert/strict'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { indexName, manifestName, segmentName } from '../../storage-engine/data-directory.ts'
import { DiskFiles } from '../../storage-engine/disk-files.ts'
import { StorageError } from '../../storage-engine/errors.ts'
import type { DataFile, Files } from '../../storage-engine/files.ts'
import { decodeHeader, FOOTER_BYTES, HEADER_BYTES } from '../../storage-engine/format.ts'
import { inspectLog, type LogInspection } from '../../storage-engine/inspect.ts'
import { type Finding, severityOf } from '../../storage-engine/inspect-findings.ts'
import { EVERYTHING, type RecordRange } from '../../storage-engine/inspect-records.ts'
import { UNKNOWN_THROUGH } from '../../storage-engine/loaded-log.ts'
import { encodeManifest, type Manifest } from '../../storage-engine/manifest.ts'
import type { Damage } from '../../storage-engine/observer.ts'
import { Random } from '../support/random.ts'
import { test } from '../support/unwatched.ts'
import { openWithLostFooter } from './lost-footer.ts'
import { type Known, openSmall, readAll, SMALL, Told } from './small-log.ts'
import { knownOf, manifestOf, merged, replacedBy, rolledRow } from './written-folder.ts'
import type { WrittenSegment } from './written-segment.ts'

const STREAMS = [100, 200, 300]
const root = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'sser-inspect-'))
after(() => rmSync(root, { recursive: true }))

/** SSER_SEEDS asks for so many times the usual work. */
const times = Number(process.env['SSER_SEEDS'] ?? 1)

function givenRandom(): Random {
  const seed = process.env['SSER_SEED']
  return seed === undefined ? new Random() : new Random(Number(seed))
}

let folders = 0

function nextFolder(): string {
  folders += 1
  return join(root, String(folders))
}

/** Segments of a few batches each; `isCrashed`: as it lies there while a process writes, without a clean stop. */
async function makeLog(batches: number, isCrashed: boolean): Promise<string> {
  const directory = nextFolder()
  const log = await openSmall(new DiskFiles(), directory, { segmentBytesMax: 2048 })
  for (let batch = 0; batch < batches; batch += 1) {
    await log.appendAll(
      [0, 1].map((i) => {
        const text = `${batch}/${i}`
        return { streamId: STREAMS[(batch + i) % 3]!, kind: 1, key: Buffer.from(text), payload: Buffer.from(text) }
      }),
    )
  }
  if (!isCrashed) {
    await log.close()
    return directory
  }
  const copy = nextFolder()
  cpSync(directory, copy, { recursive: true })
  await log.close()
  return copy
}

function copyOf(directory: string): string {
  const copy = nextFolder()
  cpSync(directory, copy, { recursive: true })
  return copy
}

function change(directory: string, name: string, spoil: (bytes: Buffer) => Buffer | undefined): void {
  const bytes = readFileSync(join(directory, name))
  writeFileSync(join(directory, name), spoil(bytes) ?? bytes)
}

function listing(directory: string): string[] {
  return readdirSync(directory).map((name) => `${name} ${readFileSync(join(directory, name), 'base64')}`)
}

async function inspected<T>(
  directory: string,
  depth: 'outline' | 'full',
  use: (inspection: LogInspection) => T | Promise<T>,
): Promise<T> {
  const before = listing(directory)
  const inspection = await inspectLog(new DiskFiles(), directory, { depth })
  try {
    return await use(inspection)
  } finally {
    await inspection.close()
    assert.deepEqual(listing(directory), before, 'an inspection changes nothing')
  }
}

async function findingsOf(directory: string, depth: 'outline' | 'full' = 'full'): Promise<readonly Finding[]> {
  return await inspected(directory, depth, ({ findings }) => findings)
}

async function recordsOf(inspection: LogInspection, range: Partial<RecordRange> = {}): Promise<Known[]> {
  const records: Known[] = []
  for await (const item of inspection.records({ ...EVERYTHING, ...range })) {
    if (!('record' in item) || item.record.streamId === 0) continue
    const { offset, streamId, payload } = item.record
    records.push({ offset, streamId, text: Buffer.from(payload).toString('latin1') })
  }
  return records
}

function isDamage({ kind }: Finding): boolean {
  return kind === 'damage' || kind === 'missing'
}

const clean = await makeLog(40, false)
const crashed = await makeLog(40, true)
const recovered = await makeRecovered(true)
const cutOff = await makeRecovered(false)
const compacted = await Promise.all(makeCompacted().map(withSidecars))

/**
 * The crashed log after another start, which has copied what was not proven durable, and a second crash; or with that
 * start killed before it sealed the segment that it copied from.
 */
async function makeRecovered(isThrough: boolean): Promise<string> {
  const directory = copyOf(crashed)
  const log = await openSmall(new DiskFiles(), directory, { segmentBytesMax: 2048 })
  if (isThrough) await log.appendAll([{ streamId: 100, kind: 1, payload: Buffer.from('behind') }])
  const copy = copyOf(directory)
  await log.close()
  if (!isThrough) {
    const tail = readdirSync(crashed).findLast((name) => name.endsWith('.log'))!
    const before = readdirSync(crashed).filter((name) => name.endsWith('.log') && !isEmpty(join(crashed, name)))
    for (const name of [tail, before.at(-1)!]) cpSync(join(crashed, name), join(copy, name))
  }
  return copy
}

/** As runs of compaction leave a folder, and as they leave it when they are cut off. */
function makeCompacted(): string[] {
  const row = rolledRow(8)
  const first = merged(row.slice(0, 2), 20)
  const second = merged([first, row[2]!], 21)
  const third = merged(row.slice(4, 6), 22)
  const behind = [...row.slice(3, 4), ...row.slice(6)]
  const cutOff = [...replacedBy(second, [first, row[2]!]), ...replacedBy(third, row.slice(4, 6))]
  return [
    writtenFolder([second, third, ...behind], [manifestOf(4, [second, third])]),
    writtenFolder([second, third, first, row[2]!, row[5]!, ...behind], [manifestOf(3, [second, third], cutOff)]),
    writtenFolder([second, first, row[2]!, third, ...row.slice(3)], [manifestOf(2, [second], cutOff.slice(0, 2))]),
    writtenFolder([merged(row.slice(0, 7), 30), row[7]!], [manifestOf(1, [merged(row.slice(0, 7), 30)])]),
  ]
}

function writtenFolder(segments: readonly WrittenSegment[], manifests: readonly Manifest[]): string {
  const directory = nextFolder()
  mkdirSync(directory)
  for (const segment of segments) writeFileSync(join(directory, segmentName(segment.header.generation)), segment.bytes)
  for (const manifest of manifests) {
    writeFileSync(join(directory, manifestName(manifest.number)), encodeManifest(manifest))
  }
  return directory
}

/** With the sidecars that a start makes. */
async function withSidecars(directory: string): Promise<string> {
  const [started, copy] = [copyOf(directory), copyOf(directory)]
  await (await openSmall(new DiskFiles(), started)).close()
  for (const name of readdirSync(started)) {
    const segment = name.replace('.index', '.log')
    if (name.endsWith('.index') && readdirSync(copy).includes(segment)) cpSync(join(started, name), join(copy, name))
  }
  return copy
}

function isEmpty(path: string): boolean {
  return statSync(path).size <= HEADER_BYTES
}

for (const [title, original, events] of [
  ['that was stopped', clean, 80],
  ['whose process crashed', crashed, 80],
  ['that was recovered, and crashed again', recovered, 81],
  ['whose recovery was cut off', cutOff, 80],
] as const) {
  test(`a log ${title} is whole, and every record of it is read`, async () => {
    for (const depth of ['outline', 'full'] as const) {
      await inspected(original, depth, async (inspection) => {
        const worse = inspection.findings.filter(({ kind }) => severityOf(kind) !== 'note')
        assert.deepEqual(worse, [])
        assert.equal((await recordsOf(inspection)).length, events)
        assert(inspection.ceiling > inspection.segments.reduce((last, segment) => Math.max(last, segment.last), 0))
      })
    }
  })
}

test('a folder that is spoiled at random is judged as the next start judges it', async (t) => {
  const random = givenRandom()
  t.diagnostic(`SSER_SEED=${random.seed}`)
  for (let round = 0; round < 200 * times; round += 1) {
    const directory = copyOf([clean, crashed, recovered, cutOff][random.int(4)]!)
    // Without sidecars a start reads every byte of the segments, as a full inspection does.
    const depth = random.int(2) === 0 ? 'full' : 'outline'
    if (depth === 'full') {
      for (const name of readdirSync(directory)) if (name.endsWith('.index')) rmSync(join(directory, name))
    }
    const deeds = Array.from({ length: 1 + random.int(3) }, () => spoilAtRandom(directory, random))
    await compareWithStart(directory, depth, `round ${round}, ${depth}: ${deeds.join(', ')}`)
    rmSync(directory, { recursive: true })
  }
})

test('a folder with compacted segments that is spoiled at random is judged as the next start judges it', async (t) => {
  const random = givenRandom()
  t.diagnostic(`SSER_SEED=${random.seed}`)
  for (let round = 0; round < 300 * times; round += 1) {
    const which = random.int(compacted.length)
    const directory = copyOf(compacted[which]!)
    const depth = random.int(2) === 0 ? 'full' : 'outline'
    if (depth === 'full') {
      for (const name of readdirSync(directory)) if (name.endsWith('.index')) rmSync(join(directory, name))
    }
    const deeds = Array.from({ length: random.int(4) }, () => spoilAtRandom(directory, random))
    await compareWithStart(
      directory,
      depth,
      `seed ${random.seed}, round ${round}, ${which}, ${depth}: ${deeds.join(', ')}`,
    )
    rmSync(directory, { recursive: true })
  }
})

test('records that only a spoiled sidecar still names are in a gap that a start tells', async () => {
  // Found by seed 3746257620: page 1 of the sidecar and one batch of the segment.
  const directory = copyOf(compacted[3]!)
  for (const [name, at] of [
    [segmentName(30), 2952],
    [indexName(30), 5522],
  ] as const) {
    change(directory, name, (bytes) => {
      bytes[at]! ^= 1
      return undefined
    })
  }
  await compareWithStart(directory, 'outline', '.index deed')
})

test('of two damages of a segment the one with the lower numbers is told as well, whichever was found first', async () => {
  // Found by seed 3289637887: a batch, a page of the sidecar, and the file of the next segment.
  const directory = copyOf(compacted[3]!)
  for (const [name, at] of [
    [segmentName(30), 1201],
    [indexName(30), 11_845],
  ] as const) {
    change(directory, name, (bytes) => {
      bytes[at]! ^= 1
      return undefined
    })
  }
  rmSync(join(directory, segmentName(8)))
  await compareWithStart(directory, 'outline', '.index deed')
})

test('what a compaction left is named, and is no damage', async () => {
  const kinds = await Promise.all(
    compacted.map(async (directory) => (await findingsOf(directory)).map(({ kind, file }) => `${kind} ${file}`)),
  )
  assert.deepEqual(kinds, [
    [],
    [`replaced ${segmentName(3)}`, `replaced ${segmentName(6)}`, `replaced ${segmentName(20)}`],
    [`replaced ${segmentName(3)}`, `replaced ${segmentName(20)}`, `remnant ${segmentName(22)}`],
    [],
  ])
})

test('the records of a compacted segment come by number, and those of a stream alone', async () => {
  for (const directory of compacted) {
    for (const depth of ['outline', 'full'] as const) {
      await inspected(directory, depth, async (inspection) => {
        const all = await recordsOf(inspection)
        assert.deepEqual(all, knownOf(rolledRow(8)))
        const [from, through] = [all[4]!.offset, all[50]!.offset]
        assert.deepEqual(await recordsOf(inspection, { from, through }), all.slice(4, 51))
        const ofStream = all.slice(4, 51).filter(({ streamId }) => streamId === 200)
        assert.deepEqual(await recordsOf(inspection, { from, through, streamId: 200 }), ofStream)
      })
    }
  }
})

function spoilAtRandom(directory: string, random: Random): string {
  const names = readdirSync(directory).filter((name) => /^(segment|manifest)-/.test(name))
  const name = names[random.int(names.length)]!
  const { size } = statSync(join(directory, name))
  const deed = random.int(8)
  if (deed === 0) {
    rmSync(join(directory, name))
    return `${name} removed`
  }
  if (size === 0) return 'nothing'
  const at = random.int(size)
  change(directory, name, (bytes) => {
    if (deed === 1) return bytes.subarray(0, at)
    if (deed === 2) return Buffer.concat([bytes, Buffer.alloc(1 + random.int(200), random.int(2) * 255)])
    if (deed === 3) bytes.fill(0, at, Math.min(size, at + 512))
    else bytes[at]! ^= 1 << random.int(8)
    return undefined
  })
  return `${name} deed ${deed} at ${at}`
}

async function compareWithStart(directory: string, depth: 'outline' | 'full', message: string): Promise<void> {
  const seen = await inspected(directory, depth, async (inspection) => {
    const streams = await Promise.all(STREAMS.map((streamId) => recordsOf(inspection, { streamId })))
    const trusted = inspection.segments.filter(({ index }) => index === 'whole').map(({ file }) => file)
    return { findings: inspection.findings, trusted, streams, all: await recordsOf(inspection) }
  })
  const isRefused = seen.findings.some(({ kind }) => severityOf(kind) === 'refused')
  const told = new CutsTold()
  let log: Awaited<ReturnType<typeof openSmall>>
  try {
    log = await openSmall(new DiskFiles(), directory, { ...SMALL, segmentBytesMax: 2 ** 20 }, told)
  } catch (error) {
    assert(error instanceof StorageError)
    assert(isRefused, `${message}: a start was refused (${error.message})`)
    return
  }
  try {
    assert(!isRefused, `${message}: a start was not refused`)
    const key = (one: Omit<Finding, 'kind' | 'lost' | 'through'> & { readonly through: number | undefined }) => {
      const range = `above ${one.after} to ${one.through ?? UNKNOWN_THROUGH}`
      // Of a missing file the numbers are a guess, which batches that a start copies may change.
      return `${one.file} ${one.position} ${one.bytes} ${one.bytes > 0 ? range : ''}: ${one.reason}`
    }
    // A start reads its own records as well, in segments whose index it trusts otherwise: that is found by reading.
    const isRead = ({ file }: Damage) => seen.trusted.includes(file) && depth === 'outline'
    const found = seen.findings.filter(isDamage).map(key).sort()
    const started = told.damages.filter((damage) => !isRead(damage) || found.includes(key(damage)))
    assert.deepEqual(found, started.map(key).sort(), message)
    const torn = seen.findings.filter(({ kind }) => kind === 'torn-tail')
    assert.deepEqual(
      torn.map(({ file, position, bytes }) => [file, position, bytes]),
      told.tails,
      message,
    )
    // Of a batch that does not verify, a sidecar names the records that do so by themselves. A start that finds a page of
    // it doubtful makes all of it anew, and knows no longer what that batch held: those records lie in a gap that is told.
    const isSidecarSpoiled = message.includes('.index deed')
    for (const [i, streamId] of STREAMS.entries()) {
      const { records, gaps } = await readAll(log, 0, streamId)
      const started = new Set(records.map(({ offset }) => offset))
      const isTold = ({ offset }: Known) => gaps.some(({ after, through }) => offset > after && offset <= through)
      const expected = seen.streams[i]!.filter((one) => started.has(one.offset) || !isSidecarSpoiled || !isTold(one))
      assert.deepEqual(expected, records, `${message}, stream ${streamId}`)
    }
    const every = seen.streams.flat().sort((a, b) => a.offset - b.offset)
    // Where only the pages by number are doubtful, a batch that does not verify is lost to whoever reads by number.
    if (isSidecarSpoiled) return
    assert.deepEqual(seen.all, every, `${message}: what is read at once is what is read by streams`)
  } finally {
    await log.close()
  }
}

class CutsTold extends Told {
  readonly tails: [string, number, number][] = []

  override tailCut(file: string, position?: number, bytes?: number): void {
    this.tails.push([file, position ?? 0, bytes ?? 0])
  }
}

test('a segment that was cut into what its header says was durable is told as a start tells it', async () => {
  const directory = copyOf(crashed)
  const log = await openSmall(new DiskFiles(), directory, { segmentBytesMax: 2048 })
  for (let i = 0; i < 30; i += 1) await log.append({ streamId: 100, kind: 1, payload: Buffer.from(`behind ${i}`) })
  await log.close()
  const cut = readdirSync(directory).find(
    (name) => name.endsWith('.log') && durableEnd(directory, name) > HEADER_BYTES,
  )!
  change(directory, cut, (bytes) => bytes.subarray(0, HEADER_BYTES + 8))
  const short = (await findingsOf(directory)).find(({ reason }) => reason === 'the file is shorter than it was')
  assert.deepEqual([short?.file, short?.position], [cut, HEADER_BYTES + 8])
  await compareWithStart(directory, 'outline', 'cut')
})

function durableEnd(directory: string, name: string): number {
  const decoded = decodeHeader(readFileSync(join(directory, name)))
  return decoded.kind === 'header' ? decoded.header.contentEnd : 0
}

test('a bit flipped anywhere in a sealed segment or its index is found in place', async () => {
  const [segment, index] = [segmentName(2), indexName(2)]
  const directory = copyOf(clean)
  // Few files, since all of them are read for every byte.
  for (const name of readdirSync(directory)) {
    if (!name.includes('0000000002.') && name !== segmentName(1) && name !== segmentName(3))
      rmSync(join(directory, name))
  }
  for (const name of [segment, index]) {
    const whole = readFileSync(join(directory, name))
    for (let at = 0; at < whole.length; at += name === index ? 67 : 3) {
      const spoiled = Buffer.from(whole)
      spoiled[at]! ^= 0x10
      writeFileSync(join(directory, name), spoiled)
      const inspection = await inspectLog(new DiskFiles(), directory, { depth: 'full' })
      await inspection.close()
      const hit = inspection.findings.find(({ file, position, bytes }) => {
        return file === name && position <= at && at < position + Math.max(bytes, 1)
      })
      const kind = name === index ? 'sidecar-damaged' : 'damage'
      assert(hit?.kind === kind, `byte ${at} of ${name}: ${JSON.stringify(inspection.findings)}`)
    }
    writeFileSync(join(directory, name), whole)
  }
})

test('a damaged record is named with its stream and its number, and those beside it are not', async () => {
  const places = await inspected(clean, 'outline', async (inspection) => {
    const all = await recordsOf(inspection)
    const { first, last } = inspection.segments[1]!
    return all.filter(({ offset }) => offset >= first && offset <= last)
  })
  for (const known of places) {
    const directory = copyOf(clean)
    change(directory, segmentName(2), (bytes) => {
      // The payload: key and payload are the same text, and the payload comes last.
      const at = bytes.indexOf(Buffer.from(known.text + known.text)) + known.text.length
      bytes[at]! ^= 1
      return undefined
    })
    const damages = (await findingsOf(directory)).filter(isDamage)
    assert.deepEqual(
      damages.map(({ lost }) => lost),
      [[{ streamId: known.streamId, offset: known.offset }]],
    )
    assert(damages[0]!.after < known.offset && (damages[0]!.through ?? 0) >= known.offset)
    rmSync(directory, { recursive: true })
  }
})

test('without an index nothing is said of the streams that a damage concerns', async () => {
  const directory = copyOf(clean)
  rmSync(join(directory, indexName(2)))
  change(directory, segmentName(2), (bytes) => {
    bytes[HEADER_BYTES + 100]! ^= 1
    return undefined
  })
  const [damage] = (await findingsOf(directory)).filter(isDamage)
  assert.equal(damage?.lost, undefined)
  assert(damage !== undefined && damage.through !== damage.after)
})

test('an index that verifies, and is not what its segment would make, is found', async () => {
  const directory = copyOf(clean)
  // The reserved bytes of a page are in no checksum.
  change(directory, indexName(1), (bytes) => {
    bytes[4095]! ^= 1
    return undefined
  })
  const findings = (await findingsOf(directory)).filter(({ kind }) => severityOf(kind) === 'damage')
  assert.deepEqual(
    findings.map(({ kind, file, position }) => [kind, file, position]),
    [['sidecar-damaged', indexName(1), 0]],
  )
})

test('what is foreign, newer, unknown or unfinished is told, and the rest is judged all the same', async () => {
  const other = await makeLog(3, false)
  const directory = copyOf(clean)
  writeFileSync(join(directory, segmentName(90)), readFileSync(join(other, segmentName(1))))
  writeFileSync(join(directory, segmentName(91)), readFileSync(join(clean, segmentName(1))))
  writeFileSync(join(directory, 'notes.txt'), 'mine')
  writeFileSync(join(directory, `${segmentName(92)}.tmp`), '')
  writeFileSync(join(directory, indexName(93)), '')
  const findings = await findingsOf(directory)
  const told = findings.map(({ kind, file }) => `${kind} ${file}`)
  for (const one of [
    `foreign ${segmentName(90)}`,
    `foreign ${segmentName(91)}`,
    'unknown-file notes.txt',
    `temporary ${segmentName(92)}.tmp`,
    `sidecar-missing ${indexName(93)}`,
  ]) {
    assert(told.includes(one), `${one}: ${told.join(', ')}`)
  }
  assert.equal(findings.filter(isDamage).length, 0)
  await inspected(directory, 'full', async (inspection) => {
    assert.equal((await recordsOf(inspection)).length, 80)
  })
})

test('a log without a single header that verifies is read by the identity that its indexes tell', async () => {
  const directory = copyOf(clean)
  for (const name of readdirSync(directory).filter((one) => one.endsWith('.log'))) {
    change(directory, name, (bytes) => {
      bytes[3]! ^= 1
      return undefined
    })
  }
  await inspected(directory, 'full', async (inspection) => {
    assert(inspection.findings.some(({ kind }) => kind === 'headless'))
    assert.equal((await recordsOf(inspection)).length, 80)
  })
})

test('a range by number, by time or of one stream holds what it says and no more', async () => {
  await inspected(clean, 'outline', async (inspection) => {
    const all = await recordsOf(inspection)
    const [from, through] = [all[7]!.offset, all[61]!.offset]
    assert.deepEqual(await recordsOf(inspection, { from, through }), all.slice(7, 62))
    const ofStream = all.slice(7, 62).filter(({ streamId }) => streamId === 200)
    assert.deepEqual(await recordsOf(inspection, { from, through, streamId: 200 }), ofStream)
    assert.deepEqual(await recordsOf(inspection, { fromMs: SMALL.now!() + 1 }), [])
    assert.deepEqual(await recordsOf(inspection, { throughMs: SMALL.now!() }), all)
  })
})

test('what the disk cannot read is damage with its place, and the rest is read', async () => {
  const files = new DiskFiles()
  const directory = copyOf(clean)
  const broken: Files = {
    open: async (path, mode) => {
      const file = await files.open(path, mode)
      return path.endsWith(segmentName(2)) ? unreadableFrom(file, HEADER_BYTES) : file
    },
    list: (folder) => files.list(folder),
    makeDirectory: () => assert.fail('nothing is changed'),
    rename: () => assert.fail('nothing is changed'),
    remove: () => assert.fail('nothing is changed'),
    syncDirectory: () => assert.fail('nothing is changed'),
  }
  const inspection = await inspectLog(broken, directory, { depth: 'full' })
  const [damage] = inspection.findings.filter(isDamage)
  assert.equal(damage?.file, segmentName(2))
  assert.equal(damage.reason, 'cannot be read')
  const { size } = statSync(join(directory, segmentName(2)))
  assert(damage.position === HEADER_BYTES && damage.bytes >= size - HEADER_BYTES - FOOTER_BYTES)
  assert((await recordsOf(inspection)).length > 40)
  await inspection.close()
})

/** Refuses every read that reaches over the header. */
function unreadableFrom(file: DataFile, end: number): DataFile {
  return {
    path: file.path,
    sizeBytes: file.sizeBytes,
    write: () => assert.fail('nothing is changed'),
    truncate: () => assert.fail('nothing is changed'),
    sync: () => assert.fail('nothing is changed'),
    close: () => file.close(),
    read: async (target, position) => {
      if (position >= end) throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' })
      return await file.read(target, position)
    },
  }
}

test('what was lost with the end of a segment is told among the records, to whoever asks for its numbers', async () => {
  const { files, log, offsets, streamId, damage } = await openWithLostFooter()
  await log.close()
  for (const depth of ['outline', 'full'] as const) {
    const inspection = await inspectLog(files, '/log', { depth })
    const read = async (range: Partial<RecordRange>) => {
      const items: (number | string)[] = []
      for await (const item of inspection.records({ ...EVERYTHING, streamId, ...range })) {
        items.push('record' in item ? item.record.offset : item.damage.reason)
      }
      return items
    }
    const lost = damage.reason
    assert.deepEqual(await read({}), [...offsets.slice(0, 3), lost, ...offsets.slice(3)])
    assert.deepEqual(await read({ from: damage.through }), [lost, ...offsets.slice(3)])
    assert.deepEqual(await read({ from: damage.through + 1 }), offsets.slice(3))
    assert.deepEqual(await read({ through: damage.after }), offsets.slice(0, 3))
    await inspection.close()
  }
})
