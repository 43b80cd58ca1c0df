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
const finalStates: Readonly<Record<number, Connection>> = { 401: 'refused', 404: 'gone' }

/** Until the returned function is called. `open` is told when the head of the answer has come. */
export function keepReading(options: StreamOptions): () => void {
  const ended = new AbortController()
  run(options, ended.signal)
  return () => ended.abort()
}

async function run(options: StreamOptions, ended: AbortSignal): Promise<void> {
  let { lastEventId } = options
  while (!ended.aborted) {
    try {
      const final = await read({ ...options, lastEventId }, ended, (id) => {
        lastEventId = id
      })
      if (final !== undefined && !ended.aborted) return options.onState(final)
    } catch {
      // However it broke, the answer is the same: say so, and come back.
    }
    if (ended.aborted) return
    options.onState('waiting')
    await pause(retryMs * (1 + Math.random()))
  }
}

/** Resolves when the stream has ended; with a state that is final, if it is. */
async function read(
  options: StreamOptions,
  ended: AbortSignal,
  onId: (id: string) => void,
): Promise<Connection | undefined> {
  const silent = new AbortController()
  const { url, token, lastEventId, silenceMsMax, bufferBytesMax, onEvent, onPlace, onState } = options
  let timer = setTimeout(() => silent.abort(), silenceMsMax)
  try {
    const headers: Record<string, string> = { authorization: `Bearer ${token}` }
    if (lastEventId !== '') headers['last-event-id'] = headerText(lastEventId)
    const response = await fetch(url, { headers, cache: 'no-store', signal: AbortSignal.any([ended, silent.signal]) })
    if (!response.ok || response.body === null) return finalStates[response.status]
    onState('open')
    const decoder = createDecoder({
      onEvent: (event, namesId) => !ended.aborted && onEvent(event, namesId),
      onId: (id, alone) => {
        if (alone && !ended.aborted) onPlace?.(id)
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
      onId(decoder.lastEventId)
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
