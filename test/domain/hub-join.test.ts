/**
 * The join of catching up and live, at every point where it can go wrong. A read of the fake log takes no more than a
 * few microtasks, and the tests commit, refuse, drain, delete and evict in each gap between two of them, one run for
 * each place. A commit that fell between the check and the switch would be a hole or a twin in one of those runs.
 */

import assert from 'node:assert/strict'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { DomainError } from '../../src/domain/errors.ts'
import { formatEventId } from '../../src/domain/event-id.ts'
import type { Hub, Topic } from '../../src/domain/hub.ts'
import { StorageError } from '../../storage-engine/index.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { FakeSink } from '../support/fake-sink.ts'
import {
  earliest,
  eventOf,
  frameText,
  lastEventId,
  live,
  openHub,
  streamText,
  subscribe,
} from '../support/hub-events.ts'
import { type FakeWorld, fakeWorld } from '../support/hub-worlds.ts'
import { test } from '../support/unwatched.ts'

/** More microtasks than any of the runs takes to be live. */
const PLACES = 60

interface Stage {
  readonly world: FakeWorld
  readonly hub: Hub
  readonly topic: Topic
  /** Appends, and leaves it to the test to commit. */
  publish(message: string): void
  readonly published: string[]
}

/**
 * A durable topic with so many events on a log that commits by hand; each step of a cursor holds two of them. Behind
 * them lies an event of another topic, so that a reader has to ask for more, and find nothing, to know that it is through.
 */
async function stage(backlog: number, recentFramesBytesMax: number): Promise<Stage> {
  const world = fakeWorld({ commits: 'manual', stepBytes: 30 })
  const hub = await openHub(world, { options: { recentFramesBytesMax } })
  const created = hub.createTopic({ persist: true })
  await Promise.resolve()
  world.durable.commit()
  const { topic } = await created
  const published: string[] = []
  const publish = (message: string) => {
    published.push(message)
    hub.publish(topic, eventOf(message)).catch(() => {})
  }
  for (let i = 0; i < backlog; i++) publish(`backlog ${i}`)
  const createdNoise = hub.createTopic({ persist: true })
  await Promise.resolve()
  world.durable.commit()
  hub.publish((await createdNoise).topic, eventOf('noise')).catch(() => {})
  world.durable.commit()
  await nextTurn()
  return { world, hub, topic, publish, published }
}

async function microtasks(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await Promise.resolve()
}

async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await nextTurn()
}

