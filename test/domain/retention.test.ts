/** What topics keep: limits by number, bytes and age, purges, changes, and what readers are told; over both logs. */

import assert from 'node:assert/strict'
import { parseEventId } from '../../src/domain/event-id.ts'
import type { HistoryItem, Hub, Retention, Topic, TopicDetails, TopicPlace } from '../../src/domain/hub.ts'
import { changedRetention, isOverLimit, unlimited } from '../../src/domain/retention.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { FakeSink } from '../support/fake-sink.ts'
import { earliest, eventOf, lastEventId, live, openHub, subscribe } from '../support/hub-events.ts'
import { fakeWorld, type HubWorld, realWorld } from '../support/hub-worlds.ts'
import { test } from '../support/unwatched.ts'

const HOUR_MS = 3_600_000

type MakeWorld = (clock: FakeClock) => Promise<HubWorld>

const worlds: readonly (readonly [string, MakeWorld])[] = [
  ['fake log', async (clock) => fakeWorld({ now: () => clock.wallMs() })],
  ['engine', (clock) => realWorld(undefined, undefined, () => clock.wallMs())],
]

function limits(some: Partial<Retention>): Retention {
  return { ...unlimited, ...some }
}

async function publishAll(hub: Hub, topic: Topic, messages: readonly string[]): Promise<number[]> {
  const numbers: number[] = []
  for (const message of messages) numbers.push(await hub.publish(topic, eventOf(message)))
  return numbers
}

/** What a subscriber that begins there gets until it is live: messages, and how many gaps. */
async function replay(hub: Hub, topic: Topic, from = earliest): Promise<{ messages: string[]; gaps: number }> {
  const sink = new FakeSink()
  const subscription = await subscribe(hub, topic, sink, from)
  while (subscription.state !== 'live') await new Promise((resolve) => setImmediate(resolve))
  const { messages, gaps } = sink
  subscription.close('client')
  return { messages, gaps: gaps.length }
}

function placeOf(item: HistoryItem): number | string {
  return 'gap' in item ? `behind ${item.gap.resumesAfter}` : item.number
}

function kept({ events, earliest: first, latest: last }: TopicDetails) {
  return { events, first: first?.number, last: last?.number }
}

