// What ends an HTTP/2 connection that is idle, or that does what only attacks do. Promises that clients that waste requests, by
// resetting them or by sending ones that node refuses unseen, are cut off. Knows nothing of what is requested.
import { constants, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import { bodyBytesOf, frameBytes } from './http2-messages.ts'

export interface SessionLimits {
  /** How many wasted requests are allowed in a row; a tenth as many more each second. */
  readonly streamResetsMax: number
  readonly readTimeoutMs: number
  readonly idleTimeoutMs: number
  /** In this time a connection with something open must show that it is alive, and an answer must be taken. */
  readonly writeTimeoutMs: number
}

const lookMs = 2000
/** What each header field counts for beside its name and value (RFC 9113, section 6.5.2). */
const fieldBytes = 32
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

  function count(times: number): void {
    const nowMs = performance.now()
    inVain = Math.max(0, inVain - ((nowMs - atMs) / 1000) * (timesMax / 10)) + times
    atMs = nowMs
    if (inVain > timesMax && !session.destroyed) session.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM)
  }

  session.on('stream', (stream) => {
    // The reset may have arrived together with the request.
    if (stream.closed) count(1)
    else stream.once('aborted', () => count(1))
  })
  const refusedUnseen = watchUnseen(session)
  every(session, lookMs, () => {
    const times = session.destroyed ? 0 : refusedUnseen()
    if (times > 0) count(times)
  })
}

/**
 * How many requests may have been refused unseen since the last call. Such a request leaves two traces: the stream numbers (1, 3,
 * 5) advance past it, and its bytes were received. The numbers alone prove nothing, because a client may skip as many as it
 * likes (RFC 9113, section 5.1.1). So a skipped number counts only if bytes for a frame arrived that no visible request explains.
 */
function watchUnseen(session: ServerHttp2Session): () => number {
  let shown = 0
  let headBytes = 0
  let passedBefore = 0
  let bytesBefore = 0
  session.on('stream', (_stream, _headers, _flags, rawHeaders: readonly string[] = []) => {
    shown += 1
    // The uncompressed size, which is more than the frames of the head took on the wire.
    for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
      headBytes += rawHeaders[index]!.length + rawHeaders[index + 1]!.length + fieldBytes
    }
  })
  return () => {
    const passed = Math.ceil((session.state.lastProcStreamID ?? 0) / 2) - shown
    const bytes = session.socket.bytesRead - headBytes - bodyBytesOf(session)
    const refused = Math.min(passed - passedBefore, Math.floor((bytes - bytesBefore) / frameBytes))
    passedBefore = passed
    bytesBefore = bytes
    return refused
  }
}

/** For as long as the connection lives. */
function every(session: ServerHttp2Session, periodMs: number, look: () => void): void {
  const timer = setInterval(look, periodMs).unref()
  session.once('close', () => clearInterval(timer))
}
