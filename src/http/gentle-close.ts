// How a connection ends whose client may still be sending: what we still have to say is said, however slowly it is taken,
// and our side is closed; what still comes is thrown away for a moment, and only then is the rest cut. A socket that is closed with unread bytes in it is reset, and a reset takes with
// it the answer (413, 401) that the client has not read yet.
import type { Socket } from 'node:net'

const lingerMsMax = 1000

/** Put in the place of a connection's `destroySoon`, which node calls behind the last answer of a connection. */
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
