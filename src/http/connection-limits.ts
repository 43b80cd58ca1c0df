// How many connections there may be, in total and per address. Promises that both are bounded from the moment in which a
// connection is accepted. As long as there are few over a limit, they get an error in response to their first request; beyond
// that they are closed without an answer. Knows nothing of requests.
import type { Server, Socket } from 'node:net'
import type { ClientAddresses } from './client-address.ts'
import { type HttpObserver, httpError } from './errors.ts'

export interface ConnectionLimitOptions {
  readonly connectionsMax: number
  /** Per IPv4 address or IPv6 /64; not for this machine itself, nor for trusted proxies. */
  readonly connectionsPerAddressMax: number
}

/** How many connections over a limit may wait for their answer at a time. */
const refusedMax = 100
const retryAfterSeconds = 10

type Refusal = 'server.maxConnections' | 'limits.connectionsPerAddressMax'

export class ConnectionLimits {
  readonly #clients: ClientAddresses
  readonly #observer: HttpObserver
  readonly #options: ConnectionLimitOptions
  readonly #byClient = new Map<string, number>()
  readonly #refused = new Map<Socket, Refusal>()
  #accepted = 0

  constructor(clients: ClientAddresses, observer: HttpObserver, options: ConnectionLimitOptions) {
    this.#clients = clients
    this.#observer = observer
    this.#options = options
  }

  /**
   * Counts what this server accepts from now on; several servers may share the limits. `isAnswering`: its request handler calls
   * `refusalOf`; otherwise everything over a limit is closed, since a TLS handshake would cost more than the answer is worth.
   */
  watch(listener: Server, isAnswering: boolean): void {
    listener.maxConnections = this.#options.connectionsMax + refusedMax
    // Ahead of the listeners that serve the connection.
    listener.prependListener('connection', (socket: Socket) => this.#accept(socket, isAnswering))
    listener.on('drop', () => this.#observer.limitReached('server.maxConnections'))
  }

  /** The error for a request on this connection, after which the connection ends; undefined: it is within the limits. */
  refusalOf(socket: Socket): Error | undefined {
    const refusal = this.#refused.get(socket)
    if (refusal === undefined) return undefined
    const headers = { connection: 'close', 'retry-after': String(retryAfterSeconds) }
    const details = { limit: refusal }
    return refusal === 'server.maxConnections'
      ? httpError(503, 'The server has reached its limit of connections. Try again later.', details, headers)
      : httpError(
          429,
          'Your address has reached its limit of connections. Close one, or try again later.',
          details,
          headers,
        )
  }

  #accept(socket: Socket, isAnswering: boolean): void {
    const client = this.#clients.limitedAs({ socket, headers: {} })
    const refusal = this.#refusalFor(client)
    if (refusal !== undefined) {
      this.#observer.limitReached(refusal)
      if (this.#refused.size >= refusedMax || !isAnswering) {
        socket.destroy()
        return
      }
      this.#refused.set(socket, refusal)
      socket.once('close', () => this.#refused.delete(socket))
      return
    }
    this.#accepted += 1
    if (client !== undefined) this.#byClient.set(client, (this.#byClient.get(client) ?? 0) + 1)
    socket.once('close', () => this.#closed(client))
  }

  #refusalFor(client: string | undefined): Refusal | undefined {
    const { connectionsMax, connectionsPerAddressMax } = this.#options
    if (this.#accepted >= connectionsMax) return 'server.maxConnections'
    const open = client === undefined ? 0 : (this.#byClient.get(client) ?? 0)
    return open >= connectionsPerAddressMax ? 'limits.connectionsPerAddressMax' : undefined
  }

  #closed(client: string | undefined): void {
    this.#accepted -= 1
    if (client === undefined) return
    const left = (this.#byClient.get(client) ?? 1) - 1
    if (left === 0) this.#byClient.delete(client)
    else this.#byClient.set(client, left)
  }
}
