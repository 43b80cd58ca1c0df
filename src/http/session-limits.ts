// What ends a connection of HTTP/2 on which nothing is asked, or on which is done what only attacks do. Promises that whoever
// asks in vain, by taking requests back or by such as nobody is shown, is cut off. Knows nothing of what is asked.
import { constants, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'

export interface SessionLimits {
  /** So many requests in a row may be in vain; a tenth of it more each second. */
  readonly streamResetsMax: number
  readonly readTimeoutMs: number
  readonly idleTimeoutMs: number
  /** In this time a connection on which something is open has to show that it is heard, and an answer has to be taken. */
  readonly writeTimeoutMs: number
}

const lookMs = 2000
/** The way there and back may take some time, however short the configuration is. */
const answerMsMin = 1000

/** A client that takes this much of an answer in the time that a write may take is slow, and not gone. */
const slowBytes = 64 * 1024

export function limitSession(session: ServerHttp2Session, limits: SessionLimits): void {
  endWhenSilent(session, limits)
  endUntakenAnswers(session, limits.writeTimeoutMs)
  endWhenInVain(session, limits.streamResetsMax)
}

/**
 * One that says nothing at first is given as long as a request; one that has nothing open, as long as a kept connection. While
 * something is open the other side has to answer pings: node keeps a connection whose protocol was broken, sends and hears
 * nothing on it any more, and tells nobody; what is open there would stay for as long as the other side likes.
 */
function endWhenSilent(session: ServerHttp2Session, limits: SessionLimits): void {
  const { readTimeoutMs, idleTimeoutMs, writeTimeoutMs } = limits
  let open = 0
  let unanswered = 0
  session.setTimeout(readTimeoutMs)
  session.on('timeout', () => session.close())
  session.on('stream', (stream) => {
    open += 1
    // Each write to any of its streams would set the time anew.
    if (open === 1) session.setTimeout(0)
    stream.once('close', () => {
      open -= 1
      if (open === 0 && !session.destroyed) session.setTimeout(idleTimeoutMs)
    })
  })
  every(session, Math.max(writeTimeoutMs, answerMsMin) / 2, () => {
    if (session.destroyed || (unanswered === 0 && open === 0)) return
    // One may just have come, and not have been read by a process that was busy.
    if (unanswered === 2) session.destroy()
    else if (unanswered === 0) session.ping(() => (unanswered = 0))
    unanswered += 1
  })
}

/**
 * An answer whose client opens no window for it stays with its connection, and a connection has room for many. Nobody tells
 * how much of a piece has gone, so each gets the time that a slow client needs for what is left of it.
 */
function endUntakenAnswers(session: ServerHttp2Session, writeTimeoutMs: number): void {
  /** Of each stream that is open: how often it was seen with its answer given whole and not taken. */
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
 * too large when it is unpacked is refused by node before anybody sees it, as often as it comes. nghttp2 has a limit of its own
 * for the first, at which it hears no more, and keeps the connection.
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
    // The reset may have come along with the request.
    if (stream.closed) count(1)
    else stream.once('aborted', () => count(1))
  })
  // Nothing tells of a request that was refused unseen, but that the numbers of streams go on: 1, 3, 5.
  every(session, lookMs, () => {
    const before = unseen
    unseen = Math.ceil((session.state.lastProcStreamID ?? 0) / 2) - shown
    if (unseen > before) count(unseen - before)
  })
}

/** As long as the connection lives. */
function every(session: ServerHttp2Session, periodMs: number, look: () => void): void {
  const timer = setInterval(look, periodMs).unref()
  session.once('close', () => clearInterval(timer))
}
