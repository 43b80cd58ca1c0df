// Connections that begin with a PROXY protocol header: it is read, remembered, and removed before anything else sees the
// connection. Promises that only trusted proxies are believed, that they must send one, in time, and that what follows is
// served as if nothing had come before it. Knows nothing of HTTP or TLS.
import type { Server, Socket } from 'node:net'
import type { ClientAddresses } from './client-address.ts'
import type { HttpObserver } from './errors.ts'
import { parseProxyHeader } from './proxy-header.ts'

const malformed = 'it is malformed, too long, or something else'
const late = 'it did not come in time'

export class ProxyProtocol {
  readonly #clients: ClientAddresses
  readonly #observer: HttpObserver
  readonly #timeoutMs: number
  /** The length of each connection's header; infinite until it has arrived. */
  readonly #headerBytes = new WeakMap<Socket, number>()

  constructor(clients: ClientAddresses, observer: HttpObserver, timeoutMs: number) {
    this.#clients = clients
    this.#observer = observer
    this.#timeoutMs = timeoutMs
  }

  /** Connection listeners that exist now get connections after their headers; those added later, as they are accepted. */
  guard(listener: Server): void {
    const served = listener.listeners('connection')
    listener.removeAllListeners('connection')
    listener.on('connection', (socket: Socket) => {
      const handOn = () => {
        for (const serve of served) serve.call(listener, socket)
      }
      if (this.#clients.needsHeader(socket)) this.#readHeader(socket, handOn)
      else handOn()
    })
  }

  /** Whether anything has arrived from the client itself. */
  hasSpoken(socket: Socket): boolean {
    return socket.bytesRead > (this.#headerBytes.get(socket) ?? 0)
  }

  #readHeader(socket: Socket, handOn: () => void): void {
    const peer = socket.remoteAddress ?? ''
    let come: Buffer = Buffer.alloc(0)

    const look = () => {
      const chunk = socket.read() as Buffer | null
      if (chunk === null) return
      come = Buffer.concat([come, chunk])
      const header = parseProxyHeader(come)
      if (header === 'malformed') refuse(malformed)
      if (header === undefined || header === 'malformed') return
      leave()
      this.#headerBytes.set(socket, header.bytes)
      if (header.address !== undefined) this.#clients.learn(socket, header.address, header.isSecure)
      if (come.length > header.bytes) socket.unshift(come.subarray(header.bytes))
      handOn()
    }
    const end = () => socket.destroy()
    const refuse = (reason: string) => {
      this.#observer.proxyRefused(peer, reason)
      end()
    }
    const leave = () => {
      clearTimeout(patience)
      socket.off('readable', look).off('end', end).off('error', end).off('close', leave)
    }

    this.#headerBytes.set(socket, Number.POSITIVE_INFINITY)
    const patience = setTimeout(() => refuse(late), this.#timeoutMs).unref()
    socket.on('readable', look).on('end', end).on('error', end).on('close', leave)
  }
}
