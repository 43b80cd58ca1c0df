/**
 * The hub against a list per topic: random publishes, subscribes from anywhere, sinks that are full or leave, deletions,
 * restarts (over the engine each is a loss of power). What each subscriber got must be, byte for byte, the events of its
 * topic from the place where it began: no hole, no twin, in order.
 *
 * A failing run is repeated by its seed: HUB_MODEL_SEED=… HUB_MODEL_STEPS=… node --import tsx --test THIS_FILE
 */

import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { formatEventId, parseEventId } from '../../src/domain/event-id.ts'
import type { EventInput, Hub, ResumeRequest, Topic } from '../../src/domain/hub.ts'
import type { Subscription } from '../../src/domain/subscription.ts'
import { FakeSink } from '../support/fake-sink.ts'
import { eventOf, frameText, lastEventId, openHub, streamText } from '../support/hub-events.ts'
import { fakeWorld, type HubWorld, realWorld } from '../support/hub-worlds.ts'
import { Random } from '../support/random.ts'
import { test } from '../support/unwatched.ts'

const STEPS = Number(process.env['HUB_MODEL_STEPS'] ?? 10_000)
const TOPICS_MAX = 6
const SUBSCRIBERS_MAX = 30
const CLOSED = 'data: {"status": "closed"}\n\n'

interface ModelEvent {
  readonly number: number
  readonly event: EventInput
}

interface ModelTopic {
  readonly topic: Topic
  readonly events: ModelEvent[]
  /** Publishes that are not answered yet. */
  inFlight: number
  isDeleted: boolean
}

interface Client {
  readonly model: ModelTopic
  readonly sink: FakeSink
  readonly subscription: Subscription
  /** Everything above this number belongs to it. */
  readonly after: number
}

class Run {
  readonly random: Random
  readonly counts = { published: 0, subscribed: 0, refused: 0, left: 0, deleted: 0, restarts: 0, compared: 0 }
  #world: HubWorld
  #hub: Hub
  #topics: ModelTopic[] = []
  #clients: Client[] = []
  #waiting: Promise<unknown>[] = []
  #serial = 0

  constructor(random: Random, world: HubWorld, hub: Hub) {
    this.random = random
    this.#world = world
    this.#hub = hub
  }

  async step(): Promise<void> {
    const dice = this.random.int(1000)
    if (dice < 420) this.#publish()
    else if (dice < 520) await this.#subscribe()
    else if (dice < 640) this.#refuse()
    else if (dice < 760) this.#drain()
    else if (dice < 800) this.#leave()
    else if (dice < 820) await this.#createTopic()
    else if (dice < 828) this.#delete()
    else if (dice < 831) await this.#restart()
    else if (dice < 930) await nextTurn()
    else await this.#compareSome()
  }

