// The form in which a client wants a topic's events, by its Accept header (RFC 9110, section 12.5.1).

export type EventForm = 'stream' | 'page' | 'lines'

const formOfType: Readonly<Record<string, EventForm>> = {
  'text/event-stream': 'stream',
  'application/json': 'page',
  'application/x-ndjson': 'lines',
}

/**
 * The form that the client prefers, the first among equals. A client that names none of the three gets a stream, as from the
 * original.
 */
export function eventFormOf(accept: string | undefined): EventForm {
  let best: EventForm = 'stream'
  let bestWeight = 0
  for (const range of (accept ?? '').split(',')) {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase())
    const form = formOfType[type]
    const quality = parameters.find((parameter) => parameter.startsWith('q='))
    const weight = quality === undefined ? 1 : Number(quality.slice(2))
    if (form === undefined || !(weight > bestWeight)) continue
    best = form
    bestWeight = weight
  }
  return best
}