for (const [name, makeWorld] of worlds) {
  for (const persist of [true, false]) {
    const kind = persist ? 'durable' : 'in-memory'
    const check = (sentence: string, body: (world: HubWorld, clock: FakeClock) => Promise<void>) =>
      test(`${name}: a ${kind} topic ${sentence}`, { timeout: 120_000 }, async () => {
        const clock = new FakeClock()
        const world = await makeWorld(clock)
        try {
          await body(world, clock)
        } finally {
          await world.close()
        }
      })

    check('with room for five events keeps five, neither more nor fewer', async (world) => {
      const hub = await openHub(world)
      const { topic } = await hub.createTopic({ persist, retention: { maxEvents: 5 } })
      for (let i = 0; i < 12; i += 1) {
        await publishAll(hub, topic, [`${i}`])
        const { messages } = await replay(hub, topic)
        const first = Math.max(0, i - 4)
        assert.deepEqual(
          messages,
          Array.from({ length: i - first + 1 }, (_, j) => `${first + j}`),
        )
      }
      assert.equal((await hub.topicDetails(topic)).events, 5)
      await hub.close()
    })

    check('keeps as many bytes as it may, counted as they lie in the log', async (world) => {
      const hub = await openHub(world)
      const { topic } = await hub.createTopic({ persist, retention: { maxBytes: 500 } })
      const numbers = await publishAll(hub, topic, ['a'.repeat(100), 'b'.repeat(100), 'c'.repeat(100), 'd'.repeat(100)])
      const details = await hub.topicDetails(topic)
      // A record has 40 bytes, and the head of an event 4.
      assert.deepEqual([details.bytes, details.events], [3 * 144, 3])
      assert.deepEqual(kept(details), { events: 3, first: numbers[1], last: numbers[3] })
      await publishAll(hub, topic, ['e'.repeat(1000)])
      assert.deepEqual(kept(await hub.topicDetails(topic)), { events: 0, first: undefined, last: undefined })
      await hub.close()
    })

    check('keeps events for as long as it may, by the times that they were given', async (world, clock) => {
      const hub = await openHub(world, { clock })
      const { topic } = await hub.createTopic({ persist, retention: { maxAgeMs: HOUR_MS } })
      await publishAll(hub, topic, ['a', 'b'])
      clock.advance(HOUR_MS / 2)
      await publishAll(hub, topic, ['c'])
      clock.advance(HOUR_MS / 2)
      assert.deepEqual((await replay(hub, topic)).messages, ['a', 'b', 'c'])
      clock.advance(1)
      assert.deepEqual((await replay(hub, topic)).messages, ['c'])
      clock.advance(HOUR_MS)
      assert.deepEqual((await replay(hub, topic)).messages, [])
      assert.equal((await hub.topicDetails(topic)).events, 0)
      await hub.close()
    })

    check('tells a gap to whoever comes from before what was dropped, and to nobody else', async (world) => {
      const hub = await openHub(world)
      const { topic } = await hub.createTopic({ persist, retention: { maxEvents: 2 } })
      const numbers = await publishAll(hub, topic, ['a', 'b', 'c', 'd', 'e'])
      assert.deepEqual(await replay(hub, topic, lastEventId(numbers[1]!)), { messages: ['d', 'e'], gaps: 1 })
      // c is the last that was dropped: who has seen it has missed nothing.
      assert.deepEqual(await replay(hub, topic, lastEventId(numbers[2]!)), { messages: ['d', 'e'], gaps: 0 })
      assert.deepEqual(await replay(hub, topic, lastEventId(numbers[3]!)), { messages: ['e'], gaps: 0 })
      await hub.close()
    })

    check('has a history of what is kept, a gap before it, and nothing that came since it began', async (world) => {
      const hub = await openHub(world)
      const { topic } = await hub.createTopic({ persist })
      const numbers = await publishAll(hub, topic, ['a', 'b', 'c', 'd'])
      const from = await hub.resolve(topic, earliest)
      await hub.purge(topic, numbers[1]!)
      const forward: HistoryItem[] = []
      for await (const items of hub.historyForward(topic, from)) {
        forward.push(...items)
        await publishAll(hub, topic, ['later'])
      }
      assert.deepEqual(forward.map(placeOf), [`behind ${numbers[1]}`, numbers[2], numbers[3]])
      const backward: HistoryItem[] = []
      for await (const items of await hub.historyBackward(topic, numbers[3]! + 1)) backward.push(...items)
      assert.deepEqual(backward.map(placeOf), [numbers[3], numbers[2]])
      await hub.close()
    })

    check("finds a publisher's id only among what is kept", async (world) => {
      const hub = await openHub(world)
      const { topic } = await hub.createTopic({ persist, retention: { maxEvents: 2 } })
      for (const id of ['one', 'two', 'three', 'four']) await hub.publish(topic, eventOf(id, { id }))
      assert.deepEqual(await replay(hub, topic, lastEventId('one')), { messages: ['three', 'four'], gaps: 1 })
      assert.deepEqual(await replay(hub, topic, lastEventId('three')), { messages: ['four'], gaps: 0 })
      await hub.close()
    })

    check('row 47: tells a reader whose position was dropped that events are missing', async (world) => {
      const hub = await openHub(world, { options: { recentFramesBytesMax: 0 } })
      const { topic } = await hub.createTopic({ persist })
      const numbers = await publishAll(hub, topic, ['a', 'b', 'c', 'd'])
      const sink = new FakeSink()
      sink.refuses = true
      await subscribe(hub, topic, sink, earliest)
      await sink.until(() => sink.isWaitedFor)
      const seen = sink.messages.length
      await hub.purge(topic, numbers[2])
      sink.drain()
      await sink.until(({ messages }) => messages.includes('d'))
      assert.equal(sink.messages.at(-1), 'd')
      assert.equal(sink.gaps.length, seen < 3 ? 1 : 0)
      await hub.close()
    })

    check('is emptied by a purge, all or through an id, and goes on behind it', async (world) => {
      const hub = await openHub(world)
      const { topic } = await hub.createTopic({ persist })
      const witness = new FakeSink()
      await subscribe(hub, topic, witness, live)
      const numbers = await publishAll(hub, topic, ['a', 'b', 'c'])
      await hub.purge(topic, numbers[1])
      assert.deepEqual(kept(await hub.topicDetails(topic)), { events: 1, first: numbers[2], last: numbers[2] })
      await hub.purge(topic, numbers[0])
      assert.deepEqual((await replay(hub, topic)).messages, ['c'])
      await hub.purge(topic, undefined)
      await hub.purge(topic, undefined)
      const { events, bytes } = await hub.topicDetails(topic)
      assert.deepEqual([events, bytes], [0, 0])
      const [next] = await publishAll(hub, topic, ['d'])
      assert.deepEqual(kept(await hub.topicDetails(topic)), { events: 1, first: next, last: next })
      assert.deepEqual(await replay(hub, topic, lastEventId(numbers[0]!)), { messages: ['d'], gaps: 1 })
      assert.deepEqual(witness.messages, ['a', 'b', 'c', 'd'], 'who is live misses nothing')
      assert.deepEqual(witness.gaps, [])
      await hub.close()
    })

    check('takes new limits and a new name; what old limits dropped does not come back', async (world) => {
      const hub = await openHub(world)
      const { topic } = await hub.createTopic({ persist, name: 'old', retention: { maxEvents: 2, maxBytes: 10_000 } })
      await publishAll(hub, topic, ['a', 'b', 'c'])
      await hub.changeTopic(topic, { retention: { maxEvents: null } })
      assert.deepEqual((await replay(hub, topic)).messages, ['b', 'c'])
      assert.equal(hub.topic(topic.id)?.name, 'old')
      assert.deepEqual(hub.topic(topic.id)?.retention, limits({ maxBytes: 10_000 }))
      await hub.changeTopic(topic, { name: 'new', retention: { maxEvents: 1 } })
      assert.deepEqual((await replay(hub, topic)).messages, ['c'])
      await hub.changeTopic(topic, { name: null })
      assert.equal(hub.topic(topic.id)?.name, undefined)
      await hub.close()
    })
  }

  const check = (sentence: string, body: (world: HubWorld, clock: FakeClock) => Promise<void>) =>
    test(`${name}: ${sentence}`, { timeout: 120_000 }, async () => {
      const clock = new FakeClock()
      await body(await makeWorld(clock), clock)
    })

  check('settings, purges and figures are as they were after a restart', async (first) => {
    const hub = await openHub(first)
    const { topic } = await hub.createTopic({ persist: true, retention: { maxEvents: 3 } })
    const { topic: other } = await hub.createTopic({ persist: true, name: 'other' })
    const numbers = await publishAll(hub, topic, ['a', 'b', 'c', 'd', 'e'])
    await publishAll(hub, other, ['x', 'y', 'z'])
    await hub.purge(topic, numbers[3])
    await hub.changeTopic(topic, { name: 'named', retention: { maxEvents: 50 } })
    await publishAll(hub, topic, ['f'])
    const before = await hub.listTopics(undefined, 10)
    const second = await first.restart()
    const again = await openHub(second)
    assert.deepEqual(await again.listTopics(undefined, 10), before)
    assert.deepEqual((await replay(again, again.topic(topic.id)!)).messages, ['e', 'f'])
    await again.close()
    await second.close()
  })

  check('topics are listed in pages, in the order of their ids, static ones among them', async (world) => {
    const hub = await openHub(world)
    const ids: string[] = []
    for (let i = 0; i < 7; i += 1) ids.push((await hub.createTopic({ persist: i % 2 === 0 })).topic.id)
    ids.push(hub.addStaticTopic({ id: '00000000000', name: 'metrics', token: 't' }).id)
    ids.push(hub.addStaticTopic({ id: 'AzL8n0Y58m7', name: 'far', token: 't' }).id)
    const seen: string[] = []
    let after: TopicPlace | undefined
    do {
      const { topics, next } = await hub.listTopics(after, 3)
      seen.push(...topics.map(({ id }) => id))
      after = next
      // One that was listed goes, and one that comes later is made: neither moves the others.
      if (seen.length === 3) await hub.deleteTopic(seen[2]!)
    } while (after !== undefined)
    assert.deepEqual(seen, ids.toSorted())
    await hub.close()
    await world.close()
  })

  check('a static topic can be emptied, and not be changed', async (world) => {
    const hub = await openHub(world)
    const topic = hub.addStaticTopic({ id: '0000000000z', name: 'static', token: 't' })
    await publishAll(hub, topic, ['a', 'b'])
    await hub.purge(topic, undefined)
    assert.deepEqual((await replay(hub, topic)).messages, [])
    await assert.rejects(hub.changeTopic(topic, { name: 'x' }), { code: 'STATIC_TOPIC' })
    await hub.close()
    await world.close()
  })
}

