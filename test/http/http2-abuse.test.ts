/** What breaks servers of HTTP/2: over a limit the connection ends, and nobody else notices. Frames are sent as bytes. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import { type TestContext, test } from 'node:test'
import { connect, type TLSSocket } from 'node:tls'
import {
  endHeaders,
  endStream,
  FrameReader,
  frame,
  frameOf,
  headOf,
  preface,
  resetOf,
  setting,
  settingsOf,
  windowDefault,
  windowMax,
  windowUpdateOf,
} from '../support/http2-frames.ts'
import { API_TOKEN } from './fixture.ts'
import { certificate, publishText, type SecureFixture, startSecureFixture } from './secure-fixture.ts'

const streamsMax = 50
const resetsMax = 500

const getOf = (path: string) =>
  headOf({ ':method': 'GET', ':scheme': 'https', ':path': path, ':authority': 'localhost' })
const get = getOf('/')
const postEvents = (topic: string) =>
  headOf({
    ':method': 'POST',
    ':scheme': 'https',
    ':path': `/api/v1/pubsubs/${topic}/events`,
    ':authority': 'localhost',
    authorization: `Bearer ${API_TOKEN}`,
  })

class RawHttp2 {
  readonly socket: TLSSocket
  isEnded = false
  /** How many whole frames of each type have come. */
  readonly #seen = new Map<number, number>()

  constructor(socket: TLSSocket) {
    this.socket = socket
    const reader = new FrameReader(({ type, isLast }) => {
      if (isLast) this.#seen.set(type, this.seen(type) + 1)
    })
    socket.on('data', (chunk: Buffer) => reader.read(chunk, chunk.length))
    socket.on('error', () => undefined)
    socket.on('close', () => {
      this.isEnded = true
    })
    socket.write(Buffer.concat([preface, settingsOf()]))
  }

  /** Resolves when the server has ended it. */
  async end(): Promise<void> {
    if (!this.isEnded) await once(this.socket, 'close')
  }

  seen(type: number): number {
    return this.#seen.get(type) ?? 0
  }

  /** Until something has come, or it has ended. */
  more(): Promise<void> {
    return this.#firstOf('data', 'close')
  }

  #firstOf(...events: readonly string[]): Promise<void> {
    const { socket } = this
    return new Promise((resolve) => {
      const settle = () => {
        for (const event of events) socket.off(event, settle)
        resolve()
      }
      for (const event of events) socket.on(event, settle)
    })
  }

  /** At the pace in which it is taken, until the server ends it. False where it has taken all of it. */
  async floods(pieceOf: (round: number) => Buffer, rounds: number): Promise<boolean> {
    const { socket } = this
    for (let round = 0; round < rounds && socket.writable; round += 1) {
      if (!socket.write(pieceOf(round)) && socket.writable) await this.#firstOf('drain', 'end', 'close')
      else await new Promise((resolve) => setImmediate(resolve))
    }
    return !socket.writable
  }
}

interface Server extends SecureFixture {
  raw2(): Promise<RawHttp2>
  /** Somebody else, on a connection of its own, who was there before and does not notice. */
  readonly neighbour: { isWell(): Promise<void> }
}

async function start(t: TestContext, http: { readTimeoutMs?: number; writeTimeoutMs?: number } = {}): Promise<Server> {
  const fixture = await startSecureFixture(
    t,
    { streamsPerConnectionMax: streamsMax, streamResetsMax: resetsMax },
    { http },
  )
  const port = fixture.securePort
  const { id } = await fixture.createTopic()
  const session = connectHttp2(`https://localhost:${port}`, { ca: certificate.certificate })
  session.on('error', () => undefined)
  t.after(() => session.destroy())
  const stream = session.request({ ':path': `/api/v1/pubsubs/${id}/events`, authorization: `Bearer ${API_TOKEN}` })
  let text = ''
  stream.setEncoding('utf8').on('data', (part: string) => {
    text += part
  })
  await once(stream, 'response')
  let count = 0
  return {
    ...fixture,
    async raw2() {
      const options = { servername: 'localhost', ca: certificate.certificate, ALPNProtocols: ['h2'] }
      const socket = connect({ host: '127.0.0.1', port, ...options })
      t.after(() => socket.destroy())
      await once(socket, 'secureConnect')
      return new RawHttp2(socket)
    },
    neighbour: {
      async isWell() {
        count += 1
        await publishText(fixture.hub, id, `well ${count}`)
        while (!text.includes(`data: well ${count}\n`)) await once(stream, 'data')
      },
    },
  }
}

