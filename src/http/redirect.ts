// The port without TLS, where there is one with it: it answers certificate authorities that look for a proof (ACME's HTTP-01),
// and redirects everyone else, except clients whose proxy already speaks HTTPS with them. Promises that methods with a body
// are kept (308), and that no body is read. Knows nothing of topics and tokens.
import { createServer, type IncomingMessage, type Server, type ServerOptions, type ServerResponse } from 'node:http'
import { errorBody } from './errors.ts'

const httpsPort = 443
const challengePath = /^\/\.well-known\/acme-challenge\/([A-Za-z0-9_-]+)$/
const hostHeader = /^([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?$/i

/**
 * `port` is called for each request, since it is unknown until the other listener has it. `serves` itself answers requests
 * that need not be redirected.
 */
export function makeRedirector(
  settings: ServerOptions,
  port: () => number,
  proofFor: (token: string) => Promise<string | undefined>,
  serves: (request: IncomingMessage, response: ServerResponse) => boolean = () => false,
): Server {
  function sendOn(request: IncomingMessage, response: ServerResponse): void {
    if (!serves(request, response)) redirect(request, response, port())
  }
  return createServer(settings, (request, response) => {
    const [, token] = challengePath.exec(request.url ?? '') ?? []
    if (token === undefined || (request.method !== 'GET' && request.method !== 'HEAD')) {
      sendOn(request, response)
      return
    }
    proofFor(token).then(
      (proof) => (proof === undefined ? sendOn(request, response) : prove(response, proof)),
      () => sendOn(request, response),
    )
  })
}

/** RFC 8555, section 8.3. */
function prove(response: ServerResponse, proof: string): void {
  response.writeHead(200, [
    'connection',
    'close',
    'content-type',
    'application/octet-stream',
    'content-length',
    String(Buffer.byteLength(proof)),
  ])
  response.end(proof)
}

function redirect(request: IncomingMessage, response: ServerResponse, port: number): void {
  // The body is not awaited: the client has to send it again anyway.
  const headers = ['connection', 'close']
  const target = targetOf(request, port)
  if (target === undefined) {
    const body = errorBody(
      400,
      'This port redirects to HTTPS, but the request does not say to which host: a Host header is missing or malformed.',
    )
    response.writeHead(400, [
      ...headers,
      'content-type',
      'application/json',
      'content-length',
      String(Buffer.byteLength(body)),
    ])
    response.end(body)
    return
  }
  const keepsMethod = request.method !== 'GET' && request.method !== 'HEAD'
  response.writeHead(keepsMethod ? 308 : 301, [...headers, 'location', target, 'content-length', '0'])
  response.end()
}

function targetOf({ headers, url = '' }: IncomingMessage, port: number): string | undefined {
  const [, name] = hostHeader.exec(headers.host ?? '') ?? []
  const path = pathOf(url)
  if (name === undefined || path === undefined) return undefined
  return `https://${name}${port === httpsPort ? '' : `:${port}`}${path}`
}

/** Clients that take this server for a proxy send an absolute URL; OPTIONS may ask for `*`. */
function pathOf(url: string): string | undefined {
  if (url.startsWith('/')) return url
  if (url === '*') return '/'
  const [, path] = /^http:\/\/[^/?#]*([/?].*)?$/i.exec(url) ?? []
  return path === undefined ? (/^http:\/\//i.test(url) ? '/' : undefined) : path.startsWith('/') ? path : `/${path}`
}
