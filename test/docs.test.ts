/**
 * The documents are kept true where a program can tell: links lead somewhere, and docs/protocol.md names the calls and
 * the statuses that the server has, all of them and no others. What the documents say in words is left to their readers.
 */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { hashToken } from '../src/domain/token.ts'
import { silentHttpObserver } from '../src/http/errors.ts'
import { startHttpServer } from '../src/http/http-server.ts'
import { Service } from '../src/http/service.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const PROTOCOL = 'docs/protocol.md'

/** What every path under /api/v1 answers, or every GET, without a route of its own. */
const IMPLIED_METHODS = ['OPTIONS', 'HEAD']
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

function documents(): string[] {
  const inDocs = readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md'))
  return ['README.md', ...inDocs.map((name) => `docs/${name}`)]
}

/** Markdown without its fenced blocks, in which a # or a bracket means something else. */
function prose(markdown: string): string {
  return markdown.replace(/^(`{3,}|~{3,})[^\n]*\n[\s\S]*?^\1[ \t]*$/gm, '')
}

/** The anchors that a page of Markdown has where it is shown on the web: GitHub's rules. */
function anchorsOf(markdown: string): Set<string> {
  const anchors = new Set<string>()
  for (const [, heading = ''] of prose(markdown).matchAll(/^#{1,6}[ \t]+(.+?)[ \t]*#*$/gm)) {
    const text = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').replaceAll('`', '')
    const slug = text
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\p{M}_ -]/gu, '')
      .replaceAll(' ', '-')
    let anchor = slug
    for (let count = 1; anchors.has(anchor); count++) anchor = `${slug}-${count}`
    anchors.add(anchor)
  }
  for (const [, name = ''] of markdown.matchAll(/<a\s+(?:id|name)="([^"]+)"/g)) anchors.add(name)
  return anchors
}

