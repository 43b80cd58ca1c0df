/**
 * Streams of several topics against one list of all events: random sets over both logs, commits of the two in any order,
 * batches that are cut away, purges, sinks that are full, clients that leave and come back with their last event id. What a
 * client got over all its connections must be the events of its topics in the order of numbers: no twin, and no hole but for
 * what was dropped, of which it was told.
 *
 * A failing run is repeated by its seed: SET_MODEL_SEED=… node --import tsx --test THIS_FILE
 */

import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { parseEventId } from '../../src/domain/event-id.ts'
import type { Envelope, Hub, ResumeRequest, Topic } from '../../src/domain/hub.ts'
import { FakeSink } from '../support/fake-sink.ts'
import { earliest, eventOf, lastEventId, live, openHub } from '../support/hub-events.ts'
import { type FakeWorld, fakeWorld, type HubWorld, realWorld } from '../support/hub-worlds.ts'
import { Random } from '../support/random.ts'
import { test } from '../support/unwatched.ts'

const STEPS = Number(process.env['SET_MODEL_STEPS'] ?? 2_000)
const TOPICS_OF_EACH_LOG = 3
const CLIENTS_MAX = 12
const TURNS_MAX = 20_000

interface Published {
  readonly number: number
  readonly topic: Topic
  readonly message: string
  /** It may have been seen or not; whoever has not was told a gap. */
  isDropped: boolean
}

/** Somebody who listens over one connection after the other. */
interface Client {
  readonly topics: readonly Topic[]
  readonly envelope: Envelope
  /** Everything above this number belongs to it. */
  readonly after: number
  readonly messages: string[]
  /** Gone before it came, of which nobody is told who asks for what is there. */
  readonly excused: ReadonlySet<Published>
  /** That it was told of. */
  gaps: number
  sink: FakeSink
}

class Run {
  readonly #random: Random
  readonly #hub: Hub
  readonly #fake: FakeWorld | undefined
  readonly #topics: readonly Topic[]
  readonly #published: Published[] = []
  readonly #clients: Client[] = []
  #inFlight = 0
  #serial = 0

  constructor(random: Random, hub: Hub, topics: readonly Topic[], fake: FakeWorld | undefined) {
    this.#random = random
    this.#hub = hub
    this.#topics = topics
    this.#fake = fake
  }

  async step(): Promise<void> {
    const dice = this.#random.int(100)
    if (dice < 40) this.#publish()
    else if (dice < 45) await this.#join()
    else if (dice < 55) await this.#comeBack()
    else if (dice < 62) this.#someSink().refuses = true
    else if (dice < 70) this.#someSink().drain()
    else if (dice < 79) await nextTurn()
    else if (dice < 80) this.#purge()
    else this.#settleSome()
  }

  async finish(): Promise<void> {
    for (const { sink } of this.#clients) sink.drain()
    for (let turn = 0; turn < TURNS_MAX && !this.#isComplete; turn++) {
      this.#fake?.durable.commit()
      this.#fake?.memory.commit()
      await nextTurn()
    }
    assert.equal(this.#inFlight, 0)
    for (const client of this.#clients) {
      this.#takeFrom(client)
      this.#check(client)
    }
  }

  #check(client: Client): void {
    const events = this.#expectedOf(client)
    const seen = new Set(client.messages)
    assert.equal(seen.size, client.messages.length, 'no event twice')
    const missing = events.filter(({ message }) => !seen.has(message))
    assert.deepEqual(
      client.messages,
      events.filter(({ message }) => seen.has(message)).map(({ message }) => message),
    )
    assert.deepEqual(
      missing.filter(({ isDropped }) => !isDropped),
      [],
      'what was not dropped is there',
    )
    if (missing.some((event) => !client.excused.has(event))) assert.ok(client.gaps > 0, 'who lacks something was told')
  }

  get delivered(): number {
    return this.#clients.reduce((sum, { messages }) => sum + messages.length, 0)
  }

  get #isComplete(): boolean {
    if (this.#inFlight > 0) return false
    return this.#clients.every((client) => {
      const seen = new Set([...client.messages, ...this.#plain(client)])
      return this.#expectedOf(client).every(({ message, isDropped }) => isDropped || seen.has(message))
    })
  }

  #expectedOf({ topics, after }: Client): readonly Published[] {
    return this.#published
      .filter(({ topic, number }) => topics.includes(topic) && number > after)
      .sort((one, other) => one.number - other.number)
  }

