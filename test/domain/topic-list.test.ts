import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { Feed } from '../../src/domain/feed.ts'
import { unlimited } from '../../src/domain/retention.ts'
import { hashToken } from '../../src/domain/token.ts'
import { HostedTopic } from '../../src/domain/topic.ts'
import { sortKeyOf, TOPIC_SORTS, type TopicChoice, TopicList, type TopicPlace } from '../../src/domain/topic-list.ts'
import { fakeWorld } from '../support/hub-worlds.ts'
import { Random } from '../support/random.ts'

const feed = new Feed(fakeWorld().memory, false, 0)
const tokenSha256 = hashToken('token')
const NAMES = ['orders', 'Orders of Łódź', 'ÅNGSTRÖM', 'prices', undefined, undefined]

function topicOf(streamId: number, name: string | undefined, id?: string): HostedTopic {
  return new HostedTopic(feed, { id, streamId, name, retention: unlimited, tokenSha256, createdAtMs: 0 })
}

/** Few values, so that many topics are alike but for their ids. */
function randomTopics(random: Random, count: number): HostedTopic[] {
  return Array.from({ length: count }, (_, index) => {
    const configured = random.chance(0.05) ? `${random.chance(0.5) ? 'AzL8n0Y5' : '00000000'}${100 + index}` : undefined
    const topic = topicOf(1000 + index, NAMES[random.int(NAMES.length)], configured)
    topic.events = random.int(5)
    topic.bytes = random.int(3) * 100
    topic.latest = random.int(4)
    return topic
  })
}

function sorted(topics: readonly HostedTopic[], { sort, isDescending }: TopicChoice): readonly HostedTopic[] {
  const sign = isDescending ? -1 : 1
  return topics.toSorted((one, other) => {
    const [a, b] = [sortKeyOf(one, sort), sortKeyOf(other, sort)]
    if (a === b) return one.id < other.id ? -sign : sign
    if (a === undefined || b === undefined) return a === undefined ? 1 : -1
    return a < b ? -sign : sign
  })
}

async function pages(list: TopicList, choice: TopicChoice, size: number): Promise<HostedTopic[]> {
  const all: HostedTopic[] = []
  let after: TopicPlace | undefined
  for (;;) {
    const found = await list.select(choice, after, size)
    all.push(...found)
    const last = found.at(-1)
    if (last === undefined) return all
    after = { id: last.id, key: sortKeyOf(last, choice.sort) }
  }
}

test('page by page, every topic comes once, in each order and direction', async () => {
  const random = new Random()
  const topics = randomTopics(random, 300)
  const list = new TopicList(
    () => topics,
    () => 0,
  )
  for (const sort of TOPIC_SORTS) {
    for (const isDescending of [false, true]) {
      const choice = { sort, isDescending, search: undefined }
      const listed = await pages(list, choice, 1 + random.int(50))
      const ids = sorted(topics, choice).map(({ id }) => id)
      assert.deepEqual(
        listed.map(({ id }) => id),
        ids,
        `seed ${random.seed}, ${sort}`,
      )
    }
  }
})

test('a text is found in names, whatever the case, and in ids as they stand', async () => {
  const topics = [topicOf(1000, 'Orders of Łódź'), topicOf(1001, undefined), topicOf(1002, 'g8')]
  const list = new TopicList(
    () => topics,
    () => 0,
  )
  const found = async (search: string) =>
    (await list.select({ sort: 'id', isDescending: false, search }, undefined, 9)).map(({ streamId }) => streamId)
  assert.deepEqual(await found('oRDERS OF łÓDŹ'), [1000])
  assert.deepEqual(await found(topics[1]!.id), [1001])
  assert.deepEqual(await found('0000G'), [1000, 1001, 1002])
  assert.deepEqual(await found('G8'), [1000, 1002])
  assert.deepEqual(await found('g8'), [1002])
  assert.deepEqual(await found('.*'), [])
})

for (const [passesMs, topicsMax] of [
  [0, 2048],
  [1, 64],
] as const) {
  const clock = passesMs === 0 ? 'stands still' : 'runs'
  test(`a pass holds up others for ${topicsMax} topics at most if the clock ${clock}, and for another pass never`, async () => {
    const topics = randomTopics(new Random(), 10_000)
    let nowMs = 0
    let walking = 0
    let walked = 0
    function* walk(): Generator<HostedTopic> {
      walking += 1
      assert.equal(walking, 1)
      for (const topic of topics) {
        walked += 1
        yield topic
      }
      walking -= 1
    }
    const list = new TopicList(walk, () => {
      nowMs += passesMs
      return nowMs
    })
    const choice = { sort: 'events', isDescending: true, search: undefined } as const
    let isThrough = false
    const both = Promise.all([list.select(choice, undefined, 10), list.select(choice, undefined, 10)]).finally(() => {
      isThrough = true
    })
    let most = 0
    while (!isThrough) {
      const before = walked
      await nextTurn()
      most = Math.max(most, walked - before)
    }
    await both
    assert.equal(walked, 20_000)
    // One topic is fetched before it is seen that the slice is over.
    assert.ok(most <= topicsMax + 1, `${most} topics in one turn`)
  })
}

test('topics that go and come during a pass harm nothing', async () => {
  const topics = new Map(randomTopics(new Random(), 2000).map((topic) => [topic.streamId, topic]))
  let nowMs = 0
  const list = new TopicList(
    () => topics.values(),
    () => nowMs++,
  )
  const selecting = list.select({ sort: 'latest', isDescending: false, search: undefined }, undefined, 3000)
  await nextTurn()
  for (const number of [...topics.keys()].slice(-500)) topics.delete(number)
  topics.set(9000, topicOf(9000, 'new'))
  const found = await selecting
  assert.equal(new Set(found).size, 1501)
  assert.ok(found.some(({ streamId }) => streamId === 9000))
})
