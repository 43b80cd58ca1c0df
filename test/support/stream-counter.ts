/**
 * A relay before a server that knows which streams of the dashboard's feed go through it at the moment. Promises to end a request
 * when its client leaves, and to be gone with its test.
 */
import { request as ask, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'

export interface StreamCounter {
  readonly url: string
  /** That are open now. */
  readonly streams: number
  /** Resolves when so many are open, and at once if they are. */
  until(streams: number): Promise<void>
}

export async function countStreams(t: TestContext, port: number): Promise<StreamCounter> {
  let streams = 0
  const waiting = new Map<() => void, number>()
  function changed(by: number): void {
    streams += by
    for (const [resolve, wanted] of waiting) if (streams === wanted) resolve()
  }
  const relay = createServer((request, response) => {
    const { method, url: path, headers } = request
    const onward = ask({ host: '127.0.0.1', port, method, path, headers, agent: false }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      response.flushHeaders()
      answer.pipe(response)
      if (path === '/api/v1/dashboard/events' && answer.statusCode === 200) {
        changed(1)
        response.once('close', () => changed(-1))
      }
    })
    onward.on('error', () => response.destroy())
    response.once('close', () => onward.destroy())
    request.pipe(onward)
  })
  await new Promise<void>((resolve) => {
    relay.listen(0, '127.0.0.1', resolve)
  })
  t.after(() => {
    relay.closeAllConnections()
    relay.close()
  })
  return {
    url: `http://127.0.0.1:${(relay.address() as AddressInfo).port}`,
    get streams() {
      return streams
    },
    async until(wanted) {
      if (streams === wanted) return
      await new Promise<void>((resolve) => {
        waiting.set(resolve, wanted)
      })
    },
  }
}
