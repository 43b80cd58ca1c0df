/**
 * A stream from the server that is read for as long as it is wanted: it is requested again whenever it ends. Knows no document,
 * and nothing of what the events mean.
 */
import { refusal, type SserError } from '../client/errors.ts'
import { createDecoder, type SseEvent } from '../sse/decode.ts'

/** `refused`: the token does not open it; `gone`: it no longer exists. Neither is retried. */
export type Connection = 'open' | 'waiting' | 'refused' | 'gone'

export interface StreamOptions {
  readonly url: string
  readonly token: string
  /** The request body for each connection, as JSON. */
  readonly body: () => object
  /** A connection that is silent for this long is considered dead. */
  readonly silenceMsMax: number
  readonly bufferBytesMax: number
  readonly onEvent: (event: SseEvent, namesId: boolean) => void
  /** At the end of each block that has an id, before its event. */
  readonly onId: (id: string) => void
  /** True: `body` now returns something different, which is requested at once. */
  readonly onRefusal: (refusal: SserError) => boolean
  /** `gone` is never reported. */
  readonly onState: (state: Connection) => void
}

const retryMs = 1000
/** Whatever delay a stopping server asks of its clients: a single page is no crowd. */
const retryMsMax = 5000

/** Runs until the returned function is called. `open` is reported when the head of the answer has arrived. */
export function keepReading(options: StreamOptions): () => void {
  const ended = new AbortController()
  run(options, ended.signal)
  return () => ended.abort()
}

/** State carried from one connection to the next. */
interface Progress {
  retryMs: number
}

type Outcome = 'ended' | 'changed' | 'refused'

async function run(options: StreamOptions, ended: AbortSignal): Promise<void> {
  const progress: Progress = { retryMs }
  while (!ended.aborted) {
    let outcome: Outcome = 'ended'
    try {
      outcome = await read(options, progress, ended)
    } catch {
      // However it broke, the reaction is the same: report it, and reconnect.
    }
    if (ended.aborted) return
    if (outcome === 'changed') continue
    options.onState(outcome === 'refused' ? 'refused' : 'waiting')
    if (outcome === 'refused') return
    await pause(Math.min(progress.retryMs, retryMsMax) * (1 + Math.random()))
  }
}

async function read(options: StreamOptions, progress: Progress, ended: AbortSignal): Promise<Outcome> {
  const silent = new AbortController()
  const { url, token, body, silenceMsMax, bufferBytesMax, onEvent, onId, onRefusal, onState } = options
  let timer = setTimeout(() => silent.abort(), silenceMsMax)
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body()),
      signal: AbortSignal.any([ended, silent.signal]),
    })
    if (!response.ok || response.body === null) {
      const refused = await refusal(response)
      progress.retryMs = Math.max(retryMs, refused.retryAfterMs)
      if (!ended.aborted && onRefusal(refused)) return 'changed'
      return refused.status === 401 ? 'refused' : 'ended'
    }
    onState('open')
    const decoder = createDecoder({
      onEvent: (event, namesId) => !ended.aborted && onEvent(event, namesId),
      onId: (id) => !ended.aborted && onId(id),
      onRetry: (delayMs) => {
        progress.retryMs = delayMs
      },
      bufferBytesMax,
    })
    const reader = response.body.getReader()
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return 'ended'
      clearTimeout(timer)
      timer = setTimeout(() => silent.abort(), silenceMsMax)
      decoder.feed(value)
    }
  } finally {
    clearTimeout(timer)
  }
}

function pause(timeMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, timeMs))
}
