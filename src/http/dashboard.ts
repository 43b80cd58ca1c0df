// GET /: the dashboard, and GET /assets/{folder}/{name}: the files that it consists of. They need no token, because they show
// nothing by themselves. Promises to serve no files but those in the table, under a policy that makes the browser load and
// call nothing but what this server serves.
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Plugin, ResponseObject, ResponseToolkit } from '@hapi/hapi'
import type { Cors } from './cors.ts'
import { httpError } from './errors.ts'
import { allowOnly } from './methods.ts'

const here = fileURLToPath(import.meta.url)
/** Browsers run the compiled files, even where the server itself runs from its sources. */
const built = here.endsWith('.ts') ? join(dirname(here), '..', '..', 'dist', 'src') : join(dirname(here), '..')
const uplot = dirname(createRequire(import.meta.url).resolve('uplot'))

const page = join(built, 'dashboard', 'index.html')
const scripts = [
  'api',
  'board',
  'chart',
  'connection',
  'copy-button',
  'dom',
  'event-list',
  'feed-worker',
  'figures',
  'first-steps',
  'format',
  'line',
  'page',
  'publish-form',
  'samples',
  'snippets',
  'sources',
  'tab-tokens',
  'tail',
  'token-form',
  'topic-settings',
  'topic-tokens',
  'topic-view',
  'topics-view',
  'watch',
]
/** From the client library, which the page uses to call the server. */
const clientScripts = ['connection', 'envelope', 'errors', 'retry-after']
const assets: ReadonlyMap<string, string> = new Map([
  ...scripts.map((name) => [`dashboard/${name}.js`, join(built, 'dashboard', `${name}.js`)] as const),
  ...clientScripts.map((name) => [`client/${name}.js`, join(built, 'client', `${name}.js`)] as const),
  ['dashboard/page.css', join(built, 'dashboard', 'page.css')],
  ['sse/decode.js', join(built, 'sse', 'decode.js')],
  ['uplot/uPlot.iife.min.js', join(uplot, 'uPlot.iife.min.js')],
  ['uplot/uPlot.min.css', join(uplot, 'uPlot.min.css')],
])

const types: Readonly<Record<string, string>> = { html: 'text/html', css: 'text/css', js: 'text/javascript' }

const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "worker-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

interface Content {
  readonly bytes: Buffer
  readonly tag: string
}

export const dashboardPlugin: Plugin<{ readonly cors: Cors }> = {
  name: 'sser-dashboard',
  register(server, { cors }) {
    const read = new Map<string, Content>()

    async function answer(h: ResponseToolkit, path: string): Promise<ResponseObject> {
      const content = read.get(path) ?? (await contentOf(path))
      read.set(path, content)
      return h
        .response(content.bytes)
        .type(types[path.slice(path.lastIndexOf('.') + 1)] ?? '')
        .etag(content.tag)
        .header('cache-control', 'no-cache')
        .header('content-security-policy', policy)
        .header('x-content-type-options', 'nosniff')
        .header('referrer-policy', 'no-referrer')
    }

    server.route({
      method: 'GET',
      path: '/',
      options: { auth: false },
      handler: (_request, h) => answer(h, page),
    })
    allowOnly(server, cors, '/', ['GET'])

    server.route({
      method: 'GET',
      path: '/assets/{folder}/{name}',
      options: { auth: false },
      handler(request, h) {
        const path = assets.get(`${request.params['folder']}/${request.params['name']}`)
        if (path === undefined) throw httpError(404, 'There is nothing at this path.')
        return answer(h, path)
      },
    })
    allowOnly(server, cors, '/assets/{folder}/{name}', ['GET'])
  },
}

async function contentOf(path: string): Promise<Content> {
  const bytes = await readFile(path)
  return { bytes, tag: createHash('sha256').update(bytes).digest('base64url') }
}