test('a topic that is made without limits of its own has the default ones', async () => {
  const world = fakeWorld()
  const hub = await openHub(world, { options: { defaultRetention: limits({ maxEvents: 2, maxBytes: 99 }) } })
  const { topic: plain } = await hub.createTopic({ persist: true })
  assert.deepEqual(plain.retention, limits({ maxEvents: 2, maxBytes: 99 }))
  const { topic } = await hub.createTopic({ persist: true, retention: { maxEvents: null, maxAgeMs: 5 } })
  assert.deepEqual(topic.retention, limits({ maxBytes: 99, maxAgeMs: 5 }))
  await hub.close()
})

test('what compaction may take of a topic, be it a single event, is dropped for good before it is told', async () => {
  const world = fakeWorld()
  const hub = await openHub(world)
  const { topic } = await hub.createTopic({ persist: true, retention: { maxEvents: 1 } })
  const [first = 0] = await publishAll(hub, topic, ['a', 'b'])
  const streamId = parseEventId(topic.id) as number
  assert.deepEqual(await hub.judge?.floors([{ streamId, count: 1, bytes: 45, first, last: first }]), [first])
  assert.deepEqual(await hub.judge?.floors([{ streamId: streamId + 1, count: 1, bytes: 45, first, last: first }]), [
    Number.POSITIVE_INFINITY,
  ])
  const again = await openHub(await world.restart())
  await again.changeTopic(again.topic(topic.id) as Topic, { retention: { maxEvents: null } })
  assert.deepEqual((await replay(again, again.topic(topic.id) as Topic)).messages, ['b'])
  await again.close()
})

