/** The client library against a real server: its calls, and streams that are cut, refused, slow and silent. */

import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { type ReceivedItem, SserClient, SserError } from '../../src/client/index.ts'
import { retryAfterMs } from '../../src/client/retry-after.ts'
import { API_TOKEN, startFixture } from '../http/fixture.ts'
import { CuttingProxy } from '../support/cutting-proxy.ts'

async function take(stream: AsyncIterable<ReceivedItem>, count: number): Promise<ReceivedItem[]> {
  const items: ReceivedItem[] = []
  for await (const item of stream) {
    items.push(item)
    if (items.length === count) break
  }
  return items
}

function dataOf(items: readonly ReceivedItem[]): string[] {
  return items.map((item) => (item.kind === 'event' ? item.data : item.kind))
}

async function refuses(promise: Promise<unknown>, status: number): Promise<void> {
  await assert.rejects(promise, (error: unknown) => {
    assert.ok(error instanceof SserError)
    assert.equal(error.code, 'SSER_REFUSED')
    assert.equal(error.status, status)
    return true
  })
}

/** Answers in the place of a server, request by request. */
async function fakeServer(context: TestContext, handlers: readonly Parameters<typeof createServer>[1][]) {
  let requests = 0
  const heard: { readonly url: string | undefined; readonly lastEventId: string | undefined }[] = []
  const server: Server = createServer((request, response) => {
    heard.push({ url: request.url, lastEventId: request.headers['last-event-id'] as string | undefined })
    const handler = handlers[Math.min(requests, handlers.length - 1)] as (...args: unknown[]) => void
    requests += 1
    handler(request, response)
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  context.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return { heard, client: new SserClient({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }) }
}

function sends(text: string, isEnd = true): Parameters<typeof createServer>[1] {
  return (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(text)
    if (isEnd) response.end()
  }
}

test('an event is published, and received as it was sent', async (context) => {
  const { origin } = await startFixture(context)
  const client = new SserClient({ url: origin, token: API_TOKEN })
  const { id } = await client.topics.create({ persist: true })
  const published = await client.publish(id, { message: 'Hello', type: 'greeting' })
  const [one, two] = await client.publishMany(id, [{ message: { n: 1 } }, { message: 'näh', id: 'köy' }])
  const items = await take(client.subscribe(id, { since: 'earliest' }), 3)
  assert.deepEqual(items, [
    { kind: 'event', id: published.id, type: 'greeting', data: 'Hello', cursor: published.id },
    { kind: 'event', id: one?.id, type: 'message', data: '{"n":1}', cursor: one?.id },
    // The publisher's id is the listener's, the server's number the cursor.
    { kind: 'event', id: 'köy', type: 'message', data: 'näh', cursor: two?.id },
  ])
  assert.deepEqual(await client.publishMany(id, []), [])
})

async function all<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const list: Item[] = []
  for await (const item of items) list.push(item)
  return list
}

test('a history comes with what was published, in both orders, a page behind the other', async (context) => {
  const { origin } = await startFixture(context)
  const client = new SserClient({ url: origin, token: API_TOKEN })
  const { id } = await client.topics.create({ persist: true, retention: { max_events: 5 } })
  const messages = ['gone', null, '3', 3, { a: [1] }, 'last']
  const published = await client.publishMany(
    id,
    messages.map((message, i) => ({ message, type: 'thing', id: `own ${i}` })),
  )
  const forward = await all(client.history(id, { pageEvents: 2 }))
  assert.deepEqual(
    forward,
    published.slice(1).map((event, i) => ({
      kind: 'event',
      id: event.id,
      publisherId: `own ${i + 1}`,
      type: 'thing',
      time: forward[i]?.kind === 'event' ? forward[i].time : '',
      message: messages[i + 1],
    })),
  )
  assert.deepEqual(await all(client.history(id, { pageEvents: 3, order: 'desc' })), forward.toReversed())
  const [gap, ...rest] = await all(client.history(id, { after: id }))
  assert.deepEqual(rest, forward)
  assert.deepEqual([gap?.kind, gap?.kind === 'gap' && gap.through], ['gap', published[0]?.id])
})

test('topics are listed page by page, searched and sorted as asked for', async (context) => {
  const { origin } = await startFixture(context)
  const client = new SserClient({ url: origin, token: API_TOKEN })
  for (const name of ['Orders', 'prices', 'old orders']) await client.topics.create({ name })
  const choice = { search: 'orders', sort: 'name', order: 'desc', limit: 1 } as const
  const first = await client.topics.list(choice)
  const second = await client.topics.list({ ...choice, after: first.next ?? '' })
  assert.deepEqual(
    [...first.topics, ...second.topics].map(({ name }) => name),
    ['Orders', 'old orders'],
  )
  assert.equal(second.next, null)
  assert.equal((await all(client.topics.all())).length, 3)
})

test('an event that builds on another is published only if nothing came between', async (context) => {
  const { origin } = await startFixture(context)
  const client = new SserClient({ url: origin, token: API_TOKEN })
  const { id } = await client.topics.create({ persist: true })
  const first = await client.publish(id, { message: 1 }, { expectedLastId: '00000000000' })
  await assert.rejects(
    client.publish(id, { message: 2 }, { expectedLastId: '00000000000' }),
    (error: SserError) => error.status === 409 && error.details?.['last_id'] === first.id,
  )
  const [, third] = await client.publishMany(id, [{ message: 2 }, { message: 3 }], { expectedLastId: first.id })
  const last = (await all(client.history(id))).at(-1)
  assert.equal(last?.kind === 'event' ? last.id : undefined, third?.id)
})

test('further tokens are issued, listed and revoked', async (context) => {
  const { origin } = await startFixture(context)
  const client = new SserClient({ url: origin, token: API_TOKEN })
  const { id } = await client.topics.create({ persist: true })
  const { token, ...details } = await client.tokens.create(id, { rights: ['publish'], label: 'press' })
  assert.deepEqual(await client.tokens.list(id), [details])
  const press = new SserClient({ url: origin, token })
  await press.publish(id, { message: 'by the press' })
  await refuses(take(press.subscribe(id), 1), 401)
  await client.tokens.revoke(id, details.id)
  await refuses(press.publish(id, { message: 'too late' }), 401)
  assert.deepEqual(await client.tokens.list(id), [])
})

test('a ticket opens the streams of its topics', async (context) => {
  const { origin } = await startFixture(context)
  const client = new SserClient({ url: origin, token: API_TOKEN })
  const { id } = await client.topics.create({ persist: true })
  await client.publish(id, { message: 'for whoever has a ticket' })
  const { token, expires_at } = await client.ticket([id])
  assert.ok(Date.parse(expires_at) > Date.now())
  const guest = new SserClient({ url: origin, token })
  const [item] = await take(guest.subscribe(id, { since: 'earliest' }), 1)
  assert.equal(item?.kind === 'event' ? item.data : undefined, 'for whoever has a ticket')
  await refuses(guest.ticket([id]), 401)
})

test('a refusal is an error with the status and the sentence of the server', async (context) => {
  const { origin } = await startFixture(context)
  const client = new SserClient({ url: `${origin}/`, token: API_TOKEN })
  await refuses(client.publish('0000000001z', { message: 1 }), 404)
  await refuses(new SserClient({ url: origin, token: 'wrong' }).topics.create(), 401)
  await refuses(take(client.subscribe('0000000001z'), 1), 404)
  const { id } = await client.topics.create()
  await assert.rejects(
    client.publish(id, { message: 1, type: 'a\nb' }),
    (error: SserError) => error.details?.['path'] === 'event.type' && /control/.test(error.message),
  )
  await assert.rejects(
    new SserClient({ url: 'http://127.0.0.1:1' }).topics.create(),
    (error: SserError) => error.code === 'SSER_UNREACHABLE' && error.cause !== undefined,
  )
})

test('a stream that is cut again and again brings every event once, in order', async (context) => {
  const { origin, port } = await startFixture(context, { hub: { retryMs: 1 } })
  let cut = 300
  const proxy = await CuttingProxy.start(port, () => {
    cut += 37
    return cut
  })
  context.after(() => proxy.close())
  const publisher = new SserClient({ url: origin, token: API_TOKEN })
  const { id, token } = await publisher.topics.create({ persist: true })
  const messages = Array.from({ length: 100 }, (_, i) => `event ${i}`)
  await publisher.publishMany(
    id,
    messages.map((message, i) => (i % 3 === 0 ? { message, id: `own-${i}` } : { message })),
  )
  const subscriber = new SserClient({ url: proxy.url, token })
  const items = await take(subscriber.subscribe(id, { since: 'earliest' }), messages.length)
  assert.deepEqual(dataOf(items), messages)
  assert.ok(proxy.connections > 5, `${proxy.connections} connections`)
})

test('a cursor that was stored resumes behind its item', async (context) => {
  const { origin } = await startFixture(context)
  const client = new SserClient({ url: origin, token: API_TOKEN })
  const { id } = await client.topics.create({ persist: true })
  await client.publishMany(id, [{ message: 'a', id: 'same' }, { message: 'b', id: 'same' }, { message: 'c' }])
  const [, second] = await take(client.subscribe(id, { since: 'earliest' }), 2)
  const [third] = await take(client.subscribe(id, { lastEventId: second?.cursor ?? '' }), 1)
  assert.deepEqual(dataOf(third === undefined ? [] : [third]), ['c'])
})

test('a gap is told as an item of its own', async (context) => {
  const { origin } = await startFixture(context)
  const client = new SserClient({ url: origin, token: API_TOKEN })
  const { id } = await client.topics.create({ persist: true })
  const { id: number } = await client.publish(id, { message: 'a' })
  const [gap, event] = await take(client.subscribe(id, { lastEventId: 'never given' }), 2)
  assert.equal(gap?.kind, 'gap')
  assert.match(gap?.kind === 'gap' ? gap.reason : '', /no event/)
  assert.equal(event?.cursor, number)
})

test('the iteration ends when the topic is deleted', async (context) => {
  const { origin } = await startFixture(context)
  const client = new SserClient({ url: origin, token: API_TOKEN })
  const { id } = await client.topics.create({ persist: true })
  await client.publish(id, { message: 'last words' })
  const seen: string[] = []
  for await (const item of client.subscribe(id, { since: 'earliest' })) {
    seen.push(...dataOf([item]))
    await client.topics.delete(id)
  }
  assert.deepEqual(seen, ['last words'])
})

test('a slow consumer gets every event, while the server keeps what it has not taken', async (context) => {
  const { origin } = await startFixture(context, { http: { requestBodyBytesMax: 1 << 20 } })
  const client = new SserClient({ url: origin, token: API_TOKEN })
  const { id } = await client.topics.create({ persist: true })
  const text = 'x'.repeat(10_000)
  const stream = client.subscribe(id, { since: 'earliest' })
  for (let i = 0; i < 10; i += 1) {
    await client.publishMany(
      id,
      Array.from({ length: 100 }, (_, j) => ({ message: `${i * 100 + j} ${text}` })),
    )
  }
  const items = await take(stream, 1000)
  assert.deepEqual(
    dataOf(items).map((data) => Number.parseInt(data, 10)),
    Array.from({ length: 1000 }, (_, i) => i),
  )
})

test('a signal ends the iteration with its reason, also in a pause and while nothing comes', async (context) => {
  const { origin } = await startFixture(context)
  const client = new SserClient({ url: origin, token: API_TOKEN })
  const { id } = await client.topics.create()
  const quiet = new AbortController()
  const waiting = take(client.subscribe(id, { signal: quiet.signal }), 1)
  quiet.abort(new Error('enough'))
  await assert.rejects(waiting, /enough/)
  const { client: broken } = await fakeServer(context, [(_request, response) => response.destroy()])
  const paused = new AbortController()
  const retrying = take(broken.subscribe(id, { signal: paused.signal }), 1)
  setImmediate(() => paused.abort(new Error('enough, too')))
  await assert.rejects(retrying, /enough, too/)
})

test('errors of the server and of the network are tried again, with what was seen last', async (context) => {
  const { client, heard } = await fakeServer(context, [
    (_request, response) => response.writeHead(503).end(),
    (_request, response) => response.destroy(),
    sends('retry: 1\n\nid: a\ndata: 1\n\nid: b\ndata: unfin'),
    sends('id: b\ndata: 2\n\n'),
  ])
  const items = await take(client.subscribe('t', { since: 'earliest', retryMsMax: 1 }), 2)
  assert.deepEqual(dataOf(items), ['1', '2'])
  const path = '/api/v1/pubsubs/t/events'
  assert.deepEqual(heard, [
    { url: `${path}?since=earliest`, lastEventId: undefined },
    { url: `${path}?since=earliest`, lastEventId: undefined },
    { url: `${path}?since=earliest`, lastEventId: undefined },
    { url: path, lastEventId: 'a' },
  ])
})

test('a server that asks to be left alone is, in either form of Retry-After, and no longer than an hour', () => {
  const nowMs = Date.UTC(2026, 0, 1)
  for (const [header, waitMs] of [
    [null, 0],
    ['2', 2_000],
    ['3000000', 3_600_000],
    ['Thu, 01 Jan 2026 00:00:05 GMT', 5_000],
    ['Thu, 31 Dec 2099 00:00:00 GMT', 3_600_000],
    ['Wed, 31 Dec 2025 00:00:00 GMT', 0],
    ['soon', 0],
    ['-1', 0],
  ] as const) {
    assert.equal(retryAfterMs(header, nowMs), waitMs, String(header))
  }
})

test('an answer that is no JSON, or breaks off, is an error of the library with its cause', async (context) => {
  const { client } = await fakeServer(context, [
    (_request, response) => response.end('<html>'),
    (_request, response) => {
      response.writeHead(200, { 'content-length': '100' })
      response.write('{"topics"', () => response.destroy())
    },
  ])
  for (const code of ['SSER_PROTOCOL', 'SSER_UNREACHABLE']) {
    await assert.rejects(client.topics.get('t'), (error: SserError) => error.code === code && error.cause !== undefined)
  }
})

test('a connection that is silent for too long is given up for another', async (context) => {
  const { client } = await fakeServer(context, [
    sends('retry: 1\n\nid: a\ndata: 1\n\n', false),
    sends('id: b\ndata: 2\n\n'),
  ])
  const items = await take(client.subscribe('t', { silenceMsMax: 50 }), 2)
  assert.deepEqual(dataOf(items), ['1', '2'])
})

test('what is no event stream, or larger than allowed, ends the iteration with an error', async (context) => {
  const isProtocol = (error: SserError) => error.code === 'SSER_PROTOCOL'
  const { client } = await fakeServer(context, [(_request, response) => response.end('<html>')])
  await assert.rejects(take(client.subscribe('t'), 1), isProtocol)
  const { client: large } = await fakeServer(context, [sends(`data: ${'x'.repeat(2000)}\n\n`)])
  await assert.rejects(take(large.subscribe('t', { eventBytesMax: 1000 }), 1), isProtocol)
})

test('leaving the loop ends the connection', async (context) => {
  let closed: () => void = () => undefined
  const ended = new Promise<void>((resolve) => {
    closed = resolve
  })
  const { client } = await fakeServer(context, [
    (request, response) => {
      request.socket.on('close', closed)
      sends('id: a\ndata: 1\n\n', false)?.(request, response)
    },
  ])
  await take(client.subscribe('t'), 1)
  await ended
})

test('several topics come in one order, each event with its topic and as it was published, over broken connections', async (context) => {
  const { origin } = await startFixture(context)
  const { port } = new URL(origin)
  const proxy = await CuttingProxy.start(Number(port), () => 600)
  context.after(() => proxy.close())
  const direct = new SserClient({ url: origin, token: API_TOKEN })
  const topics = [await direct.topics.create({ persist: true }), await direct.topics.create()]
  const sent: (readonly [string, string, string])[] = []
  for (let n = 0; n < 30; n++) {
    const { id: topic } = topics[n % 2]!
    const message = n % 3 === 0 ? { n, text: ',"message":"forged"' } : `,"message":${n}\nline`
    const id = n % 5 === 0 ? `mine-${n}` : undefined
    const { id: number } = await direct.publish(topic, { message, ...(id === undefined ? {} : { id }) })
    sent.push([topic, id ?? number, typeof message === 'string' ? message : JSON.stringify(message)])
  }
  const client = new SserClient({ url: proxy.url, token: API_TOKEN })
  const ids = topics.map(({ id }) => id)
  const items = await take(client.subscribe(ids, { since: 'earliest', retryMsMax: 20 }), sent.length)
  assert.deepEqual(
    items.map((item) => item.kind === 'event' && [item.topic, item.id, item.data]),
    sent,
  )
  assert.ok(proxy.connections > 1, 'connections were cut')
})

test('a gap of several topics says which, and a topic that is gone is an error', async (context) => {
  const { origin, createTopic } = await startFixture(context)
  const client = new SserClient({ url: origin, token: API_TOKEN })
  const ids = [(await createTopic(true)).id, (await createTopic(true)).id]
  const { id: first } = await client.publish(ids[0]!, { message: 1 })
  await client.publish(ids[0]!, { message: 2 })
  await client.topics.empty(ids[0]!)
  const [gap] = await take(client.subscribe(ids, { lastEventId: first }), 1)
  assert.ok(gap?.kind === 'gap')
  assert.deepEqual(gap.topics, [ids[0]])
  await client.topics.delete(ids[1]!)
  await refuses(take(client.subscribe(ids), 1), 404)
})
