import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  BATCH_BYTES_LIMIT,
  BATCH_HEADER_BYTES,
  BATCH_MAGIC,
  FOOTER_BYTES,
  ORDER_BY_STREAM,
} from '../../storage-engine/format.ts'
import { scanSegment, UNKNOWN_CHAIN } from '../../storage-engine/scan.ts'
import { Random } from '../support/random.ts'
import { BytesSource, compacted, scanned, WrittenSegment } from './written-segment.ts'

const text = (length: number) => ({ streamId: 9, kind: 1, payload: Buffer.alloc(length, 'a') })

function threeBatches(): WrittenSegment {
  const segment = new WrittenSegment()
  for (const length of [10, 2000, 30]) segment.add([text(length), text(5)])
  return segment
}

test('a whole segment is its batches and its footer', async () => {
  const segment = threeBatches()
  segment.seal()
  const [one, two, three] = segment.batches as [never, never, never] as typeof segment.batches
  assert.deepEqual(await scanned(new BytesSource(segment.bytes, segment.seed)), [
    `batch ${one!.position} 1000-1001`,
    `batch ${two!.position} 1002-1003`,
    `batch ${three!.position} 1004-1005`,
    `footer ${three!.end}`,
  ])
})

test('every byte of a segment is told exactly once, wherever a byte is changed', async () => {
  const segment = threeBatches()
  segment.seal()
  const { bytes, seed } = segment
  for (let at = 128; at < bytes.length; at += 1) {
    const changed = Buffer.from(bytes)
    changed[at]! ^= 0x40
    let expected = 128
    let unverified = 0
    for await (const item of scanSegment(new BytesSource(changed, seed), 128, { crc: 0, last: 0 })) {
      assert.equal(item.position, expected)
      if (item.kind === 'batch') expected += item.header.length
      else if (item.kind === 'footer') expected += FOOTER_BYTES
      else {
        assert(item.position <= at && at < item.end, `byte ${at} is in ${item.position}-${item.end}`)
        unverified += 1
        expected = item.end
      }
    }
    assert.equal(expected, bytes.length)
    assert.equal(unverified, 1, `byte ${at}`)
  }
})

test('a segment cut anywhere gives the batches before the cut', async () => {
  const segment = threeBatches()
  const { bytes, seed } = segment
  for (let end = 128; end <= bytes.length; end += 1) {
    const said = await scanned(new BytesSource(bytes.subarray(0, end), seed))
    const whole = segment.batches.filter((batch) => batch.end <= end)
    const begin = whole.at(-1)?.end ?? 128
    const torn = begin < end ? [`${begin}-${end} does not verify`] : []
    assert.deepEqual(said, [...whole.map((batch) => `batch ${batch.position} ${batch.first}-${batch.last}`), ...torn])
  }
})

test('a batch that is not chained to the one before it does not count', async () => {
  const segment = threeBatches()
  const [one] = segment.batches
  const source = new BytesSource(segment.bytes, segment.seed)
  assert.match((await scanned(source, 128, { crc: 1, last: 0 }))[0]!, /does not verify/)
  assert.match((await scanned(source, 128, UNKNOWN_CHAIN))[0]!, /^batch/)
  // Its number is not above that of the batch before.
  assert.match((await scanned(source, 128, { crc: 0, last: one!.first }))[0]!, /does not verify/)
  assert.match((await scanned(source, 128, { crc: 0, last: one!.first - 1 }))[0]!, /^batch/)
})

test('batches that lie by stream need not ascend, but all lie above what is before the segment', async () => {
  const rolled = new WrittenSegment()
  for (let i = 0; i < 6; i += 1) rolled.add([{ ...text(10), streamId: 9 - (i % 3) }])
  const segment = compacted([rolled], 2, () => false, 2)
  const source = new BytesSource(segment.bytes, segment.seed)
  const [one, two, three] = segment.batches
  const lines = [
    `batch ${one!.position} 1002-1005`,
    `batch ${two!.position} 1001-1004`,
    `batch ${three!.position} 1000-1003`,
    `footer ${three!.end}`,
  ]
  assert.deepEqual(await scanned(source, segment.headerEnd, { crc: 0, last: 999 }, ORDER_BY_STREAM), lines)
  // By number the first batch would be the only one.
  assert.equal((await scanned(source, segment.headerEnd, { crc: 0, last: 999 })).length, 3)
  assert.deepEqual(await scanned(source, segment.headerEnd, { crc: 0, last: 1000 }, ORDER_BY_STREAM), [
    lines[0],
    lines[1],
    `${three!.position}-${three!.end} does not verify`,
    lines[3],
  ])
  // The chain of a segment that lies by stream is its own.
  assert.match((await scanned(source, segment.headerEnd, { crc: 7, last: 0 }, ORDER_BY_STREAM))[0]!, /does not verify/)
})

test('65, 81: a message that holds headers, batches and footers of this log is a message', async () => {
  const inner = threeBatches()
  inner.seal()
  const outer = new WrittenSegment(1, 5000)
  outer.add([text(1)])
  outer.add([{ streamId: 9, kind: 1, payload: inner.bytes }])
  outer.add([text(2)])
  outer.seal()
  const clean = await scanned(new BytesSource(outer.bytes, outer.seed))
  assert.equal(clean.length, 4)
  // Also where the batch around them is damaged, so that the search goes through the message.
  const changed = outer.bytes
  changed[outer.batches[1]!.position + 20]! ^= 1
  const said = await scanned(new BytesSource(changed, outer.seed))
  const [one, two, three] = outer.batches
  assert.deepEqual(said, [
    `batch ${one!.position} 5000-5000`,
    `${two!.position}-${two!.end} does not verify`,
    `batch ${three!.position} 5002-5002`,
    `footer ${three!.end}`,
  ])
})

