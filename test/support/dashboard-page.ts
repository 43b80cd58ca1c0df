/** The dashboard as a person finds it in a browser: opened, signed in, read, and looked at by axe. Knows no test. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { Browser, BrowserContext, BrowserContextOptions, Locator, Page } from 'playwright-core'
import { METRICS_TOKEN } from './server-process.ts'

/** Only a failure takes so long. */
const WAIT_MS = 30_000

export interface Opened {
  readonly page: Page
  /** What the browser complained of: errors of scripts, and whatever the policy forbade. */
  readonly complaints: string[]
}

export async function newContext(
  t: TestContext,
  browser: Browser,
  options: BrowserContextOptions = {},
): Promise<BrowserContext> {
  const made = await browser.newContext(options)
  t.after(() => made.close())
  return made
}

export async function openPage(context: BrowserContext, url: string): Promise<Opened> {
  const page = await context.newPage()
  page.setDefaultTimeout(WAIT_MS)
  const complaints: string[] = []
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('dialog', (dialog) => {
    complaints.push(`a dialog: ${dialog.message()}`)
    dialog.dismiss()
  })
  page.on('console', (message) => {
    if (/Content Security Policy|Uncaught/.test(message.text())) complaints.push(message.text())
  })
  await page.goto(url)
  return { page, complaints }
}

export async function signIn(page: Page, token: string): Promise<void> {
  await page.getByLabel('Token', { exact: true }).fill(token)
  await page.keyboard.press('Enter')
}

export async function openSignedIn(context: BrowserContext, url: string): Promise<Opened> {
  const opened = await openPage(context, url)
  await signIn(opened.page, METRICS_TOKEN)
  await becomes(opened.page, 'status', 'Live')
  return opened
}

export async function giveToken(page: Page, label: string, token: string): Promise<void> {
  await page.getByLabel(label, { exact: true }).first().fill(token)
  await page.keyboard.press('Enter')
}

/** Signed in, and with the topic's own token given, so that its events are shown. */
export async function openTopic(
  context: BrowserContext,
  url: string,
  topic: { readonly id: string; readonly token: string },
): Promise<Opened> {
  const opened = await openSignedIn(context, `${url}/#/topics/${topic.id}`)
  await giveToken(opened.page, 'Token of this topic', topic.token)
  return opened
}

/** The rows of the events' table that hold the text. */
export function eventRow(page: Page, text: string): Locator {
  return page.locator('.events tbody tr', { hasText: text })
}

/** Resolves when the element is seen with a text that begins so. */
export async function becomes(page: Page, id: string, wanted: string): Promise<void> {
  await page.locator(`#${id}`, { hasText: new RegExp(`^${wanted}`) }).waitFor()
}

/** Resolves when the expression is true in the page. The policy keeps a page from evaluating it by itself. */
export async function holds(page: Page, expression: string): Promise<void> {
  const endsAt = performance.now() + WAIT_MS
  while (!(await page.evaluate(expression))) {
    assert.ok(performance.now() < endsAt, `never true: ${expression}`)
    await delay(20)
  }
}

/** A desktop and a phone, each in light and dark. The policy would keep axe out. */
export const LOOKS = (['light', 'dark'] as const).flatMap((colorScheme) => [
  { name: `desktop-${colorScheme}`, options: { colorScheme, viewport: { width: 1200, height: 900 }, bypassCSP: true } },
  { name: `phone-${colorScheme}`, options: { colorScheme, viewport: { width: 360, height: 740 }, bypassCSP: true } },
])

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** axe finds nothing, and nothing is wider than the screen. DASHBOARD_SHOTS=folder keeps a picture of that name. */
export async function assertGoodToLookAt(page: Page, name: string): Promise<void> {
  if ((await page.evaluate('typeof axe')) === 'undefined') await page.evaluate(axe)
  const found = await page.evaluate(
    'axe.run().then(({ violations }) => violations.map(({ id, nodes }) => [id, nodes[0].html]))',
  )
  assert.deepEqual(found, [], name)
  assert.ok(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), `${name} fits`)
  const folder = process.env['DASHBOARD_SHOTS']
  if (folder !== undefined) await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true })
}
