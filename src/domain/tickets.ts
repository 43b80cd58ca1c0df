/**
 * Tickets: tokens for the address of a stream, which may be read by others. One opens the streams of some topics, each by
 * the authority of a token that opened the topic when the ticket was made, and no longer than that does. It is to be used
 * within minutes; streams that have begun go on, and clients that come back with the same address are let in again until
 * a while after their last stream ended.
 *
 * They lie in a stream of their own in the durable log, so that all this survives a restart: one record when a ticket is
 * made, one when a stream of it begins, and one when it has been without any for a moment: who may only read must not be
 * able to fill the log by coming and going. Whatever is older than the longest life of a ticket is dead, so that neither
 * checkpoints nor the catalogue need to know of them. Without a durable log they end with the process. Promises that of a
 * ticket only its SHA-256 is kept.
 */

import {
  decodeTicketIssued,
  decodeTicketUsed,
  encodeTicketIssued,
  encodeTicketUsed,
  TICKET_ISSUED,
  TICKET_STREAM,
  TICKET_USED,
  type TicketGrant,
} from './entry.ts'
import { DomainError, fromStorageError, limitReached } from './errors.ts'
import type { Feed } from './feed.ts'
import type { Clock, LogRecord, NumberSource, Offset } from './ports.ts'
import { hashToken, makeToken } from './token.ts'

/** From its making on, whatever happens. */
export const TICKET_LIFE_MS = 12 * 60 * 60 * 1000
/** From the end of its last stream on. A restart is the end of those that it cut. */
export const TICKET_REUSE_MS = 5 * 60 * 1000
const SWEEP_MS = 30_000
const TOPIC_ID_CHARACTERS = 11

export interface TicketOptions {
  /** That are usable at one time. 0: none are, and those in the log are left as they are. */
  readonly ticketsMax: number
  /** A ticket has to be used within this. */
  readonly ticketLifetimeMs: number
}

export interface Ticket {
  /** SHA-256 of the token by whose authority it opens the topic; undefined: it does not open it. */
  authorityFor(topicId: string): Uint8Array | undefined
}

export class Tickets {
  readonly #feed: Feed | undefined
  readonly #numbers: NumberSource
  readonly #clock: Clock
  readonly #options: TicketOptions
  /** By their SHA-256, as latin1. */
  readonly #tickets = new Map<string, KeptTicket>()
  readonly #sweeper: { close(): void }
  #issuing = 0

  /** `feed` of the durable log, if there is one. To be closed. */
  constructor(feed: Feed | undefined, numbers: NumberSource, clock: Clock, options: TicketOptions) {
    this.#feed = feed
    this.#numbers = numbers
    this.#clock = clock
    this.#options = options
    this.#sweeper = clock.every(SWEEP_MS, () => this.#sweep())
  }

