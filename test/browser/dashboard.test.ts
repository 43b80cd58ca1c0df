// The dashboard in a real browser: signing in, live figures, the chart, a restart, HTTPS, accessibility, and its size.
// DASHBOARD_SHOTS=folder keeps pictures of it.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { Api } from '../support/api.ts'
import {
  assertGoodToLookAt,
  becomes,
  eventRow,
  holds,
  LOOKS,
  newContext,
  openPage,
  openSignedIn,
  openTopic,
  signIn,
} from '../support/dashboard-page.ts'
import { useDashboard } from '../support/dashboard-world.ts'
import { METRICS_TOKEN, ServerProcess } from '../support/server-process.ts'
import { countStreams } from '../support/stream-counter.ts'

const world = useDashboard()
const { skip } = world
const BYTES_MAX = 150_000

test('signs in with the metrics token alone, keeps it for the tab, and forgets it', { skip }, async (t) => {
  const { page, complaints } = await openPage(await newContext(t, world.browser), world.server.url)
  await page.getByLabel('Token', { exact: true }).waitFor()
  assert.equal(await page.getByRole('link').count(), 0)
  await signIn(page, 'wrong')
  await becomes(page, 'sign-in-error', 'The token does not open')
  await signIn(page, METRICS_TOKEN)
  await becomes(page, 'status', 'Live')
  await page.reload()
  await becomes(page, 'status', 'Live')
  assert.deepEqual(await page.evaluate('[localStorage.length, document.cookie]'), [0, ''])
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByLabel('Token', { exact: true }).waitFor()
  assert.equal(await page.evaluate('sessionStorage.length'), 0)
  assert.deepEqual(complaints, [])
})

test('with no topic it shows what to paste; figures and chart follow what is published', { skip }, async (t) => {
  const { page, complaints } = await openSignedIn(await newContext(t, world.browser), world.server.url)
  await page.getByRole('heading', { name: 'No topics yet' }).waitFor()
  const topic = await world.api.createTopic()
  await becomes(page, 'active_topics', '2')
  await page.getByRole('heading', { name: 'No topics yet' }).waitFor({ state: 'hidden' })
  await world.api.publish(topic.id, { message: 'one' })
  await becomes(page, 'message_received', '1')
  await becomes(page, 'publish-p99', '\\d')
  const canvas = `document.querySelector('#chart canvas')`
  const isDrawn = `(() => {
    const { width, height } = ${canvas}
    const { data } = ${canvas}.getContext('2d').getImageData(0, 0, width, height)
    for (let at = 0; at < data.length; at += 4) if (data[at + 2] > data[at] + 100 && data[at + 3] > 200) return true
    return false
  })()`
  await holds(page, isDrawn)
  await page.locator('#health', { hasText: /^Healthy/ }).waitFor()
  assert.deepEqual(complaints, [])
  await world.api.deleteTopic(topic.id)
})

test('a restart of the server is told; figures and events go on after it, without a hole', { skip }, async (t) => {
  const topic = await world.api.createTopic()
  const { page } = await openTopic(await newContext(t, world.browser), world.server.url, topic)
  await page.locator('.state', { hasText: 'Live' }).waitFor()
  await world.api.publish(topic.id, { message: 'before' })
  await eventRow(page, 'before').waitFor()
  await world.server.kill('SIGKILL')
  await becomes(page, 'status', 'Not connected; as of')
  await holds(page, `document.getElementById('health').textContent.startsWith('Health unknown: no answer')`)
  await world.server.restart()
  await world.api.publish(topic.id, { message: 'meanwhile' })
  await eventRow(page, 'meanwhile').waitFor()
  await holds(page, `document.querySelectorAll('.events tbody tr').length === 2`)
  await becomes(page, 'status', 'Live')
  await page.getByRole('link', { name: 'Overview' }).click()
  await becomes(page, 'message_received', '1')
  await becomes(page, 'health', 'Healthy')
})