for (const recentFramesBytesMax of [0, 1024 * 1024]) {
  const cache = recentFramesBytesMax === 0 ? 'without recent frames' : 'with recent frames'

  test(`row 50: a commit at any place of a replay is delivered once and in order, ${cache}`, async () => {
    let commitsWhileCatchingUp = 0
    let commitsWhileLive = 0
    for (let place = 0; place < PLACES; place++) {
      for (const apart of [0, 1, 2, 5]) {
        const { world, hub, topic, publish, published } = await stage(5, recentFramesBytesMax)
        const sink = new FakeSink()
        const from = await hub.resolve(topic, earliest)
        const subscription = hub.subscribe(topic, sink, { from, heartbeat: 'comment' })
        publish('first')
        publish('second')
        await microtasks(place)
        if (subscription.state === 'live') commitsWhileLive++
        else commitsWhileCatchingUp++
        world.durable.commit()
        publish('third')
        await microtasks(apart)
        world.durable.commit()
        await settled()
        assert.deepEqual(sink.messages, published, `commits after ${place} and ${apart} more microtasks`)
        assert.equal(subscription.state, 'live')
        assert.equal(subscription.position, world.durable.lastOffset)
        await hub.close()
      }
    }
    // If all commits fell on one side, the places would not cover the switch.
    assert.ok(commitsWhileCatchingUp > 20 && commitsWhileLive > 20, `${commitsWhileCatchingUp}, ${commitsWhileLive}`)
  })

  test(`row 51: a sink that is full at any write and drained at any place misses and doubles nothing, ${cache}`, async () => {
    for (let refusedWrite = 0; refusedWrite < 7; refusedWrite++) {
      for (let place = 0; place < PLACES; place += 2) {
        const { world, hub, topic, publish, published } = await stage(4, recentFramesBytesMax)
        const sink = new FakeSink()
        let writes = 0
        sink.onWrite = () => {
          if (writes++ === refusedWrite) sink.refuses = true
        }
        await subscribe(hub, topic, sink, earliest)
        const others = Array.from({ length: 3 }, () => new FakeSink())
        for (const other of others) await subscribe(hub, topic, other, live)
        publish('first')
        await microtasks(place % 20)
        world.durable.commit()
        publish('second')
        await microtasks(place)
        sink.drain()
        await microtasks(place % 7)
        world.durable.commit()
        await nextTurn()
        sink.drain()
        publish('third')
        world.durable.commit()
        await settled()
        sink.drain()
        await settled()
        assert.deepEqual(sink.messages, published, `write ${refusedWrite} refused, drained at ${place}`)
        for (const other of others) assert.deepEqual(other.messages, published.slice(-3))
        await hub.close()
      }
    }
  })

  test(`row 48: a deletion at any place of a replay ends the stream behind everything, where the sink takes it, ${cache}`, async () => {
    for (let place = 0; place < PLACES; place++) {
      const { world, hub, topic, publish, published } = await stage(5, recentFramesBytesMax)
      const sink = new FakeSink()
      await subscribe(hub, topic, sink, earliest)
      await microtasks(place)
      publish('last words')
      const deleted = hub.deleteTopic(topic.id)
      world.durable.commit()
      assert.equal(hub.topic(topic.id), undefined)
      assert.equal(await deleted, true)
      await settled()
      assert.equal(sink.closeReason, 'topic-deleted')
      assert.deepEqual(sink.messages, [...published, '{"status": "closed"}'], `deleted at ${place}`)
      await hub.close()
    }
  })

  test(`a client that leaves at any place of a replay leaves nothing behind, ${cache}`, async () => {
    for (let place = 0; place < PLACES; place++) {
      const { world, hub, topic, publish } = await stage(5, recentFramesBytesMax)
      const [gone, stays] = [new FakeSink(), new FakeSink()]
      await subscribe(hub, topic, gone, earliest)
      await subscribe(hub, topic, stays, earliest)
      await microtasks(place)
      gone.end()
      const writes = gone.writes.length
      publish('later')
      world.durable.commit()
      await settled()
      assert.equal(gone.writes.length, writes)
      assert.equal(hub.figures().active_subscribers, 1)
      assert.equal(stays.messages.length, 6, 'whoever shared its reading goes on')
      await hub.close()
    }
  })
}

test('an empty read does not hide what is committed before its answer arrives', async () => {
  let hits = 0
  for (let place = 0; place < PLACES; place++) {
    const { world, hub, topic, publish } = await stage(1, 0)
    const sink = new FakeSink()
    const from = await hub.resolve(topic, lastEventId(world.durable.lastOffset - 1))
    const subscription = hub.subscribe(topic, sink, { from, heartbeat: 'comment' })
    publish('in between')
    await microtasks(place)
    if (subscription.state === 'catching-up') hits++
    world.durable.commit()
    await settled()
    assert.deepEqual(sink.messages, ['in between'], `committed at ${place}`)
    await hub.close()
  }
  assert.ok(hits > 2, 'some of the commits fell between the look and its answer')
})

test('a reader of a topic that is published to in every turn goes live all the same', async () => {
  const world = fakeWorld({ stepBytes: 30, answerLatency: async () => nextTurn() })
  const hub = await openHub(world)
  const { topic } = await hub.createTopic({ persist: true })
  const sent: string[] = []
  const publish = () => {
    sent.push(`${sent.length}`)
    return hub.publish(topic, eventOf(sent.at(-1)!))
  }
  for (let i = 0; i < 20; i++) await publish()
  const sink = new FakeSink()
  const subscription = await subscribe(hub, topic, sink, earliest)
  let isPublishing = true
  const publishing = (async () => {
    for (let i = 0; i < 500 && isPublishing; i++) await publish()
  })()
  await sink.until(() => subscription.state === 'live' || sent.length > 500)
  isPublishing = false
  assert.ok(sent.length < 200, `live after ${sent.length} events`)
  await publishing
  assert.deepEqual(sink.messages, sent)
  await hub.close()
})

