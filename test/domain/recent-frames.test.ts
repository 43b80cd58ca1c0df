import assert from 'node:assert/strict'
import { test } from 'node:test'
import { shareBytes } from '../../src/domain/frame-builder.ts'
import { type Piece, RecentFrames, type ReplayStep } from '../../src/domain/recent-frames.ts'
import { Random } from '../support/random.ts'

const STREAM = 7

function piece(after: number, events: readonly number[], through: number): Piece {
  const bytes = shareBytes(Buffer.from(`${events.join(',')};`))
  return { after, first: events[0]!, last: events.at(-1)!, through, bytes, events: events.length }
}

function textOf(found: Piece | undefined): string | undefined {
  return found === undefined ? undefined : Buffer.from(found.bytes.plain).toString()
}

test('a piece suits who stands anywhere between its beginning and its first event, and nobody else', () => {
  const frames = new RecentFrames(1e6)
  frames.addLive(STREAM, piece(10, [15, 17], 20))
  assert.deepEqual(
    [9, 10, 14, 15, 17, 20, 21].map((position) => textOf(frames.find(STREAM, position))),
    [undefined, '15,17;', '15,17;', undefined, undefined, undefined, undefined],
  )
  assert.equal(frames.find(STREAM + 1, 10), undefined)
})

test('of two pieces with the same first event the one that reaches further back is kept', () => {
  const frames = new RecentFrames(1e6)
  frames.addLive(STREAM, piece(14, [15], 16))
  frames.addLive(STREAM, piece(10, [15, 17], 20))
  frames.addLive(STREAM, piece(12, [15], 16))
  assert.equal(textOf(frames.find(STREAM, 11)), '15,17;')
  assert.equal(textOf(frames.find(STREAM, 14)), '15,17;')
})

test('whatever was added and forgotten, a reader gets exactly the next events, or has to read the log', async () => {
  const random = new Random()
  let hits = 0
  for (let round = 0; round < 30; round++) {
    const frames = new RecentFrames(random.pick([5_000, 20_000, 1e6]))
    const events = Array.from({ length: 200 }, (_, i) => 3 * i + 1 + random.int(3))
    const end = 700
    for (let step = 0; step < 300; step++) {
      const after = random.int(end)
      const next = events.findIndex((number) => number > after)
      if (next === -1) continue
      const taken = events.slice(next, next + 1 + random.int(5))
      const following = events[next + taken.length] ?? end
      const through = taken.at(-1)! + random.int(following - taken.at(-1)!)
      if (random.chance(0.5)) frames.addLive(STREAM, piece(after, taken, through))
      else {
        const fact = piece(after, taken, through)
        await frames.load(STREAM, after, async (): Promise<ReplayStep> => ({ kind: 'piece', piece: fact, through }))
      }
      const position = random.int(end)
      const found = frames.find(STREAM, position)
      if (found === undefined) continue
      hits++
      const expected = events.filter((number) => number > position && number <= found.through)
      assert.equal(textOf(found), `${expected.join(',')};`, `seed ${random.seed}, at ${position}`)
    }
  }
  assert.ok(hits > 300, `${hits} hits, seed ${random.seed}`)
})

test('the bytes that are kept are bounded, the oldest go first, and a dropped topic gives its bytes back', () => {
  const frames = new RecentFrames(20_000)
  for (let i = 1; i <= 1000; i++) {
    frames.addLive(i % 10, piece(i - 1, [i], i))
    assert.ok(frames.bytes <= 20_000)
  }
  assert.equal(frames.find(1, 0), undefined)
  assert.equal(textOf(frames.find(0, 999)), '1000;')
  for (let stream = 0; stream < 10; stream++) frames.drop(stream)
  assert.equal(frames.bytes, 0)
  for (let i = 1; i <= 10_000; i++) {
    frames.addLive(i, piece(0, [1], 1))
    frames.drop(i)
  }
  assert.equal(frames.bytes, 0)
  frames.addLive(1, { ...piece(0, [1], 1), bytes: shareBytes(new Uint8Array(30_000)) })
  assert.equal(frames.bytes, 0, 'what is larger than the bound is not kept')
})

test('a long replay does not push out what live subscribers got', async () => {
  const frames = new RecentFrames(20_000)
  frames.addLive(1, piece(0, [1], 1))
  for (let i = 2; i < 500; i++) {
    await frames.load(
      2,
      i - 1,
      async (): Promise<ReplayStep> => ({ kind: 'piece', piece: piece(i - 1, [i], i), through: i }),
    )
  }
  assert.equal(textOf(frames.find(1, 0)), '1;')
})

test('those who want the same step at the same time read it once, and fail together', async () => {
  const frames = new RecentFrames(0)
  let reads = 0
  const read = async (): Promise<ReplayStep> => {
    reads++
    await new Promise(setImmediate)
    return { kind: 'nothing', through: 9 }
  }
  const steps = await Promise.all(Array.from({ length: 100 }, () => frames.load(STREAM, 5, read)))
  assert.equal(reads, 1)
  assert.ok(steps.every((step) => step === steps[0]))
  await frames.load(STREAM, 5, read)
  assert.equal(reads, 2, 'and what was found once is not taken for true later')
  const fail = async (): Promise<ReplayStep> => Promise.reject(new Error('unreadable'))
  const failed = await Promise.allSettled([1, 2].map(() => frames.load(STREAM, 6, fail)))
  assert.ok(failed.every(({ status }) => status === 'rejected'))
  assert.equal((await frames.load(STREAM, 6, read)).kind, 'nothing')
})
