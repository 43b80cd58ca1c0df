// The dashboard's topics in a real browser, on a server with 100,000 of them: the table, a topic's page from its making to its
// end, what hostile publishers write, many tabs, and what axe says. DASHBOARD_SHOTS=folder keeps pictures.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { BrowserContext, Page } from 'playwright-core'
import {
  assertGoodToLookAt,
  eventRow,
  giveToken,
  holds,
  LOOKS,
  newContext,
  type Opened,
  openPage,
  openSignedIn,
  openTopic,
  signIn,
} from '../support/dashboard-page.ts'
import { useDashboard } from '../support/dashboard-world.ts'
import { makeTopics } from '../support/many-topics.ts'
import { API_TOKEN } from '../support/server-process.ts'
import { countStreams } from '../support/stream-counter.ts'

const TOPICS = 100_000
const TABS = 7

let directory: string | undefined
const world = useDashboard(
  async () => {
    directory = mkdtempSync(join(tmpdir(), 'sser-topics-'))
    await makeTopics(join(directory, 'log'), TOPICS, (index) => `Order ${index}`)
    return { directory, settings: { limits: { topicsMax: 2 * TOPICS } } }
  },
  () => directory !== undefined && rmSync(directory, { recursive: true, force: true }),
)
const { skip } = world

/** Signed in, and with the API token given where it was asked for. */
async function openTopics(context: BrowserContext): Promise<Opened> {
  const opened = await openSignedIn(context, world.server.url)
  await opened.page.getByRole('link', { name: 'Topics', exact: true }).click()
  await giveToken(opened.page, 'API token', API_TOKEN)
  await opened.page.getByRole('row').nth(1).waitFor()
  return opened
}

function firstRow(page: Page): Promise<string | null> {
  return page.getByRole('row').nth(1).textContent()
}

test('of 100,000 topics the table shows a page, searched and sorted by the server', { skip }, async (t) => {
  const { page, complaints } = await openSignedIn(await newContext(t, world.browser), world.server.url)
  await page.getByRole('link', { name: 'Topics', exact: true }).click()
  await page.getByLabel('API token').first().waitFor()
  // That of the figures was tried: nobody's mistake.
  assert.equal(await page.locator('.mistake:not(:empty)').count(), 0)
  await page.getByLabel('Search by name or id').waitFor({ state: 'hidden' })
  await giveToken(page, 'API token', 'wrong')
  await page.getByText('The token does not grant access to this.').waitFor()
  await giveToken(page, 'API token', API_TOKEN)
  await page.getByText('1 to 50', { exact: true }).waitFor()
  await page.getByRole('button', { name: 'Next' }).click()
  await page.getByText('51 to 100', { exact: true }).waitFor()
  const behind = await firstRow(page)
  await page.getByRole('button', { name: 'Previous' }).click()
  await page.getByText('1 to 50', { exact: true }).waitFor()
  assert.notEqual(await firstRow(page), behind)

  await page.getByRole('button', { name: 'Name' }).click()
  await page.locator('th[aria-sort=ascending]', { hasText: 'Name' }).waitFor()
  await page.getByRole('row', { name: /^Order 0 / }).waitFor()
  await page.getByLabel('Search by name or id').fill('order 77777')
  await page.getByRole('row', { name: /^Order 77777 / }).waitFor()
  await holds(page, `document.querySelectorAll('.topics tbody tr').length === 1`)
  await page.getByLabel('Search by name or id').fill('<b>')
  await page.getByText('No topic matches.').waitFor()
  await page.goto(`${world.server.url}/#/topics/00000000099`)
  await page.locator('.state', { hasText: 'There is no topic with this id.' }).waitFor()
  assert.deepEqual(complaints, [])
})

test('who has signed in with an API token is asked for no other', { skip }, async (t) => {
  const topic = await world.api.createTopic()
  const { page, complaints } = await openPage(await newContext(t, world.browser), world.server.url)
  await signIn(page, API_TOKEN)
  await page.getByRole('link', { name: 'Topics', exact: true }).click()
  await page.getByText('1 to 50', { exact: true }).waitFor()
  await page.goto(`${world.server.url}/#/topics/${topic.id}`)
  await page.locator('.state', { hasText: /^Live/ }).waitFor()
  await page.getByRole('button', { name: 'Delete topic' }).waitFor()
  await page.getByRole('button', { name: 'Publish', exact: true }).click()
  await page.getByText('Published as ').waitFor()
  assert.equal(await page.locator('input[type=password]:visible').count(), 0)
  assert.ok(!(await page.locator('.snippets').textContent())?.includes(API_TOKEN))
  assert.deepEqual(complaints, [])
  await world.api.deleteTopic(topic.id)
})

