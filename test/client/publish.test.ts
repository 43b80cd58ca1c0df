/** Publishing by the client library: what is sent again is published once, and a source is published while it brings. */

import assert from 'node:assert/strict'
import { createServer, request as forward, type IncomingMessage, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { inBatches } from '../../src/client/in-batches.ts'
import { type NewEvent, SserClient, type SserError } from '../../src/client/index.ts'
import { API_TOKEN, type Fixture, startFixture } from '../http/fixture.ts'

type Fate = 'answered' | 'lost answer' | 'unheard' | number

/** Stands before the server, and does with each request what the test says. */
async function behind(context: TestContext, { port }: Fixture, fates: readonly Fate[]) {
  const keys: (string | undefined)[] = []
  const listener: RequestListener = (incoming, outgoing) => {
    const fate = fates[keys.length] ?? 'answered'
    keys.push(incoming.headers['idempotency-key'] as string | undefined)
    if (fate === 'unheard') {
      incoming.socket.destroy()
      return
    }
    if (typeof fate === 'number') {
      incoming.resume()
      outgoing.writeHead(fate, { 'content-type': 'application/json', 'retry-after': '0' })
      outgoing.end('{"error":{"code":0,"message":"Later."}}')
      return
    }
    const { method = 'GET', url = '/', headers } = incoming
    const onAnswer = (answer: IncomingMessage) => {
      if (fate === 'lost answer') {
        answer.resume()
        answer.once('end', () => incoming.socket.destroy())
        return
      }
      outgoing.writeHead(answer.statusCode ?? 0, answer.headers)
      answer.pipe(outgoing)
    }
    incoming.pipe(forward({ port, host: '127.0.0.1', method, path: url, headers }, onAnswer))
  }
  const server = createServer(listener)
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  context.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return { keys, client: new SserClient({ url, token: API_TOKEN }) }
}

async function eventsIn({ hub }: Fixture, id: string): Promise<number> {
  return (await hub.topicDetails(hub.topic(id)!)).events
}

test('a call whose answer was lost, or that came at a bad time, is made again and publishes once', async (context) => {
  const fixture = await startFixture(context)
  const { id } = await fixture.createTopic(true)
  const { client, keys } = await behind(context, fixture, ['lost answer', 503, 'unheard', 'answered'])
  const { id: number } = await client.publish(id, { message: 1 }, { retries: 3 })
  assert.equal(await eventsIn(fixture, id), 1)
  assert.equal(new Set(keys).size, 1)
  assert.match(keys[0] ?? '', /^"[0-9a-f]{32}"$/)
  const [again] = await client.publishMany(id, [{ message: 2 }], { retries: 1 })
  assert.notEqual(again?.id, number)
  assert.notEqual(keys.at(-1), keys[0])
})

test('without retries a call is made once, and what is final is not tried again', async (context) => {
  const fixture = await startFixture(context)
  const { id } = await fixture.createTopic(true)
  const { client, keys } = await behind(context, fixture, [503, 400, 503, 503])
  const refusedWith = (status: number) => (error: SserError) => error.status === status
  await assert.rejects(client.publish(id, { message: 1 }), refusedWith(503))
  await assert.rejects(client.publish(id, { message: 1 }, { retries: 5 }), refusedWith(400))
  await assert.rejects(client.publish(id, { message: 1 }, { retries: 1 }), refusedWith(503))
  assert.equal(keys.length, 4)
  assert.equal(keys[0], undefined)
})

test('a key of the caller is sent as it is, and the same key with another event is refused', async (context) => {
  const fixture = await startFixture(context)
  const { id } = await fixture.createTopic(true)
  const client = new SserClient({ url: fixture.origin, token: API_TOKEN })
  const idempotencyKey = 'a "key" with a \\ in it'
  const first = await client.publish(id, { message: 1 }, { idempotencyKey })
  assert.deepEqual(await client.publish(id, { message: 1 }, { idempotencyKey }), first)
  await assert.rejects(
    client.publish(id, { message: 2 }, { idempotencyKey }),
    (error: SserError) => error.status === 422,
  )
  const one = await client.publish(id, { message: 1, dedupe: 'd' })
  assert.deepEqual(await client.publish(id, { message: 'other', dedupe: 'd' }), one)
  assert.equal(await eventsIn(fixture, id), 2)
})

test('a server that asks to be left alone for a while is asked again then, and not before', async (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] })
  const later = { status: 503, headers: { 'content-type': 'application/json', 'retry-after': '60' } }
  let calls = 0
  const fetch = async () => {
    calls += 1
    if (calls === 1) return new Response('{"error":{"code":503,"message":"Later."}}', later)
    return new Response('{"event":{"id":"00000000002"}}', { status: 201 })
  }
  const client = new SserClient({ url: 'http://events.test', fetch })
  const published = client.publish('00000000001', { message: 1 }, { retries: 1 })
  for (let turn = 0; turn < 20; turn += 1) await nextTurn()
  context.mock.timers.tick(59_999)
  for (let turn = 0; turn < 20; turn += 1) await nextTurn()
  assert.equal(calls, 1)
  for (; calls === 1; context.mock.timers.tick(1)) await nextTurn()
  assert.deepEqual(await published, { id: '00000000002' })
})

