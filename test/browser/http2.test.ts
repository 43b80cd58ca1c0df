/** What browsers get by HTTP/2: as many streams as they like over one connection, each with a flow control of its own. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { API_TOKEN } from '../http/fixture.ts'
import { publishText, startSecureFixture } from '../http/secure-fixture.ts'
import { missingBrowser, startBrowser } from '../support/browser.ts'
import { until } from '../support/until.ts'

const streams = 50
const rounds = 3
/** More than Chromium takes for a stream that nobody reads (6 MiB), and less than for all of a connection (15 MiB). */
const heavyEvents = 1000
const filler = 'x'.repeat(10_000)

const url = (topicId: string) => `/api/v1/pubsubs/${topicId}/events?access_token=${API_TOKEN}`

/** In a page: resolves when each has its stream; `seen` is what each was told. */
const watch = `((urls) => {
  globalThis.seen = urls.map(() => [])
  return Promise.all(urls.map((url, index) => new Promise((resolve) => {
    const source = new EventSource(url)
    source.onopen = () => resolve()
    source.onmessage = ({ data }) => seen[index].push(data)
  })))
})`

/** The page does nothing at all until the answer has come to its end. */
const stall = `((url) => setTimeout(() => {
  const request = new XMLHttpRequest()
  request.open('GET', url, false)
  request.send()
}))`

test('50 streams of one page share one connection, which one of another page that takes nothing does not hold up', {
  skip: missingBrowser(),
}, async (t) => {
  const { hub, createTopic, securePort, secureConnections } = await startSecureFixture(t)
  const browser = await startBrowser()
  t.after(() => browser.close())
  const context = await browser.newContext({ ignoreHTTPSErrors: true })
  const [page, slowPage] = [await context.newPage(), await context.newPage()]
  context.setDefaultTimeout(120_000)
  for (const each of [page, slowPage]) await each.goto(`https://localhost:${securePort}/healthz`)
  const topics = await Promise.all(Array.from({ length: streams }, () => createTopic()))
  const ids = topics.map(({ id }) => id)
  const [slow, stalling] = [await createTopic(), await createTopic()]
  await page.evaluate(`${watch}(${JSON.stringify(ids.map(url))})`)
  await slowPage.evaluate(`${watch}(['${url(slow.id)}'])`)
  await slowPage.evaluate(`${stall}('${url(stalling.id)}')`)
  await until('all are there', () => hub.figures().active_subscribers === streams + 2)
  // A browser opens more than one at first, since it does not know yet what is spoken there.
  await until('one connection', () => secureConnections.size === 1)
  const [connection] = secureConnections
  assert.equal(connection?.alpnProtocol, 'h2')

  for (let index = 0; index < heavyEvents; index += 1) await publishText(hub, slow.id, `${index} ${filler}`)
  for (let round = 0; round < rounds; round += 1) for (const id of ids) await publishText(hub, id, `${id} ${round}`)
  await page.waitForFunction(`seen.every((events) => events.length >= ${rounds})`)
  assert.deepEqual(
    await page.evaluate('seen'),
    ids.map((id) => Array.from({ length: rounds }, (_, round) => `${id} ${round}`)),
  )
  assert(connection.bytesWritten < heavyEvents * filler.length, 'the stream of the other page was not taken')

  await hub.deleteTopic(stalling.id)
  await slowPage.waitForFunction(`seen[0].length >= ${heavyEvents}`)
  const numbers = await slowPage.evaluate('seen[0].map((data) => Number.parseInt(data, 10))')
  assert.deepEqual(
    numbers,
    Array.from({ length: heavyEvents }, (_, index) => index),
  )
  assert.deepEqual([...secureConnections], [connection])
})