/** Where the links of a page lead, code left out; a title behind the address is not part of it. */
function linksOf(markdown: string): string[] {
  const text = prose(markdown)
  // A link's words may hold code, and may be broken over two lines; its address holds neither.
  const inline = [...text.matchAll(/\]\(\s*<?([^()\s>]+(?:\([^()\s]*\)[^()\s>]*)?)>?(?:\s+"[^"]*")?\s*\)/g)]
  const references = [...text.matchAll(/^ {0,3}\[[^\]]+\]:[ \t]+<?(\S+?)>?(?:[ \t]+"[^"]*")?[ \t]*$/gm)]
  return [...inline, ...references].map(([, address]) => address ?? '')
}

/** What is wrong with a link of that document; undefined where it leads somewhere, or out of the project. */
function linkMistake(document: string, link: string): string | undefined {
  if (/^[a-z][a-z0-9+.-]*:/i.test(link)) return undefined
  const [address = '', fragment] = link.split('#', 2)
  const path = address === '' ? document : normalize(join(dirname(document), decodeURIComponent(address)))
  if (path.startsWith('..') || path.startsWith('/')) return `${document}: ${link} leads out of the project`
  if (!existsSync(join(ROOT, path))) return `${document}: ${link} leads to no file`
  if (fragment === undefined) return undefined
  if (!path.endsWith('.md') || statSync(join(ROOT, path)).isDirectory()) return `${document}: ${link} names no heading`
  return anchorsOf(read(path)).has(fragment) ? undefined : `${document}: ${link} names a heading that is not there`
}

interface Call {
  /** Undefined: any method will do. */
  readonly method: string | undefined
  readonly path: string
}

/** `METHOD /path` and `/path` in code, and the addresses of the curl lines. */
function callsNamedIn(markdown: string): Call[] {
  const calls: Call[] = []
  for (const [, method, address = ''] of prose(markdown).matchAll(/`(?:([A-Z]+) )?(\/[^`\s]*)`/g)) {
    calls.push({ method, path: pathOf(address) })
  }
  for (const [line, address = ''] of markdown.replaceAll('\\\n', ' ').matchAll(/curl [^\n]*?"\$URL(\/[^"]*)"[^\n]*/g)) {
    const named = / -X ([A-Z]+)/.exec(line)?.[1]
    calls.push({ method: named ?? (/ -d /.test(line) ? 'POST' : 'GET'), path: pathOf(address) })
  }
  return calls
}

function pathOf(address: string): string {
  return address
    .replace(/[?#].*$/, '')
    .replace(/\$TOPIC\b/g, '{id}')
    .replace(/\$TOKEN_ID\b/g, '{tokenId}')
}

/** The routes of a server as it is put together for users, but for those that only refuse. */
async function routes(t: TestContext): Promise<string[]> {
  const server = await startHttpServer(new Service(), silentHttpObserver, {
    host: '127.0.0.1',
    port: 0,
    apiTokens: [
      { sha256: hashToken('api-token-of-the-documents'), rights: ['topics', 'publish', 'subscribe', 'metrics'] },
      { sha256: hashToken('metrics-token-of-the-documents'), rights: ['metrics'] },
    ],
    trustedProxies: [],
    proxyHeaderTimeoutMs: undefined,
    secure: undefined,
    strictTransportSeconds: 0,
    opensMetricsLocally: true,
    scrape: async () => ({ contentType: 'text/plain', text: 'scraped' }),
    idleTimeoutMs: 1000,
    readTimeoutMs: 1000,
    requestBodyBytesMax: 1024,
    connectionsMax: 1,
    connectionsPerAddressMax: 1000,
    streamsPerTokenMax: undefined,
    eventsPerSecondPerTokenMax: undefined,
    credentialOrigins: [],
    retryMs: 1000,
    stoppingRetryMs: 1000,
    sendBufferBytes: 1024,
    idBytesMax: 256,
    typeBytesMax: 256,
    eventsPerRequestMax: 10_000,
    historyEventsMax: 1_000,
    topicsPerStreamMax: 100,
    writeTimeoutMs: 60_000,
    wrongTokensMax: 10,
    wrongTokenWaitMsMax: 60_000,
    throttledClientsMax: 100,
    logFigures: () => undefined,
    version: '1.2.3',
    latencies: () => ({ publish: null, delivery: null }),
    notices: () => [],
  })
  t.after(() => server.close(0))
  return server.hapi
    .table()
    .filter(({ method }) => method !== '*')
    .map(({ method, path }) => `${method.toUpperCase()} ${path}`)
}

/** The statuses of the first column of the table below that heading. */
function statusesBelow(heading: string, markdown: string): Set<string> {
  const start = markdown.indexOf(`\n${heading}\n`)
  assert.notEqual(start, -1, `${PROTOCOL} has the heading ${heading}`)
  const end = markdown.indexOf('\n## ', start + heading.length)
  const section = markdown.slice(start, end === -1 ? undefined : end)
  return new Set([...section.matchAll(/^\| ([45]\d\d) \|/gm)].map(([, status]) => status ?? ''))
}

/** The statuses that src/http can answer with: those of the table of codes, and those that its files name. */
function statusesOfTheServer(): { table: string[]; named: string[] } {
  const table = /statusOfCode[^=]*=\s*\{([^}]*)\}/.exec(read('src/http/errors.ts'))?.[1]
  assert.ok(table !== undefined, 'src/http/errors.ts has the table of statuses')
  const files = readdirSync(join(ROOT, 'src/http')).filter((name) => name.endsWith('.ts'))
  const sources = files.map((name) => read(`src/http/${name}`)).join('\n')
  const named = sources.matchAll(/(?:httpError\(\s*|\bstatus: |\.code\()([45]\d\d)\b/g)
  return {
    table: [...table.matchAll(/^\s*[A-Z_]+: (\d{3}),/gm)].map(([, status]) => status ?? ''),
    named: [...named].map(([, status]) => status ?? ''),
  }
}

for (const document of documents()) {
  test(`every relative link in ${document} leads to a file, and to a heading, that is there`, () => {
    const mistakes = linksOf(read(document)).map((link) => linkMistake(document, link))
    assert.deepEqual(
      mistakes.filter((mistake) => mistake !== undefined),
      [],
    )
  })
}

test('a link to a file or a heading that is not there is noticed', () => {
  const links = linksOf(
    '[a](protocol.md#terms) [b](nowhere.md) [c](protocol.md#nowhere) [`d`\ne](#nowhere)\n\n[f]: gone.md',
  )
  assert.deepEqual(
    links.map((link) => linkMistake(PROTOCOL, link)),
    [
      undefined,
      `${PROTOCOL}: nowhere.md leads to no file`,
      `${PROTOCOL}: protocol.md#nowhere names a heading that is not there`,
      `${PROTOCOL}: #nowhere names a heading that is not there`,
      `${PROTOCOL}: gone.md leads to no file`,
    ],
  )
})

test('docs/protocol.md names no call and no path that the server does not have', async (t) => {
  const existing = await routes(t)
  const paths = new Set(existing.map((route) => route.slice(route.indexOf(' ') + 1)))
  const unknown = callsNamedIn(read(PROTOCOL)).filter(({ method, path }) => {
    if (path === '/api/v1') return method !== undefined
    if (method === undefined || IMPLIED_METHODS.includes(method)) return !paths.has(path)
    return !METHODS.includes(method) || !existing.includes(`${method} ${path}`)
  })
  assert.deepEqual(unknown, [])
})

test('every call that the server has is in the table of calls and has a description in docs/protocol.md', async (t) => {
  const protocol = read(PROTOCOL)
  const existing = await routes(t)
  assert.ok(existing.length > 0)
  for (const route of existing) {
    assert.match(protocol, new RegExp(`^\\| \\[\`${escaped(route)}\`\\]\\(#`, 'm'), `${route} is in the table of calls`)
    assert.match(protocol, new RegExp(`^\`${escaped(route)}\``, 'm'), `${route} has a description`)
  }
})

test('every error status that the server can answer with is in the table of docs/protocol.md, and no other', () => {
  const documented = statusesBelow('## Errors', read(PROTOCOL))
  const { table, named } = statusesOfTheServer()
  assert.ok(table.length > 0 && named.length > 0)
  // A 500 is what becomes of everything that nobody foresaw: it is named differently.
  const expected = new Set([...table, ...named, '500'])
  assert.deepEqual([...documented].sort(), [...expected].sort())
})

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')
}
