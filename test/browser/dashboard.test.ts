// The dashboard in a real browser: signing in, live figures, the chart, a restart, many tabs, accessibility, and its size.
// DASHBOARD_SHOTS=folder keeps pictures of it.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { Api } from '../support/api.ts'
import { missingBrowser, startBrowser } from '../support/browser.ts'
import { API_TOKEN, METRICS_TOKEN, ServerProcess } from '../support/server-process.ts'

const skip = missingBrowser()
/** Only a failure takes so long. */
const WAIT_MS = 30_000
const TABS = 7
const BYTES_MAX = 150_000

let server: ServerProcess
let browser: Browser
let api: Api

before(async () => {
  if (skip !== false) return
  server = await ServerProcess.start()
  browser = await startBrowser()
  api = new Api(server)
})
after(async () => {
  api?.close()
  await browser?.close()
  await server?.close()
})

interface Opened {
  readonly page: Page
  /** What the browser complained of: errors of scripts, and whatever the policy forbade. */
  readonly complaints: string[]
}

async function open(context: BrowserContext): Promise<Opened> {
  const page = await context.newPage()
  page.setDefaultTimeout(WAIT_MS)
  const complaints: string[] = []
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('console', (message) => {
    if (/Content Security Policy|Uncaught/.test(message.text())) complaints.push(message.text())
  })
  await page.goto(server.url)
  return { page, complaints }
}

async function signIn(page: Page, token: string): Promise<void> {
  await page.getByLabel('Metrics token').fill(token)
  await page.keyboard.press('Enter')
}

async function signedIn(context: BrowserContext): Promise<Opened> {
  const opened = await open(context)
  await signIn(opened.page, METRICS_TOKEN)
  await becomes(opened.page, 'status', 'Live')
  return opened
}

/** Resolves when the element is seen with a text that begins so. */
async function becomes(page: Page, id: string, wanted: string): Promise<void> {
  await page.locator(`#${id}`, { hasText: new RegExp(`^${wanted}`) }).waitFor()
}

/** Resolves when the expression is true in the page. The policy keeps a page from evaluating it by itself. */
async function holds(page: Page, expression: string): Promise<void> {
  const endsAt = performance.now() + WAIT_MS
  while (!(await page.evaluate(expression))) {
    assert.ok(performance.now() < endsAt, `never true: ${expression}`)
    await delay(20)
  }
}

async function context(t: { after(task: () => Promise<void>): void }, options = {}): Promise<BrowserContext> {
  const made = await browser.newContext(options)
  t.after(() => made.close())
  return made
}

test('signs in with the metrics token alone, keeps it for the tab, and forgets it', { skip }, async (t) => {
  const { page, complaints } = await open(await context(t))
  await signIn(page, 'wrong')
  await becomes(page, 'sign-in-error', 'The token does not open')
  await signIn(page, METRICS_TOKEN)
  await becomes(page, 'status', 'Live')
  await page.reload()
  await becomes(page, 'status', 'Live')
  assert.deepEqual(await page.evaluate('[localStorage.length, document.cookie]'), [0, ''])
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByLabel('Metrics token').waitFor()
  assert.equal(await page.evaluate('sessionStorage.length'), 0)
  assert.deepEqual(complaints, [])
})

test('with no topic it shows what to paste; figures and chart follow what is published', { skip }, async (t) => {
  const { page, complaints } = await signedIn(await context(t))
  await page.getByRole('heading', { name: 'There is no topic yet' }).waitFor()
  const topic = await api.createTopic()
  await becomes(page, 'active_topics', '2')
  await page.getByRole('heading', { name: 'There is no topic yet' }).waitFor({ state: 'hidden' })
  await api.publish(topic.id, { message: 'one' })
  await becomes(page, 'message_received', '1')
  const canvas = `document.querySelector('#chart canvas')`
  const isDrawn = `(() => {
    const { width, height } = ${canvas}
    const { data } = ${canvas}.getContext('2d').getImageData(0, 0, width, height)
    for (let at = 0; at < data.length; at += 4) if (data[at + 2] > data[at] + 100 && data[at + 3] > 200) return true
    return false
  })()`
  await holds(page, isDrawn)
  assert.match((await page.locator('#health').textContent()) ?? '', /^Healthy/)
  assert.deepEqual(complaints, [])
  await api.deleteTopic(topic.id)
})

