/**
 * SIGKILL under load, again and again: publishers and resuming subscribers here, the server in its own process, ended at
 * random moments, also while it recovers from the last time.
 *
 * 30 rounds by default. More: `SSER_CRASH_ROUNDS=1000 npm test`, or
 * `node --import tsx test/crash/crash.test.ts 1000`; SSER_CRASH_SEED repeats the choices of a run, though not its timing;
 * with SSER_CRASH_FOLDER the log lies there, and stays there, for whoever wants to look at it afterwards.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { Api, type CreatedTopic } from '../support/api.ts'
import { Random } from '../support/random.ts'
import { ServerProcess } from '../support/server-process.ts'
import { type SseBlock, SseClient } from '../support/sse-client.ts'

const ROUNDS = Number(process.env['SSER_CRASH_ROUNDS'] ?? process.argv[2] ?? 30)
const TOPICS = 3
const PUBLISHERS = 6
const SUBSCRIBERS_OF_EACH_TOPIC = 2
const LOAD_MS_MAX = 250
/** What a start takes at least, and somewhat longer than most. */
const START_MS_MAX = 500
const RETRY_MS = 25
const CATCH_UP_MS_MAX = 30_000

/** Small files, so that a kill meets rolls and sealings, and recovery has something to do. */
const settings = { log: { segmentBytes: '64KiB' }, logging: { level: 'info' } }

interface Load {
  /** Publishers stop. */
  isOver: boolean
  /** Subscribers stop. */
  isComplete: boolean
  /** What should never have been answered or delivered; the first one ends the run. */
  readonly mistakes: string[]
}

interface Delivered {
  /** The server's number; of a seen event it stays '' where the connection broke between the event and its number. */
  id: string
  readonly message: string
}

test(`row 71: ${ROUNDS} kills under load lose nothing that was acknowledged or seen, repeat nothing and reorder nothing`, {
  timeout: 60_000 + ROUNDS * 10_000,
}, async (t) => {
  const seed = process.env['SSER_CRASH_SEED']
  const random = new Random(seed === undefined ? undefined : Number(seed))
  t.diagnostic(`seed ${random.seed}`)
  const directory = process.env['SSER_CRASH_FOLDER']
  const server = await ServerProcess.start({ settings, ...(directory === undefined ? {} : { directory }) })
  const api = new Api(server)
  const load: Load = { isOver: false, isComplete: false, mistakes: [] }
  try {
    const topics = await Promise.all(Array.from({ length: TOPICS }, () => api.createTopic()))
    const subscribers = topics.flatMap((topic) =>
      Array.from({ length: SUBSCRIBERS_OF_EACH_TOPIC }, () => new ResumingSubscriber(api, topic, random)),
    )
    const reading = subscribers.map((subscriber) => subscriber.run(load))
    await Promise.all(subscribers.map(({ began }) => began))
    const publishers = Array.from({ length: PUBLISHERS }, (_, index) => new Publisher(index, api, topics, random))
    const publishing = publishers.map((publisher) => publisher.run(load))

    let killsInRecovery = 0
    for (let round = 0; round < ROUNDS && load.mistakes.length === 0; round++) {
      await delay(random.int(LOAD_MS_MAX))
      await server.kill('SIGKILL')
      while (random.chance(0.3)) {
        killsInRecovery += 1
        await killWhileStarting(server, random)
      }
      await server.restart()
    }
    load.isOver = true
    await Promise.all(publishing)
    assert.deepEqual(load.mistakes, [], server.lines.slice(-20).join('\n'))

    const history = await Promise.all(topics.map((topic) => replay(api, topic)))
    const endsAt = performance.now() + CATCH_UP_MS_MAX
    for (const subscriber of subscribers) {
      const all = history[topics.indexOf(subscriber.topic)] as readonly Delivered[]
      while (subscriber.seen.at(-1)?.message !== all.at(-1)?.message && performance.now() < endsAt)
        await delay(RETRY_MS)
    }
    load.isComplete = true
    for (const subscriber of subscribers) subscriber.stop()
    await Promise.all(reading)

    const acknowledged = publishers.flatMap((publisher) => publisher.acknowledged)
    for (const [index, topic] of topics.entries()) {
      const all = history[index] as readonly Delivered[]
      checkHistory(
        all,
        acknowledged.filter(({ topicId }) => topicId === topic.id),
      )
      for (const subscriber of subscribers) if (subscriber.topic === topic) checkSeen(subscriber, all)
    }
    const connections = subscribers.reduce((sum, subscriber) => sum + subscriber.connections, 0)
    t.diagnostic(
      `${acknowledged.length} events acknowledged, ${connections} connections, ${killsInRecovery} kills during a start`,
    )
    assert(acknowledged.length > ROUNDS, 'events were published while the server lived')
    assert.equal(server.lines.filter((line) => /"level":"error"/.test(line)).length, 0, server.lines.join('\n'))
  } finally {
    load.isOver = true
    load.isComplete = true
    api.close()
    await server.close()
  }
})

