/** Publishing what may be sent again: a repeat is answered as the first one was, and publishes nothing. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { EntryError } from '../../src/domain/entry.ts'
import type { DomainError } from '../../src/domain/errors.ts'
import type { EventInput, Hub, Topic } from '../../src/domain/hub.ts'
import { type AnswerRun, decodePublishKeys, encodePublishKeys } from '../../src/domain/publish-key-entry.ts'
import { numbersOf, PublishWindow, runsOf } from '../../src/domain/publish-window.ts'
import { FaultyFiles } from '../../storage-engine/faulty-files.ts'
import { StorageError } from '../../storage-engine/index.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { eventOf, openHub } from '../support/hub-events.ts'
import { fakeWorld, type HubWorld, realWorld } from '../support/hub-worlds.ts'
import { Random } from '../support/random.ts'

function keyed(key: string, body = 'body') {
  return { request: { key, body: Buffer.from(body) } }
}

function withKey(message: string, dedupe: string): EventInput {
  return { ...eventOf(message), dedupe: Buffer.from(dedupe) }
}

const isReused = (error: DomainError) => error.code === 'KEY_REUSED'

async function messagesOf(hub: Hub, topic: Topic): Promise<readonly string[]> {
  const messages: string[] = []
  for await (const items of hub.historyForward(topic, { after: 0, live: false, gap: undefined })) {
    for (const item of items) if ('json' in item) messages.push(JSON.parse(item.json).message)
  }
  return messages
}

for (const persist of [true, false]) {
  const kind = persist ? 'durable' : 'in memory'

  test(`${kind}: a request that comes again with its key is answered as before, and publishes nothing`, async () => {
    const world = await realWorld()
    const hub = await openHub(world)
    const { topic } = await hub.createTopic({ persist })
    const { topic: other } = await hub.createTopic({ persist })
    const first = await hub.publish(topic, eventOf('1'), keyed('a'))
    assert.equal(await hub.publish(topic, eventOf('1'), keyed('a')), first)
    const all = await hub.publishAll(topic, [eventOf('2'), eventOf('3')], keyed('b'))
    await hub.publish(topic, eventOf('4'))
    assert.deepEqual(await hub.publishAll(topic, [eventOf('2'), eventOf('3')], keyed('b')), all)
    assert.notEqual(await hub.publish(other, eventOf('1'), keyed('a')), first)
    assert.deepEqual(await messagesOf(hub, topic), ['1', '2', '3', '4'])
    assert.equal(hub.figures().message_received, 5)
    await hub.close()
    await world.close()
  })

  test(`${kind}: a key that comes with another body is refused, and the first answer stays`, async () => {
    const world = await realWorld()
    const hub = await openHub(world)
    const { topic } = await hub.createTopic({ persist })
    const first = hub.publish(topic, eventOf('1'), keyed('a'))
    await assert.rejects(hub.publish(topic, eventOf('2'), keyed('a', 'other')), isReused)
    const number = await first
    await assert.rejects(hub.publish(topic, eventOf('2'), keyed('a', 'other')), isReused)
    assert.equal(await hub.publish(topic, eventOf('1'), keyed('a')), number)
    assert.deepEqual(await messagesOf(hub, topic), ['1'])
    await hub.close()
    await world.close()
  })

  test(`${kind}: of requests with one key that come at once one publishes, and the others wait for it`, async () => {
    const world = fakeWorld({ commits: 'manual' })
    const hub = await openHub(world)
    const log = persist ? world.durable : world.memory
    const creating = hub.createTopic({ persist })
    await nextTurn()
    world.durable.commit()
    const { topic } = await creating
    const answers = Array.from({ length: 5 }, () => hub.publish(topic, eventOf('x'), keyed('a')))
    const deduped = Array.from({ length: 5 }, () => hub.publish(topic, withKey('y', 'k')))
    await nextTurn()
    log.commit()
    assert.equal(new Set(await Promise.all(answers)).size, 1)
    assert.equal(new Set(await Promise.all(deduped)).size, 1)
    assert.deepEqual(await messagesOf(hub, topic), ['x', 'y'])
    await hub.close()
  })

  test(`${kind}: what failed is not remembered, and one that waited for it goes on in its place`, async () => {
    const world = fakeWorld()
    const hub = await openHub(world)
    const log = persist ? world.durable : world.memory
    const { topic } = await hub.createTopic({ persist })
    log.refusal = new StorageError('STORAGE_FULL', 'full')
    const failing = assert.rejects(hub.publish(topic, withKey('x', 'k'), keyed('a')), /no room/)
    const waiting = hub.publish(topic, withKey('x', 'k'), keyed('a'))
    await failing
    const number = await waiting
    assert.equal(await hub.publish(topic, withKey('x', 'k'), keyed('a')), number)
    assert.deepEqual(await messagesOf(hub, topic), ['x'])
    await hub.close()
  })

  test(`${kind}: of events with one key only the first is published, whatever request it comes with`, async () => {
    const world = await realWorld()
    const hub = await openHub(world)
    const { topic } = await hub.createTopic({ persist })
    const first = await hub.publish(topic, withKey('a', 'one'))
    const batch = [withKey('a', 'one'), withKey('b', 'two'), eventOf('c'), withKey('b again', 'two'), eventOf('d')]
    const [again, b, c, twin, d] = await hub.publishAll(topic, batch, keyed('request'))
    assert.deepEqual([again, twin], [first, b])
    assert.ok((b as number) < (c as number) && (c as number) < (d as number))
    assert.deepEqual(await hub.publishAll(topic, batch, keyed('request')), [first, b, c, b, d])
    assert.deepEqual(await hub.publishAll(topic, [withKey('x', 'two'), withKey('y', 'one')]), [b, first])
    // Also a request of which nothing is new has an answer of its own.
    assert.equal(await hub.publish(topic, withKey('x', 'two'), keyed('nothing new')), b)
    await assert.rejects(hub.publish(topic, eventOf('z'), keyed('nothing new', 'other')), isReused)
    assert.deepEqual(await messagesOf(hub, topic), ['a', 'b', 'c', 'd'])
    await hub.close()
    await world.close()
  })

  test(`${kind}: a repeat of a request on a condition is answered, though the condition holds no more`, async () => {
    const world = await realWorld()
    const hub = await openHub(world)
    const { topic } = await hub.createTopic({ persist })
    const conditions = { expectedLast: 0, ...keyed('a') }
    const number = await hub.publish(topic, eventOf('1'), conditions)
    assert.equal(await hub.publish(topic, eventOf('1'), conditions), number)
    const failing = hub.publish(topic, eventOf('2'), { expectedLast: 0, ...keyed('b') })
    await assert.rejects(failing, (error: DomainError) => error.code === 'CONFLICT')
    assert.ok((await hub.publish(topic, eventOf('2'), keyed('b', 'another body'))) > number)
    await hub.close()
    await world.close()
  })
}

test('a key is forgotten when its time is over, and when there are too many, the oldest first', async () => {
  const clock = new FakeClock()
  const world = fakeWorld()
  const hub = await openHub(world, { clock, options: { idempotencyWindowMs: 1000, idempotencyKeysMax: 3 } })
  const { topic } = await hub.createTopic({ persist: true })
  const first = await hub.publish(topic, eventOf('x'), keyed('a'))
  clock.advance(999)
  assert.equal(await hub.publish(topic, eventOf('x'), keyed('a')), first)
  clock.advance(1)
  const second = await hub.publish(topic, eventOf('x'), keyed('a', 'another body'))
  assert.notEqual(second, first)
  for (const key of ['b', 'c']) await hub.publish(topic, eventOf('x'), keyed(key))
  assert.equal(await hub.publish(topic, eventOf('x'), keyed('a', 'another body')), second)
  await hub.publish(topic, eventOf('x'), keyed('d'))
  assert.notEqual(await hub.publish(topic, eventOf('x'), keyed('a', 'another body')), second)
  await hub.close()
})

test('the window is bounded, whatever it is given', () => {
  let nowMs = 0
  const window = new PublishWindow(() => nowMs, 100, 10)
  for (let n = 0; n < 1000; n += 1) {
    window.remember(`event ${n}`, n)
    assert.ok(window.size <= 10)
  }
  // An answer from many places is as heavy as they are.
  window.remember('request', { body: '', numbers: runsOf([1, 3, 5, 7, 9, 11]) })
  assert.equal(window.size, 5)
  window.remember('event 999', 5)
  assert.deepEqual([window.size, window.find('event 999'), window.find('event 995')], [5, 5, undefined])
  nowMs = 100
  assert.equal(window.find('event 999'), undefined)
  window.remember('later', 1)
  assert.equal(window.size, 1)
})

test('runs of numbers are the numbers', () => {
  for (const numbers of [[], [5], [5, 6, 7], [5, 7, 8, 2, 2, 3]]) assert.deepEqual(numbersOf(runsOf(numbers)), numbers)
})

/** Every way in which a world can come to its next start. */
const nextStarts = {
  crash: (world: HubWorld) => world.restart(),
  'crash, and no checkpoint': async (world: HubWorld) => world.restart(),
}