  #publish(): void {
    const topic = this.#random.pick(this.#topics)
    for (let count = 1 + this.#random.int(3); count > 0; count--) {
      const message = `${this.#serial++} ${'x'.repeat(this.#random.int(100))}`
      const event = eventOf(message, { id: this.#random.chance(0.2) ? `key ${this.#random.int(50)}` : '' })
      this.#inFlight += 1
      this.#hub.publish(topic, event).then(
        (number) => {
          this.#published.push({ number, topic, message, isDropped: false })
          this.#inFlight -= 1
        },
        () => {
          this.#inFlight -= 1
        },
      )
    }
  }

  /** All that is there when it comes to the purge, which nobody but the hub can say. */
  #purge(): void {
    const topic = this.#random.pick(this.#topics)
    const before = this.#published.filter((event) => event.topic === topic)
    const through = before.at(-1)?.number
    if (through === undefined) return
    for (const event of before) if (event.number <= through) event.isDropped = true
    this.#inFlight += 1
    const done = () => {
      this.#inFlight -= 1
    }
    this.#hub.purge(topic, through).then(done, done)
  }

  async #join(): Promise<void> {
    if (this.#clients.length >= CLIENTS_MAX) return
    const topics = this.#topics.filter(() => this.#random.chance(0.5))
    if (topics.length === 0) return
    const envelope = this.#random.pick(['none', 'json'] as const)
    const known = this.#published.length === 0 ? undefined : this.#random.pick(this.#published)
    const from = this.#random.pick([earliest, live, known === undefined ? live : lastEventId(known.number)])
    const excused = new Set(from === earliest ? this.#published.filter(({ isDropped }) => isDropped) : [])
    const sink = await this.#open(topics, envelope, from)
    const after = parseEventId(sink.ids[0] ?? '')
    assert.ok(after !== undefined, 'a stream begins with an id')
    this.#clients.push({ topics, envelope, after, messages: [], excused, gaps: 0, sink })
  }

  async #comeBack(): Promise<void> {
    if (this.#clients.length === 0) return
    const client = this.#random.pick(this.#clients)
    client.sink.close('client')
    const last = client.sink.ids.at(-1)
    assert.ok(last !== undefined)
    this.#takeFrom(client)
    client.sink = await this.#open(client.topics, client.envelope, lastEventId(last))
  }

  async #open(topics: readonly Topic[], envelope: Envelope, from: ResumeRequest): Promise<FakeSink> {
    const sink = new FakeSink()
    const start = await this.#hub.resolveAll(topics, from)
    this.#hub.subscribeAll(topics, sink, { from: start, heartbeat: 'comment', envelope })
    return sink
  }

  #takeFrom(client: Client): void {
    client.messages.push(...this.#plain(client))
    client.gaps += client.sink.gaps.length
  }

  #plain({ envelope, sink }: Client): readonly string[] {
    return envelope === 'none' ? sink.messages : sink.messages.map((json) => JSON.parse(json).message as string)
  }

  #someSink(): FakeSink {
    return this.#clients.length === 0 ? new FakeSink() : this.#random.pick(this.#clients).sink
  }

  #settleSome(): void {
    if (this.#fake === undefined) return
    const log = this.#random.pick([this.#fake.durable, this.#fake.memory])
    if (this.#random.chance(0.1)) log.cut()
    else log.commit()
  }
}

async function run(t: TestContext, makeWorld: (random: Random) => Promise<HubWorld>, isFake: boolean): Promise<void> {
  const seed = process.env['SET_MODEL_SEED']
  const random = seed === undefined ? new Random() : new Random(Number(seed))
  t.diagnostic(`SET_MODEL_SEED=${random.seed}`)
  const world = await makeWorld(random)
  const hub = await openHub(world)
  const topics: Topic[] = []
  for (let count = 0; count < TOPICS_OF_EACH_LOG; count++) {
    for (const persist of [true, false]) {
      const creating = hub.createTopic({ persist })
      if (isFake) (world as FakeWorld).durable.commit()
      topics.push((await creating).topic)
    }
  }
  const model = new Run(random, hub, topics, isFake ? (world as FakeWorld) : undefined)
  for (let step = 0; step < STEPS; step++) await model.step()
  await model.finish()
  if (STEPS >= 2_000) assert.ok(model.delivered > 500, `${model.delivered} events were delivered`)
  await hub.close()
  await world.close()
}

test('a stream of any topics brings each of their events once, in one order, over two fake logs', (t) => {
  return run(
    t,
    async (random) => {
      const latency = async () => {
        for (let turns = random.int(3); turns > 0; turns--) await (random.chance(0.5) ? nextTurn() : Promise.resolve())
      }
      return fakeWorld({ stepBytes: 300, latency, commits: 'manual' })
    },
    true,
  )
})

test('a stream of any topics brings each of their events once, in one order, over the engine', (t) => {
  return run(t, (random) => realWorld(random), false)
})
