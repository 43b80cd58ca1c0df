/** Starts from a checkpoint: the same topics, settings, marks and figures as a start that reads the whole log. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EntryError } from '../../src/domain/entry.ts'
import { Feed } from '../../src/domain/feed.ts'
import type { Hub, Topic } from '../../src/domain/hub.ts'
import { unlimited } from '../../src/domain/retention.ts'
import { decodeSnapshot, encodeSnapshot } from '../../src/domain/snapshot.ts'
import { HostedTopic } from '../../src/domain/topic.ts'
import { eventOf, openHub } from '../support/hub-events.ts'
import { type FakeWorld, fakeWorld } from '../support/hub-worlds.ts'
import { Random } from '../support/random.ts'

/** All that a hub knows of its topics. */
async function stateOf(hub: Hub): Promise<unknown> {
  return (await hub.listTopics(undefined, 1000)).topics
}

/** The next start of that world, with its checkpoint or without. */
async function restarted(world: FakeWorld, checkpoint: FakeWorld['durable']['checkpoint']): Promise<Hub> {
  const next = await world.restart()
  next.durable.checkpoint = checkpoint
  return await openHub(next)
}

class Story {
  readonly #random: Random
  readonly #hub: Hub
  readonly #topics: Topic[] = []

  constructor(random: Random, hub: Hub) {
    this.#random = random
    this.#hub = hub
  }

  async step(): Promise<void> {
    const random = this.#random
    const hub = this.#hub
    const choice = random.int(100)
    const topic = this.#topics.length === 0 ? undefined : random.pick(this.#topics)
    if (topic === undefined || choice < 12) {
      const retention = random.pick([undefined, { maxEvents: 1 + random.int(5) }, { maxBytes: 100 + random.int(300) }])
      const name = random.pick([undefined, 'a name', 'ünï'])
      this.#topics.push((await hub.createTopic({ persist: random.int(5) > 0, name, retention })).topic)
    } else if (choice < 70) await hub.publish(topic, eventOf('x'.repeat(random.int(80))))
    else if (choice < 80) await hub.purge(topic, undefined)
    else if (choice < 90) await hub.changeTopic(topic, { name: 'new', retention: { maxEvents: 1 + random.int(9) } })
    else if (choice < 95) await hub.topicDetails(topic)
    else {
      this.#topics.splice(this.#topics.indexOf(topic), 1)
      await hub.deleteTopic(topic.id)
    }
  }
}

test('row 68: a fold from empty equals a checkpoint and the rest, at every step of a random run', async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  for (let run = 0; run < 5; run += 1) {
    const world = fakeWorld()
    const hub = await openHub(world)
    const story = new Story(random, hub)
    const checkpoints: FakeWorld['durable']['checkpoint'][] = []
    for (let step = 0; step < 60; step += 1) {
      await story.step()
      // Written while the next steps are taken.
      const saved = hub.checkpoint()
      if (random.int(2) === 0) await story.step()
      await saved
      checkpoints.push(world.durable.checkpoint)
    }
    await hub.close()
    const whole = await restarted(world, undefined)
    const expected = await stateOf(whole)
    for (const checkpoint of checkpoints) {
      const hubOfCheckpoint = await restarted(world, checkpoint)
      assert.deepEqual(await stateOf(hubOfCheckpoint), expected)
      await hubOfCheckpoint.close()
    }
    await whole.close()
  }
})

test('a checkpoint is written only where something was committed since the last one', async () => {
  const world = fakeWorld()
  const hub = await openHub(world)
  const { topic } = await hub.createTopic({ persist: true })
  await hub.checkpoint()
  const first = world.durable.checkpoint
  await hub.checkpoint()
  assert.equal(world.durable.checkpoint, first)
  await hub.publish(topic, eventOf('x'))
  await hub.checkpoint()
  assert.notEqual(world.durable.checkpoint, first)
  await hub.close()
})

test('a checkpoint of another form is refused and told, and the log is read instead', async () => {
  const world = fakeWorld()
  const hub = await openHub(world)
  const { topic } = await hub.createTopic({ persist: true })
  await hub.publish(topic, eventOf('x'))
  await hub.close()
  const next = await world.restart()
  next.durable.checkpoint = { offset: world.durable.lastOffset, pieces: [Buffer.from('ffff0000', 'hex')] }
  const told: string[] = []
  const again = await openHub(next, { observer: { checkpointRefused: (reason) => told.push(reason) } })
  assert.equal((await again.topicDetails(again.topic(topic.id)!)).events, 1)
  assert.equal(told.length, 1)
  await again.close()
})

test('a topic is read from a checkpoint as it was written, whatever its name and limits', () => {
  const feed = new Feed(fakeWorld().durable, true, 0)
  const topic = new HostedTopic(feed, {
    streamId: 2 ** 53 - 1,
    name: 'ü'.repeat(200),
    retention: { ...unlimited, maxAgeMs: 1, maxEvents: 2 ** 53 - 1 },
    tokenSha256: Buffer.alloc(32, 0xab),
    createdAtMs: 5,
  })
  Object.assign(topic, { events: 1, bytes: 2 ** 40, latest: 3, dropped: 4 })
  topic.entries = { settingsOffset: 6, droppedThrough: 5, droppedOffset: 7 }
  const [piece] = [...encodeSnapshot([topic], feed)]
  const [read] = decodeSnapshot(piece!, feed)
  assert.deepEqual(read?.topic, topic)
  assert.deepEqual(read?.topic.tokenSha256, topic.tokenSha256)
})

test('bytes that are no snapshot are refused, and nothing worse', () => {
  const feed = new Feed(fakeWorld().durable, true, 0)
  const fields = { streamId: 1, name: 'n', retention: unlimited, tokenSha256: Buffer.alloc(32), createdAtMs: 5 }
  const [piece] = [...encodeSnapshot([new HostedTopic(feed, fields)], feed)] as [Buffer]
  for (let length = 0; length < piece.length; length += 1) {
    assert.throws(() => decodeSnapshot(piece.subarray(0, length), feed), EntryError)
  }
  const many = Buffer.from(piece)
  many.writeUInt32LE(0xffffffff, 4)
  assert.throws(() => decodeSnapshot(many, feed), EntryError)
  assert.throws(() => decodeSnapshot(Buffer.concat([piece, Buffer.alloc(1)]), feed), EntryError)
})