for (const [how, restart] of Object.entries(nextStarts)) {
  test(`the window outlives a start: after a ${how}`, async () => {
    let world: HubWorld = await realWorld()
    let hub = await openHub(world, { clock: realClock() })
    const { topic } = await hub.createTopic({ persist: true })
    const one = await hub.publish(topic, withKey('a', 'one'), keyed('first'))
    const batch = [withKey('a', 'one'), eventOf('b'), withKey('c', 'three'), eventOf('d')]
    const all = await hub.publishAll(topic, batch, keyed('second'))
    if (how === 'crash') await hub.checkpoint()
    const alone = await hub.publish(topic, withKey('e', 'five'))
    for (let round = 0; round < 3; round += 1) {
      await hub.close()
      world = await restart(world)
      hub = await openHub(world, { clock: realClock() })
      const again = hub.topic(topic.id) as Topic
      assert.equal(await hub.publish(again, withKey('a', 'one'), keyed('first')), one)
      assert.deepEqual(await hub.publishAll(again, batch, keyed('second')), all)
      assert.deepEqual(await hub.publishAll(again, [withKey('c', 'three'), withKey('e', 'five')]), [all[2], alone])
      await assert.rejects(hub.publish(again, eventOf('x'), keyed('first', 'other')), isReused)
      assert.deepEqual(await messagesOf(hub, again), ['a', 'b', 'c', 'd', 'e'])
    }
    await hub.close()
    await world.close()
  })
}

