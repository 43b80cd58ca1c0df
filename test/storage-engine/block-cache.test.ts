import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BlockCache, type BlockSource } from '../../storage-engine/block-cache.ts'
import { Random } from '../support/random.ts'

const BLOCK_BYTES = 100
let ids = 0

function nextId(): number {
  ids += 1
  return ids
}

/** A file in which each byte is its position, modulo 251; it counts reads, and can hold them back or fail. */
class CountingSource implements BlockSource {
  readonly cacheId = nextId()
  readableBytes: number
  readonly reads: (readonly [position: number, length: number])[] = []
  error: Error | undefined
  gate: Promise<void> | undefined

  constructor(readableBytes: number) {
    this.readableBytes = readableBytes
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    this.reads.push([position, target.length])
    await (this.gate ?? new Promise((resolve) => setImmediate(resolve)))
    if (this.error !== undefined) throw this.error
    for (let i = 0; i < target.length; i += 1) target[i] = (position + i) % 251
    return target.length
  }
}

function expected(position: number, length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => (position + i) % 251))
}

test('any range comes back, whatever the blocks it lies in', async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  const source = new CountingSource(3000)
  const cache = new BlockCache(BLOCK_BYTES, 500)
  for (let round = 0; round < 500; round += 1) {
    const position = random.int(2999)
    const length = 1 + random.int(Math.min(1500, 3000 - position))
    assert.deepEqual(await cache.read(source, position, length), expected(position, length))
    assert(cache.bytes <= 500)
    const peeked = cache.peek(source, position, length)
    if (peeked !== undefined) assert.deepEqual(peeked, expected(position, length))
  }
})

test('a thousand readers at once cost one read of each block', async () => {
  const source = new CountingSource(1000)
  const cache = new BlockCache(BLOCK_BYTES, 1000)
  const readers = Array.from({ length: 1000 }, (_, i) => cache.read(source, 50 + (i % 40), 300))
  for (const [i, read] of readers.entries()) assert.deepEqual(await read, expected(50 + (i % 40), 300))
  assert.deepEqual(source.reads.map(([position]) => position).sort(), [0, 100, 200, 300])
})

test('a thousand readers of one large record at once cost one read, and flush nothing else', async () => {
  const source = new CountingSource(5000)
  const cache = new BlockCache(BLOCK_BYTES, 300)
  await cache.read(source, 4900, 10)
  const readers = Array.from({ length: 1000 }, () => cache.read(source, 7, 4000))
  for (const read of readers) assert.deepEqual(await read, expected(7, 4000))
  assert.deepEqual(source.reads, [
    [4900, 100],
    [7, 4000],
  ])
  assert(cache.peek(source, 4900, 10) !== undefined)
  await cache.read(source, 7, 4000)
  assert.equal(source.reads.length, 3)
})

test('the last block is read again when it has grown, once for all who wait', async () => {
  const source = new CountingSource(130)
  const cache = new BlockCache(BLOCK_BYTES, 1000)
  assert.deepEqual(await cache.read(source, 100, 30), expected(100, 30))
  assert.equal(cache.peek(source, 100, 31), undefined)
  let open = () => {}
  source.gate = new Promise((resolve) => {
    open = resolve
  })
  source.readableBytes = 150
  // Begun while there were 150 bytes; those who want more come while it is being read.
  const early = cache.read(source, 100, 50)
  source.readableBytes = 190
  const late = Array.from({ length: 1000 }, () => cache.read(source, 120, 70))
  open()
  assert.deepEqual(await early, expected(100, 50))
  for (const read of late) assert.deepEqual(await read, expected(120, 70))
  assert.equal(source.reads.length, 3)
  assert.equal(cache.bytes, 90)
})

test('what is kept stays within the bound, and what was used last stays', async () => {
  const source = new CountingSource(100_000)
  const cache = new BlockCache(BLOCK_BYTES, 1000)
  await cache.read(source, 0, 1)
  for (let block = 1; block < 500; block += 1) {
    await cache.read(source, block * BLOCK_BYTES, 1)
    assert(cache.peek(source, 0, 1) !== undefined, 'a block that is asked for all the time')
    assert(cache.bytes <= 1000)
  }
  assert.equal(cache.peek(source, 5 * BLOCK_BYTES, 1), undefined)
  assert(cache.peek(source, 499 * BLOCK_BYTES, 1) !== undefined)
})

test('a failed read is told to all who wait for it, and the next one tries again', async () => {
  const source = new CountingSource(1000)
  const cache = new BlockCache(BLOCK_BYTES, 1000)
  source.error = new Error('EIO')
  const readers = [...Array.from({ length: 10 }, () => cache.read(source, 0, 10)), cache.read(source, 0, 900)]
  for (const result of await Promise.allSettled(readers)) assert.equal(result.status, 'rejected')
  source.error = undefined
  assert.deepEqual(await cache.read(source, 0, 10), expected(0, 10))
  assert.deepEqual(await cache.read(source, 0, 900), expected(0, 900))
})

test('a file that is forgotten gives its room back, and no other file does', async () => {
  const [one, other] = [new CountingSource(1000), new CountingSource(1000)]
  const cache = new BlockCache(BLOCK_BYTES, 2000)
  await cache.read(one, 0, 500)
  await cache.read(other, 0, 300)
  cache.forget(one.cacheId)
  assert.equal(cache.bytes, 300)
  assert.equal(cache.peek(one, 400, 10), undefined)
  assert(cache.peek(other, 200, 10) !== undefined)
  await cache.read(one, 400, 10)
  assert.equal(cache.bytes, 400)
})

test('views stay as they were after their block was pushed out', async () => {
  const source = new CountingSource(10_000)
  const cache = new BlockCache(BLOCK_BYTES, BLOCK_BYTES)
  const view = await cache.read(source, 10, 20)
  for (let block = 1; block < 50; block += 1) await cache.read(source, block * BLOCK_BYTES, 1)
  assert.deepEqual(view, expected(10, 20))
})
