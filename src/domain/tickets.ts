/**
 * Tickets: tokens for the URL of a stream, which others may get to read. A ticket opens the streams of some topics, each on
 * the authority of a token that opened the topic when the ticket was made, and for no longer than that token does. It has to
 * be used within minutes; streams that have begun go on, and clients that reconnect with the same URL are let in until a
 * while after their last stream ended.
 *
 * They are in a separate stream of the durable log, so that all this survives a restart: one record when a ticket is made,
 * one when a stream of it begins, and one when it has been without a stream for a moment: clients that may only read must
 * not be able to fill the log by connecting and leaving. Anything older than the longest life of a ticket is dead, so neither
 * checkpoints nor the catalogue need to contain them. Without a durable log they end with the process. Only the SHA-256 of a
 * ticket is kept.
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
import { hashKey, hashToken, makeToken } from './token.ts'

/** From its creation, whatever happens. */
export const TICKET_LIFE_MS = 12 * 60 * 60 * 1000
/** From the end of its last stream. A restart ends the streams that it cuts. */
export const TICKET_REUSE_MS = 5 * 60 * 1000
const SWEEP_MS = 30_000
const TOPIC_ID_CHARACTERS = 11

export interface TicketOptions {
  /** Usable at the same time. 0: none, and those in the log are left alone. */
  readonly ticketsMax: number
  /** A ticket must be used within this time. */
  readonly ticketLifetimeMs: number
}

export interface Ticket {
  /** SHA-256 of the token on whose authority it opens the topic; undefined: it does not open it. */
  authorityFor(topicId: string): Uint8Array | undefined
}

export class Tickets {
  readonly #feed: Feed | undefined
  readonly #numbers: NumberSource
  readonly #clock: Clock
  readonly #options: TicketOptions
  /** By the `hashKey` of their SHA-256. */
  readonly #tickets = new Map<string, KeptTicket>()
  readonly #sweeper: { close(): void }
  #issuing = 0

  /** `feed` of the durable log, if there is one. Must be closed. */
  constructor(feed: Feed | undefined, numbers: NumberSource, clock: Clock, options: TicketOptions) {
    this.#feed = feed
    this.#numbers = numbers
    this.#clock = clock
    this.#options = options
    this.#sweeper = clock.every(SWEEP_MS, () => this.#sweep())
  }

  /** Reads the tickets in the log. Throws EntryError and StorageError. */
  async load(): Promise<void> {
    if (this.#feed === undefined || this.#options.ticketsMax === 0) return
    const byNumber = new Map<Offset, KeptTicket>()
    const cursor = this.#feed.log.cursor(await this.floor(), TICKET_STREAM)
    try {
      for (let step = await cursor.next(); step !== undefined; step = await cursor.next()) {
        // Tickets in a damaged range are lost: they open nothing.
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

  /** The number through which all ticket records are dead. */
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

  /** By its SHA-256. Undefined: unknown, or no longer usable. */
  find(sha256: Uint8Array): Ticket | undefined {
    const ticket = this.#tickets.get(hashKey(sha256))
    return ticket?.isUsable(this.#clock.wallMs()) ? ticket : undefined
  }

  /**
   * A stream opened by this ticket begins; resolves when no crash can forget that it was used. Call the result at the end of
   * the stream; only the first call counts.
   */
  async enter(ticket: Ticket): Promise<() => void> {
    const kept = ticket as KeptTicket
    kept.streams += 1
    // Its time may have run out since it was found, and the sweep may have removed it.
    this.#tickets.set(kept.key, kept)
    await this.#note(kept)
    let hasLeft = false
    return () => {
      if (!hasLeft) this.#left(kept)
      hasLeft = true
    }
  }

  /** From now on streams end because the server stops: their tickets must open others after the next start. */
  stop(): void {
    this.#sweep()
    this.#sweeper.close()
  }

  /** The sweep records it: most clients come back at once. */
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

  /** A failing log does not keep a stream from being read; after a restart the ticket then counts as it was before. */
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

  /** Forgets tickets that are no longer usable, and records which ones have a stream, where the log says otherwise. */
  #sweep(): void {
    const nowMs = this.#clock.wallMs()
    for (const [key, ticket] of this.#tickets) {
      // If a restart cut its stream and nobody came back, the next start would believe that it had cut the stream itself.
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

/** No record is on its way to the log. */
const settled = Promise.resolve()

class KeptTicket implements Ticket {
  /** The `hashKey` of its SHA-256. */
  readonly key: string
  readonly number: Offset
  readonly #endsAtMs: number
  /** Concatenated topic ids, and the SHA-256 as latin1: there may be many tickets for many topics. */
  readonly #grants: readonly { readonly topics: string; readonly by: string }[]
  usableUntilMs: number
  /** What the log says last, or will say when `noted` resolves. */
  isOpenInLog = false
  noted = settled
  streams = 0

  constructor(number: Offset, { sha256, grants, createdAtMs, expiresAtMs }: TicketFields) {
    this.key = hashKey(sha256)
    this.number = number
    this.#endsAtMs = createdAtMs + TICKET_LIFE_MS
    this.#grants = grants.map(({ topics, by }) => ({ topics: topics.join(''), by: hashKey(by) }))
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