function realClock() {
  return {
    wallMs: () => Date.now(),
    monotonicMs: () => performance.now(),
    every: () => ({ close() {} }),
  }
}

test('after a start a key has the rest of its time, also where the clock was set back', async () => {
  const clock = new FakeClock()
  const options = { idempotencyWindowMs: 1000 }
  const world = fakeWorld({ now: () => clock.wallMs() })
  const hub = await openHub(world, { clock, options })
  const { topic } = await hub.createTopic({ persist: true })
  const number = await hub.publish(topic, eventOf('x'), keyed('a'))
  await hub.close()
  for (const [restMs, setBackMs] of [
    [400, 0],
    [1000, 3_600_000],
  ] as const) {
    const later = new FakeClock()
    if (setBackMs === 0) later.advance(1000 - restMs)
    else later.setBack(setBackMs)
    const next = await openHub(await world.restart(), { clock: later, options })
    const again = next.topic(topic.id) as Topic
    later.advance(restMs - 1)
    assert.equal(await next.publish(again, eventOf('x'), keyed('a')), number)
    later.advance(1)
    assert.notEqual(await next.publish(again, eventOf('x'), keyed('a')), number)
    await next.close()
  }
})

test('after a start the keys of a topic that is gone take no place from others', async () => {
  const clock = new FakeClock()
  const options = { idempotencyKeysMax: 2 }
  const world = fakeWorld({ now: () => clock.wallMs() })
  const hub = await openHub(world, { clock, options })
  const { topic } = await hub.createTopic({ persist: true })
  const { topic: gone } = await hub.createTopic({ persist: true })
  const number = await hub.publish(topic, eventOf('x'), keyed('a'))
  for (const key of ['b', 'c']) await hub.publish(gone, eventOf('y'), keyed(key))
  await hub.deleteTopic(gone.id)
  await hub.close()
  const next = await openHub(await world.restart(), { clock, options })
  assert.equal(await next.publish(next.topic(topic.id) as Topic, eventOf('x'), keyed('a')), number)
  await next.close()
})

test('compaction takes the keys that are too old, and leaves the others', async () => {
  let nowMs = Date.now()
  const clock = { ...realClock(), wallMs: () => nowMs }
  const options = { idempotencyWindowMs: 60_000 }
  let world = await realWorld(undefined, undefined, () => nowMs, { segmentBytesMax: 1500 })
  let hub = await openHub(world, { clock, options })
  const { topic } = await hub.createTopic({ persist: true })
  for (let n = 0; n < 20; n += 1) await hub.publish(topic, eventOf('old'), keyed(`old ${n}`))
  nowMs += 60_001
  const numbers: number[] = []
  for (let n = 0; n < 20; n += 1) numbers.push(await hub.publish(topic, eventOf('new'), keyed(`new ${n}`)))
  const { judge } = hub
  assert.ok(judge !== undefined)
  const before = world.durable.statistics().records
  world.durable.startCompaction({ judge, bytesPerSecondMax: 2 ** 40, deadShareMin: 0.01, intervalMs: 2 ** 30 })
  await world.durable.compact()
  assert.ok(world.durable.statistics().records <= before - 15, 'old keys are gone')
  await hub.close()
  world = await world.restart()
  hub = await openHub(world, { clock, options })
  const again = hub.topic(topic.id) as Topic
  for (const [n, number] of numbers.entries()) {
    assert.equal(await hub.publish(again, eventOf('new'), keyed(`new ${n}`)), number)
  }
  assert.notEqual(await hub.publish(again, eventOf('old'), keyed('old 0', 'another body')), numbers[0])
  await hub.close()
  await world.close()
})

