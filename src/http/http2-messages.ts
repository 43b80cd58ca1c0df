// A request and an answer of HTTP/2 with what node's own lack of those of HTTP/1, so that every handler takes both: the name
// that was asked for as `host`, the words `destroyed` and `writableNeedDrain`, and no header that speaks of the connection,
// which HTTP/2 forbids. Knows nothing of what is asked and answered.
import {
  constants,
  Http2ServerRequest,
  Http2ServerResponse,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2'
import type { ReadableOptions } from 'node:stream'

/** RFC 9113, section 8.2.2. */
const connectionHeaders: ReadonlySet<string> = new Set([
  'connection',
  'proxy-connection',
  'keep-alive',
  'transfer-encoding',
  'upgrade',
])

export class Http2Request extends Http2ServerRequest {
  constructor(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    options: ReadableOptions,
    rawHeaders: readonly string[],
  ) {
    headers.host ??= headers[':authority']
    super(stream, headers, options, rawHeaders)
  }

  static {
    // To node, a body that was cut off is one that is whole. Its types take what it computes for a field.
    Object.defineProperty(Http2Request.prototype, 'complete', {
      get(this: Http2Request) {
        return this.readableEnded && !this.stream.aborted
      },
    })
  }
}

export class Http2Answer extends Http2ServerResponse<Http2Request> {
  constructor(stream: ServerHttp2Stream, options?: unknown) {
    // @ts-expect-error: node hands over two, its types know one.
    super(stream, options)
    if (!stream.endAfterHeaders) stream.once('finish', () => refuseTheBody(stream))
    const leave = () => leaveReset(stream)
    stream.once('aborted', leave)
    stream.once('end', leave)
    // The reset may have come along with the request.
    leave()
  }

  static {
    // Node's types promise these two, and node has neither.
    Object.defineProperties(Http2Answer.prototype, {
      destroyed: {
        get(this: Http2Answer) {
          return this.stream.destroyed
        },
      },
      writableNeedDrain: {
        get(this: Http2Answer) {
          return this.stream.writableNeedDrain
        },
      },
    })
  }

  override setHeader(name: string, value: number | string | readonly string[]): void {
    if (!connectionHeaders.has(name.toLowerCase())) super.setHeader(name, value)
  }

  /** Headers come as name and value in turn, as everywhere here; those that hapi sends it has set one by one before. */
  override writeHead(status: number, headers?: unknown): this {
    const flat: readonly string[] = Array.isArray(headers) ? headers : []
    const allowed: string[] = []
    for (let index = 0; index + 1 < flat.length; index += 2) {
      if (!connectionHeaders.has(flat[index]!.toLowerCase())) allowed.push(flat[index]!, flat[index + 1]!)
    }
    return super.writeHead(status, allowed as never)
  }
}

/** Who was answered before all of a body had come would send on, and wait for ever: RFC 9113, section 8.1. */
function refuseTheBody(stream: ServerHttp2Stream): void {
  if (!stream.destroyed && stream.state.remoteClose !== 1) stream.close(constants.NGHTTP2_NO_ERROR)
}

/**
 * To node a reset that names no error (NO_ERROR) is the end of what the client sends, and the answer is kept for a client
 * that will never take it, and with it the connection. Anybody can send such a reset, as often as wanted.
 */
function leaveReset(stream: ServerHttp2Stream): void {
  if (stream.closed && !stream.writableFinished) stream.destroy()
}
