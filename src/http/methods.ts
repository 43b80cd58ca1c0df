// What a path answers to unsupported methods: OPTIONS with the CORS headers under /api/v1, otherwise 405 with `allow`; and
// the payload settings that make hapi leave every body on the raw request, for `readBody`.
import type { Request, ResponseObject, ResponseToolkit, RouteOptionsPayload, Server } from '@hapi/hapi'
import type { Cors } from './cors.ts'
import { httpError, isApiPath } from './errors.ts'

/** hapi neither reads, bounds nor checks the body: it would read a refused one to its end. */
export const rawPayload: RouteOptionsPayload = Object.freeze({
  output: 'stream',
  parse: false,
  timeout: false,
  override: 'application/json',
  maxBytes: Number.MAX_SAFE_INTEGER,
})

/** The methods that have a route of their own at this path; all others get a 405, OPTIONS under /api/v1 a 200. */
export function allowOnly(server: Server, cors: Cors, path: string, methods: readonly string[]): void {
  const isApi = isApiPath(path)
  const known = methods.includes('GET') ? [...methods, 'HEAD'] : [...methods]
  const allow = (isApi ? [...known, 'OPTIONS'] : known).join(', ')
  server.route({
    method: '*',
    path,
    options: { auth: false, payload: rawPayload },
    handler(request, h) {
      if (isApi && request.method === 'options') return answerPreflight(cors, request, h, allow)
      throw httpError(405, `This path supports ${allow}.`, { allow }, { allow })
    },
  })
}

/** Paths that no plugin has claimed: 404, but still 200 for OPTIONS under /api/v1. */
export function refuseTheRest(server: Server, cors: Cors): void {
  server.route({
    method: '*',
    path: '/{path*}',
    options: { auth: false, payload: rawPayload },
    handler(request, h) {
      if (request.method === 'options' && isApiPath(request.path)) {
        return answerPreflight(cors, request, h, 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS')
      }
      throw httpError(404, 'There is nothing at this path.')
    },
  })
}

function answerPreflight(cors: Cors, request: Request, h: ResponseToolkit, methods: string): ResponseObject {
  const answer = h.response().code(200).header('allow', methods)
  const flat = cors.preflight(request.raw.req.headers.origin, methods)
  for (let index = 0; index + 1 < flat.length; index += 2) answer.header(flat[index]!, flat[index + 1]!)
  return answer
}
