// The one line of a browser, over connections that the test answers: what it asks for, and who hears what.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { FigureNews } from '../../src/dashboard/figures.ts'
import { Line } from '../../src/dashboard/line.ts'
import { itemsMax, type TailItem, type TailNews, textMax } from '../../src/dashboard/tail.ts'

interface Asked {
  readonly figures_after: number
  readonly last_event_id: string
  readonly topics: readonly { readonly id: string; readonly token: string }[]
}

interface FakeConnection {
  readonly asked: Asked
  isAborted(): boolean
  write(text: string): void
}

/** What a refusal of that status blames. */
type Refuse = (asked: Asked) => { readonly status: number; readonly path: string } | undefined

class FakeServer {
  readonly connections: FakeConnection[] = []
  refused = 0
  #changed: () => void = () => undefined

  /** In the place of the network. */
  constructor(t: TestContext, refuse: Refuse = () => undefined) {
    t.mock.method(globalThis, 'fetch', async (_url: string, init: RequestInit) => {
      const { feed: asked } = JSON.parse(String(init.body)) as { feed: Asked }
      const refusal = refuse(asked)
      if (refusal !== undefined) {
        this.refused += 1
        const error = { code: refusal.status, message: 'No.', details: { path: refusal.path } }
        return Response.json({ error }, { status: refusal.status })
      }
      const signal = init.signal as AbortSignal
      const body = new ReadableStream({
        start: (controller) => {
          signal.addEventListener('abort', () => controller.error(signal.reason))
          this.connections.push({
            asked,
            isAborted: () => signal.aborted,
            write: (text) => controller.enqueue(new TextEncoder().encode(text)),
          })
        },
      })
      this.#changed()
      return new Response(body)
    })
  }

  /** The newest connection, when there are so many. */
  async connection(count: number): Promise<FakeConnection> {
    while (this.connections.length < count) {
      await new Promise<void>((resolve) => {
        this.#changed = resolve
      })
    }
    return this.connections[count - 1]!
  }
}

class Tab {
  readonly items: TailItem[] = []
  readonly states: string[] = []
  skipped = 0
  leave: () => void = () => undefined
  #changed: () => void = () => undefined

  readonly take = (news: TailNews): void => {
    if (news.kind === 'items') {
      this.items.push(...news.items)
      this.skipped += news.skipped
    } else {
      this.states.push(news.state)
    }
    this.#changed()
  }

  async until(isTrue: (tab: this) => boolean): Promise<void> {
    while (!isTrue(this)) {
      await new Promise<void>((resolve) => {
        this.#changed = resolve
      })
    }
  }

  async is(state: string): Promise<void> {
    await this.until(({ states }) => states.at(-1) === state)
  }

  get texts(): string[] {
    return this.items.map((item) => (item.kind === 'event' ? item.text : `gap: ${item.reason}`))
  }
}

const idOf = (number: number) => String(number).padStart(11, '0')
const place = (number: number) => `id: ${idOf(number)}\n\n`
const time = '2026-01-31T12:00:00.000Z'
function event(topic: string, number: number, message: unknown = `m${number}`, more = {}): string {
  return `id: ${idOf(number)}\ndata: ${JSON.stringify({ topic, id: idOf(number), time, ...more, message })}\n\n`
}
const own = (type: string, data: unknown) => `event: sser.${type}\ndata: ${JSON.stringify(data)}\n\n`

function looksAt(line: Line, topic: string, after = 0, token = `t${topic}`): Tab {
  const tab = new Tab()
  tab.leave = line.watchTail({ topic, token, after: idOf(after) }, tab.take)
  return tab
}

function watched(line: Line): FigureNews[] & { leave?: () => void } {
  const news: FigureNews[] = []
  return Object.assign(news, { leave: line.watchFigures((told) => news.push(told)) })
}