test('without a SharedWorker the tab watches by itself', { skip }, async (t) => {
  const plain = await newContext(t, world.browser)
  await plain.addInitScript('delete globalThis.SharedWorker')
  const counter = await countStreams(t, world.server.port)
  const topic = await world.api.createTopic()
  const { page, complaints } = await openTopic(plain, counter.url, topic)
  assert.equal(await page.evaluate('typeof SharedWorker'), 'undefined')
  await page.locator('.state', { hasText: /^Live/ }).waitFor()
  await world.api.publish(topic.id, { message: 'of a tab alone' })
  await eventRow(page, 'of a tab alone').waitFor()
  await counter.until(1)
  assert.deepEqual(complaints, [])
  await world.api.deleteTopic(topic.id)
})

test('over HTTPS and HTTP/2 it does the same, and tells of a certificate that browsers warn of', {
  skip,
}, async (t) => {
  const secure = await ServerProcess.start({ isSecure: true })
  t.after(() => secure.close())
  const api = new Api(secure)
  t.after(() => api.close())
  const topic = await api.createTopic()
  const context = await newContext(t, world.browser, { ignoreHTTPSErrors: true, bypassCSP: true })
  const { page } = await openTopic(context, secure.url, topic)
  await page.locator('.state', { hasText: /^Live/ }).waitFor()
  await api.publish(topic.id, { message: 'behind a lock' })
  await eventRow(page, 'behind a lock').waitFor()
  const protocols = await page.evaluate(
    `performance.getEntriesByType('navigation').map((entry) => entry.nextHopProtocol)`,
  )
  assert.deepEqual(protocols, ['h2'])
  await page.getByRole('link', { name: 'Overview' }).click()
  await page.locator('#notices li', { hasText: /^The certificate is self-signed: / }).waitFor()
  await page.locator('#health', { hasText: /^Healthy/ }).waitFor()
  await assertGoodToLookAt(page, 'board-notice')
})

test('axe finds nothing, in light and dark, on a desktop and on a phone; nothing is wider than the screen', {
  skip,
}, async (t) => {
  for (const { name, options } of LOOKS) {
    const { page } = await openPage(await newContext(t, world.browser, options), world.server.url)
    await assertGoodToLookAt(page, `sign-in-${name}`)
    await signIn(page, METRICS_TOKEN)
    await becomes(page, 'status', 'Live')
    await assertGoodToLookAt(page, `board-${name}`)
  }
})

test('where the chart cannot be loaded, everything else works', { skip }, async (t) => {
  const without = await newContext(t, world.browser)
  await without.route('**/uPlot.iife.min.js', (route) => route.abort())
  const { page, complaints } = await openSignedIn(without, world.server.url)
  await becomes(page, 'chart', 'The chart could not be loaded')
  await becomes(page, 'active_topics', '\\d')
  assert.deepEqual(complaints, [])
})

test('all that the page loads comes from the server itself, under 150 KB', { skip }, async (t) => {
  const fresh = await newContext(t, world.browser)
  const page = await fresh.newPage()
  const urls: string[] = []
  page.on('request', (request) => urls.push(request.url()))
  await page.goto(world.server.url)
  await page.waitForLoadState('networkidle')
  const worker = ['feed-worker', 'sources', 'line', 'tail', 'figures', 'connection', 'samples'].map(
    (name) => `${world.server.url}/assets/dashboard/${name}.js`,
  )
  let bytes = 0
  for (const url of new Set([...urls, ...worker])) {
    assert.ok(url.startsWith(world.server.url), url)
    const response = await fetch(url)
    assert.equal(response.status, 200, url)
    bytes += gzipSync(Buffer.from(await response.arrayBuffer())).length
  }
  t.diagnostic(`${bytes} bytes, compressed`)
  assert.ok(bytes < BYTES_MAX, `${bytes} bytes`)
})
