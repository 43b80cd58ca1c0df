/**
 * A stream of the server that is read for as long as somebody wants it: asked for again whenever it ends. Knows no document,
 * and nothing of what the events mean.
 */
import { refusal, type SserError } from '../client/errors.ts'
import { createDecoder, type SseEvent } from '../sse/decode.ts'

/** `refused`: the token does not open it; `gone`: there is no such thing any more. After both nobody asks again. */
export type Connection = 'open' | 'waiting' | 'refused' | 'gone'

export interface StreamOptions {
  readonly url: string
  readonly token: string
  /** What each connection asks for, as JSON. */
  readonly body: () => object
  /** A connection that is silent for so long is dead. */
  readonly silenceMsMax: number
  readonly bufferBytesMax: number
  readonly onEvent: (event: SseEvent, namesId: boolean) => void
  /** At the end of each block that names an id, ahead of its event. */
  readonly onId: (id: string) => void
  /** True: what `body` gives from now on is something else, which is asked for at once. */
  readonly onRefusal: (refusal: SserError) => boolean
  /** `gone` is never told. */
  readonly onState: (state: Connection) => void
}

const retryMs = 1000
/** However long a server that stops wants everybody to stay away: one page is no crowd. */
const retryMsMax = 5000

/** Until the returned function is called. `open` is told when the head of the answer has come. */
export function keepReading(options: StreamOptions): () => void {
  const ended = new AbortController()
  run(options, ended.signal)
  return () => ended.abort()
}

/** What one connection leaves for the next. */
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
      // However it broke, the answer is the same: say so, and come back.
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