test('figures and the events of all topics come over one connection, which ends with the last tab', async (t) => {
  const server = new FakeServer(t)
  const line = new Line('metrics')
  const figures = watched(line)
  const [a, b] = [looksAt(line, 'A', 7), looksAt(line, 'B', 9)]
  const { asked, write, isAborted } = await server.connection(1)
  assert.deepEqual(asked, {
    figures_after: 0,
    last_event_id: idOf(7),
    topics: [
      { id: 'A', token: 'tA' },
      { id: 'B', token: 'tB' },
    ],
  })
  const sample = { time: 5000, figures: {}, log: null }
  write(place(7) + own('history', [[4000, 0, 0, 0]]) + event('B', 9) + event('A', 10) + own('figures', sample))
  write(event('B', 11))
  await Promise.all([a.until(({ items }) => items.length === 1), b.until(({ items }) => items.length === 1)])
  // That with number 9 its tab has had already.
  assert.deepEqual([a.texts, b.texts], [['m10'], ['m11']])
  assert.deepEqual(
    figures.map((news) => (news.kind === 'connection' ? news.state : news.kind)),
    ['begin', 'waiting', 'rows', 'sample', 'open'],
  )
  a.leave()
  b.leave()
  const alone = await server.connection(2)
  assert.deepEqual([alone.asked.topics, alone.asked.figures_after, isAborted()], [[], 5000, true])
  figures.leave?.()
  assert.deepEqual([alone.isAborted(), server.connections.length], [true, 2])
})

test('another topic opens the line anew where all that are there have had everything, and nobody gets anything twice', async (t) => {
  const server = new FakeServer(t)
  const line = new Line('metrics')
  const a = looksAt(line, 'A', 3)
  const first = await server.connection(1)
  first.write(place(3) + event('A', 5) + place(20))
  await a.until(({ items }) => items.length === 1)
  const b = looksAt(line, 'B', 18)
  const second = await server.connection(2)
  assert.deepEqual([second.asked.last_event_id, first.isAborted()], [idOf(18), true])
  second.write(place(18) + event('A', 19, 'had') + event('B', 19, 'new') + event('A', 21))
  await a.until(({ items }) => items.length === 2)
  await b.is('open')
  assert.deepEqual([a.texts, b.texts, a.states], [['m5', 'm21'], ['new'], ['open']])
  for (const tab of [a, b]) tab.leave()
})

test('tabs that look at one topic share it, and each gets what it has not had', async (t) => {
  const server = new FakeServer(t)
  const line = new Line('metrics')
  const one = looksAt(line, 'A', 7)
  const { write } = await server.connection(1)
  write(place(7) + event('A', 8) + event('A', 9))
  await one.until(({ items }) => items.length === 2)
  const [behind, ahead] = [looksAt(line, 'A', 8), looksAt(line, 'A', 10)]
  write(event('A', 10) + event('A', 11))
  await Promise.all([one, behind, ahead].map((tab) => tab.until(({ texts }) => texts.includes('m11'))))
  assert.deepEqual([one.texts, behind.texts, ahead.texts], [['m8', 'm9', 'm10', 'm11'], ['m9', 'm10', 'm11'], ['m11']])
  one.leave()
  behind.leave()
  assert.equal(server.connections[0]?.isAborted(), false)
  ahead.leave()
  assert.deepEqual([server.connections[0]?.isAborted(), server.connections.length], [true, 1])
})

test('topics that are gone, and tokens that open them no more, are left out; the others go on', async (t) => {
  const server = new FakeServer(t, ({ topics }) => {
    const gone = topics.findIndex(({ id }) => id === 'gone')
    const shut = topics.findIndex(({ id }) => id === 'shut')
    if (gone >= 0) return { status: 404, path: `feed.topics.${gone}` }
    return shut >= 0 ? { status: 401, path: `feed.topics.${shut}.token` } : undefined
  })
  const line = new Line('metrics')
  const [a, gone, shut, b] = ['A', 'gone', 'shut', 'B'].map((topic) => looksAt(line, topic)) as [Tab, Tab, Tab, Tab]
  const { asked, write } = await server.connection(1)
  assert.deepEqual(
    asked.topics.map(({ id }) => id),
    ['A', 'B'],
  )
  write(place(3) + own('closed', { reason: 'the topic was deleted', topic: 'B' }))
  await Promise.all([a.is('open'), gone.is('gone'), shut.is('refused'), b.is('gone')])
  const next = await server.connection(2)
  assert.deepEqual(
    [next.asked.topics, next.asked.last_event_id, server.refused],
    [[{ id: 'A', token: 'tA' }], idOf(3), 2],
  )
  for (const tab of [a, gone, shut, b]) tab.leave()
})

