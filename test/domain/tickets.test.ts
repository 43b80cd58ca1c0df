/** Tickets: what they open and for how long, over restarts, crashes and compaction. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DomainError } from '../../src/domain/errors.ts'
import type { Hub, Ticket } from '../../src/domain/hub.ts'
import { hashToken } from '../../src/domain/token.ts'
import { StorageError } from '../../storage-engine/index.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { eventOf, openHub } from '../support/hub-events.ts'
import { type RealWorld, realWorld } from '../support/hub-worlds.ts'
import { Random } from '../support/random.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const LIFETIME_MS = 2 * MINUTE_MS
const by = hashToken('of whoever asked for it')
const topics = ['00000000abc', '000000000ab', '0000000000a']
const grants = [{ topics, by }]

interface Server {
  readonly world: RealWorld
  readonly hub: Hub
}

async function start(clock: FakeClock, random?: Random): Promise<Server> {
  const world = await realWorld(random, undefined, () => clock.wallMs(), { segmentBytesMax: 1500 })
  return { world, hub: await openHub(world, { clock }) }
}

async function startAgain({ world, hub }: Server, clock: FakeClock, isCrash: boolean): Promise<Server> {
  if (!isCrash) await hub.close()
  const next = isCrash ? await world.restart() : await world.stopAndStart()
  return { world: next, hub: await openHub(next, { clock }) }
}

async function close({ hub, world }: Server): Promise<void> {
  await hub.close()
  await world.close()
}

async function issued(hub: Hub): Promise<Uint8Array> {
  return hashToken((await hub.tickets.issue(grants)).secret)
}

function found({ tickets }: Hub, sha256: Uint8Array): Ticket {
  return tickets.find(sha256) ?? assert.fail('the ticket opens nothing')
}

test('a ticket opens its topics, each by the authority of the token that was given for it, and no others', async () => {
  const server = await start(new FakeClock())
  const other = hashToken('another')
  const { secret } = await server.hub.tickets.issue([...grants, { topics: ['zzzzzzzzzzz'], by: other }])
  assert.match(secret, /^[0-9A-Za-z]{64}$/)
  const ticket = found(server.hub, hashToken(secret))
  for (const id of topics) assert.deepEqual(ticket.authorityFor(id), Buffer.from(by))
  assert.deepEqual(ticket.authorityFor('zzzzzzzzzzz'), Buffer.from(other))
  // Made of parts of two neighbours.
  for (const id of ['00000abc000', '0000000000b']) assert.equal(ticket.authorityFor(id), undefined, id)
  assert.equal(server.hub.tickets.find(hashToken('guess')), undefined)
  await close(server)
})

test('it has to be used within its time; then until five minutes after its last stream, and not beyond twelve hours', async () => {
  const clock = new FakeClock()
  const server = await start(clock)
  const { hub } = server
  const begunAtMs = clock.wallMs()
  const [unused, used] = [await issued(hub), await issued(hub)]
  clock.advance(LIFETIME_MS - 1)
  const leave = await hub.tickets.enter(found(hub, used))
  clock.advance(1)
  assert.equal(hub.tickets.find(unused), undefined, 'the time is over')
  clock.advance(3 * HOUR_MS)
  const leaveToo = await hub.tickets.enter(found(hub, used))
  leave()
  leave()
  clock.advance(HOUR_MS)
  found(hub, used)
  leaveToo()
  clock.advance(5 * MINUTE_MS - 1)
  const leaveLast = await hub.tickets.enter(found(hub, used))
  clock.advance(begunAtMs + 12 * HOUR_MS - 1 - clock.wallMs())
  found(hub, used)
  clock.advance(1)
  assert.equal(hub.tickets.find(used), undefined, 'twelve hours are over, though a stream is open')
  leaveLast()
  await close(server)
})

test('five minutes after its last stream it opens nothing any more', async () => {
  const clock = new FakeClock()
  const server = await start(clock)
  const ticket = await issued(server.hub)
  const leave = await server.hub.tickets.enter(found(server.hub, ticket))
  clock.advance(HOUR_MS)
  leave()
  clock.advance(5 * MINUTE_MS)
  assert.equal(server.hub.tickets.find(ticket), undefined)
  await close(server)
})

for (const isCrash of [false, true]) {
  const end = isCrash ? 'a crash' : 'a stop'

  test(`over ${end}: who had a stream has five minutes from the start on, and who had not has what was left`, async () => {
    const clock = new FakeClock()
    let server = await start(clock)
    const [unused, tooOld, inUse, left] = [
      await issued(server.hub),
      await issued(server.hub),
      await issued(server.hub),
      await issued(server.hub),
    ]
    const { tickets } = server.hub
    await tickets.enter(found(server.hub, inUse))
    const leave = await tickets.enter(found(server.hub, left))
    clock.advance(LIFETIME_MS - 1000)
    leave()
    clock.advance(1000)
    // What notes the end of a stream is not waited for; this is behind it.
    const late = await issued(server.hub)
    server = await startAgain(server, clock, isCrash)
    for (const gone of [unused, tooOld]) assert.equal(server.hub.tickets.find(gone), undefined)
    for (const there of [inUse, left, late]) found(server.hub, there)
    clock.advance(5 * MINUTE_MS - 1000)
    assert.equal(server.hub.tickets.find(left), undefined, 'five minutes after its stream, not after the start')
    assert.equal(server.hub.tickets.find(late), undefined)
    found(server.hub, inUse)
    await issued(server.hub)
    server = await startAgain(server, clock, isCrash)
    found(server.hub, inUse)
    clock.advance(1000)
    assert.equal(server.hub.tickets.find(inUse), undefined, 'nobody came back with it')
    // Once it was found to be over, no further start brings it back.
    clock.advance(MINUTE_MS)
    await issued(server.hub)
    server = await startAgain(server, clock, isCrash)
    assert.equal(server.hub.tickets.find(inUse), undefined)
    await close(server)
  })
}

test('streams that come and go write nothing once the log says that the ticket is in use', async () => {
  const clock = new FakeClock()
  const server = await start(clock)
  const { hub, world } = server
  const ticket = found(hub, await issued(hub))
  const issuedAt = world.durable.lastOffset
  const leave = await Promise.all([hub.tickets.enter(ticket), hub.tickets.enter(ticket)])
  assert.equal(world.durable.lastOffset, issuedAt + 1, 'two that begin at once are noted once')
  for (const each of leave) each()
  for (let times = 0; times < 20; times += 1) (await hub.tickets.enter(ticket))()
  assert.equal(world.durable.lastOffset, issuedAt + 1)
  clock.advance(MINUTE_MS)
  await issued(hub)
  assert.equal(world.durable.lastOffset, issuedAt + 3, 'its end is noted once')
  await close(server)
})

test('it opens what the token of its maker opens: nothing once that has ended or was revoked, also in use and over a crash', async () => {
  const clock = new FakeClock()
  let server = await start(clock)
  const { topic } = await server.hub.createTopic({ persist: true })
  const secrets: string[] = []
  for (const expiresAtMs of [clock.wallMs() + HOUR_MS, undefined]) {
    const request = { rights: ['subscribe'] as const, label: undefined, expiresAtMs }
    secrets.push((await server.hub.issueToken(topic, request)).secret)
  }
  const tickets: Uint8Array[] = []
  for (const secret of secrets) {
    const { tickets: office } = server.hub
    tickets.push(hashToken((await office.issue([{ topics: [topic.id], by: hashToken(secret) }])).secret))
    await office.enter(found(server.hub, tickets.at(-1)!))
  }
  const opening = () =>
    tickets.map((sha256) => {
      const authority = found(server.hub, sha256).authorityFor(topic.id) ?? assert.fail()
      const present = server.hub.topic(topic.id) ?? assert.fail()
      return server.hub.accessTo(present, authority, 'subscribe') !== undefined
    })
  clock.advance(HOUR_MS - 1)
  assert.deepEqual(opening(), [true, true])
  clock.advance(1)
  assert.deepEqual(opening(), [false, true])
  const [lasting] = server.hub.tokensOf(topic)
  await server.hub.revokeToken(topic, lasting?.number ?? assert.fail())
  assert.deepEqual(opening(), [false, false])
  server = await startAgain(server, clock, true)
  assert.deepEqual(opening(), [false, false])
  await server.hub.deleteTopic(topic.id)
  assert.equal(server.hub.topic(topic.id), undefined)
  await close(server)
})

test('a ticket whose time ends between its being found and its being used stays in use', async () => {
  const clock = new FakeClock()
  const server = await start(clock)
  const sha256 = await issued(server.hub)
  const ticket = found(server.hub, sha256)
  clock.advance(LIFETIME_MS + MINUTE_MS)
  assert.equal(server.hub.tickets.find(sha256), undefined)
  const leave = await server.hub.tickets.enter(ticket)
  leave()
  found(server.hub, sha256)
  await close(server)
})

test('a log that takes nothing keeps no stream from its ticket, and hears of it when it takes something again', async () => {
  const clock = new FakeClock()
  let server = await start(clock)
  const sha256 = await issued(server.hub)
  const { durable } = server.world
  const append = durable.append.bind(durable)
  durable.append = () => Promise.reject(new StorageError('STORAGE_FULL', 'There is no room.'))
  await server.hub.tickets.enter(found(server.hub, sha256))
  durable.append = append
  clock.advance(MINUTE_MS)
  await issued(server.hub)
  clock.advance(HOUR_MS)
  server = await startAgain(server, clock, true)
  found(server.hub, sha256)
  await close(server)
})

test('there are no more than the limit, also where they are asked for at once, and those that are over make room', async () => {
  const clock = new FakeClock()
  const world = await realWorld(undefined, undefined, () => clock.wallMs())
  const hub = await openHub(world, { clock, options: { ticketsMax: 5 } })
  const settled = await Promise.allSettled(Array.from({ length: 8 }, () => hub.tickets.issue(grants)))
  assert.equal(settled.filter(({ status }) => status === 'fulfilled').length, 5)
  await assert.rejects(hub.tickets.issue(grants), (error: DomainError) => error.code === 'LIMIT')
  clock.advance(LIFETIME_MS)
  await hub.tickets.issue(grants)
  await close({ hub, world })
})

test('without a durable log they work as well, and end with the process', async () => {
  const clock = new FakeClock()
  const world = await realWorld()
  const hub = await openHub({ ...world, durable: undefined }, { clock })
  const ticket = await issued(hub)
  const leave = await hub.tickets.enter(found(hub, ticket))
  clock.advance(HOUR_MS)
  leave()
  found(hub, ticket)
  assert.equal(await hub.tickets.floor(), 0)
  await close({ hub, world })
})

test('row 82: a ticket that is over stays so and a valid one valid, through compaction, checkpoints, stops and crashes', async (t) => {
  const random = new Random()
  t.diagnostic(`seed ${random.seed}`)
  const clock = new FakeClock()
  let server = await start(clock, random)
  const { id } = (await server.hub.createTopic({ persist: true })).topic
  /** What should be, by the ticket. */
  const model = new Map<Uint8Array, { endsAtMs: number; usableUntilMs: number; leave: (() => void) | undefined }>()
  let runs = 0
  const compactions = () => server.world.durable.statistics().compaction?.runs ?? 0
  const startCompaction = () => {
    const { judge } = server.hub
    assert.ok(judge !== undefined)
    const limits = { bytesPerSecondMax: 2 ** 40, deadShareMin: 0.1, intervalMs: 2 ** 30 }
    server.world.durable.startCompaction({ judge, ...limits })
  }
  startCompaction()
  for (let step = 0; step < 300; step += 1) {
    const dice = random.int(12)
    const usable = [...model].filter(([sha256]) => server.hub.tickets.find(sha256) !== undefined)
    if (dice < 3) {
      const nowMs = clock.wallMs()
      const sha256 = await issued(server.hub)
      model.set(sha256, { endsAtMs: nowMs + 12 * HOUR_MS, usableUntilMs: nowMs + LIFETIME_MS, leave: undefined })
    } else if (dice < 5 && usable.length > 0) {
      const [sha256, state] = random.pick(usable)
      if (state.leave === undefined) state.leave = await server.hub.tickets.enter(found(server.hub, sha256))
    } else if (dice < 7 && usable.length > 0) {
      const [, state] = random.pick(usable)
      if (state.leave !== undefined) state.usableUntilMs = Math.max(state.usableUntilMs, clock.wallMs() + 5 * MINUTE_MS)
      state.leave?.()
      state.leave = undefined
    } else if (dice < 9) {
      clock.advance(random.pick([MINUTE_MS, 4 * MINUTE_MS, 20 * MINUTE_MS, 3 * HOUR_MS]))
      await server.hub.publish(server.hub.topic(id) ?? assert.fail(), eventOf('x'.repeat(400)))
    } else if (dice < 10) await server.world.durable.compact()
    else if (dice < 11) await server.hub.checkpoint()
    else {
      runs += compactions()
      // What is not waited for is behind this.
      await server.hub.publish(server.hub.topic(id) ?? assert.fail(), eventOf('before the end'))
      server = await startAgain(server, clock, random.chance(0.5))
      startCompaction()
      for (const state of model.values()) {
        if (state.leave !== undefined)
          state.usableUntilMs = Math.max(state.usableUntilMs, clock.wallMs() + 5 * MINUTE_MS)
        state.leave = undefined
      }
    }
    for (const [sha256, { endsAtMs, usableUntilMs, leave }] of model) {
      const nowMs = clock.wallMs()
      const expected = nowMs < endsAtMs && (leave !== undefined || nowMs < usableUntilMs)
      assert.equal(server.hub.tickets.find(sha256) !== undefined, expected, `step ${step}`)
      if (!expected && leave === undefined) model.set(sha256, { endsAtMs: 0, usableUntilMs: 0, leave })
    }
  }
  runs += compactions()
  assert.ok(runs > 3, `${runs} runs of compaction`)
  await close(server)
})
