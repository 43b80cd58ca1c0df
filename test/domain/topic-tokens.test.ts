/** Further tokens of a topic: what they open, how they end, and that no restart, checkpoint or compaction brings one back. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { DomainError } from '../../src/domain/errors.ts'
import type { Hub, TokenRequest, Topic } from '../../src/domain/hub.ts'
import { hashToken } from '../../src/domain/token.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { FakeSink } from '../support/fake-sink.ts'
import { eventOf, openHub } from '../support/hub-events.ts'
import { type RealWorld, realWorld } from '../support/hub-worlds.ts'
import { Random } from '../support/random.ts'

const plain: TokenRequest = { rights: ['subscribe'], label: undefined, expiresAtMs: undefined }

async function open(persist: boolean, clock = new FakeClock()) {
  const world = await realWorld(undefined, undefined, () => clock.wallMs(), { segmentBytesMax: 1500 })
  const hub = await openHub(world, { clock })
  const { topic, token: own } = await hub.createTopic({ persist })
  return { world, hub, topic, own, clock }
}

async function close(hub: Hub, world: RealWorld): Promise<void> {
  await hub.close()
  await world.close()
}

for (const persist of [true, false]) {
  const kind = persist ? 'durable' : 'in memory'

  test(`${kind}: a token opens its topic for what it has the right to, until it is revoked`, async () => {
    const { world, hub, topic, own } = await open(persist)
    const { topic: other } = await hub.createTopic({ persist })
    const { token, secret } = await hub.issueToken(topic, { ...plain, rights: ['publish'], label: 'press' })
    const both = await hub.issueToken(topic, { ...plain, rights: ['subscribe', 'publish'] })
    assert.ok(token.number !== both.token.number && secret.length === 64)
    const opens = (presented: string, of: Topic = topic) => [
      hub.accessTo(of, hashToken(presented), 'subscribe') !== undefined,
      hub.accessTo(of, hashToken(presented), 'publish') !== undefined,
    ]
    assert.deepEqual(opens(own), [true, false])
    assert.deepEqual(opens(secret), [false, true])
    assert.deepEqual(opens(both.secret), [true, true])
    assert.deepEqual(opens(both.secret, other), [false, false])
    assert.deepEqual(opens('guess'), [false, false])
    assert.deepEqual(
      hub.tokensOf(topic).map(({ label, rights }) => ({ label, rights })),
      [
        { label: 'press', rights: ['publish'] },
        { label: undefined, rights: ['subscribe', 'publish'] },
      ],
    )
    assert.equal(await hub.revokeToken(topic, both.token.number), true)
    assert.equal(await hub.revokeToken(topic, both.token.number), false)
    assert.deepEqual(
      [opens(both.secret), opens(secret), opens(own)],
      [
        [false, false],
        [false, true],
        [true, false],
      ],
    )
    await close(hub, world)
  })

  test(`${kind}: revoking a token ends the streams that it opened, with the reason, and no others`, async () => {
    const { world, hub, topic } = await open(persist)
    const issued = [await hub.issueToken(topic, plain), await hub.issueToken(topic, plain)]
    const sinks = [...issued.map(({ token }) => [token]), []].map((tokens) => {
      const sink = new FakeSink()
      hub.subscribe(topic, sink, { from: { after: 0, gap: undefined, live: true }, heartbeat: 'comment', tokens })
      return sink
    })
    await hub.publish(topic, eventOf('seen by all'))
    await hub.revokeToken(topic, issued[0]!.token.number)
    await hub.publish(topic, eventOf('not by the first'))
    await nextTurn()
    assert.deepEqual(
      sinks.map(({ isClosed, messages }) => [isClosed, messages.length]),
      [
        [true, 1],
        [false, 2],
        [false, 2],
      ],
    )
    const last = Buffer.from(sinks[0]!.writes.at(-1) ?? []).toString()
    assert.equal(last, 'event: sser.closed\ndata: {"reason":"the token was revoked"}\n\n')
    const late = {
      from: { after: 0, gap: undefined, live: true },
      heartbeat: 'comment',
      tokens: [issued[0]!.token],
    } as const
    assert.throws(
      () => hub.subscribe(topic, new FakeSink(), late),
      (error: DomainError) => error.code === 'UNAUTHORIZED',
    )
    for (const sink of sinks) sink.close('client')
    await close(hub, world)
  })

  test(`${kind}: a token that has expired opens nothing, and its streams end`, async () => {
    const { world, hub, topic, clock } = await open(persist)
    const expiresAtMs = clock.wallMs() + 60_000
    const { token, secret } = await hub.issueToken(topic, { ...plain, expiresAtMs })
    const sink = new FakeSink()
    hub.subscribe(topic, sink, {
      from: { after: 0, gap: undefined, live: true },
      heartbeat: 'comment',
      tokens: [token],
    })
    clock.advance(59_000)
    assert.ok(hub.accessTo(topic, hashToken(secret), 'subscribe') !== undefined && !sink.isClosed)
    clock.advance(1_000)
    assert.equal(hub.accessTo(topic, hashToken(secret), 'subscribe'), undefined)
    clock.advance(5_000)
    assert.ok(sink.isClosed)
    assert.match(Buffer.from(sink.writes.at(-1) ?? []).toString(), /^event: sser\.closed\ndata: .*expired/)
    assert.deepEqual(hub.tokensOf(topic), [])
    await assert.rejects(
      hub.issueToken(topic, { ...plain, expiresAtMs }),
      (error: DomainError) => error.code === 'INVALID' && error.path === 'token.expires_at',
    )
    await close(hub, world)
  })
}

test('a topic has no more tokens than it may, also where they are asked for at once', async () => {
  const { world, hub, topic } = await open(true)
  const settled = await Promise.allSettled(Array.from({ length: 105 }, () => hub.issueToken(topic, plain)))
  assert.equal(settled.filter(({ status }) => status === 'fulfilled').length, 100)
  await assert.rejects(hub.issueToken(topic, plain), (error: DomainError) => error.code === 'LIMIT')
  await hub.revokeToken(topic, hub.tokensOf(topic)[0]!.number)
  await hub.issueToken(topic, plain)
  await close(hub, world)
})

test('row 82: a revoked token stays revoked and a valid one valid, through compaction, checkpoints, stops and crashes', async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  const clock = new FakeClock()
  let world = await realWorld(random, undefined, () => clock.wallMs(), { segmentBytesMax: 1500 })
  let hub = await openHub(world, { clock })
  const ids = [(await hub.createTopic({ persist: true })).topic.id, (await hub.createTopic({ persist: true })).topic.id]
  const valid = new Map<string, { id: string; number: number }>()
  const revoked = new Map<string, string>()
  const startCompaction = () => {
    const { judge } = hub
    assert.ok(judge !== undefined)
    world.durable.startCompaction({ judge, bytesPerSecondMax: 2 ** 40, deadShareMin: 0.1, intervalMs: 2 ** 30 })
  }
  startCompaction()
  let compacted = 0
  for (let step = 0; step < 150; step += 1) {
    const topic = hub.topic(random.pick(ids)) as Topic
    const dice = random.int(10)
    if (dice < 4 && valid.size < 20) {
      const { token, secret } = await hub.issueToken(topic, { ...plain, label: `token ${step}` })
      valid.set(secret, { id: topic.id, number: token.number })
    } else if (dice < 6 && valid.size > 0) {
      const [secret, { id, number }] = random.pick([...valid])
      assert.ok(await hub.revokeToken(hub.topic(id) as Topic, number))
      valid.delete(secret)
      revoked.set(secret, id)
    } else if (dice < 7) await hub.publish(topic, eventOf('x'.repeat(400)))
    else if (dice < 8) await world.durable.compact()
    else if (dice < 9) await hub.checkpoint()
    else {
      compacted += world.durable.statistics().compaction?.runs ?? 0
      await hub.close()
      world = random.chance(0.5) ? await world.stopAndStart() : await world.restart()
      hub = await openHub(world, { clock })
      startCompaction()
    }
    const opens = (secret: string, id: string) =>
      hub.accessTo(hub.topic(id) as Topic, hashToken(secret), 'subscribe') !== undefined
    for (const [secret, { id }] of valid) assert.ok(opens(secret, id), `step ${step}: a valid token opens`)
    for (const [secret, id] of revoked) assert.ok(!opens(secret, id), `step ${step}: a revoked token opens nothing`)
  }
  compacted += world.durable.statistics().compaction?.runs ?? 0
  assert.ok(compacted > 5 && revoked.size > 5, `${compacted} runs of compaction, ${revoked.size} revoked`)
  await close(hub, world)
})
