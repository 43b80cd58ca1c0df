// Publishing as a stream: a body of lines, each an event, of any length, answered by lines that say how far it is kept.
// Promises that what is kept is at every moment the beginning of what was sent, up to the line that the answer names; that
// memory is bounded, whatever is sent and whoever does not read; and that a client is slowed down to the pace of the log. The
// token counts for each event, and not only for the first.
import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { DomainError } from '../domain/errors.ts'
import { formatEventId } from '../domain/event-id.ts'
import type { Hub, Topic, TopicToken } from '../domain/hub.ts'
import { type PublishInput, type PublishLimits, parseBareEvent } from '../domain/publish-input.ts'
import { hasExpired } from '../domain/topic-token.ts'
import { BodyPieces } from './body-pieces.ts'
import { CumulativeAnswer } from './cumulative-answer.ts'
import { answerOf, httpError } from './errors.ts'
import { parseJsonLine } from './json-body.ts'
import { LineSplitter } from './line-splitter.ts'
import type { BodyLimits } from './read-body.ts'
import { type Service, unavailable } from './service.ts'
import type { PublishRate } from './token-limits.ts'

export interface LinesLimits extends BodyLimits, PublishLimits {
  /** Who does not take the end of the answer for so long is cut off. */
  readonly writeTimeoutMs: number
}

export interface LinesHost {
  readonly service: Service
  readonly limits: LinesLimits
  readonly rate: PublishRate
  /** Writes the head of the answer. */
  begin(): void
  /** The request failed behind the head of its answer. */
  failed(status: number, error: unknown): void
}

/** So much is collected while the log takes what came before; then nothing more is read. */
const COLLECTED_BYTES_MAX = 256 * 1024
/** Beside its text, of an event. */
const EVENT_BYTES = 100
/** How long to wait where the log has too much to do: the first time, and at most. */
const PAUSE_MS = 20
const PAUSE_MS_MAX = 500

/** Requests whose body may come for as long as it likes. */
const unbounded = new WeakSet<IncomingMessage>()

/** Whether a request may take longer than others: as long as something comes. */
export function mayTakeLong(request: IncomingMessage): boolean {
  return unbounded.has(request)
}

/**
 * Resolves when all is answered. Rejects, having written nothing, where nothing was kept and something is wrong; once an
 * event is kept, the answer has begun, and tells what is wrong as its last line.
 */
export async function publishLines(
  hub: Hub,
  topic: Topic,
  token: TopicToken | undefined,
  request: IncomingMessage,
  response: ServerResponse,
  host: LinesHost,
): Promise<void> {
  unbounded.add(request)
  const { service, limits } = host
  const pieces = new BodyPieces(request, limits.readTimeoutMs)
  const answer = new CumulativeAnswer(response, () => host.begin())
  const run = new LinesRun(hub, topic, token, pieces, answer, host)
  const forget = service.onStop(() => pieces.fail(unavailable(service.health)))
  try {
    const failure = await run.finished()
    if (failure === undefined) {
      answer.end(`${run.progress}}\n`, limits.writeTimeoutMs)
      return
    }
    if (!answer.hasBegun) throw failure
    const { status, body } = answerOf(failure)
    host.failed(status, failure)
    // What still comes is not wanted: the connection ends behind the answer, or of HTTP/2 this request.
    if (!request.complete && request.httpVersionMajor === 1) response.once('finish', () => request.socket.destroySoon())
    answer.end(`${run.progress},${body.slice(1)}\n`, limits.writeTimeoutMs)
  } finally {
    forget()
    pieces.close()
  }
}

class LinesRun {
  readonly #hub: Hub
  readonly #topic: Topic
  readonly #token: TopicToken | undefined
  readonly #pieces: BodyPieces
  readonly #answer: CumulativeAnswer
  readonly #limits: LinesLimits
  readonly #rate: PublishRate
  readonly #splitter: LineSplitter
  /** Lines that were understood. */
  #lines = 0
  #collected: PublishInput[] = []
  #collectedBytes = 0
  /** Lines of which all events are kept, and the number of the last event. */
  #keptLines = 0
  #lastKept: number | undefined
  #publishing: Promise<void> | undefined
  #onTaken: (() => void) | undefined
  #failure: { readonly error: unknown } | undefined

  constructor(
    hub: Hub,
    topic: Topic,
    token: TopicToken | undefined,
    pieces: BodyPieces,
    answer: CumulativeAnswer,
    { limits, rate }: Pick<LinesHost, 'limits' | 'rate'>,
  ) {
    this.#hub = hub
    this.#topic = topic
    this.#token = token
    this.#pieces = pieces
    this.#answer = answer
    this.#limits = limits
    this.#rate = rate
    this.#splitter = new LineSplitter(limits.requestBodyBytesMax)
  }