  /** Everybody may take everything now: nothing may be missing. */
  async finish(): Promise<void> {
    await this.#settle()
    for (const client of this.#clients) {
      if (client.sink.isClosed) continue
      client.sink.drain()
    }
    for (const client of this.#clients) await this.#complete(client)
    await this.#hub.close()
    await this.#world.close()
  }

  #publish(): void {
    const model = this.#anyTopic()
    if (model === undefined) return
    // Several in one turn, so that batches hold more than one event.
    for (let count = 1 + this.random.int(4); count > 0; count--) {
      const event = this.#event()
      model.inFlight++
      const publishing = this.#hub.publish(model.topic, event).then(
        (number) => {
          model.events.push({ number, event })
          model.inFlight--
          this.counts.published++
        },
        (error: unknown) => {
          model.inFlight--
          assert.equal((error as { code?: string }).code, 'TOPIC_UNKNOWN')
        },
      )
      this.#waiting.push(publishing)
    }
  }

  #event(): EventInput {
    const { random } = this
    const lines = Array.from({ length: 1 + random.int(3) }, () =>
      'x'.repeat(random.int(random.chance(0.05) ? 3000 : 60)),
    )
    const id = random.chance(0.3) ? `key ${random.int(20)}` : ''
    return eventOf(`${this.#serial++} ${lines.join(random.pick(['\n', '\r', '\r\n']))}`, {
      id,
      type: random.chance(0.3) ? 'kind' : '',
    })
  }

  async #subscribe(): Promise<void> {
    const model = this.#anyTopic()
    if (model === undefined || this.#clients.length >= SUBSCRIBERS_MAX) return
    const { request, after } = this.#place(model)
    const hub = this.#hub
    // What was appended before may be committed while the index is asked; the expectation is made of both ends.
    const from = await hub.resolve(model.topic, request)
    if (hub.topic(model.topic.id) === undefined) return
    const sink = new FakeSink()
    if (this.random.chance(0.2)) sink.refuses = true
    const signals = this.random.chance(0.3)
    const subscription = hub.subscribe(model.topic, sink, { from, heartbeat: 'comment', signals })
    if (after !== undefined) {
      assert.equal(subscription.resumedAfter, after, 'it begins where the model says')
      assert.deepEqual(sink.gaps, [], 'nothing was lost')
    }
    assert.equal(sink.ids[0], formatEventId(subscription.resumedAfter))
    this.#clients.push({ model, sink, subscription, after: subscription.resumedAfter })
    this.counts.subscribed++
  }

  /** Somewhere to begin; `after` where the model knows the answer. */
  #place(model: ModelTopic): { request: ResumeRequest; after: number | undefined } {
    const { random } = this
    // A publish that is answered in one turn may be in the log already, and be the earliest use of a key.
    const known = model.events
    switch (random.int(5)) {
      case 0:
        return { request: { kind: 'live' }, after: undefined }
      case 1:
        return { request: { kind: 'earliest' }, after: undefined }
      case 2: {
        if (known.length === 0) return { request: { kind: 'live' }, after: undefined }
        const number = known[random.int(known.length)]!.number
        return { request: lastEventId(number), after: number }
      }
      case 3: {
        const keyed = known.filter(({ event }) => event.key.length > 0)
        if (keyed.length === 0) return { request: { kind: 'live' }, after: undefined }
        const key = Buffer.from(random.pick(keyed).event.key).toString()
        const first = keyed.find(({ event }) => Buffer.from(event.key).toString() === key)!
        return { request: lastEventId(key), after: first.number }
      }
      default: {
        // As a client that was cut: with whatever id it had last.
        const before = this.#clients.filter((client) => client.model === model)
        if (before.length === 0) return { request: { kind: 'earliest' }, after: undefined }
        const id = random.pick(random.pick(before).sink.ids)
        const number = parseEventId(id)
        return { request: lastEventId(id), after: number !== undefined && id.length === 11 ? number : undefined }
      }
    }
  }

  #refuse(): void {
    const client = this.#anyClient()
    if (client === undefined || client.sink.refuses) return
    client.sink.refuses = true
    this.counts.refused++
  }

  #drain(): void {
    this.#anyClient()?.sink.drain()
  }

  #leave(): void {
    const client = this.#anyClient()
    if (client === undefined) return
    this.#clients.splice(this.#clients.indexOf(client), 1)
    client.sink.end()
    // What it got so far has no hole, wherever it was cut.
    this.#comparePrefix(client)
    this.counts.left++
  }

  async #createTopic(): Promise<void> {
    if (this.#topics.length >= TOPICS_MAX) return
    const { topic } = await this.#hub.createTopic({ persist: this.random.chance(0.6) })
    this.#topics.push({ topic, events: [], inFlight: 0, isDeleted: false })
  }

  #delete(): void {
    const model = this.#anyTopic()
    if (model === undefined) return
    this.#topics.splice(this.#topics.indexOf(model), 1)
    const deleting = this.#hub.deleteTopic(model.topic.id).then((wasThere) => {
      assert.equal(wasThere, true)
      model.isDeleted = true
      this.counts.deleted++
    })
    this.#waiting.push(deleting)
  }

  async #restart(): Promise<void> {
    await this.#settle()
    for (const client of this.#clients.splice(0)) {
      client.sink.end()
      this.#comparePrefix(client)
    }
    await this.#hub.close()
    this.#world = await this.#world.restart()
    this.#hub = await openHub(this.#world, {
      options: { recentFramesBytesMax: this.random.pick([0, 4096, 1024 * 1024]) },
    })
    this.#topics = this.#topics.flatMap((model) => {
      const topic = this.#hub.topic(model.topic.id)
      assert.equal(topic !== undefined, model.topic.persist, 'durable topics are there again, the others are not')
      return topic === undefined ? [] : [{ ...model, topic }]
    })
    this.counts.restarts++
  }

  async #compareSome(): Promise<void> {
    const client = this.random.chance(0.5) ? this.#anyClient() : this.#clients.find(({ sink }) => sink.isClosed)
    if (client === undefined) return
    if (!client.sink.isClosed) client.sink.drain()
    await this.#settle()
    await this.#complete(client)
  }

  /** All publishes are answered, and all deletions. */
  async #settle(): Promise<void> {
    await Promise.all(this.#waiting.splice(0))
  }

  /** Waits until a sink that wants bytes has everything, and compares. Nothing may be in flight. */
  async #complete(client: Client): Promise<void> {
    const { model, sink, subscription } = client
    const last = model.events.filter(({ number }) => number > client.after).at(-1)?.number ?? client.after
    if (!sink.isClosed) {
      await sink.until(() => subscription.state === 'closed' || subscription.position >= last)
      // The position moves right before the write.
      await nextTurn()
    }
    if (sink.isClosed) {
      assert.equal(sink.closeReason, 'topic-deleted')
      assert.ok(model.isDeleted)
      this.#clients.splice(this.#clients.indexOf(client), 1)
      this.#comparePrefix(client)
      return
    }
    assert.equal(streamText(sink), expectedText(client))
    this.counts.compared++
  }

  #comparePrefix(client: Client): void {
    const { sink } = client
    let text = streamText(sink)
    if (sink.closeReason === 'topic-deleted') {
      assert.ok(text.endsWith(CLOSED))
      text = text.slice(0, -CLOSED.length)
    }
    const expected = expectedText(client)
    // Events that were delivered a moment ago may not be answered yet: then the model knows fewer than the client.
    if (client.model.inFlight > 0 && text.length > expected.length) assert.ok(text.startsWith(expected), 'no hole')
    else assert.ok(expected.startsWith(text), 'no hole, no twin, in order')
    this.counts.compared++
  }

  #anyTopic(): ModelTopic | undefined {
    return this.#topics.length === 0 ? undefined : this.random.pick(this.#topics)
  }

  #anyClient(): Client | undefined {
    const open = this.#clients.filter(({ sink }) => !sink.isClosed)
    return open.length === 0 ? undefined : this.random.pick(open)
  }
}