test('a purge whose entry cannot be written changes nothing', async () => {
  const world = fakeWorld()
  const hub = await openHub(world)
  const { topic } = await hub.createTopic({ persist: true })
  await publishAll(hub, topic, ['a', 'b'])
  world.durable.fail()
  await assert.rejects(hub.purge(topic, undefined), { code: 'STORE_FAILED' })
  assert.equal((await hub.topicDetails(topic)).events, 2)
  await hub.close()
})

test('purges, changes and events at the same time leave figures that are true', async () => {
  const world = fakeWorld()
  const hub = await openHub(world)
  const { topic } = await hub.createTopic({ persist: true, retention: { maxEvents: 5 } })
  const work: Promise<unknown>[] = []
  for (let i = 0; i < 60; i += 1) {
    work.push(hub.publish(topic, eventOf(`${i}`)))
    if (i % 7 === 0) work.push(hub.topicDetails(topic))
    if (i % 11 === 0) work.push(hub.purge(topic, undefined))
    if (i % 13 === 0) work.push(hub.changeTopic(topic, { retention: { maxEvents: 3 + (i % 5) } }))
    if (i % 3 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  await Promise.all(work)
  const { events, bytes } = await hub.topicDetails(topic)
  const { messages } = await replay(hub, topic)
  assert.equal(events, messages.length)
  assert.equal(
    bytes,
    messages.reduce((sum, message) => sum + 44 + message.length, 0),
  )
  await hub.close()
})

test('a change takes limits away, leaves them, or sets them', () => {
  const present = limits({ maxEvents: 5, maxBytes: 7 })
  assert.deepEqual(changedRetention(present, { maxEvents: null }), limits({ maxBytes: 7 }))
  assert.deepEqual(changedRetention(present, { maxAgeMs: 9 }), { maxAgeMs: 9, maxBytes: 7, maxEvents: 5 })
  assert.equal(
    changedRetention(present, { maxEvents: null, maxBytes: null }),
    unlimited,
    'shared by all without limits',
  )
  assert.equal(isOverLimit(present, 5, 7), false)
  assert.equal(isOverLimit(present, 6, 0) && isOverLimit(present, 0, 8), true)
  assert.equal(isOverLimit(unlimited, 1e9, 1e12), false)
})