test('a restart of the server is told, and what comes after it is shown', { skip }, async (t) => {
  const { page } = await signedIn(await context(t))
  await server.kill('SIGKILL')
  await becomes(page, 'status', 'Not connected; as of')
  await server.restart()
  await becomes(page, 'status', 'Live')
  const topic = await api.createTopic()
  await api.publish(topic.id, { message: 'after' })
  await becomes(page, 'message_received', '1')
})

test('seven tabs share one connection, and each can still call', { skip }, async (t) => {
  const shared = await context(t)
  const tabs: Page[] = []
  for (let count = 0; count < TABS; count++) tabs.push((await signedIn(shared)).page)
  const call = `fetch('/api/v1/pubsubs', { method: 'POST', headers: { authorization: 'Bearer ${API_TOKEN}' } })
    .then(({ status }) => status)`
  assert.deepEqual(await Promise.all(tabs.map((page) => page.evaluate(call))), Array(TABS).fill(201))
  await tabs[0]!.reload()
  await becomes(tabs[0]!, 'status', 'Live')
})

test('without a SharedWorker the tab watches by itself', { skip }, async (t) => {
  const plain = await context(t)
  await plain.addInitScript('delete globalThis.SharedWorker')
  const { page, complaints } = await signedIn(plain)
  assert.equal(await page.evaluate('typeof SharedWorker'), 'undefined')
  assert.deepEqual(complaints, [])
})

test('axe finds nothing, in light and dark, on a desktop and on a phone; nothing is wider than the screen', {
  skip,
}, async (t) => {
  const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
  const folder = process.env['DASHBOARD_SHOTS']
  for (const colorScheme of ['light', 'dark'] as const) {
    for (const [name, viewport] of [
      ['desktop', { width: 1200, height: 900 }],
      ['phone', { width: 360, height: 740 }],
    ] as const) {
      const { page } = await open(await context(t, { colorScheme, viewport, bypassCSP: true }))
      for (const view of ['sign-in', 'board']) {
        if (view === 'board') {
          await signIn(page, METRICS_TOKEN)
          await becomes(page, 'status', 'Live')
        }
        await page.evaluate(axe)
        const found = await page.evaluate(
          'axe.run().then(({ violations }) => violations.map(({ id, nodes }) => [id, nodes[0].html]))',
        )
        assert.deepEqual(found, [], `${colorScheme} ${name} ${view}`)
        assert.ok(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), `${name} ${view} fits`)
        if (folder !== undefined) {
          await page.screenshot({ path: join(folder, `${view}-${name}-${colorScheme}.png`), fullPage: true })
        }
      }
    }
  }
})

test('all that the page loads comes from the server itself, under 150 KB', { skip }, async (t) => {
  const fresh = await context(t)
  const page = await fresh.newPage()
  const urls: string[] = []
  page.on('request', (request) => urls.push(request.url()))
  await page.goto(server.url)
  await page.waitForLoadState('networkidle')
  const worker = ['feed-worker', 'feed', 'samples'].map((name) => `${server.url}/assets/dashboard/${name}.js`)
  let bytes = 0
  for (const url of new Set([...urls, ...worker])) {
    assert.ok(url.startsWith(server.url), url)
    const response = await fetch(url)
    assert.equal(response.status, 200, url)
    bytes += gzipSync(Buffer.from(await response.arrayBuffer())).length
  }
  t.diagnostic(`${bytes} bytes, compressed`)
  assert.ok(bytes < BYTES_MAX, `${bytes} bytes`)
})
