// How a connection ends while its client may still be sending: our remaining bytes are sent, however slowly they are taken,
// and our side is closed; what still arrives is discarded for a moment, and only then is the socket destroyed. Closing a
// socket with unread bytes resets it, and a reset destroys the answer (413, 401) that the client has not read yet.
import type { Socket } from 'node:net'

const lingerMsMax = 1000

/** Replaces a connection's `destroySoon`, which node calls after the last answer of a connection. */
export function closeGently(this: Socket): void {
  if (this.destroyed) return
  this.end()
  this.resume()
  if (this.writableFinished) linger.call(this)
  else this.once('finish', linger)
}

function linger(this: Socket): void {
  const patience = setTimeout(() => this.destroy(), lingerMsMax)
  patience.unref()
  this.once('close', () => clearTimeout(patience))
}
