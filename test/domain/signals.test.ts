/** What `signals` adds to a stream: where it begins, and that it has reached the present. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { formatEventId } from '../../src/domain/event-id.ts'
import { FakeSink } from '../support/fake-sink.ts'
import { earliest, eventOf, lastEventId, live, openHub, subscribe } from '../support/hub-events.ts'
import { fakeWorld, realWorld } from '../support/hub-worlds.ts'

const PLACES = 30

/** Types of the server's own, and messages, in the order of the stream. */
function story(sink: FakeSink): string[] {
  return sink.events.map(({ type, data }) => (type.startsWith('sser.') ? type : data))
}

function dataOf(sink: FakeSink, type: string): unknown[] {
  return sink.events.filter((event) => event.type === type).map(({ data }) => JSON.parse(data))
}

async function microtasks(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await Promise.resolve()
}

async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await nextTurn()
}

for (const persist of [true, false]) {
  const kind = persist ? 'durable' : 'in-memory'

  test(`a ${kind} stream opens with its place, and is caught up when it has all that there was`, async () => {
    const world = await realWorld()
    const hub = await openHub(world)
    const { topic } = await hub.createTopic({ persist })
    const empty = new FakeSink()
    await subscribe(hub, topic, empty, live, true)
    assert.deepEqual(dataOf(empty, 'sser.open')[0], {
      resumes_after: empty.ids[0],
      last_id: '00000000000',
    })
    const numbers = await hub.publishAll(topic, [eventOf('one'), eventOf('two', { id: 'mine' }), eventOf('three')])
    const [first, , last] = numbers.map(formatEventId)
    assert.deepEqual(story(empty), ['sser.open', 'sser.caught-up', 'one', 'two', 'three'])

    const back = new FakeSink()
    await subscribe(hub, topic, back, lastEventId(first!), true)
    await back.until(({ events }) => events.at(-1)?.type === 'sser.caught-up')
    await hub.publish(topic, eventOf('four'))
    assert.deepEqual(story(back), ['sser.open', 'two', 'three', 'sser.caught-up', 'four'])
    assert.deepEqual(dataOf(back, 'sser.open'), [{ resumes_after: first, last_id: last }])
    assert.deepEqual(dataOf(back, 'sser.caught-up'), [{ last_id: last }])
    assert.equal(back.events[0]?.lastEventId, first, 'the event itself has the id')
    await hub.close()
    await world.close()
  })
}

test('where there is a gap, the place stands right behind it, in the same write', async () => {
  const hub = await openHub(fakeWorld())
  const { topic } = await hub.createTopic({ persist: false })
  await hub.publish(topic, eventOf('one'))
  const sink = new FakeSink()
  const subscription = await subscribe(hub, topic, sink, lastEventId('never published'), true)
  const id = formatEventId(subscription.resumedAfter)
  const first = Buffer.from(sink.writes[0]!).toString()
  assert.match(
    first,
    new RegExp(`^retry: \\d+\n\nevent: sser.gap\ndata: .*\n\nid: ${id}\nevent: sser.open\ndata: .*\n\n$`),
  )
  assert.equal(dataOf(sink, 'sser.open').length, 1)
  await hub.close()
})

test('being caught up is told once, whatever fills the sink, and nothing is lost or doubled around it', async () => {
  // Which write is refused: none, the first bytes, the replay, the signal, a live event.
  for (let refusedWrite = -1; refusedWrite < 5; refusedWrite++) {
    for (let place = 0; place < PLACES; place++) {
      const world = fakeWorld({ commits: 'manual' })
      const hub = await openHub(world)
      const creating = hub.createTopic({ persist: true })
      world.durable.commit()
      const { topic } = await creating
      const publish = (text: string) => void hub.publish(topic, eventOf(text))
      publish('kept')
      await microtasks(5)
      world.durable.commit()
      const sink = new FakeSink()
      let writes = 0
      sink.onWrite = () => {
        if (writes++ === refusedWrite) sink.refuses = true
      }
      await subscribe(hub, topic, sink, earliest, true)
      publish('first')
      await microtasks(place)
      world.durable.commit()
      publish('second')
      await microtasks(place % 7)
      sink.drain()
      await microtasks(place % 11)
      world.durable.commit()
      await settled()
      sink.drain()
      await settled()
      assert.deepEqual(sink.messages, ['kept', 'first', 'second'], `write ${refusedWrite}, place ${place}`)
      const told = story(sink)
      assert.equal(told[0], 'sser.open')
      assert.equal(told.filter((each) => each === 'sser.caught-up').length, 1, told.join())
      const through = told.slice(0, told.indexOf('sser.caught-up')).length - 1
      assert(through >= 1, 'what was there at the beginning comes before it')
      await hub.close()
    }
  }
})

test('a sink that the signal fills gets nothing more until it has drained', async () => {
  const hub = await openHub(fakeWorld())
  const { topic } = await hub.createTopic({ persist: true })
  const sink = new FakeSink()
  sink.onWrite = () => {
    if (sink.text.includes('sser.caught-up')) sink.refuses = true
  }
  const subscription = await subscribe(hub, topic, sink, live, true)
  assert.equal(subscription.state, 'catching-up')
  await hub.publish(topic, eventOf('one'))
  assert.deepEqual(story(sink), ['sser.open', 'sser.caught-up'])
  sink.onWrite = undefined
  sink.drain()
  await sink.until(({ messages }) => messages.length === 1)
  await settled()
  assert.equal(subscription.state, 'live')
  assert.deepEqual(story(sink), ['sser.open', 'sser.caught-up', 'one'])
  await hub.close()
})