test('many who wait for the same large step get it over many turns', async () => {
  const world = fakeWorld({ stepBytes: 64 * 1024 })
  const hub = await openHub(world)
  const { topic } = await hub.createTopic({ persist: true })
  await hub.publish(topic, eventOf('x'.repeat(100_000)))
  await hub.close()
  const again = await openHub(world)
  let writesInTurn = 0
  let most = 0
  const sinks = Array.from({ length: 200 }, () => {
    const sink = new FakeSink()
    sink.onWrite = () => {
      if (sink.writes.length < 2) return
      if (writesInTurn === 0) setImmediate(() => (writesInTurn = 0))
      most = Math.max(most, ++writesInTurn)
    }
    return sink
  })
  const from = await again.resolve(topic, earliest)
  for (const sink of sinks) again.subscribe(topic, sink, { from, heartbeat: 'comment' })
  await Promise.all(sinks.map((sink) => sink.until(({ messages }) => messages.length === 1)))
  assert.ok(most <= 8, `${most} writes of 100 kB in one turn`)
  await again.close()
})

test('live subscribers of a deleted topic end in the turn of the commit, and so do those that wait for their sink', async () => {
  const { world, hub, topic, publish } = await stage(5, 0)
  const liveSink = new FakeSink()
  await subscribe(hub, topic, liveSink, live)
  const stalled = new FakeSink()
  stalled.refuses = true
  await subscribe(hub, topic, stalled, earliest)
  await settled()
  publish('last words')
  const deleted = hub.deleteTopic(topic.id)
  await microtasks(3)
  world.durable.commit()
  assert.deepEqual(liveSink.messages, ['last words', '{"status": "closed"}'])
  assert.equal(liveSink.closeReason, 'topic-deleted')
  assert.equal(stalled.closeReason, 'topic-deleted')
  assert.deepEqual(stalled.messages, ['{"status": "closed"}'])
  await deleted
  await hub.close()
})

test('nothing is delivered before its commit, and a publish is answered after its delivery', async () => {
  const { world, hub, topic } = await stage(0, 0)
  const sink = new FakeSink()
  await subscribe(hub, topic, sink, live)
  let answered = false
  const publishing = hub.publish(topic, eventOf('one')).then(() => {
    answered = true
  })
  await settled()
  assert.deepEqual([sink.messages, answered], [[], false])
  world.durable.commit()
  assert.deepEqual([sink.messages, answered], [['one'], false])
  await publishing
  await hub.close()
})

test('row 49: a publish before the deletion is answered and delivered, one behind it finds no topic', async () => {
  const { world, hub, topic } = await stage(0, 0)
  const sink = new FakeSink()
  await subscribe(hub, topic, sink, live)
  const before = hub.publish(topic, eventOf('before'))
  const deleting = hub.deleteTopic(topic.id)
  const behind = hub.publish(topic, eventOf('behind'))
  const refused = assert.rejects(behind, (error) => error instanceof DomainError && error.code === 'TOPIC_UNKNOWN')
  await microtasks(5)
  world.durable.commit()
  const number = await before
  assert.equal(await deleting, true)
  await refused
  assert.equal(streamText(sink), `${frameText(number, eventOf('before'))}data: {"status": "closed"}\n\n`)
  assert.equal(sink.closeReason, 'topic-deleted')
  await hub.close()
})

test('a deletion that fails leaves the topic, and the publish that waited for it goes through', async () => {
  const { world, hub, topic } = await stage(0, 0)
  world.durable.refusal = new StorageError('STORAGE_WRITE', 'no')
  const deleting = hub.deleteTopic(topic.id)
  const publishing = hub.publish(topic, eventOf('still there'))
  await assert.rejects(deleting, (error) => error instanceof DomainError && error.code === 'BUSY')
  await microtasks(5)
  world.durable.commit()
  assert.ok((await publishing) > 0)
  assert.ok(hub.topic(topic.id) !== undefined)
  await hub.close()
})

