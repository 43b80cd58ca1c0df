/**
 * Tickets: tokens for the address of a stream, which may be read by others. One opens the streams of some topics, each by
 * the authority of a token that opened the topic when the ticket was made, and no longer than that does. It is to be used
 * within minutes; streams that have begun go on, and clients that come back with the same address are let in again until
 * a while after their last stream ended.
 *
 * They lie in a stream of their own in the durable log, so that all this survives a restart: one record when a ticket is
 * made, one when its first stream begins or its last one has ended. Whatever is older than the longest life of a ticket
 * is dead, so that neither checkpoints nor the catalogue need to know of them. Without a durable log they end with the
 * process. Promises that of a ticket only its SHA-256 is kept.
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
import { DomainError, fromStorageError } from './errors.ts'
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
  #isStopping = false

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
        if ('records' in step) for (const record of step.records) this.#fold(record, byNumber)
      }
    } finally {
      cursor.close()
    }
    const nowMs = this.#clock.wallMs()
    for (const [key, ticket] of this.#tickets) {
      if (ticket.isOpenInLog) ticket.usableUntilMs = Math.max(ticket.usableUntilMs, nowMs + TICKET_REUSE_MS)
      if (!ticket.isUsable(nowMs)) this.#tickets.delete(key)
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
      throw new DomainError('LIMIT', `There are ${ticketsMax} tickets already. Try again later.`)
    }
    const secret = makeToken()
    const sha256 = hashToken(secret)
    const createdAtMs = this.#clock.wallMs()
    const expiresAtMs = createdAtMs + ticketLifetimeMs
    const fields = { sha256, grants, createdAtMs, expiresAtMs }
    this.#issuing += 1
    try {
      const number = await this.#append(TICKET_ISSUED, encodeTicketIssued(fields))
      this.#tickets.set(keyOf(sha256), new KeptTicket(number, fields))
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
    if (!kept.isOpenInLog) await this.#note(kept, true)
    let hasLeft = false
    return () => {
      if (!hasLeft) this.#left(kept)
      hasLeft = true
    }
  }

  /** From now on streams end because the server does: their tickets are to open others after the next start. */
  stop(): void {
    this.#isStopping = true
    this.#sweeper.close()
  }

  #left(ticket: KeptTicket): void {
    ticket.streams -= 1
    if (ticket.streams > 0) return
    ticket.usableUntilMs = Math.max(ticket.usableUntilMs, this.#clock.wallMs() + TICKET_REUSE_MS)
    if (!this.#isStopping) void this.#note(ticket, false)
  }

  /** A log that takes nothing keeps no stream from being read; a restart then takes the ticket for what it was before. */
  async #note(ticket: KeptTicket, isOpen: boolean): Promise<void> {
    ticket.isOpenInLog = isOpen
    const { number, usableUntilMs } = ticket
    try {
      await this.#append(TICKET_USED, encodeTicketUsed({ ticket: number, isOpen, usableUntilMs }), { urgent: true })
    } catch (error) {
      if (!(fromStorageError(error) instanceof DomainError)) throw error
    }
  }

  async #append(kind: number, payload: Uint8Array, options?: { readonly urgent: boolean }): Promise<Offset> {
    if (this.#feed === undefined) return this.#numbers.take()
    return await this.#feed.log.append({ streamId: TICKET_STREAM, kind, payload }, options)
  }

  #fold({ kind, offset, payload }: LogRecord, byNumber: Map<Offset, KeptTicket>): void {
    if (kind === TICKET_ISSUED) {
      const fields = decodeTicketIssued(payload)
      const ticket = new KeptTicket(offset, fields)
      byNumber.set(offset, ticket)
      this.#tickets.set(keyOf(fields.sha256), ticket)
    } else if (kind === TICKET_USED) {
      const { ticket: number, isOpen, usableUntilMs } = decodeTicketUsed(payload)
      const ticket = byNumber.get(number)
      if (ticket === undefined) return
      ticket.isOpenInLog = isOpen
      ticket.usableUntilMs = usableUntilMs
    }
  }

  /** Forgets those that open nothing any more, and notes of those that a start has cut, and nobody came back with, when they end. */
  #sweep(): void {
    const nowMs = this.#clock.wallMs()
    for (const [key, ticket] of this.#tickets) {
      if (ticket.streams > 0) continue
      // The next start would take it for one whose streams it has cut itself.
      if (ticket.isOpenInLog) void this.#note(ticket, false)
      if (!ticket.isUsable(nowMs)) this.#tickets.delete(key)
    }
  }
}

interface TicketFields {
  readonly grants: readonly TicketGrant[]
  readonly createdAtMs: number
  readonly expiresAtMs: number
}

class KeptTicket implements Ticket {
  readonly number: Offset
  readonly #endsAtMs: number
  /** Ids of topics in one text, and the SHA-256 as latin1: there may be many tickets for many topics. */
  readonly #grants: readonly { readonly topics: string; readonly by: string }[]
  usableUntilMs: number
  /** What the log says last. */
  isOpenInLog = false
  streams = 0

  constructor(number: Offset, { grants, createdAtMs, expiresAtMs }: TicketFields) {
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