test('a topic is made, published to, replayed, given a token, and deleted', { skip }, async (t) => {
  const { page, complaints } = await openTopics(
    await newContext(t, world.browser, { permissions: ['clipboard-read', 'clipboard-write'] }),
  )
  await page.getByText('New topic').click()
  await page.getByLabel('Name', { exact: true }).fill('Greetings')
  await page.getByRole('button', { name: 'Create topic' }).click()
  await page.getByRole('heading', { name: 'Greetings', level: 2 }).waitFor()
  const id = page.url().slice(-11)
  await page.getByText('No event yet.').waitFor()
  await page.locator('.state', { hasText: 'Live' }).waitFor()

  await page.getByLabel('Message', { exact: true }).fill('from the page')
  await page.getByRole('button', { name: 'Publish', exact: true }).click()
  await eventRow(page, 'from the page').waitFor()
  const number = await world.api.publish(id, { id: 'mine', type: 'greeting', message: { from: 'a program' } })
  await eventRow(page, '{"from":"a program"}').waitFor()
  assert.match((await eventRow(page, 'a program').textContent()) ?? '', new RegExp(`${number}.*mine.*greeting`))

  await page.getByLabel('The message is JSON').check()
  await page.getByRole('button', { name: 'Publish', exact: true }).click()
  await page.getByText('The message is not valid JSON').waitFor()

  await page.getByRole('button', { name: 'Replay', exact: true }).click()
  await page.getByText('Replay, the oldest first').waitFor()
  assert.match((await page.locator('.events tbody tr').first().textContent()) ?? '', /from the page/)
  await page.getByLabel('Replay from').selectOption('id')
  await page.getByLabel('Event id').fill('mine')
  await page.getByRole('button', { name: 'Replay', exact: true }).click()
  await page.getByText('Nothing is stored after that.').waitFor()
  await page.getByLabel('Replay from').selectOption('time')
  await page.getByLabel('Time', { exact: true }).fill('2020-01-01T00:00:00')
  await page.getByRole('button', { name: 'Replay', exact: true }).click()
  await eventRow(page, 'from the page').waitFor()
  await page.getByRole('button', { name: 'Back to live' }).click()
  await page.locator('.state', { hasText: 'Live' }).waitFor()

  const publishing = page.locator('.snippets .code-block').nth(1)
  assert.match((await publishing.textContent()) ?? '', /Bearer \$TOKEN"/)
  await page.getByLabel('publish', { exact: true }).check()
  await page.getByLabel('Label').fill('press')
  await page.getByRole('button', { name: 'Issue a token' }).click()
  const secret = (await page.locator('.secret code').textContent()) ?? ''
  assert.match(secret, /^[0-9A-Za-z]{64}$/)
  assert.ok((await publishing.textContent())?.includes(secret))
  assert.ok(!(await page.locator('.snippets').textContent())?.includes(API_TOKEN))
  await page.getByRole('button', { name: 'Copy: Publish with curl' }).click()
  await page.getByText('Copied').waitFor()
  assert.ok(String(await page.evaluate('navigator.clipboard.readText()')).includes(secret))
  await page.getByRole('button', { name: 'Revoke press' }).click()
  await page.getByRole('button', { name: 'Revoke press' }).waitFor({ state: 'detached' })

  await page.getByRole('button', { name: 'Delete topic' }).click()
  await page.getByRole('button', { name: 'Cancel' }).click()
  await page.getByRole('button', { name: 'Delete topic' }).click()
  await page.getByRole('button', { name: 'Delete', exact: true }).click()
  await page.getByText('1 to 50', { exact: true }).waitFor()
  assert.equal((await world.api.call('GET', `/api/v1/pubsubs/${id}`)).status, 404)
  assert.deepEqual(complaints, [])
})

test("a topic's name and limits are changed on its page; what the server refuses changes nothing", {
  skip,
}, async (t) => {
  const topic = await world.api.createTopic()
  const settings = async () => {
    const { text } = await world.api.call('GET', `/api/v1/pubsubs/${topic.id}`)
    const { name, retention } = (JSON.parse(text) as { pubsub: { name: string; retention: object } }).pubsub
    return { name, retention }
  }
  const { page, complaints } = await openPage(
    await newContext(t, world.browser),
    `${world.server.url}/#/topics/${topic.id}`,
  )
  await signIn(page, API_TOKEN)
  await page.getByText('Change', { exact: true }).click()
  await page.getByLabel('Name', { exact: true }).fill('Measurements')
  await page.getByLabel('Drop events older than').fill('a while')
  await page.getByLabel('Keep at most so many events').fill('1000')
  await page.getByRole('button', { name: 'Save' }).click()
  await page.locator('.mistake', { hasText: 'max_age' }).waitFor()
  assert.deepEqual(await settings(), { name: null, retention: { max_age: null, max_bytes: null, max_events: null } })

  await page.getByLabel('Drop events older than').fill('1h')
  await page.getByRole('button', { name: 'Save' }).click()
  await page.getByRole('heading', { name: 'Measurements', level: 2 }).waitFor()
  await page.getByText('for 3600s, the last 1,000 events').waitFor()
  const retention = { max_age: '3600s', max_bytes: null, max_events: 1000 }
  assert.deepEqual(await settings(), { name: 'Measurements', retention })

  await page.getByLabel('Keep at most so many events').fill('')
  await page.getByRole('button', { name: 'Save' }).click()
  await page.getByText('for 3600s', { exact: true }).waitFor()
  assert.deepEqual(await settings(), { name: 'Measurements', retention: { ...retention, max_events: null } })
  assert.deepEqual(complaints, [])
  await world.api.deleteTopic(topic.id)
})

test('what hostile publishers write is shown, and never interpreted', { skip }, async (t) => {
  const hostile = [
    '<img src=x onerror="globalThis.hit=1">',
    '<script>globalThis.hit=1</script>',
    '"><svg/onload=globalThis.hit=1>',
    '<a href="javascript:globalThis.hit=1">x</a>',
    '</pre></td></table><h1>sser is down</h1>',
    '\u202etxt.exe\u2028<style>*{display:none}</style>',
    '{{constructor.constructor("globalThis.hit=1")()}}',
  ]
  const name = '<img src=x onerror="globalThis.hit=1">'
  const { text } = await world.api.call('POST', '/api/v1/pubsubs', { pubsub: { name, persist: true } })
  const topic = (JSON.parse(text) as { pubsub: { id: string; token: string } }).pubsub
  for (const message of hostile.slice(0, 3)) {
    await world.api.publish(topic.id, { id: `<b>${message}`.replace(/\u2028/, ''), type: '<i>type</i>', message })
  }
  const { page, complaints } = await openTopics(await newContext(t, world.browser))
  await page.getByLabel('Search by name or id').fill('onerror')
  await page.getByRole('link', { name }).click()
  await page.getByRole('heading', { name, level: 2 }).waitFor()
  await page.locator('.state', { hasText: 'Live' }).waitFor()
  for (const message of hostile) await world.api.publish(topic.id, { type: '<i>type</i>', message })
  for (const message of hostile) await world.api.publish(topic.id, { message: { [message]: message } })
  await holds(page, `document.querySelectorAll('.events tbody tr').length === ${3 + 2 * hostile.length}`)
  const shown = await page.locator('.events .message pre').allTextContents()
  for (const message of hostile) assert.ok(shown.includes(message), message)
  await page.getByRole('button', { name: 'Replay', exact: true }).click()
  await page.getByText('Replay, the oldest first').waitFor()
  const inMessages = `document.querySelectorAll('main img, main svg, main script, main style, main i, main b, main h1').length`
  assert.deepEqual(await page.evaluate(`[globalThis.hit ?? 0, ${inMessages}]`), [0, 0])
  assert.deepEqual(complaints, [])
  await world.api.deleteTopic(topic.id)
})

test('seven tabs follow seven topics over one connection, miss nothing while others come and go, and can still call', {
  skip,
}, async (t) => {
  const counter = await countStreams(t, world.server.port)
  const context = await newContext(t, world.browser)
  const topics = await Promise.all(Array.from({ length: TABS }, () => world.api.createTopic()))
  const tabs: Page[] = []
  const state = (page: Page, text: RegExp) => page.locator('.state', { hasText: text }).waitFor()
  let published = 0
  const publish = () => world.api.publish(topics[0]!.id, { message: `number ${published++}` })
  for (const topic of topics) {
    const { page } = await openTopic(context, counter.url, topic)
    await publish()
    await state(page, /^Live/)
    tabs.push(page)
    await publish()
  }
  await counter.until(1)
  for (const [index, page] of tabs.entries()) {
    await page.getByRole('button', { name: 'Replay', exact: true }).click()
    await page.getByText('Replay, the oldest first').waitFor()
    await publish()
    await page.getByRole('button', { name: 'Back to live' }).click()
    await world.api.publish(topics[index]!.id, { message: `for tab ${index}` })
    await eventRow(page, `for tab ${index}`).waitFor()
    await state(page, /^Live/)
  }
  await tabs[3]!.close()
  await publish()
  await world.api.deleteTopic(topics[4]!.id)
  await state(tabs[4]!, /^The topic no longer exists/)
  await publish()
  await eventRow(tabs[0]!, `number ${published - 1}`).waitFor()
  const numbers = (await tabs[0]!.locator('.events .message', { hasText: 'number' }).allTextContents()).toReversed()
  assert.deepEqual(
    numbers,
    Array.from({ length: published }, (_, index) => `number ${index}`),
  )
  for (const [index, page] of tabs.entries()) {
    if (index === 3) continue
    if (index !== 4) await state(page, /^Live/)
    assert.equal(await eventRow(page, 'for tab').count(), 1)
  }
  await counter.until(1)
  for (const { id } of topics) await world.api.deleteTopic(id)
})

test('a hidden tab costs no connection, and has what came meanwhile when it is seen again', { skip }, async (t) => {
  const counter = await countStreams(t, world.server.port)
  const topic = await world.api.createTopic()
  const { page } = await openTopic(await newContext(t, world.browser), counter.url, topic)
  await page.locator('.state', { hasText: /^Live/ }).waitFor()
  await world.api.publish(topic.id, { message: 'seen' })
  await eventRow(page, 'seen').waitFor()
  const turn = (state: string) =>
    page.evaluate(`Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => '${state}' })
      document.dispatchEvent(new Event('visibilitychange'))`)
  await turn('hidden')
  await counter.until(0)
  await world.api.publish(topic.id, { message: 'unseen' })
  await turn('visible')
  await eventRow(page, 'unseen').waitFor()
  await world.api.publish(topic.id, { message: 'later' })
  await eventRow(page, 'later').waitFor()
  await turn('hidden')
  for (let count = 0; count < 60; count++) await world.api.publish(topic.id, { message: `many ${count}` })
  await turn('visible')
  await page.getByText('More events came while this tab was hidden').waitFor()
  await world.api.publish(topic.id, { message: 'the last' })
  await eventRow(page, 'the last').waitFor()
  assert.equal(await page.locator('.events tbody tr').count(), 3 + 1 + 50 + 1)
  await world.api.deleteTopic(topic.id)
})

test('axe finds nothing in the table and on the page of a topic', { skip }, async (t) => {
  const { text } = await world.api.call('POST', '/api/v1/pubsubs', {
    // A name without a place to break it is no wider than the screen either.
    pubsub: { name: `Readings of the weather ${'x'.repeat(150)}`, persist: true },
  })
  const { id } = (JSON.parse(text) as { pubsub: { id: string } }).pubsub
  for (const [index, city] of ['Reykjavík', 'Quito', 'Łódź'].entries()) {
    await world.api.publish(id, {
      id: `reading-${index}`,
      type: 'reading',
      message: { city, celsius: 3.5 * index, wind: 'NW' },
    })
  }
  await world.api.publish(id, { message: 'A storm is coming.\nStay inside.' })
  for (const { name, options } of LOOKS) {
    const { page } = await openSignedIn(await newContext(t, world.browser, options), `${world.server.url}/#/topics`)
    await page.getByLabel('API token', { exact: true }).waitFor()
    await assertGoodToLookAt(page, `token-${name}`)
    await giveToken(page, 'API token', API_TOKEN)
    await page.getByText('1 to 50', { exact: true }).waitFor()
    await assertGoodToLookAt(page, `topics-${name}`)
    await page.getByRole('link', { name: 'Readings of the weather' }).click()
    await page.locator('.state', { hasText: 'Live' }).waitFor()
    await page.getByRole('button', { name: 'Delete topic' }).waitFor()
    await page.getByText('Change', { exact: true }).click()
    await assertGoodToLookAt(page, `topic-${name}`)
    if (!name.startsWith('phone')) continue
    await page.getByRole('button', { name: 'Delete topic' }).click()
    await assertGoodToLookAt(page, `deletion-${name}`)
  }
  await world.api.deleteTopic(id)
})
