// Requests and answers of HTTP/2, extended by what node's lack compared to HTTP/1, so that every handler takes both: the
// authority as `host`, the properties `destroyed` and `writableNeedDrain`, and no connection-specific headers, which HTTP/2
// forbids. Knows nothing of what is asked and answered.
import {
  constants,
  Http2ServerRequest,
  Http2ServerResponse,
  type Http2Session,
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

/** The header of each frame. No request takes fewer bytes. */
export const frameBytes = 9

const bodyBytes = new WeakMap<Http2Session, number>()

/** Bytes of request bodies received over a connection, with the headers of their frames. */
export function bodyBytesOf(session: Http2Session): number {
  return bodyBytes.get(session) ?? 0
}

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

  override push(chunk: Uint8Array | null): boolean {
    const { session } = this.stream
    if (chunk !== null && session !== undefined)
      bodyBytes.set(session, bodyBytesOf(session) + chunk.length + frameBytes)
    return super.push(chunk)
  }

  static {
    // Node reports a truncated body as complete. Its types declare this computed property as a field.
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
    // The reset may have arrived together with the request.
    leave()
  }

  static {
    // Node's types promise these two, but node has neither.
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

  /** Headers alternate names and values, as everywhere here; those from hapi have already been set one by one. */
  override writeHead(status: number, headers?: unknown): this {
    const flat: readonly string[] = Array.isArray(headers) ? headers : []
    const allowed: string[] = []
    for (let index = 0; index + 1 < flat.length; index += 2) {
      if (!connectionHeaders.has(flat[index]!.toLowerCase())) allowed.push(flat[index]!, flat[index + 1]!)
    }
    return super.writeHead(status, allowed as never)
  }
}

/** A client that gets its answer before it has sent its whole body would go on sending, and wait forever: RFC 9113, section 8.1. */
function refuseTheBody(stream: ServerHttp2Stream): void {
  if (!stream.destroyed && stream.state.remoteClose !== 1) stream.close(constants.NGHTTP2_NO_ERROR)
}

/**
 * Node takes a reset without an error (NO_ERROR) for the end of what the client sends: it keeps the answer for a client that
 * will never take it, and with it the connection. Anyone can send such resets, as often as they like.
 */
function leaveReset(stream: ServerHttp2Stream): void {
  if (stream.closed && !stream.writableFinished) stream.destroy()
}
