// An event stream that only tells when to come back, and ends. A browser's EventSource never comes back from any other
// answer than this.
import type { ServerResponse } from 'node:http'
import type { ResponseObject, ResponseToolkit } from '@hapi/hapi'
import { retryBlock } from '../sse/encode.ts'
import { streamHeaders } from './sse-stream.ts'

/** On the raw response; `headers` beside those of a stream. Each gets 100 to 200 % of `retryMs`, as below. */
export function endWithRetry(response: ServerResponse, headers: readonly string[], retryMs: number): void {
  response.writeHead(200, [...headers, ...streamHeaders])
  response.end(response.req.method === 'HEAD' ? undefined : blockOf(retryMs))
}

/** The same where hapi still has the request in its hands, and adds the headers of CORS. */
export function answerWithRetry(h: ResponseToolkit, retryMs: number): ResponseObject {
  const answer = h.response(Buffer.from(blockOf(retryMs)))
  answer.charset('')
  for (let index = 0; index + 1 < streamHeaders.length; index += 2) {
    answer.header(streamHeaders[index]!, streamHeaders[index + 1]!)
  }
  return answer
}

function blockOf(retryMs: number): Uint8Array {
  return retryBlock(Math.round(retryMs * (1 + Math.random())))
}
