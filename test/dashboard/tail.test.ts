// The tails of all tabs, over streams that the test writes.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { itemsMax, type TailItem, type TailNews, Tails, tailsMax, textMax } from '../../src/dashboard/tail.ts'

interface FakeStream {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  isAborted(): boolean
  write(text: string): void
}

/** In the place of the network: each stream that is asked for. `answer` gives other statuses than 200. */
function fakeStreams(t: TestContext, answer: (url: string) => number = () => 200): FakeStream[] {
  const streams: FakeStream[] = []
  t.mock.method(globalThis, 'fetch', async (url: string, init: RequestInit) => {
    const status = answer(url)
    if (status !== 200) return new Response('', { status })
    const signal = init.signal as AbortSignal
    const body = new ReadableStream({
      start(controller) {
        signal.addEventListener('abort', () => controller.error(signal.reason))
        streams.push({
          url,
          headers: init.headers as Record<string, string>,
          isAborted: () => signal.aborted,
          write: (text) => controller.enqueue(new TextEncoder().encode(text)),
        })
      },
    })
    return new Response(body)
  })
  return streams
}

class Tab {
  readonly items: TailItem[] = []
  readonly states: string[] = []
  skipped = 0
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

  get texts(): string[] {
    return this.items.map((item) => (item.kind === 'event' ? item.text : `gap: ${item.reason}`))
  }
}

const idOf = (number: number) => String(number).padStart(11, '0')
const event = (number: number, text = `m${number}`) => `id: ${idOf(number)}\ndata: ${text}\n\n`

function watched(tails: Tails, topic: string, after = idOf(0)): Tab & { leave: () => void } {
  const tab = new Tab()
  const leave = tails.watch({ topic, token: 't', after }, tab.take)
  return Object.assign(tab, { leave })
}

test('tabs that look at one topic share a stream; it ends with the last of them', async (t) => {
  const streams = fakeStreams(t)
  const tails = new Tails()
  const one = watched(tails, 'A', idOf(7))
  await one.until(({ states }) => states.includes('open'))
  assert.equal(streams[0]?.headers['last-event-id'], idOf(7))
  streams[0]?.write(event(8) + event(9))
  await one.until(({ items }) => items.length === 2)
  const other = watched(tails, 'A', idOf(8))
  streams[0]?.write(event(10))
  await Promise.all([one, other].map((tab) => tab.until(({ texts }) => texts.includes('m10'))))
  assert.deepEqual(
    [one.texts, other.texts],
    [
      ['m8', 'm9', 'm10'],
      ['m9', 'm10'],
    ],
  )
  one.leave()
  assert.equal(streams[0]?.isAborted(), false)
  other.leave()
  assert.deepEqual([streams[0]?.isAborted(), streams.length], [true, 1])
})

test('more topics than there are connections for wait, and lose nothing by it', async (t) => {
  const streams = fakeStreams(t)
  const tails = new Tails()
  const tabs = ['A', 'B', 'C', 'D'].map((topic) => watched(tails, topic, idOf(3)))
  await Promise.all(tabs.slice(0, tailsMax).map((tab) => tab.until(({ states }) => states.includes('open'))))
  assert.deepEqual([streams.length, tabs[3]?.states.at(-1)], [tailsMax, 'crowded'])
  tabs[1]?.leave()
  await tabs[3]?.until(({ states }) => states.at(-1) === 'open')
  assert.match(streams[tailsMax]?.url ?? '', /\/pubsubs\/D\/events/)
  assert.equal(streams[tailsMax]?.headers['last-event-id'], idOf(3))
  for (const tab of tabs) tab.leave()
})

test('a stream that is refused for good takes no connection from others', async (t) => {
  const streams = fakeStreams(t, (url) => (url.includes('/gone') ? 404 : url.includes('/shut') ? 401 : 200))
  const tails = new Tails()
  const tabs = ['gone1', 'gone2', 'shut', 'A', 'B', 'C'].map((topic) => watched(tails, topic))
  await Promise.all(tabs.slice(3).map((tab) => tab.until(({ states }) => states.at(-1) === 'open')))
  assert.deepEqual(
    tabs.map(({ states }) => states.at(-1)),
    ['gone', 'gone', 'refused', 'open', 'open', 'open'],
  )
  assert.equal(streams.length, 3)
  for (const tab of tabs) tab.leave()
})

test("an event with its publisher's id has the server's number as well; a long one is cut; a gap is told", async (t) => {
  const streams = fakeStreams(t)
  const tab = watched(new Tails(), 'A')
  await tab.until(({ states }) => states.includes('open'))
  streams[0]?.write(`id: mine\nevent: note\ndata: x\n\nid: ${idOf(5)}\n\n${event(6, 'y'.repeat(textMax + 3))}`)
  streams[0]?.write('event: sser.gap\ndata: {"reason":"lost"}\n\ndata: {"status": "closed"}\n\n')
  await tab.until(({ items }) => items.length === 3)
  const [first, second] = tab.items
  assert.ok(first?.kind === 'event' && second?.kind === 'event')
  assert.deepEqual([first.id, first.publisherId, first.type], [idOf(5), 'mine', 'note'])
  assert.deepEqual([second.publisherId, second.text.length, second.cut], [undefined, textMax, 3])
  assert.equal(tab.texts[2], 'gap: lost')
  tab.leave()
})

test('what comes too fast is counted; who comes later than what is kept is told so', async (t) => {
  const streams = fakeStreams(t)
  const tails = new Tails()
  const tab = watched(tails, 'A')
  await tab.until(({ states }) => states.includes('open'))
  const count = 5 * itemsMax
  streams[0]?.write(Array.from({ length: count }, (_, index) => event(index + 1)).join(''))
  await tab.until(({ texts }) => texts.includes(`m${count}`))
  assert.equal(tab.items.length + tab.skipped, count)
  assert.ok(tab.items.length <= itemsMax)
  const late = watched(tails, 'A', idOf(1))
  assert.match(late.texts[0] ?? '', /^gap: /)
  assert.equal(late.texts.at(-1), `m${count}`)
  const inTime = watched(tails, 'A', idOf(count - 1))
  assert.deepEqual(inTime.texts, [`m${count}`])
  for (const each of [tab, late, inTime]) each.leave()
})
