/**
 * A stream of the server that is read for as long as somebody wants it: opened again, after the last block that came,
 * whenever it ends. Knows no document, and nothing of what the events mean.
 */
import { createDecoder, type SseEvent } from '../sse/decode.ts'

/** `refused`: the token does not open it; `gone`: there is no such thing any more. After both nobody asks again. */
export type Connection = 'open' | 'waiting' | 'refused' | 'gone'

export interface StreamOptions {
  readonly url: string
  readonly token: string
  /** Where it begins; '' without one. */
  readonly lastEventId: string
  /** A connection that is silent for so long is dead. */
  readonly silenceMsMax: number
  readonly bufferBytesMax: number
  readonly onEvent: (event: SseEvent, namesId: boolean) => void
  /** A block with an id alone. */
  readonly onPlace?: (id: string) => void
  readonly onState: (state: Connection) => void
}

const retryMs = 1000
/** However long a server that stops wants everybody to stay away: one page is no crowd. */
const retryMsMax = 5000
const finalStates: Readonly<Record<number, Connection>> = { 401: 'refused', 404: 'gone' }

/** Until the returned function is called. `open` is told when the head of the answer has come. */
export function keepReading(options: StreamOptions): () => void {
  const ended = new AbortController()
  run(options, ended.signal)
  return () => ended.abort()
}

/** What one connection leaves for the next. */
interface Progress {
  lastEventId: string
  retryMs: number
}

async function run(options: StreamOptions, ended: AbortSignal): Promise<void> {
  const progress: Progress = { lastEventId: options.lastEventId, retryMs }
  while (!ended.aborted) {
    try {
      const final = await read(options, progress, ended)
      if (final !== undefined && !ended.aborted) return options.onState(final)
    } catch {
      // However it broke, the answer is the same: say so, and come back.
    }
    if (ended.aborted) return
    options.onState('waiting')
    await pause(Math.min(progress.retryMs, retryMsMax) * (1 + Math.random()))
  }
}

/** Resolves when the stream has ended; with a state that is final, if it is. */
async function read(options: StreamOptions, progress: Progress, ended: AbortSignal): Promise<Connection | undefined> {
  const silent = new AbortController()
  const { url, token, silenceMsMax, bufferBytesMax, onEvent, onPlace, onState } = options
  const { lastEventId } = progress
  let timer = setTimeout(() => silent.abort(), silenceMsMax)
  try {
    const headers: Record<string, string> = { authorization: `Bearer ${token}` }
    if (lastEventId !== '') headers['last-event-id'] = headerText(lastEventId)
    const response = await fetch(url, { headers, signal: AbortSignal.any([ended, silent.signal]) })
    if (!response.ok || response.body === null) {
      progress.retryMs = Math.max(retryMs, Number(response.headers.get('retry-after')) * 1000 || 0)
      return finalStates[response.status]
    }
    onState('open')
    const decoder = createDecoder({
      onEvent: (event, namesId) => !ended.aborted && onEvent(event, namesId),
      onId: (id, alone) => {
        if (alone && !ended.aborted) onPlace?.(id)
      },
      onRetry: (delayMs) => {
        progress.retryMs = delayMs
      },
      bufferBytesMax,
      lastEventId,
    })
    const reader = response.body.getReader()
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return undefined
      clearTimeout(timer)
      timer = setTimeout(() => silent.abort(), silenceMsMax)
      decoder.feed(value)
      progress.lastEventId = decoder.lastEventId
    }
  } finally {
    clearTimeout(timer)
  }
}

/** Headers carry bytes: what is to arrive as UTF-8 is handed over as such, a character a byte. */
function headerText(text: string): string {
  return String.fromCharCode(...new TextEncoder().encode(text))
}

function pause(timeMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, timeMs))
}
