// Reads a request's body from the raw request: no stream wrapper, and in the usual case (the body came in the same packet as
// the head) no listener, timer or promise. Promises limits on size and silence; knows nothing of the content.
import type { IncomingMessage } from 'node:http'
import { httpError } from './errors.ts'

export interface BodyLimits {
  /** A body of more bytes is refused with 413. */
  readonly requestBodyBytesMax: number
  /** A client that stalls for this long in the middle of its body is answered 408. */
  readonly readTimeoutMs: number
}

const emptyBody = Buffer.alloc(0)
const closeHeaders = { connection: 'close' }

/** The whole body, synchronously where it has already arrived. Fails with 413, 408, or 400 where the client went away. */
export function readBody(request: IncomingMessage, limits: BodyLimits): Buffer | Promise<Buffer> {
  const declaredBytes = declaredLength(request)
  const { readableLength, complete } = request
  if (Math.max(declaredBytes, readableLength) > limits.requestBodyBytesMax)
    throw bodyTooLarge(limits.requestBodyBytesMax)
  // The parser delivers the bytes of a body before it reports the message as complete.
  const hasArrived = complete || (readableLength > 0 && readableLength === declaredBytes)
  if (!hasArrived) return readSlowly(request, limits)
  return (request.read() as Buffer | null) ?? emptyBody
}

/** The value of the content-length header; 0 where there is none. The parser accepts nothing but digits. */
export function declaredLength(request: IncomingMessage): number {
  const header = request.headers['content-length']
  return header === undefined ? 0 : Number(header)
}

/** The rest of the body is not read: the connection ends with the answer. */
export function bodyTooLarge(bytesMax: number): Error {
  return httpError(413, `The body is larger than ${bytesMax} bytes.`, { max_bytes: bytesMax }, closeHeaders)
}

function readSlowly(request: IncomingMessage, limits: BodyLimits): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let bytes = 0
    const silence = setTimeout(() => {
      const seconds = limits.readTimeoutMs / 1000
      settle(httpError(408, `The body stalled: nothing came for ${seconds} s.`, undefined, closeHeaders))
    }, limits.readTimeoutMs)

    function settle(error?: Error): void {
      clearTimeout(silence)
      request.off('data', onData)
      request.off('end', onEnd)
      request.off('close', onClose)
      if (error === undefined) {
        resolve(Buffer.concat(chunks, bytes))
      } else {
        request.pause()
        reject(error)
      }
    }
    function onData(chunk: Buffer): void {
      bytes += chunk.length
      chunks.push(chunk)
      silence.refresh()
      if (bytes > limits.requestBodyBytesMax) settle(bodyTooLarge(limits.requestBodyBytesMax))
    }
    function onEnd(): void {
      settle()
    }
    function onClose(): void {
      settle(httpError(400, 'The client went away before its body was complete.'))
    }
    request.on('data', onData)
    request.on('end', onEnd)
    request.on('close', onClose)
  })
}
