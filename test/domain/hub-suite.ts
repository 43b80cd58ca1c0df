/**
 * What the hub promises, over any pair of logs: the same tests run over the fake log and over the engine. They do not
 * say when a log commits; the tests that do are in hub-join.test.ts.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DomainError, type DomainErrorCode } from '../../src/domain/errors.ts'
import { formatEventId } from '../../src/domain/event-id.ts'
import { type Hub, METRICS_TOPIC_ID, type Topic } from '../../src/domain/hub.ts'
import { hashToken } from '../../src/domain/token.ts'
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
import type { HubWorld } from '../support/hub-worlds.ts'

const TEST_TIMEOUT_MS = 120_000

export function hubSuite(name: string, makeWorld: () => Promise<HubWorld>): void {
  const check = (sentence: string, body: (world: HubWorld) => Promise<void>) =>
    test(`${name}: ${sentence}`, { timeout: TEST_TIMEOUT_MS }, async () => {
      const world = await makeWorld()
      try {
        await body(world)
      } finally {
        await world.close()
      }
    })

  for (const persist of [true, false]) {
    const kind = persist ? 'durable' : 'in-memory'

    check(`${kind} events reach a live subscriber in order, once, with their numbers`, async (world) => {
      const hub = await openHub(world)
      const { topic } = await hub.createTopic({ persist })
      const sink = new FakeSink()
      const subscription = await subscribe(hub, topic, sink, live)
      assert.equal(subscription.state, 'live')
      const events = [eventOf('one'), eventOf('two\r\nlines', { type: 'note' }), eventOf('three', { id: 'mine' })]
      const numbers = await Promise.all(events.map((event) => hub.publish(topic, event)))
      assert.deepEqual(
        numbers,
        numbers.toSorted((a, b) => a - b),
      )
      assert.equal(streamText(sink), numbers.map((number, i) => frameText(number, events[i]!)).join(''))
      await hub.close()
    })

    check(`a ${kind} replay is byte for byte what was sent live`, async (world) => {
      const hub = await openHub(world)
      const { topic } = await hub.createTopic({ persist })
      const witness = new FakeSink()
      await subscribe(hub, topic, witness, live)
      for (let i = 0; i < 50; i++)
        await hub.publish(topic, eventOf(`event ${i}\n${'x'.repeat(i * 7)}`, { id: `k${i}` }))
      const late = new FakeSink()
      await subscribe(hub, topic, late, earliest)
      await late.until(({ messages }) => messages.length === 50)
      assert.equal(streamText(late), streamText(witness))
      // The same without the frames that are remembered.
      const other = await openHub(world, { options: { recentFramesBytesMax: 0 } })
      if (persist) {
        const read = new FakeSink()
        await subscribe(other, other.topic(topic.id)!, read, earliest)
        await read.until(({ messages }) => messages.length === 50)
        assert.equal(streamText(read), streamText(witness))
      }
      await hub.close()
      await other.close()
    })

    check(`a ${kind} stream begins with retry and the number of its place`, async (world) => {
      const hub = await openHub(world)
      const { topic } = await hub.createTopic({ persist })
      const number = await hub.publish(topic, eventOf('one'))
      const fresh = new FakeSink()
      await subscribe(hub, topic, fresh, live)
      assert.equal(fresh.writes.length, 1)
      assert.equal(fresh.retries.length, 1)
      assert.ok(fresh.retries[0]! >= 1000 && fresh.retries[0]! <= 2000)
      assert.deepEqual(fresh.ids, [formatEventId(number)])
      await hub.publish(topic, eventOf('two'))
      const back = new FakeSink()
      const subscription = await subscribe(hub, topic, back, lastEventId(number))
      assert.equal(subscription.resumedAfter, number)
      assert.equal(back.ids[0], formatEventId(number), 'never later than what was asked for')
      await back.until(({ messages }) => messages.length === 1)
      assert.deepEqual(back.messages, ['two'])
      assert.deepEqual(back.gaps, [])
      await hub.close()
    })

    check(
      `a ${kind} client that returns with any id that it ever had misses nothing and gets no gap`,
      async (world) => {
        const hub = await openHub(world)
        const { topic } = await hub.createTopic({ persist })
        const { topic: other } = await hub.createTopic({ persist })
        const witness = new FakeSink()
        await subscribe(hub, topic, witness, live)
        for (let i = 0; i < 20; i++) {
          await hub.publish(other, eventOf('elsewhere'))
          await hub.publish(topic, eventOf(`${i}`))
        }
        for (const [index, id] of witness.ids.entries()) {
          const back = new FakeSink()
          await subscribe(hub, topic, back, lastEventId(id))
          await back.until(({ messages }) => messages.length === 20 - index)
          assert.deepEqual(back.messages, witness.messages.slice(index))
          assert.deepEqual(back.gaps, [])
        }
        await hub.close()
      },
    )

    check(
      `${kind} events that are published together reach a live subscriber in one write, in order`,
      async (world) => {
        let received = 0
        const figureChanged = (name: string, change: number) => {
          if (name === 'message_received') received += change
        }
        const hub = await openHub(world, { observer: { figureChanged } })
        const { topic } = await hub.createTopic({ persist })
        const sink = new FakeSink()
        await subscribe(hub, topic, sink, live)
        // More than the logs of the tests write as one batch otherwise.
        const events = Array.from({ length: 300 }, (_, i) => eventOf(`${i} ${'x'.repeat(100)}`, { id: `k${i}` }))
        const [before, numbers, after] = await Promise.all([
          hub.publish(topic, eventOf('before')),
          hub.publishAll(topic, events),
          hub.publish(topic, eventOf('after')),
        ])
        assert.deepEqual(
          [before, ...numbers, after],
          [before, ...numbers, after].toSorted((a, b) => a - b),
        )
        const frames = numbers.map((number, i) => frameText(number, events[i]!)).join('')
        const writes = sink.writes.map((bytes) => Buffer.from(bytes).toString('utf8'))
        assert.equal(writes.filter((text) => text.includes(frames)).length, 1)
        assert.equal(sink.messages.length, 302)
        assert.equal(received, 302)
        assert.deepEqual(pick(hub, 'message_received', 'message_sent'), [302, 302])
        await hub.close()
      },
    )

    check(`${kind} events that are published together after a deletion are refused, all of them`, async (world) => {
      const hub = await openHub(world)
      const { topic } = await hub.createTopic({ persist })
      const sink = new FakeSink()
      await subscribe(hub, topic, sink, live)
      const inTime = hub.publishAll(topic, [eventOf('last'), eventOf('words')])
      const deletion = hub.deleteTopic(topic.id)
      const late = hub.publishAll(topic, [eventOf('too'), eventOf('late')])
      assert.equal((await inTime).length, 2)
      assert.equal(await deletion, true)
      await rejectsWith(late, 'TOPIC_UNKNOWN')
      assert.deepEqual(sink.messages, ['last', 'words', '{"status": "closed"}'])
      assert.deepEqual(pick(hub, 'message_received'), [2])
      await hub.close()
    })

    check(`deleting a ${kind} topic ends its streams with the closed block`, async (world) => {
      const hub = await openHub(world)
      const { topic } = await hub.createTopic({ persist })
      const sink = new FakeSink()
      await subscribe(hub, topic, sink, live)
      const published = hub.publish(topic, eventOf('last words'))
      const deletions = [hub.deleteTopic(topic.id), hub.deleteTopic(topic.id)]
      const late = hub.publish(topic, eventOf('too late'))
      assert.ok((await published) > 0)
      assert.deepEqual(await Promise.all(deletions), [true, true])
      await rejectsWith(late, 'TOPIC_UNKNOWN')
      assert.deepEqual(sink.messages, ['last words', '{"status": "closed"}'])
      assert.equal(sink.closeReason, 'topic-deleted')
      assert.equal(hub.topic(topic.id), undefined)
      assert.equal(await hub.deleteTopic(topic.id), false)
      await rejectsWith(hub.publish(topic, eventOf('gone')), 'TOPIC_UNKNOWN')
      await rejectsWith(hub.resolve(topic, live), 'TOPIC_UNKNOWN')
      assert.throws(
        () =>
          hub.subscribe(topic, new FakeSink(), {
            from: { after: 0, gap: undefined, live: true },
            heartbeat: 'comment',
          }),
        (error) => error instanceof DomainError && error.code === 'TOPIC_UNKNOWN',
      )
      await hub.close()
    })

    check(`a ${kind} subscriber whose sink is full gets everything from the log, and is live again`, async (world) => {
      const hub = await openHub(world)
      const { topic } = await hub.createTopic({ persist })
      const sink = new FakeSink()
      const subscription = await subscribe(hub, topic, sink, live)
      sink.refuses = true
      const sent: string[] = []
      for (let i = 0; i < 30; i++) {
        sent.push(`${i}`)
        await hub.publish(topic, eventOf(`${i}`))
      }
      assert.deepEqual(sink.messages, ['0'], 'one write was refused, and no other was made')
      assert.equal(subscription.state, 'catching-up')
      sink.drain()
      await sink.until(() => subscription.state === 'live' || sink.messages.length === 30)
      assert.deepEqual(sink.messages, sent)
      await hub.publish(topic, eventOf('and on'))
      assert.deepEqual(sink.messages, [...sent, 'and on'])
      assert.equal(subscription.state, 'live')
      await hub.close()
    })

    check(`a ${kind} sink that is full a thousand times loses and doubles nothing`, async (world) => {
      const hub = await openHub(world)
      const { topic } = await hub.createTopic({ persist })
      const sink = new FakeSink()
      await subscribe(hub, topic, sink, live)
      const sent: string[] = []
      for (let i = 0; i < 1000; i++) {
        sink.refuses = true
        sent.push(`${i}`)
        await hub.publish(topic, eventOf(`${i}`))
        if (i % 3 !== 0) sink.drain()
      }
      sink.drain()
      await sink.until(({ messages }) => messages.length >= 1000)
      assert.deepEqual(sink.messages, sent)
      await hub.close()
    })
  }

  check(
    'topics, tokens and events of the durable log are there after a restart, and those in memory are not',
    async (world) => {
      const hub = await openHub(world)
      const kept = await hub.createTopic({ persist: true })
      const deleted = await hub.createTopic({ persist: true })
      const passing = await hub.createTopic({ persist: false })
      const numbers = [await hub.publish(kept.topic, eventOf('one')), await hub.publish(kept.topic, eventOf('two'))]
      await hub.deleteTopic(deleted.topic.id)
      await hub.close()
      const next = await world.restart()
      const again = await openHub(next)
      const topic = again.topic(kept.topic.id)
      assert.ok(topic !== undefined)
      assert.deepEqual(Buffer.from(topic.tokenSha256), Buffer.from(hashToken(kept.token)))
      assert.equal(topic.persist, true)
      assert.equal(again.topic(deleted.topic.id), undefined)
      assert.equal(again.topic(passing.topic.id), undefined)
      assert.deepEqual(pick(again, 'topics', 'active_topics'), [1, 1])
      const sink = new FakeSink()
      await subscribe(again, topic, sink, lastEventId(numbers[0]!))
      await sink.until(({ messages }) => messages.length === 1)
      assert.deepEqual(sink.messages, ['two'])
      assert.deepEqual(sink.gaps, [], 'a restart loses nothing that was acknowledged')
      const newest = new FakeSink()
      await subscribe(again, topic, newest, lastEventId(numbers[1]!))
      await again.publish(topic, eventOf('three'))
      assert.deepEqual(newest.messages, ['three'])
      assert.deepEqual(newest.gaps, [])
      await again.close()
      await next.close()
    },
  )

  check(
    'a durable client that was primed with a number of this start resumes over the next one without a gap',
    async (world) => {
      const hub = await openHub(world)
      const { topic } = await hub.createTopic({ persist: true })
      const { topic: noise } = await hub.createTopic({ persist: false })
      for (let i = 0; i < 5; i++) await hub.publish(noise, eventOf('in memory'))
      const sink = new FakeSink()
      await subscribe(hub, topic, sink, live)
      await hub.close()
      const next = await world.restart()
      const again = await openHub(next)
      const back = new FakeSink()
      await subscribe(again, again.topic(topic.id)!, back, lastEventId(sink.ids.at(-1)!))
      assert.deepEqual(back.gaps, [])
      await again.close()
      await next.close()
    },
  )

  check('a number that a restart has skipped is a gap that begins where the range begins', async (world) => {
    const hub = await openHub(world)
    const { topic } = await hub.createTopic({ persist: true })
    const last = await hub.publish(topic, eventOf('one'))
    const { topic: noise } = await hub.createTopic({ persist: false })
    const ahead = await hub.publish(noise, eventOf('a later number'))
    await hub.close()
    const next = await world.restart()
    const again = await openHub(next)
    await again.publish(again.topic(topic.id)!, eventOf('two'))
    const sink = new FakeSink()
    await subscribe(again, again.topic(topic.id)!, sink, lastEventId(ahead))
    await sink.until(({ messages }) => messages.length > 0)
    assert.deepEqual(sink.messages, ['two'])
    assert.equal(sink.gaps.length, 1)
    assert.equal(sink.gaps[0]!.requested, formatEventId(ahead))
    assert.ok(sink.gaps[0]!.resumes_after >= formatEventId(last))
    // Returning with what the gap said is no gap again.
    const back = new FakeSink()
    await subscribe(again, again.topic(topic.id)!, back, lastEventId(sink.gaps[0]!.resumes_after))
    await back.until(({ messages }) => messages.length > 0)
    assert.deepEqual(back.gaps, [])
    await again.close()
    await next.close()
  })

  check(
    'a static topic is there again after a restart, empty, and its old numbers are a gap that is told once',
    async (world) => {
      const hub = await openHub(world)
      const definition = { id: '0000000000z', name: 'news', token: 'secret' }
      const topic = hub.addStaticTopic(definition)
      const number = await hub.publish(topic, eventOf('one'))
      await rejectsWith(hub.deleteTopic(topic.id), 'STATIC_TOPIC')
      await hub.close()
      const next = await world.restart()
      const again = await openHub(next)
      const same = again.addStaticTopic(definition)
      assert.equal(same.id, topic.id)
      assert.notEqual(same.streamId, topic.streamId)
      const sink = new FakeSink()
      await subscribe(again, same, sink, lastEventId(number))
      assert.equal(sink.gaps.length, 1)
      const id = sink.ids.at(-1)!
      const back = new FakeSink()
      await subscribe(again, same, back, lastEventId(id))
      assert.deepEqual(back.gaps, [], 'the number behind the gap says that it is known')
      await again.publish(same, eventOf('two'))
      assert.deepEqual(back.messages, ['two'])
      await again.close()
      await next.close()
    },
  )

  check(
    'a client without a cursor is primed with a number that a quiet in-memory topic takes back without a gap',
    async (world) => {
      const hub = await openHub(world)
      const topic = hub.addStaticTopic({ id: '0000000000z', name: 'news', token: 'secret' })
      const sink = new FakeSink()
      await subscribe(hub, topic, sink, live)
      const back = new FakeSink()
      await subscribe(hub, topic, back, lastEventId(sink.ids[0]!))
      assert.deepEqual(back.gaps, [])
      await hub.publish(topic, eventOf('one'))
      assert.deepEqual([sink.messages, back.messages], [['one'], ['one']])
      await hub.close()
    },
  )

  check("the same publisher's id a thousand times leaves no hole wherever a client is cut", async (world) => {
    const hub = await openHub(world)
    const { topic } = await hub.createTopic({ persist: true })
    const witness = new FakeSink()
    await subscribe(hub, topic, witness, live)
    await Promise.all(Array.from({ length: 1000 }, (_, i) => hub.publish(topic, eventOf(`${i}`, { id: 'UPDATE' }))))
    assert.equal(witness.messages.length, 1000)
    const text = streamText(witness)
    for (let cut = 0; cut < text.length; cut += 1511) {
      const client = cutClient(text.slice(0, cut), witness.ids[0]!)
      const back = new FakeSink()
      await subscribe(hub, topic, back, lastEventId(client.id))
      await back.until(({ messages }) => messages.at(-1) === '999')
      const all = [...client.messages, ...back.messages]
      // Cut between an event and the block with its number, the client has only the id that was used again and again:
      // the earliest use counts, so that something comes twice and nothing is missing.
      const missing = witness.messages.filter((message) => !all.includes(message))
      assert.deepEqual(missing, [], `cut at ${cut}`)
      assert.deepEqual(back.messages, witness.messages.slice(1000 - back.messages.length))
    }
    await hub.close()
  })

  check("a publisher's id resumes behind its earliest use, also where it could be a number", async (world) => {
    const hub = await openHub(world)
    const { topic } = await hub.createTopic({ persist: true })
    for (const id of ['42', 'order000001', '00000000042', 'größe 1', '42', 'zzzzzzzzzzz']) {
      await hub.publish(topic, eventOf(`event ${id}`, { id }))
    }
    for (const [id, count] of [
      ['42', 5],
      [' 42\t', 5],
      ['order000001', 4],
      ['00000000042', 3],
      ['größe 1', 2],
      ['zzzzzzzzzzz', 0],
    ] as const) {
      const sink = new FakeSink()
      await subscribe(hub, topic, sink, lastEventId(id))
      await sink.until(({ messages }) => messages.length >= count)
      assert.equal(sink.messages.length, count, `after ${id}`)
      assert.deepEqual(sink.gaps, [], `no gap after ${id}`)
    }
    await hub.close()
  })

  check(
    "a publisher's id that equals a server's number is read both ways, and the earlier place wins",
    async (world) => {
      const hub = await openHub(world)
      const { topic } = await hub.createTopic({ persist: true })
      const first = await hub.publish(topic, eventOf('one'))
      await hub.publish(topic, eventOf('two'))
      await hub.publish(topic, eventOf('three', { id: formatEventId(first) }))
      const sink = new FakeSink()
      await subscribe(hub, topic, sink, lastEventId(first))
      await sink.until(({ messages }) => messages.length >= 2)
      assert.deepEqual(sink.messages, ['two', 'three'])
      await hub.close()
    },
  )

  check('an id that nobody ever gave replays what is kept, with one gap in front that says so', async (world) => {
    const hub = await openHub(world)
    const { topic } = await hub.createTopic({ persist: true })
    await hub.publish(topic, eventOf('one'))
    for (const id of [formatEventId(2 ** 52), 'AzL8n0Y58m7', 'no such id!', 'ünbekannt']) {
      const sink = new FakeSink()
      await subscribe(hub, topic, sink, lastEventId(id))
      await sink.until(({ messages }) => messages.length === 1)
      assert.deepEqual(
        sink.gaps.map(({ requested }) => requested),
        [id],
      )
      assert.equal(sink.events[0]!.type, 'sser.gap', 'the gap comes first')
      assert.equal(sink.gaps[0]!.resumes_after, sink.ids[0], 'the number right behind it')
    }
    await rejectsWith(hub.resolve(topic, lastEventId('x'.repeat(257))), 'INVALID')
    await hub.close()
  })

  check('a time resumes at the first event of that time or later', async (world) => {
    const hub = await openHub(world)
    const { topic } = await hub.createTopic({ persist: true })
    await hub.publish(topic, eventOf('one'))
    const all = new FakeSink()
    await subscribe(hub, topic, all, { kind: 'time', timeMs: 0 })
    await all.until(({ messages }) => messages.length === 1)
    const none = new FakeSink()
    const subscription = await subscribe(hub, topic, none, { kind: 'time', timeMs: Date.now() + 3_600_000 })
    await hub.publish(topic, eventOf('two'))
    await none.until(() => subscription.state === 'live')
    assert.deepEqual(none.messages, ['two'])
    assert.deepEqual([all.gaps, none.gaps], [[], []])
    await hub.close()
  })

  check('a thousand clients that resume from the same place read the log once for each step', async (world) => {
    const hub = await openHub(world)
    const { topic } = await hub.createTopic({ persist: true })
    for (let i = 0; i < 200; i++) await hub.publish(topic, eventOf(`${i} ${'x'.repeat(900)}`))
    await hub.close()
    const again = await openHub(world)
    let steps = 0
    const { durable } = world
    const cursor = durable.cursor.bind(durable)
    durable.cursor = (after, streamId) => {
      const inner = cursor(after, streamId)
      const next = inner.next.bind(inner)
      inner.next = () => {
        steps += 1
        return next()
      }
      return inner
    }
    const sinks = Array.from({ length: 1000 }, () => new FakeSink())
    const same = again.topic(topic.id)!
    await Promise.all(sinks.map((sink) => subscribe(again, same, sink, earliest)))
    await Promise.all(sinks.map((sink) => sink.until(({ messages }) => messages.length === 200)))
    const stepsOfOne = new Set(sinks[0]!.writes.slice(1)).size
    assert.ok(steps <= stepsOfOne + 2, `${steps} reads for ${stepsOfOne} steps`)
    await again.close()
  })

  check('figures count what the wire document says', async (world) => {
    const changes = new Map<string, number>()
    const observer = {
      figureChanged: (name: string, change: number) => void changes.set(name, (changes.get(name) ?? 0) + change),
    }
    const hub = await openHub(world, { observer })
    const metrics = hub.addStaticTopic({ id: METRICS_TOPIC_ID, name: 'metrics', token: 'm' })
    const news = hub.addStaticTopic({ id: '0000000000n', name: 'news', token: 'n' })
    const { topic } = await hub.createTopic({ persist: true })
    const { topic: passing } = await hub.createTopic({ persist: false })
    const sinks = [new FakeSink(), new FakeSink(), new FakeSink()]
    for (const sink of sinks) await subscribe(hub, topic, sink, live)
    const own = new FakeSink()
    await subscribe(hub, metrics, own, live)
    await hub.publish(metrics, eventOf('not counted'))
    assert.deepEqual(own.messages, ['not counted'])
    await hub.publish(topic, eventOf('a'))
    await hub.publish(news, eventOf('nobody listens'))
    sinks[0]!.end()
    await hub.publish(topic, eventOf('b'))
    const late = new FakeSink()
    await subscribe(hub, topic, late, earliest)
    await late.until(({ messages }) => messages.length === 2)
    await hub.deleteTopic(passing.id)
    const expected = {
      topics: 4,
      static_topics: 2,
      active_topics: 3,
      subscribers: 5,
      active_subscribers: 4,
      message_received: 3,
      message_sent: 3 + 2 + 2,
    }
    assert.deepEqual(hub.figures(), expected)
    assert.deepEqual(Object.fromEntries(changes), expected)
    await hub.close()
  })

  check('limits on topics and subscribers are told as such', async (world) => {
    const hub = await openHub(world, { options: { topicsMax: 2, subscribersMax: 1 } })
    const attempts = await Promise.allSettled([1, 2, 3].map(() => hub.createTopic({ persist: true })))
    assert.deepEqual(
      attempts.map(({ status }) => status),
      ['fulfilled', 'fulfilled', 'rejected'],
    )
    await rejectsWith(hub.createTopic({ persist: false }), 'LIMIT')
    const created = attempts[0] as PromiseFulfilledResult<{ topic: Topic; token: string }>
    const { topic } = created.value
    const sink = new FakeSink()
    await subscribe(hub, topic, sink, live)
    await rejectsWith(subscribe(hub, topic, new FakeSink(), live), 'LIMIT')
    sink.end()
    await subscribe(hub, topic, new FakeSink(), live)
    await hub.deleteTopic(topic.id)
    await hub.createTopic({ persist: false })
    await hub.close()
  })

  check(
    'draining ends each stream with a time to come back, lets publishes through, and refuses new streams',
    async (world) => {
      const hub = await openHub(world)
      const { topic } = await hub.createTopic({ persist: true })
      const sinks = Array.from({ length: 5 }, () => new FakeSink({ endsByItself: false }))
      for (const sink of sinks) await subscribe(hub, topic, sink, live)
      let isDrained = false
      const drained = hub.drain().then(() => {
        isDrained = true
      })
      for (const sink of sinks) {
        assert.equal(sink.closeReason, 'stopping')
        assert.equal(sink.retries.length, 2)
        assert.ok(sink.retries[1]! >= 1000 && sink.retries[1]! <= 6000)
      }
      await rejectsWith(subscribe(hub, topic, new FakeSink(), live), 'CLOSED')
      await hub.publish(topic, eventOf('while draining'))
      for (const sink of sinks) {
        assert.equal(isDrained, false)
        sink.end()
      }
      await drained
      await hub.close()
      await rejectsWith(hub.publish(topic, eventOf('closed')), 'CLOSED')
      await rejectsWith(hub.createTopic({ persist: true }), 'CLOSED')
    },
  )

  check('a client that is gone before it is registered gets a subscription that is closed already', async (world) => {
    const hub = await openHub(world)
    const { topic } = await hub.createTopic({ persist: true })
    const sink = new FakeSink()
    sink.end()
    const subscription = await subscribe(hub, topic, sink, live)
    assert.equal(subscription.state, 'closed')
    assert.equal(sink.writes.length, 0)
    assert.deepEqual(pick(hub, 'subscribers', 'active_subscribers'), [1, 0])
    await hub.close()
  })

  check('closing leaves no timer', async (world) => {
    const clock = new FakeClock()
    const hub = await openHub(world, { clock })
    assert.ok(clock.timerCount > 0)
    await Promise.all([hub.close(), hub.close()])
    assert.equal(clock.timerCount, 0)
  })
}

async function rejectsWith(promise: Promise<unknown>, code: DomainErrorCode): Promise<void> {
  await assert.rejects(promise, (error) => error instanceof DomainError && error.code === code)
}

function pick(hub: Hub, ...names: readonly (keyof ReturnType<Hub['figures']>)[]): number[] {
  const figures = hub.figures()
  return names.map((name) => figures[name])
}

/** What a browser that was cut here has: the events that were complete, and its last event id. */
function cutClient(text: string, primedWith: string): { messages: string[]; id: string } {
  const messages: string[] = []
  let id = primedWith
  for (const block of text.split('\n\n').slice(0, -1)) {
    const lines = block.split('\n')
    for (const line of lines) if (line.startsWith('id: ')) id = line.slice(4)
    const data = lines.filter((line) => line.startsWith('data: ')).map((line) => line.slice(6))
    if (data.length > 0) messages.push(data.join('\n'))
  }
  return { messages, id }
}