test('an in-memory topic goes on after the durable log has failed, and durable streams go on reading', async () => {
  const world = fakeWorld()
  const hub = await openHub(world)
  const { topic } = await hub.createTopic({ persist: true })
  const { topic: passing } = await hub.createTopic({ persist: false })
  await hub.publish(topic, eventOf('kept'))
  world.durable.fail()
  await assert.rejects(hub.publish(topic, eventOf('lost')), (error) => (error as DomainError).code === 'STORE_FAILED')
  await assert.rejects(hub.deleteTopic(topic.id), (error) => (error as DomainError).code === 'STORE_FAILED')
  const [late, memory] = [new FakeSink(), new FakeSink()]
  await subscribe(hub, topic, late, earliest)
  await late.until(({ messages }) => messages.length === 1)
  await subscribe(hub, passing, memory, live)
  await hub.publish(passing, eventOf('goes on'))
  assert.deepEqual(memory.messages, ['goes on'])
  await hub.close()
})

test('without a durable log, persistent topics are refused and the others work', async () => {
  const { memory, numbers } = fakeWorld()
  const world = { durable: undefined, memory, numbers }
  const hub = await openHub(world)
  await assert.rejects(hub.createTopic({ persist: true }), (error) => (error as DomainError).code === 'STORE_OFF')
  const { topic } = await hub.createTopic({ persist: false })
  const sink = new FakeSink()
  await subscribe(hub, topic, sink, live)
  await hub.publish(topic, eventOf('one'))
  assert.deepEqual(sink.messages, ['one'])
  await hub.close()
})

test('a log that cannot be read cuts the stream off, and the next one goes on where it was', async () => {
  const failures: unknown[] = []
  const world = fakeWorld({ stepBytes: 30 })
  const hub = await openHub(world, { observer: { deliveryFailed: (_topic, error) => failures.push(error) } })
  const { topic } = await hub.createTopic({ persist: true })
  for (let i = 0; i < 5; i++) await hub.publish(topic, eventOf(`${i}`))
  world.durable.readFailure = new StorageError('STORAGE_READ', 'EIO')
  const sink = new FakeSink()
  await subscribe(hub, topic, sink, earliest)
  await sink.until(({ isClosed }) => isClosed)
  assert.equal(sink.closeReason, 'storage-failed')
  assert.equal(failures.length, 1)
  const back = new FakeSink()
  await subscribe(hub, topic, back, lastEventId(sink.ids.at(-1)!))
  await back.until(({ messages }) => messages.length === 5)
  await hub.close()
})

test('damage that a stream crosses is told once, in its place, and does not come again', async () => {
  const world = fakeWorld({ stepBytes: 10 })
  const hub = await openHub(world)
  const { topic } = await hub.createTopic({ persist: true })
  const { topic: unhurt } = await hub.createTopic({ persist: true })
  const numbers: number[] = []
  for (let i = 0; i < 6; i++) numbers.push(await hub.publish(topic, eventOf(`${i}`)))
  await hub.publish(unhurt, eventOf('elsewhere'))
  world.durable.damage(numbers[1]!, numbers[3]!)
  const sink = new FakeSink()
  await subscribe(hub, topic, sink, earliest)
  await sink.until(({ messages }) => messages.at(-1) === '5')
  assert.deepEqual(sink.messages, ['0', '1', '4', '5'])
  assert.equal(sink.events[2]!.type, 'sser.gap')
  assert.deepEqual(sink.gaps, [
    { resumes_after: formatEventId(numbers[3]!), reason: 'a damaged range of the log was skipped' },
  ])
  const back = new FakeSink()
  await subscribe(hub, topic, back, lastEventId(sink.gaps[0]!.resumes_after))
  await back.until(({ messages }) => messages.length === 2)
  assert.deepEqual(back.gaps, [])
  const other = new FakeSink()
  await subscribe(hub, unhurt, other, earliest)
  await other.until(({ messages }) => messages.length === 1)
  assert.deepEqual(other.gaps, [])
  await hub.close()
})

