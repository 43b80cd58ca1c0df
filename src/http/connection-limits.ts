// How many connections there may be: in all, and from one address. Promises a bound on both from the moment in which a
// connection is accepted. Those over a limit are told so in an answer to their first request, as long as these are few;
// beyond that they are closed without a word. Knows nothing of requests.
import type { Server, Socket } from 'node:net'
import type { ClientAddresses } from './client-address.ts'
import { type HttpObserver, httpError } from './errors.ts'

export interface ConnectionLimitOptions {
  readonly connectionsMax: number
  /** Of one IPv4 address, or one /64 of IPv6; not of this machine itself, nor of trusted proxies. */
  readonly connectionsPerAddressMax: number
}

/** So many that are over a limit wait for their answer at one time. */
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
   * Counts what this server accepts from now on; several may share the limits. `isAnswering`: whoever answers its requests asks
   * `refusalOf`; otherwise all that are over a limit are closed. A handshake of TLS is more than they are worth.
   */
  watch(listener: Server, isAnswering: boolean): void {
    listener.maxConnections = this.#options.connectionsMax + refusedMax
    // Before the listeners that make a request of what comes.
    listener.prependListener('connection', (socket: Socket) => this.#accept(socket, isAnswering))
    listener.on('drop', () => this.#observer.limitReached('server.maxConnections'))
  }

  /** What a request on this connection is to be answered with, before the connection ends; undefined: it is within the limits. */
  refusalOf(socket: Socket): Error | undefined {
    const refusal = this.#refused.get(socket)
    if (refusal === undefined) return undefined
    const headers = { connection: 'close', 'retry-after': String(retryAfterSeconds) }
    const details = { limit: refusal }
    return refusal === 'server.maxConnections'
      ? httpError(503, 'The server has as many connections as it may. Try again later.', details, headers)
      : httpError(
          429,
          'Your address has as many connections as it may. Close one, or try again later.',
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