/** Kills it before it is ready: at any time of its start, or in the few milliseconds of the recovery itself. */
async function killWhileStarting(server: ServerProcess, random: Random): Promise<void> {
  server.lines.length = 0
  await server.startAgain()
  if (random.chance(0.5)) await delay(random.int(START_MS_MAX))
  else {
    await server.line(/"The server listens\."/)
    await delay(random.int(30))
  }
  await server.kill('SIGKILL')
}

function checkHistory(all: readonly Delivered[], acknowledged: readonly (Delivered & { topicId: string })[]): void {
  const idOf = new Map(all.map(({ id, message }) => [message, id]))
  assert.equal(idOf.size, all.length, 'an event is there once')
  for (const [index, { id }] of all.entries()) {
    assert(index === 0 || id > (all[index - 1] as Delivered).id, `events are in order at ${id}`)
  }
  for (const { id, message } of acknowledged) {
    assert.equal(idOf.get(message), id, `the acknowledged event ${message} is there, under its number`)
  }
}

/** A subscriber from the very beginning on, that has resumed each time, has seen exactly what is there at the end. */
function checkSeen(subscriber: ResumingSubscriber, all: readonly Delivered[]): void {
  assert.deepEqual(subscriber.mistakes, [])
  const seen = subscriber.seen
  for (const [index, { id, message }] of all.entries()) {
    const at = seen[index]
    const isSame = at?.message === message && (at.id === id || at.id === '')
    assert(
      isSame,
      `event ${index} of ${all.length}: ${id} ${message.slice(0, 40)}; seen: ${at?.id} ${at?.message.slice(0, 40)}`,
    )
  }
  assert.equal(seen.length, all.length, 'nothing was seen that is gone now')
}

async function replay(api: Api, topic: CreatedTopic): Promise<Delivered[]> {
  // Its last event is the mark up to which everybody waits.
  const last = await api.publish(topic.id, { message: `the end of ${topic.id}` })
  const all: Delivered[] = []
  const mistakes: string[] = []
  const collect = new Collector((event) => all.push(event), mistakes)
  const client = await SseClient.connect(api.eventsUrl(topic.id, '?since=earliest'), {
    token: topic.token,
    onBlock: (block) => collect.take(block),
    forgets: true,
  })
  await client.until(() => all.at(-1)?.id === last, CATCH_UP_MS_MAX)
  await client.close()
  assert.deepEqual(mistakes, [])
  return all
}

class Publisher {
  readonly acknowledged: (Delivered & { topicId: string })[] = []
  readonly #name: string
  readonly #api: Api
  readonly #topics: readonly CreatedTopic[]
  readonly #random: Random

  constructor(index: number, api: Api, topics: readonly CreatedTopic[], random: Random) {
    this.#name = `publisher ${index}`
    this.#api = api
    this.#topics = topics
    this.#random = random
  }