test('more topics than the server gives in one stream wait until another is given up', async (t) => {
  const server = new FakeServer(t, ({ topics }) =>
    topics.length > 2 ? { status: 400, path: 'feed.topics' } : undefined,
  )
  const line = new Line('metrics')
  const tabs = ['A', 'B', 'C', 'D'].map((topic) => looksAt(line, topic, 3)) as [Tab, Tab, Tab, Tab]
  const { write } = await server.connection(1)
  write(place(3))
  await Promise.all([tabs[0].is('open'), tabs[1].is('open'), tabs[2].is('crowded'), tabs[3].is('crowded')])
  tabs[0].leave()
  const next = await server.connection(2)
  next.write(place(3))
  await tabs[2].is('open')
  assert.deepEqual([tabs[1].states, tabs[3].states.at(-1)], [['open'], 'crowded'])
  for (const tab of tabs) tab.leave()
})

test('a metrics token that opens nothing is told, and not tried again', async (t) => {
  const server = new FakeServer(t, () => ({ status: 401, path: '' }))
  const line = new Line('wrong')
  const states: string[] = []
  await new Promise<void>((resolve) => {
    line.watchFigures((news) => {
      if (news.kind === 'connection') states.push(news.state)
      if (states.at(-1) === 'refused') resolve()
    })
  })
  assert.deepEqual([states, server.refused], [['waiting', 'refused'], 1])
})

test('figures go on while the server has no room for the events', async (t) => {
  const server = new FakeServer(t)
  const line = new Line('metrics')
  const figures = watched(line)
  const a = looksAt(line, 'A')
  const { write, isAborted } = await server.connection(1)
  write(own('history', []) + own('closed', { reason: 'There are too many streams.' }))
  await a.is('waiting')
  write(own('figures', { time: 5000, figures: {}, log: null }))
  const next = await server.connection(2)
  next.write(place(0))
  await a.is('open')
  assert.deepEqual([isAborted(), next.asked.figures_after], [true, 5000])
  assert.equal(figures.filter(({ kind }) => kind === 'connection').length, 2)
  a.leave()
  figures.leave?.()
})

test("an event has its publisher's id beside the server's; a long one is cut; a gap is told to those it concerns", async (t) => {
  const server = new FakeServer(t)
  const line = new Line('metrics')
  const [a, b] = [looksAt(line, 'A'), looksAt(line, 'B')]
  const { write } = await server.connection(1)
  const note = event('A', 5, { n: 1 }, { publisher_id: 'mine', type: 'sser.figures' })
  write(place(0) + note.replace('\n', '\nevent: sser.figures\n') + event('A', 6, 'y'.repeat(textMax + 3)))
  write(own('gap', { reason: 'lost', topics: ['A'] }) + own('gap', { reason: 'rotten' }))
  await Promise.all([a.until(({ items }) => items.length === 4), b.until(({ items }) => items.length === 1)])
  const [first, second] = a.items
  assert.ok(first?.kind === 'event' && second?.kind === 'event')
  assert.deepEqual(
    [first.id, first.publisherId, first.type, first.text, first.timeMs],
    [idOf(5), 'mine', 'sser.figures', '{"n":1}', Date.parse(time)],
  )
  assert.deepEqual([second.publisherId, second.text.length, second.cut], [undefined, textMax, 3])
  assert.deepEqual([a.texts.slice(2), b.texts], [['gap: lost', 'gap: rotten'], ['gap: rotten']])
  for (const tab of [a, b]) tab.leave()
})

test('what comes too fast is counted; who comes later than what is kept is told so', async (t) => {
  const server = new FakeServer(t)
  const line = new Line('metrics')
  const tab = looksAt(line, 'A')
  const { write } = await server.connection(1)
  const count = 5 * itemsMax
  write(Array.from({ length: count }, (_, index) => event('A', index + 1)).join(''))
  await tab.until(({ texts }) => texts.includes(`m${count}`))
  assert.equal(tab.items.length + tab.skipped, count)
  assert.ok(tab.items.length <= itemsMax)
  const late = looksAt(line, 'A', 1)
  assert.match(late.texts[0] ?? '', /^gap: /)
  assert.equal(late.texts.at(-1), `m${count}`)
  const inTime = looksAt(line, 'A', count - 1)
  assert.deepEqual(inTime.texts, [`m${count}`])
  for (const each of [tab, late, inTime]) each.leave()
})
