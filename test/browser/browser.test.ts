// The browser itself: that it starts here, opens a page of the server, and hears an event by its own EventSource.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Api } from '../support/api.ts'
import { missingBrowser, startBrowser } from '../support/browser.ts'
import { ServerProcess } from '../support/server-process.ts'

test('a real browser opens the page, and its EventSource gets an event', { skip: missingBrowser() }, async (t) => {
  const server = await ServerProcess.start()
  t.after(() => server.close())
  const browser = await startBrowser()
  t.after(() => browser.close())
  const api = new Api(server)
  t.after(() => api.close())
  const topic = await api.createTopic()
  const id = await api.publish(topic.id, { message: 'Hello' })

  const page = await browser.newPage()
  await page.goto(`${server.url}/healthz`)
  const heard = await page.evaluate(
    `new Promise((resolve) => {
      const events = new EventSource('/api/v1/pubsubs/${topic.id}/events?since=earliest&access_token=${topic.token}')
      events.onmessage = ({ data, lastEventId }) => { events.close(); resolve({ data, lastEventId }) }
    })`,
  )
  assert.deepEqual(heard, { data: 'Hello', lastEventId: id })
})