  /** A line of the answer, but for its end. */
  get progress(): string {
    const lastId = this.#lastKept === undefined ? 'null' : `"${formatEventId(this.#lastKept)}"`
    return `{"lines":${this.#keptLines},"last_id":${lastId}`
  }

  /** Resolves with what went wrong, or undefined, when nothing more will be kept. */
  async finished(): Promise<unknown> {
    let mistake: unknown
    try {
      for (let piece = await this.#pieces.next(); piece !== undefined; piece = await this.#pieces.next()) {
        const fits = this.#splitter.push(piece, (line) => this.#take(line))
        if (!fits) throw this.#tooLong()
        this.#goOn()
        while (this.#collectedBytes > COLLECTED_BYTES_MAX && this.#failure === undefined) await this.#batchTaken()
      }
      const rest = this.#splitter.rest()
      if (rest !== undefined) this.#take(rest)
    } catch (error) {
      mistake = error
    }
    // Also behind a mistake what stands before it is kept.
    this.#goOn()
    await this.#publishing
    if (this.#failure !== undefined) return this.#failure.error
    this.#keptLines = this.#lines
    return mistake
  }

  /** Throws what is wrong with the line, with its number. */
  #take(line: Buffer): void {
    const number = this.#lines + 1
    if (!isBlank(line)) {
      const event = parseJsonLine(line, number)
      try {
        this.#collected.push(parseBareEvent(event, line, this.#limits))
      } catch (error) {
        throw error instanceof DomainError ? atLine(error, number) : error
      }
      this.#collectedBytes += line.length + EVENT_BYTES
    }
    this.#lines = number
  }

  #goOn(): void {
    if (this.#publishing !== undefined || this.#collected.length === 0) return
    this.#publishing = this.#publish().finally(() => {
      this.#publishing = undefined
    })
  }

  #batchTaken(): Promise<void> {
    return new Promise((resolve) => {
      this.#onTaken = resolve
    })
  }

  /** Until nothing is collected any more. One append at a time, so that none is kept behind one that is not. */
  async #publish(): Promise<void> {
    while (this.#collected.length > 0 && this.#failure === undefined) {
      const events = this.#collected
      const through = this.#lines
      this.#collected = []
      this.#collectedBytes = 0
      this.#onTaken?.()
      try {
        this.#lastKept = (await this.#published(events)).at(-1)
        this.#keptLines = through
        this.#answer.tell(`${this.progress}}\n`)
      } catch (error) {
        this.#failure = { error }
        this.#onTaken?.()
        this.#pieces.fail(error as Error)
      }
    }
  }

  /** Waits where the log has too much to do for the moment: the client waits with it. */
  async #published(events: readonly PublishInput[]): Promise<readonly number[]> {
    await this.#paced()
    this.#rate.publishing(events.length)
    const givesUpAtMs = performance.now() + this.#limits.readTimeoutMs
    for (let pauseMs = PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, PAUSE_MS_MAX)) {
      this.#assertTokenHolds()
      try {
        return await this.#hub.publishAll(this.#topic, events)
      } catch (error) {
        const isPassing = error instanceof DomainError && error.code === 'BUSY'
        if (!isPassing || this.#pieces.hasFailed || performance.now() + pauseMs > givesUpAtMs) throw error
      }
      await delay(pauseMs)
    }
  }

  /** For a token that publishes faster than it may, as long as that takes: the client waits with it. */
  async #paced(): Promise<void> {
    for (let waitMs = this.#rate.waitMs(); waitMs > 0; waitMs = this.#rate.waitMs()) {
      if (this.#pieces.hasFailed) this.#rate.assertMayPublish()
      await delay(Math.min(waitMs, PAUSE_MS_MAX))
    }
  }

  #assertTokenHolds(): void {
    const token = this.#token
    if (token === undefined) return
    const isThere = [...this.#topic.tokens].includes(token)
    if (isThere && !hasExpired(token, Date.now())) return
    throw httpError(401, 'The token was revoked or has expired meanwhile.')
  }

  #tooLong(): Error {
    const { requestBodyBytesMax } = this.#limits
    const line = this.#lines + 1
    const words = `Line ${line} is longer than ${requestBodyBytesMax} bytes.`
    return httpError(413, words, { line, max_bytes: requestBodyBytesMax })
  }
}

function atLine({ code, message, path, details }: DomainError, line: number): DomainError {
  const place = path === undefined ? {} : { path }
  return new DomainError(code, `Line ${line}: ${message}`, { ...place, details: { line, ...details } })
}

/** Such a line keeps a client in the conversation that has nothing to say. */
function isBlank(line: Buffer): boolean {
  for (const byte of line) if (byte !== 0x20 && byte !== 0x09 && byte !== 0x0d) return false
  return true
}
