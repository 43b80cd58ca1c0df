/** Conditions on what came before: they hold in the very turn in which the log takes the events, or nothing is taken. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { DomainError } from '../../src/domain/errors.ts'
import { formatEventId } from '../../src/domain/event-id.ts'
import type { Hub, Topic } from '../../src/domain/hub.ts'
import { FakeSink } from '../support/fake-sink.ts'
import { earliest, eventOf, openHub, subscribe } from '../support/hub-events.ts'
import { fakeWorld, realWorld } from '../support/hub-worlds.ts'
import { Random } from '../support/random.ts'

function isConflict(newest: number) {
  return (error: DomainError) => {
    assert.equal(error.code, 'CONFLICT')
    assert.deepEqual(error.details, { last_id: formatEventId(newest) })
    return true
  }
}

async function messagesOf(hub: Hub, topic: Topic): Promise<readonly string[]> {
  const sink = new FakeSink()
  const subscription = await subscribe(hub, topic, sink, earliest)
  while (subscription.state === 'catching-up') await nextTurn()
  subscription.close('client')
  return sink.messages
}

for (const persist of [true, false]) {
  const kind = persist ? 'durable' : 'in memory'

  test(`${kind}: an event is published only if the newest one is the expected one`, async () => {
    const world = await realWorld()
    const hub = await openHub(world)
    const { topic } = await hub.createTopic({ persist })
    const first = await hub.publish(topic, eventOf('1'), { expectedLast: 0 })
    await assert.rejects(hub.publish(topic, eventOf('no'), { expectedLast: 0 }), isConflict(first))
    await assert.rejects(hub.publish(topic, eventOf('no'), { expectedLast: first - 1 }), isConflict(first))
    const [, third] = await hub.publishAll(topic, [eventOf('2'), eventOf('3')], { expectedLast: first })
    await assert.rejects(hub.publishAll(topic, [eventOf('no')], { expectedLast: first }), isConflict(third as number))
    assert.deepEqual(await messagesOf(hub, topic), ['1', '2', '3'])
    await hub.close()
    await world.close()
  })

  test(`${kind}: what is on its way to the log counts`, async () => {
    const world = fakeWorld({ commits: 'manual' })
    const hub = await openHub(world)
    const log = persist ? world.durable : world.memory
    const creating = hub.createTopic({ persist })
    await nextTurn()
    log.commit()
    const { topic } = await creating
    const plain = hub.publish(topic, eventOf('plain'))
    const conditional = hub.publish(topic, eventOf('conditional'), { expectedLast: 0 })
    const refused = assert.rejects(conditional, (error: DomainError) => error.code === 'CONFLICT')
    await nextTurn()
    log.commit()
    const newest = await plain
    await refused
    const racing = ['a', 'b', 'c'].map((text) => hub.publish(topic, eventOf(text), { expectedLast: newest }))
    await nextTurn()
    log.commit()
    const settled = await Promise.allSettled(racing)
    assert.deepEqual(
      settled.map(({ status }) => status),
      ['fulfilled', 'rejected', 'rejected'],
    )
    await hub.close()
  })
}

test('of any number of publishers that each build on what they saw, none overwrites another', async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  const world = await realWorld()
  const hub = await openHub(world)
  const { topic } = await hub.createTopic({ persist: true })
  const chain: [number, number][] = []
  let known = 0
  const publisher = async (): Promise<void> => {
    for (let i = 0; i < 50; i += 1) {
      const expectedLast = known
      if (random.chance(0.3)) await nextTurn()
      try {
        const number = await hub.publish(topic, eventOf('x'), { expectedLast })
        chain.push([expectedLast, number])
        known = Math.max(known, number)
      } catch (error) {
        assert.equal((error as DomainError).code, 'CONFLICT')
      }
    }
  }
  await Promise.all(Array.from({ length: 8 }, publisher))
  assert.ok(chain.length > 10)
  chain.sort(([, a], [, b]) => a - b)
  for (const [i, [expected]] of chain.entries()) assert.equal(expected, chain[i - 1]?.[1] ?? 0)
  await hub.close()
  await world.close()
})

test('the newest event is remembered when it is gone: by limits, a purge, compaction, a stop and a crash', async () => {
  let world = await realWorld(undefined, undefined, Date.now, { segmentBytesMax: 1500 })
  let hub = await openHub(world)
  const { topic } = await hub.createTopic({ persist: true })
  let newest = 0
  for (let i = 0; i < 20; i += 1) {
    newest = await hub.publish(topic, eventOf('x'.repeat(200)), { expectedLast: newest })
  }
  await hub.purge(topic, undefined)
  await assert.rejects(hub.publish(topic, eventOf('no'), { expectedLast: 0 }), isConflict(newest))
  // Compaction takes nothing of the segment that is being written.
  const { topic: other } = await hub.createTopic({ persist: true })
  for (let i = 0; i < 10; i += 1) await hub.publish(other, eventOf('x'.repeat(200)))
  const { judge } = hub
  assert.ok(judge !== undefined)
  world.durable.startCompaction({ judge, bytesPerSecondMax: 2 ** 40, deadShareMin: 0.1, intervalMs: 2 ** 30 })
  await world.durable.compact()
  assert.equal((await world.durable.streamTotalsOf(topic.streamId, 0)).count, 0, 'nothing of it is left')
  for (const how of ['stopAndStart', 'restart', 'restart'] as const) {
    await hub.close()
    world = await world[how]()
    hub = await openHub(world)
    const again = hub.topic(topic.id) as Topic
    await assert.rejects(hub.publish(again, eventOf('no'), { expectedLast: 0 }), isConflict(newest))
    newest = await hub.publish(again, eventOf('y'), { expectedLast: newest })
  }
  await hub.close()
  await world.close()
})

test('a condition does not outlive its topic', async () => {
  const world = fakeWorld({ commits: 'manual' })
  const hub = await openHub(world)
  const creating = hub.createTopic({ persist: true })
  await nextTurn()
  world.durable.commit()
  const { topic } = await creating
  const plain = hub.publish(topic, eventOf('plain'))
  const conditional = hub.publish(topic, eventOf('conditional'), { expectedLast: 0 })
  const deleting = hub.deleteTopic(topic.id)
  const refused = assert.rejects(conditional, (error: DomainError) => error.code === 'TOPIC_UNKNOWN')
  await nextTurn()
  world.durable.commit()
  await Promise.all([plain, deleting, refused])
  await hub.close()
})
