/**
 * The example in docs/log-format.md, read out of the page and decoded byte by byte, so that the page stays true. What it
 * says of widths and bounds is compared with the code as well.
 */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import {
  aligned,
  BATCH_BYTES_LIMIT,
  BATCH_HEADER_BYTES,
  batchLengthAt,
  decodeFooter,
  decodeHeader,
  encodeFooter,
  encodeHeader,
  encodeRecord,
  FOOTER_BYTES,
  HEADER_BYTES,
  RECORD_HEADER_BYTES,
  RecordView,
  rolledHeader,
  sealBatch,
  sealRecord,
  segmentSeed,
  verifyBatch,
  verifyRecord,
} from '../../storage-engine/format.ts'
import { PAGE_BYTES } from '../../storage-engine/index-file.ts'
import { BytesSource, scanned } from './written-segment.ts'

const page = readFileSync(new URL('../../docs/log-format.md', import.meta.url), 'utf8')
const YEAR_MS = Date.UTC(2026, 0, 1)
const BASE = 2 ** 40

interface Line {
  readonly position: number
  readonly bytes: Buffer
  readonly text: string
}

const lines: readonly Line[] = (/```hex\n([\s\S]*?)```/.exec(page)?.[1] ?? '')
  .trimEnd()
  .split('\n')
  .map((line) => {
    const [, position, hex, text] = /^([0-9a-f]{4}) {2}((?:[0-9a-f]{2} )*[0-9a-f]{2})(?: {2,}(.*))?$/.exec(line) ?? []
    assert(position !== undefined && hex !== undefined, `not a line of the example: ${line}`)
    return {
      position: Number.parseInt(position, 16),
      bytes: Buffer.from(hex.replaceAll(' ', ''), 'hex'),
      text: text ?? '',
    }
  })
const example = Buffer.concat(lines.map((line) => line.bytes))

const identity = Uint8Array.from({ length: 16 }, (_, i) => 0xa0 + i)
const seed = segmentSeed(identity, 1)
const header = rolledHeader({
  identity,
  generation: 1,
  predecessor: 0,
  predecessorEnd: 0,
  contentEnd: 128,
  createdMs: YEAR_MS,
})
const records = [
  { streamId: BASE, kind: 1, key: Buffer.from('k-1'), payload: Buffer.from('hello') },
  { streamId: BASE, kind: 1, payload: Buffer.from('good night') },
]

test('the example is whole: its lines follow each other', () => {
  let position = 0
  for (const line of lines) {
    assert.equal(line.position, position)
    position += line.bytes.length
  }
  assert.equal(position, 392)
})

test('the example is decoded to what it says of itself', () => {
  assert.deepEqual(decodeHeader(example), { kind: 'header', header, bytes: HEADER_BYTES })
  const length = batchLengthAt(example, 128, seed, 128)
  assert.equal(length, 168)
  const batch = verifyBatch(example.subarray(128, 128 + length), seed, 128)
  assert.deepEqual(batch, {
    length,
    crc: example.readUInt32LE(0x88),
    previousCrc: 0,
    first: BASE + 1,
    last: BASE + 2,
    ceiling: BASE + 2 ** 20,
    syncedGeneration: 1,
    syncedPosition: 128,
    count: 2,
  })
  let at = 128 + BATCH_HEADER_BYTES
  for (const [i, record] of records.entries()) {
    assert(verifyRecord(example, at, seed, at))
    const view = new RecordView(example, at)
    assert.equal(view.offset, BASE + 1 + i)
    assert.equal(view.streamId, BASE)
    assert.equal(view.timeMs, YEAR_MS + 1000)
    assert.equal(view.kind, 1)
    assert.equal(view.key.toString(), record.key?.toString() ?? '')
    assert.equal(view.payload.toString(), record.payload.toString())
    at += aligned(view.length)
  }
  assert.deepEqual(decodeFooter(example, at, seed, at), {
    lastCrc: example.readUInt32LE(0x88),
    recordCount: 2,
    batchCount: 1,
    first: BASE + 1,
    last: BASE + 2,
    timeMsMin: YEAR_MS + 1000,
    timeMsMax: YEAR_MS + 1000,
    successor: 2,
  })
  assert.equal(at + FOOTER_BYTES, example.length)
})