for (const [name, code] of [
  ['CANCEL', 8],
  ['NO_ERROR', 0],
] as const) {
  test(`rapid reset, with ${name}: whoever opens streams only to reset them is cut off`, async (t) => {
    const { raw2, neighbour } = await start(t)
    const attacker = await raw2()
    const pair = (round: number) => {
      const first = 1 + round * 200
      const ids = Array.from({ length: 100 }, (_, index) => first + 2 * index)
      const both = ids.flatMap((id) => [frameOf(frame.headers, endStream | endHeaders, id, get), resetOf(id, code)])
      return Buffer.concat(both)
    }
    assert.equal(await attacker.floods(pair, 2000), true)
    await neighbour.isWell()
  })
}

test('whoever makes the server reset streams (MadeYouReset) is cut off as well', async (t) => {
  const { raw2, neighbour } = await start(t)
  const attacker = await raw2()
  // A window larger than there may be is a mistake of that stream alone.
  const pair = (round: number) => {
    const first = 1 + round * 40
    const ids = Array.from({ length: 20 }, (_, index) => first + 2 * index)
    return Buffer.concat(
      ids.flatMap((id) => [frameOf(frame.headers, endStream | endHeaders, id, get), windowUpdateOf(id, windowMax)]),
    )
  }
  assert.equal(await attacker.floods(pair, 2000), true)
  await neighbour.isWell()
})

test('a body of pieces without a byte is cut off', async (t) => {
  const { raw2, neighbour, createTopic } = await start(t)
  const { id } = await createTopic()
  const attacker = await raw2()
  attacker.socket.write(frameOf(frame.headers, endHeaders, 1, postEvents(id)))
  const empty = Buffer.concat(Array.from({ length: 100 }, () => frameOf(frame.data, 0, 1)))
  assert.equal(await attacker.floods(() => empty, 2000), true)
  await neighbour.isWell()
})

test('a head that never ends (CONTINUATION flood) is cut off', async (t) => {
  const { raw2, neighbour } = await start(t)
  const attacker = await raw2()
  // A literal header that is not kept, again and again.
  const field = Buffer.concat([Buffer.from([0x00, 1, 0x78, 100]), Buffer.alloc(100, 'x')])
  const block = Buffer.concat(Array.from({ length: 100 }, () => field))
  attacker.socket.write(frameOf(frame.headers, 0, 1, get))
  assert.equal(await attacker.floods(() => frameOf(frame.continuation, 0, 1, block), 2000), true)
  await neighbour.isWell()
})

test('empty pieces of a head are cut off as well', async (t) => {
  const { raw2, neighbour } = await start(t)
  const attacker = await raw2()
  attacker.socket.write(frameOf(frame.headers, 0, 1, get))
  const empty = frameOf(frame.continuation, 0, 1)
  assert.equal(await attacker.floods(() => Buffer.concat(Array.from({ length: 100 }, () => empty)), 2000), true)
  await neighbour.isWell()
})

for (const [name, one] of [
  ['SETTINGS', settingsOf()],
  ['PING', frameOf(frame.ping, 0, 0, Buffer.alloc(8))],
] as const) {
  test(`a flood of ${name} whose answers nobody takes is cut off`, async (t) => {
    const { raw2, neighbour } = await start(t)
    const attacker = await raw2()
    attacker.socket.pause()
    const many = Buffer.concat(Array.from({ length: 1000 }, () => one))
    assert.equal(await attacker.floods(() => many, 5000), true)
    await neighbour.isWell()
  })
}

test('header bombs, small on the way and large when they are unpacked, open nothing, and whoever goes on is cut off', async (t) => {
  const { raw2, neighbour, hub } = await start(t)
  const attacker = await raw2()
  // One field of 3000 bytes goes into the table, and is named 10,000 times by one byte each: 30 MB.
  const value = Buffer.alloc(3000, 'b')
  const length = [0x7f, 0xb9, 0x16]
  const kept = Buffer.concat([Buffer.from([0x40, 1, 0x78, ...length]), value])
  const block = Buffer.concat([get, kept, Buffer.alloc(10_000, 0xbe)])
  const topics = hub.figures().active_topics
  const bomb = (round: number) => frameOf(frame.headers, endStream | endHeaders, 1 + 2 * round, block)
  const before = process.memoryUsage().rss
  // More than enough, also where the machine is so slow that the allowance of each second lets most of them pass.
  await attacker.floods(bomb, 8 * resetsMax)
  assert(process.memoryUsage().rss - before < 200 * 2 ** 20, 'it was unpacked and kept')
  assert.equal(hub.figures().active_topics, topics)
  assert.equal(attacker.seen(frame.headers), 0, 'nothing was answered')
  await attacker.end()
  await neighbour.isWell()
})

