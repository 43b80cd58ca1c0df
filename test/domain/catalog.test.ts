import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Catalog } from '../../src/domain/catalog.ts'
import { EntryError, TOPIC_CREATED } from '../../src/domain/entry.ts'
import { formatEventId } from '../../src/domain/event-id.ts'
import { Feed } from '../../src/domain/feed.ts'
import { unlimited } from '../../src/domain/retention.ts'
import { HostedTopic } from '../../src/domain/topic.ts'
import { changed, created, deleted, dropped, entry, tokenSha256 } from '../support/catalog-entries.ts'
import { fakeWorld } from '../support/hub-worlds.ts'
import { Random } from '../support/random.ts'

const world = fakeWorld()
const durable = new Feed(world.durable, true, 0)
const memory = new Feed(world.memory, false, 0)

test('folding the entries gives the topics that were created and not deleted', () => {
  const random = new Random()
  const catalog = new Catalog()
  const model = new Set<number>()
  for (let offset = 100; offset < 1100; offset++) {
    const target = 100 + random.int(1000)
    if (random.chance(0.5)) {
      catalog.apply(created(offset), durable)
      model.add(offset)
    } else {
      const change = catalog.apply(deleted(offset, target), durable)
      assert.equal(change?.kind, model.delete(target) ? 'deleted' : undefined, `seed ${random.seed}`)
    }
  }
  assert.equal(catalog.size, model.size)
  for (let number = 100; number < 1100; number++) {
    const topic = catalog.topic(formatEventId(number))
    assert.equal(topic !== undefined, model.has(number))
    assert.equal(topic, catalog.byStream(number))
    if (topic !== undefined) assert.deepEqual([topic.createdAtMs, topic.name, topic.persist], [number, 'n', true])
  }
})

test('an entry that is folded again takes nothing back of what later ones have said', () => {
  const catalog = new Catalog()
  const entries = [
    created(100),
    changed(200, 100, 'first'),
    dropped(300, 100, 250),
    changed(400, 100, 'second'),
    dropped(500, 100, 450),
  ]
  for (const each of entries) catalog.apply(each, durable)
  const topic = catalog.byStream(100)
  for (const each of entries) {
    assert.equal(catalog.apply(each, durable), undefined)
    assert.equal(catalog.byStream(100), topic)
    assert.deepEqual(topic?.entries, { settingsOffset: 400, droppedThrough: 450, droppedOffset: 500 })
    assert.deepEqual([topic.name, topic.dropped], ['second', 450])
  }
})

test('the bytes of an entry may be overwritten after it was folded', () => {
  const catalog = new Catalog()
  const record = created(100)
  catalog.apply(record, durable)
  record.payload.fill(0)
  assert.deepEqual(Buffer.from(catalog.byStream(100)!.tokenSha256), Buffer.from(tokenSha256))
})

test('a deletion counts in the log of its topic only, and never for a static one', () => {
  const catalog = new Catalog()
  catalog.apply(created(100), durable)
  const fields = { id: '0000000000z', streamId: 101, name: 's', retention: unlimited, tokenSha256, createdAtMs: 0 }
  catalog.add(new HostedTopic(memory, fields))
  assert.equal(catalog.apply(deleted(200, 100), memory), undefined)
  assert.equal(catalog.apply(deleted(201, 101), memory), undefined)
  assert.equal(catalog.size, 2)
  assert.equal(catalog.topic('0000000000z')?.name, 's')
  assert.equal(catalog.topic(formatEventId(101)), undefined, 'a static topic has the id of its configuration alone')
  assert.equal(catalog.topic('AzL8n0Y58m7'), undefined, 'an id of 63 bits')
})

test('kinds that this version does not know change nothing, and an entry that cannot be read is an error', () => {
  const catalog = new Catalog()
  assert.equal(catalog.apply(entry(100, 77, new Uint8Array(3)), durable), undefined)
  assert.throws(() => catalog.apply(entry(100, TOPIC_CREATED, new Uint8Array(3)), durable), EntryError)
  assert.equal(catalog.size, 0)
})