test('what the bound on memory drops ahead of a slow reader is told, and only to those who lost something', async () => {
  const world = fakeWorld({ stepBytes: 10 })
  const hub = await openHub(world, { options: { recentFramesBytesMax: 0 } })
  const { topic } = await hub.createTopic({ persist: false })
  const { topic: quiet } = await hub.createTopic({ persist: false })
  const slow = new FakeSink()
  const quietSink = new FakeSink()
  await subscribe(hub, topic, slow, live)
  const early = await hub.publish(quiet, eventOf('early'))
  await subscribe(hub, quiet, quietSink, live)
  slow.refuses = true
  quietSink.refuses = true
  const numbers: number[] = []
  await hub.publish(quiet, eventOf('taken by the full sink'))
  for (let i = 0; i < 6; i++) numbers.push(await hub.publish(topic, eventOf(`${i}`)))
  world.memory.evict(numbers[3]!)
  slow.drain()
  quietSink.drain()
  await slow.until(({ messages }) => messages.at(-1) === '5')
  assert.deepEqual(slow.messages, ['0', '4', '5'], 'the first one was taken before the sink was full')
  assert.deepEqual(slow.gaps, [
    { resumes_after: formatEventId(numbers[3]!), reason: 'older events are no longer kept' },
  ])
  await hub.publish(quiet, eventOf('later'))
  await quietSink.until(({ messages }) => messages.length === 2)
  assert.deepEqual(quietSink.gaps, [], 'its topic lost nothing that it had not got')
  // Below the mark: told at the beginning. `earliest` asks for nothing that is gone.
  const [below, first, timed] = [new FakeSink(), new FakeSink(), new FakeSink()]
  await subscribe(hub, quiet, below, lastEventId(early - 1))
  await subscribe(hub, topic, first, earliest)
  await subscribe(hub, topic, timed, { kind: 'time', timeMs: 0 })
  for (const sink of [first, timed]) await sink.until(({ messages }) => messages.length === 2)
  await below.until(({ messages }) => messages.length === 1)
  assert.deepEqual([below.gaps.length, first.gaps.length, timed.gaps.length], [1, 0, 1])
  await hub.close()
})

test('a reader whose topic lost nothing is told nothing, although the log was cut ahead of it', async () => {
  const world = fakeWorld({ stepBytes: 1 })
  const hub = await openHub(world, { options: { recentFramesBytesMax: 0 } })
  const { topic: quiet } = await hub.createTopic({ persist: false })
  const { topic: busy } = await hub.createTopic({ persist: false })
  await hub.publish(quiet, eventOf('first'))
  let cut = 0
  for (let i = 0; i < 5; i++) cut = await hub.publish(busy, eventOf(`${i}`))
  await hub.publish(quiet, eventOf('second'))
  await hub.publish(quiet, eventOf('third'))
  const sink = new FakeSink()
  sink.onWrite = () => {
    sink.refuses = sink.messages.length === 1
  }
  await subscribe(hub, quiet, sink, earliest)
  await sink.until(({ isWaitedFor }) => isWaitedFor)
  world.memory.evict(cut)
  sink.drain()
  await sink.until(({ messages }) => messages.length === 3)
  assert.deepEqual(sink.messages, ['first', 'second', 'third'])
  assert.deepEqual(sink.gaps, [])
  await hub.close()
})

test('a long replay lets the event loop turn, so that others are served meanwhile', async () => {
  const world = fakeWorld({ stepBytes: 64 * 1024 })
  const hub = await openHub(world, { options: { recentFramesBytesMax: 0 } })
  const { topic } = await hub.createTopic({ persist: true })
  const { topic: other } = await hub.createTopic({ persist: true })
  const big = 'x'.repeat(20_000)
  await Promise.all(Array.from({ length: 300 }, () => hub.publish(topic, eventOf(big))))
  const [reader, listener] = [new FakeSink(), new FakeSink()]
  await subscribe(hub, other, listener, live)
  await subscribe(hub, topic, reader, earliest)
  await hub.publish(other, eventOf('in between'))
  assert.deepEqual(listener.messages, ['in between'])
  assert.ok(reader.messages.length < 100, `${reader.messages.length} of 300 were sent before anybody else had a turn`)
  await reader.until(({ messages }) => messages.length === 300)
  await hub.close()
})