  /** Reads what the log knows of them. Throws EntryError, and StorageError. */
  async load(): Promise<void> {
    if (this.#feed === undefined || this.#options.ticketsMax === 0) return
    const byNumber = new Map<Offset, KeptTicket>()
    const cursor = this.#feed.log.cursor(await this.floor(), TICKET_STREAM)
    try {
      for (let step = await cursor.next(); step !== undefined; step = await cursor.next()) {
        // Of tickets that lie in a damaged range nobody knows any more: they open nothing.
        if ('records' in step) for (const record of step.records) fold(record, byNumber)
      }
    } finally {
      cursor.close()
    }
    const nowMs = this.#clock.wallMs()
    for (const ticket of byNumber.values()) {
      if (ticket.isOpenInLog) ticket.usableUntilMs = Math.max(ticket.usableUntilMs, nowMs + TICKET_REUSE_MS)
      if (ticket.isUsable(nowMs)) this.#tickets.set(ticket.key, ticket)
    }
  }

  /** The number through which all records of tickets are dead. */
  async floor(): Promise<Offset> {
    return (await this.#feed?.log.findTime(TICKET_STREAM, this.#clock.wallMs() - TICKET_LIFE_MS)) ?? 0
  }

  /** Resolves when no crash takes it back. Throws a DomainError: LIMIT, or what the store failed with. */
  async issue(grants: readonly TicketGrant[]): Promise<{ secret: string; expiresAtMs: number }> {
    const { ticketsMax, ticketLifetimeMs } = this.#options
    if (this.#tickets.size + this.#issuing >= ticketsMax) this.#sweep()
    if (this.#tickets.size + this.#issuing >= ticketsMax) {
      throw limitReached('limits.ticketsMax', `There are ${ticketsMax} tickets already. Try again later.`)
    }
    const secret = makeToken()
    const sha256 = hashToken(secret)
    const createdAtMs = this.#clock.wallMs()
    const expiresAtMs = createdAtMs + ticketLifetimeMs
    const fields = { sha256, grants, createdAtMs, expiresAtMs }
    this.#issuing += 1
    try {
      const number = await this.#append(TICKET_ISSUED, encodeTicketIssued(fields))
      const ticket = new KeptTicket(number, fields)
      this.#tickets.set(ticket.key, ticket)
    } catch (error) {
      throw fromStorageError(error)
    } finally {
      this.#issuing -= 1
    }
    return { secret, expiresAtMs }
  }

  /** By its SHA-256. Undefined: it opens nothing, or nothing any more. */
  find(sha256: Uint8Array): Ticket | undefined {
    const ticket = this.#tickets.get(keyOf(sha256))
    return ticket?.isUsable(this.#clock.wallMs()) ? ticket : undefined
  }

  /**
   * A stream begins that this ticket has opened; resolves when no crash forgets that it was used. To be called at the end of
   * the stream: what it resolves with, which counts once.
   */
  async enter(ticket: Ticket): Promise<() => void> {
    const kept = ticket as KeptTicket
    kept.streams += 1
    // Its time may have passed since it was found, and then it was swept away.
    this.#tickets.set(kept.key, kept)
    await this.#note(kept)
    let hasLeft = false
    return () => {
      if (!hasLeft) this.#left(kept)
      hasLeft = true
    }
  }

  /** From now on streams end because the server does: their tickets are to open others after the next start. */
  stop(): void {
    this.#sweep()
    this.#sweeper.close()
  }

  /** The sweep notes it: most come back at once. */
  #left(ticket: KeptTicket): void {
    ticket.streams -= 1
    if (ticket.streams > 0) return
    ticket.usableUntilMs = Math.max(ticket.usableUntilMs, this.#clock.wallMs() + TICKET_REUSE_MS)
  }

  /** Resolves when the log says whether streams are open. */
  #note(ticket: KeptTicket): Promise<void> {
    const isOpen = ticket.streams > 0
    if (ticket.isOpenInLog !== isOpen) {
      ticket.isOpenInLog = isOpen
      ticket.noted = this.#noteUse(ticket, isOpen)
    }
    return ticket.noted
  }

  /** A log that takes nothing keeps no stream from being read; a restart then takes the ticket for what it was before. */
  async #noteUse(ticket: KeptTicket, isOpen: boolean): Promise<void> {
    const { number, usableUntilMs } = ticket
    try {
      await this.#append(TICKET_USED, encodeTicketUsed({ ticket: number, isOpen, usableUntilMs }))
    } catch (error) {
      if (!(fromStorageError(error) instanceof DomainError)) throw error
      // The next sweep tries again.
      if (ticket.isOpenInLog === isOpen) ticket.isOpenInLog = !isOpen
    }
  }

  async #append(kind: number, payload: Uint8Array): Promise<Offset> {
    if (this.#feed === undefined) return this.#numbers.take()
    return await this.#feed.log.append({ streamId: TICKET_STREAM, kind, payload })
  }

  /** Forgets those that open nothing any more, and notes which have a stream, where the log says otherwise. */
  #sweep(): void {
    const nowMs = this.#clock.wallMs()
    for (const [key, ticket] of this.#tickets) {
      // Of one that a start has cut, and nobody came back with, the next start would think that it has cut it itself.
      void this.#note(ticket)
      if (!ticket.isUsable(nowMs)) this.#tickets.delete(key)
    }
  }
}

function fold({ kind, offset, payload }: LogRecord, byNumber: Map<Offset, KeptTicket>): void {
  if (kind === TICKET_ISSUED) {
    byNumber.set(offset, new KeptTicket(offset, decodeTicketIssued(payload)))
  } else if (kind === TICKET_USED) {
    const { ticket: number, isOpen, usableUntilMs } = decodeTicketUsed(payload)
    const ticket = byNumber.get(number)
    if (ticket === undefined) return
    ticket.isOpenInLog = isOpen
    ticket.usableUntilMs = usableUntilMs
  }
}

interface TicketFields {
  readonly sha256: Uint8Array
  readonly grants: readonly TicketGrant[]
  readonly createdAtMs: number
  readonly expiresAtMs: number
}

/** Of the notes that are on their way to the log, none. */
const settled = Promise.resolve()

class KeptTicket implements Ticket {
  /** Its SHA-256, as latin1. */
  readonly key: string
  readonly number: Offset
  readonly #endsAtMs: number
  /** Ids of topics in one text, and the SHA-256 as latin1: there may be many tickets for many topics. */
  readonly #grants: readonly { readonly topics: string; readonly by: string }[]
  usableUntilMs: number
  /** What the log says last, or will when `noted` resolves. */
  isOpenInLog = false
  noted = settled
  streams = 0

  constructor(number: Offset, { sha256, grants, createdAtMs, expiresAtMs }: TicketFields) {
    this.key = keyOf(sha256)
    this.number = number
    this.#endsAtMs = createdAtMs + TICKET_LIFE_MS
    this.#grants = grants.map(({ topics, by }) => ({ topics: topics.join(''), by: keyOf(by) }))
    this.usableUntilMs = expiresAtMs
  }

  authorityFor(topicId: string): Uint8Array | undefined {
    for (const { topics, by } of this.#grants) {
      for (let at = 0; at < topics.length; at += TOPIC_ID_CHARACTERS) {
        if (topics.startsWith(topicId, at)) return Buffer.from(by, 'latin1')
      }
    }
    return undefined
  }

  isUsable(nowMs: number): boolean {
    return nowMs < this.#endsAtMs && (this.streams > 0 || nowMs < this.usableUntilMs)
  }
}

function keyOf(sha256: Uint8Array): string {
  return Buffer.from(sha256.buffer, sha256.byteOffset, sha256.byteLength).toString('latin1')
}
