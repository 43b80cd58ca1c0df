// An event stream that only says when to reconnect, and ends. A browser's EventSource never reconnects after any other kind of
// refusal.
import type { ServerResponse } from 'node:http'
import type { ResponseObject, ResponseToolkit } from '@hapi/hapi'
import { retryBlock } from '../sse/encode.ts'
import { streamHeaders } from './sse-stream.ts'

/** On the raw response; `headers` in addition to those of a stream. Each client gets 100 to 200 % of `retryMs`, as below. */
export function endWithRetry(response: ServerResponse, headers: readonly string[], retryMs: number): void {
  response.writeHead(200, [...headers, ...streamHeaders])
  response.end(response.req.method === 'HEAD' ? undefined : blockOf(retryMs))
}

/** The same for a request that hapi still controls, which adds the CORS headers. */
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
