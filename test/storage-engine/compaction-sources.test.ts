import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Arenas } from '../../storage-engine/arenas.ts'
import { BatchBuilder } from '../../storage-engine/batch-builder.ts'
import { DamagedInput, type IsAlive, MergedRecords, sortedRecords } from '../../storage-engine/compaction-sources.ts'
import type { FaultyFiles } from '../../storage-engine/faulty-files.ts'
import { sealBatch, segmentSeed, verifyBatch } from '../../storage-engine/format.ts'
import { Pacer } from '../../storage-engine/pacer.ts'
import { scanSegment, UNKNOWN_CHAIN } from '../../storage-engine/scan.ts'
import { recordsOf, Segment } from '../../storage-engine/segment.ts'
import { Random } from '../support/random.ts'
import { contextOf, folderOf, pathOf } from './written-folder.ts'
import { compacted, IDENTITY, type NumberedRecord, WrittenSegment } from './written-segment.ts'

const FIELDS = { previousCrc: 0, ceiling: 0, syncedGeneration: 0, syncedPosition: 0 }
const OUTPUT = { seed: segmentSeed(IDENTITY, 99), position: 4096 }

/** Short ones, and a few that are longer than a batch of compaction. */
function randomRecord(random: Random): Omit<NumberedRecord, 'offset' | 'timeMs'> {
  const length = random.chance(0.004) ? random.int(300_000) : random.int(700)
  const key = random.chance(0.2) ? { key: random.bytes(random.int(40)) } : {}
  return { streamId: 100 + random.int(30), kind: 1 + random.int(200), payload: random.bytes(length), ...key }
}

function randomSegment(random: Random, generation: number): WrittenSegment {
  const segment = new WrittenSegment(generation, generation * 100_000)
  for (let batch = random.int(6); batch >= 0; batch -= 1) {
    segment.add(Array.from({ length: 1 + random.int(random.pick([3, 700])) }, () => randomRecord(random)))
  }
  segment.seal()
  return segment
}

/** As a log has them when they are sealed; `change` may change the files before. */
async function opened(
  written: readonly WrittenSegment[],
  change: (files: FaultyFiles) => void = () => undefined,
): Promise<Segment[]> {
  const files = await folderOf(written)
  change(files)
  const context = contextOf(files)
  const segments: Segment[] = []
  for (const one of written) {
    const segment = new Segment(context, one.header, one.headerEnd, UNKNOWN_CHAIN)
    const source = {
      seed: one.seed,
      sizeBytes: one.end,
      read: (target: Uint8Array, at: number) => context.openFiles.read(pathOf(one), target, at),
    }
    for await (const item of scanSegment(source, one.headerEnd, UNKNOWN_CHAIN, segment.order)) {
      if (item.kind === 'batch') segment.accept(item.bytes, item.header, item.position)
    }
    segments.push(segment)
  }
  return segments
}

function unpaced(): Pacer {
  return new Pacer(Number.POSITIVE_INFINITY, {
    commitInFlight: () => undefined,
    pressure: () => 1,
    isAwaited: () => true,
  })
}

/** Used again and again, with what is left in it of segments before. */
const arenas = new Arenas()

/** All that is alive, in one batch, as a run of compaction moves it. */
async function movedBatch(segments: readonly Segment[], isAlive: IsAlive): Promise<Buffer> {
  const pacer = unpaced()
  const builder = new BatchBuilder()
  builder.expect(OUTPUT)
  const merged = await MergedRecords.of(segments.map((segment) => sortedRecords(segment, isAlive, pacer, arenas)))
  for (let head = merged.lowest; head !== undefined; head = merged.lowest) {
    const { end } = head
    for (let row = head.at; row < end; row += 1) builder.addMoved(head.rows, row)
    await head.advance(end)
  }
  return builder.seal(OUTPUT.seed, OUTPUT.position, FIELDS).bytes
}

test('what is alive comes by stream and number, each byte and each checksum as if it had been written there', async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  for (let round = 0; round < 8; round += 1) {
    const rolled = [1, 2, 3].map((generation) => randomSegment(random, generation))
    // The first two lie by stream already, in one segment.
    const isCompacted = random.chance(0.5)
    const written = isCompacted ? [compacted(rolled.slice(0, 2), 4), rolled[2]!] : rolled
    const share = random.pick([0, 0.5, 1])
    const dead = new Set(rolled.flatMap(({ records }) => records.filter(() => random.chance(share))))
    const isDead = new Set([...dead].map(({ offset }) => offset))
    const wanted = new BatchBuilder()
    const alive = rolled.flatMap(({ records }) => records.filter((record) => !dead.has(record)))
    for (const record of alive.sort((a, b) => a.streamId - b.streamId || a.offset - b.offset)) {
      wanted.add(record, record.offset, record.timeMs)
    }
    const moved = await movedBatch(await opened(written), (_streamId, offset) => !isDead.has(offset))
    assert.ok(moved.equals(wanted.seal(OUTPUT.seed, OUTPUT.position, FIELDS).bytes), `round ${round}`)
  }
})

test('a record that does not verify, in a batch that does, is damage where it is alive', async () => {
  const random = new Random(1)
  const written = new WrittenSegment(1, 1000)
  const { position } = written.add(Array.from({ length: 600 }, () => randomRecord(random)))
  written.seal()
  const batch = written.bytes.subarray(position, written.batches[0]?.end)
  const records = [...recordsOf(batch, 600)]
  for (const row of [0, 255, 256, 599]) {
    const [at, { offset, length }] = records[row] as (typeof records)[number]
    const [segment] = await opened([written], (files) => {
      files.patch(pathOf(written), position, withBadRecord(batch, at, written.seed, position))
    })
    await assert.rejects(
      movedBatch([segment as Segment], () => true),
      (error) => {
        assert.ok(error instanceof DamagedInput)
        const place = { file: segment?.name, position: position + at, bytes: length }
        assert.deepEqual(error.damage, { ...place, after: offset - 1, through: offset, reason: 'does not verify' })
        return true
      },
    )
    await movedBatch([segment as Segment], (_streamId, number) => number !== offset)
  }
})

/** The batch with a wrong checksum of the record at `at`, and a right one of its own. */
function withBadRecord(batch: Buffer, at: number, seed: number, position: number): Buffer {
  const bad = Buffer.from(batch)
  bad[at + 4] = (bad[at + 4] as number) ^ 1
  const header = verifyBatch(batch, seed, position)
  assert.ok(header !== undefined)
  sealBatch(bad, header, seed, position)
  return bad
}
