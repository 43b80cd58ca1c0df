// The CORS headers of every answer under /api/v1. Promises: any Origin may read (tokens protect, not origins), but only
// configured origins may send credentials; `vary: origin` always, so that no cache mixes up the answers. Knows nothing of
// routes.

/** Alternating header names and values, the form that `ServerResponse.writeHead` takes directly. */
export type FlatHeaders = readonly string[]

export interface Cors {
  /** For the answer to a request with this Origin header. */
  headers(origin: string | undefined): FlatHeaders
  /** For the answer to an OPTIONS request on a path that allows these methods. */
  preflight(origin: string | undefined, methods: string): FlatHeaders
}

const allowedRequestHeaders = 'authorization, content-type, last-event-id, idempotency-key, cache-control'
const exposedHeaders = 'sser-resumed-from'
const preflightMaxAgeSeconds = '86400'

/** `credentialOrigins`: the origins (scheme, host, port, as browsers write them) whose pages may send credentials. */
export function makeCors(credentialOrigins: readonly string[]): Cors {
  const trusted = new Set(credentialOrigins)
  const anyOrigin: FlatHeaders = Object.freeze([
    'access-control-allow-origin',
    '*',
    'access-control-expose-headers',
    exposedHeaders,
    'vary',
    'origin',
  ])

  function headers(origin: string | undefined): FlatHeaders {
    if (origin === undefined || origin === '') return anyOrigin
    const flat = [
      'access-control-allow-origin',
      origin,
      'access-control-expose-headers',
      exposedHeaders,
      'vary',
      'origin',
    ]
    if (trusted.has(origin)) flat.push('access-control-allow-credentials', 'true')
    return flat
  }

  function preflight(origin: string | undefined, methods: string): FlatHeaders {
    return [
      ...headers(origin),
      'access-control-allow-methods',
      methods,
      'access-control-allow-headers',
      allowedRequestHeaders,
      'access-control-max-age',
      preflightMaxAgeSeconds,
    ]
  }

  return { headers, preflight }
}
