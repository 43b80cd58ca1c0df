/** Lists of events in one request, as their publishers and subscribers see them, over a crash as well. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Api } from '../support/api.ts'
import { ServerProcess } from '../support/server-process.ts'
import { SseClient } from '../support/sse-client.ts'

const TIMEOUT_MS = 180_000
const PUBLISHERS = 4
const LISTS = 5
const EVENTS_OF_A_LIST = 500

test('lists of several publishers come whole and in their order, live, and again after a SIGKILL', {
  timeout: TIMEOUT_MS,
}, async () => {
  const server = await ServerProcess.start({})
  const api = new Api(server)
  try {
    const { id, token } = await api.createTopic()
    const live = await SseClient.connect(api.eventsUrl(id), { token })
    await live.until(({ lastEventId }) => lastEventId !== '')

    /** The number of each event, by what it says. */
    const numbers = new Map<string, string>()
    async function publish(publisher: number): Promise<void> {
      for (let list = 0; list < LISTS; list++) {
        const events = Array.from({ length: EVENTS_OF_A_LIST }, (_, event) => ({ message: [publisher, list, event] }))
        const { status, text } = await api.call('POST', `/api/v1/pubsubs/${id}/events`, { events })
        assert.equal(status, 201, text)
        const answer = JSON.parse(text) as { readonly events: readonly { readonly id: string }[] }
        assert.equal(answer.events.length, EVENTS_OF_A_LIST)
        for (const [event, { id: number }] of answer.events.entries()) {
          numbers.set(JSON.stringify(events[event]?.message), number)
        }
      }
    }
    await Promise.all(Array.from({ length: PUBLISHERS }, (_, publisher) => publish(publisher)))

    const total = PUBLISHERS * LISTS * EVENTS_OF_A_LIST
    await live.until(({ events }) => events.length >= total)
    const said = live.events.map(({ data }) => data ?? '')
    assertWholeAndInOrder(said)
    assert.deepEqual(
      live.events.map(({ id: number }) => number),
      said.map((data) => numbers.get(data)),
    )
    await live.close()

    await server.kill('SIGKILL')
    await server.restart()
    const again = await SseClient.connect(api.eventsUrl(id, '?since=earliest'), { token })
    await again.until(({ events }) => events.length >= total)
    assert.deepEqual(
      again.events.map(({ data }) => data),
      said,
    )
    await again.close()
  } finally {
    api.close()
    await server.close()
  }
})

/** Each list without another publisher's events within it, and the lists of a publisher in the order of its requests. */
function assertWholeAndInOrder(said: readonly string[]): void {
  const nextList = Array.from({ length: PUBLISHERS }, () => 0)
  for (let start = 0; start < said.length; start += EVENTS_OF_A_LIST) {
    const [publisher] = JSON.parse(said[start] ?? '') as [number]
    const list = nextList[publisher] ?? 0
    nextList[publisher] = list + 1
    const expected = Array.from({ length: EVENTS_OF_A_LIST }, (_, event) => JSON.stringify([publisher, list, event]))
    assert.deepEqual(said.slice(start, start + EVENTS_OF_A_LIST), expected)
  }
}