test('whoever only passes over numbers of streams is served on, at once or with each request, with bodies or without', {
  timeout: 60_000,
}, async (t) => {
  const { raw2, neighbour, createTopic } = await start(t)
  const { id } = await createTopic()
  const client = await raw2()
  client.socket.write(windowUpdateOf(0, windowMax - windowDefault))
  const body = Buffer.alloc(2000, 'b')
  let next = 1
  let answers = 0
  // Half of what may be open at once, again and again.
  const ask = async (step: number, requestOf: (stream: number) => readonly Buffer[]) => {
    const count = streamsMax / 2
    const streams = Array.from({ length: count }, (_, index) => next + index * step)
    next += count * step
    answers += count
    client.socket.write(Buffer.concat(streams.flatMap(requestOf)))
    while (client.seen(frame.headers) < answers) {
      assert(!client.isEnded, `it was cut off at ${answers}`)
      await client.more()
    }
  }
  const healthz = getOf('/healthz')
  const getHealth = (stream: number) => [frameOf(frame.headers, endStream | endHeaders, stream, healthz)]
  const publish = (stream: number) => [
    frameOf(frame.headers, endHeaders, stream, postEvents(id)),
    frameOf(frame.data, endStream, stream, body),
  ]
  for (const requestOf of [getHealth, publish]) {
    for (let round = 0; round < 6; round += 1) await ask(2 * resetsMax, requestOf)
  }
  next += 2000 * resetsMax
  await ask(2, getHealth)
  // Its connection is younger: when it is found out, the other one has been looked at.
  const attacker = await raw2()
  const heads = Array.from({ length: 2 * resetsMax }, (_, index) =>
    frameOf(frame.headers, endStream | endHeaders, 1 + 2 * index),
  )
  // All at once: on a slow machine the allowance of each second would let some of them pass.
  attacker.socket.write(Buffer.concat(heads))
  await attacker.end()
  await ask(2, getHealth)
  await neighbour.isWell()
})

test('more streams at once than are allowed are refused, and silent bodies end by themselves', async (t) => {
  const { raw2, neighbour, createTopic } = await start(t, { readTimeoutMs: 1000 })
  const { id } = await createTopic()
  const attacker = await raw2()
  const head = postEvents(id)
  const heads = Array.from({ length: 4 * streamsMax }, (_, index) =>
    frameOf(frame.headers, endHeaders, 1 + 2 * index, head),
  )
  attacker.socket.write(Buffer.concat(heads))
  while (
    !attacker.isEnded &&
    (attacker.seen(frame.headers) < streamsMax || attacker.seen(frame.reset) < 3 * streamsMax)
  ) {
    await new Promise((resolve) => setImmediate(resolve))
  }
  await neighbour.isWell()
})

test('whoever opens streams and takes nothing of what is answered costs what the streams may keep, and no more', async (t) => {
  const { raw2, neighbour } = await start(t)
  const attacker = await raw2()
  attacker.socket.pause()
  attacker.socket.write(settingsOf([setting.initialWindowSize, 0]))
  const opened = (round: number) => frameOf(frame.headers, endStream | endHeaders, 1 + 2 * round, get)
  await attacker.floods(opened, 2000)
  await neighbour.isWell()
})

test('an answer that nobody takes ends by itself, and what else is open on its connection goes on', {
  timeout: 60_000,
}, async (t) => {
  const { securePort, neighbour } = await start(t, { writeTimeoutMs: 1000 })
  const settings = { initialWindowSize: 0 }
  const session = connectHttp2(`https://localhost:${securePort}`, { ca: certificate.certificate, settings })
  session.on('error', () => undefined)
  t.after(() => session.destroy())
  await once(session, 'localSettings')
  const untaken = Array.from({ length: streamsMax - 1 }, () => session.request({ ':path': '/openapi.json' }))
  await Promise.all(untaken.map((stream) => once(stream, 'close')))
  session.settings({ initialWindowSize: 65_535 })
  await once(session, 'localSettings')
  const taken = session.request({ ':path': '/healthz' })
  const [headers] = await once(taken, 'response')
  assert.equal(headers[':status'], 200)
  taken.resume()
  await once(taken, 'end')
  await neighbour.isWell()
})