test('whatever a crash takes, publishers that repeat what they are not sure of have each event once', async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  let unsure = 0
  for (let run = 0; run < 30; run += 1) {
    // What a disk is asked takes some turns, so that the power can go in its middle.
    const files = new FaultyFiles({ pause: () => nextTurn() })
    let world = await realWorld(random, files, Date.now, { segmentBytesMax: 4096 })
    let hub = await openHub(world, { clock: realClock() })
    const { topic } = await hub.createTopic({ persist: true })
    const acknowledged = new Map<number, readonly number[]>()
    const messages = Array.from({ length: 40 }, (_, n) => [`${n} a`, `${n} b`].slice(0, 1 + (n % 2)))
    const send = async (of: Hub, n: number): Promise<void> => {
      const events = (messages[n] as string[]).map((text) => (n % 3 === 0 ? withKey(text, text) : eventOf(text)))
      const numbers = await of.publishAll(of.topic(topic.id) as Topic, events, n % 3 === 0 ? {} : keyed(String(n)))
      assert.deepEqual(numbers, acknowledged.get(n) ?? numbers, 'the answer of a repeat is the first one')
      acknowledged.set(n, numbers)
    }
    // Four publishers, which a crash stops somewhere; who waits for an answer then may wait for ever.
    const first = hub
    for (let lane = 0; lane < 4; lane += 1) {
      void (async () => {
        for (let n = lane; n < messages.length; n += 4) await send(first, n)
      })().catch(() => undefined)
    }
    for (let turns = random.int(200); turns > 0 && acknowledged.size < messages.length; turns -= 1) await nextTurn()
    world = await world.restart()
    const known = new Set([...acknowledged.keys()].flatMap((n) => messages[n] as string[]))
    hub = await openHub(world, { clock: realClock() })
    unsure += (await messagesOf(hub, hub.topic(topic.id) as Topic)).filter((text) => !known.has(text)).length
    for (let n = 0; n < messages.length; n += 1) await send(hub, n)
    const kept = await messagesOf(hub, hub.topic(topic.id) as Topic)
    assert.deepEqual(kept.toSorted(), messages.flat().toSorted(), 'each event is there once')
    await hub.close()
    await world.close()
  }
  t.diagnostic(`${unsure} events were kept whose publishers were not told`)
})

test('an entry of keys is read as it was written, and anything else is refused in words', () => {
  const hash = 'ab'.repeat(16)
  const answer: AnswerRun[] = [
    { isFresh: true, first: 0, count: 3 },
    { isFresh: false, first: 2 ** 52, count: 1 },
  ]
  const whole = { topic: 7, events: 3, request: { key: hash, body: hash, answer }, dedupe: [{ index: 2, key: hash }] }
  for (const keys of [whole, { ...whole, request: undefined }, { ...whole, dedupe: [] }]) {
    assert.deepEqual(decodePublishKeys(encodePublishKeys(keys)), keys)
  }
  for (const text of [
    '',
    '{}',
    'null',
    '{"v":1,"topic":7}',
    '{"v":1,"topic":-1,"events":0}',
    '{"v":1,"topic":7,"events":1,"dedupe":[[1,"abab"]]}',
    `{"v":1,"topic":7,"events":1,"dedupe":[[1,"${hash}"]]}`,
    '{"v":1,"topic":7,"events":1,"request":{}}',
    `{"v":1,"topic":7,"events":1,"request":{"key":"${hash}","body":"${hash}","answer":[[null,1]]}}`,
  ]) {
    assert.throws(
      () => decodePublishKeys(Buffer.from(text)),
      (error: EntryError) => error instanceof EntryError && error.code === 'ENTRY_MALFORMED',
      text,
    )
  }
  assert.throws(
    () => decodePublishKeys(Buffer.from('{"v":2}')),
    (error: EntryError) => error.code === 'ENTRY_NEWER',
  )
})
