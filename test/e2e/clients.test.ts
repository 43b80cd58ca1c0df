/** What clients that others wrote make of the server, started as a user starts it, over real sockets. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { after, before, test } from 'node:test'
import { Api, type PublishedEvent } from '../support/api.ts'
import { CuttingProxy } from '../support/cutting-proxy.ts'
import { eventSourceKinds, Listener } from '../support/event-sources.ts'
import { ServerProcess } from '../support/server-process.ts'
import { SseClient } from '../support/sse-client.ts'

const TIMEOUT_MS = 180_000
const settings = {
  // The least that the configuration allows, so that clients come back soon.
  server: { retry: '100ms' },
  log: { segmentBytes: '256KiB' },
  // So long that none comes between what a test compares, however slow the machine is.
  pubsub: { tickFrequency: '5m' },
}

let server: ServerProcess
let api: Api
before(async () => {
  server = await ServerProcess.start({ settings })
  api = new Api(server)
})
after(async () => {
  api.close()
  await server.close()
})

/** What is published, and what must arrive. */
const cases: readonly (readonly [PublishedEvent, { readonly data: string; readonly type?: string }])[] = [
  [{ message: 'a bare text' }, { data: 'a bare text' }],
  [{ message: '' }, { data: '' }],
  [{ message: 'Grüße, 世界 🎈' }, { data: 'Grüße, 世界 🎈' }],
  [{ message: 'one\ntwo\r\nthree\rfour\n' }, { data: 'one\ntwo\nthree\nfour\n' }],
  [{ message: 'data: x\n\nid: 7\nevent: forged' }, { data: 'data: x\n\nid: 7\nevent: forged' }],
  [{ message: ' leading and trailing ' }, { data: ' leading and trailing ' }],
  [{ message: { nested: [1, null, 'x'], text: 'a\nb' } }, { data: '{"nested":[1,null,"x"],"text":"a\\nb"}' }],
  [{ message: [1, 2.5, -3e-7] }, { data: '[1,2.5,-3e-7]' }],
  [{ message: 3 }, { data: '3' }],
  [{ message: '3' }, { data: '3' }],
  [{ message: true }, { data: 'true' }],
  [{ message: false }, { data: 'false' }],
  [{ message: null }, { data: 'null' }],
  [
    { type: 'note', message: 'typed' },
    { type: 'note', data: 'typed' },
  ],
  [{ id: 'mine/1', message: 'with an id' }, { data: 'with an id' }],
  [
    { id: 'größer', type: 'note', message: 'with both' },
    { type: 'note', data: 'with both' },
  ],
  [{ id: '', type: '', message: 'with empty ones' }, { data: 'with empty ones' }],
]

for (const kind of eventSourceKinds) {
  test(`${kind} gets any JSON value of its own topic, with types and ids`, { timeout: TIMEOUT_MS }, async () => {
    const [one, two] = await Promise.all([api.createTopic(), api.createTopic(false)])
    const listeners = [one, two].map(
      ({ id, token }) => new Listener(kind, api.eventsUrl(id, `?access_token=${token}`), ['note']),
    )
    try {
      await Promise.all(listeners.map((listener) => listener.until(({ opened }) => opened === 1)))
      for (const topic of [one, two]) {
        const ids: string[] = []
        for (const [event] of cases) ids.push(await api.publish(topic.id, event))
        await api.publish(topic.id, { message: `the end of ${topic.id}` })
        const listener = listeners[topic === one ? 0 : 1] as Listener
        await listener.until(({ events }) => events.length > cases.length)
        const expected = cases.map(([event, { data, type = 'message' }], index) => ({
          type,
          data,
          lastEventId: event.id || (ids[index] as string),
        }))
        assert.deepEqual(listener.events.slice(0, -1), expected)
        assert.equal(listener.events.at(-1)?.data, `the end of ${topic.id}`)
      }
      assert.equal(listeners[0]?.events.length, cases.length + 1, 'nothing of the other topic')
    } finally {
      for (const listener of listeners) listener.close()
    }
  })

  test(`${kind} loses nothing and gets nothing twice when the server is stopped, and when it is killed`, {
    timeout: TIMEOUT_MS,
  }, async () => {
    const { id, token } = await api.createTopic()
    const listener = new Listener(kind, api.eventsUrl(id, `?access_token=${token}`))
    const published: string[] = []
    const publish = async (count: number) => {
      for (let i = 0; i < count; i++) {
        const message = `event ${published.length}`
        // undici resumes by the number behind such an event; npm's eventsource keeps the ids of events only.
        const ownId = kind === 'undici' ? 'always the same' : `own ${published.length}`
        await api.publish(id, published.length % 3 === 0 ? { id: ownId, message } : { message })
        published.push(message)
      }
    }
    try {
      await listener.until(({ opened }) => opened === 1)
      for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
        await publish(25)
        await listener.until(({ events }) => events.length === published.length)
        await server.kill(signal)
        await server.restart()
        // While the client is still away, as well as after.
        await publish(25)
        await listener.until(({ events }) => events.length >= published.length)
        await publish(5)
      }
      await listener.until(({ events }) => events.length >= published.length)
      assert.deepEqual(
        listener.events.map(({ data }) => data),
        published,
      )
      assert(listener.opened >= 3)
    } finally {
      listener.close()
    }
  })
}

