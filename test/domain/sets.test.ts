/** Streams of topics of both logs: what is held back, for how long, and what happens when a log fails. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { formatEventId } from '../../src/domain/event-id.ts'
import type { Hub, Topic } from '../../src/domain/hub.ts'
import { FakeSink } from '../support/fake-sink.ts'
import { earliest, eventOf, lastEventId, live, openHub } from '../support/hub-events.ts'
import { type FakeWorld, fakeWorld } from '../support/hub-worlds.ts'

async function open(): Promise<{ world: FakeWorld; hub: Hub; topics: readonly [Topic, Topic]; sink: FakeSink }> {
  const world = fakeWorld({ commits: 'manual' })
  const hub = await openHub(world)
  const creating = hub.createTopic({ persist: true })
  world.durable.commit()
  const topics = [(await creating).topic, (await hub.createTopic({ persist: false })).topic] as const
  const sink = new FakeSink()
  hub.subscribeAll(topics, sink, { from: await hub.resolveAll(topics, live), heartbeat: 'comment' })
  return { world, hub, topics, sink }
}

async function manyTurns(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await nextTurn()
}

async function close(hub: Hub, world: FakeWorld, sink: FakeSink): Promise<void> {
  if (!sink.isClosed) sink.close('client')
  await hub.close()
  await world.close()
}

test('what is committed in memory waits for the lower number that is on its way to the disk', async () => {
  const { world, hub, topics, sink } = await open()
  const durable = hub.publish(topics[0], eventOf('lower'))
  const memory = hub.publish(topics[1], eventOf('higher'))
  world.memory.commit()
  const higher = await memory
  await manyTurns()
  assert.deepEqual(sink.messages, [])
  world.durable.commit()
  const lower = await durable
  await manyTurns()
  assert.deepEqual(sink.messages, ['lower', 'higher'])
  assert.deepEqual(sink.ids.slice(1), [lower, higher].map(formatEventId))
  await close(hub, world, sink)
})

test('a batch that is cut away holds nobody up', async () => {
  const { world, hub, topics, sink } = await open()
  const durable = hub.publish(topics[0], eventOf('never'))
  void hub.publish(topics[1], eventOf('higher'))
  world.memory.commit()
  await manyTurns()
  assert.deepEqual(sink.messages, [])
  world.durable.cut()
  await assert.rejects(durable)
  await manyTurns()
  assert.deepEqual(sink.messages, ['higher'])
  await close(hub, world, sink)
})

test('whoever joins while something is held begins before it, and misses nothing', async () => {
  const { world, hub, topics, sink } = await open()
  const durable = hub.publish(topics[0], eventOf('lower'))
  void hub.publish(topics[1], eventOf('higher'))
  world.memory.commit()
  await manyTurns()
  // The channel of the first is left, so that the next one is made in the middle.
  sink.close('client')
  const late = new FakeSink()
  hub.subscribeAll(topics, late, { from: await hub.resolveAll(topics, live), heartbeat: 'comment' })
  world.durable.commit()
  await durable
  await manyTurns()
  assert.deepEqual(late.messages, ['lower', 'higher'])
  await close(hub, world, late)
})

test('when the durable log fails, streams of both logs end, and those of one log go on', async () => {
  const { world, hub, topics, sink } = await open()
  const alone = new FakeSink()
  hub.subscribe(topics[1], alone, { from: await hub.resolve(topics[1], live), heartbeat: 'comment' })
  const durable = hub.publish(topics[0], eventOf('undecided'))
  world.durable.fail()
  await assert.rejects(durable)
  assert.equal(sink.closeReason, 'storage-failed')
  await assert.rejects(
    async () => {
      const from = await hub.resolveAll(topics, lastEventId(sink.ids.at(-1) ?? ''))
      hub.subscribeAll(topics, new FakeSink(), { from, heartbeat: 'comment' })
    },
    { code: 'STORE_FAILED' },
  )
  void hub.publish(topics[1], eventOf('in memory'))
  world.memory.commit()
  await manyTurns()
  assert.deepEqual(alone.messages, ['in memory'])
  alone.close('client')
  await close(hub, world, sink)
})

test('what was dropped before its turn does not come behind the gap that tells it', async () => {
  // A record a step, so that of the one topic an event is at hand while the other one's is handed out.
  const world = fakeWorld({ stepBytes: 1 })
  const hub = await openHub(world)
  const topics = [await hub.createTopic({ persist: false }), await hub.createTopic({ persist: false })] as const
  const [one, other] = [topics[0].topic, topics[1].topic]
  await hub.publish(one, eventOf('one 1'))
  const dropped = await hub.publish(other, eventOf('other 1'))
  await hub.publish(one, eventOf('one 2'))
  await hub.publish(other, eventOf('other 2'))
  const sink = new FakeSink()
  sink.onWrite = () => {
    if (sink.messages.length === 1) world.memory.evict(dropped)
  }
  hub.subscribeAll([one, other], sink, { from: await hub.resolveAll([one, other], earliest), heartbeat: 'comment' })
  await sink.until(({ messages }) => messages.includes('other 2'))
  assert.deepEqual(sink.messages, ['one 1', 'one 2', 'other 2'])
  assert.equal(sink.gaps.length, 1)
  await close(hub, world, sink)
})
