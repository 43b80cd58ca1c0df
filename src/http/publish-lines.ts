// Publishing as a stream: a body of any length, one event per line, answered by lines that say how far it is stored. Promises
// that what is stored is at any moment a prefix of what was sent, up to the line named in the answer; that memory is bounded,
// whatever is sent and whoever does not read; and that the client is slowed down to the pace of the log. The token's limits
// apply to each event, not only to the first.
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
  /** A client that does not take the end of the answer within this time is cut off. */
  readonly writeTimeoutMs: number
}

export interface LinesHost {
  readonly service: Service
  readonly limits: LinesLimits
  readonly rate: PublishRate
  /** Writes the head of the answer. */
  begin(): void
  /** The request failed after the head of its answer was sent. */
  failed(status: number, error: unknown): void
}

/** How much is collected while the log takes what came before; beyond it, reading pauses. */
const COLLECTED_BYTES_MAX = 256 * 1024
/** Overhead of an event beyond its text. */
const EVENT_BYTES = 100
/** How long to wait while the log is too busy: the first time, and at most. */
const PAUSE_MS = 20
const PAUSE_MS_MAX = 500

/** Requests whose body may take as long as it likes. */
const unbounded = new WeakSet<IncomingMessage>()

/** Whether a request may take longer than others, as long as something arrives. */
export function mayTakeLong(request: IncomingMessage): boolean {
  return unbounded.has(request)
}

/**
 * Resolves when everything is answered. Rejects, having written nothing, where something is wrong and nothing was stored; once
 * an event is stored, the answer has begun, and reports failures in its last line.
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
    // The rest of the body is not wanted: the connection ends after the answer; with HTTP/2, only this request.
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
  /** Lines that were parsed. */
  #lines = 0
  #collected: PublishInput[] = []
  #collectedBytes = 0
  /** Lines whose events are all stored, and the number of the last event. */
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

  /** A line of the answer, without its end. */
  get progress(): string {
    const lastId = this.#lastKept === undefined ? 'null' : `"${formatEventId(this.#lastKept)}"`
    return `{"lines":${this.#keptLines},"last_id":${lastId}`
  }

  /** Resolves with what went wrong, or undefined, once nothing more will be stored. */
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
    // What precedes a mistake is stored all the same.
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

  /** Until nothing is collected any more. One append at a time, so that nothing is stored after something that failed. */
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

  /** Waits while the log is too busy, and the client with it. */
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

  /** Waits while a token publishes faster than it may, and the client with it. */
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
    throw httpError(401, 'The token has been revoked or has expired in the meantime.')
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

/** Blank lines are keep-alives of clients that have nothing to send. */
function isBlank(line: Buffer): boolean {
  for (const byte of line) if (byte !== 0x20 && byte !== 0x09 && byte !== 0x0d) return false
  return true
}