test('a search through a million forged batch headers reads each byte but a few times', async () => {
  const forged = Buffer.alloc(8 * 2 ** 20)
  for (let at = 0; at < forged.length; at += 8) {
    forged.writeUInt32LE(BATCH_MAGIC, at)
    forged.writeUInt32LE(BATCH_BYTES_LIMIT, at + 4)
  }
  const segment = new WrittenSegment()
  segment.add([{ streamId: 1, kind: 1, payload: forged }])
  segment.add([text(3)])
  const { bytes, seed } = segment
  bytes[segment.batches[0]!.position]! ^= 1
  const source = new BytesSource(bytes, seed)
  const said = await scanned(source)
  assert.deepEqual(said, [
    `128-${segment.batches[1]!.position} does not verify`,
    `batch ${segment.batches[1]!.position} 1001-1001`,
  ])
  assert(source.bytesRead < 3 * bytes.length, `${source.bytesRead} bytes read of ${bytes.length}`)
  assert(source.largestRead <= 2 ** 20, `${source.largestRead} bytes in one read`)
})

test('row 23: a batch that claims a huge length makes the reader allocate no more than its window', async () => {
  const segment = threeBatches()
  const { bytes, seed } = segment
  for (const length of [0, 8, 63, 64, 72, bytes.length, BATCH_BYTES_LIMIT, 0xffff_fff8]) {
    const changed = Buffer.from(bytes)
    changed.writeUInt32LE(length, segment.batches[1]!.position + 4)
    const source = new BytesSource(changed, seed)
    const said = await scanned(source)
    const [one, two, three] = segment.batches
    assert.deepEqual(said, [
      `batch ${one!.position} 1000-1001`,
      `${two!.position}-${two!.end} does not verify`,
      `batch ${three!.position} 1004-1005`,
    ])
    assert(source.largestRead <= 2 ** 20)
  }
})

test('row 40: behind blocks that the disk cannot read, and between two of them, everything else is found', async () => {
  const segment = new WrittenSegment()
  for (let i = 0; i < 200; i += 1) segment.add([text(1000)])
  segment.seal()
  const { bytes, seed, batches } = segment
  const bad = [5, 6, 30]
  const refuse = (begin: number, end: number) => bad.some((block) => begin < (block + 1) * 4096 && end > block * 4096)
  const source = new BytesSource(bytes, seed, refuse)
  const said = await scanned(source)
  const readable = batches.filter((batch) => !refuse(batch.position, batch.end))
  assert.deepEqual(
    said.filter((line) => line.startsWith('batch')),
    readable.map((batch) => `batch ${batch.position} ${batch.first}-${batch.last}`),
  )
  assert.equal(said.filter((line) => line.endsWith('cannot be read')).length, 2)
  assert.match(said.at(-1)!, /^footer/)
})

test('a file that ends before its known size is unverified from there', async () => {
  const segment = threeBatches()
  const whole = new BytesSource(segment.bytes, segment.seed)
  const source = {
    seed: segment.seed,
    sizeBytes: segment.bytes.length + 9_000,
    read: (target: Uint8Array, position: number) =>
      position >= whole.sizeBytes ? Promise.resolve(0) : whole.read(target, position),
  }
  const said = await scanned(source)
  assert.equal(said.length, 4)
  assert.equal(said[3], `${segment.end}-${source.sizeBytes} does not verify`)
})

test('a batch larger than the window, and one on its edge, are found whole', async () => {
  const segment = new WrittenSegment()
  segment.add([text(2 ** 20 - 128 - BATCH_HEADER_BYTES - 40 - 8)])
  segment.add([text(3 * 2 ** 20)])
  segment.add([text(1)])
  segment.seal()
  assert.equal((await scanned(new BytesSource(segment.bytes, segment.seed))).length, 4)
})

test('random damage never yields a batch that was not written, nor an error', async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  for (let round = 0; round < 200; round += 1) {
    const segment = new WrittenSegment()
    for (let i = 1 + random.int(8); i > 0; i -= 1) segment.add([text(random.int(300))])
    if (random.chance(0.5)) segment.seal()
    const { bytes, seed } = segment
    for (let i = random.int(4); i > 0; i -= 1) {
      const at = 128 + random.int(bytes.length - 128)
      const length = Math.min(random.int(600), bytes.length - at)
      if (random.chance(0.3)) bytes.fill(0, at, at + length)
      else if (random.chance(0.5)) bytes.set(random.bytes(length), at)
      else bytes.copyWithin(at, 128 + 8 * random.int(20), 128 + 8 * random.int(20) + length)
    }
    const written = new Map(segment.batches.map((batch) => [batch.position, batch]))
    for await (const item of scanSegment(new BytesSource(bytes, seed), 128, { crc: 0, last: 0 })) {
      if (item.kind === 'batch') assert.equal(item.header.crc, written.get(item.position)?.crc)
    }
  }
})
