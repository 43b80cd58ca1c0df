// From a subscribe request to its stream: where it starts, the head and the first block in one write, and the response handed
// to the hub. Promises that the stream keeps nothing of the request alive, and that transient failures are answered in a way
// that makes a browser reconnect. Knows nothing of the stream's content.
import type { ServerResponse } from 'node:http'
import type { Request, ResponseToolkit } from '@hapi/hapi'
import { DomainError } from '../domain/errors.ts'
import { formatEventId } from '../domain/event-id.ts'
import type { Hub, ResumeRequest, StreamRequest, StreamStart, Topic, TopicToken } from '../domain/hub.ts'
import type { Sink } from '../domain/ports.ts'
import type { Cors } from './cors.ts'
import { type HttpObserver, httpError, limitOf, tellLimit } from './errors.ts'
import type { Credentials } from './gate.ts'
import { openStream } from './http2-sse-stream.ts'
import { resumeRequestOf } from './resume-request.ts'
import { endWithRetry } from './retry-answer.ts'
import type { SubscribeQuery } from './schemas.ts'
import type { Service } from './service.ts'
import { streamHeaders } from './sse-stream.ts'
import type { TokenLimits } from './token-limits.ts'

export interface StreamLimits {
  /** When more bytes than this wait in a subscriber's connection, it stops getting live frames and catches up from the log. */
  readonly sendBufferBytes: number
  /** The base of the `retry:` of a stream that cannot start; each gets 100 to 200 % of it. */
  readonly retryMs: number
  /** The same during a stop, when all clients are told to reconnect at once. */
  readonly stoppingRetryMs: number
}

export interface StreamContext {
  readonly service: Service
  readonly cors: Cors
  readonly limits: StreamLimits
  readonly tokenLimits: TokenLimits
  readonly observer: HttpObserver
}

export interface WantedStream extends Pick<StreamRequest, 'envelope'> {
  /** The route's path, for the metrics. */
  readonly path: string
  readonly topics: readonly Topic[]
  /** What opened them. */
  readonly credentials: readonly Credentials[]
  readonly query: SubscribeQuery
  /** Where it starts. */
  resolve(from: ResumeRequest): Promise<StreamStart>
  /**
   * Set where others write to the stream as well: called when it has begun. `failure`: the events are temporarily unavailable;
   * without this function such a stream ends at once.
   */
  readonly share?: (stream: Sink, failure: Error | undefined) => void
}

/** `hub` must be the one that the topics came from. Errors are thrown only before anything is written. */
export async function answerStream(
  context: StreamContext,
  hub: Hub,
  wanted: WantedStream,
  request: Request,
  h: ResponseToolkit,
): Promise<symbol> {
  const { service, cors, limits, observer } = context
  const { req, res } = request.raw
  const { query, envelope } = wanted
  const resume = resumeRequestOf(req, query)
  let from: StreamStart
  try {
    from = await wanted.resolve(resume)
  } catch (error) {
    if (!isPassing(error)) throw error
    observer.answered(request.method, wanted.path, 200)
    const headers = cors.headers(req.headers.origin)
    if (wanted.share === undefined || !service.isOpen || res.destroyed) {
      endWithRetry(res, headers, retryMsOf(service, limits))
    } else {
      assertMayBegin(res)
      wanted.share(openStream(res, headers, limits.sendBufferBytes), error)
    }
    return h.abandon
  }
  if (res.destroyed) return h.abandon
  assertMayBegin(res)

  const leave = await entered(hub, request, wanted.credentials)
  try {
    const signals = query.signals === '1'
    const asked: StreamRequest = { from, heartbeat: query.heartbeat ?? 'comment', signals, envelope }
    if (!res.destroyed) begin(context, hub, wanted, request, asked, leave)
    else leave()
  } catch (error) {
    leave()
    throw error
  }
  return h.abandon
}

/** A pipelined request has no socket for a stream until the answers before it are done. */
export function assertMayBegin({ socket }: ServerResponse): void {
  if (socket === null) throw httpError(400, 'A stream cannot be requested behind another request in a pipeline.')
}

/** Writes the head in this very turn, and hands the response over to the hub, or ends it. */
function begin(
  { service, cors, limits, tokenLimits, observer }: StreamContext,
  hub: Hub,
  { path, topics, credentials, share }: WantedStream,
  request: Request,
  asked: StreamRequest,
  leave: () => void,
): void {
  const { req, res } = request.raw
  const start = formatEventId(hub.startOfAll(topics, asked.from))
  const headers = [...cors.headers(req.headers.origin), 'sser-resumed-from', start]
  if (request.method === 'head') {
    observer.answered(request.method, path, 200)
    res.writeHead(200, [...headers, ...streamHeaders])
    res.end()
    return
  }
  const stream = openStream(res, headers, limits.sendBufferBytes)
  // After the stream, which removes the listeners that were there before it.
  res.once('close', leave)
  try {
    res.once('close', tokenLimits.enterStream(credentials.map(({ countedAs }) => countedAs)))
    hub.subscribeAll(topics, stream, { ...asked, tokens: tokensOf(credentials) })
    stream.begin()
  } catch (error) {
    // Not answered yet: the error will be, and counted then.
    if (!isPassing(error)) throw error
    observer.answered(request.method, path, 200)
    tellLimit(observer, error)
    if (share !== undefined && service.isOpen) share(stream, error)
    else endWithRetry(res, headers, retryMsOf(service, limits))
    return
  }
  observer.answered(request.method, path, 200)
  share?.(stream, undefined)
}

/** The further tokens, with which the stream ends. */
function tokensOf(credentials: readonly Credentials[]): readonly TopicToken[] {
  const tokens = credentials.map(({ token }) => token)
  return [...new Set(tokens.filter((token) => token !== undefined))]
}

/** Marks the tickets as in use until the stream ends: call the result then. */
async function entered(hub: Hub, request: Request, credentials: readonly Credentials[]): Promise<() => void> {
  if (request.method === 'head') return () => undefined
  const tickets = new Set(credentials.map(({ ticket }) => ticket))
  tickets.delete(undefined)
  const leaves = await Promise.all([...tickets].map((ticket) => ticket && hub.tickets.enter(ticket)))
  return () => {
    for (const leave of leaves) leave?.()
  }
}

/** The base of the `retry:` of a stream that cannot start now. */
export function retryMsOf(service: Service, limits: StreamLimits): number {
  return service.health.status === 'stopping' ? limits.stoppingRetryMs : limits.retryMs
}

/** Whether the client should come back later; a browser does so only after a stream that ended. */
function isPassing(error: unknown): error is Error {
  if (limitOf(error) !== undefined) return true
  return error instanceof DomainError && ['CLOSED', 'BUSY', 'STORE_FAILED'].includes(error.code)
}