test('an abort ends the wait before the next try', async (context) => {
  const fixture = await startFixture(context)
  const { client } = await behind(
    context,
    fixture,
    Array.from({ length: 50 }, () => 503),
  )
  const stopping = new AbortController()
  const call = client.publish('1', { message: 1 }, { retries: 40, signal: stopping.signal })
  setTimeout(() => stopping.abort(new Error('enough')), 50)
  await assert.rejects(call, /enough/)
})

test('a source is published in its order, in few requests, each once, also where answers are lost', async (context) => {
  const fixture = await startFixture(context, { http: { requestBodyBytesMax: 1 << 20, eventsPerRequestMax: 1000 } })
  const { id } = await fixture.createTopic(true)
  const { client, keys } = await behind(context, fixture, ['answered', 'lost answer', 'answered', 'unheard', 503])
  const count = 3000
  async function* source(): AsyncGenerator<NewEvent> {
    for (let n = 0; n < count; n += 1) {
      if (n % 500 === 1) await nextTurn()
      yield { message: n }
    }
  }
  const ids: string[] = []
  for await (const published of client.publishFrom(id, source(), { retries: 5 }))
    ids.push(...published.map((p) => p.id))
  assert.equal(ids.length, count)
  assert.deepEqual(ids, ids.toSorted())
  assert.ok(keys.length < 100, `${keys.length} requests`)
  const messages: unknown[] = []
  for await (const item of client.history(id)) if (item.kind === 'event') messages.push(item.message)
  assert.deepEqual(
    messages,
    Array.from({ length: count }, (_, n) => n),
  )
})

test('a server that takes less at once gets less', async (context) => {
  const fixture = await startFixture(context)
  const { id } = await fixture.createTopic(true)
  const { client, keys } = await behind(context, fixture, [])
  const source = Array.from({ length: 2000 }, (_, n) => ({ message: n }))
  const ids: string[] = []
  for await (const published of client.publishFrom(id, source)) ids.push(...published.map((each) => each.id))
  assert.deepEqual([ids.length, await eventsIn(fixture, id)], [2000, 2000])
  assert.deepEqual(ids, ids.toSorted())
  assert.ok(keys.length < 100, `${keys.length} requests`)
  await assert.rejects(
    client.publishFrom(id, [{ message: 'x'.repeat(5000) }]).next(),
    (error: SserError) => error.status === 413,
  )
})

test('an event of a quiet source does not wait for the next one, and a list is a source too', async (context) => {
  const fixture = await startFixture(context)
  const { id } = await fixture.createTopic(true)
  const client = new SserClient({ url: fixture.origin, token: API_TOKEN })
  let bring: ((event: NewEvent | undefined) => void) | undefined
  async function* source(): AsyncGenerator<NewEvent> {
    for (;;) {
      const event = await new Promise<NewEvent | undefined>((resolve) => {
        bring = resolve
      })
      if (event === undefined) return
      yield event
    }
  }
  const publishing = client.publishFrom(id, source())
  for (let n = 1; n <= 3; n += 1) {
    const next = publishing.next()
    while (bring === undefined) await nextTurn()
    const first = bring
    bring = undefined
    first({ message: n })
    assert.equal((await next).value?.length, 1)
    assert.equal(await eventsIn(fixture, id), n)
  }
  // Whoever leaves does not wait for a source that brings nothing.
  await publishing.return()
  const lists = []
  for await (const published of client.publishFrom(id, [{ message: 4 }, { message: 5 }])) lists.push(...published)
  assert.equal(lists.length, 2)
})

test('where a source throws, what came before is published; an abort ends the wait for it', async (context) => {
  const fixture = await startFixture(context)
  const { id } = await fixture.createTopic(true)
  const client = new SserClient({ url: fixture.origin, token: API_TOKEN })
  async function* broken(): AsyncGenerator<NewEvent> {
    yield { message: 1 }
    yield { message: 2 }
    throw new Error('broken source')
  }
  const published = async (source: AsyncIterable<NewEvent>, signal?: AbortSignal) => {
    for await (const _ of client.publishFrom(id, source, signal === undefined ? {} : { signal }));
  }
  await assert.rejects(published(broken()), /broken source/)
  assert.equal(await eventsIn(fixture, id), 2)
  async function* silent(): AsyncGenerator<NewEvent> {
    await new Promise(() => undefined)
  }
  const stopping = new AbortController()
  const waiting = assert.rejects(published(silent(), stopping.signal), /enough/)
  await nextTurn()
  stopping.abort(new Error('enough'))
  await waiting
})

test('batches are bounded by number and by size, keep the order, and hold no more than one ahead', async () => {
  let asked = 0
  function* source(): Generator<string> {
    for (let n = 0; n < 50; n += 1) {
      asked += 1
      yield n % 7 === 0 ? 'x'.repeat(30) : String(n)
    }
  }
  const taken: string[] = []
  for await (const batch of inBatches(source(), ({ length }) => length, { itemsMax: 5, sizeMax: 10 }, undefined)) {
    assert.ok(batch.length <= 5)
    assert.ok(batch.length === 1 || batch.join('').length <= 10)
    taken.push(...batch)
    for (let turn = 0; turn < 3; turn += 1) await nextTurn()
    assert.ok(asked <= taken.length + 6, 'the source is not asked far ahead')
  }
  assert.deepEqual(taken, [...source()])
})