for (const kind of eventSourceKinds) {
  test(`${kind} that is cut in its first event misses nothing with signals, although it may ignore an id without data`, {
    timeout: TIMEOUT_MS,
  }, async () => {
    const { id, token } = await api.createTopic()
    const zero = '0'.repeat(11)
    const opening = [
      'retry: 100\n\n',
      `id: ${zero}\nevent: sser.open\ndata: {"resumes_after":"${zero}","last_id":"${zero}"}\n\n`,
      `event: sser.caught-up\ndata: {"last_id":"${zero}"}\n\n`,
    ].join('')
    const proxy = await CuttingProxy.start(Number(new URL(server.url).port), () =>
      proxy.connections === 0 ? opening.length + 'id: '.length : undefined,
    )
    const path = api.eventsUrl(id, `?signals=1&access_token=${token}`).slice(server.url.length)
    const listener = new Listener(kind, proxy.url + path, ['sser.open', 'sser.caught-up'])
    try {
      await listener.until(({ events }) => events.length === 2)
      await api.publish(id, { message: 'one' })
      await listener.until(({ events }) => events.length >= 5)
      await api.publish(id, { message: 'two' })
      await listener.until(({ events }) => events.length >= 6)
      assert.deepEqual(
        listener.events.map(({ type, data }) => (type === 'message' ? data : type)),
        ['sser.open', 'sser.caught-up', 'sser.open', 'one', 'sser.caught-up', 'two'],
      )
      assert.equal(listener.events[2]?.lastEventId, listener.events[0]?.lastEventId, 'it came back to where it began')
    } finally {
      listener.close()
      await proxy.close()
    }
  })
}

test('curl watches a topic, and resumes by the id that it saw last', { timeout: TIMEOUT_MS }, async () => {
  const { id, token } = await api.createTopic()
  const first = new Curl([api.eventsUrl(id), '-H', `authorization: Bearer ${token}`])
  await first.until(/^id: /m)
  const numbers: string[] = []
  for (const message of ['one', 'two', 'three']) numbers.push(await api.publish(id, { message, type: 'note' }))
  await first.until(/data: three\n\n/)
  assert.equal(
    first.output.replace(/^retry: \d+\n\nid: .{11}\n\n/, ''),
    ['one', 'two', 'three'].map((text, i) => `id: ${numbers[i]}\nevent: note\ndata: ${text}\n\n`).join(''),
  )
  await first.end()

  const second = new Curl([
    api.eventsUrl(id),
    '-H',
    `authorization: Bearer ${token}`,
    '-H',
    `last-event-id: ${numbers[0]}`,
  ])
  await second.until(/data: three\n\n/)
  assert.equal(
    second.output.replace(/^retry: \d+\n\n/, ''),
    `id: ${numbers[0]}\n\nid: ${numbers[1]}\nevent: note\ndata: two\n\nid: ${numbers[2]}\nevent: note\ndata: three\n\n`,
  )
  await second.end()
})