  /** One event after the other, each tried once: whether an event without an answer is there is for the log to say. */
  async run(load: Load): Promise<void> {
    for (let count = 0; !load.isOver; count++) {
      const topicId = this.#random.pick(this.#topics).id
      const message = `${this.#name}, event ${count}${' and more'.repeat(this.#random.int(this.#random.chance(0.1) ? 500 : 20))}`
      const event = this.#random.chance(0.3) ? { id: `own ${this.#name} ${count}`, message } : { message }
      const answer = await this.#api.call('POST', `/api/v1/pubsubs/${topicId}/events`, { event }).catch(() => undefined)
      if (answer?.status === 201) {
        this.acknowledged.push({ topicId, id: JSON.parse(answer.text).event.id, message })
        continue
      }
      if (answer !== undefined && answer.status !== 503) load.mistakes.push(`answered ${answer.status} ${answer.text}`)
      await delay(RETRY_MS)
    }
  }
}

/** Makes events of blocks. One that bears its publisher's id gets its number from the block behind it. */
class Collector {
  readonly #onEvent: (event: Delivered) => void
  readonly #mistakes: string[]
  #unnumbered: Delivered | undefined

  constructor(onEvent: (event: Delivered) => void, mistakes: string[]) {
    this.#onEvent = onEvent
    this.#mistakes = mistakes
  }

  take({ id, type, data }: SseBlock): void {
    if (type !== undefined) this.#mistakes.push(`an event that nobody published: ${type} ${data}`)
    if (id === undefined) return
    if (data === undefined) {
      if (this.#unnumbered !== undefined) this.#unnumbered.id = id
      this.#unnumbered = undefined
      return
    }
    const event = { id: id.startsWith('own ') ? '' : id, message: data }
    if (event.id === '') this.#unnumbered = event
    this.#onEvent(event)
  }
}

class ResumingSubscriber {
  readonly topic: CreatedTopic
  /** Every event once, in the order in which it came. */
  readonly seen: Delivered[] = []
  readonly mistakes: string[] = []
  /** Resolves with the first bytes of the first connection. */
  readonly began: Promise<void>
  connections = 0
  readonly #api: Api
  readonly #random: Random
  #client: SseClient | undefined
  #lastEventId = ''
  #onBegan: (() => void) | undefined

  constructor(api: Api, topic: CreatedTopic, random: Random) {
    this.#api = api
    this.topic = topic
    this.#random = random
    this.began = new Promise((resolve) => {
      this.#onBegan = resolve
    })
  }

  /** The highest number that it knows. */
  get latest(): string {
    return this.seen.findLast(({ id }) => id !== '')?.id ?? ''
  }

  /** Again and again, each time from where the last connection ended, whether the server or the network ended it. */
  async run(load: Load): Promise<void> {
    while (!load.isComplete) {
      const collector = new Collector((event) => this.#onEvent(event), load.mistakes)
      const cutAfterBytes = this.#random.chance(0.3) ? this.#random.int(50_000) : undefined
      try {
        this.#client = await SseClient.connect(this.#api.eventsUrl(this.topic.id), {
          token: this.topic.token,
          lastEventId: this.#lastEventId,
          cutAfterBytes,
          forgets: true,
          onBlock: (block) => this.#onBlock(block, collector),
        })
      } catch {
        // Nobody listens: the server is dead just now.
        await delay(RETRY_MS)
        continue
      }
      this.connections += 1
      if (this.#client.status !== 200) load.mistakes.push(`a stream was answered with ${this.#client.status}`)
      await this.#client.closed
      await delay(RETRY_MS)
    }
  }

  stop(): void {
    this.#client?.cut()
  }

  #onBlock(block: SseBlock, collector: Collector): void {
    collector.take(block)
    if (block.id === undefined) return
    this.#lastEventId = block.id
    this.#onBegan?.()
  }

  #onEvent(event: Delivered): void {
    const latest = this.latest
    // Also a client that is cut between an event with its publisher's id and its number resumes exactly: by the former.
    if (event.id !== '' && event.id <= latest) this.mistakes.push(`${event.id} came after ${latest}`)
    this.seen.push(event)
  }
}
