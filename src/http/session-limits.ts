// What ends an HTTP/2 connection that is idle, or that does what only attacks do. Promises that clients that waste requests, by
// resetting them or by sending ones that node refuses unseen, are cut off. Knows nothing of what is requested.
import { constants, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'

export interface SessionLimits {
  /** How many wasted requests are allowed in a row; a tenth as many more each second. */
  readonly streamResetsMax: number
  readonly readTimeoutMs: number
  readonly idleTimeoutMs: number
  /** In this time a connection with something open must show that it is alive, and an answer must be taken. */
  readonly writeTimeoutMs: number
}

const lookMs = 2000
/** Allows for the round trip, however short the configured time. */
const answerMsMin = 1000

/** A client that takes this much of an answer within the write timeout is slow, not gone. */
const slowBytes = 64 * 1024

export function limitSession(session: ServerHttp2Session, limits: SessionLimits): void {
  endWhenSilent(session, limits)
  endUntakenAnswers(session, limits.writeTimeoutMs)
  endWhenInVain(session, limits.streamResetsMax)
}

/**
 * A connection that says nothing at first has as long as a request; one with nothing open, as long as a kept-alive one. While
 * something is open, the peer must answer pings: after a protocol error node keeps the connection, neither sends nor receives
 * anything on it, and reports nothing; whatever is open on it would stay for as long as the peer likes.
 */
function endWhenSilent(session: ServerHttp2Session, limits: SessionLimits): void {
  const { readTimeoutMs, idleTimeoutMs, writeTimeoutMs } = limits
  let open = 0
  let unanswered = 0
  session.setTimeout(readTimeoutMs)
  session.on('timeout', () => session.close())
  session.on('stream', (stream) => {
    open += 1
    // Otherwise each write to any of its streams would reset the timer.
    if (open === 1) session.setTimeout(0)
    stream.once('close', () => {
      open -= 1
      if (open === 0 && !session.destroyed) session.setTimeout(idleTimeoutMs)
    })
  })
  every(session, Math.max(writeTimeoutMs, answerMsMin) / 2, () => {
    if (session.destroyed || (unanswered === 0 && open === 0)) return
    // A reply may have arrived just now, unread by a busy process.
    if (unanswered === 2) session.destroy()
    else if (unanswered === 0) session.ping(() => (unanswered = 0))
    unanswered += 1
  })
}

/**
 * An answer for which the client opens no window stays in memory with its connection, which has room for many. There is no way
 * to see how much of a piece is gone, so each answer gets the time that a slow client needs for the rest of it.
 */
function endUntakenAnswers(session: ServerHttp2Session, writeTimeoutMs: number): void {
  /** For each open stream: how often its answer was seen complete but not taken. */
  const looks = new Map<ServerHttp2Stream, number>()
  session.on('stream', (stream) => {
    looks.set(stream, 0)
    stream.once('close', () => looks.delete(stream))
  })
  every(session, Math.max(writeTimeoutMs, answerMsMin) / 2, () => {
    for (const [stream, times] of looks) {
      if (!stream.writableEnded || stream.writableFinished) continue
      const timesMax = 2 * (1 + Math.floor(stream.writableLength / slowBytes))
      if (times < timesMax) looks.set(stream, times + 1)
      else stream.destroy()
    }
  })
}

/**
 * Opening streams only to reset them costs a client nothing and the server a request each (CVE-2023-44487), and a head that is
 * too large once decompressed is refused by node before anyone sees it, as often as it is sent. nghttp2 has its own limit for
 * the former, after which it stops listening but keeps the connection.
 */
function endWhenInVain(session: ServerHttp2Session, timesMax: number): void {
  let inVain = 0
  let atMs = performance.now()
  let shown = 0
  let unseen = 0

  function count(times: number): void {
    const nowMs = performance.now()
    inVain = Math.max(0, inVain - ((nowMs - atMs) / 1000) * (timesMax / 10)) + times
    atMs = nowMs
    if (inVain > timesMax && !session.destroyed) session.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM)
  }

  session.on('stream', (stream) => {
    shown += 1
    // The reset may have arrived together with the request.
    if (stream.closed) count(1)
    else stream.once('aborted', () => count(1))
  })
  // Requests refused unseen show only in the stream numbers, which count 1, 3, 5.
  every(session, lookMs, () => {
    const before = unseen
    unseen = Math.ceil((session.state.lastProcStreamID ?? 0) / 2) - shown
    if (unseen > before) count(unseen - before)
  })
}

/** For as long as the connection lives. */
function every(session: ServerHttp2Session, periodMs: number, look: () => void): void {
  const timer = setInterval(look, periodMs).unref()
  session.once('close', () => clearInterval(timer))
}