function expectedText({ model, after }: Client): string {
  return model.events
    .filter(({ number }) => number > after)
    .map(({ number, event }) => frameText(number, event))
    .join('')
}

async function run(t: TestContext, makeWorld: (random: Random) => Promise<HubWorld>): Promise<void> {
  const seed = process.env['HUB_MODEL_SEED']
  const random = seed === undefined ? new Random() : new Random(Number(seed))
  t.diagnostic(`HUB_MODEL_SEED=${random.seed}`)
  const world = await makeWorld(random)
  const model = new Run(random, world, await openHub(world))
  let step = 0
  try {
    for (; step < STEPS; step++) await model.step()
    await model.finish()
  } catch (error) {
    const told = error instanceof Error ? error.stack : String(error)
    throw new Error(`step ${step} of the run with HUB_MODEL_SEED=${random.seed}: ${told}`, { cause: error })
  }
  t.diagnostic(JSON.stringify(model.counts))
  const { published, compared, restarts } = model.counts
  if (STEPS >= 10_000) assert.ok(published > 1000 && compared > 200 && restarts > 3, 'the run did something')
}

test('every subscriber gets exactly the events of its topic from its place on, over a fake log', (t) =>
  run(t, async (random) => {
    const latency = async () => {
      for (let turns = random.int(3); turns > 0; turns--) await (random.chance(0.5) ? nextTurn() : Promise.resolve())
    }
    return fakeWorld({ stepBytes: 300, latency })
  }))

test('every subscriber gets exactly the events of its topic from its place on, over the engine', (t) =>
  run(t, (random) => realWorld(random)))
