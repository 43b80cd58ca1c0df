/** The client library as it is built, the same files in Node and in a real browser, whose page comes from another origin. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join, normalize } from 'node:path'
import { type TestContext, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { API_TOKEN, startFixture } from '../http/fixture.ts'
import { missingBrowser, startBrowser } from '../support/browser.ts'
import { CuttingProxy } from '../support/cutting-proxy.ts'
import { missingProgram } from '../support/programs.ts'
import { ROOT } from '../support/server-process.ts'

const LIBRARY = 'dist/src/client/index.js'
const LIFE = 'test/browser/client-life.mjs'
/** Of 10 MB. A browser hands over some hundred KB at once. */
const READ_AHEAD_BYTES_MAX = 5_000_000

interface World {
  readonly url: string
  readonly cutUrl: string
  readonly token: string
}

async function startWorld(t: TestContext): Promise<World> {
  const { origin, port } = await startFixture(t, { hub: { retryMs: 1 }, http: { requestBodyBytesMax: 2 << 20 } })
  let cut = 300
  const proxy = await CuttingProxy.start(port, () => {
    cut += 37
    return cut
  })
  t.after(() => {
    assert.ok(proxy.connections > 5, `the stream was cut: ${proxy.connections} connections`)
    return proxy.close()
  })
  return { url: origin, cutUrl: proxy.url, token: API_TOKEN }
}

/** Serves a page, what it asks for, and the project's files as modules, also from where npm puts them. */
async function startFiles(t: TestContext, page: string, told: object = {}): Promise<string> {
  const server = createServer(({ url = '' }, response) => {
    const path = normalize(url)
      .slice(1)
      .replace(/^node_modules\/sser\//, '')
    if (path === '') {
      response.setHeader('content-type', 'text/html').end(page)
    } else if (path === 'where-to-listen') {
      response.setHeader('content-type', 'application/json').end(JSON.stringify(told))
    } else if (path.startsWith('dist/src/') || path === LIFE) {
      response.setHeader('content-type', 'text/javascript').end(readFileSync(join(ROOT, path)))
    } else {
      response.writeHead(404).end()
    }
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function assertLived({ bytesReadAhead, ...seen }: Record<string, unknown>): void {
  assert.deepEqual(seen, {
    name: 'of a browser',
    first: { id: 'möbius', type: 'greeting', data: 'Hëllo' },
    data: Array.from({ length: 99 }, (_, index) => index),
    areCursorsNumbers: true,
    behindTheFirst: '{"index":0}',
    gap: { kind: 'gap', reason: 'no event that is still kept has that id', goesOnWith: 'Hëllo' },
    isHistoryWhole: true,
    errors: ['SSER_REFUSED 404', 'SSER_REFUSED 401', 'SSER_REFUSED 401', 'SSER_UNREACHABLE', 'SSER_PROTOCOL', 'enough'],
    heavy: Array.from({ length: 100 }, (_, index) => index),
    endsWithItsTopic: true,
    unhandled: [],
  })
  assert.ok(Number(bytesReadAhead) < READ_AHEAD_BYTES_MAX, `${bytesReadAhead} bytes were read for who asked for none`)
}

test('the built client library does its work in Node', async (t) => {
  const world = await startWorld(t)
  const { live } = await import(pathToFileURL(join(ROOT, LIFE)).href)
  assertLived(await live(await import(pathToFileURL(join(ROOT, LIBRARY)).href), world))
})

for (const [runtime, args] of [
  ['deno', ['run', '--allow-all']],
  ['bun', ['run']],
] as const) {
  test(`the same files do the same in ${runtime}`, { skip: missingProgram(runtime) }, async (t) => {
    const world = await startWorld(t)
    const folder = mkdtempSync(join(tmpdir(), 'sser-runtime-'))
    t.after(() => rmSync(folder, { recursive: true }))
    const [life, library] = [LIFE, LIBRARY].map((path) => JSON.stringify(join(ROOT, path)))
    const program = `import { live } from ${life}
import * as library from ${library}
console.log(JSON.stringify(await live(library, ${JSON.stringify(world)})))`
    writeFileSync(join(folder, 'program.mjs'), program)
    const { stdout } = await promisify(execFile)(runtime, [...args, 'program.mjs'], { cwd: folder, timeout: 120_000 })
    assertLived(JSON.parse(stdout))
  })
}

test('the same files do the same in a real browser, for a page of another origin', {
  skip: missingBrowser(),
}, async (t) => {
  const world = await startWorld(t)
  const files = await startFiles(t, '<!doctype html><title>A page</title>')
  const browser = await startBrowser()
  t.after(() => browser.close())
  const page = await browser.newPage()
  const mistakes: string[] = []
  page.on('pageerror', (error) => mistakes.push(String(error)))
  await page.goto(files)
  const seen = await page.evaluate(`(async () => {
    const [{ live }, library] = await Promise.all([import('/${LIFE}'), import('/${LIBRARY}')])
    return live(library, ${JSON.stringify(world)})
  })()`)
  assertLived(seen as Record<string, unknown>)
  assert.deepEqual(mistakes, [])
})

test('the page of docs/client.md shows the events of its topic', { skip: missingBrowser() }, async (t) => {
  const { origin, publish, createTopic } = await startFixture(t)
  const { id } = await createTopic(true)
  const { SserClient } = await import(pathToFileURL(join(ROOT, LIBRARY)).href)
  const { token: ticket } = await new SserClient({ url: origin, token: API_TOKEN }).ticket([id])
  const example = /^```html\n([\s\S]*?)^```$/m.exec(readFileSync(join(ROOT, 'docs/client.md'), 'utf8'))?.[1]
  assert.ok(example !== undefined)
  const files = await startFiles(t, example, { url: origin, topic: id, ticket })
  const browser = await startBrowser()
  t.after(() => browser.close())
  const page = await browser.newPage()
  await page.goto(files)
  await publish(id, { message: 'seven of nine' })
  await page.getByText('seven of nine').waitFor()
})