test('an idle stream gets a heartbeat in every period, of its kind, and one with traffic gets none', async () => {
  const clock = new FakeClock()
  const world = fakeWorld()
  const hub = await openHub(world, { clock })
  const { topic } = await hub.createTopic({ persist: false })
  const { topic: busy } = await hub.createTopic({ persist: false })
  const [comment, event, traffic] = [new FakeSink(), new FakeSink(), new FakeSink()]
  const from = await hub.resolve(topic, live)
  hub.subscribe(topic, comment, { from, heartbeat: 'comment' })
  hub.subscribe(topic, event, { from, heartbeat: 'event' })
  await subscribe(hub, busy, traffic, live)
  for (let second = 0; second < 40; second++) {
    await hub.publish(busy, eventOf('traffic'))
    clock.advance(1000)
  }
  assert.deepEqual(comment.comments, Array(10).fill('{"status": "tick"}'))
  assert.deepEqual(
    event.events.map(({ type, data }) => [type, data]),
    Array(10).fill(['sser.heartbeat', '{"interval_ms":4000}']),
  )
  assert.ok(traffic.comments.length <= 1, 'none but perhaps before the first traffic')
  assert.deepEqual(event.ids.length, 1, 'a heartbeat has no id')
  await hub.close()
})

test('streams end between two events after 80 to 100 % of their age', async () => {
  const clock = new FakeClock()
  const world = fakeWorld()
  const hub = await openHub(world, { clock, options: { streamAgeMsMax: 100_000 } })
  const { topic } = await hub.createTopic({ persist: false })
  const sinks = Array.from({ length: 50 }, () => new FakeSink())
  for (const sink of sinks) await subscribe(hub, topic, sink, live)
  clock.advance(79_000)
  assert.ok(sinks.every(({ isClosed }) => !isClosed))
  clock.advance(11_000)
  const ended = sinks.filter(({ isClosed }) => isClosed).length
  assert.ok(ended > 0 && ended < 50, `${ended} of 50 at 90 %`)
  clock.advance(15_000)
  assert.ok(sinks.every(({ closeReason }) => closeReason === 'stream-age'))
  await hub.close()
})

test('a peer that takes nothing is cut off after the write timeout, a slow one is not', async () => {
  const clock = new FakeClock()
  const world = fakeWorld()
  const hub = await openHub(world, { clock })
  const { topic } = await hub.createTopic({ persist: false })
  const { topic: idle } = await hub.createTopic({ persist: false })
  const [dead, slow, deadAndIdle, well] = [new FakeSink(), new FakeSink(), new FakeSink(), new FakeSink()]
  for (const sink of [dead, slow]) await subscribe(hub, topic, sink, live)
  for (const sink of [deadAndIdle, well]) await subscribe(hub, idle, sink, live)
  for (const sink of [dead, slow, deadAndIdle]) sink.isStuck = true
  for (const sink of [dead, slow]) sink.refuses = true
  await hub.publish(topic, eventOf('stuck'))
  for (let second = 0; second < 60; second++) {
    clock.advance(1000)
    if (second % 15 === 0) slow.bytesAccepted += 1
    if (second === 15) assert.equal(dead.isClosed, false)
  }
  assert.equal(dead.closeReason, 'write-timeout')
  assert.equal(deadAndIdle.closeReason, 'write-timeout', 'heartbeats that are not taken show it')
  assert.deepEqual([slow.isClosed, well.isClosed], [false, false])
  await hub.close()
})

test('a peer that was sent nothing for longer than the write timeout is not taken for one that takes nothing', async () => {
  const clock = new FakeClock()
  const hub = await openHub(fakeWorld(), { clock, options: { heartbeatMs: 60_000, writeTimeoutMs: 10_000 } })
  const { topic } = await hub.createTopic({ persist: false })
  const sink = new FakeSink()
  await subscribe(hub, topic, sink, live)
  for (let minute = 0; minute < 6; minute++) {
    // In the period of an event there is no heartbeat, and in the next one nothing at all.
    if (minute % 3 === 0) await hub.publish(topic, eventOf('now and then'))
    clock.advance(60_000)
  }
  assert.deepEqual([sink.closeReason, sink.messages.length], [undefined, 2])
  sink.isStuck = true
  clock.advance(200_000)
  assert.equal(sink.closeReason, 'write-timeout')
  await hub.close()
})

test('a peer that does not take the end of its stream is cut off as well', async () => {
  const clock = new FakeClock()
  const world = fakeWorld()
  const hub = await openHub(world, { clock })
  const { topic } = await hub.createTopic({ persist: false })
  const sink = new FakeSink({ endsByItself: false })
  await subscribe(hub, topic, sink, live)
  sink.isStuck = true
  const drained = hub.drain()
  clock.advance(30_000)
  await drained
  await hub.close()
})