test('what the example says is encoded to its bytes', () => {
  const batch = Buffer.alloc(168)
  let at = BATCH_HEADER_BYTES
  for (const [i, record] of records.entries()) {
    encodeRecord(batch, at, record, BASE + 1 + i, YEAR_MS + 1000)
    at = sealRecord(batch, at, seed, 128 + at)
  }
  assert.equal(at, batch.length)
  const numbers = { first: BASE + 1, last: BASE + 2, ceiling: BASE + 2 ** 20, count: 2 }
  const fields = { ...numbers, previousCrc: 0, syncedGeneration: 1, syncedPosition: 128 }
  const lastCrc = sealBatch(batch, fields, seed, 128)
  const times = { timeMsMin: YEAR_MS + 1000, timeMsMax: YEAR_MS + 1000 }
  const counts = { recordCount: 2, batchCount: 1, first: BASE + 1, last: BASE + 2 }
  const footer = encodeFooter({ ...counts, ...times, lastCrc, successor: 2 }, seed, 128 + batch.length)
  const encoded = Buffer.concat([encodeHeader(header), batch, footer])
  assert.equal(encoded.toString('hex'), example.toString('hex'))
})

test('the scanner reads the example', async () => {
  const said = await scanned(new BytesSource(example, seed))
  assert.deepEqual(said, [`batch 128 ${BASE + 1}-${BASE + 2}`, 'footer 296'])
})

test('every field of the example begins where the tables of the page say', () => {
  const placeOf = (text: string, from = 0) => {
    const line = lines.find((one) => one.position >= from && one.text.startsWith(text))
    assert(line !== undefined, `no line "${text}"`)
    return line.position
  }
  for (const [section, begin, names] of [
    [
      'Segment header',
      0,
      {
        magic: 'magic',
        version: 'format version',
        identity: 'identity',
        'number of inputs': 'inputs',
        'place, from': 'place, from',
        'place, through': 'place, through',
        '| covered': 'covered',
        '| ceiling': 'ceiling',
      },
    ],
    [
      'Batch',
      0x80,
      {
        '| first': 'first',
        '| ceiling': 'ceiling',
        '| number of records': 'records',
        'CRC of the header': 'CRC of the batch h',
      },
    ],
    ['Record', 0xc0, { length: 'length', number: 'number', stream: 'stream', time: 'time', kind: 'kind' }],
    ['Footer', 0x128, { magic: 'magic', successor: 'successor', earliest: 'earliest', latest: 'latest' }],
  ] as const) {
    const table = new RegExp(`### ${section}\\n[\\s\\S]*?(?=\\n##)`).exec(page)?.[0] ?? ''
    for (const [name, text] of Object.entries(names)) {
      const row = table.split('\n').find((one) => one.startsWith('|') && one.includes(name))
      const offset = Number(row?.split('|')[1])
      assert.equal(placeOf(text, begin), begin + offset, `${section}: ${name}`)
    }
  }
})

test('the widths and bounds that the page names are those of the code', () => {
  assert.equal(HEADER_BYTES, 128)
  assert.equal(BATCH_HEADER_BYTES, 64)
  assert.equal(RECORD_HEADER_BYTES, 40)
  assert.equal(FOOTER_BYTES, 96)
  assert.equal(PAGE_BYTES, 4096)
  for (const said of [
    '128 bytes, and 8 more',
    'header has 64 bytes',
    '40 bytes, then the key',
    '96 bytes, behind',
    '4096',
  ]) {
    assert(page.includes(said), said)
  }
  assert(page.includes(BATCH_BYTES_LIMIT.toLocaleString('en')))
})