test('curl with HTTP/1.0 gets the stream without framing', { timeout: TIMEOUT_MS }, async () => {
  const { id, token } = await api.createTopic()
  const curl = new Curl(['--http1.0', '-i', '--raw', api.eventsUrl(id), '-H', `authorization: Bearer ${token}`])
  await curl.until(/^id: /m)
  const number = await api.publish(id, { message: 'bare' })
  await curl.until(/bare\n\n/)
  const [head = '', body = ''] = curl.output.split('\r\n\r\n')
  assert.doesNotMatch(head, /transfer-encoding/i)
  assert.match(head, /connection: close/i)
  assert.match(body, new RegExp(`^retry: \\d+\\n\\nid: .{11}\\n\\nid: ${number}\\ndata: bare\\n\\n$`))
  await curl.end()
})

test('the lines that the server prints work when they are pasted into sh', { timeout: TIMEOUT_MS }, async () => {
  await server.line(/^curl .*since=earliest/)
  const lines = server.lines.filter((line) => /^(TOPIC=\$\()?curl /.test(line)).slice(0, 3)
  assert.equal(lines.length, 3, server.lines.join('\n'))
  const [create = '', publish = '', watch = ''] = lines
  const shell = spawn('sh', [], { stdio: ['pipe', 'pipe', 'inherit'] })
  const output = new Output(shell)
  shell.stdin?.write(`${create}\n`)
  await output.until(/^TOPIC=[0-9A-Za-z]{11}$/m)
  shell.stdin?.write(`${publish}\n`)
  await output.until(/\{"event":\{"id":"[0-9A-Za-z]{11}"\}\}/)
  shell.stdin?.write(`exec ${watch}\n`)
  await output.until(/^data: Hello\n\n/m)
  shell.kill()
  await output.ended
})

test('a deleted topic ends its streams with the words of the original, and is gone', {
  timeout: TIMEOUT_MS,
}, async () => {
  const { id, token } = await api.createTopic()
  const client = await SseClient.connect(api.eventsUrl(id), { token })
  await api.publish(id, { message: 'the last one' })
  await api.deleteTopic(id)
  assert.equal(await client.closed, true)
  assert.deepEqual(
    client.events.map(({ data }) => data),
    ['the last one', '{"status": "closed"}'],
  )
  const { status } = await api.call('POST', `/api/v1/pubsubs/${id}/events`, { event: { message: 'too late' } })
  assert.equal(status, 404)
})

class Output {
  text = ''
  readonly ended: Promise<unknown>
  readonly #child: ChildProcess

  constructor(child: ChildProcess) {
    this.#child = child
    child.stdout?.setEncoding('utf8')
    child.stdout?.on('data', (text: string) => {
      this.text += text
    })
    this.ended = new Promise((resolve) => {
      child.once('close', resolve)
    })
  }

  async until(pattern: RegExp): Promise<void> {
    const { stdout } = this.#child
    while (!pattern.test(this.text)) {
      const more = new Promise((resolve) => stdout?.once('data', resolve))
      if ((await Promise.race([more, this.ended.then(() => 'ended')])) === 'ended' && !pattern.test(this.text)) {
        throw new Error(`It ended without ${pattern}:\n${this.text}`)
      }
    }
  }
}

class Curl {
  readonly #child: ChildProcess
  readonly #output: Output

  constructor(options: readonly string[]) {
    this.#child = spawn('curl', ['-fsSN', ...options], { stdio: ['ignore', 'pipe', 'inherit'] })
    this.#output = new Output(this.#child)
  }

  get output(): string {
    return this.#output.text
  }

  until(pattern: RegExp): Promise<void> {
    return this.#output.until(pattern)
  }

  async end(): Promise<void> {
    this.#child.kill()
    await this.#output.ended
  }
}
